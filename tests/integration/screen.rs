//! Messages that the AMQP library cannot read, or that are larger than a message should be: each costs itself alone.

use lapin::message::Delivery;
use lapin::types::AMQPValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::refusals::reason;
use crate::stage::{ACCOUNT, Property, RawProperties, RawPublisher, Stage, Worker, entry, long_string, nested_arrays};

/// As deep as a frame has room for.
const DEEPEST: usize = 26_000;

/// A sound request.
const BODY: &[u8] = br#"{"resources":["users"]}"#;

/// A small account, a worker, and a raw connection to the broker.
struct Scene {
    stage: Stage,
    worker: Worker,
    raw: RawPublisher,
}

impl Scene {
    async fn new() -> Self {
        let stage = Stage::small().await;
        let worker = stage.worker().await;
        // It has made the queues by then.
        stage.complete(json!({ "resources": ["users"] })).await;
        let raw = RawPublisher::to(&stage.broker.url).await;
        Self { stage, worker, raw }
    }

    async fn publish(&mut self, queue: &str, properties: &RawProperties, body: &[u8]) {
        self.raw.publish("", queue.as_bytes(), properties, body).await.expect("the broker takes it");
    }

    /// A sound request completes, in the same process, and the message ends among the dead letters.
    async fn dead(&mut self) -> Delivery {
        self.stage.complete(json!({ "resources": ["departments"] })).await;
        let dead = self.stage.broker.take(&self.stage.broker.dead_queue()).await;
        assert!(self.worker.ended().is_none(), "the process is another");
        dead
    }

    async fn assert_nothing_is_left(mut self) {
        let broker = &self.stage.broker;
        for queue in [broker.requests_queue(), undelivered(&self.stage), broker.dead_queue(), broker.delay_queue(10)] {
            broker.await_ready(&queue, 0).await;
        }
        assert!(!self.worker.log().contains("Consuming was interrupted"), "the connection is the same");
        assert!(self.worker.terminate().await.success());
    }
}

fn undelivered(stage: &Stage) -> String {
    format!("{}.undelivered", stage.broker.requests_queue())
}

fn header(message: &Delivery, name: &str) -> Option<AMQPValue> {
    message.properties.headers().as_ref()?.inner().get(name).cloned()
}

/// The mark of a message whose properties could not be read.
fn mark(message: &Delivery) -> String {
    match header(message, "x-teamleader2db-unreadable") {
        Some(AMQPValue::LongString(why)) => why.to_string(),
        other => panic!("no mark but {other:?}: {:?}", message.properties),
    }
}

fn named(id: Uuid) -> RawProperties {
    RawProperties::default().short(Property::MessageId, id.to_string().as_bytes())
}

#[tokio::test]
async fn headers_as_deep_as_a_frame_holds_cost_their_message_alone_on_each_queue() {
    let mut scene = Scene::new().await;
    let broker = &scene.stage.broker;
    for queue in [broker.requests_queue(), undelivered(&scene.stage), broker.delay_queue(10)] {
        let id = Uuid::new_v4();
        scene.publish(&queue, &named(id).headers(&nested_arrays(b"x", DEEPEST)), BODY).await;
        let event = scene.stage.final_event(id).await;
        assert_eq!(event.kind(), "sync.failed", "{queue}");
        let dead = scene.dead().await;
        assert_eq!(mark(&dead), "the headers are nested deeper than 16", "{queue}");
        assert!(reason(&dead).contains(&mark(&dead)), "{queue}: {}", reason(&dead));
        assert_eq!(event.body["data"]["error"], reason(&dead));
        assert_eq!(dead.properties.message_id().as_ref().map(|id| id.to_string()), Some(id.to_string()));
        assert_eq!(dead.data, BODY);
    }
    scene.assert_nothing_is_left().await;
}

#[tokio::test]
async fn headers_as_deep_as_a_frame_holds_among_the_token_pairs_cost_their_message_alone() {
    let mut scene = Scene::new().await;
    scene.worker.terminate().await;
    let queue = format!("{}.tokens.{ACCOUNT}", scene.stage.broker.prefix);
    scene.publish(&queue, &RawProperties::default().headers(&nested_arrays(b"x", DEEPEST)), b"no pair").await;
    // It looks for pairs before it consumes.
    scene.worker = scene.stage.worker().await;
    let dead = scene.dead().await;
    assert_eq!(mark(&dead), "the headers are nested deeper than 16");
    assert_eq!(dead.data, b"no pair");
    scene.stage.broker.await_ready(&queue, 0).await;
    scene.assert_nothing_is_left().await;
}

