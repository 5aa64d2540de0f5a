//! Reports on runs and tables, for events and for people.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use utoipa::ToSchema;

use super::pool::StoreError;
use super::runs::{Run, Step};
use crate::catalog::{RESOURCES, Resource};
use crate::ids::{Account, RunId};
use crate::messages::{Cause, MAX_ERROR, Mode, ResourceReport, ResourceStatus, RunReport, RunStatus, shortened};

/// The report on a run as it stands.
pub fn of_run<C>(account: &Account, run: &Run<C>, status: RunStatus, error: Option<String>) -> RunReport {
    RunReport {
        request_id: run.id.0,
        account: account.clone(),
        mode: Some(run.parameters.mode),
        status,
        started_at: Some(run.started_at),
        finished_at: None,
        api_requests: run.api_requests,
        resources: run
            .steps
            .iter()
            .map(|step| (step.resource.name.to_owned(), of_step(step, account, run.parameters.mode)))
            .collect(),
        forecast: None,
        state: None,
        view_problems: run.view_problems.iter().take(MAX_VIEW_PROBLEMS).map(|problem| bounded(problem)).collect(),
        error: error.as_deref().map(bounded),
    }
}

/// The most characters of a difference between the answers and the documents: an event names up to 50 of each resource.
const MAX_DIFFERENCE: usize = 200;

/// How many views with a problem an event names.
const MAX_VIEW_PROBLEMS: usize = 50;

fn bounded(text: &str) -> String {
    shortened(text.to_owned(), MAX_ERROR)
}

fn of_step<C>(step: &Step<C>, account: &Account, mode: Mode) -> ResourceReport {
    let cause = step.cause.filter(|_| step.status == Some(ResourceStatus::Failed));
    ResourceReport {
        status: step.status.unwrap_or_default(),
        listed: step.counts.listed,
        created: step.counts.created,
        updated: step.counts.updated,
        unchanged: step.counts.unchanged,
        deleted: step.counts.deleted,
        rejected: step.counts.rejected,
        detailed: step.counts.detailed,
        matches: step.matches,
        verified: step.verified,
        error: step.error.as_deref().map(bounded),
        cause,
        advice: cause.map(|cause| cause.advice(account, &[step.resource.name], mode).to_string()),
        drift: step.drift.iter().map(|difference| shortened(difference.clone(), MAX_DIFFERENCE)).collect(),
        audited: (mode == Mode::Audit).then_some(step.counts.audited),
    }
}

/// A resource's table and how fresh it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TableStatus {
    /// The resource.
    pub resource: String,
    /// Rows that are not deleted.
    pub rows: i64,
    /// When a run last ended with the resource completed.
    pub last_success_at: Option<DateTime<Utc>>,
    /// The watermark of incremental passes.
    pub watermark: Option<DateTime<Utc>>,
    /// Rows whose detail is missing or older than their list item.
    pub stale_details: i64,
    /// Rows marked deleted.
    pub deleted: i64,
}

/// The tables of an account, in the catalog's order.
pub async fn tables(pool: &PgPool, account: &Account) -> Result<Vec<TableStatus>, StoreError> {
    let names: Vec<String> = RESOURCES.iter().map(|resource| resource.name.to_owned()).collect();
    let tables = sqlx::query_as!(
        TableStatus,
        r#"select n.resource as "resource!", coalesce(r.rows, 0) as "rows!", c.last_success_at, c.watermark,
             coalesce(r.stale_details, 0) as "stale_details!", coalesce(r.deleted, 0) as "deleted!"
         from unnest($2::text[]) with ordinality as n (resource, ordinal)
         left join (
             select resource,
                 count(*) filter (where deleted_at is null) as rows,
                 count(*) filter (where deleted_at is not null) as deleted,
                 count(*) filter (where deleted_at is null and resource = any($3)
                     and (detail_at is null or detail_at < listed_at)) as stale_details
             from teamleader.record where account = $1 group by resource) as r on r.resource = n.resource
         left join teamleader2db.cursor c on c.account = $1 and c.resource = n.resource
         order by n.ordinal"#,
        account.as_str(),
        &names,
        &detailed(),
    )
    .fetch_all(pool)
    .await?;
    Ok(tables)
}

