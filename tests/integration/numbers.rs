//! Numbers, times and sizes that the API should never send: what cannot be is refused, reported, and costs nothing
//! else.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use serde_json::{Value, json};
use teamleader_simulator::{Fault, FaultKind};
use uuid::Uuid;

use crate::stage::{Event, RESOURCES, Stage, proxy, until};

/// The drift of a resource, in one text.
fn drift(event: &Event, resource: &str) -> String {
    event.resource(resource)["drift"].to_string()
}

#[tokio::test]
async fn a_number_of_matches_that_cannot_be_is_reported_and_ends_no_worker() {
    let mut stage = Stage::small().await;
    let numbers = ["9223372036854775807", "1000000000000000000", "-9223372036854775808", "1e400", "[]"];
    let asked = AtomicU64::new(0);
    let url = proxy(stage.simulator.url(), move |endpoint, _, body| {
        let text = String::from_utf8(body.to_vec()).unwrap();
        let Some((before, after)) = text.split_once("\"matches\":").filter(|_| endpoint.ends_with(".list")) else {
            return text.into();
        };
        let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = numbers[asked.fetch_add(1, Ordering::Relaxed) as usize % numbers.len()];
        format!("{before}\"matches\":{number}{rest}").into()
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let mut worker = stage.worker().await;
    // Long enough to be foretold while it runs.
    stage.slow_down("contacts.info", 3_000);
    let id = stage.request(json!({ "mode": "full" })).await;
    until("the run is foretold", async || {
        let events = stage.events_of_kind("sync.progress");
        events.iter().any(|event| event.body["data"]["forecast"].is_object()).then_some(())
    })
    .await;
    assert_eq!(worker.get("/dashboard").await.0, 200);
    let event = stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    assert!(drift(&event, "companies").contains("meta.matches is no plausible number"), "{}", event.body);
    assert_eq!(event.resource("companies")["matches"], Value::Null);
    assert!(worker.ended().is_none() && !worker.log().contains("panicked"));
    // So does a sample, which draws its pages among them.
    stage.simulator.clear_faults();
    stage.complete(json!({ "mode": "audit", "sample": 250 })).await;
}

#[tokio::test]
async fn a_list_that_never_ends_fails_and_the_others_are_read() {
    let mut stage = Stage::small().await;
    let url = proxy(stage.simulator.url(), move |endpoint, request, body| {
        if endpoint != "events.list" {
            return body;
        }
        let mut answer: Value = serde_json::from_slice(&body).unwrap();
        let number = serde_json::from_slice::<Value>(request).unwrap()["page"]["number"].as_u64().unwrap();
        let id = |n| Uuid::from_u128(u128::from(number) << 64 | n).to_string();
        let record = |n| json!({ "id": id(n), "title": "the same" });
        answer["data"] = (0..100).map(record).collect();
        answer["meta"] = json!({ "matches": 8 });
        Bytes::from(answer.to_string())
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    let event = stage.final_event(id).await;
    assert_eq!(event.kind(), "sync.partial", "{}", event.body);
    let report = event.resource("events");
    assert_eq!((&report["status"], &report["verified"]), (&json!("failed"), &json!(false)), "{report}");
    assert!(report["error"].as_str().unwrap().contains("did not end within"), "{report}");
    for resource in RESOURCES.iter().filter(|resource| **resource != "events") {
        assert_eq!(event.resource(resource)["status"], "completed", "{resource}");
        stage.database.assert_table_equals(&stage.simulator, resource).await;
    }
    let asked = stage.asked("events.list");
    assert!((202..300).contains(&asked), "{asked} pages were asked for");
}

#[tokio::test]
async fn a_number_that_the_database_refuses_is_stored_as_a_text_and_its_record_is_named() {
    let mut stage = Stage::of(60).await;
    let id = stage.simulator.truth("contacts")[7].id;
    let digits = "1234567890123456789012345678901234567890";
    let old = format!("\"id\":\"{id}\"");
    // The longest numbers that are stored as such, besides: PostgreSQL has to take them.
    let longest = format!("[1e999,1e-1000,{},0.{}]", "9".repeat(1_000), "9".repeat(1_000));
    let new = format!("\"x\":1e200000,\"y\":-1E131072,\"digits\":{digits},\"longest\":{longest},{old}");
    let url = proxy(stage.simulator.url(), move |endpoint, _, body| {
        let text = String::from_utf8(body.to_vec()).unwrap();
        if endpoint.starts_with("contacts.") { text.replacen(&old, &new, 1).into() } else { text.into() }
    })
    .await;
    stage.set("TEAMLEADER_API_URI", &url);
    let _worker = stage.worker().await;
    let event = stage.complete(json!({ "mode": "full" })).await;
    assert!(drift(&event, "contacts").contains(&format!("{id} holds a number")), "{}", event.body);
    assert_eq!(event.resource("contacts")["verified"], true);
    let row: String = sqlx::query_scalar(
        "select concat_ws(' ', content -> 'x', content -> 'y', content -> 'digits',
             jsonb_typeof(content #> '{longest,3}'))
         from teamleader.record where resource = 'contacts' and id = $1",
    )
    .bind(id)
    .fetch_one(&stage.database.pool)
    .await
    .unwrap();
    assert_eq!(row, format!("\"1e200000\" \"-1E131072\" {digits} number"));
    assert_eq!(stage.database.rows("contacts").await, 60);
}

/// What the gauge of the API's clock says.
async fn skew(worker: &crate::stage::Worker) -> f64 {
    let (_, metrics) = worker.get("/metrics").await;
    let line =
        metrics.lines().find_map(|line| line.strip_prefix("teamleader2db_api_clock_skew_seconds{account=\"acme\"} "));
    line.expect("the gauge").parse().unwrap()
}

#[tokio::test]
async fn no_change_is_missed_while_the_date_of_the_api_is_wrong() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let watermark = "select watermark from teamleader2db.cursor where resource = 'contacts'";
    for seconds in [600, 86_400, -86_400] {
        let before: chrono::DateTime<chrono::Utc> = stage.database.value(watermark).await;
        stage.simulator.inject(Fault::new(FaultKind::Date { seconds }));
        stage.simulator.update("contacts", 5);
        let event = stage.complete(json!({ "resources": ["contacts"] })).await;
        assert_eq!(event.resource("contacts")["verified"], false, "{}", event.body);
        assert!(drift(&event, "contacts").contains("the Date of an answer is"), "{}", event.body);
        assert!((skew(&worker).await - seconds as f64).abs() < 30.0);
        let after: chrono::DateTime<chrono::Utc> = stage.database.value(watermark).await;
        assert_eq!(before, after, "no watermark comes from it");
        stage.simulator.clear_faults();
        stage.simulator.update("contacts", 10);
        let event = stage.complete(json!({ "resources": ["contacts"] })).await;
        assert_eq!(event.resource("contacts")["verified"], true, "{}", event.body);
        stage.database.assert_table_equals(&stage.simulator, "contacts").await;
        assert!(skew(&worker).await.abs() < 30.0);
    }
}

#[tokio::test]
async fn one_date_of_another_century_sets_no_watermark() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.simulator.inject(Fault::new(FaultKind::Date { seconds: 73 * 365 * 86_400 }).at("contacts.list").times(1));
    let event = stage.complete(json!({ "mode": "full" })).await;
    let verified = |resource| event.resource(resource)["verified"].clone();
    assert_eq!((verified("contacts"), verified("companies")), (json!(false), json!(true)), "{}", event.body);
    stage.simulator.update("contacts", 15);
    stage.complete(json!({})).await;
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn a_watermark_in_the_future_is_reported_and_set_back() {
    let mut stage = Stage::small().await;
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    for mode in ["incremental", "full"] {
        let ahead =
            "update teamleader2db.cursor set watermark = now() + interval '70 years' where resource = 'contacts'";
        stage.database.execute(ahead).await;
        let ended = stage.run(&["doctor"]).await;
        assert!(ended.code == 1 && ended.out.contains("the watermark of contacts lies in the future"), "{ended:?}");
        stage.simulator.update("contacts", 15);
        stage.complete(json!({ "mode": mode })).await;
        stage.assert_copy_is_equal().await;
        let ahead: bool = stage
            .database
            .value("select watermark > now() from teamleader2db.cursor where resource = 'contacts'")
            .await;
        assert!(!ahead, "a complete pass has set it back");
        assert_eq!(stage.run(&["doctor"]).await.code, 0);
        stage.simulator.update("contacts", 3);
        stage.complete(json!({})).await;
        stage.assert_copy_is_equal().await;
    }
}

#[tokio::test]
async fn answers_in_gzip_are_read_whether_they_were_asked_for_or_not() {
    for asked in [true, false] {
        let stage = Stage::of(120).await;
        match asked {
            true => stage.simulator.set_compression(true),
            false => stage.simulator.inject(Fault::new(FaultKind::Gzip)),
        }
        let _worker = stage.worker().await;
        stage.complete(json!({ "mode": "full" })).await;
        stage.assert_copy_is_equal().await;
        assert!(stage.simulator.counters().refreshes > 0, "the token came in gzip as well");
    }
}

#[tokio::test]
async fn an_answer_that_is_small_only_while_it_is_compressed_is_refused() {
    let stage = Stage::small().await;
    stage.simulator.inject(Fault::new(FaultKind::GzipBomb { bytes: 512 << 20 }).at("contacts.list"));
    let worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    let event = stage.final_event(id).await;
    assert_eq!(event.kind(), "sync.partial", "{}", event.body);
    let report = event.resource("contacts");
    assert!(report["error"].as_str().unwrap().contains("longer than 33554432 bytes"), "{report}");
    assert_eq!(event.resource("companies")["status"], "completed");
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 256 << 10, "{peak} KiB of memory were taken");
}

#[tokio::test]
async fn requests_of_a_commit_that_does_not_come_about_are_counted_when_the_run_is_handed_back() {
    let stage = Stage::of(1_000).await;
    let _worker = stage.worker().await;
    // Pages of contacts are read and not committed; events are read twice, which is not done when the account loses its
    // authorization.
    let mut hold = stage.database.hold_before("update on teamleader2db.sync_step", "new.resource = 'contacts'").await;
    stage.slow_down("events.list", 2_000);
    let id = stage.request(json!({ "mode": "full", "resources": ["contacts", "events"] })).await;
    hold.reached().await;
    stage.simulator.revoke_refresh_tokens();
    stage.simulator.expire_access_tokens();
    until("the request is handed back", async || (stage.database.run_slice(id).await == 1).then_some(())).await;
    let counted: i64 = sqlx::query_scalar("select api_requests from teamleader2db.sync_run where id = $1")
        .bind(id)
        .fetch_one(&stage.database.pool)
        .await
        .unwrap();
    let counters = stage.simulator.counters();
    let made = counters.total() - counters.requests["oauth2/access_token"];
    assert_eq!(counted as u64, made, "{counters:?}");
    hold.forget(&stage.database).await;
}
