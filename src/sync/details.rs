//! Details: `.info` for the rows whose detail is missing or stale, the newest changes first. The rows are the work list.

use std::pin::pin;

use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::audit;
use super::slice::{BATCH_BYTES, BATCH_LASTS, Slice, WorkError};
use crate::catalog::{Detail, Resource};
use crate::message::Parameters;
use crate::retry::Failure;
use crate::store::details::{self, Place, Wanted};
use crate::store::records;
use crate::store::run::{Phase, Step};
use crate::teamleader::answer::{self, Record};
use crate::teamleader::client::ApiError;
use crate::telemetry;

/// Rows a batch: what is fetched between two checkpoints.
const BATCH: i64 = 100;

/// Details that are only fetched for their age, a run, of all its resources.
const MAX_AGED: i64 = 2_000;

/// Records in a row whose detail cannot be had, after which the step gives up on the rest: it is not the records then.
const MAX_FAILURES_IN_A_ROW: u32 = 20;

/// Where the phase goes on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Position {
    /// The last row handled.
    after: Option<Place>,
    #[serde(default)]
    failures_in_a_row: u32,
    /// How many rows were handled.
    #[serde(default)]
    handled: i64,
}

/// What a batch brought.
#[derive(Default)]
struct Fetched {
    records: Vec<Record>,
    gone: Vec<Uuid>,
    bytes: usize,
    replaced: i64,
    last: Option<Place>,
    handled: i64,
    failures_in_a_row: u32,
    first_failure: Option<WorkError>,
    /// An error that concerns more than one record: the batch ends at it.
    broken_off: Option<WorkError>,
}

/// Fetches and merges one batch of details: in phase `detail` of those that are missing or stale, in phase `aged` of those that are
/// merely old. When none is left, ends the phase.
pub async fn fetch_batch(slice: &Slice<'_>, index: usize) -> Result<(), WorkError> {
    let mut step = slice.step(index);
    let resource = step.resource;
    if !wants_details(&slice.parameters, resource) {
        return end(slice, index, step, false).await;
    }
    let mut position: Position = serde_json::from_value(step.position.clone()).unwrap_or_default();
    // Before the rows are chosen: a change of one after this makes its detail stale again.
    let asked_at = records::clock(slice.pool).await?;
    let places = choose(slice, &step, &position, asked_at).await?;
    let gives_up = position.failures_in_a_row >= MAX_FAILURES_IN_A_ROW;
    if places.is_empty() || gives_up {
        return end(slice, index, step, gives_up).await;
    }
    let fetched = fetch(slice, &step, &places, position.failures_in_a_row).await;
    if let (0, Some(error)) = (fetched.handled, fetched.broken_off.as_ref().map(ToString::to_string)) {
        debug!(resource = resource.name, error, "No detail could be fetched");
        // Nothing to commit: a checkpoint would say that there was progress.
        return fetched.broken_off.map_or(Ok(()), Err);
    }

    position.failures_in_a_row = fetched.failures_in_a_row;
    position.after = fetched.last.or(position.after);
    position.handled += fetched.handled;
    if step.phase == Phase::Aged {
        step.counts.aged += fetched.handled;
    }
    step.note_drift(answer::drift(&fetched.records));
    if let Some(failure) = &fetched.first_failure
        && step.error.is_none()
    {
        step.error = Some(format!("not every detail could be fetched: {failure}"));
    }
    step.position = as_json(&position)?;
    let mut tx = slice.begin().await?;
    let merged = match audit::is_audit(&slice.parameters) {
        true => {
            audit::count_gone(slice, &mut tx, &mut step, fetched.gone).await?;
            audit::compare_details(slice, &mut tx, &mut step, &fetched.records, asked_at).await?
        }
        false => {
            if step.phase == Phase::Aged {
                // Else those that are gone would be asked for before all others in each run, until a full one marks them.
                details::keep_asked(&mut tx, &slice.settings.account, resource, &fetched.gone, asked_at).await?;
            }
            details::merge_details(&mut tx, &slice.settings.account, resource, &fetched.records, asked_at).await?
        }
    };
    step.counts.detailed += merged;
    step.counts.replaced += fetched.replaced;
    slice.commit(tx, index, step).await?;
    telemetry::records(resource.name, "detailed", merged);
    fetched.broken_off.map_or(Ok(()), Err)
}

/// Whether `.info` is asked at all. Where it adds next to nothing, a request has to name the resource, and to say `refetch`.
fn wants_details(asked: &Parameters, resource: &Resource) -> bool {
    match resource.detail {
        Detail::None => false,
        Detail::Info { .. } => true,
        Detail::OnDemand { .. } => {
            let named = asked.resources.as_ref().is_some_and(|names| names.iter().any(|n| n == resource.name));
            named && asked.refetch
        }
    }
}

