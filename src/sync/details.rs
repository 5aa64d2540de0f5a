//! Details: `.info` for the rows whose detail is missing or stale, the newest changes first. The rows are the work
//! list.

use std::collections::BTreeMap;
use std::pin::pin;

use chrono::{DateTime, Utc};
use futures_util::future::join;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::cursor::{DetailCursor, Step, StepCursor};
use super::rejected;
use super::sample;
use super::sink::{Details, Sink};
use super::slice::{BATCH_BYTES, BATCH_LASTS, Slice, WorkError};
use crate::api_client::answer::{self, Record, Rejected};
use crate::api_client::client::ApiError;
use crate::catalog::{Detail, Resource};
use crate::messages::{Cause, Parameters};
use crate::process::telemetry;
use crate::retry::{Failure, Verdict};
use crate::store::records;
use crate::store::records::details::{self, Place, Wanted};
use crate::store::runs::Phase;

/// Rows that are chosen at once.
const CHOSEN: i64 = 100;

/// Rows a batch, which is merged between two checkpoints. With the answers that come meanwhile, and those on their way,
/// it is what a crash costs to fetch again.
const BATCH: i64 = 50;

/// Answers that come while a batch is merged.
const ANSWERS_AHEAD: usize = 16;

/// Details that are only fetched for their age, a run, of all its resources.
const MAX_AGED: i64 = 2_000;

/// Records in a row whose detail cannot be had, after which the step gives up on the rest: it is not the records then.
const MAX_FAILURES_IN_A_ROW: u32 = 20;

/// Of details of a batch that fail alike this many are named.
const FAILURES_SAID: u32 = 3;

/// What came of asking for one row.
struct DetailResponse {
    /// The database's clock when it was to be asked for.
    wanted_at: Option<DateTime<Utc>>,
    place: Place,
    answer: Result<(Record, i64), ApiError>,
}

/// What a batch brought.
#[derive(Default)]
struct DetailBatch {
    batch: Details,
    bytes: usize,
    replaced: i64,
    last: Option<Place>,
    handled: i64,
    failures_in_a_row: u32,
    first_failure: Option<WorkError>,
    /// How many details failed with each error.
    failures: BTreeMap<String, u32>,
    /// An error that concerns more than one record: the batch ends at it.
    broken_off: Option<WorkError>,
}

/// Fetches and merges details: in phase `detail` of those that are missing or stale, in phase `aged` of those that are
/// merely old. Returns when the slice is over, or, of merely old ones, when those chosen at once are merged. When none
/// is left, ends the phase.
pub async fn fetch(slice: &Slice<'_>, index: usize) -> Result<(), WorkError> {
    let mut step = slice.step(index);
    let cursor = match &step.cursor {
        StepCursor::Details(cursor) => cursor.clone(),
        _ => DetailCursor::default(),
    };
    if step.phase == Phase::Detail && matches!(step.cursor, StepCursor::Start) {
        if !rejected::ask_again(slice, index).await? {
            return Ok(());
        }
        step = slice.step(index);
    }
    let gives_up = cursor.failures_in_a_row >= MAX_FAILURES_IN_A_ROW;
    if gives_up || !wants_details(&slice.parameters, step.resource) {
        return end(slice, index, step, gives_up).await;
    }
    let (choices, wanted) = mpsc::channel(CHOSEN as usize);
    let (sender, responses) = mpsc::channel(ANSWERS_AHEAD);
    let mut ahead = pin!(join(
        prefetch_choice(slice, &step, cursor.clone(), choices),
        prefetch_answers(slice, step.resource, wanted, sender)
    ));
    let mut stored = pin!(store(slice, index, step.clone(), cursor, responses));
    tokio::select! {
        stored = &mut stored => stored,
        _ = &mut ahead => stored.await,
    }
}

