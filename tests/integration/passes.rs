//! Lists that do not say how much they hold, or give less than they have: what a pass proves, and what it does not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use teamleader_simulator::Config;

use crate::stage::{Event, Stage, proxy};

async fn stage(counts: &[(&str, usize)]) -> Stage {
    let counts: BTreeMap<String, usize> = counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    Stage::with(Config { counts, ..Config::default() }).await
}

/// An answer without `meta`, after it was changed. Its records stay text: half a surrogate pair is no `Value`.
fn without_meta(answer: &Bytes, change: impl FnOnce(&mut Vec<&RawValue>)) -> Bytes {
    #[derive(serde::Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        data: Vec<&'a RawValue>,
    }
    // An error has none.
    let Ok(Answer { mut data }) = serde_json::from_slice(answer) else { return answer.clone() };
    change(&mut data);
    let records: Vec<&str> = data.into_iter().map(RawValue::get).collect();
    Bytes::from(format!("{{\"data\":[{}]}}", records.join(",")))
}

fn drift(event: &Event, resource: &str) -> String {
    event.resource(resource)["drift"].to_string()
}

/// The deals come without `matches`; while `shifting`, the first record of the second page of 100 is on no page, as if
/// one before it had been deleted after the first page was made.
async fn shifting_deals(stage: &Stage) -> (String, Arc<AtomicBool>) {
    let shifting = Arc::new(AtomicBool::new(false));
    let shifts = Arc::clone(&shifting);
    let url = proxy(stage.simulator.url(), move |endpoint, asked, answer| {
        if endpoint != "deals.list" {
            return answer;
        }
        let asked: Value = serde_json::from_slice(asked).unwrap();
        let shifted = shifts.load(Ordering::Relaxed) && asked["page"]["size"] == 100 && asked["page"]["number"] == 2;
        without_meta(&answer, |data| drop(data.drain(..usize::from(shifted && !data.is_empty()))))
    })
    .await;
    (url, shifting)
}

#[tokio::test]
async fn a_change_that_shifted_between_two_pages_is_found_without_matches() {
    let mut stage = stage(&[("deals", 150)]).await;
    let (url, shifting) = shifting_deals(&stage).await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    let request = |mode: &str| json!({ "mode": mode, "resources": ["deals"] });
    let full = stage.complete(request("full")).await;
    assert_eq!(full.resource("deals")["verified"], true, "{}", full.body);
    assert_eq!(stage.asked("deals.list"), 2 + 2, "two passes, and nothing to ask for by id");
    assert_eq!(stage.simulator.update("deals", 150).len(), 150);
    shifting.store(true, Ordering::Relaxed);
    let changes = stage.complete(request("incremental")).await;
    assert_eq!(changes.resource("deals")["verified"], true, "{}", changes.body);
    // One pass would have been enough to believe it, and would have lost a change.
    assert!(stage.asked("deals.list") >= 4 + 2 + 2);
    stage.database.assert_table_equals(&stage.simulator, "deals").await;
}

