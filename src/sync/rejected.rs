//! Asks again for records that were rejected before: those that are sound now are stored, and those that are deleted
//! are forgotten.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, Transaction};
use tracing::warn;
use uuid::Uuid;

use super::cursor::Step;
use super::lookup::{self, Found};
use super::slice::{Slice, WorkError};
use crate::api_client::answer::{Record, Rejected};
use crate::catalog::{AskAgain, PAGE_SIZE, Resource, Scope};
use crate::ids::Account;
use crate::store::pool::StoreError;
use crate::store::records::newest::Origin;
use crate::store::records::rekey;
use crate::store::records::{Merged, Source};
use crate::store::rejected::{self, As, Of, Stored};

/// Asks for the rejected records of the step's resource, once its list and deletions are dealt with. What its list has
/// given meanwhile, sound or not, is not asked for. The rows of records that are missing are left to the evidence of
/// the next complete pass. Whether none is left: false where the slice is over before that.
pub async fn ask_again(slice: &Slice<'_>, index: usize) -> Result<bool, WorkError> {
    let step = slice.step(index);
    let (account, resource, started) = (&slice.settings.account, step.resource, slice.run().started_at);
    if slice.parameters.is_audit() {
        return Ok(true);
    }
    let by_id = is_asked_by_id(resource);
    if by_id && !ask_by_id(slice, index, started).await? {
        return Ok(false);
    }
    let mut tx = slice.begin().await?;
    rejected::forget_deleted(&mut tx, account, resource).await?;
    // The list of a complete pass has given all that can be read, and all that cannot.
    if step.since.is_none() && step.verified {
        rejected::forget_not_listed(&mut tx, account, resource, started, !by_id).await?;
    }
    tx.commit().await?;
    Ok(true)
}

async fn ask_by_id(slice: &Slice<'_>, index: usize, started: DateTime<Utc>) -> Result<bool, WorkError> {
    let (account, resource) = (&slice.settings.account, slice.step(index).resource);
    let mut after = None;
    loop {
        let ids = rejected::due(slice.pool, account, resource, started, after, PAGE_SIZE as i64).await?;
        let Some(last) = ids.last() else { return Ok(true) };
        after = Some(*last);
        let found = lookup::by_id(&slice.client, resource, &ids).await?;
        store(slice, index, &ids, found).await?;
        if slice.is_over() {
            return Ok(false);
        }
    }
}

/// Whether a record of the resource is known by its id alone. One of a list by partitions, asked for by itself, does
/// not say whose it is.
fn is_asked_by_id(resource: &Resource) -> bool {
    resource.ask_again() != AskAgain::List && resource.scope == Scope::Account
}

async fn store(slice: &Slice<'_>, index: usize, asked: &[Uuid], found: Found) -> Result<(), WorkError> {
    let mut step: Step = slice.step(index);
    let (account, resource) = (&slice.settings.account, step.resource);
    let records = [found.items, found.details].concat();
    let mut tx = slice.begin().await?;
    let merged_as = As::Items(Source::of(Origin::ById));
    let Stored { merged, rejected: refused, .. } =
        rejected::merge_the_others(&mut tx, account, resource, &records, merged_as).await?;
    let mut settled = found.missing;
    let is_refused = |id| refused.iter().any(|refused| refused.id == id);
    settled.extend(records.iter().map(|record| record.id).filter(|id| !is_refused(*id)));
    rejected::forget(&mut tx, account, resource, &settled, Of::Item).await?;
    rejected::store(&mut tx, account, resource, &[found.rejected, refused].concat(), Of::Item).await?;
    // A record without an id may have come in the place of one of them.
    rejected::note_asked(&mut tx, account, resource, asked).await?;
    step.counts.created += merged.created;
    step.counts.updated += merged.updated;
    step.note_replaced(found.replaced);
    slice.commit(tx, index, step).await?;
    Ok(())
}

/// Stores which records of a list were rejected, and forgets those of `listed` that were stored. Returns how many were
/// rejected.
pub async fn store_of_list(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    listed: &[Record],
    rejected: &[Rejected],
) -> Result<i64, StoreError> {
    let is_rejected: HashSet<Uuid> = rejected.iter().map(|record| record.id).collect();
    let sound: Vec<Uuid> = listed.iter().map(|record| record.id).filter(|id| !is_rejected.contains(id)).collect();
    rejected::forget(tx, account, resource, &sound, Of::Item).await?;
    rejected::store(tx, account, resource, rejected, Of::Item).await?;
    for Rejected { id, reason, .. } in rejected {
        warn!(%id, "A record of {} is passed over: {reason}", resource.name);
    }
    Ok(i64::try_from(is_rejected.len()).unwrap_or(i64::MAX))
}

/// Merges, in a transaction of its own, what of a batch PostgreSQL takes that has refused a value of it. What it
/// refuses is added to `rejected`.
pub async fn merge_the_others(
    slice: &Slice<'_>,
    step: &Step,
    batch: &[Record],
    merged_as: As<'_>,
    rejected: &mut Vec<Rejected>,
) -> Result<(Transaction<'static, Postgres>, Merged), StoreError> {
    let mut tx = slice.begin().await?;
    let account = &slice.settings.account;
    // As the transaction did that has failed.
    rekey::by_new_ids(&mut tx, slice.key(step.resource), batch).await?;
    let stored = rejected::merge_the_others(&mut tx, account, step.resource, batch, merged_as).await?;
    rejected.extend(stored.rejected);
    Ok((tx, stored.merged))
}

/// The same for details: how many were merged.
pub async fn merge_other_details(
    slice: &Slice<'_>,
    step: &Step,
    batch: &[Record],
    rejected: &mut Vec<Rejected>,
) -> Result<(Transaction<'static, Postgres>, i64), StoreError> {
    let mut tx = slice.begin().await?;
    let account = &slice.settings.account;
    let stored = rejected::merge_the_others(&mut tx, account, step.resource, batch, As::Details).await?;
    rejected.extend(stored.rejected);
    Ok((tx, stored.detailed))
}

/// Stores which details were rejected, and forgets those of records that were `read` or are `missing`.
pub async fn store_of_details(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    (read, missing): (&[Record], &[Uuid]),
    rejected: &[Rejected],
) -> Result<(), StoreError> {
    let is_rejected = |id: &Uuid| rejected.iter().any(|record| record.id == *id);
    let mut settled: Vec<Uuid> = read.iter().map(|record| record.id).filter(|id| !is_rejected(id)).collect();
    settled.extend_from_slice(missing);
    rejected::forget(tx, account, resource, &settled, Of::Detail).await?;
    rejected::store(tx, account, resource, rejected, Of::Detail).await
}

/// Of an audit, which stores nothing: what cannot be read is not compared.
pub fn note(step: &mut Step, rejected: &[Rejected]) {
    let cannot = |record: &Rejected| format!("{} is not compared: {}", record.id, record.reason);
    step.note_drift(rejected.iter().map(cannot).collect());
}
