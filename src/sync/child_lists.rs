//! Lists of the children of one record each: many parents between two checkpoints, since most have few children or
//! none.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::pin::pin;

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::cursor::{ListProgress, Step};
use super::pager::{Evidence, ListCursor, Next, Verdict};
use super::partition::Partition;
use super::plan;
use super::sink::{Items, Sink};
use super::slice::{BATCH_BYTES, BATCH_LASTS, Slice, WorkError};
use crate::api_client::answer::{self, Page, Record, Rejected};
use crate::api_client::client::ApiError;
use crate::catalog::Resource;
use crate::process::telemetry;
use crate::retry::Failure;
use crate::store::records::Source;
use crate::store::records::newest::Origin;
use crate::store::{doubts, parents, seen_ids};

/// Parents between two checkpoints.
const BATCH: i64 = 100;

/// What a batch brought.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    rejected: Vec<Rejected>,
    bytes: usize,
    replaced: i64,
    type_mismatches: BTreeSet<String>,
    /// What each list that this settled said to hold.
    matches: Vec<Option<i64>>,
    last: Option<Partition>,
    ids: HashSet<Uuid>,
    /// Parents whose list is to be read by itself.
    waiting: Vec<Partition>,
    /// The lists of this kind are not given.
    refused: Option<(Failure, String)>,
    /// An error that concerns more than one of them: the batch ends at it.
    broken_off: Option<WorkError>,
}

/// Reads the first page of the lists of the next parents, several at a time. A list that this page does not settle
/// waits to be read by itself: it goes on, or does not give the stored children.
pub async fn read_batch(
    slice: &Slice<'_>,
    index: usize,
    mut step: Step,
    mut progress: ListProgress,
) -> Result<(), WorkError> {
    let resource = step.resource;
    let batch = read(slice, &mut step, &mut progress).await?;
    if batch.last.is_none()
        && let Some(error) = batch.broken_off
    {
        return Err(error);
    }
    step.note_drift(answer::drift(&batch.records));
    step.note_drift(batch.type_mismatches);
    let first_page = progress.at.pages_read;
    let mut pages_read = first_page;
    for matches in &batch.matches {
        ListProgress::add_matches(&mut step, pages_read, *matches);
        step.counts.pages += 1;
        pages_read += 1;
    }
    progress.waiting.extend(batch.waiting);
    progress.last_parent = batch.last.or(progress.last_parent);
    if let (Some((failure, reason)), Some(partition)) = (batch.refused, progress.last_parent.clone()) {
        progress.refuse(&mut step, &partition, failure, &reason);
    }
    progress.note_includes(resource, &batch.records);
    let ids: Vec<Uuid> = batch.ids.iter().copied().collect();
    let parent_resource = progress.last_parent.as_ref().and_then(|partition| partition.parent_resource(resource));
    let items = Items {
        records: &batch.records,
        rejected: batch.rejected,
        source: Source { parent_resource, origin: Origin::List },
    };
    let (mut tx, merged, rejected) =
        Sink::of(&slice.parameters).items(slice, slice.begin().await?, &mut step, items, None).await?;
    step.counts.rejected += rejected;
    step.counts.listed += rejected;
    doubts::store(&mut tx, slice.key(resource), &merged.doubted).await?;
    seen_ids::store_page(&mut tx, slice.key(resource), (1, first_page), &ids).await?;
    step.counts.merged(merged.created, merged.updated, merged.unchanged);
    step.note_replaced(batch.replaced);
    progress.next_partition(slice, &mut tx, &mut step, pages_read).await?;
    slice.commit(tx, index, step).await?;
    telemetry::records(resource.name, "created", merged.created);
    telemetry::records(resource.name, "updated", merged.updated);
    batch.broken_off.map_or(Ok(()), Err)
}

