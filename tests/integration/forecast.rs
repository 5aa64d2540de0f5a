//! What a run is expected to take, beside what it took: at its start, after a tenth and at half.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{Event, Stage};

/// A forecast: requests in all, and whether that is only what is known so far.
#[derive(Clone, Copy, Debug)]
struct Expected {
    made: i64,
    requests: i64,
    at_least: bool,
}

fn expected(event: &Event) -> Expected {
    let data = &event.body["data"];
    let forecast = &data["forecast"];
    Expected {
        made: data["api_requests"].as_i64().unwrap(),
        requests: forecast["api_requests"].as_i64().unwrap(),
        at_least: forecast["at_least"].as_bool().unwrap_or(false),
    }
}

/// Runs a request. Returns the forecasts at the start, after a tenth and at half, and what it took.
async fn forecasts(stage: &Stage, what: &str, body: Value) -> ([Option<Expected>; 3], i64) {
    let id = stage.request(body).await;
    let end = stage.ended(id).await;
    assert!(matches!(end.kind(), "sync.completed" | "sync.partial"), "{}", end.body);
    let took = end.body["data"]["api_requests"].as_i64().unwrap();
    let of_run = |kind: &str| -> Vec<Event> {
        let events = stage.events_of_kind(kind).into_iter();
        events.filter(|event| event.subject().parse::<Uuid>().is_ok_and(|subject| subject == id)).collect()
    };
    let start = of_run("sync.started").first().map(expected);
    let progress: Vec<Expected> = of_run("sync.progress").iter().map(expected).collect();
    let after = |share: i64| progress.iter().find(|expected| expected.made * share >= took).copied();
    let all = [start, after(10), after(2)];
    let shown = all.map(|expected| {
        let at_least = |expected: Expected| if expected.at_least { "at least " } else { "" };
        expected.map_or("-".to_owned(), |expected| format!("{}{}", at_least(expected), expected.requests))
    });
    println!("| {what} | {} | {} | {} | {took} |", shown[0], shown[1], shown[2]);
    (all, took)
}

/// Each forecast is within a fifth of what it took, or within 3 requests.
fn assert_close(what: &str, (forecasts, took): ([Option<Expected>; 3], i64)) {
    for expected in forecasts.into_iter().flatten() {
        assert!(!expected.at_least, "{what}: all is known: {expected:?}");
        let apart = (expected.requests - took).abs();
        assert!(apart <= 3 || apart * 5 <= took, "{what}: {expected:?}, and it took {took}");
    }
    assert!(forecasts[0].is_some(), "{what}: nothing was said at the start");
}

/// Answers take so long that progress is reported a few times.
async fn stage() -> Stage {
    let mut stage = Stage::of(300).await;
    stage.set("SYNC_CONCURRENCY", "2");
    stage
}

fn slow_down(stage: &Stage) {
    stage.slow_down("contacts.info", 90);
    stage.slow_down("notes.list", 40);
    stage.slow_down("contacts.list", 500);
}

#[tokio::test]
async fn a_first_sync_says_at_least_until_all_lists_are_read() {
    let stage = stage().await;
    slow_down(&stage);
    let _worker = stage.worker().await;
    let (forecasts, took) = forecasts(&stage, "first sync", json!({ "mode": "full" })).await;
    let start = forecasts[0].expect("a forecast at the start");
    assert!(start.at_least && start.requests <= took, "{start:?}, and it took {took}");
    let half = forecasts[2].expect("a forecast at half");
    assert!(!half.at_least && (half.requests - took).abs() * 5 <= took, "{half:?}, and it took {took}");
}

#[tokio::test]
async fn what_rows_say_is_known_at_the_start() {
    let stage = stage().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    slow_down(&stage);
    let full = forecasts(&stage, "full", json!({ "mode": "full" })).await;
    assert_close("full", full);
    let refetch = json!({ "mode": "full", "resources": ["contacts"], "refetch": true });
    assert_close("refetch", forecasts(&stage, "--refetch", refetch).await);
    let refetch = json!({ "resources": ["contacts"], "refetch": true });
    assert_close("refetch", forecasts(&stage, "incremental --refetch", refetch).await);

    // As a run leaves it that ended after its lists.
    stage.database.execute("update teamleader.contacts set detail_at = null").await;
    assert_close("details only", forecasts(&stage, "details only", json!({ "resources": ["contacts"] })).await);
    let audit = json!({ "mode": "audit", "resources": ["contacts"], "sample": 100 });
    assert_close("audit with a sample", forecasts(&stage, "audit, sample of 100", audit).await);
    let audit = json!({ "mode": "audit", "resources": ["contacts"] });
    assert_close("audit", forecasts(&stage, "audit of all", audit).await);
}

#[tokio::test]
async fn lists_of_parents_and_changes_of_a_longer_time_are_known_at_the_start() {
    let stage = stage().await;
    let _worker = stage.worker().await;
    let parents = json!(["companies", "contacts", "deals"]);
    stage.complete(json!({ "mode": "full", "resources": parents })).await;
    slow_down(&stage);
    assert_close("notes", forecasts(&stage, "notes, for the first time", json!({ "resources": ["notes"] })).await);

    // Of ten hours the last pass read 20 changes; the next one reads those of twenty.
    let set_watermark = |hours: i64| {
        let sql = match hours {
            10 => "update teamleader2db.cursor set watermark = now() - interval '10 hours' where resource = 'contacts'",
            _ => "update teamleader2db.cursor set watermark = now() - interval '20 hours' where resource = 'contacts'",
        };
        stage.database.execute(sql)
    };
    set_watermark(10).await;
    stage.simulator.update("contacts", 60);
    forecasts(&stage, "incremental, the one before", json!({ "resources": ["contacts"] })).await;
    set_watermark(10).await;
    stage.simulator.update("contacts", 60);
    let usual = forecasts(&stage, "incremental", json!({ "resources": ["contacts"] })).await;
    set_watermark(20).await;
    stage.simulator.update("contacts", 120);
    let longer = forecasts(&stage, "after an outage", json!({ "resources": ["contacts"] })).await;
    assert_close("incremental", usual);
    assert_close("after an outage", longer);
}
