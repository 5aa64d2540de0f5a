//! The end of runs, and of requests that never became one: each has one final event.

use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{Delivered, NO_SLICE, Run, Step, from_json, stored};
use crate::ids::{Account, Epoch, RunId};
use crate::messages::{Cause, Event, Mode, Parameters, ResourceStatus, RunReport, RunStatus};
use crate::process::failpoints::{self, Point};
use crate::store::outbox::{self, Reply};
use crate::store::pool::{self, StoreError};
use crate::store::{lease, progress, rejected, report, runs};

/// Why a resource is failed that was not worked on to its end.
const UNFINISHED: &str = "the run ended before it was done";

/// The same of a run that somebody ended.
const CANCELLED: &str = "the run was cancelled before it was done";

/// How a run ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As its resources did.
    Worked,
    /// As failed, whatever its resources did: for this cause, and why.
    Failed(Cause, String),
    /// Somebody ended it.
    Cancelled,
}

impl Ending {
    /// Why the run as a whole failed.
    fn error(&self) -> Option<&str> {
        match self {
            Self::Failed(_, why) => Some(why),
            Self::Worked | Self::Cancelled => None,
        }
    }

    /// Why the resources failed that it was not done with.
    fn of_unfinished(&self) -> (Cause, &str) {
        match self {
            Self::Worked => (Cause::Crashed, UNFINISHED),
            Self::Failed(cause, why) => (*cause, why),
            Self::Cancelled => (Cause::Cancelled, CANCELLED),
        }
    }
}

/// Finishes a run: its status, the resources' last success, and the final event, in one transaction.
/// [`StoreError::RunEnded`], where somebody else has ended it.
pub async fn finish<C: Default>(
    pool: &PgPool,
    account: &Account,
    epoch: Epoch,
    run: &mut Run<C>,
    api_requests: i64,
    ending: Ending,
) -> Result<RunReport, StoreError> {
    let mut tx = lease::begin(pool, account, epoch).await?;
    sqlx::query!(
        "update teamleader2db.sync_run set api_requests = api_requests + $3
         where account = $1 and id = $2 and status = 'running'",
        account.as_str(),
        run.id.0,
        api_requests,
    )
    .execute(&mut *tx)
    .await?;
    let report = finish_in(&mut tx, account, run, ending).await?;
    failpoints::reached(Point::FinishWritten);
    tx.commit().await?;
    failpoints::reached(Point::FinishCommitted);
    Ok(report)
}

