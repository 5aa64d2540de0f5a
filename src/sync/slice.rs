//! One slice of work on a run: what its parts share.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt};
use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::cursor::{Run, Step};
use crate::api_client::answer::Page;
use crate::api_client::client::{ApiError, Client};
use crate::catalog::{ProjectApi, Resource};
use crate::ids::{Account, Epoch, RunId};
use crate::messages::{Cause, Parameters};
use crate::process::failpoints::{self, Point};
use crate::retry::{Failure, Verdict};
use crate::store::lease;
use crate::store::parents;
use crate::store::pool::StoreError;
use crate::store::records::elsewhere::Elsewhere;
use crate::store::runs::checkpoint;
use crate::store::runs::{Phase, StepKey};

/// A batch of answers ends early once its records have this many bytes: the memory that it takes between two
/// checkpoints.
pub const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// A batch of answers ends early after this long: what a crash costs to fetch again. At 200 requests a minute 100 take
/// half a minute.
pub const BATCH_LASTS: Duration = Duration::from_secs(5);

/// Lists that are read at a time: where an answer takes 0.4 s, one after the other would leave a quarter of the API's
/// budget.
pub const LISTS_AT_ONCE: usize = 4;

/// What the engine is set to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The account.
    pub account: Account,
    /// What a request without `resources` syncs.
    pub resources: Vec<&'static Resource>,
    /// How long one slice works.
    pub slice: Duration,
    /// How far the watermark stays behind the API's clock.
    pub lookback: Duration,
    /// Details that no list vouches for are fetched again when older.
    pub detail_max_age: Duration,
    /// How far back an incremental pass reads where the API does not report changes but can be asked for dates; `None`:
    /// all of it.
    pub incremental_window: Option<Duration>,
    /// The always-on audit; `None`: there is none.
    pub audit: Option<AuditSettings>,
}

/// What the always-on audit is set to.
#[derive(Clone, Copy, Debug)]
pub struct AuditSettings {
    /// Requests an hour, at most.
    pub rate: u32,
    /// Whether what it finds is repaired.
    pub repair: bool,
}

/// One slice of work on a run.
#[derive(Debug)]
pub struct Slice<'a> {
    /// What the engine is set to.
    pub settings: &'a Settings,
    /// The database.
    pub pool: &'a PgPool,
    /// The API, with this slice's epoch.
    pub client: Client,
    /// Whom to say which rows are written beside the lists.
    pub elsewhere: &'a Elsewhere,
    /// The fence.
    pub epoch: Epoch,
    /// The run's id.
    pub id: RunId,
    /// What was asked for.
    pub parameters: Parameters,
    /// The run. Locked for moments only: several steps are worked on at a time.
    pub run: Mutex<Run>,
    /// When to requeue.
    pub deadline: Instant,
    /// Set when the process stops or the delivery is lost.
    pub stop: CancellationToken,
    /// Which projects the account uses, once it was asked: `None` within where the API does not say.
    pub project_api: OnceCell<Option<ProjectApi>>,
}

/// Requests that a transaction is about to count: other steps' too, so they are not to be lost with it.
struct ReturnUnlessCommitted<'a> {
    client: &'a Client,
    requests: i64,
}

impl ReturnUnlessCommitted<'_> {
    /// They are counted.
    fn disarm(mut self) {
        self.requests = 0;
    }
}

impl Drop for ReturnUnlessCommitted<'_> {
    fn drop(&mut self) {
        self.client.return_request_count(self.requests);
    }
}

/// Why a piece of work was not done.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The API.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The API answers nothing at all, or only 429: waiting may help.
    #[error("{0}")]
    Down(String),
    /// The list or record is not what the API documents, although it is JSON.
    #[error("{0}")]
    Unusable(String),
    /// The account does not have the resource.
    #[error("{0}")]
    Inapplicable(String),
    /// Nothing of the resource may be read, of whatever kind of parent.
    #[error("{0}")]
    Withheld(String),
}

impl WorkError {
    /// Why a resource fails that meets this.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Api(ApiError::Failed { failure, .. }) => match failure {
                Failure::Forbidden | Failure::Unauthorized => Cause::Forbidden,
                Failure::Network | Failure::Timeout | Failure::Server | Failure::Page => Cause::Endpoint,
                Failure::RateLimited(_) => Cause::Endpoint,
                Failure::Malformed | Failure::Unreadable | Failure::Rejected => Cause::Answer,
                Failure::TooLong | Failure::NotFound => Cause::Answer,
            },
            Self::Api(ApiError::NotAuthorized) | Self::Withheld(_) | Self::Inapplicable(_) => Cause::Forbidden,
            Self::Api(ApiError::Store(_)) | Self::Store(_) => Cause::Table,
            Self::Down(_) => Cause::ApiDown,
            Self::Unusable(_) => Cause::Answer,
        }
    }

    /// Whether the API as a whole is down, and not only what the error is about: then whoever asks waits.
    pub async fn is_of_the_api(&self, client: &Client) -> bool {
        match self {
            Self::Down(_) => true,
            Self::Api(ApiError::Failed { failure: Failure::RateLimited(_), .. }) => true,
            Self::Api(ApiError::Failed { failure: Failure::Malformed, .. }) => false,
            Self::Api(ApiError::Failed { failure: Failure::Page, endpoint, .. }) => {
                // A proxy may be closed for some paths alone, and open for users.me.
                !client.is_up().await || client.lists_are_pages(endpoint).await
            }
            Self::Api(ApiError::Failed { failure, .. }) if failure.verdict() == Verdict::Backoff => {
                !client.is_up().await
            }
            Self::Api(_) | Self::Store(_) | Self::Unusable(_) => false,
            Self::Inapplicable(_) | Self::Withheld(_) => false,
        }
    }
}

