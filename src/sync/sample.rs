//! Samples of an audit: random pages, to find records without a row, and random rows, to find those without a record.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use super::cursor::{SampleCursor, Step, StepCursor};
use super::offset;
use super::partitions;
use super::sink::{Items, Sink};
use super::slice::{Slice, WorkError};
use crate::api_client::answer::Page;
use crate::api_client::client::ApiError;
use crate::catalog::{self, Resource};
use crate::retry::Failure;
use crate::store::records::Source;
use crate::store::records::newest::Origin;
use crate::store::runs::Phase;
use crate::store::{doubts, records};

/// Parents of each kind whose children are part of a sample.
const SAMPLED_PARENTS: i64 = 5;

impl SampleCursor {
    fn size(&self) -> usize {
        offset::size_of(0, self.small)
    }
}

/// Rows of a sample: the next `limit` after `after`, which at first is a place that depends on the run, and goes round.
pub async fn rows(
    slice: &Slice<'_>,
    resource: &Resource,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Uuid>, WorkError> {
    let (pool, account) = (slice.pool, &slice.settings.account);
    let start = random(slice, resource, 0);
    let mut rows = records::ids(pool, account, resource.name, after.or(Some(start)), limit).await?;
    if after.is_some_and(|after| after <= start) {
        // Round already.
        rows.retain(|id| *id <= start);
        return Ok(rows);
    }
    let short = limit - i64::try_from(rows.len()).unwrap_or(limit);
    if short > 0 {
        let first = records::ids(pool, account, resource.name, None, short).await?;
        rows.extend(first.into_iter().filter(|id| *id <= start));
    }
    Ok(rows)
}

/// A UUID that is the same for the same run, resource and number.
fn random(slice: &Slice<'_>, resource: &Resource, number: u32) -> Uuid {
    Uuid::from_u128(xxh3_128(format!("{}/{}/{number}", slice.id, resource.name).as_bytes()))
}

/// Reads one page of a sample.
pub async fn read_page(slice: &Slice<'_>, index: usize, sample: i64) -> Result<(), WorkError> {
    let mut step = slice.step(index);
    let resource = step.resource;
    let Some(mut cursor) = cursor_of(slice, &mut step).await? else {
        return end(slice, index, step).await;
    };
    let (number, size) = (cursor.pages.as_mut().map_or(Some(1), VecDeque::pop_front), cursor.size());
    let mut page = match number {
        Some(number) => match page_of(slice, resource, &mut cursor, number).await? {
            Some(page) => page,
            None => {
                step.cursor = StepCursor::Sample(Box::new(cursor));
                let tx = slice.begin().await?;
                return Ok(slice.commit(tx, index, step).await?);
            }
        },
        None => Page::default(),
    };
    cursor.partition.set_parent(resource, &mut page);
    step.note_drift(std::mem::take(&mut page.type_mismatches));
    let compared = i64::try_from(page.records.len()).unwrap_or(0);
    let parent_resource = cursor.partition.parent_resource(resource).map(str::to_owned);
    let items = Items {
        records: &page.records,
        rejected: std::mem::take(&mut page.rejected),
        source: Source { parent_resource: parent_resource.as_deref(), origin: Origin::List },
    };
    let (mut tx, merged, _) =
        Sink::of(&slice.parameters).items(slice, slice.begin().await?, &mut step, items, None).await?;
    doubts::store(&mut tx, slice.key(resource), &merged.doubted).await?;
    cursor.compared += compared;
    step.counts.pages += i64::from(number.is_some());
    step.counts.merged(merged.created, merged.updated, merged.unchanged);
    let pages = cursor.pages.get_or_insert_with(|| {
        let wanted = catalog::pages((sample - cursor.compared).max(0), size);
        let last = catalog::pages(page.matches.unwrap_or(compared), size);
        pages_of_sample(wanted, last, |number| random(slice, resource, number).as_u128())
    });
    let enough = cursor.compared >= sample;
    if pages.is_empty() || enough {
        match cursor.waiting.pop_front().filter(|_| !enough) {
            Some(partition) => (cursor.partition, cursor.pages) = (partition, None),
            None => {
                step.enter(Phase::Sweep);
                return Ok(slice.commit(tx, index, step).await?);
            }
        }
    }
    step.cursor = StepCursor::Sample(Box::new(cursor));
    Ok(slice.commit(tx, index, step).await?)
}

/// Where the sample goes on, or starts; `None` where there is nothing to read.
async fn cursor_of(slice: &Slice<'_>, step: &mut Step) -> Result<Option<SampleCursor>, WorkError> {
    if let StepCursor::Sample(cursor) = std::mem::take(&mut step.cursor) {
        return Ok(Some(*cursor));
    }
    let resource = step.resource;
    partitions::check_project_api(slice, resource).await?;
    let mut waiting = partitions::all(slice, step).await?;
    waiting.extend(partitions::some_parents(slice, step, random(slice, resource, 0), SAMPLED_PARENTS).await?);
    let partition = waiting.pop_front();
    Ok(partition.map(|partition| SampleCursor { partition, waiting, ..SampleCursor::default() }))
}

/// A page of the partition; `None` where it is too long, and pages are smaller from now on.
async fn page_of(
    slice: &Slice<'_>,
    resource: &'static Resource,
    cursor: &mut SampleCursor,
    number: u32,
) -> Result<Option<Page>, WorkError> {
    let place = (number, cursor.size());
    match slice.page(resource, place, resource.list_body(place, None, &cursor.partition.body)).await {
        Ok(page) => Ok(Some(page)),
        // What a sync passes over is no part of a sample either.
        Err(WorkError::Api(ApiError::Failed { failure, .. })) if partitions::is_passed_over(resource, failure) => {
            cursor.pages = Some(VecDeque::new());
            Ok(Some(Page::default()))
        }
        Err(WorkError::Api(ApiError::Failed { failure: Failure::TooLong, .. })) if !cursor.small => {
            (cursor.small, cursor.pages) = (true, None);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// No sample has more pages of a list; they stand in the cursor until they are read.
const MAX_SAMPLED: u32 = 10_000;

/// Up to `wanted` different pages from 2 to `last`, drawn by Floyd's algorithm: as many draws as pages, however long
/// the list is.
fn pages_of_sample(wanted: i64, last: i64, random: impl Fn(u32) -> u128) -> VecDeque<u32> {
    let within = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
    let all = within(last).saturating_sub(1);
    let wanted = within(wanted).min(all).min(MAX_SAMPLED);
    let (mut drawn, mut pages) = (HashSet::new(), VecDeque::new());
    for newest in all - wanted..all {
        let any = u32::try_from(random(newest) % u128::from(newest + 1)).unwrap_or(newest);
        let page = if drawn.insert(any) { any } else { newest };
        drawn.insert(page);
        pages.push_back(page + 2);
    }
    pages
}

async fn end(slice: &Slice<'_>, index: usize, mut step: Step) -> Result<(), WorkError> {
    step.enter(Phase::Sweep);
    let tx = slice.begin().await?;
    Ok(slice.commit(tx, index, step).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_of_different_pages_and_no_more_than_there_are() {
        let random = |number: u32| xxh3_128(&number.to_be_bytes());
        let pages = pages_of_sample(3, 200, random);
        assert_eq!(pages.len(), 3);
        assert!(pages.iter().all(|page| (2..=200).contains(page)));
        assert_ne!(pages, VecDeque::from([2, 3, 4]));
        assert_eq!(pages_of_sample(9, 2, random), [2]);
        assert_eq!(pages_of_sample(9, 0, random), [0_u32; 0]);
        let all: HashSet<u32> = pages_of_sample(i64::MAX, 200, random).into_iter().collect();
        assert_eq!(all, (2..=200).collect(), "each once");
    }

    #[test]
    fn a_sample_of_a_list_without_end_has_an_end() {
        let random = |number: u32| xxh3_128(&number.to_be_bytes());
        for last in [i64::MIN, -1, 1] {
            assert_eq!(pages_of_sample(i64::MAX, last, random).len(), 0, "{last}");
        }
        for last in [i64::from(u32::MAX), i64::from(u32::MAX) + 1, i64::MAX] {
            assert_eq!(pages_of_sample(2, last, random).len(), 2, "{last}");
            assert_eq!(pages_of_sample(i64::MAX, last, random).len(), MAX_SAMPLED as usize, "{last}");
        }
        assert_eq!(pages_of_sample(i64::MIN, 7, random).len(), 0);
    }
}