/// How the last sync of a resource ended, if it did not complete.
#[derive(Clone, Debug, Serialize)]
pub struct Shortfall {
    /// The resource.
    pub resource: String,
    /// `failed` or `skipped`.
    pub status: String,
    /// When that run ended; where it has not yet, when it began.
    pub at: DateTime<Utc>,
    /// Why.
    pub error: Option<String>,
    /// Why it failed, as the word that decides what to do about it.
    pub cause: Option<Cause>,
    /// The mode of that run.
    pub mode: Mode,
}

/// The resources of an account whose last sync did not complete. Audits do not count, nor what a run did not come to
/// that was cancelled.
pub async fn shortfalls(pool: &PgPool, account: &Account) -> Result<Vec<Shortfall>, StoreError> {
    let rows = sqlx::query!(
        r#"select resource, status as "status!", at as "at!", error, cause, mode as "mode!"
         from (select distinct on (s.resource) s.resource, s.status, s.error, s.cause, r.request ->> 'mode' as mode,
                   coalesce(r.finished_at, r.started_at) as at
               from teamleader2db.sync_step s
               join teamleader2db.sync_run r on r.account = s.account and r.id = s.run_id
               where s.account = $1 and s.status is not null and r.request ->> 'mode' <> 'audit'
                   and s.cause is distinct from 'cancelled'
               order by s.resource, r.started_at desc) as last
         where status <> 'completed'"#,
        account.as_str(),
    )
    .fetch_all(pool)
    .await?;
    let shortfalls = rows.into_iter().map(|row| Shortfall {
        resource: row.resource,
        status: row.status,
        at: row.at,
        error: row.error,
        cause: row.cause.as_deref().map(Cause::parse),
        mode: if row.mode == Mode::Full.as_str() { Mode::Full } else { Mode::Incremental },
    });
    Ok(shortfalls.collect())
}

/// Requests to the API that a run usually takes: the mean of the last ones.
pub async fn usual_requests(pool: &PgPool, account: &Account) -> Result<i64, StoreError> {
    let usual = sqlx::query_scalar!(
        r#"select coalesce(avg(api_requests), 0)::bigint as "usual!" from (
             select api_requests from teamleader2db.sync_run
             where account = $1 and finished_at is not null and request is not null and status <> 'cancelled'
             order by finished_at desc limit 20) as last"#,
        account.as_str(),
    )
    .fetch_one(pool)
    .await?;
    Ok(usual)
}

/// How many rows of each resource that has details have none, or an old one.
pub async fn stale_details(pool: &PgPool, account: &Account) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = sqlx::query!(
        r#"select n.resource as "resource!",
             (select count(*) from teamleader.record r
              where r.resource = n.resource and r.account = $1 and r.deleted_at is null
                and (r.detail_at is null or r.detail_at < r.listed_at)) as "stale!"
         from unnest($2::text[]) as n (resource)"#,
        account.as_str(),
        &detailed(),
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.resource, row.stale)).collect())
}

/// The resources whose details are fetched.
fn detailed() -> Vec<String> {
    RESOURCES.iter().filter(|resource| resource.has_details()).map(|resource| resource.name.to_owned()).collect()
}

/// When each resource last succeeded; the beginning of Unix time for one that runs have ended with, and none completed.
pub async fn last_successes(
    pool: &PgPool,
    account: &Account,
    resources: &[&Resource],
) -> Result<Vec<(String, DateTime<Utc>)>, StoreError> {
    let names: Vec<String> = resources.iter().map(|resource| resource.name.to_owned()).collect();
    let rows = sqlx::query!(
        r#"select n.resource as "resource!", coalesce(c.last_success_at, to_timestamp(0)) as "at!"
         from unnest($2::text[]) as n (resource)
         left join teamleader2db.cursor c on c.account = $1 and c.resource = n.resource
         where c.last_success_at is not null or exists (
             select from teamleader2db.sync_step s
             where s.account = $1 and s.resource = n.resource and s.status = 'failed'
                 and s.cause is distinct from 'cancelled')"#,
        account.as_str(),
        &names,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.resource, row.at)).collect())
}

