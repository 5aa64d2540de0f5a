//! The list pass: one page, its rows, the checkpoint and the counts in one transaction.

use tracing::{info, warn};
use uuid::Uuid;

use super::audit;
use super::children;
use super::pager::{Next, PassEnd, Verdict};
use super::parts;
use super::reading::{self, Reading};
use super::slice::{Slice, WorkError};
use crate::catalog::{Detail, Scope};
use crate::retry::Failure;
use crate::store::run::Step;
use crate::store::{parents, records};
use crate::teamleader::answer::{self, Page};
use crate::teamleader::client::ApiError;
use crate::telemetry;

/// Parts in a row that cannot be read, after which the rest is given up: it is not the parts then.
const MAX_FAILED_PARTS: u32 = 5;

/// Reads one page of the step's list and merges it. At the end of the passes the step goes on to its next phase.
pub async fn read_page(slice: &mut Slice<'_>, index: usize) -> Result<(), WorkError> {
    if let Some(sample) = audit::sample(&slice.run) {
        return audit::read_sampled_page(slice, index, sample).await;
    }
    let mut step = slice.run.steps[index].clone();
    let resource = step.resource;
    let reading: Reading = if step.position.is_null() {
        begin(slice, &mut step).await?
    } else {
        serde_json::from_value(step.position.clone()).map_err(|error| WorkError::Unusable(error.to_string()))?
    };
    let Some(part) = &reading.part else {
        return children::read_batch(slice, index, step, reading).await;
    };
    let (number, since) = reading.at.request(step.since);
    let asked = slice.client.list(resource, &resource.list_body(number, since.as_deref(), &part.body)).await;
    match asked {
        Ok(page) => merge(slice, index, step, reading, page).await,
        Err(ApiError::Failed { failure, reason, .. }) if parts::is_passed_over(resource, failure) => {
            skip_parent(slice, index, step, reading, failure, &reason).await
        }
        Err(error) => skip_failed(slice, index, step, reading, error.into()).await,
    }
}

/// One part that cannot be read does not hold up the others, but the resource is failed in the end.
async fn skip_failed(
    slice: &mut Slice<'_>,
    index: usize,
    mut step: Step,
    mut reading: Reading,
    error: WorkError,
) -> Result<(), WorkError> {
    let concerns_the_part = match &error {
        WorkError::Api(ApiError::Failed { failure, .. }) => {
            *failure != Failure::Forbidden && step.resource.scope != Scope::Account
        }
        _ => false,
    };
    if !concerns_the_part || reading.failures_in_a_row + 1 >= MAX_FAILED_PARTS || slice.is_down(&error).await {
        return Err(error);
    }
    warn!(run = %slice.run.id, resource = step.resource.name, %error, "A part of {} could not be read", step.resource.name);
    step.error.get_or_insert(format!("not every part could be read: {error}"));
    reading.failures_in_a_row += 1;
    (reading.incomplete, reading.unproven) = (true, true);
    let pages_read = reading.at.pages_read;
    let mut tx = slice.begin().await?;
    reading.next_part(slice, &mut tx, &mut step, pages_read).await?;
    Ok(slice.commit(tx, index, step).await?)
}

/// Before the first part.
async fn begin(slice: &mut Slice<'_>, step: &mut Step) -> Result<Reading, WorkError> {
    let resource = step.resource;
    parts::check_project_api(slice, resource).await?;
    if !resource.stands_alone() {
        // Which parents changed is told by the database's clock.
        step.clock = Some(records::clock(slice.pool).await?);
    }
    Ok(Reading::start(resource, step.since, parts::all(slice, step).await?))
}

