//! Audits: rows compared with what the API gives. They are corrected only with `repair`.
//!
//! An audit of everything reads the lists as a sync does (`list`), asks for the rows that no page gave (`sweep`), and
//! for every detail (`details`), one of a random sample reads some of each (`sample`). Here is what these do with the
//! answers instead of merging them.

use chrono::{DateTime, Utc};
use sqlx::{Executor as _, PgConnection};
use uuid::Uuid;

use super::cursor::Step;
use super::rejected;
use super::slice::{Slice, WorkError};
use crate::api_client::answer::Record;
use crate::catalog::Resource;
use crate::store::comparison::{self, Compared};
use crate::store::pool::StoreError;
use crate::store::records::details;
use crate::store::records::newest;
use crate::store::records::{self, Merged, Source};
use crate::store::rejected as refused;
use crate::store::rejected::As;
use crate::store::seen_ids;

/// Compares list items with their rows, and corrects the rows if that was asked for.
pub async fn compare_items(
    slice: &Slice<'_>,
    tx: &mut PgConnection,
    step: &mut Step,
    items: &[Record],
    source: Source<'_>,
) -> Result<Merged, WorkError> {
    let resource = step.resource;
    // Pages overlap: each record is compared, and counted, once.
    let (items, doubted) = newest::of_each(items, source.origin.trust(resource));
    let mut items: Vec<Record> = items.into_iter().cloned().collect();
    let as_items = As::Items(source);
    let (found, mut merged) = match attempt(slice, tx, resource, &items, as_items).await {
        Err(error) if error.refused_value().is_some() => {
            leave_out_refused(slice, tx, step, &mut items, as_items).await?;
            attempt(slice, tx, resource, &items, as_items).await?
        }
        compared => compared?,
    };
    merged.doubted.extend(doubted);
    count(slice, tx, step, found).await?;
    Ok(merged)
}

/// Compares details with their rows; returns how many it has corrected.
pub async fn compare_details(
    slice: &Slice<'_>,
    tx: &mut PgConnection,
    step: &mut Step,
    details: &[Record],
) -> Result<i64, WorkError> {
    let resource = step.resource;
    let (found, merged) = match attempt(slice, tx, resource, details, As::Details).await {
        Err(error) if error.refused_value().is_some() => {
            let mut details = details.to_vec();
            leave_out_refused(slice, tx, step, &mut details, As::Details).await?;
            attempt(slice, tx, resource, &details, As::Details).await?
        }
        compared => compared?,
    };
    count(slice, tx, step, found).await?;
    Ok(merged.updated)
}

/// Compares, and corrects if that was asked for. Where PostgreSQL refuses a value, the transaction is as it was before.
async fn attempt(
    slice: &Slice<'_>,
    tx: &mut PgConnection,
    resource: &Resource,
    records: &[Record],
    compared_as: As<'_>,
) -> Result<(Compared, Merged), StoreError> {
    tx.execute("savepoint compared").await?;
    let compared = match compared_as {
        As::Items(source) => attempt_items(slice, tx, resource, records, source).await,
        As::Details => attempt_details(slice, tx, resource, records).await,
    };
    if compared.is_err() {
        // What has failed says more than this does.
        _ = tx.execute("rollback to compared; release compared").await;
    } else {
        tx.execute("release compared").await?;
    }
    compared
}

async fn attempt_items(
    slice: &Slice<'_>,
    tx: &mut PgConnection,
    resource: &Resource,
    items: &[Record],
    source: Source<'_>,
) -> Result<(Compared, Merged), StoreError> {
    let account = &slice.settings.account;
    let found = comparison::items(tx, account, resource, items).await?;
    if !slice.parameters.repair {
        let unchanged = i64::try_from(items.len()).unwrap_or(i64::MAX);
        return Ok((found, Merged { unchanged, ..Merged::default() }));
    }
    comparison::distrust(tx, account, resource, &found.wrong).await?;
    let merged = records::merge_page(tx, account, resource, items, source).await?;
    Ok((found, merged))
}

async fn attempt_details(
    slice: &Slice<'_>,
    tx: &mut PgConnection,
    resource: &Resource,
    details: &[Record],
) -> Result<(Compared, Merged), StoreError> {
    let account = &slice.settings.account;
    let found = comparison::details(tx, account, resource, details).await?;
    let mut merged = Merged::default();
    if slice.parameters.repair {
        let differing = found.differing();
        let differing: Vec<Record> = details.iter().filter(|detail| differing.contains(&detail.id)).cloned().collect();
        merged.updated = details::merge_details(tx, account, resource, &differing).await?;
    }
    Ok((found, merged))
}

/// Takes the records out that PostgreSQL refuses, and names them.
async fn leave_out_refused(
    slice: &Slice<'_>,
    tx: &mut PgConnection,
    step: &mut Step,
    records: &mut Vec<Record>,
    compared_as: As<'_>,
) -> Result<(), StoreError> {
    let refused = refused::by_postgres(tx, &slice.settings.account, step.resource, records, compared_as).await?;
    records.retain(|record| refused.iter().all(|refused| refused.id != record.id));
    rejected::note(step, &refused);
    Ok(())
}

/// Counts rows whose record is missing from the API, each asked for at its time or later.
pub async fn count_missing(
    slice: &Slice<'_>,
    tx: &mut PgConnection,
    step: &mut Step,
    missing: (&[Uuid], &[Option<DateTime<Utc>>]),
) -> Result<(), WorkError> {
    let found = comparison::missing(tx, &slice.settings.account, step.resource, missing).await?;
    count(slice, tx, step, found).await
}

/// Adds to the counts of the step what was not found earlier.
async fn count(slice: &Slice<'_>, tx: &mut PgConnection, step: &mut Step, found: Compared) -> Result<(), WorkError> {
    let resource = step.resource;
    let ids = found.differing();
    if ids.is_empty() {
        return Ok(());
    }
    let earlier = seen_ids::found_earlier(tx, slice.key(resource), &ids).await?;
    let found = found.without(&earlier);
    let audited = &mut step.counts.audited;
    for (count, ids) in
        [(&mut audited.missing, &found.missing), (&mut audited.stale, &found.stale), (&mut audited.wrong, &found.wrong)]
    {
        *count += i64::try_from(ids.len()).unwrap_or(i64::MAX);
    }
    Ok(seen_ids::store_differing(tx, slice.key(resource), &found.differing()).await?)
}
