//! Requests that come twice, and requests without a name.

use lapin::BasicProperties;
use serde_json::json;
use uuid::Uuid;

use crate::stage::{Event, Stage, until};

#[tokio::test]
async fn a_repeated_request_merges_nothing_twice_and_gets_the_same_event() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let (queue, replies) = stage.broker.reply_queue().await;
    let first = stage.complete(json!({ "mode": "full" })).await;
    let id: Uuid = first.subject().parse().unwrap();
    let (rows, asked) = (stage.database.versions().await, stage.simulator.counters());
    // The account has changed meanwhile: a second run would show.
    stage.simulator.update("contacts", 5);

    let properties =
        BasicProperties::default().with_reply_to(queue.as_str().into()).with_correlation_id("again".into());
    stage.request_again(id, json!({ "mode": "full" }), properties.clone()).await;
    let reply = replies.first("the new reply address gets the event", |_| true).await;
    assert_eq!(reply.id(), first.id());
    assert_eq!(reply.body["data"], first.body["data"]);
    assert_eq!(reply.properties.correlation_id(), properties.correlation_id());
    assert_eq!(stage.database.versions().await, rows);
    assert_eq!(stage.simulator.counters(), asked, "nothing was asked of the API");
    let runs: i64 = stage.database.value("select count(*) from teamleader2db.sync_run").await;
    assert_eq!(runs, 1);
    assert!(stage.final_events(id).iter().all(|event| event.id() == first.id()));
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
}

#[tokio::test]
async fn a_request_that_is_repeated_while_it_runs_joins_the_run() {
    let mut stage = Stage::of(60).await;
    stage.set("SYNC_SLICE", "1s");
    let _worker = stage.worker().await;
    stage.slow_down("contacts.info", 200);
    let (queue, replies) = stage.broker.reply_queue().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.await_asked("contacts.info", 10).await;
    let properties = BasicProperties::default().with_reply_to(queue.as_str().into());
    stage.request_again(id, json!({ "mode": "full" }), properties).await;

    let event = stage.completed(id).await;
    let reply = replies.first("the one who joined gets the event", |_| true).await;
    assert_eq!(reply.id(), event.id());
    assert_eq!(stage.details_asked(), stage.details(), "each detail is fetched once");
    assert_eq!(stage.events_of_kind("sync.started").len(), 1);
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
}

#[tokio::test]
async fn each_who_waits_at_the_same_queue_gets_the_event_under_an_id_of_its_own() {
    let mut stage = Stage::of(60).await;
    stage.set("SYNC_SLICE", "1s");
    let _worker = stage.worker().await;
    stage.slow_down("contacts.info", 200);
    let (queue, replies) = stage.broker.reply_queue().await;
    let id = Uuid::new_v4();
    for waiter in ["one", "two"] {
        let properties = BasicProperties::default().with_reply_to(queue.as_str().into());
        stage.request_again(id, json!({ "mode": "full" }), properties.with_correlation_id(waiter.into())).await;
    }
    let event = stage.completed(id).await;
    for waiter in ["one", "two"] {
        let mine = |reply: &Event| reply.properties.correlation_id().as_ref().is_some_and(|id| id.as_str() == waiter);
        assert_eq!(replies.first("both get the event", mine).await.id(), event.id());
    }
}

#[tokio::test]
async fn a_request_without_any_id_is_stamped_and_runs_once() {
    let stage = Stage::of(60).await;
    let mut first = stage.worker().await;
    stage.slow_down("contacts.info", 100);
    let (queue, replies) = stage.broker.reply_queue().await;
    let properties =
        BasicProperties::default().with_reply_to(queue.as_str().into()).with_correlation_id("nameless".into());
    stage.broker.publish(b"{}", properties.clone()).await;
    stage.await_asked("contacts.info", 10).await;
    // Without a stamp the redelivery would be another request.
    first.kill();
    let _second = stage.worker().await;

    let reply = replies.first("the request has its final event", Event::is_final).await;
    assert_eq!(reply.kind(), "sync.completed", "{}", reply.body);
    assert_eq!(reply.properties.correlation_id(), properties.correlation_id());
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
    let runs: Vec<Uuid> =
        sqlx::query_scalar("select id from teamleader2db.sync_run").fetch_all(&stage.database.pool).await.unwrap();
    assert_eq!(runs.iter().map(Uuid::to_string).collect::<Vec<_>>(), [reply.subject()]);
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn the_message_id_serves_where_the_body_has_no_id() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let id = Uuid::new_v4();
    let named = |name: &str| BasicProperties::default().with_message_id(name.into());
    stage.broker.publish(br#"{"resources":["users"]}"#, named(&id.to_string())).await;
    stage.completed(id).await;

    // Any text will do: the same text is the same run.
    for _ in 0..2 {
        stage.broker.publish(br#"{"resources":["users"]}"#, named("scheduled__2026-01-01")).await;
    }
    until("both have their event", async || (stage.events_of_kind("sync.completed").len() == 3).then_some(())).await;
    let runs: i64 = stage.database.value("select count(*) from teamleader2db.sync_run").await;
    assert_eq!(runs, 2);
}
