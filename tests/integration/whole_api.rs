//! Every list that the API has is copied, whatever it takes to be asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use serde_json::json;
use teamleader_simulator::{ChangeKind, Config, Fault, FaultKind};
use uuid::Uuid;

use crate::stage::{CHILDREN, Event, Stage, all_resources, proxy, proxy_of_answers};

/// What differs in any account of the simulator.
const NO_TEXT: &str = "a text holds U+0000 or half a surrogate pair, which is stored as U+FFFD";

/// Custom fields for what has no list, as the API has them.
fn is_of_no_resource(way: &serde_json::Value) -> bool {
    way.as_str().is_some_and(|way| way.starts_with("the context ") && way.contains(" is of no resource"))
}

/// Asserts that all tables equal the account, but for those of the other project API.
async fn assert_equal(stage: &Stage, event: &Event, skipped: &[&str]) {
    for resource in all_resources() {
        let report = event.resource(&resource);
        if skipped.contains(&resource.as_str()) {
            assert_eq!(report["status"], "skipped", "{resource}: {report}");
            assert!(report["error"].as_str().unwrap().contains("projects"), "{report}");
            assert_eq!(stage.database.rows(&resource).await, 0, "{resource}");
            continue;
        }
        assert_eq!(report["status"], "completed", "{resource}: {report}");
        assert!(
            report["drift"].as_array().unwrap().iter().all(|way| way == NO_TEXT || is_of_no_resource(way)),
            "{resource}: the blueprint holds: {report}"
        );
        // What belongs to projects that are not copied is not either.
        let kinds: &[&str] = if skipped == LEGACY { &["project"] } else { &["nextgenProject"] };
        stage.database.assert_table_equals_but(&stage.simulator, &resource, kinds).await;
    }
}

const LEGACY: [&str; 2] = ["projects", "milestones"];
const V2: [&str; 5] = [
    "projects-v2/projects",
    "projects-v2/projectGroups",
    "projects-v2/projectLines",
    "projects-v2/tasks",
    "projects-v2/materials",
];

#[tokio::test]
async fn every_resource_is_copied_and_follows_what_changes() {
    let stage = Stage::with(Config { projects_v2: true, ..Config::scaled(40) }).await.of_everything();
    let _worker = stage.worker().await;
    let event = stage.complete(json!({ "mode": "full" })).await;
    assert_equal(&stage, &event, &LEGACY).await;
    let none: Vec<String> =
        all_resources().into_iter().filter(|resource| stage.simulator.count(resource) == 0).collect();
    // Payments are of the few of these that are paid.
    let few = |resource: &String| resource.ends_with(".payments") && !resource.starts_with("incomingInvoices");
    assert!(
        none.iter().all(few),
        "the account has some of everything but {none:?}: a resource needs a line in SIZES, simulator/src/config.rs"
    );
    let unverified: Vec<String> = all_resources()
        .into_iter()
        .filter(|resource| event.resource(resource)["status"] == "completed")
        .filter(|resource| event.resource(resource)["verified"] != true)
        .collect();
    assert_eq!(unverified, [""; 0], "a quiet account is read for sure");

    // Schedules follow from their users.
    for resource in all_resources().iter().filter(|resource| *resource != "userSchedules") {
        stage.simulator.update(resource, 2);
        stage.simulator.add(resource, 1);
        stage.simulator.delete(resource, 1);
    }
    // Of what has two records the loss of one may be the loss of all.
    let event = stage.complete(json!({ "mode": "full", "refetch": true, "allow_deletions": true })).await;
    assert_equal(&stage, &event, &LEGACY).await;
    let before = stage.database.versions().await;
    stage.complete(json!({ "mode": "full" })).await;
    assert_eq!(stage.database.versions().await, before, "an unchanged account writes no row");
}

#[tokio::test]
async fn the_account_says_which_projects_it_has() {
    let stage = Stage::small().await.of_everything();
    let _worker = stage.worker().await;
    let event = stage.complete(json!({})).await;
    assert_equal(&stage, &event, &V2).await;
    assert_eq!(stage.asked("accounts.projects-v2-status"), 1);
    assert_eq!(stage.asked("projects-v2/projects.list"), 0);
}

