//! How many requests a run is still to make, and how long they take at the budget: from what its steps have learned so
//! far, and what such steps usually take.

use chrono::Utc;

use super::cursor::{ListProgress, Run, Step, StepCursor};
use super::details;
use super::slice::Slice;
use crate::api_client::client::Client;
use crate::catalog::{PAGE_SIZE, Paging, Scope, pages};
use crate::messages::{Forecast, Parameters, RunReport, RunStatus};
use crate::store::report;
use crate::store::runs::Phase;

/// What the run is expected to take from now on, and with what it has taken.
pub fn of(run: &Run, client: &Client) -> Forecast {
    of_requests(run.api_requests, requests_to_come(&run.steps, &run.parameters), client)
}

/// A running run as progress events report it.
pub fn report(slice: &Slice<'_>) -> RunReport {
    let run = slice.run();
    let forecast = Some(of(&run, &slice.client));
    RunReport { forecast, ..report::of_run(&slice.settings.account, &run, RunStatus::Running, None) }
}

/// The forecast for a run that has made `made` requests, where `to_come` are still to come.
pub fn of_requests(made: i64, to_come: ToCome, client: &Client) -> Forecast {
    // `time_for` is bounded to years that a calendar has.
    let done_at = Utc::now() + client.time_for(to_come.requests);
    Forecast { api_requests: made.saturating_add(to_come.requests), done_at, at_least: to_come.at_least }
}

/// Requests that are still to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToCome {
    /// As far as is known.
    pub requests: i64,
    /// Whether that is only a part: a list is not read yet of which nothing is known.
    pub at_least: bool,
}

/// The requests that these steps are still to make, as far as that is known: no retries, and no records that the passes
/// do not give.
pub fn requests_to_come(steps: &[Step], asked: &Parameters) -> ToCome {
    let to_come = |step: &Step| {
        if let Some(ids) = &asked.ids {
            return of_ids(step, ids.len());
        }
        let read = ListProgress::of(step);
        pages_to_come(step, asked, read.as_ref()).saturating_add(details_to_come(step, asked, read.as_ref()))
    };
    let requests = steps.iter().filter(|step| step.phase != Phase::Done).map(to_come).fold(0, i64::saturating_add);
    ToCome { requests, at_least: steps.iter().any(|step| is_unknown(step, asked)) }
}

/// Of a request by ids: a list request for each hundred, and a detail for each.
fn of_ids(step: &Step, ids: usize) -> i64 {
    let asked = match &step.cursor {
        StepCursor::Ids(cursor) => cursor.asked,
        _ => 0,
    };
    let left = i64::try_from(ids.saturating_sub(asked)).unwrap_or(i64::MAX);
    let details = if step.resource.has_details() { left } else { 0 };
    pages(left, PAGE_SIZE).saturating_add(details)
}

/// Whether nothing is known yet of what a step reads: its list was never read to its end.
fn is_unknown(step: &Step, asked: &Parameters) -> bool {
    step.phase == Phase::List && step.since.is_none() && asked.sample().is_none() && step.baseline.pages.is_none()
}

/// List requests. A list says with its first page how much it holds; before that, and where it is read in partitions,
/// the baseline counts.
fn pages_to_come(step: &Step, asked: &Parameters, read: Option<&ListProgress>) -> i64 {
    // What rows name is read from them.
    if step.phase != Phase::List || step.resource.stored_in().is_some() {
        return 0;
    }
    if let Some(sample) = asked.sample() {
        return pages(sample, PAGE_SIZE).saturating_sub(step.counts.pages).max(1);
    }
    let is_one_list = step.resource.scope == Scope::Account;
    let one_list = read.filter(|_| is_one_list);
    let reported = one_list.and_then(|progress| progress.at.matches()).map(|matches| pages(matches, PAGE_SIZE));
    let first_pass = one_list.filter(|progress| progress.at.pass > 1).map(|_| step.counts.pages);
    let of_a_pass = reported.or(first_pass).or(step.baseline.pages).unwrap_or(1).max(1);
    // Deletions need a second pass, and so does any proof of a list that does not say how much it holds.
    let takes_two = asked.marks_deletions() || reported.is_none() && !step.resource.reports_matches;
    let twice = takes_two && step.resource.paging != Paging::Seek && is_one_list && of_a_pass > 1;
    let in_all = if twice { of_a_pass.saturating_mul(2) } else { of_a_pass };
    in_all.saturating_sub(read.map_or(0, |progress| i64::from(progress.at.pages_read))).max(1)
}