/// The same within an open transaction.
pub(super) async fn finish_in<C: Default>(
    tx: &mut PgConnection,
    account: &Account,
    run: &mut Run<C>,
    ending: Ending,
) -> Result<RunReport, StoreError> {
    // Before its steps, which are locked after it.
    if !stored::lock(tx, account, run.id).await?.is_some_and(|stored| stored.is_running()) {
        return Err(StoreError::RunEnded);
    }
    fail_unfinished(tx, account, run, ending.of_unfinished()).await?;
    // What was read is read completely, also where records were rejected: these are asked for again.
    let read_completely: Vec<String> =
        run.steps.iter().filter(is_read_completely).map(|step| step.resource.name.to_owned()).collect();
    let rejected = rejected::count_in_steps(tx, account, run.id.0).await?;
    for step in &mut run.steps {
        let counted = rejected.iter().find(|(resource, _)| resource == step.resource.name);
        step.counts.rejected = counted.map_or(0, |(_, records)| *records);
        step.verified &= step.counts.rejected == 0;
    }
    let status = status_of(run, &ending);
    let error = ending.error().map(str::to_owned);
    let row = sqlx::query!(
        "update teamleader2db.sync_run set status = $3, finished_at = now(), error = $4,
             (created, updated, deleted, detailed) = (
                 select sum(s.created), sum(s.updated), sum(s.deleted), sum(s.detailed)
                 from teamleader2db.sync_step s where s.account = $1 and s.run_id = $2)
         where account = $1 and id = $2
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
    // An audit says nothing of how fresh the copy is, and some records nothing of the others.
    if run.parameters.mode != Mode::Audit && run.parameters.ids.is_none() {
        progress::note_success(tx, account, run, &read_completely).await?;
    }
    sqlx::query!("delete from teamleader2db.sync_page where account = $1 and run_id = $2", account.as_str(), run.id.0)
        .execute(&mut *tx)
        .await?;
    let event = json!(report);
    sqlx::query!(
        "update teamleader2db.sync_run set event = $3 where account = $1 and id = $2",
        account.as_str(),
        run.id.0,
        event
    )
    .execute(&mut *tx)
    .await?;
    let replies: Vec<Reply> = from_json(row.replies)?;
    outbox::put(tx, account, &Event::of_run(&report), &replies).await?;
    Ok(report)
}

/// How a run ends that ends so, its steps being what they are.
fn status_of<C>(run: &Run<C>, ending: &Ending) -> RunStatus {
    let failed = run.steps.iter().filter(|step| step.status == Some(ResourceStatus::Failed)).count();
    match (ending, failed) {
        (Ending::Cancelled, _) => RunStatus::Cancelled,
        (Ending::Failed(..), _) => RunStatus::Failed,
        (Ending::Worked, 0) if run.steps.iter().all(|step| step.counts.rejected == 0) => RunStatus::Completed,
        (Ending::Worked, all) if all == run.steps.len() => RunStatus::Failed,
        (Ending::Worked, _) => RunStatus::Partial,
    }
}

/// Fails the resources that the run was not done with.
async fn fail_unfinished<C: Default>(
    tx: &mut PgConnection,
    account: &Account,
    run: &mut Run<C>,
    (cause, why): (Cause, &str),
) -> Result<(), StoreError> {
    let mut unfinished = 0;
    for step in run.steps.iter_mut().filter(|step| step.status.is_none()) {
        step.fail(cause, why.to_owned());
        unfinished += 1;
    }
    let ended = sqlx::query!(
        "update teamleader2db.sync_step set phase = 'done', status = 'failed', position = null, error = $3, cause = $4
         where account = $1 and run_id = $2 and status is null",
        account.as_str(),
        run.id.0,
        why,
        cause.as_str(),
    )
    .execute(tx)
    .await?;
    if ended.rows_affected() == unfinished { Ok(()) } else { Err(StoreError::Lost) }
}

/// The report of a run that has ended, if a request with these parameters means it: what its final event says, whether
/// it was sent or not. `None` where there is no such run, it goes on, or what stands of it cannot be read.
pub async fn ended(
    pool: &PgPool,
    account: &Account,
    id: RunId,
    parameters: &Parameters,
) -> Result<Option<RunReport>, StoreError> {
    let row = sqlx::query!(
        "select request, event from teamleader2db.sync_run where account = $1 and id = $2 and status <> 'running'",
        account.as_str(),
        id.0,
    )
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if !stored::is_of(row.request.as_ref(), parameters)? {
        return Ok(None);
    }
    row.event.map(from_json).transpose()
}

/// Puts the final event of a run that has ended into the outbox once more. Returns its report.
pub(super) async fn put_event_again(
    tx: &mut PgConnection,
    account: &Account,
    event: Option<serde_json::Value>,
    reply: &Reply,
) -> Result<RunReport, StoreError> {
    let report: RunReport = from_json(event.unwrap_or_default())?;
    outbox::put(tx, account, &Event::of_run(&report), std::slice::from_ref(reply)).await?;
    Ok(report)
}

fn is_read_completely<C>(step: &&Step<C>) -> bool {
    step.status == Some(ResourceStatus::Completed) && step.since.is_none() && step.verified
}

/// What became of a request that the broker gave up.
#[derive(Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// It has its final event, which is in the outbox: that of its run.
    Ended,
    /// Its run goes on; the sender has joined those that wait for it.
    GoesOn,
    /// Its run has started, and no other message may carry it on: this one has to be delivered again.
    HasBegun,
    /// The id belongs to a run with other parameters.
    Conflict,
}

/// Decides about a request that the broker gave up. A run that is finished has its event again. One that is under way
/// goes on, unless the message was delivered too often (`poisonous`), which ends it as failed. A request that never
/// became a run becomes a failed one, so that it has one final event, whatever comes after it under the same id.
pub async fn abandon(
    pool: &PgPool,
    account: &Account,
    epoch: Epoch,
    delivered: &Delivered<'_>,
    poisonous: bool,
    reason: &str,
) -> Result<Abandoned, StoreError> {
    let mut tx = lease::begin(pool, account, epoch).await?;
    let id = delivered.id;
    let (request, replies) = (json!(delivered.parameters), json!([delivered.reply]));
    let inserted = sqlx::query!(
        "insert into teamleader2db.sync_run (account, id, request, slice, attempts, replies) values ($1, $2, $3, $4,
             0, $5)
         on conflict do nothing",
        account.as_str(),
        id.0,
        request,
        NO_SLICE,
        replies,
    )
    .execute(&mut *tx)
    .await?;
    let never_ran = inserted.rows_affected() == 1;
    let known = stored::lock(&mut tx, account, id).await?.ok_or(StoreError::Lost)?;
    if !known.is_of(delivered.parameters)? {
        return Ok(Abandoned::Conflict);
    }
    if !known.is_running() {
        put_event_again(&mut tx, account, known.event, &delivered.reply).await?;
        tx.commit().await?;
        return Ok(Abandoned::Ended);
    }
    runs::join(&mut tx, account, id, from_json(known.replies.clone())?, &delivered.reply).await?;
    let what = if delivered.is_behind(known.slice) {
        Abandoned::GoesOn
    } else if never_ran || poisonous {
        let mut run: Run<()> = known.load(&mut tx, account, id).await?;
        let ending = Ending::Failed(Cause::Crashed, reason.to_owned());
        finish_in(&mut tx, account, &mut run, ending).await?;
        Abandoned::Ended
    } else {
        Abandoned::HasBegun
    };
    tx.commit().await?;
    Ok(what)
}

