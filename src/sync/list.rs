//! The list pass: pages are read ahead, and stored with their checkpoint and counts in one transaction.

use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::try_join;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::info;
use uuid::Uuid;

use super::child_lists;
use super::cursor::{ListProgress, Step};
use super::pager::{ListCursor, Next};
use super::partitions;
use super::sample;
use super::sink::{Items, Sink};
use super::slice::{LISTS_AT_ONCE, Slice, WorkError};
use super::verdict::{compare, end_pass};
use crate::api_client::answer::{self, Page, Record, Rejected};
use crate::api_client::client::ApiError;
use crate::api_client::clock::{self, Dated};
use crate::catalog::{Resource, Scope};
use crate::process::telemetry;
use crate::retry::Failure;
use crate::store::pool::StoreError;
use crate::store::records::Source;
use crate::store::records::load::Loader;
use crate::store::records::newest::Origin;
use crate::store::runs::Phase;
use crate::store::{doubts, progress, records, seen_ids};
use crate::views;

/// Pages that were read and are not yet stored, besides those that are on their way.
const PAGES_AHEAD: usize = 4;

/// How many bytes of records are stored in one transaction, if there are as many.
const STORED_AT_ONCE: usize = 3 * 1024 * 1024;

/// Fewer bytes than these wait for more, at most for [`STORED_WITHIN`]: a transaction has a price.
const STORED_BY_ITSELF: usize = 1024 * 1024;
const STORED_WITHIN: Duration = Duration::from_millis(100);

/// A page, and what to do after it.
struct FetchedPage {
    page: Page,
    next: Next,
}

/// Pages to be stored together, and the error that ended the reading after them.
#[derive(Default)]
struct PageBatch {
    pages: Vec<FetchedPage>,
    failed: Option<WorkError>,
}

/// Reads the list of the step and merges it, until its phase or the slice is over.
pub async fn read(slice: &Slice<'_>, index: usize) -> Result<(), WorkError> {
    let mut has_started = false;
    loop {
        let mut step = slice.step(index);
        if step.phase != Phase::List || has_started && slice.is_over() {
            return Ok(());
        }
        has_started = true;
        if let Some(sample) = slice.parameters.sample() {
            sample::read_page(slice, index, sample).await?;
            continue;
        }
        let progress = match ListProgress::of(&step) {
            Some(progress) => progress,
            None => start(slice, &mut step).await?,
        };
        let Some(partition) = &progress.partition else {
            child_lists::read_batch(slice, index, step, progress).await?;
            continue;
        };
        if let Some(end) = progress.at.over() {
            compare(slice, index, step, progress, end).await?;
            continue;
        }
        let (sender, receiver) = mpsc::channel(PAGES_AHEAD);
        let mut ahead = pin!(prefetch(slice, step.resource, step.since, &partition.body, progress.at.clone(), sender));
        let mut stored = pin!(store(slice, index, step, progress.clone(), receiver));
        tokio::select! {
            stored = &mut stored => stored?,
            () = &mut ahead => stored.await?,
        }
    }
}

/// Reads one pass over the list of a partition, until the slice is over. Ends at the first error, which it sends as
/// well.
async fn prefetch(
    slice: &Slice<'_>,
    resource: &'static Resource,
    since: Option<DateTime<Utc>>,
    partition: &Value,
    mut at: ListCursor,
    sender: mpsc::Sender<Result<FetchedPage, WorkError>>,
) {
    loop {
        let size = at.size();
        let ask = |(number, since): (u32, Option<String>)| {
            slice.page(resource, (number, size), resource.list_body((number, size), since.as_deref(), partition))
        };
        // Its share: the other lists have theirs.
        let at_once = slice.client.most_in_flight().div_ceil(LISTS_AT_ONCE);
        let mut answers = pin!(slice.prefetch(stream::iter(at.requests(since)), at_once, ask));
        while let Some(answer) = answers.next().await {
            let read = answer.and_then(|page| {
                let next = at.clone().after(&page);
                let broken = |error| WorkError::Unusable(format!("{}: {error}", resource.list_endpoint()));
                Ok(FetchedPage { next: next.map_err(broken)?, page })
            });
            let going_on = match &read {
                Ok(FetchedPage { next: Next::Page(next), .. }) => Some(next.clone()),
                _ => None,
            };
            // The receiver is closed: storing has failed, and reports why.
            if sender.send(read).await.is_err() {
                return;
            }
            match going_on {
                Some(next) => at = next,
                None => return,
            }
        }
        if slice.is_over() {
            return;
        }
    }
}

