//! The step of a request by ids: looks at exactly these records.

use tracing::{info, warn};
use uuid::Uuid;

use super::cursor::{IdsCursor, StepCursor};
use super::look::{self, Brought, Reader};
use super::slice::{Slice, WorkError};
use crate::catalog::PAGE_SIZE;
use crate::messages::Cause;
use crate::process::telemetry;

/// A record of which overlapping answers differ is asked for as often.
const LOOKS: usize = 3;

/// Looks at the records that the request names, a hundred at a time, until the slice is over or all are looked at.
pub async fn read(slice: &Slice<'_>, index: usize, ids: &[Uuid]) -> Result<(), WorkError> {
    loop {
        let asked = match &slice.step(index).cursor {
            StepCursor::Ids(cursor) => cursor.asked,
            _ => 0,
        };
        let Some(batch) = ids.get(asked..ids.len().min(asked + PAGE_SIZE)).filter(|batch| !batch.is_empty()) else {
            return end(slice, index).await;
        };
        let (mut wanted, all) = (batch.to_vec(), asked + batch.len());
        for look in 0..LOOKS {
            wanted = look_at(slice, index, (&wanted, all), look > 0).await?;
            if wanted.is_empty() {
                break;
            }
        }
        if slice.is_over() {
            return Ok(());
        }
    }
}

/// Looks at these records, after which `asked` of the request's are looked at. `again`: they were before. Returns those
/// that are to be asked for once more.
async fn look_at(
    slice: &Slice<'_>,
    index: usize,
    (ids, asked): (&[Uuid], usize),
    again: bool,
) -> Result<Vec<Uuid>, WorkError> {
    let mut step = slice.step(index);
    let (account, resource) = (&slice.settings.account, step.resource);
    let reader = Reader { client: &slice.client, pool: slice.pool, account };
    let looked = reader.records(resource, ids).await?;
    let allowed = slice.parameters.allow_deletions;
    let mut tx = slice.begin().await?;
    let brought = look::store(&mut tx, account, resource, &looked, allowed).await?;
    let Brought { created, updated, detailed, deleted, held, alive, doubted, .. } = brought;
    if again {
        // They were counted when they came first.
        step.counts.created += created;
        step.counts.updated += updated;
        step.counts.unchanged = (step.counts.unchanged - created - updated).max(0);
    } else {
        step.counts.merged(created, updated, (alive - created - updated).max(0));
    }
    step.counts.detailed += detailed;
    step.counts.deleted += deleted;
    step.note_replaced(looked.replaced);
    if held > 0 {
        let what = format!(
            "{held} of these {} are missing from Teamleader, and with those before them too many of the table: none \
             was marked deleted. If that is right, send the request with \"allow_deletions\": true",
            resource.name
        );
        warn!(held, "{what}");
        step.note_failure(Cause::DeletionsHeld, what);
    }
    step.cursor = StepCursor::Ids(IdsCursor { asked });
    slice.commit(tx, index, step).await?;
    telemetry::records(resource.name, "created", created);
    telemetry::records(resource.name, "updated", updated);
    telemetry::records(resource.name, "deleted", deleted);
    Ok(doubted.into_iter().collect())
}

async fn end(slice: &Slice<'_>, index: usize) -> Result<(), WorkError> {
    let mut step = slice.step(index);
    let (resource, count) = (step.resource.name, step.counts.listed);
    step.end();
    info!(count, "Looked at {count} {resource} by id");
    let tx = slice.begin().await?;
    Ok(slice.commit(tx, index, step).await?)
}
