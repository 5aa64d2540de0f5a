//! Records of which an answer could not say what their newest state is: they are asked for by id, and that answer
//! counts.

use std::collections::HashMap;

use futures_util::stream::{self, StreamExt};
use tracing::info;
use uuid::Uuid;

use super::details::concerns_the_record;
use super::lookup;
use super::slice::{Slice, WorkError};
use crate::api_client::answer::Record;
use crate::api_client::client::ApiError;
use crate::catalog::Resource;
use crate::retry::Failure;
use crate::store::doubts;
use crate::store::records::Source;
use crate::store::records::newest::Origin;
use crate::store::rejected::{self, As, Of, Stored};

/// Asks for the records that the list of the step left in doubt, batch by batch until the slice is over. Whether none
/// is left.
pub async fn settle(slice: &Slice<'_>, index: usize) -> Result<bool, WorkError> {
    let resource = slice.step(index).resource;
    while let Some(batch) = doubts::next(slice.pool, slice.key(resource)).await? {
        settle_batch(slice, index, batch).await?;
        if slice.is_over() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn settle_batch(slice: &Slice<'_>, index: usize, batch: doubts::Batch) -> Result<(), WorkError> {
    let mut step = slice.step(index);
    let (account, resource) = (&slice.settings.account, step.resource);
    let found = lookup::by_id(&slice.client, resource, &batch.ids).await?;
    let details = if resource.has_details() { with_details(slice, resource, &found.items).await? } else { Vec::new() };
    let items: Vec<Record> = leading(&found.items, &details).cloned().collect();
    let mut tx = slice.begin().await?;
    // Records that are in doubt even now are left to the next pass.
    let as_items = As::Items(Source::of(Origin::ById));
    let Stored { merged, rejected: refused, .. } =
        rejected::merge_the_others(&mut tx, account, resource, &items, as_items).await?;
    let Stored { detailed, rejected: refused_details, .. } =
        rejected::merge_the_others(&mut tx, account, resource, &details, As::Details).await?;
    if !slice.parameters.is_audit() {
        rejected::store(&mut tx, account, resource, &refused_details, Of::Detail).await?;
        rejected::store(&mut tx, account, resource, &[found.rejected, refused].concat(), Of::Item).await?;
    }
    doubts::settle(&mut tx, slice.key(resource), &batch).await?;
    step.counts.created += merged.created;
    step.counts.updated += merged.updated;
    // They were counted so when the list gave them.
    step.counts.unchanged = (step.counts.unchanged - merged.created - merged.updated).max(0);
    step.counts.detailed += detailed;
    step.note_replaced(found.replaced);
    slice.commit(tx, index, step).await?;
    let (asked, written) = (batch.ids.len(), merged.created + merged.updated);
    info!(
        asked,
        written, "Asked for {asked} {} whose list item was older than the row, and wrote {written}", resource.name
    );
    Ok(())
}

/// The details of these records, as far as they are not deleted and can be read. Rows whose detail cannot be read are
/// asked for it again with the other stale ones, which reports it.
async fn with_details(
    slice: &Slice<'_>,
    resource: &'static Resource,
    items: &[Record],
) -> Result<Vec<Record>, WorkError> {
    let ids: Vec<Uuid> = items.iter().map(|item| item.id).collect();
    let ask = |id: Uuid| {
        let client = slice.client.clone();
        async move { client.info(resource, id).await }
    };
    // The batch is asked for to its end, also when the slice is over.
    let mut answers = stream::iter(ids).map(ask).buffered(slice.client.most_in_flight());
    let mut details = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok((detail, _)) => details.push(detail),
            Err(ApiError::Failed { failure: Failure::NotFound, .. }) => {}
            Err(error) => {
                let error = WorkError::from(error);
                if slice.is_down(&error).await {
                    // Reported as down, so that `is_down` is not asked again.
                    return Err(WorkError::Down(error.to_string()));
                }
                if !concerns_the_record(&error) {
                    return Err(error);
                }
            }
        }
    }
    Ok(details)
}

/// The items that do not lag behind the details of their records.
fn leading<'a>(items: &'a [Record], details: &[Record]) -> impl Iterator<Item = &'a Record> {
    let newest: HashMap<Uuid, _> = details.iter().map(|detail| (detail.id, detail.updated_at)).collect();
    let lags = move |item: &Record| {
        let detail = newest.get(&item.id).copied().flatten();
        item.updated_at.is_some() && item.updated_at < detail
    };
    items.iter().filter(move |item| !lags(item))
}
