//! The journal of runs: claims, checkpoints and hand-backs. Progress never moves back.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::outbox::{self, Reply};
use super::pool::StoreError;
use super::run::{Delivered, Run, Step};
use super::{ending, lease, report, run};
use crate::fault::{self, Point};
use super::pool::{self, StoreError};
use super::run::{Run, Step};
use super::{lease, report, run};
use crate::ids::{Account, Epoch, RunId};
use crate::message::{Event, Parameters, RunReport, RunStatus};

/// Claims without progress after which a run is given up: it crashes whoever works on it.
pub const MAX_ATTEMPTS: i32 = 5;

/// Reply addresses of a run: as many senders may wait for it.
pub const MAX_REPLIES: usize = 100;

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
    /// [`MAX_REPLIES`] others wait for this run already.
    Crowded,
    /// The run was claimed too often without progress, and is now finished as failed; its event is in the outbox.
    GivenUp,
}

/// Claims the run of a delivery, in one transaction. `plan` makes the steps of a run that begins, from the watermarks.
pub async fn claim(
    pool: &PgPool,
    account: &Account,
    epoch: Epoch,
    delivered: &Delivered<'_>,
    plan: impl FnOnce(&[(String, DateTime<Utc>)]) -> Vec<Step>,
) -> Result<Claim, StoreError> {
    let mut tx = lease::begin(pool, account, epoch).await?;
    let id = delivered.id;
    let known = sqlx::query!(
        "select request, status, slice, attempts, waits, replies, started_at, event, api_requests
         from teamleader2db.sync_run where account = $1 and id = $2 for update",
        account.as_str(),
        id.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    let request = json!(delivered.parameters);
    let Some(known) = known else {
        let run = begin_run(&mut tx, account, delivered, &request, plan).await?;
        fault::reached(Point::ClaimWritten);
        tx.commit().await?;
        fault::reached(Point::ClaimCommitted);
        return Ok(Claim::Fresh(run));
    };
    // Not the JSON: a later version may write more keys than the one that began the run.
    if run::from_json::<Parameters>(known.request)? != *delivered.parameters {
        return Ok(Claim::Conflict);
    }
    if known.status != RunStatus::Running.as_str() {
        let report: RunReport = run::from_json(known.event.unwrap_or_default())?;
        outbox::put(&mut tx, account, &Event::of_run(&report), std::slice::from_ref(&delivered.reply)).await?;
        tx.commit().await?;
        // Given up before, and delivered again: whoever gave it up died before it had buried the message.
        let unburied = delivered.again && known.attempts > MAX_ATTEMPTS;
        return Ok(if unburied { Claim::GivenUp } else { Claim::AlreadyDone });
    }
    let mut replies: Vec<Reply> = run::from_json(known.replies)?;
    if !replies.contains(&delivered.reply) {
        if replies.len() >= MAX_REPLIES {
            return Ok(Claim::Crowded);
        }
        replies.push(delivered.reply.clone());
        let added = json!(replies);
        sqlx::query!(
            "update teamleader2db.sync_run set replies = $3 where account = $1 and id = $2",
            account.as_str(),
            id.0,
            added
        )
        .execute(&mut *tx)
        .await?;
    }
    if delivered.slice < known.slice {
        tx.commit().await?;
        return Ok(Claim::Superseded);
    }
    sqlx::query!(
        "update teamleader2db.sync_run set slice = $3, attempts = attempts + 1 where account = $1 and id = $2",
        account.as_str(),
        id.0,
        delivered.slice,
    )
    .execute(&mut *tx)
    .await?;
    let mut run = Run {
        id,
        parameters: delivered.parameters.clone(),
        slice: delivered.slice,
        waits: known.waits,
        api_requests: known.api_requests,
        started_at: known.started_at,
        steps: run::load_steps(&mut tx, account, id).await?,
    };
    if known.attempts >= MAX_ATTEMPTS {
        let why = format!(
            "the run was begun {MAX_ATTEMPTS} times without progress and is given up: look in the worker's log for why it ended"
        );
        ending::finish_in(&mut tx, account, &mut run, Some(why)).await?;
        tx.commit().await?;
        return Ok(Claim::GivenUp);
    }
    tx.commit().await?;
    Ok(Claim::Resumed(run))
}

async fn begin_run(
    tx: &mut PgConnection,
    account: &Account,
    delivered: &Delivered<'_>,
    request: &Value,
    plan: impl FnOnce(&[(String, DateTime<Utc>)]) -> Vec<Step>,
) -> Result<Run, StoreError> {
    let replies = json!([delivered.reply]);
    let started_at = sqlx::query_scalar!(
        "insert into teamleader2db.sync_run (account, id, request, slice, attempts, replies)
         values ($1, $2, $3, $4, 1, $5) returning started_at",
        account.as_str(),
        delivered.id.0,
        request,
        delivered.slice,
        replies,
    )
    .fetch_one(&mut *tx)
    .await?;
    let watermarks: Vec<(String, DateTime<Utc>)> = sqlx::query!(
        r#"select resource, watermark as "watermark!" from teamleader2db.cursor where account = $1 and watermark is not null"#,
        account.as_str()
    )
    .fetch_all(&mut *tx)
    .await?
    .into_iter()
    .map(|row| (row.resource, row.watermark))
    .collect();
    let steps = plan(&watermarks);
    let resources: Vec<String> = steps.iter().map(|step| step.resource.name.to_owned()).collect();
    let since: Vec<Option<DateTime<Utc>>> = steps.iter().map(|step| step.since).collect();
    sqlx::query!(
        "insert into teamleader2db.sync_step (account, run_id, resource, ordinal, phase, since)
         select $1, $2, resource, ordinal, 'list', since
         from unnest($3::text[], $4::timestamptz[]) with ordinality as planned (resource, since, ordinal)",
        account.as_str(),
        delivered.id.0,
        &resources,
        &since as &[Option<DateTime<Utc>>],
    )
    .execute(&mut *tx)
    .await?;
    let run = Run {
        id: delivered.id,
        parameters: delivered.parameters.clone(),
        slice: delivered.slice,
        waits: 0,
        api_requests: 0,
        started_at,
        steps,
    };
    let report = report::of_run(account, &run, RunStatus::Running, None);
    outbox::put(
        tx,
        account,
        &Event::started(&report),
        std::slice::from_ref(&Reply { reply_to: None, correlation_id: delivered.reply.correlation_id.clone() }),
    )
    .await?;
    Ok(run)
}

/// Writes how far a step has come, in the transaction of the rows that it has merged. The run has made progress.
pub async fn checkpoint(
    tx: &mut Transaction<'_, Postgres>,
    account: &Account,
    run: RunId,
    step: &Step,
    api_requests: i64,
) -> Result<(), StoreError> {
    let counts = &step.counts;
    sqlx::query!(
        "update teamleader2db.sync_step
         set phase = $4, status = $5, position = $6, listed = $7, created = $8, updated = $9, unchanged = $10, deleted = $11,
             detailed = $12, matches = $13, verified = $14, replaced = $15, clock = $16, error = $17
         where account = $1 and run_id = $2 and resource = $3",
        account.as_str(),
        run.0,
        step.resource.name,
        step.phase.as_str(),
        step.status,
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
    )
    .execute(&mut **tx)
    .await?;
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
    fault::reached(Point::HandBackWritten);
    tx.commit().await?;
    Ok(())
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
    tx.commit().await?;
    Ok(())
}

/// Finishes a run: its status, the resources' last success, and the final event, in one transaction. An `error` of the run as a
/// whole makes it `failed`, whatever its resources did.
pub async fn finish(
    pool: &PgPool,
    account: &Account,
    epoch: Epoch,
    run: &mut Run,
    api_requests: i64,
    error: Option<String>,
) -> Result<RunReport, StoreError> {
    let mut tx = lease::begin(pool, account, epoch).await?;
    sqlx::query!(
        "update teamleader2db.sync_run set api_requests = api_requests + $3 where account = $1 and id = $2",
        account.as_str(),
        run.id.0,
        api_requests,
    )
    .execute(&mut *tx)
    .await?;
    let report = finish_in(&mut tx, account, run, error).await?;
    tx.commit().await?;
    Ok(report)
}

async fn finish_in(
    tx: &mut PgConnection,
    account: &Account,
    run: &mut Run,
    error: Option<String>,
) -> Result<RunReport, StoreError> {
    for step in run.steps.iter_mut().filter(|step| step.status.is_none()) {
        step.end("failed", Some(error.clone().unwrap_or_else(|| UNFINISHED.to_owned())));
    }
    sqlx::query!(
        "update teamleader2db.sync_step set phase = 'done', status = 'failed', position = null, error = $3
         where account = $1 and run_id = $2 and status is null",
        account.as_str(),
        run.id.0,
        error.as_deref().unwrap_or(UNFINISHED),
    )
    .execute(&mut *tx)
    .await?;
    let failed = run.steps.iter().filter(|step| step.status == Some("failed")).count();
    let status = match failed {
        _ if error.is_some() => RunStatus::Failed,
        0 => RunStatus::Completed,
        all if all == run.steps.len() => RunStatus::Failed,
        _ => RunStatus::Partial,
    };
    let row = sqlx::query!(
        "update teamleader2db.sync_run set status = $3, finished_at = now(), error = $4 where account = $1 and id = $2
         returning api_requests, finished_at, replies",
        account.as_str(),
        run.id.0,
        status.as_str(),
        error,
    )
    .fetch_one(&mut *tx)
    .await?;
    run.api_requests = row.api_requests;
    let mut report = report::of_run(account, run, status, error);
    report.finished_at = row.finished_at;
    let completed = |full: bool| -> Vec<String> {
        let wanted =
            run.steps.iter().filter(|step| step.status == Some("completed") && (!full || step.since.is_none()));
        wanted.map(|step| step.resource.name.to_owned()).collect()
    };
    sqlx::query!(
        "insert into teamleader2db.cursor as c (account, resource, last_success_at, last_full_at)
         select $1, resource, now(), case when resource = any($3) then now() end from unnest($2::text[]) as done (resource)
         on conflict (account, resource) do update set
             last_success_at = excluded.last_success_at, last_full_at = coalesce(excluded.last_full_at, c.last_full_at)",
        account.as_str(),
        &completed(false),
        &completed(true),
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("delete from teamleader2db.sync_page where account = $1 and run_id = $2", account.as_str(), run.id.0)
        .execute(&mut *tx)
        .await?;
    let kept = json!(report);
    sqlx::query!(
        "update teamleader2db.sync_run set event = $3 where account = $1 and id = $2",
        account.as_str(),
        run.id.0,
        kept
    )
    .execute(&mut *tx)
    .await?;
    let replies: Vec<Reply> = from_json(row.replies)?;
    outbox::put(tx, account, &Event::of_run(&report), &replies).await?;
    Ok(report)
}

fn from_json<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, StoreError> {
    serde_json::from_value(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// Finishes a run as failed that no delivery carries on any more. False when there is none, or it is finished already.
pub async fn abandon(
    pool: &PgPool,
    account: &Account,
    epoch: Epoch,
    id: RunId,
    reason: &str,
) -> Result<bool, StoreError> {
    let mut tx = lease::begin(pool, account, epoch).await?;
    let known = sqlx::query!(
        "select request, slice, waits, started_at, api_requests from teamleader2db.sync_run
         where account = $1 and id = $2 and status = 'running' for update",
        account.as_str(),
        id.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(known) = known else { return Ok(false) };
    let mut run = Run {
        id,
        parameters: from_json(known.request)?,
        slice: known.slice,
        waits: known.waits,
        api_requests: known.api_requests,
        started_at: known.started_at,
        steps: run::load_steps(&mut tx, account, id).await?,
    };
    finish_in(&mut tx, account, &mut run, Some(reason.to_owned())).await?;
    tx.commit().await?;
    Ok(true)
}

/// Puts the final event of a request that never became a run into the outbox. `seed` is made from the message, and the event's id
/// from it: the same message refused again has the same event.
pub async fn refuse(
    pool: &PgPool,
    account: &Account,
    id: Uuid,
    seed: Uuid,
    reason: &str,
    reply: Reply,
) -> Result<(), StoreError> {
    let mut tx = pool::begin(pool).await?;
    let event = Event::of_refusal(&RunReport::refused(account, id, reason), seed);
    outbox::put(&mut tx, account, &event, &[reply]).await?;
    tx.commit().await?;
    Ok(())
}
