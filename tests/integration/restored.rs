//! Records whose newest state has an older `updated_at` than their row: restored by the vendor, or the database was
//! restored from a newer dump; and lists that lag behind `.info`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use teamleader_simulator::{ChangeKind, Fault, FaultKind, Oddity};
use uuid::Uuid;

use crate::stage::{Stage, proxy, until};

/// With `updated_at` in the list, and details.
const DATED: [&str; 4] = ["companies", "contacts", "invoices", "deals"];

fn request(mode: Value) -> Value {
    let mut body = json!({ "resources": DATED });
    body.as_object_mut().unwrap().extend(mode.as_object().unwrap().clone());
    body
}

/// An account that was copied, with records that were updated, copied again, and then restored.
async fn restored(stage: &Stage) {
    stage.complete(request(json!({ "mode": "full" }))).await;
    for resource in DATED {
        assert_eq!(stage.simulator.update(resource, 60).len(), stage.simulator.count(resource).min(60));
    }
    stage.complete(request(json!({ "mode": "full" }))).await;
    for resource in DATED {
        assert!(stage.simulator.change(resource, ChangeKind::Restore, 5).len() >= 3, "{resource}");
        assert!(stage.database.difference(&stage.simulator, resource).await.is_some(), "{resource}");
    }
}

async fn assert_equal(stage: &Stage) {
    for resource in DATED {
        stage.database.assert_table_equals(&stage.simulator, resource).await;
    }
}

#[tokio::test]
async fn a_restored_record_is_followed_by_the_next_full_run() {
    let stage = Stage::of(60).await;
    let _worker = stage.worker().await;
    restored(&stage).await;
    stage.simulator.reset_counters();
    let event = stage.complete(request(json!({ "mode": "full" }))).await;
    assert_equal(&stage).await;
    assert_eq!(event.count("contacts", "updated"), 5, "{}", event.body);
    assert_eq!(event.count("contacts", "unchanged"), 55, "{}", event.body);
    assert_eq!(stage.asked("contacts.info"), 5, "the doubted ones, and once");

    let before = stage.database.versions().await;
    stage.simulator.reset_counters();
    stage.complete(request(json!({ "mode": "full" }))).await;
    assert_eq!(stage.database.versions().await, before, "nothing is left in doubt");
    assert_eq!((stage.asked("contacts.list"), stage.asked("contacts.info")), (1, 0));
}

#[tokio::test]
async fn what_is_in_doubt_survives_a_killed_worker() {
    let stage = Stage::of(60).await;
    let mut worker = stage.worker().await;
    restored(&stage).await;
    stage.slow_down("contacts.info", 1_500);
    let id = stage.request(request(json!({ "mode": "full" }))).await;
    until("records are in doubt", async || {
        let doubted = "select count(*) from teamleader2db.sync_page where pass = -2 and resource = 'contacts'";
        (stage.database.value::<i64>(doubted).await > 0).then_some(())
    })
    .await;
    worker.kill();
    stage.simulator.clear_faults();
    let _worker = stage.worker().await;
    stage.completed(id).await;
    assert_equal(&stage).await;
}

#[tokio::test]
async fn an_audit_finds_restored_records_and_its_repair_leaves_none() {
    let stage = Stage::of(60).await;
    let _worker = stage.worker().await;
    restored(&stage).await;
    let audit = |repair| request(json!({ "mode": "audit", "repair": repair }));
    let event = stage.complete(audit(false)).await;
    assert_eq!(event.count("contacts", "stale"), 5, "{}", event.body);
    stage.complete(audit(true)).await;
    assert_equal(&stage).await;
    let event = stage.complete(audit(false)).await;
    let found = |resource: &&str| ["missing", "stale", "wrong"].map(|what| event.count(resource, what));
    assert!(DATED.iter().all(|resource| found(resource) == [0; 3]), "{}", event.body);
}

#[tokio::test]
async fn a_refetch_leaves_no_restored_record() {
    let stage = Stage::of(60).await;
    let _worker = stage.worker().await;
    restored(&stage).await;
    stage.complete(request(json!({ "mode": "full", "refetch": true }))).await;
    assert_equal(&stage).await;
}

#[tokio::test]
async fn rows_that_are_newer_than_the_source_are_written_over() {
    let stage = Stage::of(60).await;
    let _worker = stage.worker().await;
    stage.complete(request(json!({ "mode": "full" }))).await;
    // As after a dump of a later time, or an answer with a date that cannot be.
    let newer = "update teamleader.record
        set source_updated_at = '2099-01-01 00:00:00+00', list_hash = '\\x00', detail_hash = null,
            content = content || '{\"updated_at\": \"2099-01-01T00:00:00+00:00\"}'
                || jsonb_build_object(case resource when 'deals' then 'title' else 'first_name' end, 'newer')
        where resource in ('contacts', 'deals') and (account, id) in (
            select account, id from teamleader.record where resource in ('contacts', 'deals') order by id limit 30)";
    assert_eq!(stage.database.execute(newer).await, 30);
    stage.complete(request(json!({ "mode": "full" }))).await;
    assert_equal(&stage).await;
}