async fn choose(
    slice: &Slice<'_>,
    step: &Step,
    position: &Position,
    now: DateTime<Utc>,
) -> Result<Vec<Place>, WorkError> {
    let (account, resource) = (&slice.settings.account, step.resource);
    if audit::is_audit(&slice.parameters) {
        let after = position.after.map(|place| place.id);
        let ids = match audit::sample(&slice.parameters) {
            None => records::ids(slice.pool, account, resource.name, after, BATCH).await?,
            Some(sample) => {
                let left = BATCH.min(sample - position.handled).max(0);
                audit::sampled_rows(slice, resource, after, left).await?
            }
        };
        return Ok(ids.into_iter().map(|id| Place { at: now, id }).collect());
    }
    if step.phase == Phase::Aged {
        let age = chrono::Duration::from_std(slice.settings.detail_max_age).unwrap_or(chrono::Duration::MAX);
        let fetched: i64 = slice.run().steps.iter().map(|step| step.counts.aged).sum();
        let limit = BATCH.min(MAX_AGED - fetched).max(0);
        let before = now.checked_sub_signed(age).unwrap_or(DateTime::<Utc>::MIN_UTC);
        return Ok(details::aged_details(slice.pool, account, resource, before, position.after, limit).await?);
    }
    let wanted = if slice.parameters.refetch { Wanted::OlderThan(slice.run().started_at) } else { Wanted::Stale };
    Ok(details::wanting_detail(slice.pool, account, resource, wanted, position.after, BATCH).await?)
}

/// Asks for the details in order, several at a time.
async fn fetch(slice: &Slice<'_>, step: &Step, places: &[Place], failures_in_a_row: u32) -> Fetched {
    let resource = step.resource;
    let enough = CancellationToken::new();
    let ask = |place: Place| {
        let client = slice.client.clone();
        async move { (place, client.info(resource, place.id).await) }
    };
    let mut answers = pin!(slice.ahead(places.iter().copied(), slice.settings.concurrency, &enough, ask));
    let mut fetched = Fetched { failures_in_a_row, ..Fetched::default() };
    let begun = Instant::now();
    while let Some((place, answer)) = answers.next().await {
        match answer {
            Ok((record, replaced)) if record.id == place.id => {
                fetched.bytes += record.json.len();
                fetched.records.push(record);
                fetched.replaced += replaced;
                fetched.failures_in_a_row = 0;
            }
            Ok((record, _)) => {
                let what = format!("{}: asked for {} it gave {}", resource.info_endpoint(), place.id, record.id);
                fetched.fail(WorkError::Unusable(what));
            }
            // Gone since it was listed. The next full run finds that out by its own evidence.
            Err(ApiError::Failed { failure: Failure::NotFound, .. }) => fetched.gone.push(place.id),
            Err(error @ (ApiError::NotAuthorized | ApiError::Store(_))) => {
                fetched.broken_off = Some(error.into());
                return fetched;
            }
            Err(error) => {
                let error = WorkError::from(error);
                if slice.is_down(&error).await {
                    fetched.broken_off = Some(WorkError::Down(error.to_string()));
                    return fetched;
                }
                warn!(run = %slice.id, resource = resource.name, id = %place.id, %error, "A detail could not be fetched");
                fetched.fail(error);
            }
        }
        fetched.last = Some(place);
        fetched.handled += 1;
        if fetched.failures_in_a_row >= MAX_FAILURES_IN_A_ROW {
            break;
        }
        if fetched.bytes >= BATCH_BYTES || begun.elapsed() >= BATCH_LASTS {
            enough.cancel();
        }
    }
    fetched
}

impl Fetched {
    fn fail(&mut self, error: WorkError) {
        self.failures_in_a_row += 1;
        self.first_failure.get_or_insert(error);
    }
}

/// Ends the phase. Details that no list vouches for are looked through for old ones, after all else that the run has to do.
/// One that cannot be had is no reason to let the others grow old.
async fn end(slice: &Slice<'_>, index: usize, mut step: Step, gives_up: bool) -> Result<(), WorkError> {
    let (detailed, resource) = (step.counts.detailed, step.resource.name);
    let unvouched = matches!(step.resource.detail, Detail::Info { shown_by_list: false, .. });
    if step.phase == Phase::Detail && unvouched && !gives_up && !audit::is_audit(&slice.parameters) {
        step.enter(Phase::Aged);
    } else {
        match step.error.take() {
            None => step.end("completed", None),
            Some(error) => step.end("failed", Some(error)),
        }
    }
    if step.phase == Phase::Done {
        info!(run = %slice.id, resource, detailed, "Finished {resource}, {detailed} details");
    }
    let tx = slice.begin().await?;
    Ok(slice.commit(tx, index, step).await?)
}

fn as_json(position: &Position) -> Result<serde_json::Value, WorkError> {
    serde_json::to_value(position).map_err(|error| WorkError::Unusable(error.to_string()))
}
