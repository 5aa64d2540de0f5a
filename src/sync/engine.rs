//! The engine: works on a run until it is finished, the slice is over, or it has to wait.

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::slice::{Settings, Slice, WorkError};
use super::{details, list, sweep};
use crate::ids::Epoch;
use crate::message::{RunReport, RunStatus};
use crate::retry::{self, Failure};
use crate::store::authorization::Accepted;
use crate::store::ending;
use crate::store::pool::StoreError;
use crate::store::report;
use crate::store::run::{Phase, Run};
use crate::store::tokens::Tokens;
use crate::teamleader::auth::TokenStoreError;
use crate::teamleader::client::{ApiError, Client};
use crate::telemetry;

/// Progress is told at most this often.
const PROGRESS_EVERY: std::time::Duration = std::time::Duration::from_secs(5);

/// How a slice ended. Only the worker turns it into messages.
#[derive(Debug)]
pub enum Outcome {
    /// The run is finished, its event in the outbox.
    Finished,
    /// The slice is over, the process stops, or the account is not authorized: the request goes back to the queue.
    HandBack {
        /// Requests made to the API since the last checkpoint.
        requests: i64,
    },
    /// The API is down: the request waits in the delay queue for this many seconds.
    Wait {
        /// Which delay queue.
        seconds: u32,
        /// Requests made to the API since the last checkpoint.
        requests: i64,
    },
    /// Nothing more may or can be written: another worker has taken over, or the database is gone. The delivery is left as it is.
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
        let mut slice = Slice {
            settings: &self.settings,
            pool: &self.pool,
            client: self.client.for_slice(epoch),
            epoch,
            run,
            deadline: Instant::now() + self.settings.slice,
            stop,
            project_api: None,
        };
        match self.know_whose_token(&slice).await {
            Ok(Accepted::Stored) => {}
            Ok(Accepted::OtherAccount) => return hand_back(&slice),
            Err(WorkError::Api(ApiError::NotAuthorized)) => return hand_back(&slice),
            Err(error) if slice.is_down(&error).await => return wait(&mut slice, &error).await,
            Err(error) => return refuse(&mut slice, error).await,
        }
        let mut told_at = Instant::now();
        let mut begun = false;
        loop {
            let Some(index) = next_step(&slice.run) else {
                return finish(&mut slice, None).await;
            };
            // However short the slice: each does something, or a run would be handed round for ever.
            if slice.stop.is_cancelled() || begun && slice.is_over() {
                return hand_back(&slice);
            }
            begun = true;
            if told_at.elapsed() >= PROGRESS_EVERY {
                told_at = Instant::now();
                // Lost when the publisher is behind: the next one tells more.
                let _ = progress.try_send(report::of_run(&self.settings.account, &slice.run, RunStatus::Running, None));
            }
            let worked = match slice.run.steps[index].phase {
                Phase::List => list::read_page(&mut slice, index).await,
                Phase::Sweep => sweep::sweep_batch(&mut slice, index).await,
                Phase::Detail | Phase::Aged => details::fetch_batch(&mut slice, index).await,
                Phase::Done => Ok(()),
            };
            if let Err(error) = worked
                && let Some(outcome) = handle(&mut slice, index, error).await
            {
                return outcome;
            }
        }
    }

    /// A token that was given by hand may be of another Teamleader account, whose records must not be mixed with these.
    async fn know_whose_token(&self, slice: &Slice<'_>) -> Result<Accepted, WorkError> {
        if !self.tokens.identity_is_open().await? {
            return Ok(Accepted::Stored);
        }
        let by = slice.client.who_authorized().await?;
        Ok(self.tokens.confirm_identity(&by).await?)
    }
}

fn hand_back(slice: &Slice<'_>) -> Outcome {
    Outcome::HandBack { requests: slice.client.take_request_count() }
}

/// Nothing could be asked at all.
async fn refuse(slice: &mut Slice<'_>, error: WorkError) -> Outcome {
    match error {
        WorkError::Store(_) | WorkError::Api(ApiError::Store(_)) => Outcome::Stopped(into_store_error(error)),
        WorkError::Api(_) | WorkError::Down(_) | WorkError::Unusable(_) | WorkError::Inapplicable(_) => {
            finish(slice, Some(error.to_string())).await
        }
    }
}

