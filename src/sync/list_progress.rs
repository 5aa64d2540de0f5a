//! How far the list phase of a step has come, over all partitions of its resource, and how it ends.

use std::collections::{BTreeSet, VecDeque};

use chrono::{DateTime, Utc};
use tracing::{info, warn};

use super::cursor::{ListProgress, Run, Step, StepCursor};
use super::pager::ListCursor;
use super::partition::Partition;
use super::partitions;
use super::slice::{Slice, WorkError};
use super::sweep;
use crate::api_client::answer::{self, Record};
use crate::catalog::{AskAgain, Resource, Shapes};
use crate::messages::ResourceStatus;
use crate::process::telemetry;
use crate::retry::Failure;
use crate::store::progress::{self, Pass};
use crate::store::runs::Phase;

/// Partitions in a row that cannot be read, after which the rest is given up: it is not the partitions then.
const MAX_FAILED_PARTITIONS: u32 = 5;

impl ListProgress {
    /// Before the first of these partitions.
    pub fn start(resource: &Resource, since: Option<DateTime<Utc>>, mut waiting: VecDeque<Partition>) -> Self {
        Self {
            at: ListCursor::start(resource, since, 0),
            partition: waiting.pop_front(),
            waiting,
            last_parent: None,
            first_page: 0,
            listed: 0,
            unproven: false,
            incomplete: false,
            undated: false,
            includes_came: BTreeSet::new(),
            refused: Vec::new(),
            refusal: None,
            withheld: false,
            given: None,
            failures_in_a_row: 0,
        }
    }

    /// Where the step goes on, if it has started.
    pub fn of(step: &Step) -> Option<Self> {
        match &step.cursor {
            StepCursor::List(progress) => Some((**progress).clone()),
            _ => None,
        }
    }

    /// Passes over a partition that could not be read. It does not hold up the others, but the resource is failed in
    /// the end. False: too many in a row.
    pub fn fail(&mut self, step: &mut Step, error: &WorkError) -> bool {
        self.failures_in_a_row += 1;
        if self.failures_in_a_row >= MAX_FAILED_PARTITIONS {
            return false;
        }
        let resource = step.resource.name;
        warn!(%error, "A partition of {resource} could not be read");
        step.note_failure(error.cause(), format!("not every partition could be read: {error}"));
        (self.incomplete, self.unproven) = (true, true);
        true
    }

    /// Whether a partition that the API does not give is passed over: the parent is deleted, or its kind may not be
    /// asked for. Where lists of its kind are given, it is this parent alone, unless many in a row are not given.
    pub fn passes_over(&self, resource: &Resource, partition: &Partition, failure: Failure) -> bool {
        let is_given = self.given.as_deref() == partition.kind() && self.failures_in_a_row + 1 < MAX_FAILED_PARTITIONS;
        partitions::is_passed_over(resource, failure) && (failure == Failure::NotFound || !is_given)
    }

    /// Leaves out the kind of this parent, whose lists the API does not give.
    pub fn refuse(&mut self, step: &mut Step, partition: &Partition, failure: Failure, reason: &str) {
        let Some(kind) = partition.kind() else { return };
        let resource = step.resource.name;
        warn!(kind, reason, "{resource} of a {kind} cannot be listed");
        step.note_drift([format!("those of a {kind} cannot be listed: {reason}")].into());
        self.failures_in_a_row = 0;
        self.refused.push(kind.to_owned());
        self.refusal = Some(reason.to_owned());
        self.withheld |= failure == Failure::Forbidden;
    }

    /// Up to `limit` parents after the last one.
    pub async fn next_parents(
        &self,
        slice: &Slice<'_>,
        connection: &mut sqlx::PgConnection,
        step: &Step,
        limit: i64,
    ) -> Result<Vec<Partition>, WorkError> {
        partitions::next_parents(connection, slice, step, self.last_parent.as_ref(), &self.refused, limit).await
    }

    /// Notes which includes came with these records. A field of an include may be left out where it does not apply, so
    /// only the whole list shows whether the API ignores one.
    pub fn note_includes(&mut self, resource: &Resource, records: &[Record]) {
        let shape = &Shapes::of(resource).list;
        let asked = shape.includes();
        let open: Vec<&str> = asked.into_iter().filter(|include| !self.includes_came.contains(*include)).collect();
        if open.is_empty() {
            return;
        }
        let missing = answer::missing_fields(records);
        let texts: Vec<&str> = records.iter().map(|record| record.json.as_str()).collect();
        let came = open.into_iter().filter(|include| shape.has_come(include, &missing, &texts));
        self.includes_came.extend(came.map(str::to_owned));
    }

    /// The includes that were asked for and came with no record of a complete list, as text.
    fn includes_that_did_not_come(&self, step: &Step) -> BTreeSet<String> {
        if step.since.is_some() || step.counts.listed == 0 {
            return BTreeSet::new();
        }
        let asked = Shapes::of(step.resource).list.includes();
        let missing = asked.into_iter().filter(|include| !self.includes_came.contains(*include));
        missing.map(|include| format!("{include} did not come, although it was asked for")).collect()
    }

