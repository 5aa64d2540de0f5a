//! A run and its steps, as a slice works on them.
//!
//! Delivery is *at-least-once*, in both directions: a request may be delivered again, and an event may be published
//! again. The request id is the *idempotency key*: one run is stored under it, and a request that is sent or delivered
//! again joins that run, or gets its final event once more. An event that is published again has the same event id.

pub mod cancel;
pub mod checkpoint;
pub mod claim;
pub mod finish;
pub mod log;
mod stored;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use tracing::warn;

use super::outbox::Reply;
use super::pool::StoreError;
use crate::catalog::{self, Resource};
use crate::ids::{Account, RunId};
use crate::messages::{Audited, Cause, Parameters, ResourceStatus};
use crate::process::telemetry;

/// Reply addresses of a run: this many senders may wait for it.
pub const MAX_REPLIES: usize = 100;

/// The drift of answers that hold characters which jsonb refuses.
const REPLACED: &str = "a text holds U+0000 or half a surrogate pair, which is stored as U+FFFD";

/// A delivery that wants to work on a run.
#[derive(Debug)]
pub struct Delivered<'a> {
    /// The request's id.
    pub id: RunId,
    /// What it asks for.
    pub parameters: &'a Parameters,
    /// The header `slice`: whatever the sender wrote, unless the worker did.
    pub slice: i32,
    /// Whether the broker delivered this very message before.
    pub again: bool,
    /// Where the final event goes, besides the exchange.
    pub reply: Reply,
}

/// The number of a run's first delivery.
pub const NO_SLICE: i32 = 0;

impl Delivered<'_> {
    /// Whether another delivery carries the run on, whose number is `current`.
    pub fn is_behind(&self, current: i32) -> bool {
        self.slice < current
    }

    /// The number that the run has with this delivery, if it is not behind. A copy that was published and not yet
    /// committed is one ahead; a number further ahead was never given by the worker, and counts as the run's own.
    pub fn slice_of(&self, current: i32) -> i32 {
        if self.slice.checked_sub(1) == Some(current) { self.slice } else { current }
    }
}

/// Where a step goes on, as the code that works on it has it. The store reads and writes it, and knows no more of it.
/// Its default is the start of any phase.
pub trait Cursor: Default {
    /// Reads the cursor of a step in this phase.
    fn from_json(phase: Phase, json: Value) -> Result<Self, UnreadableCursor>;

    /// As it is stored; `None` at the start of a phase.
    fn to_json(&self) -> Result<Option<Value>, serde_json::Error>;
}

/// Why a stored cursor cannot be read.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum UnreadableCursor {
    /// A later version of this program has written it, in a form that this one does not know.
    #[error("a cursor of version {0}")]
    Newer(u64),
    /// It is not what this program writes.
    #[error("a cursor that cannot be read: {0}")]
    Corrupt(String),
}

/// For those who end a run, wherever it is.
impl Cursor for () {
    fn from_json(_: Phase, _: Value) -> Result<Self, UnreadableCursor> {
        Ok(())
    }

    fn to_json(&self) -> Result<Option<Value>, serde_json::Error> {
        Ok(None)
    }
}

/// A run as a slice works on it.
#[derive(Clone, Debug)]
pub struct Run<C> {
    /// The request's id.
    pub id: RunId,
    /// What was asked for.
    pub parameters: Parameters,
    /// The number of the delivery that works on it.
    pub slice: i32,
    /// Earlier waits in a row.
    pub waits: i32,
    /// Requests made to the API, as far as they are committed.
    pub api_requests: i64,
    /// When it was first claimed.
    pub started_at: DateTime<Utc>,
    /// The resources, in order.
    pub steps: Vec<Step<C>>,
    /// Views that are not as they should be, as was found when it ended.
    pub view_problems: Vec<String>,
}

/// Which step of which run of which account.
#[derive(Clone, Copy, Debug)]
pub struct StepKey<'a> {
    /// The account.
    pub account: &'a Account,
    /// The run.
    pub run: RunId,
    /// The resource of the step.
    pub resource: &'a Resource,
}

/// What a step is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading the list.
    List,
    /// Asking for what a complete pass did not see.
    Sweep,
    /// Asking for details that are missing or stale.
    Detail,
    /// Asking for details that are merely old.
    Aged,
    /// Nothing more.
    Done,
}

impl Phase {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Sweep => "sweep",
            Self::Detail => "detail",
            Self::Aged => "aged",
            Self::Done => "done",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        [Self::List, Self::Sweep, Self::Detail, Self::Aged, Self::Done]
            .into_iter()
            .find(|phase| phase.as_str() == text)
            .ok_or_else(|| StoreError::NewerRun(format!("a step in the unknown phase {text:?}")))
    }
}