async fn merge(
    slice: &mut Slice<'_>,
    index: usize,
    mut step: Step,
    mut reading: Reading,
    mut page: Page,
) -> Result<(), WorkError> {
    let (resource, account) = (step.resource, slice.settings.account.clone());
    reading::check_includes(resource, &page)?;
    let part = reading.part.clone().unwrap_or_default();
    part.adopt(&mut page);
    let (pass, page_number) = (reading.at.pass, reading.at.pages_read);
    let next = reading
        .at
        .clone()
        .after(&page)
        .map_err(|error| WorkError::Unusable(format!("{}: {error}", resource.list_endpoint())))?;
    if step.clock.is_none() {
        step.clock = Some(page.clock.ok_or_else(|| {
            WorkError::Unusable(format!(
                "{} answered without a Date header, which the watermark needs",
                resource.list_endpoint()
            ))
        })?);
    }
    step.note_drift(answer::drift(&page.records));
    let touch = resource.updated_since
        && step.since.is_some()
        && matches!(resource.detail, Detail::Info { shown_by_list: false, .. });
    let ids: Vec<Uuid> = page.records.iter().map(|record| record.id).collect();

    let mut tx = slice.begin().await?;
    let merged = match audit::is_audit(&slice.run) {
        true => audit::compare_items(slice, &mut tx, &mut step, &page.records, part.parent_resource()).await?,
        false => records::merge_page(&mut tx, &account, resource, &page.records, part.parent_resource(), touch).await?,
    };
    records::keep_ids(&mut tx, &account, slice.run.id, resource, (pass, page_number), &ids).await?;
    step.counts.merged(merged.created, merged.updated, merged.unchanged);
    step.counts.replaced += page.replaced;
    match next {
        Next::Page(position) => {
            reading.at = position;
            reading.keep(&mut step)?;
        }
        Next::PassEnd(end) => end_pass(slice, &mut tx, &mut step, reading, end).await?,
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
    mut reading: Reading,
    end: PassEnd,
) -> Result<(), WorkError> {
    let (account, run, resource) = (&slice.settings.account, slice.run.id, step.resource);
    let audited = audit::is_audit(&slice.run);
    let (pass, first_page, matches) = (end.pass(), reading.first_page, end.matches());
    let of_pass = records::count_ids(tx, account, run, resource, (pass, pass), first_page).await?;
    let of_part = records::count_ids(tx, account, run, resource, (1, pass), first_page).await?;
    let marks = audit::marks_deletions(&slice.run);
    // Where there is no other way, reading the list once more is how to ask again.
    let by_list = audit::asks_by_list(&slice.run, resource);
    let unseen = match &reading.part {
        Some(part) if by_list => parents::unseen_in_part(tx, account, run, resource, part.rows(), first_page).await?,
        _ => Vec::new(),
    };
    step.counts.listed = reading.listed + of_part;
    step.counts.unchanged = (step.counts.listed - step.counts.created - step.counts.updated).max(0);
    let pages_read = end.pages_read();
    match end.judge(of_pass, step.since, audit::wants_proof(&slice.run, resource), unseen.is_empty()) {
        Verdict::Again(position) => {
            info!(run = %run, resource = resource.name, pass = position.pass, "Reading {} once more, to be sure", resource.name);
            reading.at = position;
            return reading.keep(step);
        }
        Verdict::Read { complete, verified } => {
            if verified && !unseen.is_empty() {
                // Read twice without them: that was asking for them once more.
                if marks {
                    records::keep_ids(tx, account, run, resource, (0, pages_read), &unseen).await?;
                }
                if audited {
                    audit::count_gone(slice, tx, step, unseen).await?;
                }
            }
            reading.incomplete |= !complete;
            reading.unproven |= !verified;
        }
        Verdict::Contradiction(what) => {
            step.error.get_or_insert(format!("{}: {what}", resource.list_endpoint()));
            (reading.incomplete, reading.unproven) = (true, true);
        }
    }
    reading.failures_in_a_row = 0;
    Reading::add_matches(step, first_page, matches);
    reading.next_part(slice, tx, step, pages_read).await
}

/// A parent that is gone has no children to list, and they follow it when its own resource finds it gone. A kind of parent that may
/// not be asked for is left out.
async fn skip_parent(
    slice: &mut Slice<'_>,
    index: usize,
    mut step: Step,
    mut reading: Reading,
    failure: Failure,
    reason: &str,
) -> Result<(), WorkError> {
    if failure != Failure::NotFound {
        let part = reading.part.clone().unwrap_or_default();
        reading.refuse(&mut step, &part, failure, reason);
    }
    let pages_read = reading.at.pages_read;
    let mut tx = slice.begin().await?;
    reading.next_part(slice, &mut tx, &mut step, pages_read).await?;
    Ok(slice.commit(tx, index, step).await?)
}
