//! The engine: works on a run until it is finished, the slice is over, or it has to wait.

use std::collections::HashSet;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, OnceCell, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, error_span, info, warn};

use super::cursor::{Run, StepCursor};
use super::order::next_step;
use super::slice::{Settings, Slice, WorkError};
use super::{by_ids, details, doubts, forecast, list, sweep, watch};
use crate::api_client::client::{ApiError, Client};
use crate::api_client::rate_limit::Share;
use crate::api_client::token_store::TokenStoreError;
use crate::api_client::webhooks::Webhooks;
use crate::catalog::Resource;
use crate::ids::Epoch;
use crate::messages::{Cause, ResourceStatus, RunReport, RunStatus};
use crate::process::failpoints::{self, Point};
use crate::process::telemetry;
use crate::retry::{self, Failure};
use crate::store::pool::{self, StoreError};
use crate::store::progress;
use crate::store::records;
use crate::store::records::elsewhere::Elsewhere;
use crate::store::runs::finish::Ending;
use crate::store::runs::{Phase, cancel, finish};
use crate::store::tokens::Tokens;
use crate::store::tokens::authorization::Accepted;
use crate::views::{self, names};

/// The database's clock is read at the beginning of a slice and this often: this machine's continues it, which may be
/// paused.
const CLOCK_EVERY: Duration = Duration::from_secs(60);

/// How a slice ended. Only the worker turns it into messages.
#[derive(Debug)]
pub enum Outcome {
    /// The run is finished, its event in the outbox.
    Finished,
    /// The slice is over, the process stops, or the account is not authorized: the request goes back to the queue.
    Requeue {
        /// Requests made to the API since the last checkpoint.
        requests: i64,
    },
    /// The API is down: the request waits in the delay queue for this many seconds.
    Wait {
        /// Which delay queue.
        seconds: u32,
        /// What it answers instead.
        reason: String,
        /// How far the run is.
        report: Box<RunReport>,
        /// Requests made to the API since the last checkpoint.
        requests: i64,
    },
    /// Nothing more may or can be written: another worker has taken over, the database is lost, or the run has ended.
    Stopped(StoreError),
}

/// Works on runs.
#[derive(Clone, Debug)]
pub struct Engine {
    /// What it is set to.
    pub settings: Settings,
    /// The database.
    pub pool: sqlx::PgPool,
    /// The API.
    pub client: Client,
    /// Whose account it is.
    pub tokens: Tokens,
    /// Notified when a run is finished: views of custom fields follow what it has read.
    pub run_finished: Arc<Notify>,
    /// Notified when hints may have come.
    pub hints_came: Arc<Notify>,
    /// Which rows hints write beside the lists of a run.
    pub elsewhere: Elsewhere,
    /// The addresses for webhooks, where they are wanted.
    pub webhooks: Option<Arc<Webhooks>>,
}

impl Engine {
    /// Works on `run` for one slice. `progress` gets a report now and then; a full channel is no harm.
    pub async fn work(
        &self,
        run: Run,
        epoch: Epoch,
        stop: CancellationToken,
        progress: mpsc::Sender<RunReport>,
    ) -> Outcome {
        let slice = Slice {
            settings: &self.settings,
            pool: &self.pool,
            client: self.client.for_slice(epoch),
            elsewhere: &self.elsewhere,
            epoch,
            id: run.id,
            parameters: run.parameters.clone(),
            run: Mutex::new(run),
            deadline: Instant::now() + self.settings.slice,
            stop,
            project_api: OnceCell::new(),
        };
        failpoints::reached(Point::SliceBegun);
        let working = async {
            match self.prepare(&slice).await {
                None => self.work_on_steps(&slice).await,
                Some(end) => end,
            }
        };
        let end = tokio::select! {
            end = working => end,
            // What it was in the midst of is rolled back.
            () = watch::until_cancelled(&slice, &progress) => End::Finishes(Ending::Cancelled),
        };
        self.end_serving_hints(Duration::ZERO).await;
        // Nothing is watched any more: who sees that a run has ended must not drop the one that reports its end.
        let outcome = end.outcome(&slice).await;
        if let Outcome::Stopped(StoreError::RunEnded) = outcome {
            report_ended_elsewhere(&slice).await;
        }
        if matches!(outcome, Outcome::Finished | Outcome::Stopped(StoreError::RunEnded)) {
            self.run_finished.notify_one();
        }
        outcome
    }