/// Requests for details: of what is missing or stale already, of what has changed so far, and of as many of the records
/// to come; or of all rows, where all are asked for.
fn details_to_come(step: &Step, asked: &Parameters, read: Option<&ListProgress>) -> i64 {
    if !details::wants_details(asked, step.resource) || step.phase == Phase::Aged {
        return 0;
    }
    let (counts, baseline) = (&step.counts, &step.baseline);
    // An audit merges none.
    let handled = match &step.cursor {
        StepCursor::Details(cursor) => cursor.handled.max(counts.detailed),
        _ => counts.detailed,
    };
    if let Some(sample) = asked.sample() {
        return sample.min(baseline.details.unwrap_or(sample)).saturating_sub(handled).max(0);
    }
    let takes_all = asked.is_audit() || asked.refetch;
    let changed = if takes_all { counts.listed } else { counts.created.saturating_add(counts.updated) };
    let of_others = match step.phase {
        Phase::List => of_others(changed, counts.listed, read.and_then(|progress| progress.at.matches()).unwrap_or(0)),
        _ => 0,
    };
    let changed = changed.saturating_add(of_others);
    let expected = match (takes_all, step.phase) {
        // Rows that the list does not give are asked for, too.
        (true, _) | (false, Phase::List) => baseline.details.unwrap_or(0),
        (false, _) => 0,
    };
    let stale = if takes_all { 0 } else { baseline.stale.unwrap_or(0) };
    changed.max(expected).saturating_add(stale).saturating_sub(handled).max(0)
}

