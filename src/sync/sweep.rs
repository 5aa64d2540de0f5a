//! Deletions: what a complete pass did not see is asked for once more by id, and only then marked.

use chrono::{DateTime, Utc};
use tracing::{info, warn};

use super::cursor::{Step, StepCursor, SweepCursor};
use super::look::{GUARD_PERCENT, GUARD_ROWS};
use super::sink::{Items, Missing, Sink};
use super::slice::{Slice, WorkError};
use super::{agreement, lookup, sample};
use crate::api_client::answer::Record;
use crate::catalog::{AskAgain, PAGE_SIZE};
use crate::messages::Cause;
use crate::process::telemetry;
use crate::store::records::Source;
use crate::store::records::newest::Origin;
use crate::store::runs::Phase;
use crate::store::{progress, records, seen_ids};

/// Goes to the phase. `proven`: what the passes did not give, and is deleted, may be marked.
pub fn begin(step: &mut Step, proven: bool) {
    step.enter(Phase::Sweep);
    step.cursor = StepCursor::Sweep(SweepCursor { proven: Some(proven), ..SweepCursor::default() });
}

/// The drift of a list whose sweep finds such records.
const MISSED: &str = "the list does not give records that are there, unchanged, when they are asked for by id";

/// Asks for up to 100 records that the passes did not see. When none is left, marks the missing ones deleted and ends
/// the phase.
pub async fn sweep_batch(slice: &Slice<'_>, index: usize) -> Result<(), WorkError> {
    let mut step = slice.step(index);
    let resource = step.resource;
    let sample = slice.parameters.sample();
    // Where the list is all that there is, the passes have asked. A deleted record is noticed where its detail is asked
    // for.
    let by_detail = sample.is_some() && resource.ask_again() == AskAgain::Info && resource.has_details();
    if resource.ask_again() == AskAgain::List || by_detail {
        return mark(slice, index).await;
    }
    let cursor = match &step.cursor {
        StepCursor::Sweep(cursor) => cursor.clone(),
        _ => SweepCursor::default(),
    };
    let limit = PAGE_SIZE as i64;
    // By the database's clock, as rows are: a `Date` has whole seconds.
    let started = slice.run().started_at;
    let batch = match sample {
        None => seen_ids::unseen(slice.pool, slice.key(resource), Some(started), (cursor.after, limit)).await?,
        Some(sample) => {
            let left = sample - i64::from(cursor.batches) * limit;
            sample::rows(slice, resource, cursor.after, limit.min(left).max(0)).await?
        }
    };
    let Some(last) = batch.last().copied() else {
        return mark(slice, index).await;
    };
    // At the latest then the first of them is asked for.
    let asked_at = slice.client.clock().now();
    let found = lookup::by_id(&slice.client, resource, &batch).await?;
    let proven = cursor.proven.unwrap_or(step.verified);
    if sample.is_none() && found.alive().any(|record| is_missed(&found, record, step.clock)) {
        warn!("{}: {MISSED}", resource.name);
        step.note_drift([MISSED.to_owned()].into());
        step.verified = false;
    }
    let alive = found.alive().count() + found.rejected.len();
    let missing = Missing::at(found.missing, asked_at);
    let sink = Sink::of(&slice.parameters);
    let items = Items { records: &found.items, rejected: found.rejected, source: Source::of(Origin::ById) };
    let (mut tx, merged, _) = sink.items(slice, slice.begin().await?, &mut step, items, None).await?;
    step.counts.updated += merged.updated;
    step.counts.listed += i64::try_from(alive).unwrap_or(0);
    if slice.parameters.marks_deletions() && proven {
        seen_ids::store_missing(&mut tx, slice.key(resource), cursor.batches, (&missing.ids, asked_at)).await?;
    }
    sink.missing(slice, &mut tx, &mut step, &missing).await?;
    let batches = cursor.batches + 1;
    step.cursor = StepCursor::Sweep(SweepCursor { after: Some(last), batches, proven: Some(proven) });
    slice.commit(tx, index, step).await?;
    Ok(())
}

/// Whether the passes, which started at `started`, should have given the record: it has not changed since, and the
/// list does not leave out its status.
fn is_missed(found: &lookup::Found, record: &Record, started: Option<DateTime<Utc>>) -> bool {
    let changed = agreement::changed_at(record).zip(started).is_some_and(|(changed, started)| changed >= started);
    !changed && !found.hidden.contains(&record.id)
}

/// Marks the missing records deleted, unless they are too many, or the list was not empty before and is now: an API
/// that has lost its records, or a right to them, answers without records, too.
async fn mark(slice: &Slice<'_>, index: usize) -> Result<(), WorkError> {
    let mut step = slice.step(index);
    let (account, resource) = (slice.settings.account.clone(), step.resource);
    let mut tx = slice.begin().await?;
    let missing = seen_ids::count_missing(&mut tx, slice.key(resource)).await?;
    let emptied = missing > 0 && seen_ids::gave_nothing(&mut tx, slice.key(resource)).await?;
    let rows = if missing > 0 { records::count_rows(&mut tx, &account, resource).await? } else { 0 };
    let proven = match &step.cursor {
        StepCursor::Sweep(cursor) => cursor.proven,
        _ => None,
    };
    let too_many = (missing > GUARD_ROWS || emptied) && missing * 100 > rows * GUARD_PERCENT;
    let mut deleted = 0;
    let held = too_many && !slice.parameters.allow_deletions;
    if held {
        let what = format!(
            "{missing} of {rows} {} are missing from Teamleader, more than {GUARD_PERCENT} %: none was marked deleted. \
             If that is right, send a full request with \"allow_deletions\": true",
            resource.name
        );
        warn!(missing, rows, "{what}");
        step.note_failure(Cause::DeletionsHeld, what);
        progress::hold_deletions(&mut tx, &account, resource, (missing, rows)).await?;
    } else if missing > 0 {
        deleted = seen_ids::mark_deleted(&mut tx, slice.key(resource)).await?;
        step.counts.deleted += deleted;
        info!(deleted, "Marked {deleted} {} deleted", resource.name);
    }
    if !held && slice.parameters.marks_deletions() && proven.unwrap_or(step.verified) {
        progress::settle_deletions(&mut tx, &account, resource).await?;
    }
    step.enter(Phase::Detail);
    slice.commit(tx, index, step).await?;
    if held {
        telemetry::deletions_held(resource.name);
    }
    telemetry::records(resource.name, "deleted", deleted);
    Ok(())
}