impl From<sqlx::Error> for WorkError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Slice<'_> {
    /// Whether to begin nothing more.
    pub fn is_over(&self) -> bool {
        self.stop.is_cancelled() || Instant::now() >= self.deadline
    }

    /// Asks for `items`, up to `at_once` at a time, and gives the answers in their order. But for the first, it begins
    /// none once the slice is over; those that have started go on, and end with the stream.
    ///
    /// Each is a task of its own, which goes on while it is not waited for: in a token's lock it would hold up all
    /// others.
    pub fn prefetch<'s, I, A>(
        &'s self,
        items: impl Stream<Item = I> + 's,
        at_once: usize,
        mut ask: impl FnMut(I) -> A + 's,
    ) -> impl Stream<Item = A::Output> + 's
    where
        I: 's,
        A: Future<Output: Send> + Send + 'static,
    {
        let mut first = true;
        let begins = move |_: &I| std::future::ready(std::mem::take(&mut first) || !self.is_over());
        let tasks =
            items.take_while(begins).map(move |item| AbortOnDropHandle::new(tokio::spawn(ask(item).in_current_span())));
        tasks.buffered(at_once).map(|answer| {
            // Only a panic ends it without an answer: what aborts it is that nobody waits for it.
            answer.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
        })
    }

    /// Asks for a page of a list with this body: of the API, or of what the rows of another resource name.
    pub fn page(
        &self,
        resource: &'static Resource,
        place: (u32, usize),
        body: Value,
    ) -> impl Future<Output = Result<Page, WorkError>> + Send + 'static {
        let (client, pool, account) = (self.client.clone(), self.pool.clone(), self.settings.account.clone());
        async move {
            match resource.stored_in() {
                Some(of) => Ok(parents::stored_page(&pool, &account, resource, of, place).await?),
                None => Ok(client.list(resource, &body).await?),
            }
        }
    }

    /// Whether the API as a whole is down: see [`WorkError::is_of_the_api`].
    pub async fn is_down(&self, error: &WorkError) -> bool {
        error.is_of_the_api(&self.client).await
    }

    /// The run, as far as it is committed.
    pub fn run(&self) -> MutexGuard<'_, Run> {
        // Whole after any panic: it is only written where a commit is done.
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step, as far as it is committed.
    pub fn step(&self, index: usize) -> Step {
        self.run().steps[index].clone()
    }

    /// The key of the step of a resource.
    pub fn key<'k>(&'k self, resource: &'k Resource) -> StepKey<'k> {
        StepKey { account: &self.settings.account, run: self.id, resource }
    }

    /// Which projects the account uses; `None` where the API does not say, and each is asked.
    pub async fn project_api(&self) -> Result<Option<ProjectApi>, WorkError> {
        Ok(*self.project_api.get_or_try_init(|| self.client.project_api()).await?)
    }

    /// Begins a transaction that only the newest slice can commit.
    pub async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, StoreError> {
        lease::begin_batch(self.pool, &self.settings.account, self.epoch).await
    }

    /// Puts the step as it now is, its rows and the count of requests into one commit, and only then into the run.
    pub async fn commit(
        &self,
        mut tx: sqlx::Transaction<'static, sqlx::Postgres>,
        index: usize,
        step: Step,
    ) -> Result<(), StoreError> {
        let (checkpoint, phase) = {
            let committed = &self.run().steps[index];
            (committed.checkpoint, committed.phase)
        };
        let step = Step { checkpoint: checkpoint + 1, ..step };
        if phase == Phase::List && step.phase != Phase::List {
            // Other steps read its rows from now on: were they lost, those would not notice.
            lease::make_durable(&mut tx).await?;
        }
        let requests = self.client.take_request_count();
        let counted = ReturnUnlessCommitted { client: &self.client, requests };
        checkpoint::checkpoint(&mut tx, &self.settings.account, self.id, &step, requests).await?;
        failpoints::reached(Point::PageWritten);
        tx.commit().await?;
        counted.disarm();
        failpoints::reached(Point::PageCommitted);
        let mut run = self.run();
        run.api_requests += requests;
        run.waits = 0;
        run.steps[index] = step;
        Ok(())
    }

    /// The watermark for a pass that began at `clock` by the API.
    pub fn watermark(&self, clock: DateTime<Utc>) -> DateTime<Utc> {
        let lookback = chrono::Duration::from_std(self.settings.lookback).ok();
        // A lookback beyond the calendar asks for everything.
        lookback.and_then(|lookback| clock.checked_sub_signed(lookback)).unwrap_or(DateTime::UNIX_EPOCH)
    }
}