/// The resources of an account whose watermark is later than the database's clock.
pub async fn watermarks_ahead(pool: &PgPool, account: &Account) -> Result<Vec<String>, StoreError> {
    let ahead = sqlx::query_scalar!(
        "select resource from teamleader2db.cursor
         where account = $1 and watermark > clock_timestamp() order by resource",
        account.as_str(),
    );
    Ok(ahead.fetch_all(pool).await?)
}

/// The resources of an account that have no row, not even one marked deleted, though the last complete pass listed
/// records: somebody has emptied their tables.
pub async fn emptied(pool: &PgPool, account: &Account) -> Result<Vec<String>, StoreError> {
    let emptied = sqlx::query_scalar!(
        r#"select last.resource
         from (select distinct on (s.resource) s.resource, s.listed
               from teamleader2db.sync_step s
               join teamleader2db.sync_run r on r.account = s.account and r.id = s.run_id
               where s.account = $1 and s.status = 'completed' and s.since is null
                 and r.request ->> 'mode' <> 'audit' and r.finished_at is not null
               order by s.resource, r.finished_at desc) as last
         where last.listed > 0
           and not exists (select from teamleader.record where resource = last.resource and account = $1)
         order by last.resource"#,
        account.as_str(),
    );
    Ok(emptied.fetch_all(pool).await?)
}

/// A run, for the command `status` and for HTTP.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RunStatusRow {
    /// The request's id.
    pub request_id: uuid::Uuid,
    /// Its parameters; null: it was cancelled before a worker knew it.
    pub request: Value,
    /// `running`, `completed`, `partial`, `failed`, `cancelled`.
    pub status: String,
    /// When it was first claimed.
    pub started_at: DateTime<Utc>,
    /// When it was finished.
    pub finished_at: Option<DateTime<Utc>>,
    /// Requests made to the API.
    pub api_requests: i64,
    /// By resource: phase, status and counts.
    pub resources: Value,
    /// Why it failed.
    pub error: Option<String>,
}

/// The newest runs, or the one with this id.
pub async fn runs(
    pool: &PgPool,
    account: &Account,
    id: Option<RunId>,
    limit: i64,
) -> Result<Vec<RunStatusRow>, StoreError> {
    runs_that(pool, account, &Which { id, ..Which::default() }, limit).await
}

/// Which runs are wanted; without anything all.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// The one with this id.
    pub id: Option<RunId>,
    /// Those whose ids begin so, in lower case with hyphens.
    pub prefix: Option<String>,
    /// Those with this status.
    pub status: Option<String>,
}

/// The newest of some runs.
pub async fn runs_that(
    pool: &PgPool,
    account: &Account,
    which: &Which,
    limit: i64,
) -> Result<Vec<RunStatusRow>, StoreError> {
    let rows = sqlx::query_as!(
        RunStatusRow,
        r#"select r.id as request_id, r.request, r.status, r.started_at, r.finished_at, r.api_requests, r.error,
             coalesce((
                 select jsonb_object_agg(s.resource, jsonb_build_object(
                     'phase', s.phase, 'status', s.status, 'listed', s.listed, 'created', s.created, 'updated',
                         s.updated,
                     'unchanged', s.unchanged, 'deleted', s.deleted, 'rejected', s.rejected, 'detailed', s.detailed,
                         'matches', s.matches,
                     'verified', s.verified, 'error', s.error, 'drift', s.drift)
                     || case when r.request ->> 'mode' = 'audit'
                         then jsonb_build_object('missing', s.missing, 'stale', s.stale, 'wrong', s.wrong) else '{}'
                             end)
                 from teamleader2db.sync_step s where s.account = r.account and s.run_id = r.id), '{}') as "resources!"
         from teamleader2db.sync_run r
         where r.account = $1 and ($2::uuid is null or r.id = $2)
           and ($4::text is null or starts_with(r.id::text, $4)) and ($5::text is null or r.status = $5)
         order by r.started_at desc limit $3"#,
        account.as_str(),
        which.id.map(|id| id.0),
        limit,
        which.prefix.as_deref(),
        which.status.as_deref(),
    )
    .fetch_all(pool)
    .await?;
    Ok(rows)
}
