//! A delivery claims its run: one that begins, or one that goes on.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{PgPool, Postgres, Transaction};

use super::finish::{self, Ending};
use super::{Cursor, Delivered, NO_SLICE, Run, Step, stored};
use crate::ids::{Account, Epoch, RunId};
use crate::messages::{Cause, Event, Forecast, Parameters, RunStatus};
use crate::process::failpoints::{self, Point};
use crate::store::outbox::{self, Reply};
use crate::store::pool::StoreError;
use crate::store::progress::{self, Progress};
use crate::store::{lease, report, runs};

/// Claims without progress after which a run is given up: it crashes every worker that works on it.
pub const MAX_ATTEMPTS: i32 = 5;

/// What a delivery means.
#[derive(Debug)]
pub enum Claim<C> {
    /// A run that is yet to be planned: see [`Beginning::begin`].
    Fresh(Beginning),
    /// A run that goes on from its checkpoint.
    Resumed(Run<C>),
    /// The run is finished, or was cancelled; its event is in the outbox, or is there again.
    AlreadyDone,
    /// Another delivery carries the run on; this one is dropped. Its reply address is stored.
    Superseded,
    /// The id belongs to a run with other parameters.
    Conflict,
    /// [`runs::MAX_REPLIES`] others wait for this run already.
    Crowded,
    /// The run was claimed too often without progress, or bugs ended the work on it too often. It is now finished as
    /// failed, for this reason; its event is in the outbox.
    GivenUp(String),
}

/// A run that begins: its transaction, and what it is planned from.
#[derive(Debug)]
pub struct Beginning {
    tx: Transaction<'static, Postgres>,
    account: Account,
    id: RunId,
    parameters: Parameters,
    reply: Reply,
    /// When it began, by the database's clock.
    pub started_at: DateTime<Utc>,
    /// How far the resources are complete.
    pub progress: Vec<Progress>,
}

/// Claims the run of a delivery, in one transaction.
pub async fn claim<C: Cursor>(
    pool: &PgPool,
    account: &Account,
    epoch: Epoch,
    delivered: &Delivered<'_>,
) -> Result<Claim<C>, StoreError> {
    let mut tx = lease::begin(pool, account, epoch).await?;
    let id = delivered.id;
    let known = stored::lock(&mut tx, account, id).await?;
    let Some(known) = known else {
        return Ok(Claim::Fresh(Beginning::of(tx, account, delivered).await?));
    };
    if !known.is_of(delivered.parameters)? {
        return Ok(Claim::Conflict);
    }
    if !known.is_running() {
        let report = finish::put_event_again(&mut tx, account, known.event, &delivered.reply).await?;
        tx.commit().await?;
        // Given up before, and delivered again: the process that gave it up died before the message was a dead letter.
        let given_up = known.attempts > MAX_ATTEMPTS || known.panics >= MAX_ATTEMPTS;
        return Ok(match report.error.filter(|_| given_up && delivered.again) {
            Some(why) => Claim::GivenUp(why),
            None => Claim::AlreadyDone,
        });
    }
    if !runs::join(&mut tx, account, id, runs::from_json(known.replies.clone())?, &delivered.reply).await? {
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
    let mut run = Run { slice, ..known.load(&mut tx, account, id).await? };
    if let Some(why) = why_given_up(known.attempts, known.panics, known.panicked_at.as_deref()) {
        finish::finish_in(&mut tx, account, &mut run, Ending::Failed(Cause::Crashed, why.clone())).await?;
        tx.commit().await?;
        return Ok(Claim::GivenUp(why));
    }
    if known.cancel_at.is_some() {
        finish::finish_in(&mut tx, account, &mut run, Ending::Cancelled).await?;
        tx.commit().await?;
        return Ok(Claim::AlreadyDone);
    }
    tx.commit().await?;
    Ok(Claim::Resumed(run))
}

/// Why a run is given up after these claims without progress and these panics, if it is.
fn why_given_up(attempts: i32, panics: i32, panicked_at: Option<&str>) -> Option<String> {
    const AGAIN: &str = "look in the worker's log for why, and send it again with a new request_id";
    if panics >= MAX_ATTEMPTS {
        let at = panicked_at.unwrap_or("an unknown place");
        return Some(format!("a bug ended the work on the run {panics} times, the last time at {at}: {AGAIN}"));
    }
    (attempts >= MAX_ATTEMPTS)
        .then(|| format!("the run was started {MAX_ATTEMPTS} times without progress and is given up: {AGAIN}"))
}

impl Beginning {
    async fn of(
        mut tx: Transaction<'static, Postgres>,
        account: &Account,
        delivered: &Delivered<'_>,
    ) -> Result<Self, StoreError> {
        let started_at = sqlx::query_scalar!(
            "insert into teamleader2db.sync_run (account, id, request, slice, attempts, replies)
         values ($1, $2, $3, $4, 1, $5) returning started_at",
            account.as_str(),
            delivered.id.0,
            json!(delivered.parameters),
            NO_SLICE,
            json!([delivered.reply]),
        )
        .fetch_one(&mut *tx)
        .await?;
        let progress = progress::of_account(&mut tx, account).await?;
        let (account, reply) = (account.clone(), delivered.reply.clone());
        let (id, parameters) = (delivered.id, delivered.parameters.clone());
        Ok(Self { tx, account, id, parameters, reply, started_at, progress })
    }

    /// Begins the run with these steps: it is stored, and the event that says so is in the outbox, with what the run is
    /// expected to take.
    pub async fn begin<C>(self, steps: Vec<Step<C>>, forecast: Forecast) -> Result<Run<C>, StoreError> {
        let Self { mut tx, account, id, parameters, reply, started_at, .. } = self;
        let resources: Vec<String> = steps.iter().map(|step| step.resource.name.to_owned()).collect();
        let since: Vec<Option<DateTime<Utc>>> = steps.iter().map(|step| step.since).collect();
        let pages: Vec<Option<i64>> = steps.iter().map(|step| step.baseline.pages).collect();
        let details: Vec<Option<i64>> = steps.iter().map(|step| step.baseline.details).collect();
        let stale: Vec<Option<i64>> = steps.iter().map(|step| step.baseline.stale).collect();
        sqlx::query!(
            "insert into teamleader2db.sync_step (account, run_id, resource, ordinal, phase, since, usual_pages,
                     usual_details, stale_details)
         select $1, $2, resource, ordinal, 'list', since, pages, details, stale
         from unnest($3::text[], $4::timestamptz[], $5::bigint[], $6::bigint[], $7::bigint[]) with ordinality
                  as planned (resource, since, pages, details, stale, ordinal)",
            account.as_str(),
            id.0,
            &resources,
            &since as &[Option<DateTime<Utc>>],
            &pages as &[Option<i64>],
            &details as &[Option<i64>],
            &stale as &[Option<i64>],
        )
        .execute(&mut *tx)
        .await?;
        let run = Run {
            id,
            parameters,
            slice: NO_SLICE,
            waits: 0,
            view_problems: Vec::new(),
            api_requests: 0,
            started_at,
            steps,
        };
        let mut report = report::of_run(&account, &run, RunStatus::Running, None);
        report.forecast = Some(forecast);
        outbox::put(&mut tx, &account, &Event::started(&report), &[Reply { reply_to: None, ..reply }]).await?;
        failpoints::reached(Point::ClaimWritten);
        tx.commit().await?;
        failpoints::reached(Point::ClaimCommitted);
        Ok(run)
    }
}
