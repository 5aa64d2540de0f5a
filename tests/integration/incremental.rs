//! What did not change is neither asked for nor written.

use std::collections::BTreeSet;

use serde_json::json;
use teamleader_simulator::{ChangeKind, Fault, FaultKind};
use uuid::Uuid;

use crate::stage::{DETAILED, RESOURCES, Stage};

#[tokio::test]
async fn an_incremental_run_reads_and_writes_only_what_changed() {
    let stage = Stage::of(300).await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let before = stage.database.versions().await;
    let changed: BTreeSet<Uuid> =
        stage.simulator.update("contacts", 50).into_iter().chain(stage.simulator.add("contacts", 5)).collect();
    stage.simulator.reset_counters();

    let event = stage.complete(json!({})).await;
    stage.assert_copy_is_equal().await;
    let after = stage.database.versions().await;
    let written: BTreeSet<Uuid> =
        after.iter().filter(|(key, version)| before.get(key) != Some(version)).map(|((_, id), _)| *id).collect();
    assert_eq!(written, changed, "55 rows are written, and no other of any resource");
    assert_eq!(after.len(), before.len() + 5);
    let counted =
        ["listed", "created", "updated", "unchanged", "deleted", "detailed"].map(|what| event.count("contacts", what));
    assert_eq!(counted, [55, 5, 50, 0, 0, 55]);
    assert_eq!(event.body["data"]["mode"], "incremental");
    // One page of contacts and one of companies hold all that changed since the watermarks.
    assert!(stage.asked("contacts.list") <= 2, "{:?}", stage.simulator.counters());
    assert!(stage.asked("companies.list") <= 1, "{:?}", stage.simulator.counters());
    assert_eq!(stage.details_asked(), 55);
}

