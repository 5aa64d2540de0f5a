//! An account that changes while it is read: what was there all the time is not missed, and nothing alive is marked
//! deleted.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use teamleader_simulator::{ChangeKind, Config, Simulator};
use uuid::Uuid;

use crate::stage::Stage;

/// One list that is read by seeking, and two that are read by page number.
const CHANGING: [&str; 3] = ["contacts", "invoices", "events"];

fn living(simulator: &Simulator, resource: &str) -> BTreeSet<Uuid> {
    simulator.truth(resource).iter().map(|record| record.id).collect()
}

async fn assert_nothing_is_missed(stage: &Stage, before: &[BTreeSet<Uuid>; 3]) {
    for (resource, before) in CHANGING.into_iter().zip(before) {
        let after = living(&stage.simulator, resource);
        let sql = "select id from teamleader.record where resource = $1 and deleted_at is null";
        let copied: Vec<Uuid> = sqlx::query_scalar(sql).bind(resource).fetch_all(&stage.database.pool).await.unwrap();
        let copied: BTreeSet<Uuid> = copied.into_iter().collect();
        let missed: Vec<_> = before.intersection(&after).filter(|id| !copied.contains(id)).collect();
        assert!(missed.is_empty(), "{resource}: {missed:?} lived all the time");
        let marked = stage.database.deleted(resource).await;
        assert!(marked.is_disjoint(&after), "{resource}: something alive is marked deleted");
    }
}

#[tokio::test]
async fn what_was_there_all_the_time_is_copied_although_pages_shift() {
    let counts = [("contacts", 350), ("invoices", 350), ("events", 350), ("users", 5)];
    let counts = counts.map(|(resource, count)| (resource.to_owned(), count)).into();
    let stage = Stage::with(Config { counts, ..Config::default() }).await;
    let _worker = stage.worker().await;
    for round in 0..2 {
        let before = CHANGING.map(|resource| living(&stage.simulator, resource));
        for resource in CHANGING {
            let kinds = [ChangeKind::Delete, ChangeKind::Update, ChangeKind::Add, ChangeKind::Delete];
            stage.simulator.change_while_paging(resource, 1, &kinds);
        }
        let id = stage.request(json!({ "mode": "full" })).await;
        let event = stage.final_event(id).await;
        stage.simulator.stop_changing();
        assert_ne!(event.kind(), "sync.failed", "{}", event.body);
        for (resource, before) in CHANGING.into_iter().zip(&before) {
            assert_ne!(&living(&stage.simulator, resource), before, "{resource} changed in round {round}");
        }
        assert_nothing_is_missed(&stage, &before).await;
    }
    stage.complete(json!({ "mode": "full" })).await;
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn more_records_of_one_moment_than_a_page_holds_are_all_read() {
    let stage = Stage::of(350).await;
    // Seeking by updated_at alone would not get over these.
    assert_eq!(stage.simulator.tie_updated_at("contacts", 260).len(), 260);
    let _worker = stage.worker().await;
    let event = stage.complete(json!({ "mode": "full", "resources": ["contacts"] })).await;
    assert_eq!(event.count("contacts", "listed"), 350);
    assert_eq!(event.resource("contacts")["verified"], true);
    stage.database.assert_table_equals(&stage.simulator, "contacts").await;

    // Another second, and so another updated_at.
    stage.simulator.advance_clock(Duration::from_secs(60));
    assert_eq!(stage.simulator.tie_updated_at("contacts", 230).len(), 230);
    let event = stage.complete(json!({ "resources": ["contacts"] })).await;
    assert_eq!(event.count("contacts", "updated"), 230);
    stage.database.assert_table_equals(&stage.simulator, "contacts").await;
}