#[tokio::test]
async fn what_an_account_has_given_up_for_the_new_projects_is_skipped_although_it_completed_and_is_named() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let named = ["projects", "milestones"];
    stage.complete(json!({ "mode": "full", "resources": named })).await;
    let before = stage.database.versions().await;
    assert!(!before.is_empty());

    stage.simulator.set_projects_v2(true);
    for mode in ["incremental", "full"] {
        let lists = named.map(|resource| stage.asked(&format!("{resource}.list")));
        let event = stage.complete(json!({ "mode": mode, "resources": named })).await;
        for resource in named {
            let report = event.resource(resource);
            let why = "the account uses projects-v2, and not the legacy projects";
            assert_eq!((&report["status"], &report["error"]), (&json!("skipped"), &json!(why)), "{mode}: {report}");
            assert!(report.get("cause").is_none() && report.get("advice").is_none(), "nothing to solve: {report}");
        }
        assert_eq!(named.map(|resource| stage.asked(&format!("{resource}.list"))), lists, "nor are they asked for");
    }
    assert_eq!(stage.database.versions().await, before, "the rows stay as they were");
    let status = stage.run(&["status"]).await;
    assert!(status.out.contains("projects skipped at ") && !status.out.contains(": teamleader2db "), "{}", status.out);

    // It has them again: what was skipped goes on.
    stage.simulator.set_projects_v2(false);
    stage.complete(json!({ "resources": named })).await;
    stage.database.assert_table_equals(&stage.simulator, "projects").await;
    stage.database.assert_table_equals(&stage.simulator, "milestones").await;
}

#[tokio::test]
async fn children_are_read_only_where_they_are_named_and_follow_their_parents() {
    let mut stage = Stage::small().await;
    stage.restore("TEAMLEADER_RESOURCES", None);
    // What was read a moment ago has not changed.
    stage.set("SYNC_LOOKBACK", "0s");
    let _worker = stage.worker().await;
    let event = stage.complete(json!({})).await;
    let listed: BTreeSet<&str> =
        event.body["data"]["resources"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(listed.len(), all_resources().len() - CHILDREN.len());
    assert!(CHILDREN.iter().all(|child| !listed.contains(child) && stage.simulator.count(child) > 0));

    stage.complete(json!({ "resources": ["contacts", "notes"] })).await;
    stage.database.assert_table_equals_but(&stage.simulator, "notes", &["nextgenProject"]).await;
    let parents: i64 = stage
        .database
        .value("select count(*) from teamleader.notes where parent_resource is null or parent_id is null")
        .await;
    assert_eq!(parents, 0, "each row names its parent");

    // Notes come to a contact that changed, and to one that did not.
    let truth = stage.simulator.truth("notes");
    let (kind, parent) = truth.iter().find_map(|note| note.parent.clone().filter(|p| p.0 == "contact")).unwrap();
    assert_eq!(kind, "contact");
    stage.simulator.advance_clock(Duration::from_secs(60));
    let edited = truth.iter().find(|note| note.parent.as_ref().is_some_and(|p| p.1 == parent)).unwrap().id;
    assert!(stage.simulator.update_record("notes", edited));
    stage.complete(json!({ "resources": ["contacts", "notes"] })).await;
    let stale = stage.database.lacking(&stage.simulator, "notes", &[edited]).await;
    assert_eq!(stale, 1, "nothing tells that the note of an unchanged contact changed");
    assert!(stage.simulator.update_record("contacts", parent));
    stage.simulator.reset_counters();
    let event = stage.complete(json!({ "resources": ["contacts", "notes"] })).await;
    stage.database.assert_table_equals_but(&stage.simulator, "notes", &["nextgenProject"]).await;
    assert_eq!(stage.asked("notes.list"), 1, "of one parent alone");
    assert_eq!(event.resource("notes")["verified"], false, "the others were not looked at");

    // A parent that goes takes its children along, and a child goes by itself.
    assert!(stage.simulator.delete_record("contacts", parent));
    let one = stage.simulator.truth("notes")[0].id;
    assert!(stage.simulator.delete_record("notes", one));
    stage.complete(json!({ "mode": "full", "resources": ["contacts"] })).await;
    let orphans = "select count(*) from teamleader.notes n join teamleader.contacts c on c.id = n.parent_id
        where c.deleted_at is not null and n.deleted_at is null";
    assert_eq!(stage.database.value::<i64>(orphans).await, 0);
    stage.complete(json!({ "mode": "full", "resources": ["notes"] })).await;
    stage.database.assert_table_equals_but(&stage.simulator, "notes", &["nextgenProject"]).await;
}

#[tokio::test]
async fn a_kind_of_parent_that_may_not_be_asked_for_is_left_out_and_told() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let parents = ["companies", "contacts", "deals"];
    stage.complete(json!({ "resources": parents })).await;
    stage.simulator.inject(Fault::new(FaultKind::Forbidden).at("notes.list").times(1));
    let event = stage.complete(json!({ "resources": ["notes"] })).await;
    let report = event.resource("notes");
    assert!(report["drift"].to_string().contains("of a company cannot be listed"), "{report}");
    let of_contacts = "select count(*) from teamleader.notes where parent_resource = 'contacts'";
    assert!(stage.database.value::<i64>(of_contacts).await > 0);
    let of_companies = "select count(*) from teamleader.notes where parent_resource = 'companies'";
    assert_eq!(stage.database.value::<i64>(of_companies).await, 0);
    assert_eq!(report["verified"], false, "a part of it was not read");
    // Once they may be asked for they are, although nothing has changed.
    let event = stage.complete(json!({ "resources": ["notes"] })).await;
    assert_eq!(event.resource("notes")["drift"], json!([]));
    assert_eq!(event.resource("notes")["verified"], true, "all parents were visited");

    stage.simulator.inject(Fault::new(FaultKind::Forbidden).at("files.list"));
    let id = stage.request(json!({ "resources": ["files"] })).await;
    let event = stage.final_event(id).await;
    assert_eq!(event.resource("files")["status"], "failed", "no kind may be asked for, and the request names them");
}

