//! The list pass: one page, its rows, the checkpoint and the counts in one transaction.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use uuid::Uuid;

use super::audit;
use super::pager::{Next, PassEnd, Position, Verdict};
use super::parts::{self, Part};
use super::slice::{Slice, WorkError};
use crate::catalog::{AskAgain, Detail, Resource, Scope, Shapes};
use crate::retry::Failure;
use crate::store::run::{Phase, Run, Step};
use crate::store::{parents, records};
use crate::teamleader::answer::{self, Page};
use crate::teamleader::client::ApiError;
use crate::telemetry;

/// Where the phase goes on. Kept as JSON in `sync_step.position`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Reading {
    /// Where in the list of the part.
    #[serde(flatten)]
    at: Position,
    #[serde(default)]
    part: Part,
    /// Parts to come. Parent records are not among them: they are looked for one by one.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    waiting: VecDeque<Part>,
    /// The number of the first page of this part.
    #[serde(default)]
    first_page: i32,
    /// Distinct records that the parts before told.
    #[serde(default)]
    listed: i64,
    /// Whether one of those parts was not read for sure.
    #[serde(default)]
    unproven: bool,
    /// Whether one of those parts may lack a record that was there throughout.
    #[serde(default)]
    incomplete: bool,
    /// Kinds of parents whose lists the API does not give.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refused: Vec<String>,
    /// Whether one of these may be given another time: it may not be asked for as things are.
    #[serde(default)]
    withheld: bool,
    /// Parts in a row that could not be read.
    #[serde(default)]
    failures_in_a_row: u32,
}

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
        match begin(slice, &mut step).await? {
            Some(reading) => reading,
            None => return read_nothing(slice, index, step).await,
        }
    } else {
        serde_json::from_value(step.position.clone()).map_err(|error| WorkError::Unusable(error.to_string()))?
    };
    let (number, since) = reading.at.request(step.since);
    let asked = slice.client.list(resource, &resource.list_body(number, since.as_deref(), &reading.part.body)).await;
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
    next_part(slice, &mut tx, &mut step, reading, pages_read).await?;
    Ok(slice.commit(tx, index, step).await?)
}

/// The first part; `None` where there is none.
async fn begin(slice: &mut Slice<'_>, step: &mut Step) -> Result<Option<Reading>, WorkError> {
    let resource = step.resource;
    parts::check_project_api(slice, resource).await?;
    let mut waiting = parts::all(slice, step).await?;
    let first = match waiting.pop_front() {
        Some(first) => Some(first),
        None => parts::next_parent(&mut *slice.pool.acquire().await?, slice, step, None, &[]).await?,
    };
    if !resource.stands_alone() {
        // Which parents changed is told by the database's clock.
        step.clock = Some(records::clock(slice.pool).await?);
    }
    Ok(first.map(|part| Reading {
        at: Position::start(resource, step.since, 0),
        part,
        waiting,
        first_page: 0,
        listed: 0,
        unproven: false,
        incomplete: false,
        refused: Vec::new(),
        withheld: false,
        failures_in_a_row: 0,
    }))
}

/// There is no part of it: no parent, no country.
async fn read_nothing(slice: &mut Slice<'_>, index: usize, mut step: Step) -> Result<(), WorkError> {
    let mut tx = slice.begin().await?;
    // Nothing was asked, so nothing is certain: what the parts are made of may not have been read yet.
    end_list(slice, &mut tx, &mut step, Proof { complete: true, proven: true, whole: false }).await?;
    Ok(slice.commit(tx, index, step).await?)
}