    /// What has to be known before anything is asked for; how the slice ends where it cannot be.
    async fn prepare(&self, slice: &Slice<'_>) -> Option<End> {
        if let Err(error) = self.read_clock().await {
            return Some(End::Stops(error));
        }
        match self.verify_token_owner(&slice.client).await {
            Ok(Accepted::Stored) => None,
            Ok(Accepted::OtherAccount { .. }) | Err(WorkError::Api(ApiError::NotAuthorized)) => Some(End::Requeues),
            Err(error) if slice.is_down(&error).await => Some(wait(slice, &error)),
            Err(error) => Some(refuse(error)),
        }
    }

    /// Works on the steps until the slice ends. What is worked on then is dropped and rolled back, and all requests
    /// that were made are counted.
    async fn work_on_steps(&self, slice: &Slice<'_>) -> End {
        let mut working = FuturesUnordered::new();
        let mut busy = HashSet::new();
        // Beside the steps, which may hold all connections.
        let mut keeping_time = pin!(self.keep_time());
        let hints = self.hint_server(slice.epoch, Share::Half);
        let (mut serving_hints, mut saying_so) = (pin!(hints.serve_beside_a_run()), pin!(hints.say_so()));
        let auditor = self.auditor(slice.epoch);
        let mut auditing = pin!(auditor.beside_a_run());
        // However short the slice: each does something, or a run would be handed round for ever.
        let mut has_started = false;
        loop {
            while !(has_started && slice.is_over())
                && let Some(index) = next_step(&slice.run().steps, &busy)
            {
                has_started = true;
                busy.insert(index);
                working.push(work_on(slice, index));
            }
            tokio::select! {
                worked = working.next() => match worked {
                    Some((index, StepOutcome::On)) => _ = busy.remove(&index),
                    Some((_, StepOutcome::Ends(end))) => return end,
                    None if slice.run().steps.iter().all(|step| step.phase == Phase::Done) => {
                        return End::Finishes(Ending::Worked);
                    }
                    None => return End::Requeues,
                },
                never = &mut keeping_time => match never {},
                never = &mut serving_hints => match never {},
                never = &mut saying_so => match never {},
                never = &mut auditing => match never {},
            }
        }
    }

    /// Reads the database's clock, which the client continues.
    pub(super) async fn read_clock(&self) -> Result<(), StoreError> {
        self.client.clock().set(pool::with_deadline(records::clock(&self.pool)).await?);
        Ok(())
    }

    /// Reads it again and again. Where it cannot be read, the last reading serves on: the next write notices.
    async fn keep_time(&self) -> Infallible {
        loop {
            tokio::time::sleep(CLOCK_EVERY).await;
            let _ = self.read_clock().await;
        }
    }

    /// A token that was given by hand may be of another Teamleader account, whose records must not be mixed with these.
    pub(super) async fn verify_token_owner(&self, client: &Client) -> Result<Accepted, WorkError> {
        if !self.tokens.owner_is_unknown().await? {
            return Ok(Accepted::Stored);
        }
        let by = client.who_authorized().await?;
        Ok(self.tokens.confirm_identity(&by).await?)
    }
}

/// Nothing could be asked at all.
fn refuse(error: WorkError) -> End {
    match error {
        WorkError::Store(_) | WorkError::Api(ApiError::Store(_)) => End::Stops(into_store_error(error)),
        WorkError::Api(_)
        | WorkError::Down(_)
        | WorkError::Unusable(_)
        | WorkError::Inapplicable(_)
        | WorkError::Withheld(_) => End::Finishes(Ending::Failed(error.cause(), error.to_string())),
    }
}

/// What the work on a step means for the slice.
enum StepOutcome {
    /// It goes on with another step.
    On,
    /// It ends, once no step is worked on.
    Ends(End),
}

/// How a slice ends.
enum End {
    /// The request goes back to the queue.
    Requeues,
    /// The request waits for the API, for this many seconds, since it answers this.
    Waits(u32, String),
    /// Nothing more may or can be written.
    Stops(StoreError),
    /// The run is finished.
    Finishes(Ending),
}

