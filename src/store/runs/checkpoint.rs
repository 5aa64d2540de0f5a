//! How far a run has come: checkpoints, requests that go back to a queue, and attempts that failed. Progress never
//! moves back.

use serde_json::json;
use sqlx::{PgPool, Postgres, Transaction};

use super::{Cursor, Step};
use crate::ids::{Account, Epoch, RunId};
use crate::messages::{Cause, ResourceStatus};
use crate::process::failpoints::{self, Point};
use crate::store::lease;
use crate::store::pool::StoreError;

/// Writes how far a step has come, in the transaction of the rows that it has merged. The run has made progress.
///
/// [`StoreError::RunEnded`], where somebody has ended the run; [`StoreError::Lost`], where the step is not as it was
/// written the last time.
pub async fn checkpoint<C: Cursor>(
    tx: &mut Transaction<'_, Postgres>,
    account: &Account,
    run: RunId,
    step: &Step<C>,
    api_requests: i64,
) -> Result<(), StoreError> {
    let counts = &step.counts;
    let cursor = step.cursor.to_json().map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let written = sqlx::query!(
        "update teamleader2db.sync_step
         set phase = $4, status = $5, position = $6, listed = $7, created = $8, updated = $9, unchanged = $10,
             deleted = $11, detailed = $12, matches = $13, verified = $14, replaced = $15, clock = $16, error = $17,
             drift = $18, aged = $19,
             missing = $20, stale = $21, wrong = $22, pages = $23, checkpoint = $24, rejected = $25,
             cause = $26, began_at = coalesce(began_at, clock_timestamp()),
             ended_at = case when $4 = 'done' then clock_timestamp() end
         where account = $1 and run_id = $2 and resource = $3 and checkpoint = $24 - 1",
        account.as_str(),
        run.0,
        step.resource.name,
        step.phase.as_str(),
        step.status.map(ResourceStatus::as_str),
        cursor,
        counts.listed,
        counts.created,
        counts.updated,
        counts.unchanged,
        counts.deleted,
        counts.detailed,
        step.matches,
        step.verified,
        counts.replaced,
        step.clock,
        step.error,
        json!(step.drift),
        counts.aged,
        counts.audited.missing,
        counts.audited.stale,
        counts.audited.wrong,
        counts.pages,
        step.checkpoint,
        counts.rejected,
        step.cause.map(Cause::as_str),
    )
    .execute(&mut **tx)
    .await?;
    if written.rows_affected() == 0 {
        return Err(StoreError::Lost);
    }
    // Last, since steps that are worked on beside each other wait for each other here. To end a run locks it before its
    // steps, but not beside this: the row of the lease keeps them apart.
    let running = sqlx::query!(
        "update teamleader2db.sync_run
         set attempts = 0, waits = 0, api_requests = api_requests + $3, progress_at = clock_timestamp(),
             wait_since = null, wait_until = null, wait_reason = null
         where account = $1 and id = $2 and status = 'running'",
        account.as_str(),
        run.0,
        api_requests,
    )
    .execute(&mut **tx)
    .await?;
    if running.rows_affected() == 0 {
        return Err(StoreError::RunEnded);
    }
    Ok(())
}

/// A request that goes back to a queue.
#[derive(Debug)]
pub struct Requeue {
    /// The run.
    pub run: RunId,
    /// The number of the delivery that goes on with it.
    pub slice: i32,
    /// Where it goes to a delay queue, because the API is down: for how many seconds, and what the API answers.
    pub waits: Option<(u32, String)>,
    /// Requests made to the API since the last checkpoint.
    pub requests: i64,
}

/// The copy of the request is confirmed by the broker: only it may work on the run from now on.
pub async fn requeue(pool: &PgPool, account: &Account, epoch: Epoch, next: &Requeue) -> Result<(), StoreError> {
    let mut tx = lease::begin(pool, account, epoch).await?;
    let (seconds, reason) = next.waits.as_ref().map(|(seconds, reason)| (f64::from(*seconds), reason)).unzip();
    let running = sqlx::query!(
        "update teamleader2db.sync_run
         set slice = $3, attempts = 0, api_requests = api_requests + $4,
             waits = waits + case when $5::double precision is null then 0 else 1 end,
             wait_since = case when $5 is null then wait_since else coalesce(wait_since, now()) end,
             waited_at = case when $5 is null then waited_at else now() end,
             wait_until = case when $5 is null then wait_until else now() + make_interval(secs => $5) end,
             wait_reason = coalesce($6, wait_reason)
         where account = $1 and id = $2 and status = 'running'",
        account.as_str(),
        next.run.0,
        next.slice,
        next.requests,
        seconds,
        reason,
    )
    .execute(&mut *tx)
    .await?;
    if running.rows_affected() == 0 {
        return Err(StoreError::RunEnded);
    }
    failpoints::reached(Point::HandBackWritten);
    tx.commit().await?;
    Ok(())
}

/// Counts a panic in the work on a run, where it happened, as a failed attempt. Whether there is such a run that goes
/// on. Not fenced: the attempt is over.
pub async fn panicked(pool: &PgPool, account: &Account, run: RunId, at: &str) -> Result<bool, StoreError> {
    let counted = sqlx::query!(
        "update teamleader2db.sync_run set panics = panics + 1, panicked_at = $3
         where account = $1 and id = $2 and status = 'running'",
        account.as_str(),
        run.0,
        at,
    )
    .execute(pool)
    .await?;
    Ok(counted.rows_affected() == 1)
}

/// A claim ended in order, although without progress: it does not count towards [`MAX_ATTEMPTS`]. Not fenced, since a
/// worker that was overtaken takes back its own claim alone.
pub async fn uncount_attempt(pool: &PgPool, account: &Account, run: RunId) -> Result<(), StoreError> {
    sqlx::query!(
        "update teamleader2db.sync_run set attempts = greatest(attempts - 1, 0)
         where account = $1 and id = $2 and status = 'running'",
        account.as_str(),
        run.0,
    )
    .execute(pool)
    .await?;
    Ok(())
}