#[tokio::test]
async fn one_parent_whose_list_cannot_be_read_does_not_hold_up_the_others() {
    let mut stage = Stage::small().await;
    let bad = stage.simulator.truth("contacts")[3].id;
    let named = bad.to_string();
    let url = proxy(stage.simulator.url(), move |endpoint, asked, answer| match endpoint {
        "notes.list" if String::from_utf8_lossy(asked).contains(&named) => Bytes::from_static(b"{\"data\":7}"),
        _ => answer,
    });
    stage.set("TEAMLEADER_API_URI", &url.await);
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full", "resources": ["contacts", "notes"] })).await;
    let event = stage.final_event(id).await;
    assert_eq!(event.kind(), "sync.partial", "{}", event.body);
    let report = event.resource("notes");
    assert!(report["error"].as_str().unwrap().contains("not every partition could be read"), "{report}");
    assert_eq!((&report["status"], &report["verified"]), (&json!("failed"), &json!(false)));
    let notes = stage.simulator.truth("notes");
    let of_others = notes.iter().filter(|note| note.parent.as_ref().is_some_and(|p| p.0 == "contact" && p.1 != bad));
    let read: i64 = stage.database.value("select count(*) from teamleader.notes").await;
    assert_eq!(read, of_others.count() as i64, "those of all others are there");
}

/// Each row names the parent that its record has.
async fn assert_parents(stage: &Stage, resource: &str) {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as("select id, parent_id from teamleader.record where resource = $1")
        .bind(resource)
        .fetch_all(&stage.database.pool)
        .await
        .unwrap();
    assert!(!rows.is_empty());
    let truth = stage.simulator.truth(resource);
    for (id, parent) in rows {
        let record = truth.iter().find(|record| record.id == id).unwrap();
        assert_eq!(record.parent.as_ref().map(|(_, id)| *id), Some(parent));
    }
}

