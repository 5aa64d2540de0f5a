//! Ending a run that somebody cancels. A run ends once: by the first that finds it `running`, and writes how it ended.
//!
//! To ask takes no lease: [`ask`] is one statement, and the worker that is at a slice of the run sees it within a
//! second. Where none is, the command that asked ends the run with [`end`], or a worker process does
//! ([`end_forgotten`]), under the row of the lease, which no epoch is taken for: a slice of another run goes on.

use std::time::Duration;

use serde_json::json;
use sqlx::{PgConnection, PgPool};
use tokio::time::{Instant, sleep};

use super::Run;
use super::finish::{self, Ending};
use super::stored::{self, StoredRun};
use crate::ids::{Account, RunId};
use crate::messages::{Event, RunReport, RunStatus};
use crate::process::failpoints::{self, Point};
use crate::store::pool::{self, StoreError};
use crate::store::{outbox, schema};

/// How long the worker that is at the run is waited for. It looks each second.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What became of asking a run to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is running: the worker that is at it ends it, or [`end`] does.
    IsRunning,
    /// It has ended, as it had before.
    HasEnded(RunStatus),
    /// No worker knew the id yet: it is cancelled, and its message is dropped when it comes.
    WasUnknown,
}

/// Asks a run to end. An id that no worker knows yet is cancelled at once, with its event: its message may wait in the
/// queue, or come later.
pub async fn ask(pool: &PgPool, account: &Account, id: RunId) -> Result<Asked, StoreError> {
    schema::check_not_newer(pool).await?;
    loop {
        let asked = sqlx::query!(
            "update teamleader2db.sync_run set cancel_at = coalesce(cancel_at, now())
             where account = $1 and id = $2 and status = 'running'",
            account.as_str(),
            id.0,
        )
        .execute(pool)
        .await?;
        failpoints::reached(Point::CancelAsked);
        if asked.rows_affected() == 1 {
            return Ok(Asked::IsRunning);
        }
        if let Some(status) = status(pool, account, id).await? {
            return Ok(Asked::HasEnded(status));
        }
        let mut tx = pool::begin(pool).await?;
        if insert_cancelled(&mut tx, account, id).await? {
            tx.commit().await?;
            return Ok(Asked::WasUnknown);
        }
        // A worker has started it in between.
    }
}

/// How a run ended, or that it is running; `None`: no run has the id.
pub async fn status(pool: &PgPool, account: &Account, id: RunId) -> Result<Option<RunStatus>, StoreError> {
    let status = sqlx::query_scalar!(
        "select status from teamleader2db.sync_run where account = $1 and id = $2",
        account.as_str(),
        id.0
    )
    .fetch_optional(pool)
    .await?;
    status
        .map(|word| RunStatus::parse(&word).ok_or_else(|| StoreError::NewerRun(format!("the status {word:?}"))))
        .transpose()
}

/// A run without parameters, which has ended. False if the id has a run by now.
async fn insert_cancelled(tx: &mut PgConnection, account: &Account, id: RunId) -> Result<bool, StoreError> {
    let report = RunReport::cancelled(account, id.0);
    let inserted = sqlx::query!(
        "insert into teamleader2db.sync_run (account, id, request, status, cancel_at, finished_at, event)
         values ($1, $2, null, 'cancelled', now(), $3, $4) on conflict do nothing",
        account.as_str(),
        id.0,
        report.finished_at,
        json!(report),
    )
    .execute(&mut *tx)
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(false);
    }
    outbox::put(tx, account, &Event::of_run(&report), &[]).await?;
    Ok(true)
}

/// Waits for the worker that is at the run to end it, and ends it if none does: it waits in a queue, or its worker does
/// not answer. Returns how it ended.
pub async fn settle(pool: &PgPool, account: &Account, id: RunId) -> Result<RunStatus, StoreError> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match status(pool, account, id).await? {
            Some(RunStatus::Running) => sleep(LOOK_EVERY).await,
            Some(ended) => return Ok(ended),
            None => break,
        }
    }
    Ok(end(pool, account, id).await?.unwrap_or(RunStatus::Cancelled))
}

/// Ends the runs of an account that were asked to end and have not for 1.5 s: no slice is at work on them, and who
/// asked does not wait, or has died. Returns whether there was one.
pub async fn end_forgotten(pool: &PgPool, account: &Account) -> Result<bool, StoreError> {
    let forgotten = sqlx::query_scalar!(
        "select id from teamleader2db.sync_run
         where account = $1 and status = 'running' and cancel_at < now() - interval '1.5 seconds'",
        account.as_str(),
    )
    .fetch_all(pool)
    .await?;
    for id in &forgotten {
        end(pool, account, RunId(*id)).await?;
    }
    Ok(!forgotten.is_empty())
}

/// The other accounts of the copy that have a run with this id.
pub async fn accounts_with(pool: &PgPool, account: &Account, id: RunId) -> Result<Vec<String>, StoreError> {
    let others = sqlx::query_scalar!(
        "select account from teamleader2db.sync_run where id = $2 and account <> $1 order by account",
        account.as_str(),
        id.0,
    )
    .fetch_all(pool)
    .await?;
    Ok(others)
}

/// Whether a run that is worked on is to end: it was asked to, or has ended.
pub async fn is_asked(pool: &PgPool, account: &Account, id: RunId) -> Result<bool, StoreError> {
    let asked = sqlx::query_scalar!(
        r#"select cancel_at is not null or status <> 'running' as "asked!" from teamleader2db.sync_run
           where account = $1 and id = $2"#,
        account.as_str(),
        id.0
    )
    .fetch_optional(pool)
    .await?;
    Ok(asked.unwrap_or(false))
}

/// Ends a run as cancelled, if it is still running. Returns how it ended, by this or before.
///
/// Waits for the transaction that a slice is in the midst of, and the next one of that slice finds the run ended. Locks
/// the lease, the run and the steps in this order, as all do that write for a run.
pub async fn end(pool: &PgPool, account: &Account, id: RunId) -> Result<Option<RunStatus>, StoreError> {
    let mut tx = pool::begin(pool).await?;
    sqlx::query!("select from teamleader2db.lease where account = $1 for update", account.as_str())
        .fetch_optional(&mut *tx)
        .await?;
    schema::check_not_newer(&mut *tx).await?;
    let known = stored::lock(&mut tx, account, id).await?;
    let Some(known) = known.filter(StoredRun::is_running) else {
        drop(tx);
        return status(pool, account, id).await;
    };
    let mut run: Run<()> = known.load(&mut tx, account, id).await?;
    finish::finish_in(&mut tx, account, &mut run, Ending::Cancelled).await?;
    failpoints::reached(Point::CancelWritten);
    tx.commit().await?;
    Ok(Some(RunStatus::Cancelled))
}