#[tokio::test]
async fn strings_that_are_not_utf8_cost_their_message_alone() {
    let mut scene = Scene::new().await;
    let requests = scene.stage.broker.requests_queue();
    for (property, name) in [
        (Property::MessageId, "message_id"),
        (Property::ReplyTo, "reply_to"),
        (Property::CorrelationId, "correlation_id"),
        (Property::ContentType, "content_type"),
        (Property::ContentEncoding, "content_encoding"),
        (Property::Type, "type"),
        (Property::AppId, "app_id"),
        (Property::ClusterId, "cluster_id"),
    ] {
        scene.publish(&requests, &RawProperties::default().short(property, b"id-\xFF"), BODY).await;
        let dead = scene.dead().await;
        assert_eq!(mark(&dead), format!("{name} is not UTF-8"));
        let id = dead.properties.message_id().as_ref().map(|id| id.to_string());
        assert_eq!(id.as_deref(), (name == "message_id").then_some("id-\u{FFFD}"));
    }
    let nested = entry(b"table", b'F', &long_string(&entry(b"\xFF", b't', &[1])));
    for (entries, name) in [(entry(b"\xFF", b't', &[1]), "\u{FFFD}"), (nested, "table")] {
        scene.publish(&requests, &RawProperties::default().headers(&entries), BODY).await;
        let dead = scene.dead().await;
        assert_eq!(mark(&dead), "the name of a header is not UTF-8");
        assert!(header(&dead, name).is_some(), "{:?}", dead.properties);
    }
    scene.assert_nothing_is_left().await;
}

#[tokio::test]
async fn a_routing_key_that_is_not_utf8_costs_its_message_alone() {
    let mut scene = Scene::new().await;
    // A sender chooses more keys with this header.
    let keys = entry(b"CC", b'A', &long_string(&[b"S".to_vec(), long_string(ACCOUNT.as_bytes())].concat()));
    let exchange = format!("{}.requests", scene.stage.broker.prefix);
    let properties = RawProperties::default().headers(&keys);
    scene.raw.publish(&exchange, b"\xFF", &properties, BODY).await.expect("the broker takes it");
    let dead = scene.dead().await;
    assert_eq!(mark(&dead), "the exchange or the routing key is not UTF-8");
    assert_eq!(dead.data, BODY);
    scene.assert_nothing_is_left().await;
}

#[tokio::test]
async fn of_a_large_body_the_beginning_is_taken_and_no_more_memory() {
    let mut scene = Scene::new().await;
    let before = scene.worker.peak();
    let id = Uuid::new_v4();
    let body: Vec<u8> = (0..16_000_000_u32).map(|at| (at % 251) as u8).collect();
    let requests = scene.stage.broker.requests_queue();
    for queue in [requests, undelivered(&scene.stage)] {
        scene.publish(&queue, &named(id), &body).await;
        let dead = scene.dead().await;
        assert_eq!(dead.data, body[..64 * 1024], "{queue}");
        assert_eq!(header(&dead, "x-teamleader2db-body-bytes"), Some(AMQPValue::LongLongInt(16_000_000)), "{queue}");
        assert!(reason(&dead).contains("16000000 bytes"), "{queue}: {}", reason(&dead));
    }
    let event = scene.stage.final_event(id).await;
    assert!(event.body["data"]["error"].as_str().unwrap().contains("16000000 bytes"), "{}", event.body);
    let grown = scene.worker.peak() - before;
    assert!(grown < 16_000_000, "{grown} bytes more");
    scene.assert_nothing_is_left().await;
}

#[tokio::test]
async fn an_event_of_many_long_errors_is_heard_whole() {
    let mut scene = Scene::new().await;
    let listener = scene.stage.watch(&["events", "--json"]);
    listener.says("Listening for events").await;
    let mut event = scene.stage.complete(json!({ "resources": ["users"] })).await.body;
    event["id"] = Uuid::new_v4().to_string().into();
    event["data"]["resources"]["users"]["error"] = "x".repeat(1_000_000).into();
    let exchange = format!("{}.events", scene.stage.broker.prefix);
    let key = format!("sync.{ACCOUNT}.completed");
    let content_type = RawProperties::default().short(Property::ContentType, b"application/cloudevents+json");
    let sent = scene.raw.publish(&exchange, key.as_bytes(), &content_type, event.to_string().as_bytes()).await;
    sent.expect("the broker takes it");
    crate::stage::until("it is heard", async || {
        let lines = listener.lines();
        lines.iter().any(|line| serde_json::from_str::<Value>(line).unwrap() == event).then_some(())
    })
    .await;
}