#[tokio::test]
async fn a_parent_with_more_than_a_page_of_children_is_read_to_its_end() {
    let counts = [("contacts", 3), ("notes", 900)].map(|(name, count)| (name.to_owned(), count)).into();
    let stage = Stage::with(Config { counts, ..Config::default() }).await;
    let _worker = stage.worker().await;
    let names = json!(["contacts", "notes"]);
    let event = stage.complete(json!({ "mode": "full", "resources": names })).await;
    assert_eq!(event.resource("notes")["verified"], true, "{}", event.body);
    assert_eq!((event.count("notes", "listed"), event.count("notes", "created")), (900, 900), "{}", event.body);
    stage.database.assert_table_equals(&stage.simulator, "notes").await;
    assert_parents(&stage, "notes").await;
    // And one goes that stood on a second page.
    let gone = stage.simulator.truth("notes").last().unwrap().id;
    assert!(stage.simulator.delete_record("notes", gone));
    let event = stage.complete(json!({ "mode": "full", "resources": names })).await;
    assert_eq!((event.count("notes", "listed"), event.count("notes", "deleted")), (899, 1), "{}", event.body);
    stage.database.assert_table_equals(&stage.simulator, "notes").await;
}

#[tokio::test]
async fn a_child_that_moves_to_another_parent_is_not_taken_for_gone() {
    let stage = Stage::with(Config { projects_v2: true, ..Config::scaled(20) }).await;
    let _worker = stage.worker().await;
    let named = ["projects-v2/projects", "projects-v2/projectLines"];
    stage.complete(json!({ "mode": "full", "resources": named })).await;
    let lines = stage.database.rows("projects-v2/projectLines").await;
    assert!(lines > 0);
    // As if each had belonged to another project when it was read last.
    let moved = "update teamleader.projects_v2_project_lines l set parent_id = (
             select p.id from teamleader.projects_v2_projects p where p.id <> l.parent_id order by p.id limit 1)";
    assert_eq!(stage.database.execute(moved).await, lines as u64);
    stage.complete(json!({ "mode": "full", "resources": named })).await;
    stage.database.assert_table_equals(&stage.simulator, "projects-v2/projectLines").await;
    assert_parents(&stage, "projects-v2/projectLines").await;
}

#[tokio::test]
async fn an_incremental_run_may_read_a_window_of_dates_once_all_was_read() {
    let mut stage = Stage::small().await;
    stage.set("INCREMENTAL_WINDOW", "60d");
    let _worker = stage.worker().await;
    let windowed = ["events", "meetings", "calls", "tasks", "timeTracking"];
    let event = stage.complete(json!({ "resources": windowed })).await;
    for resource in windowed {
        assert_eq!(event.resource(resource)["verified"], true, "{resource} was read completely");
        stage.database.assert_table_equals(&stage.simulator, resource).await;
    }
    let event = stage.complete(json!({ "resources": windowed })).await;
    for resource in windowed {
        let report = event.resource(resource);
        assert_eq!((&report["status"], &report["verified"]), (&json!("completed"), &json!(false)), "{resource}");
        assert!(event.count(resource, "listed") <= stage.simulator.count(resource) as i64, "{resource}");
        stage.database.assert_table_equals(&stage.simulator, resource).await;
    }
    for resource in windowed {
        stage.simulator.update(resource, 3);
        stage.simulator.add(resource, 2);
    }
    let event = stage.complete(json!({ "mode": "full", "resources": windowed, "refetch": true })).await;
    for resource in windowed {
        assert_eq!(event.resource(resource)["verified"], true, "{resource}");
    }
}

#[tokio::test]
async fn a_list_that_pages_although_no_document_says_so_is_read_to_its_end() {
    let paged = BTreeSet::from(["products".to_owned()]);
    let counts = [("products".to_owned(), 250)].into();
    let stage = Stage::with(Config { paged, counts, ..Config::default() }).await;
    let _worker = stage.worker().await;
    let event = stage.complete(json!({ "mode": "full", "resources": ["products"] })).await;
    assert_eq!(event.count("products", "listed"), 250);
    assert_eq!(event.resource("products")["verified"], true);
    stage.database.assert_table_equals(&stage.simulator, "products").await;
}