#[tokio::test]
async fn a_sweep_that_finds_a_record_alive_makes_its_list_unverified() {
    let mut stage = stage(&[("deals", 60)]).await;
    let hides = Arc::new(AtomicBool::new(false));
    let hiding = Arc::clone(&hides);
    let url = proxy(stage.simulator.url(), move |endpoint, asked, answer| {
        let asked: Value = serde_json::from_slice(asked).unwrap();
        match endpoint == "deals.list" && hiding.load(Ordering::Relaxed) && asked["filter"]["ids"].is_null() {
            true => without_meta(&answer, |data| _ = data.pop()),
            false => answer,
        }
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    let request = json!({ "mode": "full", "resources": ["deals"] });
    stage.complete(request.clone()).await;
    let gone = stage.simulator.delete("deals", 1);
    hides.store(true, Ordering::Relaxed);
    let event = stage.complete(request.clone()).await;
    assert_eq!(event.resource("deals")["verified"], false, "{}", event.body);
    assert!(drift(&event, "deals").contains("does not give records that are there"), "{}", event.body);
    assert_eq!(stage.database.deleted("deals").await, gone.into_iter().collect(), "what was asked for and is gone");
    hides.store(false, Ordering::Relaxed);
    assert_eq!(stage.complete(request).await.resource("deals")["verified"], true);
    stage.database.assert_table_equals(&stage.simulator, "deals").await;
}

#[tokio::test]
async fn a_list_that_was_full_and_is_empty_is_held_however_few_they_were() {
    let stage = stage(&[("deals", 5), ("workTypes", 3)]).await;
    let _worker = stage.worker().await;
    let request = json!({ "mode": "full", "resources": ["deals", "workTypes"] });
    stage.complete(request.clone()).await;
    assert_eq!(stage.simulator.delete("deals", 5).len(), 5);
    assert_eq!(stage.simulator.delete("workTypes", 1).len(), 1);
    let id = stage.request(request).await;
    let event = stage.final_event(id).await;
    let why = event.resource("deals")["error"].as_str().unwrap_or_default();
    assert!(why.contains("5 of 5 deals") && why.contains("allow_deletions"), "{}", event.body);
    assert!(stage.database.deleted("deals").await.is_empty());
    assert_eq!(event.count("workTypes", "deleted"), 1, "some are left of these");
    stage.complete(json!({ "mode": "full", "resources": ["deals"], "allow_deletions": true })).await;
    assert_eq!(stage.database.deleted("deals").await.len(), 5);
}

#[tokio::test]
async fn a_page_that_is_too_long_is_asked_for_with_fewer_records() {
    // By page number and by seeking, and of the lists of many parents that of one.
    let counts = [("deals", 25), ("contacts", 25), ("notes", 12)];
    let mut stage = stage(&counts).await;
    let parent: OnceLock<Value> = OnceLock::new();
    let url = proxy(stage.simulator.url(), move |endpoint, asked, answer| {
        let asked: Value = serde_json::from_slice(asked).unwrap();
        let listed = match endpoint {
            "deals.list" | "contacts.list" => true,
            "notes.list" => {
                *parent.get_or_init(|| asked["filter"]["subject"]["id"].clone()) == asked["filter"]["subject"]["id"]
            }
            _ => false,
        };
        match listed && asked["page"]["size"] == 100 && asked["filter"]["ids"].is_null() {
            // White space is JSON, too.
            true => Bytes::from([vec![b' '; 33 * 1024 * 1024], answer.to_vec()].concat()),
            false => answer,
        }
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    let names: Vec<&str> = counts.iter().map(|(name, _)| *name).collect();
    let event = stage.complete(json!({ "mode": "full", "resources": names })).await;
    for name in &names {
        assert_eq!(event.resource(name)["verified"], true, "{}", event.body);
        stage.database.assert_table_equals(&stage.simulator, name).await;
    }
    // All parents: of a few none might have a note.
    let event = stage.complete(json!({ "mode": "audit", "sample": 100, "resources": names })).await;
    for name in names {
        assert!(event.count(name, "listed") > 0, "{}", event.body);
    }
}

/// What rule and list cost, in list requests: of a list of 1,000 records, and of one more, since a round number proves
/// less.
#[tokio::test]
async fn a_list_without_matches_costs_a_second_pass() {
    let mut rows = Vec::new();
    for (records, with, without) in [(999, [10, 21], [21, 21]), (1000, [11, 22], [34, 34])] {
        for (silent, least) in [(false, with), (true, without)] {
            let mut stage = stage(&[("deals", records)]).await;
            if silent {
                let url = shifting_deals(&stage).await.0;
                stage.set("TEAMLEADER_API_URI", &url);
            }
            let _worker = stage.worker().await;
            for (mode, least) in ["incremental", "full"].into_iter().zip(least) {
                let before = stage.asked("deals.list");
                let event = stage.complete(json!({ "mode": mode, "resources": ["deals"], "refetch": false })).await;
                assert_eq!(event.resource("deals")["verified"], true, "{}", event.body);
                let asked = stage.asked("deals.list") - before;
                rows.push(format!("| {records} | {} | {mode} | {asked} |", if silent { "no" } else { "yes" }));
                assert_eq!(asked, least, "{records} records, {mode}, silent: {silent}");
            }
        }
    }
    println!("| records | `matches` | run | list requests |\n| --- | --- | --- | --- |\n{}", rows.join("\n"));
}