/// A resource of a run.
#[derive(Clone, Debug)]
pub struct Step<C> {
    /// The resource.
    pub resource: &'static Resource,
    /// How often it was written.
    pub checkpoint: i32,
    /// What it is doing.
    pub phase: Phase,
    /// The `updated_since` of an incremental pass; `None`: a complete pass.
    pub since: Option<DateTime<Utc>>,
    /// Where in the phase to go on.
    pub cursor: C,
    /// How it ended, once it has.
    pub status: Option<ResourceStatus>,
    /// Counts, as they go into the report.
    pub counts: Counts,
    /// How many records the API said that the list holds.
    pub matches: Option<i64>,
    /// Whether the pass is proven complete.
    pub verified: bool,
    /// The API's clock when the pass began.
    pub clock: Option<DateTime<Utc>>,
    /// Why it failed or was skipped.
    pub error: Option<String>,
    /// Why it failed, or will have: what an operator does about it follows.
    pub cause: Option<Cause>,
    /// Drift: how the API's answers differed from its documents, as text.
    pub drift: BTreeSet<String>,
    /// What such steps usually take.
    pub baseline: Baseline,
}

/// What a step is expected to take, from what is known when its run starts, for forecasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// List requests of a pass; `None`: nothing is known of the list.
    pub pages: Option<i64>,
    /// Details of what will have changed, or of all rows where all are asked for.
    pub details: Option<i64>,
    /// Details that are missing or stale already.
    pub stale: Option<i64>,
}

/// How many differences from the documents are reported of a resource.
const MAX_DRIFT: usize = 50;

/// The counts of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// List requests of the first pass.
    pub pages: i64,
    /// Distinct records that the list gave.
    pub listed: i64,
    /// Rows that were not there before.
    pub created: i64,
    /// Rows whose list item differed.
    pub updated: i64,
    /// Records whose row was equal already.
    pub unchanged: i64,
    /// Rows marked deleted.
    pub deleted: i64,
    /// Rows whose detail was merged.
    pub detailed: i64,
    /// Details that were asked for since they were old.
    pub aged: i64,
    /// Characters that jsonb refuses.
    pub replaced: i64,
    /// Records that could not be read or stored: of the list's first pass; at the end of the run all that still cannot.
    pub rejected: i64,
    /// What an audit found.
    pub audited: Audited,
}

impl Counts {
    /// Adds what became of the items of a list.
    pub fn merged(&mut self, created: i64, updated: i64, unchanged: i64) {
        self.listed += created + updated + unchanged;
        self.created += created;
        self.updated += updated;
        self.unchanged += unchanged;
    }
}

impl<C: Default> Step<C> {
    /// At the start.
    pub fn new(resource: &'static Resource, since: Option<DateTime<Utc>>) -> Self {
        Self {
            resource,
            checkpoint: 0,
            phase: Phase::List,
            since,
            cursor: C::default(),
            status: None,
            counts: Counts::default(),
            matches: None,
            verified: false,
            clock: None,
            error: None,
            cause: None,
            drift: BTreeSet::new(),
            baseline: Baseline::default(),
        }
    }

    /// Stores how answers differed from the documents, and reports each difference once.
    pub fn note_drift(&mut self, differences: BTreeSet<String>) {
        for difference in differences {
            if self.drift.len() < MAX_DRIFT && !self.drift.contains(&difference) {
                warn!("The API differs from its documents: {difference}");
                telemetry::drift(self.resource.name, &difference);
                self.drift.insert(difference);
            }
        }
    }

    /// Counts characters that jsonb refuses, and that were replaced.
    pub fn note_replaced(&mut self, characters: i64) {
        self.counts.replaced += characters;
        if characters > 0 {
            self.note_drift([REPLACED.to_owned()].into());
        }
    }

    /// Goes to the start of another phase.
    pub fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.cursor = C::default();
    }

    /// Notes why it will have failed, but for what was noted before.
    pub fn note_failure(&mut self, cause: Cause, error: String) {
        if self.error.is_none() {
            (self.error, self.cause) = (Some(error), Some(cause));
        }
    }

    /// Ends it: failed, where a failure was noted.
    pub fn end(&mut self) {
        self.enter(Phase::Done);
        self.status = Some(if self.error.is_some() { ResourceStatus::Failed } else { ResourceStatus::Completed });
    }

    /// Ends it, since the account does not have the resource.
    pub fn skip(&mut self, why: String) {
        self.enter(Phase::Done);
        (self.status, self.error, self.cause) = (Some(ResourceStatus::Skipped), Some(why), None);
    }

    /// Ends it as failed.
    pub fn fail(&mut self, cause: Cause, why: String) {
        self.enter(Phase::Done);
        (self.status, self.error, self.cause) = (Some(ResourceStatus::Failed), Some(why), Some(cause));
    }
}