/// Chooses rows, the next ones when there is room. Ends at the first error, which it sends as well.
async fn prefetch_choice(
    slice: &Slice<'_>,
    step: &Step,
    mut cursor: DetailCursor,
    choices: mpsc::Sender<Result<Place, WorkError>>,
) {
    loop {
        let places = match choose(slice, step, &cursor).await {
            Ok(chosen) => chosen,
            Err(error) => {
                _ = choices.send(Err(error)).await;
                return;
            }
        };
        cursor.after = places.last().copied();
        cursor.handled += i64::try_from(places.len()).unwrap_or(i64::MAX);
        for place in places {
            if choices.send(Ok(place)).await.is_err() {
                return;
            }
        }
        // Those that are merely old take turns with other resources'.
        if cursor.after.is_none() || step.phase == Phase::Aged {
            return;
        }
    }
}

/// Asks for the details, several at a time, until the slice is over.
async fn prefetch_answers(
    slice: &Slice<'_>,
    resource: &'static Resource,
    wanted: mpsc::Receiver<Result<Place, WorkError>>,
    sender: mpsc::Sender<Result<DetailResponse, WorkError>>,
) {
    let wanted = stream::unfold(wanted, async |mut wanted| wanted.recv().await.map(|choice| (choice, wanted)));
    let ask = |choice: Result<Place, WorkError>| {
        let client = slice.client.clone();
        async move {
            let (place, wanted_at) = (choice?, client.clock().now());
            Ok(DetailResponse { wanted_at, place, answer: client.info(resource, place.id).await })
        }
    };
    let mut answers = pin!(slice.prefetch(wanted, slice.client.most_in_flight(), ask));
    while let Some(response) = answers.next().await {
        // The receiver is closed: storing has failed, and reports why.
        if sender.send(response).await.is_err() {
            return;
        }
    }
}

/// Merges the details as they come, a batch in a transaction. Ends the phase if none comes.
async fn store(
    slice: &Slice<'_>,
    index: usize,
    mut step: Step,
    mut cursor: DetailCursor,
    mut receiver: mpsc::Receiver<Result<DetailResponse, WorkError>>,
) -> Result<(), WorkError> {
    let mut none_came = true;
    while let Some(first) = receiver.recv().await {
        none_came = false;
        let mut fetched = DetailBatch { failures_in_a_row: cursor.failures_in_a_row, ..DetailBatch::default() };
        let ends_at = Instant::now() + BATCH_LASTS;
        let mut next = Some(first);
        while let Some(response) = next {
            fetched.take(slice, step.resource, response).await;
            if fetched.is_complete() {
                break;
            }
            next = tokio::select! {
                biased;
                received = timeout_at(ends_at, receiver.recv()) => received.ok().flatten(),
                // A worker that stops does not wait for more.
                () = slice.stop.cancelled() => None,
            };
        }
        fetched.sum_up();
        let (broken_off, failures_in_a_row) = (fetched.broken_off.take(), fetched.failures_in_a_row);
        if let (0, Some(error)) = (fetched.handled, &broken_off) {
            debug!(%error, "No detail could be fetched");
            // Nothing to commit: a checkpoint would say that there was progress.
        } else {
            (step, cursor) = merge(slice, index, step, cursor, fetched).await?;
        }
        if let Some(error) = broken_off {
            return Err(error);
        }
        if failures_in_a_row >= MAX_FAILURES_IN_A_ROW {
            return Ok(());
        }
    }
    if none_came { end(slice, index, step, false).await } else { Ok(()) }
}