async fn read(slice: &Slice<'_>, step: &mut Step, progress: &mut ListProgress) -> Result<Batch, WorkError> {
    let resource = step.resource;
    let (parents, stored) = parents_and_children(slice, step, progress).await?;
    let start = ListCursor::start(resource, step.since, 0);
    let (number, since) = start.requests(step.since).next().unwrap_or((1, None));
    let page = (number, start.size());
    let enough = CancellationToken::new();
    let wanted = stream::iter(parents.into_iter().take_while(|_| !enough.is_cancelled()));
    let mut answers = pin!(slice.prefetch(wanted, slice.client.most_in_flight(), |partition: Partition| {
        let (client, body) = (slice.client.clone(), resource.list_body(page, since.as_deref(), &partition.body));
        async move { (partition, client.list(resource, &body).await) }
    }));
    let mut batch = Batch::default();
    let started = tokio::time::Instant::now();
    while let Some((partition, answer)) = answers.next().await {
        let known = partition.parent().and_then(|(_, id)| stored.get(&id)).map(Vec::as_slice).unwrap_or_default();
        let is_settled = |page: &Page| is_settled(slice, step, start.clone(), page, known);
        match answer {
            Ok(page) if !batch.repeats(&page) && is_settled(&page) => {
                progress.failures_in_a_row = 0;
                progress.given = partition.kind().map(str::to_owned);
                batch.add(resource, &partition, page);
            }
            // By itself it is asked for with smaller pages.
            Ok(_) | Err(ApiError::Failed { failure: Failure::TooLong, .. }) => {
                progress.given = partition.kind().map(str::to_owned);
                batch.waiting.push(partition.clone());
            }
            Err(error) => {
                if batch.take_failure(slice, step, progress, &partition, error).await == Goes::NoFurther {
                    return Ok(batch);
                }
            }
        }
        batch.last = Some(partition);
        if batch.bytes >= BATCH_BYTES || started.elapsed() >= BATCH_LASTS {
            enough.cancel();
        }
    }
    Ok(batch)
}

/// The parents of the next batch, and the children of each that are stored, where reading its list is how to ask for
/// them.
async fn parents_and_children(
    slice: &Slice<'_>,
    step: &Step,
    progress: &ListProgress,
) -> Result<(Vec<Partition>, HashMap<Uuid, Vec<Uuid>>), WorkError> {
    let (resource, account) = (step.resource, &slice.settings.account);
    let mut connection = slice.pool.acquire().await?;
    let last = progress.last_parent.as_ref();
    let mut parents = progress.next_parents(slice, &mut connection, step, BATCH).await?;
    if parents.first().map(Partition::kind) != last.map(Partition::kind) {
        // The first of a kind shows whether the kind may be asked for at all.
        parents.truncate(1);
    }
    let ids: Vec<Uuid> = parents.iter().filter_map(Partition::parent).map(|(_, id)| id).collect();
    let stored = match plan::asks_by_list(&slice.parameters, resource) {
        true => parents::children(&mut connection, account, resource, &ids).await?,
        false => HashMap::new(),
    };
    Ok((parents, stored))
}

/// Whether a batch goes on after a list that could not be read.
#[derive(PartialEq)]
enum Goes {
    On,
    NoFurther,
}

/// Whether the page is all of the list, as it says itself, and gives the stored children.
fn is_settled(slice: &Slice<'_>, step: &Step, start: ListCursor, page: &Page, stored: &[Uuid]) -> bool {
    let ids: HashSet<Uuid> = page.ids().collect();
    let Ok(Next::PassEnd(end)) = start.after(page) else { return false };
    let has_all = stored.iter().all(|id| ids.contains(id));
    let distinct = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    let full = plan::wants_proof(&slice.parameters, step.resource);
    let judged = end.judge(Evidence { distinct, since: step.since, full, once: has_all });
    judged == Verdict::Read { complete: true, verified: true }
}

impl Batch {
    /// Whether the page has a record that another list of the batch gave, which was asked for at about the same time:
    /// it has moved, and it is unknown where to.
    fn repeats(&self, page: &Page) -> bool {
        page.ids().any(|id| self.ids.contains(&id))
    }

    /// Takes in that a list could not be read. The parent is handled, unless the error concerns more than its list.
    async fn take_failure(
        &mut self,
        slice: &Slice<'_>,
        step: &mut Step,
        progress: &mut ListProgress,
        partition: &Partition,
        error: ApiError,
    ) -> Goes {
        match error {
            // A parent that is deleted has no children to list, and they follow it when its own resource finds it so.
            ApiError::Failed { failure: Failure::NotFound, .. } => return Goes::On,
            ApiError::Failed { failure, reason, .. } if progress.passes_over(step.resource, partition, failure) => {
                self.refused = Some((failure, reason));
                self.last = Some(partition.clone());
            }
            ApiError::NotAuthorized | ApiError::Store(_) => self.broken_off = Some(error.into()),
            error => {
                let error = WorkError::from(error);
                if slice.is_down(&error).await {
                    self.broken_off = Some(WorkError::Down(error.to_string()));
                } else if progress.fail(step, &error) {
                    return Goes::On;
                } else {
                    self.broken_off = Some(error);
                    self.last = Some(partition.clone());
                }
            }
        }
        Goes::NoFurther
    }

    fn add(&mut self, resource: &Resource, partition: &Partition, mut page: Page) {
        partition.set_parent(resource, &mut page);
        self.bytes += page.records.iter().map(|record| record.json.len()).sum::<usize>();
        self.replaced += page.replaced;
        self.type_mismatches.append(&mut page.type_mismatches);
        self.ids.extend(page.ids());
        self.rejected.append(&mut page.rejected);
        self.matches.push(page.matches);
        self.records.extend(page.records);
    }
}
