//! What a run will read. Pure: from the request and the cursors to the steps.

use chrono::{DateTime, Utc};

use super::cursor::Step;
use super::slice::Settings;
use crate::catalog::{self, AskAgain, PAGE_SIZE, RESOURCES, Resource};
use crate::messages::{Mode, Parameters};
use crate::store::progress::Progress;
use crate::store::runs::Baseline;

/// The steps of a run that begins at `now` (the database's clock), in the catalog's order.
pub fn plan(parameters: &Parameters, settings: &Settings, progress: &[Progress], now: DateTime<Utc>) -> Vec<Step> {
    let wanted = |resource: &&'static Resource| parameters.wants(resource, settings.resources.contains(resource));
    let step = |resource: &'static Resource| {
        let cursor = progress.iter().find(|cursor| cursor.resource == resource.name);
        let since = cursor.filter(|_| parameters.mode == Mode::Incremental && parameters.ids.is_none());
        let mut step = Step::new(resource, since.and_then(|cursor| since_when(resource, cursor, settings, now)));
        step.baseline = baseline(&step, parameters, progress, now);
        step
    };
    let mut steps: Vec<Step> = RESOURCES.iter().filter(wanted).map(step).collect();
    for index in 0..steps.len() {
        let step = &steps[index];
        // A complete pass over the lists of parents has one for each.
        if step.since.is_none() && step.baseline.pages.is_none() {
            steps[index].baseline.pages = lists_of_parents(step.resource, progress, &steps);
        }
    }
    steps
}

/// How many seconds longer than the last one a pass has to reach back to be expected to find more. Within less, changes
/// come as they come.
const OUTAGE_SECONDS: f64 = 600.0;

/// What a step is expected to take, as far as the last steps and the rows say.
fn baseline(step: &Step, parameters: &Parameters, progress: &[Progress], now: DateTime<Utc>) -> Baseline {
    if let Some(ids) = &parameters.ids {
        let ids = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        let details = if step.resource.has_details() { ids } else { 0 };
        return Baseline { pages: Some(catalog::pages(ids, PAGE_SIZE)), details: Some(details), stale: None };
    }
    let of = |name: &str| progress.iter().find(|progress| progress.resource == name);
    let Some(known) = of(step.resource.name) else { return Baseline::default() };
    let takes_all = parameters.refetch || parameters.is_audit();
    // Changes of a much longer time than the last pass read are as many more.
    let span = step.since.map(|since| (now - since).as_seconds_f64());
    let longer = span.zip(known.incremental_span).filter(|(span, last)| span - last > OUTAGE_SECONDS);
    let factor = longer.map_or(1.0, |(span, last)| (span / last.max(1.0)).min(10_000.0));
    let changed = known.incremental_details.map(|details| scaled(details, factor));
    let pages = match step.since {
        None => known.complete_pages,
        Some(_) => {
            let of_changes = changed.filter(|_| factor > 1.0).map(|changed| catalog::pages(changed, PAGE_SIZE));
            known.incremental_pages.map(|pages| pages.max(of_changes.unwrap_or(0)))
        }
    };
    Baseline { pages, details: if takes_all { known.rows } else { changed }, stale: known.stale_details }
}

/// The lists of a resource that is listed by parent: one for each parent. `None`: it is not, or a parent's list is read
/// before it of which nothing is known.
fn lists_of_parents(resource: &Resource, progress: &[Progress], steps: &[Step]) -> Option<i64> {
    if resource.stands_alone() {
        return None;
    }
    let is_read = |name: &str| steps.iter().any(|step| step.resource.name == name);
    let rows = |name: &str| progress.iter().find(|progress| progress.resource == name).and_then(|known| known.rows);
    let lists = resource.parents().iter().map(|parent| match rows(parent.resource) {
        None if is_read(parent.resource) => None,
        rows => Some(rows.unwrap_or(0)),
    });
    lists.sum()
}

/// A number of changes by a factor.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn scaled(changes: i64, factor: f64) -> i64 {
    // Saturates: whatever the factor, it is a number.
    (changes as f64 * factor).ceil() as i64
}

