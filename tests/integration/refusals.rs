//! Requests that cannot be processed: kept in the dead letter queue with the reason, told to the sender, and in nobody's way.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;
use uuid::Uuid;

use crate::stage::{Event, Stage, until};

/// The header that says why a message is among the dead letters.
pub fn reason(dead: &Delivery) -> String {
    let headers = dead.properties.headers().as_ref().expect("headers");
    match headers.inner().get("x-reason") {
        Some(AMQPValue::LongString(reason)) => String::from_utf8_lossy(reason.as_bytes()).into_owned(),
        other => panic!("no x-reason but {other:?}"),
    }
}

#[tokio::test]
async fn an_unreadable_message_is_buried_told_and_in_nobodys_way() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let (queue, replies) = stage.broker.reply_queue().await;
    let properties = BasicProperties::default().with_reply_to(queue.as_str().into()).with_correlation_id("mine".into());
    stage.broker.publish(b"this is no JSON", properties.clone()).await;

    let dead = stage.broker.take(&stage.broker.dead_queue()).await;
    assert_eq!(dead.data, b"this is no JSON");
    assert!(reason(&dead).contains("not valid"), "{}", reason(&dead));
    assert_eq!(dead.properties.correlation_id(), properties.correlation_id());
    let told = replies.first("the sender is told", |_| true).await;
    assert_eq!(told.kind(), "sync.failed");
    assert_eq!(told.body["data"]["status"], "failed");
    assert!(told.body["data"]["error"].as_str().unwrap().contains("JSON object"), "{}", told.body);
    assert_eq!(told.properties.correlation_id(), properties.correlation_id());
    let published = stage.events_of_kind("sync.failed").pop().expect("the exchange gets it too");
    assert_eq!(published.body, told.body);

    // The same bytes again are the same event; other bytes are another.
    stage.broker.publish(b"this is no JSON", properties.clone()).await;
    stage.broker.publish(b"neither is this", properties).await;
    until("three replies have come", async || (replies.all().len() == 3).then_some(())).await;
    let ids: Vec<String> = replies.all().iter().map(|event| event.id().to_owned()).collect();
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
    assert_eq!(replies.all()[0].body, replies.all()[1].body, "one id has one time");

    stage.complete(json!({})).await;
    stage.assert_copy_is_equal().await;
    assert_eq!(stage.broker.ready(&stage.broker.requests_queue()).await, Some(0));
}

