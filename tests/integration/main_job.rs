//! The main job: a request goes in, the account is copied, events come out.

use chrono::DateTime;
use lapin::BasicProperties;
use serde_json::json;
use uuid::Uuid;

use crate::stage::{ACCOUNT, DETAILED, Event, RESOURCES, Stage};

#[tokio::test]
async fn a_full_request_copies_the_whole_account() {
    let stage = Stage::of(120).await;
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;

    let event = stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    for resource in RESOURCES {
        let records = stage.simulator.count(resource) as i64;
        let told = event.resource(resource);
        assert_eq!(told["status"], "completed", "{told}");
        assert_eq!(told["error"], json!(null), "{told}");
        assert_eq!(told["verified"], true, "{resource}: {told}");
        // Of these lists one alone gives the number, though no document says so.
        let matches = if resource == "companies" { json!(records) } else { json!(null) };
        assert_eq!(told["matches"], matches, "{resource}: {told}");
        let counted =
            ["listed", "created", "updated", "unchanged", "deleted"].map(|count| event.count(resource, count));
        assert_eq!(counted, [records, records, 0, 0, 0], "{resource}: {told}");
        let detailed = if DETAILED.contains(&resource) { records } else { 0 };
        assert_eq!(event.count(resource, "detailed"), detailed, "{resource}: {told}");
    }
    assert_eq!(stage.database.run_status(id).await.as_deref(), Some("completed"));
    let counters = stage.simulator.counters();
    let api = counters.total() - counters.requests["oauth2/access_token"];
    assert_eq!(event.body["data"]["api_requests"], api, "the event tells each request to the API: {counters:?}");
    assert_eq!(counters.rate_limited, 0);
}

#[tokio::test]
async fn a_run_tells_its_begin_and_its_end_as_cloud_events() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let (reply_queue, replies) = stage.broker.reply_queue().await;
    let properties =
        BasicProperties::default().with_reply_to(reply_queue.as_str().into()).with_correlation_id("dag-7".into());
    let id = Uuid::new_v4();
    stage.request_again(id, json!({ "mode": "full", "resources": ["contacts", "users"] }), properties).await;

    let completed = stage.completed(id).await;
    let reply = replies.first("the reply has come", Event::is_final).await;
    let started = stage.events_of_kind("sync.started").pop().expect("a started event");
    for (event, key) in [
        (&started, format!("sync.{ACCOUNT}.started")),
        (&completed, format!("sync.{ACCOUNT}.completed")),
        (&reply, reply_queue),
    ] {
        assert_eq!(event.routing_key, key);
        assert_is_cloud_event(event, id, "dag-7");
    }
    assert_eq!(reply.body, completed.body, "the reply is the same event");
    assert_ne!(started.id(), completed.id());
    assert_eq!(stage.final_events(id).len(), 1);
    assert_eq!(replies.all().len(), 1, "the reply queue gets the final event only");

    let data = &completed.body["data"];
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let run_keys =
        ["account", "api_requests", "error", "finished_at", "mode", "request_id", "resources", "started_at", "status"];
    assert_eq!(keys(data), run_keys);
    assert_eq!(keys(&data["resources"]), ["contacts", "users"], "only what was asked for");
    let resource_keys = [
        "created",
        "deleted",
        "detailed",
        "drift",
        "error",
        "listed",
        "matches",
        "rejected",
        "status",
        "unchanged",
        "updated",
        "verified",
    ];
    assert_eq!(keys(completed.resource("users")), resource_keys);
    assert_eq!(data["request_id"], id.to_string());
    assert_eq!(data["account"], ACCOUNT);
    assert_eq!((&data["mode"], &data["status"]), (&json!("full"), &json!("completed")));
    assert_eq!(data["error"], json!(null));
    let at = |key: &str| DateTime::parse_from_rfc3339(data[key].as_str().unwrap()).unwrap();
    assert!(at("started_at") <= at("finished_at"), "{data}");
    assert_eq!(started.body["data"]["status"], "running");
    assert_eq!(stage.database.rows("companies").await, 0, "nobody asked for companies");
    let unsent: i64 =
        stage.database.value("select count(*) from teamleader2db.event_outbox where sent_at is null").await;
    assert_eq!(unsent, 0);
}

fn assert_is_cloud_event(event: &Event, subject: Uuid, correlation: &str) {
    let body = &event.body;
    assert_eq!(body["specversion"], "1.0");
    assert_eq!(body["source"], format!("/teamleader2db/{ACCOUNT}"));
    assert_eq!(event.subject(), subject.to_string());
    assert_eq!(body["datacontenttype"], "application/json");
    assert!(DateTime::parse_from_rfc3339(body["time"].as_str().unwrap()).is_ok(), "{body}");
    assert!(event.id().parse::<Uuid>().is_ok(), "{body}");
    let properties = &event.properties;
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string);
    assert_eq!(text(properties.message_id()).as_deref(), Some(event.id()));
    assert_eq!(text(properties.correlation_id()).as_deref(), Some(correlation));
    assert_eq!(text(properties.content_type()).as_deref(), Some("application/cloudevents+json"));
    assert_eq!(properties.delivery_mode(), &Some(2), "events are persistent");
}
