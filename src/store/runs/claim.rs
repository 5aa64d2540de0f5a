//! The journal of runs: claims, checkpoints and hand-backs. Progress never moves back.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::finish;
use super::{Delivered, NO_SLICE, Run, Step};
use crate::ids::{Account, Epoch, RunId};
use crate::messages::{Event, Forecast, Parameters, ResourceStatus, RunReport, RunStatus};
use crate::process::failpoints::{self, Point};
use crate::store::outbox::{self, Reply};
use crate::store::pool::StoreError;
use crate::store::{lease, report, runs};

/// Claims without progress after which a run is given up: it crashes whoever works on it.
pub const MAX_ATTEMPTS: i32 = 5;

/// What a delivery means.
#[derive(Debug)]
pub enum Claim {
    /// A run that begins.
    Fresh(Run),
    /// A run that goes on from its checkpoint.
    Resumed(Run),
    /// The run is finished; its event is in the outbox again.
    AlreadyDone,
    /// Another delivery carries the run on; this one is dropped. Its reply address is kept.
    Superseded,
    /// The id belongs to a run with other parameters.
    Conflict,
    /// [`runs::MAX_REPLIES`] others wait for this run already.
    Crowded,
    /// The run was claimed too often without progress, or bugs ended the work on it too often. It is now finished as
    /// failed, for this reason; its event is in the outbox.
    GivenUp(String),
}

/// How far a resource is known to be complete.
#[derive(Clone, Debug)]
pub struct Cursor {
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
    /// Details that the run of the last incremental pass fetched.
    pub incremental_details: Option<i64>,
}

