//! A record is marked deleted on evidence only, and its row stays.

use std::collections::BTreeSet;

use serde_json::json;
use uuid::Uuid;

use crate::stage::Stage;

#[tokio::test]
async fn a_full_run_marks_exactly_what_is_gone() {
    let stage = Stage::of(60).await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let rows = stage.database.rows("contacts").await;
    let gone: BTreeSet<Uuid> = stage.simulator.delete("contacts", 3).into_iter().collect();
    // Projects have no filter for ids: .info tells.
    let gone_projects: BTreeSet<Uuid> = stage.simulator.delete("projects", 1).into_iter().collect();

    stage.complete(json!({})).await;
    assert!(stage.database.deleted("contacts").await.is_empty(), "an incremental run has no evidence");

    let event = stage.complete(json!({ "mode": "full" })).await;
    assert_eq!(stage.database.deleted("contacts").await, gone);
    assert_eq!(stage.database.deleted("projects").await, gone_projects);
    let marked: i64 = stage.database.value("select count(*) from teamleader.record where deleted_at is not null").await;
    assert_eq!(marked, 4, "nothing of any other resource");
    assert_eq!(event.count("contacts", "deleted"), 3);
    assert_eq!(event.count("projects", "deleted"), 1);
    assert_eq!(stage.database.rows("contacts").await, rows, "the rows stay");
    stage.assert_copy_is_equal().await;
    let as_evident: bool = stage
        .database
        .value("select bool_and(changed_at >= deleted_at and content <> '{}') from teamleader.record where deleted_at is not null")
        .await;
    assert!(as_evident, "a mark is a change, and keeps the content");

    let before = stage.database.versions().await;
    stage.complete(json!({ "mode": "full" })).await;
    assert_eq!(stage.database.versions().await, before, "marked once");
}

#[tokio::test]
async fn a_record_that_is_there_again_loses_its_mark() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    // As if they had been gone when an earlier run looked; the content of one was erased meanwhile.
    let marked = stage
        .database
        .execute("update teamleader.contacts set deleted_at = now() where id in (select id from teamleader.contacts order by id limit 2)")
        .await;
    assert_eq!(marked, 2);

    let event = stage.complete(json!({ "mode": "full" })).await;
    assert!(stage.database.deleted("contacts").await.is_empty());
    assert_eq!(event.count("contacts", "updated"), 2);
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn too_many_deletions_at_once_wait_for_a_persons_word() {
    let stage = Stage::of(100).await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let gone: BTreeSet<Uuid> = stage.simulator.delete("contacts", 30).into_iter().collect();
    // 20 rows or fewer are marked whatever their share is.
    let few: BTreeSet<Uuid> = stage.simulator.delete("companies", 20).into_iter().collect();

    let id = stage.request(json!({ "mode": "full" })).await;
    let event = stage.final_event(id).await;
    assert_eq!(event.kind(), "sync.partial", "{}", event.body);
    let told = event.resource("contacts");
    assert_eq!(told["status"], "failed", "{told}");
    let reason = told["error"].as_str().unwrap();
    assert!(reason.contains("30 of 100") && reason.contains("allow_deletions"), "{reason}");
    assert!(stage.database.deleted("contacts").await.is_empty());
    assert_eq!(event.resource("companies")["status"], "completed");
    assert_eq!(stage.database.deleted("companies").await, few);

    let event = stage.complete(json!({ "mode": "full", "allow_deletions": true })).await;
    assert_eq!(event.count("contacts", "deleted"), 30);
    assert_eq!(stage.database.deleted("contacts").await, gone);
    stage.assert_copy_is_equal().await;
}
