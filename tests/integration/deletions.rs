//! A record is marked deleted on evidence only, and its row stays.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Bytes;
use axum::http::StatusCode;
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::stage::{Fields, Stage, proxy_of_answers, with_records};

#[tokio::test]
async fn a_full_run_marks_exactly_what_is_gone() {
    let stage = Stage::of(60).await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let rows = stage.database.rows("contacts").await;
    let gone: BTreeSet<Uuid> = stage.simulator.delete("contacts", 3).into_iter().collect();
    // Projects have no filter for ids: .info says it.
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

/// A list of those of its records that are kept, by their places and the JSON of their ids.
fn of_records(body: &[u8], is_kept: impl Fn(usize, &str) -> bool) -> Bytes {
    let mut envelope: Fields = serde_json::from_slice(body).unwrap();
    let records: Vec<Fields> = serde_json::from_str(envelope["data"].get()).unwrap();
    let kept = records.into_iter().enumerate().filter(|(place, record)| is_kept(*place, record["id"].get()));
    let kept: Vec<Fields> = kept.map(|(_, record)| record).collect();
    envelope.insert("data".to_owned(), RawValue::from_string(serde_json::to_string(&kept).unwrap()).unwrap());
    serde_json::to_vec(&envelope).unwrap().into()
}

#[tokio::test]
async fn an_answer_by_ids_that_holds_fewer_than_there_are_deletes_none() {
    let mut stage = Stage::of(60).await;
    let shortens = Arc::new(AtomicBool::new(false));
    let on = Arc::clone(&shortens);
    let mut all: Vec<Uuid> = stage.simulator.truth("contacts").iter().map(|record| record.id).collect();
    all.sort_unstable();
    let missed: Vec<String> = all[..15].iter().map(|id| format!("\"{id}\"")).collect();
    let url = proxy_of_answers(stage.simulator.url(), move |endpoint, asked, answer| {
        if endpoint != "contacts.list" || !on.load(Ordering::Relaxed) {
            return;
        }
        let by_ids = String::from_utf8_lossy(&asked.body).contains("\"ids\"");
        *answer.body_mut() = match by_ids {
            // As many as a bound of the API lets through.
            true => of_records(answer.body(), |place, _| place < 7),
            false => of_records(answer.body(), |_, id| !missed.contains(&id.to_owned())),
        };
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full", "resources": ["contacts"] })).await;
    shortens.store(true, Ordering::Relaxed);
    let event = stage.complete(json!({ "mode": "full", "resources": ["contacts"] })).await;
    assert_eq!(event.count("contacts", "deleted"), 0, "{}", event.body);
    assert!(stage.database.deleted("contacts").await.is_empty());
}

#[tokio::test]
async fn one_answer_alone_does_not_delete_what_no_list_gives() {
    let mut stage = Stage::of(60).await;
    let leaves_out = Arc::new(AtomicBool::new(false));
    let on = Arc::clone(&leaves_out);
    let records = stage.simulator.truth("contacts");
    let is_deactivated = |text: &str| text.contains("\"status\":\"deactivated\"");
    let hidden: BTreeSet<Uuid> =
        records.iter().filter(|record| is_deactivated(&record.list)).map(|record| record.id).collect();
    assert!(hidden.len() > 1, "{hidden:?}");
    let left_out: Vec<String> = hidden.iter().map(|id| format!("\"{id}\"")).collect();
    let url = proxy_of_answers(stage.simulator.url(), move |endpoint, _, answer| {
        // The deactivated are in no list, nor in the answer to a question for them alone.
        if endpoint == "contacts.list" {
            let leaves_out = on.load(Ordering::Relaxed);
            *answer.body_mut() = of_records(answer.body(), |_, id| !leaves_out || !left_out.contains(&id.to_owned()));
        }
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full", "resources": ["contacts"] })).await;
    leaves_out.store(true, Ordering::Relaxed);
    let gone = *hidden.first().unwrap();
    assert!(stage.simulator.delete_record("contacts", gone));
    stage.simulator.reset_counters();
    let event = stage.complete(json!({ "mode": "full", "resources": ["contacts"] })).await;
    assert_eq!(event.resource("contacts")["verified"], true, "{}", event.body);
    assert_eq!(stage.database.deleted("contacts").await, [gone].into());
    assert_eq!(stage.asked("contacts.info"), hidden.len() as u64);
}

/// Also where `.info` fails for it as if the API were down.
#[tokio::test]
async fn a_record_that_cannot_be_asked_for_by_its_id_costs_no_other() {
    let mut stage = Stage::of(60).await;
    let odd = Arc::new(AtomicBool::new(false));
    let on = Arc::clone(&odd);
    let [bad, broken] = [0, 2].map(|place| stage.simulator.truth("projects")[place].id);
    let url = proxy_of_answers(stage.simulator.url(), move |endpoint, asked, answer| {
        let [id, broken] = [bad, broken].map(|id| json!(id).to_string());
        let asked = String::from_utf8_lossy(&asked.body);
        match endpoint {
            _ if !on.load(Ordering::Relaxed) => {}
            "projects.list" => {
                *answer.body_mut() = of_records(answer.body(), |_, record| record != id && record != broken);
            }
            "projects.info" if asked.contains(&id) => {
                *answer.body_mut() = with_records(answer.body(), |record| {
                    record.insert("id".to_owned(), RawValue::from_string(json!(Uuid::nil()).to_string()).unwrap());
                });
            }
            "projects.info" if asked.contains(&broken) => *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
            _ => {}
        }
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    odd.store(true, Ordering::Relaxed);
    let gone = stage.simulator.truth("projects")[1].id;
    assert!(stage.simulator.delete_record("projects", gone));
    let id = stage.request(json!({ "mode": "full" })).await;
    let event = stage.final_event(id).await;
    let report = event.resource("projects");
    assert_eq!((&report["status"], &report["rejected"]), (&json!("completed"), &json!(2)), "{}", event.body);
    assert_eq!(stage.database.deleted("projects").await, [gone].into());
}

/// Each level is asked for with its parent alone: of a deleted one no list is read any more.
#[tokio::test]
async fn the_children_of_children_are_marked_with_them() {
    let stage = Stage::with(teamleader_simulator::Config::scaled(200)).await;
    let _worker = stage.worker().await;
    let named = ["expenses", "incomingInvoices", "incomingInvoices.payments"];
    stage.complete(json!({ "mode": "full", "resources": named })).await;
    let parent: Uuid = stage
        .database
        .value("select parent_id from teamleader.incoming_invoices_payments order by parent_id limit 1")
        .await;
    assert!(stage.simulator.delete_record("incomingInvoices", parent));
    stage.complete(json!({ "mode": "full", "resources": named })).await;
    let payments: i64 = stage
        .database
        .value("select count(*) from teamleader.incoming_invoices_payments where deleted_at is not null")
        .await;
    assert!(payments > 0, "its payments are marked, too");
    for resource in named {
        stage.database.assert_table_equals(&stage.simulator, resource).await;
    }
}
