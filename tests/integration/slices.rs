//! Long runs are worked on in slices, and let short ones pass.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;
use uuid::Uuid;

use crate::stage::{Stage, until};

#[tokio::test]
async fn a_long_run_is_worked_on_in_slices_and_lets_a_short_one_pass() {
    let mut stage = Stage::of(200).await;
    stage.set("SYNC_SLICE", "1s");
    stage.set("SYNC_CONCURRENCY", "8");
    let _worker = stage.worker().await;
    stage.slow_down("contacts.info", 150);
    let (queue, replies) = stage.broker.reply_queue().await;
    let long = Uuid::new_v4();
    let properties = BasicProperties::default().with_reply_to(queue.as_str().into()).with_correlation_id("long".into());
    stage.request_again(long, json!({ "mode": "full" }), properties.clone()).await;
    until("the long run is handed back", async || (stage.database.run_slice(long).await >= 1).then_some(())).await;
    let short = stage.request(json!({ "resources": ["departments"] })).await;

    stage.completed(long).await;
    let order: Vec<Uuid> =
        stage.events_of_kind("sync.completed").iter().map(|event| event.subject().parse().unwrap()).collect();
    assert_eq!(order, [short, long]);
    let slices = stage.database.run_slice(long).await;
    assert!(slices >= 3, "{slices} slices");
    stage.assert_copy_is_equal().await;

    // After so many copies of the request the sender still gets the answer.
    let reply = replies.first("the reply has come", |_| true).await;
    assert_eq!(reply.subject(), long.to_string());
    assert_eq!(reply.properties.correlation_id(), properties.correlation_id());
    assert_eq!(stage.final_events(long).len(), 1);
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;

    // Nothing was read twice: the short request's own share is two requests for the list, and its details are not stale.
    assert_eq!(stage.details_asked(), stage.details());
    let lists = stage.lists_asked();
    stage.simulator.reset_counters();
    stage.simulator.clear_faults();
    stage.complete(json!({ "mode": "full" })).await;
    let undisturbed = stage.lists_asked();
    assert!(lists <= undisturbed + 2, "{lists} pages were read, {undisturbed} in one slice");
}

#[tokio::test]
async fn a_slice_that_is_over_in_the_midst_of_lists_reads_no_page_twice() {
    let mut stage = Stage::of(400).await;
    stage.set("SYNC_SLICE", "1s");
    let _worker = stage.worker().await;
    for list in ["contacts.list", "companies.list", "customFieldDefinitions.list"] {
        // Two rounds of requests are longer than a slice.
        stage.slow_down(list, 600);
    }
    let event = stage
        .complete(json!({ "mode": "full", "resources": ["customFieldDefinitions", "companies", "contacts"] }))
        .await;
    let id: Uuid = event.subject().parse().unwrap();
    assert!(stage.database.run_slice(id).await >= 2);
    for resource in ["companies", "contacts", "customFieldDefinitions"] {
        stage.database.assert_table_equals(&stage.simulator, resource).await;
        assert_eq!(event.resource(resource)["verified"], true);
    }
    let lists = stage.lists_asked();
    stage.simulator.reset_counters();
    stage.simulator.clear_faults();
    stage.complete(json!({ "mode": "full", "resources": ["customFieldDefinitions", "companies", "contacts"] })).await;
    assert_eq!(lists, stage.lists_asked());
}

#[tokio::test]
async fn a_slice_number_that_a_sender_made_up_counts_for_nothing() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let id = Uuid::new_v4();
    let mut headers = FieldTable::default();
    headers.insert("slice".into(), AMQPValue::LongInt(i32::MAX));
    stage.request_again(id, json!({ "resources": ["users"] }), BasicProperties::default().with_headers(headers)).await;
    stage.completed(id).await;
    assert_eq!(stage.database.run_slice(id).await, 0, "the first slice of a run that nobody knew");
}