/// Lists come first, of all resources: they make the rows usable. Then deletions, then details, and last those that are merely old.
fn next_step(run: &Run) -> Option<usize> {
    [Phase::List, Phase::Sweep, Phase::Detail, Phase::Aged]
        .into_iter()
        .find_map(|phase| run.steps.iter().position(|step| step.phase == phase))
}

/// Decides what an error means for the step and the run. `None`: the run goes on with the next step.
async fn handle(slice: &mut Slice<'_>, index: usize, error: WorkError) -> Option<Outcome> {
    let step = &slice.run.steps[index];
    let resource = step.resource.name;
    // Part of a list is no reason to skip the rest of it.
    let untouched = step.phase == Phase::List && step.position.is_null();
    let status = match &error {
        WorkError::Store(refused) if refused.is_bad_value() => "failed",
        WorkError::Store(_) | WorkError::Api(ApiError::Store(_)) => {
            return Some(Outcome::Stopped(into_store_error(error)));
        }
        WorkError::Api(ApiError::NotAuthorized) => return Some(hand_back(slice)),
        WorkError::Api(ApiError::Failed { failure: Failure::Forbidden, .. }) if untouched => "skipped",
        WorkError::Inapplicable(_) => "skipped",
        WorkError::Api(ApiError::Failed { .. }) | WorkError::Down(_) | WorkError::Unusable(_) => "failed",
    };
    if slice.is_down(&error).await {
        return Some(wait(slice, &error).await);
    }
    warn!(run = %slice.run.id, resource, %error, "Resource {resource}: {status}");
    let mut step = slice.run.steps[index].clone();
    step.end(status, Some(error.to_string()));
    let written = match slice.begin().await {
        Ok(tx) => slice.commit(tx, index, step).await,
        Err(error) => Err(error),
    };
    written.err().map(Outcome::Stopped)
}

/// The API is down: waits in a delay queue, or gives up after many waits in a row.
async fn wait(slice: &mut Slice<'_>, error: &WorkError) -> Outcome {
    if slice.run.waits >= retry::MAX_WAITS {
        let why = format!("the API could not be reached for hours, last: {error}");
        return finish(slice, Some(why)).await;
    }
    let seconds = retry::delay_step(slice.run.waits);
    warn!(run = %slice.run.id, seconds, %error, "The API is down: the request waits {seconds} s in a delay queue");
    Outcome::Wait { seconds, requests: slice.client.take_request_count() }
}

async fn finish(slice: &mut Slice<'_>, error: Option<String>) -> Outcome {
    let requests = slice.client.take_request_count();
    let finished =
        ending::finish(slice.pool, &slice.settings.account, slice.epoch, &mut slice.run, requests, error).await;
    let report = match finished {
        Ok(report) => report,
        Err(error) => return Outcome::Stopped(error),
    };
    let status = report.status.as_str();
    telemetry::run_ended(status);
    for (name, resource) in &report.resources {
        let synced = resource.status == "completed" && resource.audited.is_none();
        if let (true, Some(at)) = (synced, report.finished_at) {
            telemetry::last_success(name, at);
        }
        if let Some(found) = resource.audited {
            let findings = [("missing", found.missing), ("stale", found.stale), ("wrong", found.wrong)];
            findings.into_iter().for_each(|(finding, rows)| telemetry::audited(name, finding, rows));
        }
    }
    let (run, requests) = (report.request_id, report.api_requests);
    match report.status {
        RunStatus::Completed | RunStatus::Running => info!(%run, status, requests, "The run is {status}"),
        RunStatus::Partial => warn!(%run, status, requests, "The run is {status}"),
        RunStatus::Failed => error!(%run, status, requests, "The run is {status}"),
    }
    Outcome::Finished
}

fn into_store_error(error: WorkError) -> StoreError {
    match error {
        WorkError::Store(error) => error,
        WorkError::Api(ApiError::Store(TokenStoreError::Fenced)) => StoreError::Fenced,
        other => StoreError::Tokens(other.to_string()),
    }
}
