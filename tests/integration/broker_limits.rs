//! A broker that sets limits: the time that a delivery may stay unacknowledged, and an alarm that takes no messages.

use std::time::Duration;

use lapin::BasicProperties;
use serde_json::json;
use uuid::Uuid;

use crate::stage::{OwnBroker, Stage, until};

/// How the worker tells that it lost its connection, or gave it up.
const INTERRUPTED: &str = "Consuming was interrupted";

#[tokio::test]
async fn a_sync_longer_than_the_brokers_ack_timeout_never_meets_it() {
    let broker = OwnBroker::start().await;
    // 30 minutes, looked at each minute, become 6 seconds, looked at each second, for all channels to come.
    let timeout = "application:set_env(rabbit, consumer_timeout, 6000), \
                   application:set_env(rabbit, channel_tick_interval, 1000).";
    broker.control(&["eval", timeout]).await;
    let mut stage = Stage::of(300).await.at_broker(&broker.url).await;
    let usual = stage.set("SYNC_SLICE", "1s");
    stage.set("SYNC_CONCURRENCY", "8");
    stage.slow_down("contacts.info", 400);
    let mut worker = stage.worker().await;
    let long = stage.request(json!({ "mode": "full" })).await;
    until("it was handed back", async || (stage.database.run_slice(long).await >= 2).then_some(())).await;

    let short = stage.request(json!({ "resources": ["departments"] })).await;
    // Read after the request was in the queue, so at least as high as it was then.
    let begun = stage.database.run_slice(long).await;
    stage.completed(short).await;
    let log = worker.log();
    let is = |line: &&str, what: &str, run: Uuid| line.contains(what) && line.contains(&format!("run={run}"));
    let before = log.lines().take_while(|line| !is(line, "Began a run", short));
    let slices = before.filter(|line| is(line, "Requeued the request", long)).count();
    let slices = i32::try_from(slices).unwrap() - begun;
    assert!(slices <= 2, "the short request waited for {slices} slices");
    assert!(stage.final_events(long).is_empty(), "the long one was in its midst");

    stage.completed(long).await;
    stage.assert_copy_is_equal().await;
    let slices = stage.database.run_slice(long).await;
    assert!(slices >= 12, "{slices} slices of a second are not twice the timeout");
    assert!(!worker.log().contains(INTERRUPTED), "no channel was closed");
    assert_eq!(stage.details_asked(), stage.details(), "nothing was fetched twice");

    // The timeout was there to be met: a slice that is longer than it loses its channel, or from RabbitMQ 4.3 on its
    // consumer, and its run goes on all the same, on a connection of its own.
    worker.terminate().await;
    stage.restore("SYNC_SLICE", usual);
    // Quick enough for a checkpoint within the timeout.
    stage.simulator.clear_faults();
    stage.slow_down("contacts.info", 250);
    let worker = stage.worker().await;
    let unsliced = stage.request(json!({ "mode": "full", "refetch": true })).await;
    until("the broker gives it up", async || {
        // RabbitMQ 4.3 looks at the time when something happens in the queue.
        stage.request(json!({ "resources": ["departments"] })).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        worker.log().contains(INTERRUPTED).then_some(())
    })
    .await;
    let log = worker.log();
    let words = ["PRECONDITION_FAILED", "RabbitMQ ended the delivery of messages"];
    assert!(words.iter().any(|word| log.contains(word)), "for the timeout: {log}");
    stage.completed(unsliced).await;
    until("the connection of the consumer that was given up is closed", async || {
        let connections = broker.control(&["-q", "list_connections", "client_properties"]).await;
        (connections.matches("acme consumer").count() == 1).then_some(())
    })
    .await;
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn a_broker_that_takes_no_messages_delays_events_and_loses_none() {
    let broker = OwnBroker::start().await;
    let stage = Stage::small().await.at_broker(&broker.url).await;
    // It makes the queues.
    stage.worker().await.terminate().await;
    let (queue, replies) = stage.broker.reply_queue().await;
    let properties = BasicProperties::default().with_reply_to(queue.as_str().into());
    let id = Uuid::new_v4();
    stage.request_again(id, json!({ "mode": "full" }), properties).await;
    // The alarm: connections that publish are blocked, those that consume are not.
    broker.control(&["set_vm_memory_high_watermark", "absolute", "1"]).await;

    let worker = stage.worker().await;
    until("the run has ended", async || {
        (stage.database.run_status(id).await.as_deref() == Some("completed")).then_some(())
    })
    .await;
    until("the confirm's deadline was over again and again", async || {
        (worker.log().matches("RabbitMQ did not answer within 20 s: is it blocked").count() >= 2).then_some(())
    })
    .await;
    // A connection that is blocked cannot be closed: with one for each try they would pile up.
    let connections = broker.control(&["-q", "list_connections", "client_properties"]).await;
    assert_eq!(connections.matches("acme publisher").count(), 1, "{connections}");
    let unsent = "select count(*) from teamleader2db.event_outbox where sent_at is null";
    assert_eq!(stage.database.value::<i64>(unsent).await, 3, "started, completed and the reply wait");
    assert!(stage.broker.events().is_empty());
    let asked = stage.simulator.counters();
    broker.control(&["set_vm_memory_high_watermark", "0.4"]).await;

    let event = stage.completed(id).await;
    replies.first("the sender is told", |reply| reply.id() == event.id()).await;
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
    until("all events are sent", async || (stage.database.value::<i64>(unsent).await == 0).then_some(())).await;
    let kinds: Vec<String> = stage.broker.events().iter().map(|event| event.kind().to_owned()).collect();
    let first_completed = kinds.iter().position(|kind| kind == "sync.completed");
    assert_eq!((kinds[0].as_str(), first_completed.is_some()), ("sync.started", true), "in order: {kinds:?}");
    assert!(stage.final_events(id).iter().all(|again| again.id() == event.id()));
    assert_eq!(stage.simulator.counters(), asked, "nothing was asked for again");
    stage.broker.await_ready(&stage.broker.dead_queue(), 0).await;
    stage.assert_copy_is_equal().await;
}
