//! One record that cannot be read or stored costs only itself: it is named, the others are copied, and it is asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use teamleader_simulator::{Fault, FaultKind, Oddity};
use uuid::Uuid;

use crate::stage::{Event, Fields, RESOURCES, Stage, proxy_of_answers, with_records};

/// How a record is bad.
#[derive(Clone)]
enum Bad {
    /// It has this `updated_at`.
    UpdatedAt(Value),
    /// It is nested too deep.
    Deep,
}

impl Bad {
    fn make(&self, record: &mut Fields) {
        let (field, value) = match self {
            Self::UpdatedAt(at) => ("updated_at", at.to_string()),
            Self::Deep => ("x", format!("{}1{}", "[".repeat(150), "]".repeat(150))),
        };
        record.insert(field.to_owned(), RawValue::from_string(value).unwrap());
    }
}

/// Which endpoints give the bad records.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Everywhere,
    Info,
}

/// A stage whose API spoils these records as long as the switch is on.
async fn spoiled(
    contacts: usize,
    bad: &[(&'static str, Bad)],
    at: At,
) -> (Stage, BTreeMap<&'static str, Uuid>, Arc<AtomicBool>) {
    let mut stage = Stage::of(contacts).await;
    let ids: BTreeMap<&str, Uuid> = bad.iter().map(|(name, _)| (*name, stage.simulator.truth(name)[1].id)).collect();
    let spoils = Arc::new(AtomicBool::new(true));
    let (chosen, kinds, on) = (ids.clone(), bad.to_vec(), Arc::clone(&spoils));
    let url = proxy_of_answers(stage.simulator.url(), move |endpoint, _, answer| {
        let Some((resource, verb)) = endpoint.rsplit_once('.') else { return };
        let Some((_, bad)) = kinds.iter().find(|(name, _)| *name == resource) else { return };
        let is_meant = verb == "info" || verb == "list" && at == At::Everywhere;
        if !is_meant || !on.load(Ordering::Relaxed) || answer.status() != StatusCode::OK {
            return;
        }
        let id = json!(chosen[resource]).to_string();
        *answer.body_mut() = with_records(answer.body(), |record| {
            if record["id"].get() == id {
                bad.make(record);
            }
        });
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    (stage, ids, spoils)
}

async fn entries(stage: &Stage) -> BTreeSet<(String, Uuid)> {
    let sql = "select resource, id from teamleader2db.rejected_record";
    sqlx::query_as(sql).fetch_all(&stage.database.pool).await.unwrap().into_iter().collect()
}

/// All records but the bad ones are copied, and these are named.
async fn assert_only_these_are_rejected(stage: &Stage, event: &Event, bad: &BTreeMap<&'static str, Uuid>) {
    assert_eq!(event.kind(), "sync.partial", "{}", event.body);
    for resource in RESOURCES {
        let (report, is_bad) = (event.resource(resource), bad.get(resource));
        assert_eq!(report["status"], "completed", "{resource}: {report}");
        assert_eq!(report["rejected"], i64::from(is_bad.is_some()), "{resource}: {report}");
        let truth = stage.simulator.truth(resource);
        let sound: Vec<Uuid> = truth.iter().map(|record| record.id).filter(|id| Some(id) != is_bad).collect();
        assert_eq!(stage.database.lacking(&stage.simulator, resource, &sound).await, 0, "{resource}");
        if is_bad.is_some() {
            assert_eq!(report["verified"], false, "{resource}: {report}");
        }
    }
    let named = bad.iter().map(|(resource, id)| ((*resource).to_owned(), *id)).collect();
    assert_eq!(entries(stage).await, named);
}

#[tokio::test]
async fn one_record_that_cannot_be_read_costs_no_other_and_is_stored_once_it_can() {
    let kinds = [json!("0000-00-00T00:00:00+00:00"), json!(""), json!(null)];
    for kind in kinds {
        let at = Bad::UpdatedAt(kind.clone());
        let bad = [("contacts", at.clone()), ("companies", at), ("users", Bad::Deep), ("departments", Bad::Deep)];
        let (stage, ids, spoils) = spoiled(250, &bad, At::Everywhere).await;
        let _worker = stage.worker().await;
        let ended = stage.run(&["request", "--full", "--wait"]).await;
        assert_eq!(ended.code, 3, "{ended:?}");
        let id = serde_json::from_str::<Value>(&ended.out).unwrap()["subject"].as_str().unwrap().parse().unwrap();
        assert_only_these_are_rejected(&stage, &stage.final_event(id).await, &ids).await;
        assert!(stage.asked("contacts.list") < 10, "no retries: {}", stage.asked("contacts.list"));
        let moved: i64 =
            stage.database.value("select count(*) from teamleader2db.cursor where watermark is not null").await;
        assert!(moved > 0, "the watermark has moved");
        let status = stage.run(&["status"]).await.out;
        for id in ids.values() {
            assert!(status.contains(&id.to_string()), "{status}");
        }
        assert!(status.contains("teamleader2db request companies contacts departments users"), "{status}");

        // The next pass asks for them, and says the same.
        let id = stage.request(json!({})).await;
        assert_only_these_are_rejected(&stage, &stage.final_event(id).await, &ids).await;

        spoils.store(false, Ordering::Relaxed);
        let event = stage.complete(json!({})).await;
        assert_eq!(event.resource("contacts")["rejected"], 0, "{}", event.body);
        assert!(entries(&stage).await.is_empty());
        stage.assert_copy_is_equal().await;
        let event = stage.complete(json!({ "mode": "full" })).await;
        assert!(RESOURCES.iter().all(|resource| event.resource(resource)["verified"] == true), "{}", event.body);
        assert!(stage.database.deleted("contacts").await.is_empty());
    }
}

#[tokio::test]
async fn a_record_that_is_gone_while_it_is_rejected_is_forgotten() {
    let bad = [("contacts", Bad::UpdatedAt(json!(""))), ("departments", Bad::Deep)];
    let (stage, _, _) = spoiled(60, &bad, At::Everywhere).await;
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    assert_eq!(stage.final_event(id).await.kind(), "sync.partial");
    for resource in ["contacts", "departments"] {
        stage.simulator.delete(resource, stage.simulator.count(resource));
    }
    let event = stage.complete(json!({ "mode": "full", "allow_deletions": true })).await;
    assert_eq!(event.resource("contacts")["verified"], true, "{}", event.body);
    assert!(entries(&stage).await.is_empty());
}

#[tokio::test]
async fn a_detail_that_cannot_be_read_costs_no_other_and_its_row_stays() {
    let bad = [("companies", Bad::UpdatedAt(json!(""))), ("users", Bad::Deep)];
    let (stage, ids, spoils) = spoiled(60, &bad, At::Info).await;
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    assert_only_these_are_rejected(&stage, &stage.final_event(id).await, &ids).await;
    assert_eq!(stage.database.rows("companies").await, stage.simulator.count("companies") as i64);
    let asked = stage.asked("companies.info");
    assert_eq!(asked, stage.simulator.count("companies") as u64, "asked once each");
    // Its row is the reminder.
    let id = stage.request(json!({})).await;
    assert_only_these_are_rejected(&stage, &stage.final_event(id).await, &ids).await;
    spoils.store(false, Ordering::Relaxed);
    stage.complete(json!({})).await;
    assert!(entries(&stage).await.is_empty());
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn a_list_of_which_nothing_can_be_read_fails_and_ends() {
    let mut stage = Stage::of(250).await;
    let url = proxy_of_answers(stage.simulator.url(), |endpoint, _, answer| {
        if endpoint == "contacts.list" {
            let soon = json!("soon");
            *answer.body_mut() = with_records(answer.body(), |record| Bad::UpdatedAt(soon.clone()).make(record));
        }
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    let event = stage.final_event(id).await;
    assert_eq!(event.kind(), "sync.partial", "{}", event.body);
    let report = event.resource("contacts");
    assert_eq!(report["status"], "failed");
    assert!(report["error"].as_str().unwrap().contains("no record of a full page can be read"), "{report}");
    assert_eq!(event.resource("companies")["status"], "completed");
}

#[tokio::test]
async fn a_record_that_postgresql_refuses_costs_no_other() {
    let mut stage = Stage::of(120).await;
    let id = stage.simulator.truth("contacts")[5].id;
    let url = proxy_of_answers(stage.simulator.url(), move |endpoint, _, answer| {
        if endpoint == "contacts.list" {
            *answer.body_mut() = with_records(answer.body(), |record| {
                if record["id"].get() == format!("\"{id}\"") {
                    record.insert("crm".to_owned(), RawValue::from_string("\"secret\"".to_owned()).unwrap());
                }
            });
        }
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    // Loaded by COPY at first, and merged when it is asked for again.
    stage.database.execute("create index crm on teamleader.contacts (((content ->> 'crm')::int))").await;
    for mode in ["full", "incremental"] {
        let run = stage.request(json!({ "mode": mode })).await;
        let event = stage.final_event(run).await;
        assert_only_these_are_rejected(&stage, &event, &[("contacts", id)].into()).await;
        let reason: String = stage.database.value("select reason from teamleader2db.rejected_record").await;
        assert_eq!(reason, "PostgreSQL refuses it (SQLSTATE 22P02)");
    }
    stage.database.execute("drop index teamleader.crm").await;
    stage.complete(json!({})).await;
    assert!(entries(&stage).await.is_empty());
    assert_eq!(stage.database.rows("contacts").await, 120);
}

#[tokio::test]
async fn an_audit_compares_the_others_where_postgresql_refuses_a_record() {
    let mut stage = Stage::of(60).await;
    let spoils = Arc::new(AtomicBool::new(false));
    let on = Arc::clone(&spoils);
    let truth = |resource: &str, place: usize| stage.simulator.truth(resource)[place].id;
    let ([bad, bad_detail], [wrong, wrong_detail]) =
        ([truth("contacts", 5), truth("users", 1)], [truth("contacts", 6), truth("users", 2)]);
    let spoiled = [("contacts.list", json!(bad).to_string()), ("users.info", json!(bad_detail).to_string())];
    let url = proxy_of_answers(stage.simulator.url(), move |endpoint, _, answer| {
        let Some((_, id)) = spoiled.iter().find(|(name, _)| *name == endpoint) else { return };
        *answer.body_mut() = with_records(answer.body(), |record| {
            if on.load(Ordering::Relaxed) && record["id"].get() == id {
                record.insert("crm".to_owned(), RawValue::from_string("\"secret\"".to_owned()).unwrap());
            }
        });
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full", "resources": ["contacts", "users"] })).await;
    stage.database.execute("create index crm on teamleader.contacts (((content ->> 'crm')::int))").await;
    stage.database.execute("create index crm_of_users on teamleader.users (((content ->> 'crm')::int))").await;
    let edited = "update teamleader.record set content = content || '{\"first_name\": \"edited\"}' where id = any($1)";
    let edited = sqlx::query(edited).bind([wrong, wrong_detail]).execute(&stage.database.pool).await.unwrap();
    assert_eq!(edited.rows_affected(), 2);
    spoils.store(true, Ordering::Relaxed);
    let audit = json!({ "mode": "audit", "repair": true, "resources": ["contacts", "users"] });
    let event = stage.complete(audit).await;
    for (name, refused) in [("contacts", bad), ("users", bad_detail)] {
        let report = event.resource(name);
        assert_eq!(event.count(name, "wrong"), 1, "{report}");
        assert!(report["drift"].to_string().contains(&refused.to_string()), "{report}");
        stage.database.assert_table_equals(&stage.simulator, name).await;
    }
}

#[tokio::test]
async fn details_that_cannot_be_read_do_not_keep_the_others_waiting_for_ever() {
    let mut stage = Stage::of(60).await;
    let url = proxy_of_answers(stage.simulator.url(), |endpoint, _, answer| {
        if endpoint == "companies.info" {
            *answer.body_mut() = with_records(answer.body(), |record| Bad::Deep.make(record));
        }
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    let companies = stage.simulator.count("companies") as i64;
    assert!((21..40).contains(&companies), "{companies}");
    // Twenty in a row may be the fault of the endpoint: a run goes no further. The next one knows them.
    for (rejected, status) in [(20, "failed"), (companies, "completed"), (companies, "completed")] {
        let id = stage.request(json!({ "resources": ["companies"] })).await;
        let event = stage.final_event(id).await;
        let report = event.resource("companies");
        assert_eq!((&report["status"], event.count("companies", "rejected")), (&json!(status), rejected), "{report}");
    }
}

#[tokio::test]
async fn a_detail_that_was_rejected_although_it_was_not_stale_is_asked_for_by_the_next_sync() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full", "resources": ["departments"] })).await;
    let odd = FaultKind::OddRecord { odd: Oddity::NoId, id: None };
    stage.simulator.inject(Fault::new(odd).at("departments.info"));
    let id = stage.request(json!({ "mode": "full", "refetch": true, "resources": ["departments"] })).await;
    let event = stage.final_event(id).await;
    assert_eq!((event.kind(), event.count("departments", "rejected")), ("sync.partial", 1), "{}", event.body);

    stage.simulator.clear_faults();
    let event = stage.complete(json!({ "mode": "incremental", "resources": ["departments"] })).await;
    assert_eq!(event.count("departments", "rejected"), 0, "{}", event.body);
    stage.database.assert_table_equals(&stage.simulator, "departments").await;
}

#[tokio::test]
async fn a_rejected_detail_is_forgotten_once_its_row_is_marked_deleted() {
    let bad = [("companies", Bad::UpdatedAt(json!(""))), ("users", Bad::Deep)];
    let (stage, ids, _) = spoiled(60, &bad, At::Info).await;
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    assert_only_these_are_rejected(&stage, &stage.final_event(id).await, &ids).await;
    for (resource, id) in &ids {
        assert!(stage.simulator.delete_record(resource, *id));
    }
    // The full run marks the rows before it asks for details, and nobody asks for theirs.
    let event = stage.complete(json!({ "mode": "full" })).await;
    assert_eq!(event.count("companies", "deleted"), 1, "{}", event.body);
    assert_eq!(event.resource("companies")["verified"], true, "{}", event.body);
    assert!(entries(&stage).await.is_empty());
}

#[tokio::test]
async fn a_detail_that_is_rejected_is_asked_for_once_a_run_although_it_is_old() {
    let (stage, ids, spoils) = spoiled(60, &[("users", Bad::Deep)], At::Info).await;
    spoils.store(false, Ordering::Relaxed);
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full", "resources": ["users"] })).await;
    stage.database.execute("update teamleader.users set listed_at = '2020-01-01', detail_at = '2020-01-02'").await;
    spoils.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        // It is old at first, and stale from then on.
        stage
            .database
            .execute("update teamleader.users set detail_at = '2020-01-02' where detail_at > '2020-01-02'")
            .await;
        stage.simulator.reset_counters();
        let id = stage.request(json!({ "resources": ["users"] })).await;
        assert_eq!(stage.final_event(id).await.count("users", "rejected"), 1, "{ids:?}");
        assert_eq!(stage.asked("users.info"), stage.simulator.count("users") as u64);
    }
}

#[tokio::test]
async fn many_rejected_records_are_asked_for_slice_by_slice() {
    let mut stage = Stage::of(500).await;
    let spoils = Arc::new(AtomicBool::new(true));
    let on = Arc::clone(&spoils);
    let url = proxy_of_answers(stage.simulator.url(), move |endpoint, _, answer| {
        if endpoint == "contacts.list" && on.load(Ordering::Relaxed) {
            *answer.body_mut() = with_records(answer.body(), |record| {
                if record["id"].get().as_bytes()[1] < b'8' {
                    Bad::UpdatedAt(json!("")).make(record);
                }
            });
        }
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    stage.set("SYNC_SLICE", "1s");
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full", "resources": ["contacts"] })).await;
    let rejected = stage.final_event(id).await.count("contacts", "rejected");
    assert!(rejected > 200, "{rejected}");

    spoils.store(false, Ordering::Relaxed);
    stage.slow_down("contacts.list", 1_100);
    let id = stage.request(json!({ "mode": "incremental", "resources": ["contacts"] })).await;
    stage.completed(id).await;
    assert!(stage.database.run_slice(id).await >= 3, "a slice ends between two requests for them");
    assert!(entries(&stage).await.is_empty());
    stage.database.assert_table_equals(&stage.simulator, "contacts").await;
}