async fn merge(
    slice: &mut Slice<'_>,
    index: usize,
    mut step: Step,
    mut reading: Reading,
    page: Page,
) -> Result<(), WorkError> {
    let (resource, account) = (step.resource, slice.settings.account.clone());
    let texts: Vec<&str> = page.records.iter().map(|record| record.json.as_str()).collect();
    if !texts.is_empty()
        && let Some(include) =
            Shapes::of(resource).list.include_that_did_not_come(&answer::lacking(&page.records), &texts)
    {
        let what = format!("{} did not give {include}, which was asked for", resource.list_endpoint());
        return Err(WorkError::Unusable(what));
    }
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
    let parent = reading.part.parent();
    let merged = match audit::is_audit(&slice.run) {
        true => audit::compare_items(slice, &mut tx, &mut step, &page.records, parent).await?,
        false => records::merge_page(&mut tx, &account, resource, &page.records, parent, touch).await?,
    };
    records::keep_ids(&mut tx, &account, slice.run.id, resource, (pass, page_number), &ids).await?;
    step.counts.created += merged.created;
    step.counts.updated += merged.updated;
    step.counts.unchanged += merged.unchanged;
    step.counts.replaced += page.replaced;
    step.counts.listed += merged.created + merged.updated + merged.unchanged;
    match next {
        Next::Page(position) => {
            reading.at = position;
            step.position = as_json(&reading)?;
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
    let by_list = (marks || audited) && resource.ask_again() == AskAgain::List;
    let unseen = match by_list {
        true => parents::unseen_in_part(tx, account, run, resource, reading.part.rows(), first_page).await?,
        false => Vec::new(),
    };
    step.counts.listed = reading.listed + of_part;
    step.counts.unchanged = (step.counts.listed - step.counts.created - step.counts.updated).max(0);
    let pages_read = end.pages_read();
    match end.judge(of_pass, step.since, marks || by_list, unseen.is_empty()) {
        Verdict::Again(position) => {
            info!(run = %run, resource = resource.name, pass = position.pass, "Reading {} once more, to be sure", resource.name);
            reading.at = position;
            step.position = as_json(&reading)?;
            return Ok(());
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
    step.matches = match (step.matches, matches) {
        (Some(sum), Some(matches)) => Some(sum + matches),
        (None, matches) if first_page == 0 => matches,
        _ => None,
    };
    next_part(slice, tx, step, reading, pages_read).await
}

/// Goes on to the next part, or ends the list.
async fn next_part(
    slice: &Slice<'_>,
    tx: &mut sqlx::PgConnection,
    step: &mut Step,
    mut reading: Reading,
    pages_read: i32,
) -> Result<(), WorkError> {
    let next = match reading.waiting.pop_front() {
        Some(part) => Some(part),
        None => parts::next_parent(tx, slice, step, Some(&reading.part), &reading.refused).await?,
    };
    let Some(part) = next else {
        let complete = !reading.incomplete && !reading.withheld;
        let whole = reading.refused.is_empty() && pages_read > 0 && !parents_failed(&slice.run, step.resource);
        return end_list(slice, tx, step, Proof { complete, proven: !reading.unproven, whole }).await;
    };
    reading.part = part;
    reading.at = Position::start(step.resource, step.since, pages_read);
    reading.first_page = pages_read;
    reading.listed = step.counts.listed;
    step.position = as_json(&reading)?;
    Ok(())
}

/// Whether the run could not read a resource to whose records these belong: it does not know all of them then.
fn parents_failed(run: &Run, resource: &Resource) -> bool {
    let is_parent = |step: &&Step| resource.parents().iter().any(|parent| parent.resource == step.resource.name);
    run.steps.iter().filter(is_parent).any(|step| step.status == Some("failed"))
}

/// What is known when all parts were read.
struct Proof {
    /// No record of these parts that was there throughout can be missing.
    complete: bool,
    /// And the counts prove it.
    proven: bool,
    /// They are all parts that there are.
    whole: bool,
}

async fn end_list(
    slice: &Slice<'_>,
    tx: &mut sqlx::PgConnection,
    step: &mut Step,
    Proof { complete, proven, whole }: Proof,
) -> Result<(), WorkError> {
    let (account, run, resource) = (&slice.settings.account, slice.run.id, step.resource);
    let audited = audit::is_audit(&slice.run);
    // Of dates, or of the parents that changed.
    let windowed = step.since.is_some() && !resource.updated_since;
    let sure = proven && !windowed && step.error.is_none();
    step.verified = sure && whole;
    let has_watermark = (resource.updated_since || !resource.stands_alone()) && !audited;
    if let (true, true, Some(clock)) = (complete && step.error.is_none(), has_watermark, step.clock) {
        records::move_watermark(tx, account, resource, slice.watermark(clock)).await?;
    }
    if !proven && step.error.is_none() {
        warn!(run = %run, resource = resource.name, "{} changed too fast to be sure that all was seen", resource.name);
    }
    telemetry::records(resource.name, "unchanged", step.counts.unchanged);
    // A counter begins at nothing, not at its first event.
    telemetry::drift(resource.name, 0);
    // What the passes themselves have asked again is gone, also where other parts could not be read.
    let sweepable = sure && (whole || resource.ask_again() == AskAgain::List);
    let sweeps = audited || sweepable && audit::marks_deletions(&slice.run);
    step.enter(if sweeps { Phase::Sweep } else { Phase::Detail });
    let listed = step.counts.listed;
    info!(run = %run, resource = resource.name, listed, "Listed {listed} {}", resource.name);
    Ok(())
}

/// A parent that is gone has no children to list, and they follow it when its own resource finds it gone. A kind of parent that may
/// not be asked for is left out; where none may be, so is the resource.
async fn skip_parent(
    slice: &mut Slice<'_>,
    index: usize,
    mut step: Step,
    mut reading: Reading,
    failure: Failure,
    reason: &str,
) -> Result<(), WorkError> {
    let resource = step.resource;
    if failure != Failure::NotFound
        && let Some(kind) = reading.part.kind()
    {
        warn!(run = %slice.run.id, resource = resource.name, kind, reason, "{} of a {kind} cannot be listed", resource.name);
        step.note_drift([format!("those of a {kind} cannot be listed: {reason}")].into());
        reading.refused.push(kind.to_owned());
        reading.withheld |= failure == Failure::Forbidden;
    }
    let pages_read = reading.at.pages_read;
    let mut tx = slice.begin().await?;
    next_part(slice, &mut tx, &mut step, reading, pages_read).await?;
    let nothing_read = step.phase != Phase::List && pages_read == 0;
    if nothing_read && failure != Failure::NotFound {
        return Err(WorkError::Inapplicable(format!("{}: {reason}", resource.list_endpoint())));
    }
    Ok(slice.commit(tx, index, step).await?)
}

fn as_json(reading: &Reading) -> Result<serde_json::Value, WorkError> {
    serde_json::to_value(reading).map_err(|error| WorkError::Unusable(error.to_string()))
}
