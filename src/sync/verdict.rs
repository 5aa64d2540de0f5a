//! What the end of a pass means for its list: another pass, a comparison with those before it, or the next partition.

use tracing::info;
use uuid::Uuid;

use super::agreement;
use super::cursor::{ListProgress, Step};
use super::pager::{Evidence, PassEnd, Verdict};
use super::plan;
use super::sink::{Missing, Sink};
use super::slice::{Slice, WorkError};
use crate::messages::Cause;
use crate::process::failpoints;
use crate::store::{parents, seen_ids};

/// What the passes of a partition have given by the end of one.
struct Given {
    /// Distinct ids of the pass.
    of_pass: i64,
    /// Distinct ids of all passes.
    of_partition: i64,
    /// Rows that none of them gave, where reading the list once more is how to ask again.
    unseen: Vec<Uuid>,
}

async fn given(
    slice: &Slice<'_>,
    tx: &mut sqlx::PgConnection,
    step: &Step,
    progress: &ListProgress,
    pass: i32,
) -> Result<Given, WorkError> {
    let resource = step.resource;
    let (first_page, started) = (progress.first_page, slice.run().started_at);
    let of_pass = seen_ids::count_ids(tx, slice.key(resource), (pass, pass), first_page).await?;
    let of_partition = match pass {
        1 => of_pass,
        _ => seen_ids::count_ids(tx, slice.key(resource), (1, pass), first_page).await?,
    };
    let by_list = plan::asks_by_list(&slice.parameters, resource);
    let unseen = match &progress.partition {
        Some(partition) if by_list => {
            parents::unseen_in_partition(tx, slice.key(resource), partition.rows(), (first_page, Some(started))).await?
        }
        _ => Vec::new(),
    };
    Ok(Given { of_pass, of_partition, unseen })
}

impl Given {
    fn evidence(&self, slice: &Slice<'_>, step: &Step) -> Evidence {
        let full = plan::wants_proof(&slice.parameters, step.resource);
        Evidence { distinct: self.of_pass, since: step.since, full, once: self.unseen.is_empty() }
    }
}

/// Ends a pass, in the transaction of its last pages.
pub async fn end_pass(
    slice: &Slice<'_>,
    tx: &mut sqlx::PgConnection,
    step: &mut Step,
    progress: ListProgress,
    end: PassEnd,
) -> Result<(), WorkError> {
    let given = given(slice, tx, step, &progress, end.pass()).await?;
    step.counts.listed = progress.listed + given.of_partition;
    let changed = step.counts.created + step.counts.updated + step.counts.rejected;
    step.counts.unchanged = (step.counts.listed - changed).max(0);
    note_order(slice, tx, step, &progress, &end, &given).await?;
    let verdict = match end.clone().judge(given.evidence(slice, step)) {
        Verdict::Again(_) | Verdict::Compare(_) if end.matches().is_none() && failpoints::one_pass_is_believed() => {
            Verdict::Read { complete: true, verified: true }
        }
        verdict => verdict,
    };
    conclude(slice, tx, step, progress, (end, given), verdict).await
}

/// Compares a pass that is over with those before it. The API is asked outside of the transaction that ends the pass.
pub async fn compare(
    slice: &Slice<'_>,
    index: usize,
    mut step: Step,
    progress: ListProgress,
    end: PassEnd,
) -> Result<(), WorkError> {
    let compared = agreement::compare(slice, step.resource, &end, progress.first_page).await?;
    let mut tx = slice.begin().await?;
    let given = given(slice, &mut tx, &step, &progress, end.pass()).await?;
    let verdict = end.clone().compared(given.evidence(slice, &step), given.of_partition, &compared);
    conclude(slice, &mut tx, &mut step, progress, (end, given), verdict).await?;
    Ok(slice.commit(tx, index, step).await?)
}

/// Notes where records come twice, pass after pass, more than records that came or changed could push onto another
/// page.
async fn note_order(
    slice: &Slice<'_>,
    tx: &mut sqlx::PgConnection,
    step: &mut Step,
    progress: &ListProgress,
    end: &PassEnd,
    given: &Given,
) -> Result<(), WorkError> {
    let (Some(started), true) = (step.clock, end.doubles_again(given.of_pass)) else { return Ok(()) };
    let (resource, pass) = (step.resource, (end.pass(), progress.first_page));
    let (doubles, newcomers) = seen_ids::doubles_and_newcomers(tx, slice.key(resource), pass, started).await?;
    if doubles > newcomers {
        step.note_drift([format!("the order of {} is not stable", resource.list_endpoint())].into());
    }
    Ok(())
}

/// Goes on as the verdict on a pass says.
async fn conclude(
    slice: &Slice<'_>,
    tx: &mut sqlx::PgConnection,
    step: &mut Step,
    mut progress: ListProgress,
    (end, given): (PassEnd, Given),
    verdict: Verdict,
) -> Result<(), WorkError> {
    let resource = step.resource;
    let (pages_read, matches) = (end.pages_read(), end.matches());
    match verdict {
        Verdict::Again(position) => {
            info!(pass = position.pass, "Reading {} once more, to be sure", resource.name);
            progress.at = position;
            progress.store_in(step);
            return Ok(());
        }
        Verdict::Compare(position) => {
            progress.at = position;
            progress.store_in(step);
            return Ok(());
        }
        Verdict::Read { complete, verified } => {
            if verified && !given.unseen.is_empty() {
                // Read twice without them: that was asking for them once more.
                // The readings that did not give them started after that.
                let (unseen, asked_at) = (&given.unseen, Some(slice.run().started_at));
                if slice.parameters.marks_deletions() {
                    seen_ids::store_missing(tx, slice.key(resource), pages_read, (unseen, asked_at)).await?;
                }
                let missing = Missing::at(unseen.clone(), asked_at);
                Sink::of(&slice.parameters).missing(slice, tx, step, &missing).await?;
            }
            if let (true, Some(total)) = (complete, end.round_total(given.of_pass)) {
                let what = format!(
                    "{} ends at exactly {total} records, where a bound of the API would end it, too",
                    resource.list_endpoint()
                );
                step.note_drift([what].into());
            }
            progress.incomplete |= !complete;
            progress.unproven |= !verified;
        }
        Verdict::Contradiction(what) => {
            step.note_failure(Cause::Answer, format!("{}: {what}", resource.list_endpoint()));
            (progress.incomplete, progress.unproven) = (true, true);
        }
    }
    progress.failures_in_a_row = 0;
    ListProgress::add_matches(step, progress.first_page, matches);
    progress.next_partition(slice, tx, step, pages_read).await
}
