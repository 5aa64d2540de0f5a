//! The list pass: one page, its rows, the checkpoint and the counts in one transaction.

use tracing::{info, warn};
use uuid::Uuid;

use super::pager::{Next, PassEnd, Position, Verdict};
use super::slice::{Slice, WorkError};
use crate::catalog::Detail;
use crate::message::Mode;
use crate::store::records;
use crate::store::run::{Phase, Step};
use crate::telemetry;

/// Reads one page of the step's list and merges it. At the end of the passes the step goes on to its next phase.
pub async fn read_page(slice: &mut Slice<'_>, index: usize) -> Result<(), WorkError> {
    let mut step = slice.run.steps[index].clone();
    let resource = step.resource;
    let account = slice.settings.account.clone();
    let position: Position = if step.position.is_null() {
        Position::start(resource, step.since)
    } else {
        serde_json::from_value(step.position.clone()).map_err(|error| WorkError::Unusable(error.to_string()))?
    };
    let (number, since) = position.request(step.since);
    let page = slice.client.list(resource, &resource.list_body(number, since.as_deref())).await?;

    let (pass, page_number) = (position.pass, position.pages_read);
    let next =
        position.after(&page).map_err(|error| WorkError::Unusable(format!("{}: {error}", resource.list_endpoint())))?;
    if step.clock.is_none() {
        step.clock = Some(page.clock.ok_or_else(|| {
            WorkError::Unusable(format!(
                "{} answered without a Date header, which the watermark needs",
                resource.list_endpoint()
            ))
        })?);
    }
    let touch = step.since.is_some() && matches!(resource.detail, Detail::Info { shown_by_list: false, .. });
    let ids: Vec<Uuid> = page.records.iter().map(|record| record.id).collect();

    let mut tx = slice.begin().await?;
    let merged = records::merge_page(&mut tx, &account, resource, &page.records, touch).await?;
    records::keep_ids(&mut tx, &account, slice.run.id, resource, (pass, page_number), &ids).await?;
    step.counts.created += merged.created;
    step.counts.updated += merged.updated;
    step.counts.unchanged += merged.unchanged;
    step.counts.replaced += page.replaced;
    step.counts.listed += merged.created + merged.updated + merged.unchanged;
    match next {
        Next::Page(position) => step.position = as_json(&position)?,
        Next::PassEnd(end) => end_pass(slice, &mut tx, &mut step, end).await?,
    }
    slice.commit(tx, index, step).await?;
    telemetry::records(resource.name, "created", merged.created);
    telemetry::records(resource.name, "updated", merged.updated);
    Ok(())
}

async fn end_pass(
    slice: &Slice<'_>,
    tx: &mut sqlx::PgConnection,
    step: &mut Step,
    end: PassEnd,
) -> Result<(), WorkError> {
    let (account, run, resource) = (&slice.settings.account, slice.run.id, step.resource);
    let full = slice.run.parameters.mode == Mode::Full;
    let (_, of_pass) = records::count_ids(tx, account, run, resource, (end.pass(), end.pass())).await?;
    let (_, of_all) = records::count_ids(tx, account, run, resource, (1, end.pass())).await?;
    step.matches = end.matches();
    step.counts.listed = of_all;
    step.counts.unchanged = (of_all - step.counts.created - step.counts.updated).max(0);
    match end.judge(of_pass, step.since, full) {
        Verdict::Again(position) => {
            info!(run = %run, resource = resource.name, pass = position.pass, "Reading {} once more, to be sure", resource.name);
            step.position = as_json(&position)?;
        }
        Verdict::Read { complete, verified } => {
            step.verified = verified;
            if let (true, true, Some(clock)) = (complete, resource.updated_since, step.clock) {
                records::move_watermark(tx, account, resource, slice.watermark(clock)).await?;
            }
            if !verified {
                warn!(run = %run, resource = resource.name, "{} changed too fast to be sure that all was seen", resource.name);
            }
            telemetry::records(resource.name, "unchanged", step.counts.unchanged);
            step.enter(if full && verified { Phase::Sweep } else { Phase::Detail });
            info!(run = %run, resource = resource.name, listed = of_all, "Listed {of_all} {}", resource.name);
        }
        Verdict::Contradiction(what) => {
            step.error = Some(format!("{}: {what}", resource.list_endpoint()));
            step.enter(Phase::Detail);
        }
    }
    Ok(())
}

fn as_json(position: &Position) -> Result<serde_json::Value, WorkError> {
    serde_json::to_value(position).map_err(|error| WorkError::Unusable(error.to_string()))
}
