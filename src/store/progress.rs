//! How far each resource is complete, in `teamleader2db.cursor`: its watermark, and what its last passes took.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use super::pool::StoreError;
use super::runs::{Run, Step};
use crate::catalog::{RESOURCES, Resource};
use crate::ids::Account;
use crate::messages::ResourceStatus;

/// How far a resource is known to be complete.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The resource.
    pub resource: String,
    /// Since when to ask for changes.
    pub watermark: Option<DateTime<Utc>>,
    /// When a pass over all of it last succeeded.
    pub last_full_at: Option<DateTime<Utc>>,
    /// List requests of the last complete pass.
    pub complete_pages: Option<i64>,
    /// The same of the last incremental pass.
    pub incremental_pages: Option<i64>,
    /// Rows that the last incremental pass has created or changed: each takes a detail.
    pub incremental_details: Option<i64>,
    /// Of how many seconds that pass read the changes.
    pub incremental_span: Option<f64>,
    /// Records that the last complete pass has listed, and rows that later ones have created; `None`: there was none.
    pub rows: Option<i64>,
    /// Rows whose detail is missing or stale; `None`: it has no details.
    pub stale_details: Option<i64>,
}

/// The progress of all resources of an account.
pub(super) async fn of_account(connection: &mut PgConnection, account: &Account) -> Result<Vec<Progress>, StoreError> {
    // Only theirs have an index.
    let detailed = RESOURCES.iter().filter(|resource| resource.has_details());
    let detailed: Vec<String> = detailed.map(|resource| resource.name.to_owned()).collect();
    let progress = sqlx::query_as!(
        Progress,
        r#"select resource, watermark, last_full_at, complete_pages, incremental_pages, incremental_details,
             incremental_span, listed_rows as rows,
             case when resource = any($2) then
                 (select count(*) from teamleader.record r
                  where r.resource = c.resource and r.account = $1 and r.deleted_at is null
                    and (r.detail_at is null or r.detail_at < r.listed_at)) end as stale_details
         from teamleader2db.cursor c where account = $1"#,
        account.as_str(),
        &detailed,
    )
    .fetch_all(connection)
    .await?;
    Ok(progress)
}

/// What a pass over a list has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// All records, to an end at this time by the API's clock, where that is believed.
    Complete(Option<DateTime<Utc>>),
    /// What changed since the watermark.
    Incremental,
}