/// Merges a batch, and stores the cursor after it.
async fn merge(
    slice: &Slice<'_>,
    index: usize,
    mut step: Step,
    mut cursor: DetailCursor,
    fetched: DetailBatch,
) -> Result<(Step, DetailCursor), WorkError> {
    let (resource, account) = (step.resource, &slice.settings.account);
    let replaced = fetched.replaced;
    cursor.failures_in_a_row = fetched.failures_in_a_row;
    cursor.after = fetched.last.or(cursor.after);
    cursor.handled += fetched.handled;
    if step.phase == Phase::Aged {
        step.counts.aged += fetched.handled;
    }
    step.note_drift(answer::drift(&fetched.batch.records));
    if let Some(failure) = &fetched.first_failure {
        // A right that is missing does not come with the next sync.
        let cause = match failure.cause() {
            Cause::Forbidden => Cause::Forbidden,
            _ => Cause::Details,
        };
        step.note_failure(cause, format!("not every detail could be fetched: {failure}"));
    }
    step.cursor = StepCursor::Details(cursor.clone());
    let tx = slice.begin().await?;
    let missing = fetched.batch.missing.clone();
    let (mut tx, merged) = Sink::of(&slice.parameters).details(slice, tx, &mut step, fetched.batch).await?;
    if step.phase == Phase::Aged && !slice.parameters.is_audit() {
        // Else those that are deleted would be asked for before all others in each run, until a full one marks them.
        details::store_asked(&mut tx, account, resource, (&missing.ids, &missing.asked_at)).await?;
    }
    step.counts.detailed += merged;
    step.note_replaced(replaced);
    slice.commit(tx, index, step.clone()).await?;
    telemetry::records(resource.name, "detailed", merged);
    Ok((step, cursor))
}

/// Whether `.info` is asked at all. Where it adds next to nothing, a request has to name the resource, and to say
/// `refetch`.
pub(super) fn wants_details(asked: &Parameters, resource: &Resource) -> bool {
    match resource.detail {
        Detail::None => false,
        Detail::Info { .. } => true,
        Detail::OnDemand { .. } => {
            let named = asked.resources.as_ref().is_some_and(|names| names.iter().any(|n| n == resource.name));
            named && asked.refetch
        }
    }
}

/// The next rows to ask for.
async fn choose(slice: &Slice<'_>, step: &Step, cursor: &DetailCursor) -> Result<Vec<Place>, WorkError> {
    let (account, resource) = (&slice.settings.account, step.resource);
    let now = records::clock(slice.pool).await?;
    if slice.parameters.is_audit() {
        let after = cursor.after.map(|place| place.id);
        let ids = match slice.parameters.sample() {
            None => records::ids(slice.pool, account, resource.name, after, CHOSEN).await?,
            Some(sample) => {
                let left = CHOSEN.min(sample - cursor.handled).max(0);
                sample::rows(slice, resource, after, left).await?
            }
        };
        return Ok(ids.into_iter().map(|id| Place { at: now, id, rejected_before: false }).collect());
    }
    if step.phase == Phase::Aged {
        let age = chrono::Duration::from_std(slice.settings.detail_max_age).unwrap_or(chrono::Duration::MAX);
        let fetched: i64 = slice.run().steps.iter().map(|step| step.counts.aged).sum();
        let limit = CHOSEN.min(MAX_AGED - fetched).max(0);
        let before = now.checked_sub_signed(age).unwrap_or(DateTime::<Utc>::MIN_UTC);
        return Ok(details::expired_details(slice.pool, account, resource, before, cursor.after, limit).await?);
    }
    let wanted = if slice.parameters.refetch { Wanted::OlderThan(slice.run().started_at) } else { Wanted::Stale };
    Ok(details::wanting_detail(slice.pool, account, resource, wanted, cursor.after, CHOSEN).await?)
}

impl DetailBatch {
    /// Takes in what came of asking for one row.
    async fn take(&mut self, slice: &Slice<'_>, resource: &Resource, response: Result<DetailResponse, WorkError>) {
        let DetailResponse { wanted_at, place, answer } = match response {
            Ok(response) => response,
            Err(error) => {
                self.broken_off = Some(error);
                return;
            }
        };
        match answer {
            Ok((record, replaced)) if record.id == place.id => {
                self.bytes += record.json.len();
                self.batch.records.push(record);
                self.replaced += replaced;
                self.failures_in_a_row = 0;
            }
            Ok((record, _)) => {
                let what = format!("{}: asked for {} it gave {}", resource.info_endpoint(), place.id, record.id);
                self.reject(place, WorkError::Unusable(what));
            }
            // Deleted since it was listed. The next full run finds that out by its own evidence.
            Err(ApiError::Failed { failure: Failure::NotFound, .. }) => {
                self.batch.missing.ids.push(place.id);
                self.batch.missing.asked_at.push(wanted_at);
            }
            Err(error @ (ApiError::NotAuthorized | ApiError::Store(_))) => {
                self.broken_off = Some(error.into());
                return;
            }
            Err(error) => {
                let error = WorkError::from(error);
                if slice.is_down(&error).await {
                    self.broken_off = Some(WorkError::Down(error.to_string()));
                    return;
                }
                self.report(place.id, &error);
                if concerns_the_record(&error) {
                    self.reject(place, error);
                } else {
                    self.fail(error);
                }
            }
        }
        self.last = Some(place);
        self.handled += 1;
    }

