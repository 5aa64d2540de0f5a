//! Where the API ends: its version, what stands before it, and answers in other words than the documented ones.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;
use teamleader_simulator::{Fault, FaultKind};
use uuid::Uuid;

use crate::stage::{RESOURCES, Stage, proxy, proxy_of_answers, until, with_records};

const VERSION: &str = "x-api-version";

/// The drift of a resource, in one text.
fn drift(event: &crate::stage::Event, resource: &str) -> String {
    event.resource(resource)["drift"].to_string()
}

#[tokio::test]
async fn every_request_asks_for_the_version_and_an_answer_of_another_is_drift() {
    let mut stage = Stage::small().await;
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    let seen: Arc<Mutex<BTreeMap<String, Option<String>>>> = Arc::default();
    let asked = Arc::clone(&seen);
    let url = proxy_of_answers(stage.simulator.url(), move |endpoint, request, answer| {
        let version = request.headers.get(VERSION).map(|version| version.to_str().unwrap().to_owned());
        asked.lock().unwrap().insert(endpoint.to_owned(), version);
        match endpoint {
            "contacts.list" | "companies.info" | "users.me" => {
                _ = answer.headers_mut().insert(VERSION, HeaderValue::from_static("2021-09-01"));
            }
            "events.list" => _ = answer.headers_mut().remove(VERSION),
            _ => {}
        }
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    let event = stage.complete(json!({ "mode": "full" })).await;
    let said = "answered as version 2021-09-01, although 2023-09-26 was asked for";
    for resource in RESOURCES {
        let differs = ["contacts", "companies"].contains(&resource);
        assert_eq!(drift(&event, resource).contains(said), differs, "{resource}: {}", drift(&event, resource));
        assert!(!drift(&event, resource).contains("version") || differs, "{resource}");
    }
    let doctor = stage.run(&["doctor"]).await;
    assert!(doctor.code == 1 && doctor.out.contains(&format!("users.me {said}")), "{doctor:?}");
    for (endpoint, version) in seen.lock().unwrap().iter().filter(|(endpoint, _)| !endpoint.is_empty()) {
        assert_eq!(version.as_deref(), Some("2023-09-26"), "{endpoint}");
    }
    assert!(seen.lock().unwrap().contains_key("users.me"));

    stage.set("TEAMLEADER_API_VERSION", "2021-09-01");
    let doctor = stage.run(&["doctor"]).await;
    assert!(doctor.code == 0 && doctor.out.contains("is asked for version 2021-09-01"), "{doctor:?}");
}

#[tokio::test]
async fn a_404_of_what_stands_before_the_api_deletes_nothing() {
    let mut stage = Stage::small().await;
    let of_the_edge = Arc::new(AtomicBool::new(true));
    let is_edge = Arc::clone(&of_the_edge);
    let url = proxy_of_answers(stage.simulator.url(), move |endpoint, _, answer| {
        if endpoint == "projects.info" && answer.status() == StatusCode::NOT_FOUND {
            match is_edge.load(Ordering::Relaxed) {
                true => _ = answer.headers_mut().remove(VERSION),
                false => *answer.body_mut() = Bytes::from_static(br#"{"errors":[{"key":"not_found","status":404}]}"#),
            }
        }
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    // Projects have no filter for ids: .info says what is gone.
    let gone = stage.simulator.delete("projects", 1);
    let id = stage.request(json!({ "mode": "full", "resources": ["projects", "users"] })).await;
    let event = stage.final_event(id).await;
    let report = event.resource("projects");
    assert_eq!((event.kind(), &report["rejected"]), ("sync.partial", &json!(1)), "{}", event.body);
    let reason: String = stage.database.value("select reason from teamleader2db.rejected_record").await;
    assert!(reason.contains("without X-Api-Version"), "{reason}");
    assert!(stage.database.deleted("projects").await.is_empty());

    // Said by the API itself, in whatever words.
    of_the_edge.store(false, Ordering::Relaxed);
    stage.complete(json!({ "mode": "full", "resources": ["projects", "users"] })).await;
    assert_eq!(stage.database.deleted("projects").await, gone.into_iter().collect());
}

#[tokio::test]
async fn a_dead_refresh_token_in_other_words_asks_for_an_authorization() {
    let bare = r#"{"error":"invalid_grant","error_description":"The refresh token is invalid.","hint":"Token has been revoked"}"#;
    let code_8 = r#"{"errors":[{"code":8,"title":"The refresh token is invalid.","status":401,"meta":{"type":"invalid_request"}}]}"#;
    for (status, body, reason) in [
        (StatusCode::BAD_REQUEST, bare, "invalid_grant"),
        (StatusCode::UNAUTHORIZED, code_8, "The refresh token is invalid"),
    ] {
        let mut stage = Stage::small().await;
        let refuses = Arc::new(AtomicBool::new(false));
        let is_refused = Arc::clone(&refuses);
        let url = proxy_of_answers(stage.simulator.url(), move |endpoint, _, answer| {
            if endpoint == "oauth2/access_token" && is_refused.load(Ordering::Relaxed) {
                *answer.status_mut() = status;
                *answer.body_mut() = Bytes::from_static(body.as_bytes());
            }
        })
        .await;
        stage.set("TEAMLEADER_AUTH_URI", &url);
        let _worker = stage.worker().await;
        stage.complete(json!({ "resources": ["users"] })).await;
        refuses.store(true, Ordering::Relaxed);
        stage.simulator.expire_access_tokens();
        stage.request(json!({ "resources": ["users"] })).await;
        let event = until("a person is asked to authorize", async || {
            stage.events_of_kind("authorization.required").into_iter().next()
        })
        .await;
        assert!(event.body["data"]["reason"].as_str().unwrap().contains(reason), "{}", event.body);
        let state: String = stage.database.value("select state from teamleader2db.oauth_token").await;
        assert_eq!(state, "reauthorization_required");
    }
}

/// Puts a page of a proxy in the place of an answer.
fn replace_by_page(answer: &mut Response<Bytes>) {
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    *answer.body_mut() = Bytes::from_static(b"<!doctype html><title>We will be right back</title>");
}

#[tokio::test]
async fn pages_of_a_proxy_in_the_place_of_answers_are_an_outage_that_is_waited_for() {
    let mut stage = Stage::small().await;
    let is_closed = Arc::new(AtomicBool::new(true));
    let closed = Arc::clone(&is_closed);
    // users.me answers as ever.
    let url = proxy_of_answers(stage.simulator.url(), move |endpoint, _, answer| {
        let is_data = endpoint.ends_with(".list") || endpoint.ends_with(".info");
        if is_data && closed.load(Ordering::Relaxed) {
            replace_by_page(answer);
        }
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.broker.await_ready(&stage.broker.delay_queue(10), 1).await;
    assert_eq!(stage.database.run_status(id).await.as_deref(), Some("running"));
    is_closed.store(false, Ordering::Relaxed);
    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn a_page_in_the_place_of_one_list_fails_its_resource_alone() {
    let mut stage = Stage::small().await;
    let url = proxy_of_answers(stage.simulator.url(), |endpoint, _, answer| {
        if endpoint == "users.list" {
            replace_by_page(answer);
        }
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    let event = stage.final_event(id).await;
    assert_eq!(event.kind(), "sync.partial", "{}", event.body);
    let report = event.resource("users");
    assert!(report["error"].as_str().unwrap().contains("text/html and no JSON"), "{report}");
    for resource in RESOURCES.iter().filter(|resource| **resource != "users") {
        assert_eq!(event.resource(resource)["status"], "completed", "{resource}");
    }
}

#[tokio::test]
async fn an_include_that_came_with_no_record_of_a_list_is_drift_and_one_that_came_with_some_is_none() {
    let mut stage = Stage::of(250).await;
    let with: Uuid = stage.simulator.truth("contacts")[3].id;
    let url = proxy(stage.simulator.url(), move |endpoint, _, body| {
        if !["contacts.list", "companies.list"].contains(&endpoint) {
            return body;
        }
        with_records(&body, |record| {
            if record["id"].get() != format!("\"{with}\"") {
                record.remove("custom_fields");
            }
        })
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    let event = stage.complete(json!({ "mode": "full" })).await;
    let said = "custom_fields did not come, although it was asked for";
    assert!(drift(&event, "companies").contains(said), "{}", event.body);
    for resource in ["contacts", "companies"] {
        assert_eq!(event.resource(resource)["verified"], true, "{}", event.body);
        assert!(!drift(&event, resource).contains("custom_fields is missing"), "{}", event.body);
    }
    assert!(!drift(&event, "contacts").contains(said), "{}", event.body);
}

#[tokio::test]
async fn children_that_the_api_refuses_for_each_parent_are_skipped_and_fail_nothing() {
    let mut stage = Stage::small().await;
    stage.set("TEAMLEADER_RESOURCES", "users,users.daysOff");
    let _worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    // As where external days off are off.
    stage.simulator.inject(Fault::new(FaultKind::Forbidden).at("users.listDaysOff"));
    let event = stage.complete(json!({ "mode": "full" })).await;
    let report = event.resource("users.daysOff");
    assert_eq!(report["status"], "skipped", "{}", event.body);
    assert!(report["error"].as_str().unwrap().contains("403"), "{report}");
    assert_eq!(stage.asked("users.listDaysOff"), 1, "the first of a kind stands for all");

    // Who asks for them by name is not put off with a word.
    let id = stage.request(json!({ "resources": ["users.daysOff"] })).await;
    let event = stage.final_event(id).await;
    let report = event.resource("users.daysOff");
    assert_eq!((&report["status"], &report["cause"]), (&json!("failed"), &json!("forbidden")), "{}", event.body);
}

#[tokio::test]
async fn a_date_that_cannot_be_read_costs_the_proof_and_no_record() {
    let mut stage = Stage::of(60).await;
    let garbled = Arc::new(AtomicBool::new(true));
    let is_garbled = Arc::clone(&garbled);
    let url = proxy_of_answers(stage.simulator.url(), move |endpoint, _, answer| {
        if endpoint == "contacts.list" && is_garbled.load(Ordering::Relaxed) {
            answer.headers_mut().insert(header::DATE, HeaderValue::from_static("soon"));
        }
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    let watermarks = "select count(*) from teamleader2db.cursor where resource = 'contacts' and watermark is not null";
    for is_read in [false, true] {
        garbled.store(!is_read, Ordering::Relaxed);
        let event = stage.complete(json!({ "mode": "full" })).await;
        assert_eq!(event.resource("contacts")["verified"], is_read, "{}", event.body);
        assert_eq!(drift(&event, "contacts").contains("no Date that can be read"), !is_read, "{}", event.body);
        assert_eq!(stage.database.value::<i64>(watermarks).await, i64::from(is_read));
        stage.assert_copy_is_equal().await;
    }
}