/// Since when an incremental pass asks; `None`: it reads everything.
///
/// Changes are asked for where the API reports them, children of those parents that changed, and dates within the
/// window, but only once a complete pass has read what lies before it.
fn since_when(
    resource: &Resource,
    cursor: &Progress,
    settings: &Settings,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    if resource.updated_since || !resource.stands_alone() {
        // One in the future would ask for nothing: the complete pass in its place sets it back.
        return cursor.watermark.filter(|watermark| *watermark <= now);
    }
    let (window, _) = (settings.incremental_window.zip(resource.window)?, cursor.last_full_at?);
    now.checked_sub_signed(chrono::Duration::from_std(window.0).ok()?)
}

/// Whether reading the list once more is how to ask again for what it did not give.
pub fn asks_by_list(parameters: &Parameters, resource: &Resource) -> bool {
    (parameters.marks_deletions() || parameters.is_audit()) && resource.ask_again() == AskAgain::List
}

/// Whether a list is read until it is proven that what it did not give is not there.
pub fn wants_proof(parameters: &Parameters, resource: &Resource) -> bool {
    parameters.marks_deletions() || asks_by_list(parameters, resource)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn standing_alone() -> impl Iterator<Item = &'static Resource> {
        RESOURCES.iter().filter(|resource| resource.stands_alone())
    }

    fn steps(mode: Mode, resources: Option<&[&str]>) -> Vec<(&'static str, Option<i64>)> {
        let parameters = Parameters {
            resources: resources.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
            mode,
            ..Parameters::default()
        };
        let settings = Settings {
            account: "acme".parse().expect("valid"),
            resources: standing_alone().filter(|r| r.name != "calls").collect(),
            slice: DAY,
            lookback: DAY,
            detail_max_age: DAY,
            incremental_window: Some(60 * DAY),
            audit: None,
        };
        let now = Utc::now();
        let cursor = |name: &str, watermark: bool, full: bool| Progress {
            resource: name.to_owned(),
            watermark: watermark.then_some(now),
            last_full_at: full.then_some(now),
            complete_pages: None,
            incremental_pages: None,
            incremental_details: None,
            incremental_span: None,
            rows: None,
            stale_details: None,
        };
        let cursors = [
            cursor("contacts", true, true),
            cursor("users", false, true),
            cursor("events", false, true),
            cursor("tasks", false, false),
            cursor("notes", true, true),
        ];
        let days = |since: DateTime<Utc>| (now - since).num_days();
        plan(&parameters, &settings, &cursors, now).iter().map(|s| (s.resource.name, s.since.map(days))).collect()
    }

    #[test]
    fn an_incremental_run_asks_for_changes_where_it_can() {
        let steps = steps(Mode::Incremental, None);
        assert_eq!(steps.len(), standing_alone().count() - 1, "calls are not configured");
        assert!(steps.contains(&("contacts", Some(0))));
        assert!(steps.contains(&("users", None)), "the API does not report changed users");
        assert!(steps.contains(&("companies", None)), "no watermark yet");
        assert!(steps.contains(&("events", Some(60))), "by date");
        assert!(steps.contains(&("tasks", None)), "never read completely");
    }

    #[test]
    fn a_watermark_in_the_future_is_not_asked_from() {
        let now = Utc::now();
        let at = |watermark| {
            let settings = Settings {
                account: "acme".parse().expect("valid"),
                resources: Vec::new(),
                slice: DAY,
                lookback: DAY,
                detail_max_age: DAY,
                incremental_window: None,
                audit: None,
            };
            let cursor = Progress {
                resource: "contacts".to_owned(),
                watermark: Some(watermark),
                last_full_at: None,
                complete_pages: None,
                incremental_pages: None,
                incremental_details: None,
                incremental_span: None,
                rows: None,
                stale_details: None,
            };
            since_when(crate::catalog::find("contacts").expect("known"), &cursor, &settings, now)
        };
        assert_eq!(at(now), Some(now));
        for ahead in [now + chrono::TimeDelta::seconds(1), DateTime::<Utc>::MAX_UTC] {
            assert_eq!(at(ahead), None);
        }
    }

    #[test]
    fn a_full_run_reads_everything() {
        assert!(steps(Mode::Full, None).iter().all(|(_, since)| since.is_none()));
    }

    #[test]
    fn named_resources_are_synced_even_if_not_configured() {
        let named = Some(&["notes", "calls", "contacts"] as &[&str]);
        assert_eq!(
            steps(Mode::Incremental, named),
            [("contacts", Some(0)), ("calls", None), ("notes", Some(0))],
            "children by what changed of their parents"
        );
    }
}