#[tokio::test]
async fn a_change_that_no_list_shows_is_found_where_the_api_tells_of_it() {
    let stage = Stage::of(40).await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    for resource in ["contacts", "companies", "invoices", "projects"] {
        assert_eq!(stage.simulator.change(resource, ChangeKind::UpdateInfo, 2).len(), 2);
    }
    stage.complete(json!({})).await;
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn a_full_run_over_an_unchanged_account_writes_no_row() {
    let stage = Stage::of(60).await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let before = stage.database.versions().await;
    let details = stage.details_asked();

    let event = stage.complete(json!({ "mode": "full" })).await;
    assert_eq!(stage.database.versions().await, before, "xmin and ctid of every row are as they were");
    assert_eq!(stage.details_asked(), details, "no detail is asked for again");
    for resource in RESOURCES {
        let counted = ["created", "updated", "deleted", "detailed"].map(|what| event.count(resource, what));
        assert_eq!(counted, [0, 0, 0, 0], "{resource}");
        assert_eq!(event.count(resource, "unchanged"), stage.simulator.count(resource) as i64, "{resource}");
    }
}

#[tokio::test]
async fn refetch_finds_what_nothing_else_can_show() {
    let stage = Stage::of(40).await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let hidden = stage.simulator.change("users", ChangeKind::UpdateInfo, 3);
    assert_eq!(hidden.len(), 3);
    stage.simulator.reset_counters();

    let event = stage.complete(json!({ "refetch": true })).await;
    stage.assert_copy_is_equal().await;
    assert_eq!(stage.details_asked(), stage.details(), "each detail is asked for once");
    for resource in DETAILED {
        assert_eq!(event.count(resource, "detailed"), stage.simulator.count(resource) as i64, "{resource}");
    }
    let changed: i64 = stage
        .database
        .value(
            "select count(*) from teamleader.record
             where changed_at > (select max(started_at) from teamleader2db.sync_run)",
        )
        .await;
    assert_eq!(changed, 3, "changed_at moves only where content differs");
}

#[tokio::test]
async fn refetch_asks_for_what_became_stale_after_its_start() {
    let stage = Stage::of(40).await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.slow_down("contacts.list", 2_000);
    let asked = stage.asked("contacts.list");
    let id = stage.request(json!({ "mode": "full", "resources": ["contacts"], "refetch": true })).await;
    stage.await_asked("contacts.list", asked + 1).await;
    // As after another run that fetched them between this one's start and its list.
    let fetched = "update teamleader.record set detail_at = clock_timestamp() where resource = 'contacts'";
    stage.database.execute(fetched).await;
    stage.simulator.update("contacts", 5);

    let event = stage.completed(id).await;
    assert_eq!(event.count("contacts", "detailed"), 5, "{}", event.body);
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn a_detail_without_its_includes_is_asked_for_once_more() {
    let stage = Stage::of(200).await;
    let _worker = stage.worker().await;
    let ignore = |times| {
        stage.simulator.inject(Fault::new(FaultKind::IncludesIgnored).at("companies.info").times(times));
    };
    // An account of which no company has them: nothing is asked for twice.
    ignore(u32::MAX);
    stage.complete(json!({ "mode": "full" })).await;
    let asked = stage.asked("companies.info");
    stage.complete(json!({ "mode": "full" })).await;
    assert_eq!(stage.asked("companies.info"), asked);

    stage.simulator.clear_faults();
    stage.complete(json!({ "resources": ["companies"], "mode": "full", "refetch": true })).await;
    stage.assert_copy_is_equal().await;
    ignore(3);
    stage.simulator.update("companies", 3);
    stage.complete(json!({})).await;
    assert!(stage.database.difference(&stage.simulator, "companies").await.is_some(), "what did not come is not there");
    stage.complete(json!({})).await;
    stage.assert_copy_is_equal().await;

    // The same answer twice is believed.
    ignore(6);
    stage.simulator.update("companies", 3);
    for more in [3, 3, 0] {
        let asked = stage.asked("companies.info");
        stage.complete(json!({})).await;
        assert_eq!(stage.asked("companies.info"), asked + more);
    }
}

#[tokio::test]
async fn a_run_says_before_it_begins_how_many_requests_it_will_take() {
    let mut stage = Stage::of(1_000).await;
    stage.set("SYNC_LOOKBACK", "1s");
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    // Requests as the event `started` foretells them, and as they are made.
    let foretold = async |body| {
        let event = stage.complete(body).await;
        let mut started = stage.events_of_kind("sync.started");
        started.retain(|begun| begun.subject() == event.subject());
        assert_eq!(event.body["data"].get("forecast"), None, "what is over needs none");
        let forecast = &started[0].body["data"]["forecast"];
        let at: chrono::DateTime<chrono::Utc> = forecast["done_at"].as_str().unwrap().parse().unwrap();
        assert!(at > chrono::Utc::now() - chrono::Duration::minutes(2), "{forecast}");
        (forecast["api_requests"].as_i64().unwrap(), event.body["data"]["api_requests"].as_i64().unwrap())
    };
    // An unchanged account takes what it took, but for the details and the question which projects it uses.
    let (expected, made) = foretold(json!({ "mode": "full" })).await;
    assert!((expected - made).abs() <= 2, "{expected} were expected, {made} made");
    // As much changes as changed before.
    stage.simulator.update("contacts", 120);
    stage.complete(json!({ "resources": ["contacts"] })).await;
    stage.simulator.advance_clock(std::time::Duration::from_secs(60));
    stage.simulator.update("contacts", 120);
    let (expected, made) = foretold(json!({ "resources": ["contacts"] })).await;
    assert!(made > 120 && (expected - made).abs() * 10 <= made, "{expected} were expected, {made} made");
}

#[tokio::test]
async fn a_detail_of_a_time_to_come_is_stale_once_its_record_changes() {
    let stage = Stage::of(60).await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full", "resources": ["contacts"] })).await;
    // As after the server's clock was set back.
    stage.database.execute("update teamleader.contacts set detail_at = now() + interval '1 day'").await;
    let changed = stage.simulator.update("contacts", 5).len() as i64;
    let event = stage.complete(json!({ "resources": ["contacts"] })).await;
    assert_eq!(event.count("contacts", "detailed"), changed, "{}", event.body);
    stage.database.assert_table_equals(&stage.simulator, "contacts").await;
}