impl End {
    /// No step is worked on any more: all requests that were made are counted.
    async fn outcome(self, slice: &Slice<'_>) -> Outcome {
        match self {
            Self::Requeues => Outcome::Requeue { requests: slice.client.take_request_count() },
            Self::Waits(seconds, reason) => {
                let (report, requests) = (Box::new(forecast::report(slice)), slice.client.take_request_count());
                Outcome::Wait { seconds, reason, report, requests }
            }
            Self::Stops(error) => Outcome::Stopped(error),
            Self::Finishes(ending) => finish(slice, ending).await,
        }
    }
}

/// Works on a step until its phase or the slice is over, or for a batch.
async fn work_on(slice: &Slice<'_>, index: usize) -> (usize, StepOutcome) {
    let work = async {
        match work_on_phase(slice, index).await {
            Ok(()) => (index, StepOutcome::On),
            Err(error) => (index, handle(slice, index, error).await),
        }
    };
    // Whatever level is logged, the lines that are name the resource.
    let resource = slice.run().steps[index].resource.name;
    let _timed = Timed { resource, since: Instant::now() };
    work.instrument(error_span!("step", %resource)).await
}

/// Counts the time until it is dropped: work may be cut short.
struct Timed {
    resource: &'static str,
    since: Instant,
}

impl Drop for Timed {
    fn drop(&mut self) {
        telemetry::worked_on(self.resource, self.since.elapsed());
    }
}

async fn work_on_phase(slice: &Slice<'_>, index: usize) -> Result<(), WorkError> {
    let phase = slice.step(index).phase;
    // What the list left in doubt comes before whatever follows it.
    if phase != Phase::List && phase != Phase::Done && !doubts::settle(slice, index).await? {
        return Ok(());
    }
    match phase {
        Phase::List => match &slice.parameters.ids {
            Some(ids) => by_ids::read(slice, index, ids).await,
            None => list::read(slice, index).await,
        },
        Phase::Sweep => sweep::sweep_batch(slice, index).await,
        Phase::Detail | Phase::Aged => details::fetch(slice, index).await,
        Phase::Done => Ok(()),
    }
}

/// Decides what an error means for the step and the run.
async fn handle(slice: &Slice<'_>, index: usize, error: WorkError) -> StepOutcome {
    let mut step = slice.step(index);
    let resource = step.resource.name;
    // Part of a list is no reason to skip the rest of it.
    let untouched = step.phase == Phase::List && matches!(step.cursor, StepCursor::Start);
    let status = match &error {
        WorkError::Store(refused) if refused.is_refused() => ResourceStatus::Failed,
        WorkError::Store(_) | WorkError::Api(ApiError::Store(_)) => {
            return StepOutcome::Ends(End::Stops(into_store_error(error)));
        }
        WorkError::Api(ApiError::NotAuthorized) => return StepOutcome::Ends(End::Requeues),
        WorkError::Api(ApiError::Failed { failure: Failure::Forbidden, .. }) if !untouched => ResourceStatus::Failed,
        WorkError::Api(ApiError::Failed { failure: Failure::Forbidden, .. }) | WorkError::Withheld(_) => {
            match is_expected(slice, step.resource).await {
                Ok(true) => ResourceStatus::Failed,
                Ok(false) => ResourceStatus::Skipped,
                Err(error) => return StepOutcome::Ends(End::Stops(error)),
            }
        }
        WorkError::Inapplicable(_) => ResourceStatus::Skipped,
        WorkError::Api(ApiError::Failed { .. }) | WorkError::Down(_) => ResourceStatus::Failed,
        WorkError::Unusable(_) => ResourceStatus::Failed,
    };
    if slice.is_down(&error).await {
        return StepOutcome::Ends(wait(slice, &error));
    }
    let cause = error.cause();
    let why = match &error {
        WorkError::Store(refused) => format!("the table teamleader.{}: {refused}", names::table(resource)),
        other => other.to_string(),
    };
    warn!(error = why, "Resource {resource}: {}", status.as_str());
    match status {
        ResourceStatus::Skipped => step.skip(why),
        _ => step.fail(cause, why),
    }
    let written = match slice.begin().await {
        Ok(tx) => slice.commit(tx, index, step).await,
        Err(error) => Err(error),
    };
    written.err().map_or(StepOutcome::On, |error| StepOutcome::Ends(End::Stops(error)))
}