/// Moves the watermark of a resource, in the transaction that ends its pass. Back only after a complete pass, from one
/// that cannot be: no list can have been read in the future, nor after this pass that ends now.
pub async fn move_watermark(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    watermark: DateTime<Utc>,
    pass: Pass,
) -> Result<(), StoreError> {
    let (complete, end) = match pass {
        Pass::Complete(end) => (true, end),
        Pass::Incremental => (false, None),
    };
    sqlx::query!(
        "insert into teamleader2db.cursor as c (account, resource, watermark) values ($1, $2, $3)
         on conflict (account, resource) do update set watermark = case
             when $4 and c.watermark > least($5::timestamptz, clock_timestamp()) then excluded.watermark
             else greatest(c.watermark, excluded.watermark) end",
        account.as_str(),
        resource.name,
        watermark,
        complete,
        end,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes when each resource was last synced with success, and what that took.
pub(super) async fn note_success<C>(
    tx: &mut PgConnection,
    account: &Account,
    run: &Run<C>,
    read_completely: &[String],
) -> Result<(), StoreError> {
    // What it took, for the forecasts of those to come.
    let done: Vec<&Step<C>> = run.steps.iter().filter(|step| step.status == Some(ResourceStatus::Completed)).collect();
    let names: Vec<String> = done.iter().map(|step| step.resource.name.to_owned()).collect();
    let pages: Vec<i64> = done.iter().map(|step| step.counts.pages).collect();
    let details: Vec<i64> = done.iter().map(|step| step.counts.created + step.counts.updated).collect();
    let rows: Vec<i64> =
        done.iter().map(|step| if step.since.is_none() { step.counts.listed } else { step.counts.created }).collect();
    let spans: Vec<Option<f64>> =
        done.iter().map(|step| Some((run.started_at - step.since?).as_seconds_f64())).collect();
    sqlx::query!(
        "insert into teamleader2db.cursor as c (account, resource, last_success_at, last_full_at, complete_pages,
             incremental_pages, incremental_details, incremental_span, listed_rows)
         select $1, resource, now(), case when resource = any($3) then now() end,
             case when span is null then pages end, case when span is not null then pages end,
             case when span is not null then details end, span, case when span is null then rows end
         from unnest($2::text[], $4::bigint[], $5::bigint[], $6::double precision[], $7::bigint[])
                  as done (resource, pages, details, span, rows)
         on conflict (account, resource) do update set
             last_success_at = excluded.last_success_at, last_full_at = coalesce(excluded.last_full_at, c.last_full_at),
             complete_pages = coalesce(excluded.complete_pages, c.complete_pages),
             incremental_pages = coalesce(excluded.incremental_pages, c.incremental_pages),
             incremental_details = coalesce(excluded.incremental_details, c.incremental_details),
             incremental_span = coalesce(excluded.incremental_span, c.incremental_span),
             listed_rows = coalesce(excluded.listed_rows, c.listed_rows + (
                 select rows from unnest($2::text[], $7::bigint[]) as done (resource, rows)
                 where done.resource = excluded.resource))",
        account.as_str(),
        &names,
        read_completely,
        &pages,
        &details,
        &spans as &[Option<f64>],
        &rows,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes that `missing` of `rows` rows were not marked deleted, since they are too many. Since when: the first time
/// counts.
pub async fn hold_deletions(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    (missing, rows): (i64, i64),
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into teamleader2db.cursor as c (account, resource, held_rows, held_of, held_at)
         values ($1, $2, $3, $4, now())
         on conflict (account, resource) do update set
             held_rows = excluded.held_rows, held_of = excluded.held_of,
             held_at = coalesce(c.held_at, excluded.held_at)",
        account.as_str(),
        resource.name,
        missing,
        rows,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes that no row of a resource waits to be marked deleted: a complete pass has marked what is missing, or found it.
pub async fn settle_deletions(tx: &mut PgConnection, account: &Account, resource: &Resource) -> Result<(), StoreError> {
    sqlx::query!(
        "update teamleader2db.cursor set held_rows = null, held_of = null, held_at = null, deleted_by_id = 0
         where account = $1 and resource = $2 and (held_at is not null or deleted_by_id > 0)",
        account.as_str(),
        resource.name,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Counts rows that are about to be marked deleted because their records were asked for by id. Returns how many there
/// were since the last complete pass, with these.
pub async fn count_deleted_by_id(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    rows: i64,
) -> Result<i64, StoreError> {
    let counted = sqlx::query_scalar!(
        "insert into teamleader2db.cursor as c (account, resource, deleted_by_id) values ($1, $2, $3)
         on conflict (account, resource) do update set deleted_by_id = c.deleted_by_id + excluded.deleted_by_id
         returning deleted_by_id",
        account.as_str(),
        resource.name,
        rows,
    );
    Ok(counted.fetch_one(tx).await?)
}

/// Whether a run has ever completed the resource.
pub async fn has_succeeded(pool: &PgPool, account: &Account, resource: &Resource) -> Result<bool, StoreError> {
    let succeeded = sqlx::query_scalar!(
        r#"select exists (
             select from teamleader2db.cursor
             where account = $1 and resource = $2 and last_success_at is not null) as "exists!""#,
        account.as_str(),
        resource.name,
    )
    .fetch_one(pool)
    .await?;
    Ok(succeeded)
}

/// Deletions that are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldDeletions {
    /// The resource.
    pub resource: String,
    /// Rows whose records are missing from Teamleader.
    pub missing: i64,
    /// Rows of the resource.
    pub rows: i64,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// The deletions of an account that are held.
pub async fn held_deletions(pool: &PgPool, account: &Account) -> Result<Vec<HeldDeletions>, StoreError> {
    let held = sqlx::query_as!(
        HeldDeletions,
        r#"select resource, held_rows as "missing!", held_of as "rows!", held_at as "since!" from teamleader2db.cursor
           where account = $1 and held_at is not null order by resource"#,
        account.as_str(),
    )
    .fetch_all(pool)
    .await?;
    Ok(held)
}