    /// As the cursor of the step.
    pub fn store_in(self, step: &mut Step) {
        step.cursor = StepCursor::List(Box::new(self));
    }

    /// Adds to what the lists said to hold, once a partition is read whose first page had the number `first_page`. One
    /// that does not say leaves the sum unknown.
    pub fn add_matches(step: &mut Step, first_page: i32, matches: Option<i64>) {
        step.matches = match (step.matches, matches) {
            (Some(sum), Some(matches)) => sum.checked_add(matches),
            (None, matches) if first_page == 0 => matches,
            _ => None,
        };
    }

    /// Goes on to the next partition, or ends the list.
    pub async fn next_partition(
        mut self,
        slice: &Slice<'_>,
        tx: &mut sqlx::PgConnection,
        step: &mut Step,
        pages_read: i32,
    ) -> Result<(), WorkError> {
        let refused = |partition: &Partition| {
            partition.kind().is_some_and(|kind| self.refused.iter().any(|refused| refused == kind))
        };
        self.waiting.retain(|partition| !refused(partition));
        self.partition = self.waiting.pop_front();
        if self.partition.is_none() && self.next_parents(slice, tx, step, 1).await?.is_empty() {
            return self.end_list(slice, tx, step, pages_read).await;
        }
        self.at = ListCursor::start(step.resource, step.since, pages_read);
        self.first_page = pages_read;
        self.listed = step.counts.listed;
        self.store_in(step);
        Ok(())
    }

    /// All partitions are read, or there is none. Where no kind of parent may be asked for, nor may the resource. A
    /// resource of which nothing was asked is not verified: the records that its partitions are made from may not have
    /// been read yet.
    async fn end_list(
        self,
        slice: &Slice<'_>,
        tx: &mut sqlx::PgConnection,
        step: &mut Step,
        pages_read: i32,
    ) -> Result<(), WorkError> {
        let (account, resource) = (&slice.settings.account, step.resource);
        if let (0, Some(reason), None) = (pages_read, &self.refusal, &step.error) {
            let why = format!("{}: {reason}", resource.list_endpoint());
            return Err(if self.withheld { WorkError::Withheld(why) } else { WorkError::Inapplicable(why) });
        }
        step.note_drift(self.includes_that_did_not_come(step));
        let audited = slice.parameters.is_audit();
        // No record of these partitions that was there throughout can be missing.
        let complete = !self.incomplete && !self.withheld && !self.undated;
        // They are all partitions that there are.
        let whole = self.refused.is_empty() && pages_read > 0 && !parents_failed(&slice.run(), resource);
        // Of dates, or of the parents that changed.
        let windowed = step.since.is_some() && !resource.updated_since;
        let sure = !self.unproven && !self.undated && !windowed && step.error.is_none();
        // Deleted parents are noticed by themselves; but there may be records of parents that were not seen.
        step.verified = sure && whole && parents_are_proven(&slice.run(), resource);
        let has_watermark = (resource.updated_since || !resource.stands_alone()) && !audited;
        if let (true, true, Some(clock)) = (complete && step.error.is_none(), has_watermark, step.clock) {
            let end = slice.client.clock().api_now();
            let pass = if step.since.is_none() { Pass::Complete(end) } else { Pass::Incremental };
            progress::move_watermark(tx, account, resource, slice.watermark(clock), pass).await?;
        }
        if self.unproven && step.error.is_none() {
            warn!("{} changed too fast to be sure that all was seen", resource.name);
        }
        telemetry::records(resource.name, "unchanged", step.counts.unchanged);
        // Rows that the passes themselves asked for again are missing, also where other partitions could not be read.
        let sweepable = sure && (whole || resource.ask_again() == AskAgain::List);
        let sweeps = audited || sweepable && slice.parameters.marks_deletions();
        match sweeps {
            true => sweep::begin(step, sure && whole),
            false => step.enter(Phase::Detail),
        }
        let listed = step.counts.listed;
        info!(listed, "Listed {listed} {}", resource.name);
        Ok(())
    }
}

/// Whether the run has read all resources for sure to whose records these belong; not those that the account does not
/// have.
fn parents_are_proven(run: &Run, resource: &Resource) -> bool {
    let is_parent = |step: &&Step| resource.parents().iter().any(|parent| parent.resource == step.resource.name);
    run.steps.iter().filter(is_parent).all(|step| step.verified || step.status == Some(ResourceStatus::Skipped))
}

/// Whether the run could not read a resource to whose records these belong: it does not know all of them then.
fn parents_failed(run: &Run, resource: &Resource) -> bool {
    let is_parent = |step: &&Step| resource.parents().iter().any(|parent| parent.resource == step.resource.name);
    run.steps.iter().filter(is_parent).any(|step| step.status == Some(ResourceStatus::Failed))
}
