//! A crash at each seam: between the rows and their commit, the copy and its commit, the end and its commit, the event and its mark,
//! the intent to refresh and its commit, the token pair and its store. What dies there leaves the run to the next worker.

use lapin::BasicProperties;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{Event, Stage, Worker, until};

/// Kills the worker while the statement is held, and starts another after the database has forgotten what was not committed.
async fn crash_before(stage: &Stage, worker: &mut Worker, statement: &str, when: &str, begin: impl AsyncFnOnce()) {
    let mut hold = stage.database.hold_before(statement, when).await;
    begin().await;
    hold.reached().await;
    worker.kill();
    hold.forget(&stage.database).await;
    *worker = stage.worker().await;
}

/// The one final event of a run that was interrupted, however often it came, and a table that is equal.
async fn assert_ended_well(stage: &Stage, id: Uuid) -> Event {
    let event = stage.completed(id).await;
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
    stage.assert_copy_is_equal().await;
    let events = stage.final_events(id);
    assert!(events.iter().all(|again| again.body == event.body), "{events:?}");
    let started = stage.events_of_kind("sync.started");
    assert_eq!(started.iter().filter(|event| event.subject() == id.to_string()).count(), 1);
    let dead = stage.broker.ready(&stage.broker.dead_queue()).await;
    assert_eq!(dead, Some(0));
    event
}

async fn full(stage: &Stage, id: Uuid) {
    stage.request_again(id, json!({ "mode": "full" }), Default::default()).await;
}

#[tokio::test]
async fn a_crash_before_the_commit_of_a_page_loses_nothing_and_counts_nothing_twice() {
    let stage = Stage::of(120).await;
    let mut worker = stage.worker().await;
    let id = Uuid::new_v4();
    let second_page = "new.resource = 'contacts' and new.page = 1";
    crash_before(&stage, &mut worker, "insert on teamleader2db.sync_page", second_page, async || {
        full(&stage, id).await
    })
    .await;

    let event = assert_ended_well(&stage, id).await;
    let counted = ["listed", "created", "updated", "unchanged"].map(|what| event.count("contacts", what));
    assert_eq!(counted, [120, 120, 0, 0]);
    assert_eq!(
        stage.database.value::<i64>("select count(*) from teamleader2db.sync_page").await,
        0,
        "the ids go with the run"
    );
}

#[tokio::test]
async fn a_crash_between_the_copy_of_a_request_and_its_commit_leaves_no_two_copies_at_play() {
    let mut stage = Stage::of(120).await;
    stage.set("SYNC_SLICE", "1s");
    let mut worker = stage.worker().await;
    stage.slow_down("contacts.info", 400);
    let id = Uuid::new_v4();
    let handed_back = "new.slice > old.slice and old.slice = 0";
    crash_before(&stage, &mut worker, "update on teamleader2db.sync_run", handed_back, async || full(&stage, id).await)
        .await;

    assert_ended_well(&stage, id).await;
    // Once a request behind them is done, both copies are out of the queue.
    stage.complete(json!({ "resources": ["departments"] })).await;
    assert_eq!(stage.final_events(id).len(), 1, "one copy was dropped, and did not outlive the run");
    assert_eq!(stage.details_asked(), stage.details(), "nothing is fetched twice");
}

#[tokio::test]
async fn a_crash_before_the_commit_of_the_end_ends_the_run_once() {
    let stage = Stage::small().await;
    let mut worker = stage.worker().await;
    let id = Uuid::new_v4();
    crash_before(&stage, &mut worker, "update on teamleader2db.sync_run", "new.status = 'completed'", async || {
        full(&stage, id).await
    })
    .await;
    assert_ended_well(&stage, id).await;
    assert_eq!(stage.final_events(id).len(), 1);
    assert_eq!(stage.details_asked(), stage.details(), "all was done but the last word");
}