/// Stores the pages of one pass, several at once if they come fast: the next ones are gathered meanwhile. An error of
/// reading is dealt with after what came before it.
async fn store(
    slice: &Slice<'_>,
    index: usize,
    mut step: Step,
    mut progress: ListProgress,
    mut receiver: mpsc::Receiver<Result<FetchedPage, WorkError>>,
) -> Result<(), WorkError> {
    let mut loader = loader(slice, &step).await?;
    let mut next = gather(&mut receiver, None).await;
    while let Some(PageBatch { pages, failed }) = next {
        next = None;
        if !pages.is_empty() {
            let stored = CancellationToken::new();
            let merging = async {
                let merged = merge(slice, index, step, progress, pages, &mut loader).await;
                stored.cancel();
                merged
            };
            let gathering = async { Ok(gather(&mut receiver, Some(&stored)).await) };
            let (merged, following) = try_join(merging, gathering).await?;
            match merged {
                Some(going_on) => (step, progress) = going_on,
                None => return Ok(()),
            }
            next = following;
        }
        if let Some(error) = failed {
            return skip(slice, index, step, progress, error).await;
        }
    }
    Ok(())
}

/// Waits for a page, and takes those that come while what was before them is being `stored`, or with it. `None` at the
/// end.
async fn gather(
    receiver: &mut mpsc::Receiver<Result<FetchedPage, WorkError>>,
    stored: Option<&CancellationToken>,
) -> Option<PageBatch> {
    let (mut gathered, mut bytes, mut next) = (PageBatch::default(), 0, Some(receiver.recv().await?));
    let ends_at = Instant::now() + STORED_WITHIN;
    while let Some(read) = next {
        match read {
            Ok(read) => {
                bytes += read.page.records.iter().map(|record| record.json.len()).sum::<usize>();
                gathered.pages.push(read);
            }
            // Nothing comes after it.
            Err(error) => gathered.failed = Some(error),
        }
        if bytes >= STORED_AT_ONCE {
            break;
        }
        let is_time = async {
            if let Some(stored) = stored {
                stored.cancelled().await;
            }
            if bytes < STORED_BY_ITSELF {
                sleep_until(ends_at).await;
            }
        };
        next = tokio::select! {
            biased;
            next = receiver.recv() => next,
            () = is_time => None,
        };
    }
    Some(gathered)
}

/// What merges the pages. In a complete pass most records are equal to their rows, which are then known beforehand.
async fn loader(slice: &Slice<'_>, step: &Step) -> Result<Loader, StoreError> {
    match step.since.is_none() && step.resource.scope == Scope::Account && !slice.parameters.is_audit() {
        true => Loader::for_complete_list(slice.pool, &slice.settings.account, step.resource, slice.elsewhere).await,
        false => Ok(Loader::of(step.resource, slice.elsewhere)),
    }
}

