//! Events in a line each, for people.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::terminal::one_line;
use crate::messages::{Advice, Audited, Cause, Mode, ResourceReport, ResourceStatus, RunReport, RunStatus, StateName};

/// Up to this number of resources that are being worked on are shown with their numbers: a line of more would get
/// too long.
const RESOURCES_SHOWN: usize = 3;

/// The part of an event that is shown.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    subject: String,
    time: DateTime<Utc>,
    data: Value,
}

/// An event in one line: when, what, the request's id (or the account), and what it says. `None`: it is no event of
/// ours.
pub fn event(payload: &str) -> Option<String> {
    let event: Envelope = serde_json::from_str(payload).ok()?;
    let (group, word) = event.kind.strip_prefix("teamleader2db.")?.split_once('.')?;
    let time = event.time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let (kind, said) = match group {
        "authorization" if word == "changed" => {
            let name = |key: &str| event.data.get(key).and_then(Value::as_str).unwrap_or("nobody known");
            let (by, before) = (name("authorized_by"), name("previously_authorized_by"));
            ("authorized", format!("by {by}, no longer by {before}"))
        }
        "authorization" => {
            let reason = event.data.get("reason").and_then(Value::as_str).unwrap_or_default();
            let reason = reason.trim_end_matches('.');
            ("not authorized", format!("{reason}: open the worker's /sync/authorize in a browser"))
        }
        _ => {
            let report: RunReport = serde_json::from_value(event.data).ok()?;
            (word, if word == "started" { beginning(&report) } else { run(&report) })
        }
    };
    Some(one_line(&format!("{time}  {kind:<14}  {}  {said}", event.subject)))
}

/// What a report on a run says.
pub fn run(report: &RunReport) -> String {
    match report.status {
        RunStatus::Running => progress(report),
        RunStatus::Completed | RunStatus::Partial | RunStatus::Failed | RunStatus::Cancelled => end(report),
    }
}

fn beginning(report: &RunReport) -> String {
    let mode = report.mode.map_or("", |mode| mode.as_str());
    let expected = report.forecast.map(|forecast| match forecast.at_least {
        true => format!(", at least {} requests, the rest is not known yet", forecast.api_requests),
        false => format!(", about {} requests, {}", forecast.api_requests, to_go(forecast.done_at)),
    });
    format!("{mode} sync of {} resources{}", report.resources.len(), expected.unwrap_or_default())
}