/// Whether somebody counts on a resource that may not be read: the request names it, or it completed before.
async fn is_expected(slice: &Slice<'_>, resource: &'static Resource) -> Result<bool, StoreError> {
    let named = slice.parameters.resources.as_ref().is_some_and(|names| names.iter().any(|name| name == resource.name));
    Ok(named || progress::has_succeeded(slice.pool, &slice.settings.account, resource).await?)
}

/// The API is down: waits in a delay queue, or gives up after many waits in a row.
fn wait(slice: &Slice<'_>, error: &WorkError) -> End {
    let waits = slice.run().waits;
    if waits >= retry::MAX_WAITS {
        let why = format!("the API could not be reached for hours, last: {error}");
        return End::Finishes(Ending::Failed(Cause::ApiDown, why));
    }
    let seconds = retry::delay_step(waits);
    warn!(seconds, %error, "The API is down: the request waits {seconds} s in a delay queue");
    End::Waits(seconds, error.to_string())
}

async fn finish(slice: &Slice<'_>, ending: Ending) -> Outcome {
    // Who cancels waits for the end.
    let view_problems = match ending {
        Ending::Cancelled => Vec::new(),
        Ending::Worked | Ending::Failed(..) => view_problems(slice).await,
    };
    // The count is written below, or lost: nothing that can take long lies between.
    let requests = slice.client.take_request_count();
    // It is the only one that works on the run now; the lock is not for awaiting in.
    let mut run = slice.run().clone();
    run.view_problems = view_problems;
    let finished = finish::finish(slice.pool, &slice.settings.account, slice.epoch, &mut run, requests, ending).await;
    let report = match finished {
        Ok(report) => report,
        Err(error) => return Outcome::Stopped(error),
    };
    let status = report.status.as_str();
    let times = report.mode.zip(report.started_at.zip(report.finished_at));
    telemetry::run_ended(status, times.map(|(mode, (started, finished))| (mode.as_str(), finished - started)));
    for (name, resource) in &report.resources {
        telemetry::resource_ended(name, resource.status.as_str());
        let synced = resource.status == ResourceStatus::Completed && resource.audited.is_none();
        // A resource that is asked for by name once is not expected to be synced again.
        let served = slice.settings.resources.iter().any(|resource| resource.name == name);
        if let (true, true, Some(at)) = (served, synced, report.finished_at) {
            telemetry::last_success(name, at);
        }
        if let Some(found) = resource.audited {
            let findings = [("missing", found.missing), ("stale", found.stale), ("wrong", found.wrong)];
            findings.into_iter().for_each(|(finding, rows)| telemetry::audited(name, finding, rows));
        }
    }
    let requests = report.api_requests;
    match report.status {
        RunStatus::Completed | RunStatus::Running => info!(status, requests, "The run is {status}"),
        RunStatus::Partial => warn!(status, requests, "The run is {status}"),
        RunStatus::Failed => error!(status, requests, "The run is {status}"),
        RunStatus::Cancelled => warn!(status, requests, "The run is {status}"),
    }
    Outcome::Finished
}

/// The run was ended beside its slice, by who cancelled it, which counts and logs nothing of it.
async fn report_ended_elsewhere(slice: &Slice<'_>) {
    let ended = pool::with_deadline(cancel::status(slice.pool, &slice.settings.account, slice.id)).await;
    if let Ok(Some(status)) = ended {
        let status = status.as_str();
        telemetry::run_ended(status, None);
        warn!(status, "The run is {status}: it was ended beside this slice");
    }
}

/// The views that are not as they should be, as far as is known: those of custom fields follow after the run.
async fn view_problems(slice: &Slice<'_>) -> Vec<String> {
    match pool::with_deadline(views::problems(slice.pool)).await {
        Ok(problems) => problems.into_iter().map(|found| format!("{}: {}", found.view, found.problem)).collect(),
        Err(error) => {
            warn!(%error, "The problems of views could not be read");
            vec![error.to_string()]
        }
    }
}

pub(super) fn into_store_error(error: WorkError) -> StoreError {
    match error {
        WorkError::Store(error) => error,
        WorkError::Api(ApiError::Store(TokenStoreError::Fenced)) => StoreError::Fenced,
        WorkError::Api(ApiError::Store(TokenStoreError::NewerSchema { database, program })) => {
            StoreError::NewerSchema { database, program }
        }
        WorkError::Api(ApiError::Store(TokenStoreError::Unusable(why))) => StoreError::TokensUnusable(why),
        other => StoreError::Tokens(other.to_string()),
    }
}