/// A list that cannot be read.
async fn skip(
    slice: &Slice<'_>,
    index: usize,
    step: Step,
    progress: ListProgress,
    error: WorkError,
) -> Result<(), WorkError> {
    match error {
        WorkError::Api(ApiError::Failed { failure, reason, .. }) if is_passed_over(&step, &progress, failure) => {
            skip_parent(slice, index, step, progress, failure, &reason).await
        }
        WorkError::Api(ApiError::Failed { failure: Failure::TooLong, endpoint, reason }) => {
            match progress.at.smaller(step.resource, step.since) {
                Some(smaller) => read_smaller(slice, index, step, progress, smaller).await,
                None => {
                    let error = ApiError::Failed { failure: Failure::TooLong, endpoint, reason };
                    skip_failed(slice, index, step, progress, error.into()).await
                }
            }
        }
        error => skip_failed(slice, index, step, progress, error).await,
    }
}

fn is_passed_over(step: &Step, progress: &ListProgress, failure: Failure) -> bool {
    progress.partition.as_ref().is_some_and(|partition| progress.passes_over(step.resource, partition, failure))
}

/// An answer is too long: the list is read from its beginning with smaller pages.
async fn read_smaller(
    slice: &Slice<'_>,
    index: usize,
    mut step: Step,
    mut progress: ListProgress,
    smaller: ListCursor,
) -> Result<(), WorkError> {
    let (resource, size) = (step.resource.name, smaller.size());
    info!(size, "An answer of {resource} is too long: it is read with pages of {size} records");
    progress.at = smaller;
    progress.store_in(&mut step);
    let tx = slice.begin().await?;
    Ok(slice.commit(tx, index, step).await?)
}

/// One partition that cannot be read does not hold up the others, but the resource is failed in the end.
async fn skip_failed(
    slice: &Slice<'_>,
    index: usize,
    mut step: Step,
    mut progress: ListProgress,
    error: WorkError,
) -> Result<(), WorkError> {
    let concerns_the_partition = step.resource.scope != Scope::Account
        && match &error {
            WorkError::Api(ApiError::Failed { failure, .. }) => {
                *failure != Failure::Forbidden || progress.given.is_some()
            }
            // The list is not what was asked for, or does not end.
            WorkError::Unusable(_) => true,
            _ => false,
        };
    if slice.is_down(&error).await {
        // Reported as down, so that `is_down` is not asked again: it may be up by then, and the list failed for
        // nothing.
        return Err(WorkError::Down(error.to_string()));
    }
    if !concerns_the_partition || !progress.fail(&mut step, &error) {
        return Err(error);
    }
    let pages_read = progress.at.pages_read;
    let mut tx = slice.begin().await?;
    progress.next_partition(slice, &mut tx, &mut step, pages_read).await?;
    Ok(slice.commit(tx, index, step).await?)
}

/// Before the first partition.
async fn start(slice: &Slice<'_>, step: &mut Step) -> Result<ListProgress, WorkError> {
    let resource = step.resource;
    partitions::check_project_api(slice, resource).await?;
    if !resource.stands_alone() || resource.stored_in().is_some() {
        // Which parents changed is known by the database's clock.
        step.clock = Some(records::clock(slice.pool).await?);
    }
    Ok(ListProgress::start(resource, step.since, partitions::all(slice, step).await?))
}

