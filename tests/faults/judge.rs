//! The invariants: what has to be true of the world when everything has settled, whatever went wrong before.

use std::collections::BTreeSet;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::play::{CLIENT_SECRET, Play, Published, column};
use crate::refreshes;
use crate::stage::{Event, KEY, RESOURCES};
use crate::watch::Watch;

/// A time that a run's report tells may be this much earlier than the change that it has seen: the clocks are one, but cut off.
const CLOCK_GRAIN: chrono::TimeDelta = chrono::TimeDelta::seconds(1);

/// What one seed has shown.
#[derive(Default)]
pub struct Verdict {
    /// The invariants that do not hold; none is how it should be.
    pub violations: Vec<String>,
    /// Requests that were published.
    pub requests: u64,
    /// Refresh tokens that were traded.
    pub refreshes: u64,
    /// Used refresh tokens that came again for one of the three reasons that no client can prevent.
    pub excused_reuses: u64,
    /// Times that a person had to authorize.
    pub authorizations: u64,
}

/// Mends everything, lets the world settle, and judges it.
pub async fn settle(play: &mut Play) -> Verdict {
    let mut verdict = Verdict { violations: play.settle().await, ..Verdict::default() };
    if verdict.violations.is_empty() {
        before_the_last_syncs(play, &mut verdict).await;
        for mode in ["incremental", "full"] {
            if let Err(violations) = play.sync_once_more(mode).await {
                verdict.violations.extend(violations);
                break;
            }
            if mode == "incremental" {
                after_the_incremental(play, &mut verdict).await;
            }
        }
    }
    after_all(play, &mut verdict).await;
    play.failed = !verdict.violations.is_empty();
    verdict
}

/// Before the last two syncs: whoever has told that a table is complete and proven must be right.
async fn before_the_last_syncs(play: &Play, verdict: &mut Verdict) {
    let lag = chrono::TimeDelta::seconds(play.plan.quirks.list_lag_seconds as i64);
    let settled = play.last_change.checked_add_signed(CLOCK_GRAIN + lag).unwrap_or(play.last_change);
    let proven = play.published.iter().any(|published| {
        let events = Watch::final_events_of(published.id, play.watch.events());
        events.first().is_some_and(|event| is_proven(event, settled))
    });
    if proven {
        let resources = RESOURCES.iter().filter(|resource| !play.plan.is_lied_about(resource));
        differences(play, resources, "although a run has proven it complete", verdict).await;
    }
}

/// Whatever was missed must come with the incremental sync after it: watermarks move only past what was read. What is gone is found
/// by a full one.
async fn after_the_incremental(play: &Play, verdict: &mut Verdict) {
    for resource in RESOURCES.iter().filter(|resource| !play.plan.is_lied_about(resource)) {
        if let Some(difference) = play.database.lack(&play.simulator, resource).await {
            verdict.violations.push(format!("tables: after an incremental sync, {}", cut(&difference, 600)));
        }
    }
}

/// Whether a full run that began after this moment tells that it has seen everything.
fn is_proven(event: &Event, since: DateTime<Utc>) -> bool {
    let data = &event.body["data"];
    let begun = data["started_at"].as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok());
    event.kind() == "sync.completed"
        && data["mode"] == "full"
        && begun.is_some_and(|begun| begun > since)
        && RESOURCES.iter().all(|resource| data["resources"][resource]["verified"] == true)
}

/// After the full one: all of it.
async fn after_all(play: &mut Play, verdict: &mut Verdict) {
    let unserved = play.await_hints().await;
    verdict.violations.extend(unserved);
    differences(play, RESOURCES.iter(), "after the last sync", verdict).await;
    let untyped = play.database.untyped().await;
    if !untyped.is_empty() {
        verdict.violations.push(format!("tables: typed columns differ from documents: {untyped:?}"));
    }
    for published in &play.published {
        one_final_event(play, published, verdict);
    }
    verdict.requests = play.published.len() as u64;
    letters(play, verdict).await;
    verdict.violations.extend(column::<String>(&play.database, "select what from faults.violation order by at").await);
    authorizations(play, verdict).await;
    refreshes::judge(play, verdict).await;
    for slot in &play.slots {
        slot.logs.iter().for_each(|log| logs(log, verdict));
    }
}