/// Claims the run of a delivery, in one transaction. `plan` makes the steps of a run that begins, from the
/// cursors and the database's clock; `forecast` says what it will take.
pub async fn claim(
    pool: &PgPool,
    account: &Account,
    epoch: Epoch,
    delivered: &Delivered<'_>,
    plan: impl FnOnce(&[Cursor], DateTime<Utc>) -> Vec<Step>,
    forecast: impl FnOnce(&Run) -> Forecast,
) -> Result<Claim, StoreError> {
    let mut tx = lease::begin(pool, account, epoch).await?;
    let id = delivered.id;
    let known = sqlx::query!(
        "select request, status, slice, attempts, waits, replies, started_at, event, api_requests, panics, panicked_at
         from teamleader2db.sync_run where account = $1 and id = $2 for update",
        account.as_str(),
        id.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    let request = json!(delivered.parameters);
    let Some(known) = known else {
        let run = begin_run(&mut tx, account, delivered, &request, plan, forecast).await?;
        failpoints::reached(Point::ClaimWritten);
        tx.commit().await?;
        failpoints::reached(Point::ClaimCommitted);
        return Ok(Claim::Fresh(run));
    };
    // Not the JSON: a later version may write more keys than the one that began the run.
    if runs::from_json::<Parameters>(known.request)? != *delivered.parameters {
        return Ok(Claim::Conflict);
    }
    if known.status != RunStatus::Running.as_str() {
        let report: RunReport = runs::from_json(known.event.unwrap_or_default())?;
        outbox::put(&mut tx, account, &Event::of_run(&report), std::slice::from_ref(&delivered.reply)).await?;
        tx.commit().await?;
        // Given up before, and delivered again: whoever gave it up died before it had buried the message.
        let given_up = known.attempts > MAX_ATTEMPTS || known.panics >= MAX_ATTEMPTS;
        return Ok(match report.error.filter(|_| given_up && delivered.again) {
            Some(why) => Claim::GivenUp(why),
            None => Claim::AlreadyDone,
        });
    }
    if !runs::join(&mut tx, account, id, runs::from_json(known.replies)?, &delivered.reply).await? {
        return Ok(Claim::Crowded);
    }
    if delivered.is_behind(known.slice) {
        tx.commit().await?;
        return Ok(Claim::Superseded);
    }
    let slice = delivered.slice_of(known.slice);
    sqlx::query!(
        "update teamleader2db.sync_run set slice = $3, attempts = attempts + 1 where account = $1 and id = $2",
        account.as_str(),
        id.0,
        slice,
    )
    .execute(&mut *tx)
    .await?;
    let mut run = Run {
        id,
        parameters: delivered.parameters.clone(),
        slice,
        waits: known.waits,
        api_requests: known.api_requests,
        started_at: known.started_at,
        steps: runs::load_steps(&mut tx, account, id).await?,
        view_problems: Vec::new(),
    };
    if let Some(why) = why_given_up(known.attempts, known.panics, known.panicked_at.as_deref()) {
        finish::finish_in(&mut tx, account, &mut run, Some(why.clone())).await?;
        tx.commit().await?;
        return Ok(Claim::GivenUp(why));
    }
    tx.commit().await?;
    Ok(Claim::Resumed(run))
}

/// Why a run with so many claims without progress and so many panics is worked on no more.
fn why_given_up(attempts: i32, panics: i32, panicked_at: Option<&str>) -> Option<String> {
    const AGAIN: &str = "look in the worker's log for why, and send it again with a new request_id";
    if panics >= MAX_ATTEMPTS {
        let at = panicked_at.unwrap_or("an unknown place");
        return Some(format!("a bug ended the work on the run {panics} times, the last time at {at}: {AGAIN}"));
    }
    (attempts >= MAX_ATTEMPTS)
        .then(|| format!("the run was begun {MAX_ATTEMPTS} times without progress and is given up: {AGAIN}"))
}

async fn begin_run(
    tx: &mut PgConnection,
    account: &Account,
    delivered: &Delivered<'_>,
    request: &Value,
    plan: impl FnOnce(&[Cursor], DateTime<Utc>) -> Vec<Step>,
    forecast: impl FnOnce(&Run) -> Forecast,
) -> Result<Run, StoreError> {
    let replies = json!([delivered.reply]);
    let started_at = sqlx::query_scalar!(
        "insert into teamleader2db.sync_run (account, id, request, slice, attempts, replies)
         values ($1, $2, $3, $4, 1, $5) returning started_at",
        account.as_str(),
        delivered.id.0,
        request,
        NO_SLICE,
        replies,
    )
    .fetch_one(&mut *tx)
    .await?;
    let cursors = sqlx::query_as!(
        Cursor,
        "select resource, watermark, last_full_at, complete_pages, incremental_pages, incremental_details
         from teamleader2db.cursor where account = $1",
        account.as_str()
    )
    .fetch_all(&mut *tx)
    .await?;
    let steps = plan(&cursors, started_at);
    let resources: Vec<String> = steps.iter().map(|step| step.resource.name.to_owned()).collect();
    let since: Vec<Option<DateTime<Utc>>> = steps.iter().map(|step| step.since).collect();
    let (pages, details): (Vec<_>, Vec<_>) = steps.iter().map(|step| (step.usual.pages, step.usual.details)).unzip();
    sqlx::query!(
        "insert into teamleader2db.sync_step (account, run_id, resource, ordinal, phase, since, usual_pages, usual_details)
         select $1, $2, resource, ordinal, 'list', since, pages, details
         from unnest($3::text[], $4::timestamptz[], $5::bigint[], $6::bigint[]) with ordinality
                  as planned (resource, since, pages, details, ordinal)",
        account.as_str(),
        delivered.id.0,
        &resources,
        &since as &[Option<DateTime<Utc>>],
        &pages as &[Option<i64>],
        &details as &[Option<i64>],
    )
    .execute(&mut *tx)
    .await?;
    let run = Run {
        id: delivered.id,
        parameters: delivered.parameters.clone(),
        slice: NO_SLICE,
        waits: 0,
        view_problems: Vec::new(),
        api_requests: 0,
        started_at,
        steps,
    };
    let mut report = report::of_run(account, &run, RunStatus::Running, None);
    report.forecast = Some(forecast(&run));
    outbox::put(tx, account, &Event::started(&report), &[Reply { reply_to: None, ..delivered.reply.clone() }]).await?;
    Ok(run)
}

/// Writes how far a step has come, in the transaction of the rows that it has merged. The run has made progress.
///
/// [`StoreError::Lost`], where the step is not as it was written the last time.
pub async fn checkpoint(
    tx: &mut Transaction<'_, Postgres>,
    account: &Account,
    run: RunId,
    step: &Step,
    api_requests: i64,
) -> Result<(), StoreError> {
    let counts = &step.counts;
    let written = sqlx::query!(
        "update teamleader2db.sync_step
         set phase = $4, status = $5, position = $6, listed = $7, created = $8, updated = $9, unchanged = $10, deleted = $11,
             detailed = $12, matches = $13, verified = $14, replaced = $15, clock = $16, error = $17, drift = $18, aged = $19,
             missing = $20, stale = $21, wrong = $22, pages = $23, checkpoint = $24, rejected = $25
         where account = $1 and run_id = $2 and resource = $3 and checkpoint = $24 - 1",
        account.as_str(),
        run.0,
        step.resource.name,
        step.phase.as_str(),
        step.status.map(ResourceStatus::as_str),
        step.position,
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
    )
    .execute(&mut **tx)
    .await?;
    if written.rows_affected() == 0 {
        return Err(StoreError::Lost);
    }
    sqlx::query!(
        "update teamleader2db.sync_run set attempts = 0, waits = 0, api_requests = api_requests + $3 where account = $1 and id = $2",
        account.as_str(),
        run.0,
        api_requests,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// A request that goes back to a queue.
#[derive(Debug)]
pub struct HandBack {
    /// The run.
    pub run: RunId,
    /// The number of the delivery that goes on with it.
    pub slice: i32,
    /// Whether it goes to a delay queue, because the API is down.
    pub waited: bool,
    /// Requests made to the API since the last checkpoint.
    pub requests: i64,
}

/// The copy of the request is confirmed by the broker: only it may work on the run from now on.
pub async fn hand_back(pool: &PgPool, account: &Account, epoch: Epoch, next: &HandBack) -> Result<(), StoreError> {
    let mut tx = lease::begin(pool, account, epoch).await?;
    sqlx::query!(
        "update teamleader2db.sync_run
         set slice = $3, attempts = 0, waits = waits + $4, api_requests = api_requests + $5
         where account = $1 and id = $2",
        account.as_str(),
        next.run.0,
        next.slice,
        i32::from(next.waited),
        next.requests,
    )
    .execute(&mut *tx)
    .await?;
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

/// A claim ended in order, although without progress: it does not count towards [`MAX_ATTEMPTS`]. Not fenced, since whoever was
/// overtaken takes back its own claim alone.
pub async fn not_crashed(pool: &PgPool, account: &Account, run: RunId) -> Result<(), StoreError> {
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