/// Merges pages of one pass, which follow each other. Returns how far that is; `None` where the pass is over.
async fn merge(
    slice: &Slice<'_>,
    index: usize,
    mut step: Step,
    mut progress: ListProgress,
    pages: Vec<FetchedPage>,
    loader: &mut Loader,
) -> Result<Option<(Step, ListProgress)>, WorkError> {
    let resource = step.resource;
    let partition = progress.partition.clone().unwrap_or_default();
    let (pass, first_page) = (progress.at.pass, progress.at.pages_read);
    let (mut records, mut after): (Vec<Record>, Option<Next>) = (Vec::new(), None);
    let (mut rejected, mut ids): (Vec<Rejected>, Vec<Uuid>) = (Vec::new(), Vec::new());
    if pass == 1 && resource.stored_in().is_none() {
        step.counts.pages += i64::try_from(pages.len()).unwrap_or(i64::MAX);
    }
    for FetchedPage { mut page, next } in pages {
        date(&mut step, &mut progress, &page);
        step.note_drift(answer::drift(&page.records));
        step.note_drift(views::contexts_of_no_resource(resource, &page.records));
        step.note_drift(std::mem::take(&mut page.type_mismatches));
        step.note_replaced(page.replaced);
        partition.set_parent(resource, &mut page);
        ids.extend(page.ids());
        rejected.append(&mut page.rejected);
        records.append(&mut page.records);
        after = Some(next);
    }
    progress.note_includes(resource, &records);
    let parent_resource = partition.parent_resource(resource);
    let changes = resource.updated_since && step.since.is_some() && resource.has_unshown_details();
    let origin = if changes { Origin::Changes } else { Origin::List };

    let items = Items { records: &records, rejected, source: Source { parent_resource, origin } };
    let (mut tx, merged, rejected) =
        Sink::of(&slice.parameters).items(slice, slice.begin().await?, &mut step, items, Some(loader)).await?;
    step.counts.rejected += if pass == 1 { rejected } else { 0 };
    doubts::store(&mut tx, slice.key(resource), &merged.doubted).await?;
    seen_ids::store_page(&mut tx, slice.key(resource), (pass, first_page), &ids).await?;
    step.counts.merged(merged.created, merged.updated, merged.unchanged);
    let going_on = match after {
        Some(Next::PassEnd(end)) => {
            end_pass(slice, &mut tx, &mut step, progress, end).await?;
            if step.phase == Phase::Sweep && loader.has_listed_all() {
                // Nothing to ask for, and nothing missing.
                if slice.parameters.marks_deletions() && step.verified {
                    progress::settle_deletions(&mut tx, &slice.settings.account, resource).await?;
                }
                step.enter(Phase::Detail);
            }
            None
        }
        Some(Next::Page(at)) => {
            progress.at = at;
            progress.clone().store_in(&mut step);
            Some(progress)
        }
        None => Some(progress),
    };
    slice.commit(tx, index, step.clone()).await?;
    telemetry::records(resource.name, "created", merged.created);
    telemetry::records(resource.name, "updated", merged.updated);
    Ok(going_on.map(|progress| (step, progress)))
}

/// Notes when the list began by the API's clock, which is what the watermark comes from. Where that is not said, or not
/// believed, there is no watermark.
fn date(step: &mut Step, progress: &mut ListProgress, page: &Page) {
    let begins = step.clock.is_none() && !progress.undated;
    match page.dated {
        None if begins => {
            progress.undated = true;
            step.note_drift([UNDATED.to_owned()].into());
        }
        Some(Dated::At(date)) if begins => step.clock = Some(date),
        Some(Dated::Apart(skew)) => {
            progress.undated |= begins;
            if step.drift.iter().all(|known| !known.starts_with(SKEWED)) {
                step.note_drift([format!("{SKEWED} {}: no watermark is taken from it", clock::described(skew))].into());
            }
        }
        None | Some(Dated::At(_)) => {}
    }
}

/// The drift of an answer without a time.
const UNDATED: &str = "an answer has no Date that can be read: no watermark is taken from it";

/// How the drift begins that says of a `Date` that it is not believed: once a step, since the seconds differ from
/// answer to answer.
const SKEWED: &str = "the Date of an answer is";

/// A parent that is deleted has no children to list, and they follow it when its own resource finds it missing. A kind
/// of parent that may not be asked for is left out.
async fn skip_parent(
    slice: &Slice<'_>,
    index: usize,
    mut step: Step,
    mut progress: ListProgress,
    failure: Failure,
    reason: &str,
) -> Result<(), WorkError> {
    if failure != Failure::NotFound {
        let partition = progress.partition.clone().unwrap_or_default();
        progress.refuse(&mut step, &partition, failure, reason);
    }
    let pages_read = progress.at.pages_read;
    let mut tx = slice.begin().await?;
    progress.next_partition(slice, &mut tx, &mut step, pages_read).await?;
    Ok(slice.commit(tx, index, step).await?)
}