async fn differences(play: &Play, resources: impl Iterator<Item = &&'static str>, when: &str, verdict: &mut Verdict) {
    for resource in resources {
        if let Some(difference) = play.database.difference(&play.simulator, resource).await {
            verdict.violations.push(format!("tables: {when}, {}", cut(&difference, 600)));
        }
    }
}

/// One event id, always with the same content, on the exchange and where a reply was asked for.
fn one_final_event(play: &Play, published: &Published, verdict: &mut Verdict) {
    let events = Watch::final_events_of(published.id, play.watch.events());
    let replies = Watch::final_events_of(published.id, play.watch.replies());
    let id = published.id;
    let contents: BTreeSet<String> = events.iter().chain(&replies).map(|event| event.body.to_string()).collect();
    let ids: BTreeSet<&str> = events.iter().chain(&replies).map(Event::id).collect();
    if ids.len() != 1 {
        verdict.violations.push(format!("events: the request {id} has {} final event ids: {contents:?}", ids.len()));
    } else if contents.len() != 1 {
        verdict.violations.push(format!("events: the final event of {id} came with other words: {contents:?}"));
    }
    if events.is_empty() || published.replies && replies.is_empty() {
        verdict.violations.push(format!("events: {} events and {} replies end {id}", events.len(), replies.len()));
    }
    let Some(event) = events.first() else { return };
    let expected = if published.well_formed { "sync.completed" } else { "sync.failed" };
    if event.kind() == "sync.cancelled" && play.cancelled.contains(&published.id) {
        return;
    }
    if event.kind() != expected && (!published.well_formed || play.plan.must_complete()) {
        verdict.violations.push(format!("events: {id} ended as {}, not as {expected}: {}", event.kind(), event.body));
    }
}

/// What was given up is what nobody could understand, with a reason; the queue of requests is empty.
async fn letters(play: &Play, verdict: &mut Verdict) {
    let malformed: Vec<&Published> = play.published.iter().filter(|published| !published.well_formed).collect();
    let letters = play.watch.dead_letters().await;
    for letter in &letters {
        let body: Value = serde_json::from_slice(&letter.body).unwrap_or_default();
        let expected = malformed.iter().any(|published| published.body == body);
        if !expected || letter.reason.is_none() {
            verdict.violations.push(format!("dead letters: {body}, because of {:?}", letter.reason));
        }
    }
    for published in malformed {
        let body = Some(&published.body);
        if !letters.iter().any(|letter| serde_json::from_slice::<Value>(&letter.body).ok().as_ref() == body) {
            verdict.violations.push(format!("dead letters: the malformed request {} is not there", published.id));
        }
    }
    for (queue, count) in [
        ("undelivered", play.watch.undelivered().await),
        ("requests", play.watch.ready(&play.watch.requests_queue()).await),
    ] {
        if count != Some(0) {
            verdict.violations.push(format!("queues: {count:?} messages are in the queue of {queue}"));
        }
    }
}

/// Each time that a person had to authorize is told by one event, and by no other.
async fn authorizations(play: &Play, verdict: &mut Verdict) {
    let sql = "select distinct generation from faults.token where state = 'reauthorization_required'";
    let generations = column::<i64>(&play.database, sql).await;
    let events = play.watch.events();
    let told: BTreeSet<&str> =
        events.iter().filter(|event| event.kind() == "authorization.required").map(Event::id).collect();
    verdict.authorizations = generations.len() as u64;
    if told.len() != generations.len() {
        verdict.violations.push(format!(
            "authorization: required for the generations {generations:?}, and told by {} different events",
            told.len()
        ));
    }
}

/// No secret and no panic.
fn logs(path: &Path, verdict: &mut Verdict) {
    let log = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    for line in log.lines() {
        if line.contains("panicked at") {
            verdict.violations.push(format!("logs: {}: {line}", path.display()));
        }
        if holds_a_secret(line) {
            // The line itself is not shown: it would be a secret in another log.
            verdict.violations.push(format!("logs: {} holds a secret", path.display()));
        }
    }
}

/// Whether a line holds the client's secret, the key, or a token or code as the simulator issues them.
pub fn holds_a_secret(line: &str) -> bool {
    let issued = ["access-", "refresh-", "code-"].iter().any(|kind| {
        line.match_indices(kind).any(|(at, kind)| {
            let rest = &line.as_bytes()[at + kind.len()..];
            rest.len() >= 32 && rest[..32].iter().all(u8::is_ascii_hexdigit)
        })
    });
    issued || line.contains(CLIENT_SECRET) || line.contains(KEY)
}

fn cut(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}
