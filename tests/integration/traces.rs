//! A request's place in a trace goes on in its events and in the log.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use teamleader_simulator::{Fault, FaultKind};
use uuid::Uuid;

use crate::stage::{ACCOUNT, Event, Stage, until};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ANOTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn traced(traceparent: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongString(traceparent.into()));
    BasicProperties::default().with_headers(headers)
}

fn trace_of(event: &Event) -> Option<String> {
    match event.properties.headers().as_ref()?.inner().get("traceparent")? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_trace_goes_through_all_slices_to_every_event_and_log_line() {
    let mut stage = Stage::of(200).await;
    stage.set("SYNC_SLICE", "1s");
    stage.set("SYNC_CONCURRENCY", "4");
    stage.set("LOG_FORMAT", "json");
    let worker = stage.worker().await;
    stage.slow_down("contacts.info", 200);
    let (queue, replies) = stage.broker.reply_queue().await;
    let id = Uuid::new_v4();
    stage
        .request_again(id, json!({ "resources": ["contacts"] }), traced(TRACE).with_reply_to(queue.as_str().into()))
        .await;
    until("the run is handed back", async || (stage.database.run_slice(id).await >= 1).then_some(())).await;
    // The orchestrator sends it again, from another place, and waits elsewhere.
    let (elsewhere, others) = stage.broker.reply_queue().await;
    stage
        .request_again(
            id,
            json!({ "resources": ["contacts"] }),
            traced(ANOTHER).with_reply_to(elsewhere.as_str().into()),
        )
        .await;
    stage.completed(id).await;

    let events = stage.broker.events_that(|event| event.subject() == id.to_string());
    assert!(events.len() >= 2, "started and completed at least");
    for event in &events {
        // Progress is told by whichever copy of the request is worked on; the second one is dropped.
        assert_eq!(trace_of(event).as_deref(), Some(TRACE), "{}", event.kind());
    }
    let reply = replies.first("the reply", |_| true).await;
    assert_eq!(trace_of(&reply).as_deref(), Some(TRACE));
    let reply = others.first("the reply to the second sender", |_| true).await;
    assert_eq!(trace_of(&reply).as_deref(), Some(ANOTHER), "each sender gets its own");

    let log = worker.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of_the_run: Vec<&Value> = lines.iter().filter(|line| line["run"] == id.to_string()).collect();
    assert!(of_the_run.len() > 4, "{log}");
    for line in of_the_run {
        assert!(line["span"]["traceparent"] == TRACE || line["span"]["traceparent"] == ANOTHER, "{line}");
    }
    let refreshed =
        lines.iter().find(|line| line["message"] == "Refreshed the access token").expect("the token was refreshed");
    assert_eq!(refreshed["span"]["traceparent"], TRACE, "what runs in a task of its own has it, too");
    let waiting = lines.iter().find(|line| line["message"] == "Waiting for requests").expect("it waited");
    assert_eq!(waiting["span"], Value::Null);
}

#[tokio::test]
async fn what_is_no_trace_is_no_trace_and_a_refusal_has_one() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    for broken in ["", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", "\n00-injected", &"a".repeat(5000)] {
        let id = Uuid::new_v4();
        stage.request_again(id, json!({ "resources": ["users"] }), traced(broken)).await;
        assert_eq!(trace_of(&stage.completed(id).await), None, "{broken:?}");
    }
    let id = Uuid::new_v4();
    stage.request_again(id, json!({ "resources": ["no such"] }), traced(TRACE)).await;
    let failed = stage.final_event(id).await;
    assert_eq!((failed.kind(), trace_of(&failed).as_deref()), ("sync.failed", Some(TRACE)));

    // Whoever asks by HTTP or by the shell has one, too.
    let asked =
        worker.request(reqwest::Method::POST, "/sync/teamleader").header("traceparent", TRACE).send().await.unwrap();
    let asked: Value = serde_json::from_str(&asked.text().await.unwrap()).unwrap();
    let id = asked["request_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(trace_of(&stage.completed(id).await).as_deref(), Some(TRACE));
    let ended = stage.run(&["request", "users", "--traceparent", ANOTHER]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(trace_of(&stage.completed(ended.out.trim().parse().unwrap()).await).as_deref(), Some(ANOTHER));
    let ended = stage.run(&["request", "users", "--traceparent", "here"]).await;
    assert!(ended.code == 0 && ended.err.contains("traceparent of W3C Trace Context"), "{ended:?}");
    assert_eq!(trace_of(&stage.completed(ended.out.trim().parse().unwrap()).await), None);
}

#[tokio::test]
async fn a_request_that_is_tried_again_names_its_run_account_slice_and_epoch() {
    let mut stage = Stage::small().await;
    stage.set("LOG_FORMAT", "json");
    let worker = stage.worker().await;
    stage.simulator.inject(Fault::new(FaultKind::ServerError { status: 503 }).at("users.list").times(1));
    let id = stage.request(json!({ "resources": ["users"] })).await;
    stage.completed(id).await;
    let log = worker.log();
    let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let failed =
        lines.find(|line| line["message"] == "A request failed and is tried again").expect("it was tried again");
    let span = &failed["span"];
    assert_eq!((&span["run"], &span["account"]), (&json!(id.to_string()), &json!(ACCOUNT)), "{failed}");
    assert_eq!((&span["slice"], &span["epoch"]), (&json!(0), &json!(1)), "{failed}");
    assert_eq!(span.get("traceparent"), None, "its sender named none");
}