/// The steps of a run, in order.
pub async fn load_steps<C: Cursor>(
    tx: &mut PgConnection,
    account: &Account,
    id: RunId,
) -> Result<Vec<Step<C>>, StoreError> {
    let rows = sqlx::query!(
        "select resource, checkpoint, phase, status, since, position, listed, created, updated, unchanged, deleted,
             detailed, matches,
             verified, replaced, rejected, clock, error, cause, drift, aged, missing, stale, wrong, pages, usual_pages,
             usual_details, stale_details
         from teamleader2db.sync_step where account = $1 and run_id = $2 order by ordinal",
        account.as_str(),
        id.0
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            let resource = catalog::find(&row.resource)
                .ok_or_else(|| StoreError::NewerRun(format!("a step of the unknown resource {:?}", row.resource)))?;
            let phase = Phase::parse(&row.phase)?;
            Ok(Step {
                resource,
                checkpoint: row.checkpoint,
                phase,
                since: row.since,
                cursor: cursor(&row.resource, phase, row.position)?,
                status: row.status.as_deref().and_then(ResourceStatus::parse),
                counts: Counts {
                    pages: row.pages,
                    listed: row.listed,
                    created: row.created,
                    updated: row.updated,
                    unchanged: row.unchanged,
                    deleted: row.deleted,
                    detailed: row.detailed,
                    replaced: row.replaced,
                    rejected: row.rejected,
                    aged: row.aged,
                    audited: Audited { missing: row.missing, stale: row.stale, wrong: row.wrong },
                },
                matches: row.matches,
                verified: row.verified.unwrap_or(false),
                clock: row.clock,
                error: row.error,
                cause: row.cause.as_deref().map(Cause::parse),
                drift: from_json(row.drift)?,
                baseline: Baseline { pages: row.usual_pages, details: row.usual_details, stale: row.stale_details },
            })
        })
        .collect()
}

fn cursor<C: Cursor>(resource: &str, phase: Phase, json: Option<Value>) -> Result<C, StoreError> {
    let Some(json) = json.filter(|json| !json.is_null()) else { return Ok(C::default()) };
    C::from_json(phase, json).map_err(|error| match error {
        UnreadableCursor::Newer(_) => StoreError::NewerRun(format!("{error} in the step {resource}")),
        UnreadableCursor::Corrupt(_) => StoreError::Corrupt(format!("the step {resource} has {error}")),
    })
}

/// Adds where the final event of a run goes, besides the exchange. False: it goes to [`MAX_REPLIES`] addresses already.
pub(super) async fn join(
    connection: &mut PgConnection,
    account: &Account,
    id: RunId,
    mut replies: Vec<Reply>,
    reply: &Reply,
) -> Result<bool, StoreError> {
    if replies.iter().any(|known| known.is_as(reply)) {
        return Ok(true);
    }
    if replies.len() >= MAX_REPLIES {
        return Ok(false);
    }
    replies.push(reply.clone());
    let added = serde_json::json!(replies);
    sqlx::query!(
        "update teamleader2db.sync_run set replies = $3 where account = $1 and id = $2",
        account.as_str(),
        id.0,
        added
    )
    .execute(connection)
    .await?;
    Ok(true)
}

/// Whether a run has this id.
pub async fn exists(connection: &mut PgConnection, account: &Account, id: RunId) -> Result<bool, StoreError> {
    let exists = sqlx::query_scalar!(
        r#"select exists (select from teamleader2db.sync_run where account = $1 and id = $2) as "exists!""#,
        account.as_str(),
        id.0
    )
    .fetch_one(connection)
    .await?;
    Ok(exists)
}

/// Whether a run has started and not ended.
pub async fn is_running(pool: &PgPool, account: &Account, id: RunId) -> Result<bool, StoreError> {
    let running = sqlx::query_scalar!(
        r#"select exists (
             select from teamleader2db.sync_run where account = $1 and id = $2 and status = 'running') as "exists!""#,
        account.as_str(),
        id.0
    )
    .fetch_one(pool)
    .await?;
    Ok(running)
}

/// Reads a JSON column that this program wrote.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T, StoreError> {
    serde_json::from_value(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}