    /// Says that a detail could not be fetched; of those that fail alike the first few only.
    fn report(&mut self, id: Uuid, error: &WorkError) {
        let error = error.to_string();
        let alike = self.failures.entry(error.clone()).or_default();
        *alike += 1;
        if *alike <= FAILURES_SAID {
            warn!(%id, error, "A detail could not be fetched");
        }
    }

    /// How many others failed alike.
    fn sum_up(&self) {
        for (error, alike) in &self.failures {
            if let more @ 1.. = alike.saturating_sub(FAILURES_SAID) {
                warn!(more, error, "{more} more details could not be fetched");
            }
        }
    }

    fn fail(&mut self, error: WorkError) {
        self.failures_in_a_row += 1;
        self.first_failure.get_or_insert(error);
    }

    /// One record whose detail cannot be had: it is reported, and costs no other. Twenty in a row are not the records'
    /// fault, but for those of which it is known that they cannot be had, if the API says so at once.
    fn reject(&mut self, place: Place, error: WorkError) {
        self.batch.rejected.push(Rejected { id: place.id, reason: error.to_string(), has_id: true });
        let tries_again =
            matches!(&error, WorkError::Api(ApiError::Failed { failure, .. }) if failure.verdict() != Verdict::Never);
        if place.rejected_before && !tries_again {
            return;
        }
        self.failures_in_a_row += 1;
        if self.failures_in_a_row >= MAX_FAILURES_IN_A_ROW {
            self.first_failure.get_or_insert(error);
        }
    }

    /// Whether it is to be merged now.
    fn is_complete(&self) -> bool {
        self.handled >= BATCH
            || self.bytes >= BATCH_BYTES
            || self.failures_in_a_row >= MAX_FAILURES_IN_A_ROW
            || self.broken_off.is_some()
    }
}

/// Whether it says something of the record that was asked for, and nothing of the endpoint, the token or the budget.
/// The API as a whole answers.
pub(super) fn concerns_the_record(error: &WorkError) -> bool {
    match error {
        WorkError::Api(ApiError::Failed { failure, .. }) => match failure {
            Failure::Unreadable | Failure::Malformed | Failure::Rejected | Failure::TooLong => true,
            Failure::Network | Failure::Timeout | Failure::Server | Failure::Page => true,
            Failure::RateLimited(_) | Failure::Unauthorized | Failure::Forbidden | Failure::NotFound => false,
        },
        WorkError::Unusable(_) => true,
        WorkError::Api(ApiError::NotAuthorized | ApiError::Store(_)) => false,
        WorkError::Store(_) | WorkError::Down(_) | WorkError::Inapplicable(_) | WorkError::Withheld(_) => false,
    }
}

/// Ends the phase. Details that no list vouches for are looked through for old ones, after all else that the run has to
/// do. One that cannot be had is no reason to let the others grow old.
async fn end(slice: &Slice<'_>, index: usize, mut step: Step, gives_up: bool) -> Result<(), WorkError> {
    let (detailed, resource) = (step.counts.detailed, step.resource.name);
    let unvouched = step.resource.has_unshown_details();
    if step.phase == Phase::Detail && unvouched && !gives_up && !slice.parameters.is_audit() {
        step.enter(Phase::Aged);
    } else {
        step.end();
    }
    if step.phase == Phase::Done {
        info!(detailed, "Finished {resource}, {detailed} details");
    }
    let tx = slice.begin().await?;
    Ok(slice.commit(tx, index, step).await?)
}