#[tokio::test]
async fn fields_that_vanish_or_change_type_are_told_and_stored_all_the_same() {
    let mut stage = Stage::small().await;
    let url = proxy(stage.simulator.url(), |endpoint, _, answer| match endpoint {
        "companies.list" => {
            altered(&answer, &[("\"vat_number\":", "\"vat\":"), ("\"name\":", "\"name\":7,\"title\":")])
        }
        "users.info" => altered(&answer, &[("\"time_zone\":", "\"zone\":")]),
        _ => answer,
    });
    stage.set("TEAMLEADER_API_URI", &url.await);
    let worker = stage.worker().await;
    let event = stage.complete(json!({ "mode": "full" })).await;
    assert_eq!(
        event.resource("companies")["drift"],
        json!([NO_TEXT, "name is a number, not text", "vat_number is missing"])
    );
    assert_eq!(event.resource("users")["drift"], json!([NO_TEXT, "time_zone is missing"]));
    assert_eq!(event.resource("contacts")["drift"], json!([NO_TEXT]));
    let stored: i64 = stage.database.value("select count(*) from teamleader.companies").await;
    assert_eq!(stored, stage.simulator.count("companies") as i64);
    // The next run meets it again: its event says so, and nothing is counted twice.
    let event = stage.complete(json!({ "mode": "full", "resources": ["companies"] })).await;
    assert_eq!(event.resource("companies")["drift"].as_array().map(Vec::len), Some(3));
    let (_, metrics) = worker.get("/metrics").await;
    assert!(metrics.contains("teamleader2db_drift_total{account=\"acme\",resource=\"companies\"} 3"), "{metrics}");
}

#[tokio::test]
async fn an_include_that_was_asked_for_and_does_not_come_is_drift() {
    let mut stage = Stage::small().await;
    let url = proxy(stage.simulator.url(), |endpoint, _, answer| match endpoint {
        "contacts.list" => altered(&answer, &[("\"custom_fields\":", "\"fields\":")]),
        "invoices.list" => altered(
            &answer,
            &[("\"fixed_late_fee\":", "\"a\":"), ("\"due_incasso_inclusive\":", "\"b\":"), ("\"interest\":", "\"c\":")],
        ),
        _ => answer,
    });
    stage.set("TEAMLEADER_API_URI", &url.await);
    let _worker = stage.worker().await;
    let event = stage.complete(json!({})).await;
    for (resource, include) in [("contacts", "custom_fields"), ("invoices", "late_fees")] {
        let report = event.resource(resource);
        let said = format!("{include} did not come, although it was asked for");
        assert!(report["drift"].as_array().unwrap().contains(&json!(said)), "{report}");
        assert_eq!(report["verified"], true, "{report}");
    }
}

#[tokio::test]
async fn details_that_no_list_vouches_for_are_fetched_again_when_old() {
    let mut stage = Stage::small().await;
    stage.set("DETAIL_MAX_AGE", "3d");
    let worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let old =
        "update teamleader.record set detail_at = now() - interval '4 days', listed_at = now() - interval '5 days'
        where resource in ('users', 'contacts')";
    assert!(stage.database.execute(old).await > 0);
    let hidden = stage.simulator.change("users", ChangeKind::UpdateInfo, 2);
    assert_eq!(hidden.len(), 2);
    stage.simulator.reset_counters();
    let event = stage.complete(json!({})).await;
    assert_eq!(stage.asked("users.info"), stage.simulator.count("users") as u64, "{}", event.body);
    assert_eq!(stage.asked("contacts.info"), 0, "their list vouches for them");
    stage.database.assert_table_equals(&stage.simulator, "users").await;
    drop(worker);
}

/// An answer in which texts were replaced. Not its JSON: what half a surrogate pair stands in, `Value` refuses.
fn altered(answer: &Bytes, replaced: &[(&str, &str)]) -> Bytes {
    let text = std::str::from_utf8(answer).unwrap().to_owned();
    replaced.iter().fold(text, |text, (from, to)| text.replace(from, to)).into()
}