/// Of how many of the records that a list still holds details are asked for, if they are as those that it has given.
fn of_others(wanted: i64, listed: i64, holds: i64) -> i64 {
    if listed <= 0 {
        return 0;
    }
    let of_others = i128::from(wanted) * i128::from(holds.saturating_sub(listed).max(0)) / i128::from(listed);
    i64::try_from(of_others).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api_client::answer::{Page, Record};
    use crate::catalog;
    use crate::messages::Mode;
    use crate::store::runs::{Baseline, Counts};
    use crate::sync::pager::{ListCursor, Next};
    use uuid::Uuid;

    fn asked(mode: Mode) -> Parameters {
        Parameters { mode, ..Parameters::default() }
    }

    fn requests(steps: &[Step], asked: &Parameters) -> i64 {
        requests_to_come(steps, asked).requests
    }

    fn step(resource: &str) -> Step {
        Step::new(catalog::find(resource).expect("known"), None)
    }

    fn record(n: u128) -> Record {
        Record {
            id: Uuid::from_u128(n),
            updated_at: None,
            updated_at_text: Some("2026-01-01T00:00:00+00:00".to_owned()),
            json: String::new(),
            hash: [0; 16],
            missing_fields: Vec::new(),
            type_mismatches: Vec::new(),
            parent: None,
            asked: Default::default(),
        }
    }

    /// A first page was read, of a list that says to hold `holds` records.
    fn after_first_page(resource: &str, holds: i64) -> Step {
        let mut step = step(resource);
        let mut progress = ListProgress::start(step.resource, None, [Default::default()].into());
        let records = (1..=PAGE_SIZE as u128).map(|n| Record { updated_at: Some(Utc::now()), ..record(n) }).collect();
        let full = Page { records, matches: Some(holds), ..Page::default() };
        let Ok(Next::Page(at)) = ListCursor::start(step.resource, None, 0).after(&full) else { panic!("it goes on") };
        progress.at = at;
        progress.store_in(&mut step);
        let listed = full.records.len() as i64;
        (step.counts.listed, step.counts.created, step.counts.pages) = (listed, listed, 1);
        step
    }

    #[test]
    fn before_anything_is_known_a_list_is_a_page_and_later_what_it_usually_is() {
        let mut unknown = step("contacts");
        assert_eq!(requests(&[unknown.clone()], &asked(Mode::Full)), 1);
        unknown.baseline = Baseline { pages: Some(70), details: Some(12), stale: None };
        assert_eq!(requests(&[unknown], &asked(Mode::Full)), 82);
    }

    #[test]
    fn the_first_page_shows_how_many_follow_and_how_many_details() {
        // 1,000 contacts are 10 pages, all of them new.
        assert_eq!(requests(&[after_first_page("contacts", 1_000)], &asked(Mode::Full)), 9 + 1_000);
        // Events have no details, and a full sync reads them twice.
        assert_eq!(requests(&[after_first_page("events", 1_000)], &asked(Mode::Full)), 19);
        assert_eq!(requests(&[after_first_page("events", 1_000)], &asked(Mode::Incremental)), 9);
    }

    #[test]
    fn a_list_that_does_not_say_how_much_it_holds_is_read_twice() {
        let usually = |resource: &str, mode: Mode| {
            let baseline = Baseline { pages: Some(26), details: None, stale: None };
            requests(&[Step { baseline, ..step(resource) }], &asked(mode))
        };
        assert_eq!((usually("events", Mode::Incremental), usually("events", Mode::Full)), (52, 52));
        assert_eq!((usually("expenses", Mode::Incremental), usually("expenses", Mode::Full)), (26, 52));
        assert_eq!((usually("contacts", Mode::Incremental), usually("contacts", Mode::Full)), (26, 26));
        // In partitions of a page each.
        assert_eq!(
            (usually("documentTemplates", Mode::Incremental), usually("documentTemplates", Mode::Full)),
            (26, 26)
        );
    }

    proptest! {
        #[test]
        fn no_numbers_are_too_large_for_a_forecast(
            holds in number(), [listed, created, updated, detailed, pages] in prop::array::uniform5(number()),
            [usual_pages, usual_details, sample] in prop::array::uniform3(number()),
            phase in prop::sample::select(&[Phase::List, Phase::Sweep, Phase::Detail, Phase::Aged]),
            mode in prop::sample::select(&[Mode::Full, Mode::Incremental, Mode::Audit]), refetch: bool,
        ) {
            let steps: Vec<Step> = ["contacts", "events", "notes"].iter().map(|resource| {
                let mut step = if *resource == "notes" { step(resource) } else { after_first_page(resource, holds) };
                step.phase = phase;
                step.counts = Counts { listed, created, updated, detailed, pages, ..step.counts };
                let (pages, details) = (Some(usual_pages), Some(usual_details));
                step.baseline = Baseline { pages, details, stale: details };
                step
            }).collect();
            let asked = Parameters { refetch, sample: u32::try_from(sample).ok(), ..asked(mode) };
            prop_assert!(requests(&steps, &asked) >= 0);
        }
    }

    /// Any number, and more often one that is at an end.
    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![any::<i64>(), prop::sample::select(&[i64::MIN, -1, 0, 1, 99, i64::MAX])]
    }

    #[test]
    fn after_the_lists_the_details_remain() {
        let mut listed = after_first_page("contacts", 1_000);
        listed.enter(Phase::Detail);
        (listed.counts.created, listed.counts.updated, listed.counts.detailed) = (30, 20, 15);
        assert_eq!(requests(&[listed.clone()], &asked(Mode::Incremental)), 35);
        listed.end();
        assert_eq!(requests(&[listed], &asked(Mode::Incremental)), 0);
    }
}