/// Ends a run as failed of which something that stands in the database cannot be read. Its report has no resources.
/// Its event is sent again where this has ended it before, and the process died then. False, and nothing is written: it
/// has ended otherwise, and has its final event.
pub async fn fail_unreadable(
    pool: &PgPool,
    account: &Account,
    epoch: Epoch,
    id: RunId,
    reason: &str,
    reply: &Reply,
) -> Result<bool, StoreError> {
    let mut tx = lease::begin(pool, account, epoch).await?;
    let report = RunReport::refused(account, id.0, reason);
    let ended = sqlx::query!(
        "update teamleader2db.sync_run set status = 'failed', finished_at = $5, error = $3, event = $4
         where account = $1 and id = $2 and status = 'running' returning replies",
        account.as_str(),
        id.0,
        reason,
        json!(report),
        report.finished_at,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(ended) = ended else {
        let event = stored::lock(&mut tx, account, id).await?.and_then(|known| known.event);
        let before = event.and_then(|event| from_json::<RunReport>(event).ok());
        let Some(before) = before.filter(|before| before.error == report.error) else { return Ok(false) };
        outbox::put(&mut tx, account, &Event::of_run(&before), std::slice::from_ref(reply)).await?;
        tx.commit().await?;
        return Ok(true);
    };
    sqlx::query!(
        "update teamleader2db.sync_step
         set phase = 'done', status = 'failed', position = null, error = $3, cause = 'crashed'
         where account = $1 and run_id = $2 and status is null",
        account.as_str(),
        id.0,
        reason,
    )
    .execute(&mut *tx)
    .await?;
    let mut replies = vec![reply.clone()];
    // They may be what cannot be read.
    let others: Vec<Reply> = from_json(ended.replies).unwrap_or_default();
    replies.extend(others.into_iter().filter(|other| !other.is_as(reply)));
    outbox::put(&mut tx, account, &Event::of_run(&report), &replies).await?;
    tx.commit().await?;
    Ok(true)
}

/// Who learns that a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every consumer of the exchange, and the sender.
    Everyone,
    /// The sender alone: it is not the end of a request.
    Sender,
}

/// A request that is refused.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// Its id, if the message has one.
    pub id: Option<RunId>,
    /// Made from the message: the same message refused again has the same event.
    pub seed: Uuid,
    /// Why.
    pub reason: &'a str,
    /// Who sent it.
    pub reply: Reply,
    /// Who learns of it.
    pub audience: Audience,
}

/// Puts the final event of a request that never became a run into the outbox.
///
/// Its subject is the request's id, unless a run has that id: then it is an id of its own, since a client that waits
/// for that run must not take the refusal for its end. The sender knows it by the `correlation_id`, which is the
/// request's id where the sender gave none.
pub async fn refuse(pool: &PgPool, account: &Account, refusal: Refusal<'_>) -> Result<(), StoreError> {
    let Refusal { id, seed, reason, mut reply, audience } = refusal;
    let mut tx = pool::begin(pool).await?;
    let subject = match id {
        Some(id) if runs::exists(&mut tx, account, id).await? => {
            reply.correlation_id.get_or_insert_with(|| id.to_string());
            seed
        }
        Some(id) => id.0,
        None => seed,
    };
    let event = Event::of_refusal(&RunReport::refused(account, subject, reason), seed);
    // The same id means the same event to the letter, the time included.
    let event = outbox::as_before(&mut tx, account, event).await?;
    match audience {
        Audience::Everyone => outbox::put(&mut tx, account, &event, &[reply]).await?,
        Audience::Sender => outbox::put_replies(&mut tx, account, &event, &[reply]).await?,
    }
    failpoints::reached(Point::RefusalWritten);
    tx.commit().await?;
    failpoints::reached(Point::RefusalCommitted);
    Ok(())
}
