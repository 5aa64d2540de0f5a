//! Resources: what their last runs came to, and what is wrong with them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::runs::Before;
use crate::catalog::{RESOURCES, Resource};
use crate::ids::Account;
use crate::messages::{Cause, Mode};
use crate::store::pool::StoreError;

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
    let names: Vec<String> = RESOURCES.iter().map(|resource| resource.name.to_owned()).collect();
    let rows = sqlx::query!(
        r#"select n.resource as "resource!", last.status as "status!", last.at as "at!", last.error, last.cause,
             last.mode as "mode!"
         from unnest($2::text[]) as n (resource)
         cross join lateral (
             -- One run after the other, from the newest on, until one has it; none where no run ever had.
             select s.status, s.error, s.cause, r.request ->> 'mode' as mode,
                 coalesce(r.finished_at, r.started_at) as at
             from teamleader2db.sync_run r
             cross join lateral (
                 select * from teamleader2db.sync_step s
                 where s.account = $1 and s.run_id = r.id and s.resource = n.resource limit 1) as s
             where (select true from teamleader2db.sync_step any_of
                    where any_of.account = $1 and any_of.resource = n.resource limit 1)
               and r.account = $1 and s.status is not null and r.request ->> 'mode' <> 'audit'
               and s.cause is distinct from 'cancelled'
             order by r.started_at desc, r.id desc limit 1) as last
         where last.status <> 'completed'
         order by n.resource"#,
        account.as_str(),
        &names,
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

/// A run, as far as one resource of it goes.
#[derive(Clone, Debug, Serialize)]
pub struct ResourceRun {
    /// The request's id.
    pub request_id: Uuid,
    /// `incremental`, `full` or `audit`.
    pub mode: Option<String>,
    /// When the run was first claimed.
    pub started_at: DateTime<Utc>,
    /// When the run was finished.
    pub finished_at: Option<DateTime<Utc>>,
    /// Of the resource: `completed`, `skipped`, `failed`; null: it is still to be done.
    pub status: Option<String>,
    /// Whether its list is proven to be complete.
    pub verified: Option<bool>,
    /// Distinct records that the list gave.
    pub listed: i64,
    /// Rows that were not there before.
    pub created: i64,
    /// Rows whose list item differed.
    pub updated: i64,
    /// Records whose row had the same list item.
    pub unchanged: i64,
    /// Rows marked deleted.
    pub deleted: i64,
    /// Rows whose detail was merged.
    pub detailed: i64,
    /// Records that could not be read or stored.
    pub rejected: i64,
    /// Why it failed or was skipped.
    pub error: Option<String>,
    /// Why it failed, as the word that decides what to do about it.
    pub cause: Option<Cause>,
}

/// The newest runs of a resource; with `before` those after this place.
pub async fn resource_runs(
    pool: &PgPool,
    account: &Account,
    resource: &str,
    before: Option<Before>,
    limit: i64,
) -> Result<Vec<ResourceRun>, StoreError> {
    let rows = sqlx::query!(
        r#"select r.id, r.request ->> 'mode' as mode, r.started_at, r.finished_at, s.status, s.verified, s.listed,
             s.created, s.updated, s.unchanged, s.deleted, s.detailed, s.rejected, s.error, s.cause
         from teamleader2db.sync_run r
         join teamleader2db.sync_step s on s.account = r.account and s.run_id = r.id
         where r.account = $1 and s.account = $1 and s.resource = $2
           and (r.started_at, r.id) < (coalesce($3, 'infinity'::timestamptz),
                                       coalesce($4, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
         order by r.started_at desc, r.id desc limit $5"#,
        account.as_str(),
        resource,
        before.map(|(at, _)| at),
        before.map(|(_, id)| id),
        limit,
    )
    .fetch_all(pool)
    .await?;
    let runs = rows.into_iter().map(|row| ResourceRun {
        request_id: row.id,
        mode: row.mode,
        started_at: row.started_at,
        finished_at: row.finished_at,
        status: row.status,
        verified: row.verified,
        listed: row.listed,
        created: row.created,
        updated: row.updated,
        unchanged: row.unchanged,
        deleted: row.deleted,
        detailed: row.detailed,
        rejected: row.rejected,
        error: row.error,
        cause: row.cause.as_deref().map(Cause::parse),
    });
    Ok(runs.collect())
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
pub(super) fn detailed() -> Vec<String> {
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
         left join lateral (
             select true as failed from teamleader2db.sync_step s
             where s.account = $1 and s.resource = n.resource and s.status = 'failed'
                 and s.cause is distinct from 'cancelled' limit 1) as f on c.last_success_at is null
         where c.last_success_at is not null or f.failed"#,
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
/// records, or later ones created rows: somebody has emptied their tables.
pub async fn emptied(pool: &PgPool, account: &Account) -> Result<Vec<String>, StoreError> {
    let emptied = sqlx::query_scalar!(
        "select c.resource from teamleader2db.cursor c
         left join lateral (
             select true as has_row from teamleader.record r
             -- In this order by the key, whatever other accounts have.
             where r.resource = c.resource and r.account = $1 order by r.id limit 1) as f on true
         where c.account = $1 and c.listed_rows > 0 and f.has_row is null
         order by c.resource",
        account.as_str(),
    );
    Ok(emptied.fetch_all(pool).await?)
}
