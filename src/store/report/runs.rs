//! Runs, the newest first, and what they usually take.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::ids::{Account, RunId};
use crate::store::pool::StoreError;

/// A run, for the command `status` and for HTTP.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RunStatusRow {
    /// The request's id.
    pub request_id: Uuid,
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

/// A place between runs: those that started earlier than this one come after it, and of those that started with it the
/// ones with a lower id.
pub type Before = (DateTime<Utc>, Uuid);

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
    /// Those with this mode: `incremental`, `full`, `audit`.
    pub mode: Option<String>,
    /// Those with a step of this resource.
    pub resource: Option<String>,
    /// Those that come after this place.
    pub before: Option<Before>,
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
                     'verified', s.verified, 'error', s.error, 'cause', s.cause, 'drift', s.drift,
                     'ordinal', s.ordinal, 'began_at', s.began_at, 'ended_at', s.ended_at)
                     || case when r.request ->> 'mode' = 'audit'
                         then jsonb_build_object('missing', s.missing, 'stale', s.stale, 'wrong', s.wrong) else '{}'
                             end)
                 from teamleader2db.sync_step s where s.account = r.account and s.run_id = r.id), '{}') as "resources!"
         from teamleader2db.sync_run r
         where r.account = $1 and ($2::uuid is null or r.id = $2)
           and ($4::text is null or starts_with(r.id::text, $4)) and ($5::text is null or r.status = $5)
           and ($6::text is null or r.request ->> 'mode' = $6)
           -- By key, run after run: of an "exists" PostgreSQL may read all steps first.
           and ($7::text is null or (
               select true from teamleader2db.sync_step s
               where s.account = r.account and s.run_id = r.id and s.resource = $7 limit 1))
           and (r.started_at, r.id) < (coalesce($8, 'infinity'::timestamptz),
                                       coalesce($9, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
         order by r.started_at desc, r.id desc limit $3"#,
        account.as_str(),
        which.id.map(|id| id.0),
        limit,
        which.prefix.as_deref(),
        which.status.as_deref(),
        which.mode.as_deref(),
        which.resource.as_deref(),
        which.before.map(|(at, _)| at),
        which.before.map(|(_, id)| id),
    )
    .fetch_all(pool)
    .await?;
    Ok(rows)
}

/// A run without its resources: for long lists.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RunSummary {
    /// The request's id.
    pub request_id: Uuid,
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
    /// Rows that it created, of all resources; null until it is finished.
    pub created: Option<i64>,
    /// Rows that it updated; null until it is finished.
    pub updated: Option<i64>,
    /// Rows that it marked deleted; null until it is finished.
    pub deleted: Option<i64>,
    /// Rows whose detail it merged; null until it is finished.
    pub detailed: Option<i64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// The same runs as [`runs_that`], without their resources.
pub async fn run_summaries(
    pool: &PgPool,
    account: &Account,
    which: &Which,
    limit: i64,
) -> Result<Vec<RunSummary>, StoreError> {
    let rows = sqlx::query_as!(
        RunSummary,
        r#"select r.id as request_id, r.request, r.status, r.started_at, r.finished_at, r.api_requests, r.created,
             r.updated, r.deleted, r.detailed, r.error
         from teamleader2db.sync_run r
         where r.account = $1 and ($2::uuid is null or r.id = $2)
           and ($4::text is null or starts_with(r.id::text, $4)) and ($5::text is null or r.status = $5)
           and ($6::text is null or r.request ->> 'mode' = $6)
           and ($7::text is null or (
               select true from teamleader2db.sync_step s
               where s.account = r.account and s.run_id = r.id and s.resource = $7 limit 1))
           and (r.started_at, r.id) < (coalesce($8, 'infinity'::timestamptz),
                                       coalesce($9, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
         order by r.started_at desc, r.id desc limit $3"#,
        account.as_str(),
        which.id.map(|id| id.0),
        limit,
        which.prefix.as_deref(),
        which.status.as_deref(),
        which.mode.as_deref(),
        which.resource.as_deref(),
        which.before.map(|(at, _)| at),
        which.before.map(|(_, id)| id),
    )
    .fetch_all(pool)
    .await?;
    Ok(rows)
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