#[tokio::test]
async fn a_crash_between_the_event_and_its_mark_sends_the_same_event_again() {
    let stage = Stage::small().await;
    let mut worker = stage.worker().await;
    let id = Uuid::new_v4();
    let sent = "new.sent_at is not null and new.routing_key like '%.completed'";
    crash_before(&stage, &mut worker, "update on teamleader2db.event_outbox", sent, async || full(&stage, id).await)
        .await;
    until("the event has come again", async || (stage.final_events(id).len() >= 2).then_some(())).await;
    let asked = stage.simulator.counters();
    assert_ended_well(&stage, id).await;
    assert_eq!(stage.simulator.counters(), asked);
    let unsent: i64 =
        stage.database.value("select count(*) from teamleader2db.event_outbox where sent_at is null").await;
    assert_eq!(unsent, 0);
}

#[tokio::test]
async fn a_crash_before_the_commit_of_an_intent_burns_no_token() {
    let stage = Stage::of(120).await;
    let mut worker = stage.worker().await;
    stage.slow_down("contacts.info", 40);
    let id = Uuid::new_v4();
    full(&stage, id).await;
    stage.await_asked("contacts.info", 20).await;
    let expire = async || stage.simulator.expire_access_tokens();
    crash_before(&stage, &mut worker, "update on teamleader2db.oauth_token", "new.state = 'refreshing'", expire).await;

    assert_ended_well(&stage, id).await;
    let counters = stage.simulator.counters();
    assert_eq!((counters.refreshes, counters.refused_refresh_reuse), (2, 0), "{counters:?}");
}

#[tokio::test]
async fn a_token_pair_that_cannot_be_stored_is_parked_and_not_lost() {
    let stage = Stage::of(60).await;
    let mut worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.database.fail_before("update on teamleader2db.oauth_token", "new.generation > old.generation").await;
    stage.simulator.expire_access_tokens();
    let id = stage.request(json!({ "mode": "full", "refetch": true })).await;
    let parked = format!("{}.tokens.acme", stage.broker.prefix);
    stage.broker.await_ready(&parked, 1).await;
    stage.completed(id).await;
    worker.kill();
    stage.database.interfere_no_more().await;

    let _next = stage.worker().await;
    stage.complete(json!({})).await;
    stage.broker.await_ready(&parked, 0).await;
    let state: String = stage.database.value("select state || ' ' || generation from teamleader2db.oauth_token").await;
    assert!(state.starts_with("authorized "), "{state}");
    assert_eq!(stage.simulator.counters().refused_refresh_reuse, 0);
    assert!(stage.events_of_kind("authorization.required").is_empty());
}

#[tokio::test]
async fn a_request_that_kills_whoever_works_on_it_is_given_up() {
    let stage = Stage::small().await;
    let mut worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    let mut hold = stage.database.hold_before("insert on teamleader2db.sync_page", "true").await;
    let (queue, replies) = stage.broker.reply_queue().await;
    let id = Uuid::new_v4();
    let properties = BasicProperties::default().with_reply_to(queue.as_str().into());
    stage.request_again(id, json!({ "mode": "full" }), properties).await;
    for _ in 0..5 {
        hold.reached().await;
        worker.kill();
        hold.roll_back(&stage.database).await;
        worker = stage.worker().await;
    }

    let event = replies.first("the sender is told", Event::is_final).await;
    assert_eq!((event.kind(), event.subject()), ("sync.failed", id.to_string().as_str()), "{}", event.body);
    assert!(event.body["data"]["error"].as_str().unwrap().contains("without progress"), "{}", event.body);
    let dead = stage.broker.take(&stage.broker.dead_queue()).await;
    let body: Value = serde_json::from_slice(&dead.data).unwrap();
    assert_eq!(body["request_id"], id.to_string());
    assert_eq!(stage.database.run_status(id).await.as_deref(), Some("failed"));

    hold.forget(&stage.database).await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn a_database_that_refuses_to_write_is_waited_for() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    stage.database.fail_before("insert on teamleader2db.sync_page", "true").await;
    let id = stage.request(json!({ "mode": "full" })).await;
    // More often than a request that kills its worker is tried: each try takes an epoch.
    until("it was tried again and again", async || {
        let tries: i64 = stage.database.value("select epoch from teamleader2db.lease").await;
        (tries > 7).then_some(())
    })
    .await;
    stage.database.interfere_no_more().await;

    assert_ended_well(&stage, id).await;
}