fn progress(report: &RunReport) -> String {
    let done = report.resources.values().filter(|resource| resource.status != ResourceStatus::Running).count();
    let waits = report.state.as_ref().filter(|state| !matches!(state.name, StateName::Running | StateName::Idle));
    let requests = match report.forecast {
        Some(forecast) if forecast.at_least => {
            format!("{} of at least {} requests, the rest is not known yet", report.api_requests, forecast.api_requests)
        }
        Some(forecast) => {
            let of_about = format!("{} of about {} requests", report.api_requests, forecast.api_requests);
            // How long it takes is not known while Teamleader is away.
            match waits.is_none_or(|state| state.name == StateName::WaitingForBudget) {
                true => format!("{of_about}, {}", to_go(forecast.done_at)),
                false => of_about,
            }
        }
        None => format!("{} requests", report.api_requests),
    };
    let working: Vec<String> = report
        .resources
        .iter()
        .filter(|(_, resource)| is_worked_on(resource))
        .map(|(name, r)| at_work(name, r))
        .collect();
    let mut now = working.iter().take(RESOURCES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if working.len() > RESOURCES_SHOWN {
        now.push_str(&format!(" and {} more", working.len() - RESOURCES_SHOWN));
    }
    let now = if now.is_empty() { now } else { format!("; now {now}") };
    let waits = waits.map(|state| format!("; {}", state.sentence())).unwrap_or_default();
    format!("{done} of {} resources done, {requests}{now}{waits}", report.resources.len())
}

fn is_worked_on(resource: &ResourceReport) -> bool {
    resource.status == ResourceStatus::Running && resource.listed + resource.detailed > 0
}

fn at_work(name: &str, resource: &ResourceReport) -> String {
    let of = resource.matches.map(|matches| format!(" of {matches}")).unwrap_or_default();
    let details = if resource.detailed > 0 { format!(", {} details", resource.detailed) } else { String::new() };
    format!("{name} ({}{of} listed{details})", resource.listed)
}

/// What a run that has ended did, in all: requests, time and counts.
pub fn in_numbers(report: &RunReport) -> String {
    let sum = |count: fn(&ResourceReport) -> i64| report.resources.values().map(count).sum::<i64>();
    let mut said = format!("{} requests", report.api_requests);
    if let (Some(began), Some(ended)) = (report.started_at, report.finished_at) {
        said.push_str(&format!(" in {}", lasting((ended - began).num_seconds())));
    }
    let found = |count: fn(Audited) -> i64| {
        report.resources.values().filter_map(|resource| resource.audited).map(count).sum::<i64>()
    };
    let audit = [
        ("missing", found(|found| found.missing)),
        ("stale", found(|found| found.stale)),
        ("wrong", found(|found| found.wrong)),
    ];
    let counts = [
        ("created", sum(|resource| resource.created)),
        ("updated", sum(|resource| resource.updated)),
        ("deleted", sum(|resource| resource.deleted)),
        ("details", sum(|resource| resource.detailed)),
    ];
    let audit = if report.mode == Some(Mode::Audit) { &audit[..] } else { &[] };
    for (what, count) in audit.iter().chain(&counts) {
        said.push_str(&format!(", {count} {what}"));
    }
    let rejected = sum(|resource| resource.rejected);
    if rejected > 0 {
        said.push_str(&format!(", {rejected} could not be read or stored: `teamleader2db status` names them"));
    }
    said
}

fn end(report: &RunReport) -> String {
    let mut said = in_numbers(report);
    if report.resources.is_empty() {
        // It never became a run.
        said.clear();
    }
    let mut errors: Vec<String> = report.error.iter().cloned().collect();
    for (name, resource) in report.resources.iter().filter(|(_, resource)| resource.status == ResourceStatus::Failed) {
        // All of a run that was given up have its error.
        if let Some(error) = resource.error.as_ref().filter(|error| Some(*error) != report.error.as_ref()) {
            errors.push(format!("{name}: {error}"));
        }
    }
    if !errors.is_empty() {
        let separator = if said.is_empty() { "" } else { "; " };
        said.push_str(&format!("{separator}{}", errors.join("; ").trim_end_matches('.')));
        let advice: Vec<String> = advice(report).iter().map(Advice::to_string).collect();
        match advice.is_empty() {
            true => said.push_str(". Send a new request once that is fixed"),
            false => said.push_str(&format!(". {}", advice.join("; "))),
        }
    }
    said
}

/// What to do about the resources that failed.
fn advice(report: &RunReport) -> Vec<Advice> {
    let mode = report.mode.unwrap_or_default();
    let failed = report.resources.iter().filter(|(_, resource)| resource.status == ResourceStatus::Failed);
    let causes = failed.filter_map(|(name, resource)| Some((resource.cause?, mode, name.as_str())));
    Cause::advice_on(&report.account, causes)
}

/// How long from now, as text that fits a forecast.
fn to_go(done_at: DateTime<Utc>) -> String {
    let minutes = (done_at - Utc::now()).num_seconds().max(0).unsigned_abs().div_ceil(60);
    match minutes {
        0 => "less than a minute to go".to_owned(),
        1..120 => format!("{minutes} min to go"),
        _ => format!("{} h to go", minutes.div_ceil(60)),
    }
}

fn lasting(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::TimeDelta;
    use uuid::Uuid;

    use super::*;
    use crate::ids::Account;
    use crate::messages::{Event, Forecast};

    fn account() -> Account {
        "acme".parse().expect("valid")
    }

    fn report(status: RunStatus, resources: [(&str, ResourceReport); 2]) -> RunReport {
        let began = "2026-11-22T15:29:11Z".parse().ok();
        RunReport {
            mode: Some(Mode::Full),
            status,
            started_at: began,
            finished_at: began.map(|began: DateTime<Utc>| began + TimeDelta::seconds(150)),
            api_requests: 340,
            resources: resources.map(|(name, resource)| (name.to_owned(), resource)).into(),
            error: None,
            ..RunReport::refused(&account(), Uuid::nil(), "")
        }
    }

    fn resource(status: ResourceStatus, listed: i64, matches: Option<i64>) -> ResourceReport {
        ResourceReport { status, listed, matches, created: listed, ..ResourceReport::default() }
    }

    #[test]
    fn progress_shows_the_resources_that_are_worked_on_and_when_all_is_done() {
        let contacts = ResourceReport { detailed: 30, ..resource(ResourceStatus::Running, 1200, Some(2000)) };
        let mut running = report(
            RunStatus::Running,
            [("contacts", contacts), ("deals", resource(ResourceStatus::Completed, 7, None))],
        );
        running.forecast =
            Some(Forecast { api_requests: 8204, done_at: Utc::now() + TimeDelta::seconds(2330), at_least: false });
        assert_eq!(
            run(&running),
            "1 of 2 resources done, 340 of about 8204 requests, 39 min to go; now contacts (1200 of 2000 listed, 30 \
             details)"
        );
        running.forecast = None;
        assert!(run(&running).contains("340 requests; now"), "{}", run(&running));
        assert!(
            event(&Event::started(&running).payload).expect("an event").ends_with("full sync of 2 resources"),
            "before anything is known"
        );
    }

    #[test]
    fn the_end_shows_counts_errors_and_what_to_do() {
        let failed = ResourceReport {
            error: Some("the list\ncontradicts itself.".to_owned()),
            ..resource(ResourceStatus::Failed, 0, None)
        };
        let ended = report(
            RunStatus::Partial,
            [("contacts", resource(ResourceStatus::Completed, 20, None)), ("deals", failed)],
        );
        let line = event(&Event::of_run(&ended).payload).expect("an event");
        assert_eq!(
            line,
            "2026-11-22T15:31:41Z  partial         00000000-0000-0000-0000-000000000000  340 requests in 2 min, 20 \
             created, 0 updated, 0 deleted, 0 details; deals: the list contradicts itself. \
             Send a new request once that is fixed"
        );
    }

    #[test]
    fn an_audit_shows_what_it_found() {
        let audited = |missing, stale, wrong| ResourceReport {
            audited: Some(Audited { missing, stale, wrong }),
            ..resource(ResourceStatus::Completed, 0, None)
        };
        let mut ended = report(RunStatus::Completed, [("contacts", audited(1, 2, 3)), ("deals", audited(4, 0, 0))]);
        ended.mode = Some(Mode::Audit);
        assert_eq!(
            run(&ended),
            "340 requests in 2 min, 5 missing, 2 stale, 3 wrong, 0 created, 0 updated, 0 deleted, 0 details"
        );
    }

    #[test]
    fn a_refusal_shows_nothing_but_the_reason() {
        let refused = RunReport::refused(&account(), Uuid::nil(), "unknown resource \"contact\"\u{1b}[31m");
        assert_eq!(refused.resources, BTreeMap::new());
        let line = event(&Event::of_refusal(&refused, Uuid::nil()).payload).expect("an event");
        assert!(line.contains("0000  unknown resource \"contact\"\\u001b[31m. Send a new request"), "{line}");
    }

    #[test]
    fn a_lost_authorization_shows_the_way_back() {
        let lost = Event::authorization_required(&account(), 3, "The refresh token is invalid.");
        let line = event(&lost.payload).expect("an event");
        assert!(
            line.ends_with(
                "  not authorized  acme  The refresh token is invalid: open the worker's /sync/authorize in a browser"
            ),
            "{line}"
        );
        let changed = Event::authorization_changed(&account(), 4, "Eve\u{1b}[31m", "Ann");
        let line = event(&changed.payload).expect("an event");
        assert!(line.ends_with("  authorized      acme  by Eve\\u001b[31m, no longer by Ann"), "{line}");
        assert_eq!(event("{}"), None);
        assert_eq!(event("no JSON"), None);
    }
}