#[tokio::test]
async fn one_parent_whose_list_is_refused_does_not_hide_those_after_it() {
    for status in [StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN] {
        let mut stage = Stage::small().await;
        // Those of a kind are asked for in the order of their ids.
        let mut contacts: Vec<Uuid> = stage.simulator.truth("contacts").iter().map(|record| record.id).collect();
        contacts.sort_unstable();
        let bad = contacts[3];
        let refuses = Arc::new(AtomicBool::new(true));
        let on = Arc::clone(&refuses);
        let url = proxy_of_answers(stage.simulator.url(), move |endpoint, asked, answer| {
            let names = String::from_utf8_lossy(&asked.body).contains(&bad.to_string());
            if endpoint == "notes.list" && names && on.load(Ordering::Relaxed) {
                *answer.status_mut() = status;
                *answer.body_mut() = Bytes::from_static(br#"{"errors":[{"title":"no","status":400}]}"#);
            }
        })
        .await;
        stage.set("TEAMLEADER_API_URI", &url);
        let _worker = stage.worker().await;
        let id = stage.request(json!({ "mode": "full", "resources": ["contacts", "notes"] })).await;
        let event = stage.final_event(id).await;
        let report = event.resource("notes");
        assert_eq!((&report["status"], &report["verified"]), (&json!("failed"), &json!(false)), "{}", event.body);
        let notes = stage.simulator.truth("notes");
        let of_others =
            notes.iter().filter(|note| note.parent.as_ref().is_some_and(|p| p.0 == "contact" && p.1 != bad));
        let read: i64 = stage.database.value("select count(*) from teamleader.notes").await;
        assert_eq!(read, of_others.count() as i64, "those of all others are there");
        let moved = "select count(*) from teamleader2db.cursor where resource = 'notes' and watermark is not null";
        assert_eq!(stage.database.value::<i64>(moved).await, 0, "nobody has read those of that contact");

        refuses.store(false, Ordering::Relaxed);
        stage.complete(json!({ "resources": ["notes"] })).await;
        let of_contacts = notes.iter().filter(|note| note.parent.as_ref().is_some_and(|parent| parent.0 == "contact"));
        let read: i64 = stage.database.value("select count(*) from teamleader.notes").await;
        assert_eq!(read, of_contacts.count() as i64);
    }
}

#[tokio::test]
async fn one_parent_whose_list_is_not_in_order_does_not_hold_up_the_others() {
    let mut stage = Stage::small().await;
    let bad = stage.simulator.truth("contacts")[3].id;
    let named = bad.to_string();
    // A full page of which nothing can be read.
    let garbage = format!("{{\"data\":[{}]}}", vec!["7"; 100].join(","));
    let url = proxy(stage.simulator.url(), move |endpoint, asked, answer| match endpoint {
        "notes.list" if String::from_utf8_lossy(asked).contains(&named) => Bytes::from(garbage.clone()),
        _ => answer,
    });
    stage.set("TEAMLEADER_API_URI", &url.await);
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full", "resources": ["contacts", "notes"] })).await;
    let event = stage.final_event(id).await;
    let report = event.resource("notes");
    assert!(report["error"].as_str().unwrap().contains("not every partition could be read"), "{report}");
    let notes = stage.simulator.truth("notes");
    let of_others = notes.iter().filter(|note| note.parent.as_ref().is_some_and(|p| p.0 == "contact" && p.1 != bad));
    let read: i64 = stage.database.value("select count(*) from teamleader.notes").await;
    assert_eq!(read, of_others.count() as i64, "those of all others are there");
}

#[tokio::test]
async fn what_expenses_name_is_not_proven_where_expenses_are_not() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let both = json!({ "mode": "full", "resources": ["expenses", "incomingInvoices"] });
    stage.simulator.inject(Fault::new(FaultKind::Date { seconds: 86_400 }).at("expenses.list"));
    let event = stage.complete(both.clone()).await;
    assert_eq!(event.resource("expenses")["verified"], false, "{}", event.body);
    assert_eq!(event.resource("incomingInvoices")["verified"], false, "{}", event.body);
    stage.simulator.clear_faults();
    let event = stage.complete(both).await;
    assert_eq!(event.resource("incomingInvoices")["verified"], true, "{}", event.body);
}