/// The text of a field, at its first place in the JSON.
fn field(item: &str, name: &str) -> String {
    let after = item.split_once(&format!("\"{name}\":\"")).unwrap_or_else(|| panic!("{item} has no {name}")).1;
    after.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_list_that_lags_behind_the_details_does_not_set_rows_back() {
    let mut stage = Stage::of(60).await;
    let (seen, lags) = (Mutex::new(HashMap::<String, String>::new()), Arc::new(AtomicBool::new(false)));
    let lagging = lags.clone();
    let url = proxy(stage.simulator.url(), move |endpoint, _, body| {
        if endpoint != "contacts.list" {
            return body;
        }
        // As text: some items hold what no parser of strings takes.
        let text = std::str::from_utf8(&body).unwrap();
        let envelope: HashMap<&str, &RawValue> = serde_json::from_str(text).unwrap();
        let Some(data) = envelope.get("data").map(|data| data.get()) else { return body };
        let mut seen = seen.lock().unwrap();
        let mut items: Vec<String> = Vec::new();
        for item in serde_json::from_str::<Vec<&RawValue>>(data).unwrap() {
            let known = seen.entry(field(item.get(), "id")).or_insert(item.get().to_owned());
            items.push(if lagging.load(Ordering::Relaxed) { known.clone() } else { item.get().to_owned() });
        }
        items.sort_by_key(|item| field(item, "updated_at"));
        Bytes::from(text.replace(data, &format!("[{}]", items.join(","))))
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    stage.complete(request(json!({ "mode": "full" }))).await;
    let changed: Vec<Uuid> = stage.simulator.update("contacts", 5);
    stage.complete(request(json!({ "mode": "full" }))).await;
    assert_equal(&stage).await;
    let before = stage.database.value::<String>(CHANGED).await;
    // From now on the list gives what it gave before the change, also by id.
    lags.store(true, Ordering::Relaxed);
    stage.simulator.reset_counters();
    let event = stage.complete(request(json!({ "mode": "full" }))).await;
    assert_equal(&stage).await;
    assert_eq!(stage.database.value::<String>(CHANGED).await, before, "no row has changed");
    assert_eq!(event.count("contacts", "updated"), 0, "{}", event.body);
    assert_eq!(stage.asked("contacts.info"), changed.len() as u64, "those that the list gives as older, and once");
    // When it has caught up, nothing is in doubt.
    lags.store(false, Ordering::Relaxed);
    stage.simulator.reset_counters();
    stage.complete(request(json!({ "mode": "full" }))).await;
    assert_equal(&stage).await;
    assert_eq!(stage.asked("contacts.info"), 0);
}

/// When the contacts last changed.
const CHANGED: &str = "select string_agg(id::text || changed_at::text, ' ' order by id) from teamleader.contacts";

#[tokio::test]
async fn each_row_says_when_it_was_asked_for() {
    let stage = Stage::of(60).await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let unknown = "select count(*) from teamleader.record where asked_at is null or asked_at > now()
        or asked_at < (select min(started_at) from teamleader2db.sync_run)";
    assert_eq!(stage.database.value::<i64>(unknown).await, 0);
    let gone = stage.simulator.delete("contacts", 2);
    stage.complete(json!({ "mode": "full" })).await;
    let marked = "select count(*) from teamleader.contacts where deleted_at is not null
        and asked_at > (select max(started_at) from teamleader2db.sync_run) and asked_at < deleted_at";
    assert_eq!(stage.database.value::<i64>(marked).await, gone.len() as i64);
}

#[tokio::test]
async fn a_restored_record_whose_detail_cannot_be_read_costs_no_other() {
    let stage = Stage::of(60).await;
    let _worker = stage.worker().await;
    restored(&stage).await;
    let bad = stage.simulator.change("contacts", ChangeKind::Restore, 1)[0];
    let odd = FaultKind::OddRecord { odd: Oddity::Deep, id: Some(bad) };
    stage.simulator.inject(Fault::new(odd).at("contacts.info"));
    let id = stage.request(request(json!({ "mode": "full" }))).await;
    let event = stage.final_event(id).await;
    let report = event.resource("contacts");
    assert_eq!((&report["status"], &report["rejected"]), (&json!("completed"), &json!(1)), "{}", event.body);
    let truth = stage.simulator.truth("contacts");
    let sound: Vec<Uuid> = truth.iter().map(|record| record.id).filter(|id| *id != bad).collect();
    assert_eq!(stage.database.lacking(&stage.simulator, "contacts", &sound).await, 0);

    stage.simulator.clear_faults();
    stage.complete(request(json!({}))).await;
    assert_equal(&stage).await;
}