#[tokio::test]
async fn a_request_that_asks_for_what_there_is_not_is_refused_with_the_way_out() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let big = format!(r#"{{"resources":["{}"]}}"#, "x".repeat(64 * 1024));
    for (body, mend) in [
        (r#"{"resource":["contacts"]}"#, "unknown field `resource`"),
        (r#"{"resources":["contact"]}"#, "contacts"),
        (r#"{"resources":[]}"#, "leave the key out"),
        (r#"{"mode":"everything"}"#, "incremental"),
        ("[]", "JSON object"),
        ("", "JSON object"),
        (big.as_str(), "65536"),
    ] {
        let id = Uuid::new_v4();
        stage.broker.publish(body.as_bytes(), BasicProperties::default().with_message_id(id.to_string().into())).await;
        let event = stage.final_event(id).await;
        assert_eq!(event.kind(), "sync.failed", "{body}");
        let told = event.body["data"]["error"].as_str().unwrap();
        assert!(told.contains(mend), "{body}: {told}");
        let dead = stage.broker.take(&stage.broker.dead_queue()).await;
        // Of a larger one its beginning.
        assert_eq!(dead.data, body.as_bytes()[..body.len().min(64 * 1024)]);
        assert_eq!(reason(&dead), told);
    }
    let runs: i64 = stage.database.value("select count(*) from teamleader2db.sync_run").await;
    assert_eq!(runs, 0);
    stage.complete(json!({ "resources": ["users"] })).await;
}

#[tokio::test]
async fn a_used_id_with_other_parameters_is_a_conflict() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let first = stage.complete(json!({ "resources": ["users"] })).await;
    let id: Uuid = first.subject().parse().unwrap();
    let asked = stage.simulator.counters();

    stage.request_again(id, json!({ "resources": ["contacts"] }), BasicProperties::default()).await;
    let dead = stage.broker.take(&stage.broker.dead_queue()).await;
    assert!(reason(&dead).contains("other parameters"), "{}", reason(&dead));
    // As they came: the same event twice, too.
    let told = || stage.broker.events_that(|event| event.is_final() && event.subject() == first.subject());
    let refused = stage.events_of_kind("sync.failed").pop().expect("it was sent before the message was buried");
    assert_ne!(refused.subject(), first.subject(), "whoever waits for the run hears nothing");
    assert_eq!(refused.body["data"]["request_id"], refused.subject());
    assert_eq!(refused.properties.correlation_id().as_ref().unwrap().as_str(), id.to_string(), "the sender knows it");
    assert_eq!(stage.database.run_status(id).await.as_deref(), Some("completed"), "the run is as it was");
    assert_eq!(stage.simulator.counters(), asked, "nothing was asked of the API");

    // The same parameters in another order and with repetitions are no others.
    stage
        .request_again(
            id,
            json!({ "resources": ["users", "users"], "mode": "incremental" }),
            BasicProperties::default(),
        )
        .await;
    until("the run's event has come again", async || (told().len() == 2).then_some(())).await;
    assert_eq!(told().last().map(Event::id), Some(first.id()));
}

#[tokio::test]
async fn what_the_broker_gives_up_is_told_and_buried_but_no_run_that_ended_is_taken_back() {
    let stage = Stage::small().await;
    let mut worker = stage.worker().await;
    let done = stage.complete(json!({ "resources": ["users"] })).await;
    worker.terminate().await;
    // Nobody consumes: both expire in the queue.
    let (queue, replies) = stage.broker.reply_queue().await;
    let properties = BasicProperties::default().with_expiration("1".into()).with_reply_to(queue.as_str().into());
    let (id, again) = (Uuid::new_v4(), done.subject().parse().unwrap());
    stage.request_again(id, json!({ "resources": ["contacts"] }), properties.clone()).await;
    stage.request_again(again, json!({ "resources": ["users"] }), properties).await;
    stage.broker.await_ready(&format!("{}.undelivered", stage.broker.requests_queue()), 2).await;
    let asked = stage.simulator.counters();

    let _worker = stage.worker().await;
    let told = replies.first("the sender is told", |event| event.subject() == id.to_string()).await;
    assert_eq!(told.kind(), "sync.failed");
    let why = told.body["data"]["error"].as_str().unwrap();
    assert!(why.contains("it waited longer than its expiration"), "{why}");
    let same = replies.first("the end is told again", |event| event.subject() == done.subject()).await;
    assert_eq!(same.id(), done.id(), "the run that completed stays completed");
    for _ in 0..2 {
        assert!(reason(&stage.broker.take(&stage.broker.dead_queue()).await).contains("gave the request up"));
    }
    assert_eq!(stage.simulator.counters(), asked);
    stage.broker.await_ready(&format!("{}.undelivered", stage.broker.requests_queue()), 0).await;
}

#[tokio::test]
async fn what_the_broker_gives_up_in_the_midst_of_a_sync_is_told_and_ends_no_slice() {
    let mut stage = Stage::of(300).await;
    stage.set("SYNC_SLICE", "2s");
    stage.set("SYNC_CONCURRENCY", "8");
    stage.slow_down("contacts.info", 700);
    let (active, standby) = (stage.worker().await, stage.worker().await);
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.await_asked("contacts.info", 10).await;
    // The sync comes back at once, again and again: there is no pause in which nobody has a message in hand.
    let (queue, replies) = stage.broker.reply_queue().await;
    for _ in 0..3 {
        let properties = BasicProperties::default().with_expiration("1".into()).with_reply_to(queue.as_str().into());
        let expired = Uuid::new_v4();
        stage.request_again(expired, json!({ "resources": ["users"] }), properties).await;
        replies.first("the sender is told", |event| event.subject() == expired.to_string()).await;
    }
    assert!(stage.final_events(id).is_empty(), "the sync went on meanwhile");
    stage.completed(id).await;
    for worker in [active, standby] {
        assert!(!worker.log().contains("another worker has taken over"), "a standby fences nobody: {}", worker.log());
    }
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn a_request_that_a_hundred_wait_for_already_is_refused_to_the_next() {
    let mut stage = Stage::of(100).await;
    stage.set("SYNC_SLICE", "1s");
    let _worker = stage.worker().await;
    stage.slow_down("contacts.info", 300);
    // They join between its slices.
    let body = json!({ "resources": ["contacts"] });
    let id = stage.request(body.clone()).await;
    for n in 0..100 {
        let properties = BasicProperties::default().with_correlation_id(format!("waiter {n}").into());
        stage.request_again(id, body.clone(), properties).await;
    }
    let dead = stage.broker.take(&stage.broker.dead_queue()).await;
    assert!(reason(&dead).contains("100 others wait"), "{}", reason(&dead));
    // Nobody but the one who was turned away hears of it: it is not the end of the run.
    let event = stage.completed(id).await;
    assert!(stage.final_events(id).iter().all(|again| again.id() == event.id()));
}

#[tokio::test]
async fn a_message_whose_headers_leave_no_room_for_the_reason_is_buried_too() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let mut headers = FieldTable::default();
    // All properties of a message share one frame of 131,072 bytes.
    headers.insert("huge".into(), AMQPValue::LongString("x".repeat(130_900).into()));
    let properties = BasicProperties::default().with_headers(headers);
    for body in [b"no JSON".as_slice(), br#"{"resources":["users"]}"#] {
        stage.broker.publish(body, properties.clone()).await;
    }
    stage.complete(json!({ "resources": ["departments"] })).await;
    let dead = stage.broker.take(&stage.broker.dead_queue()).await;
    assert!(reason(&dead).contains("headers have 130"), "{}", reason(&dead));
    stage.broker.await_ready(&stage.broker.dead_queue(), 1).await;
    assert_eq!(stage.events_of_kind("sync.failed").len(), 2);
}

#[tokio::test]
async fn a_request_whose_run_has_begun_does_not_expire() {
    let mut stage = Stage::of(120).await;
    stage.slow_down("contacts.info", 100);
    let mut first = stage.worker().await;
    // What expires so soon is delivered only to one that waits for it.
    until("it consumes", async || first.log().contains("Waiting for requests").then_some(())).await;
    let id = Uuid::new_v4();
    let (queue, replies) = stage.broker.reply_queue().await;
    let reply_to = BasicProperties::default().with_reply_to(queue.as_str().into());
    stage.request_again(id, json!({ "mode": "full" }), reply_to.clone().with_expiration("1".into())).await;
    stage.await_asked("contacts.info", 10).await;
    // Back in the queue it expires at once.
    first.kill();
    stage.broker.await_ready(&format!("{}.undelivered", stage.broker.requests_queue()), 1).await;
    // Another message of that id that asks for something else has nothing to do with the run.
    stage.request_again(id, json!({ "mode": "incremental" }), reply_to.with_expiration("1".into())).await;
    stage.broker.await_ready(&format!("{}.undelivered", stage.broker.requests_queue()), 2).await;

    stage.set("SYNC_SLICE", "5s");
    let _second = stage.worker().await;
    let event = stage.final_event_of_kind(id, "sync.completed").await;
    stage.assert_copy_is_equal().await;
    replies.first("the sender is told", |reply| reply.id() == event.id()).await;
    let refused = replies.first("the other one, too", |reply| reply.kind() == "sync.failed").await;
    assert!(refused.body["data"]["error"].as_str().unwrap().contains("gave the request up"), "{}", refused.body);
    stage.broker.await_ready(&stage.broker.dead_queue(), 1).await;
}

#[tokio::test]
async fn properties_that_are_full_of_zeros_end_nobody() {
    let stage = Stage::small().await;
    let mut worker = stage.worker().await;
    let zeros = "\0".repeat(255);
    let properties = BasicProperties::default().with_correlation_id(zeros.as_str().into()).with_reply_to(zeros.into());
    let id = Uuid::new_v4();
    stage.request_again(id, json!({ "resources": ["users"] }), properties).await;
    let event = stage.completed(id).await;
    let told = event.properties.correlation_id().as_ref().map(|id| id.as_str().to_owned());
    assert_eq!(told, Some("?".repeat(255)));
    stage.complete(json!({ "resources": ["departments"] })).await;
    assert!(worker.ended().is_none());
}

#[tokio::test]
async fn a_run_that_has_ended_and_cannot_be_read_keeps_its_one_final_event() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "resources": ["departments"] })).await;
    stage.completed(id).await;
    stage.database.execute("update teamleader2db.sync_run set request = '{\"mode\": 7}'").await;
    let (queue, replies) = stage.broker.reply_queue().await;
    let properties = BasicProperties::default().with_reply_to(queue.as_str().into());
    stage.request_again(id, json!({ "resources": ["departments"] }), properties).await;

    // Who sent it again learns that it is not that run's end, and why.
    let reply = replies.first("the sender is answered", |_| true).await;
    assert_eq!(reply.kind(), "sync.failed");
    assert_ne!(reply.subject(), id.to_string());
    assert!(reply.body["data"]["error"].as_str().unwrap().contains("the run cannot be read: "), "{}", reply.body);
    assert_eq!(reply.properties.correlation_id().as_ref().map(|id| id.as_str()), Some(id.to_string().as_str()));
    let dead = stage.broker.take(&stage.broker.dead_queue()).await;
    assert!(reason(&dead).contains("the run cannot be read: "), "{}", reason(&dead));
    // The run is as it was, and the next one is served.
    assert_eq!(stage.database.run_status(id).await.as_deref(), Some("completed"));
    stage.complete(json!({ "resources": ["users"] })).await;
    let ends = stage.broker.events_that(|event| event.is_final() && event.subject() == id.to_string());
    assert!(ends.iter().all(|event| event.kind() == "sync.completed"), "{ends:?}");
}
