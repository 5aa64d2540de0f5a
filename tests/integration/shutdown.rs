//! A worker that is told to stop: nothing in hand is lost, and a refresh under way least of all.

use serde_json::json;
use teamleader_simulator::{Fault, FaultKind};
use uuid::Uuid;

use crate::stage::{Stage, Worker, until};

/// What it says when something had to be left.
const LEFT: [&str; 3] = ["did not end within", "Not everything ended in order", "The end took longer"];

/// Asserts that it ended with 0, and by its own deadline had left nothing.
async fn assert_ends_in_order(mut worker: Worker) {
    let status = worker.terminate().await;
    assert_eq!(status.code(), Some(0));
    let log = worker.log();
    assert!(!LEFT.iter().any(|left| log.contains(left)), "{log}");
}

/// A run whose first need, a new token, is answered only after some seconds: Teamleader has used the old one up by then.
async fn in_the_midst_of_a_refresh(stage: &Stage) -> Uuid {
    stage.simulator.inject(Fault::new(FaultKind::SlowBody { milliseconds: 3000 }).at("oauth2/access_token").times(1));
    let id = stage.request(json!({ "resources": ["users"] })).await;
    stage.await_asked("oauth2/access_token", 1).await;
    id
}

async fn assert_no_token_is_lost(stage: &Stage, id: Uuid) {
    stage.completed(id).await;
    stage.database.assert_table_equals(&stage.simulator, "users").await;
    let counters = stage.simulator.counters();
    assert_eq!(counters.refused_refresh_reuse, 0, "{counters:?}");
    assert!(stage.events_of_kind("authorization.required").is_empty());
}

/// A run that waits for an answer of the API which never comes.
async fn in_the_midst_of_silence(stage: &Stage) -> Uuid {
    stage.simulator.inject(Fault::new(FaultKind::Hang).at("contacts.info"));
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.await_asked("contacts.info", 1).await;
    id
}

async fn assert_the_next_one_ends_it(stage: &Stage, id: Uuid) {
    stage.simulator.clear_faults();

    let _next = stage.worker().await;
    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    assert_eq!(stage.final_events(id).len(), 1);
}

#[tokio::test]
async fn a_refresh_under_way_is_stored_before_the_end() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    let id = in_the_midst_of_a_refresh(&stage).await;
    assert_ends_in_order(worker).await;
    let state: String = stage.database.value("select state || ' ' || generation from teamleader2db.oauth_token").await;
    assert_eq!(state, "authorized 2");
    stage.broker.await_ready(&stage.broker.requests_queue(), 1).await;
    assert_eq!(stage.database.run_slice(id).await, 1, "handed back");

    let _next = stage.worker().await;
    assert_no_token_is_lost(&stage, id).await;
}

#[tokio::test]
async fn a_refresh_under_way_is_escrowed_where_the_database_takes_nothing() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    let id = in_the_midst_of_a_refresh(&stage).await;
    stage.database.fail_before("update on teamleader2db.oauth_token", "new.generation > old.generation").await;
    assert_ends_in_order(worker).await;
    let escrowed = format!("{}.tokens.acme", stage.broker.prefix);
    stage.broker.await_ready(&escrowed, 1).await;
    stage.database.interfere_no_more().await;

    let _next = stage.worker().await;
    assert_no_token_is_lost(&stage, id).await;
    stage.broker.await_ready(&escrowed, 0).await;
}

#[tokio::test]
async fn an_answer_that_never_comes_is_not_waited_for() {
    let stage = Stage::of(60).await;
    let worker = stage.worker().await;
    let id = in_the_midst_of_silence(&stage).await;
    assert_ends_in_order(worker).await;
    assert_eq!(stage.database.run_slice(id).await, 1, "handed back");
    assert_the_next_one_ends_it(&stage, id).await;
}

#[tokio::test]
async fn a_worker_with_nothing_in_hand_ends() {
    let stage = Stage::small().await;
    assert_ends_in_order(stage.worker().await).await;
    let stage = stage.unauthorized();
    assert_ends_in_order(stage.worker().await).await;
}

#[tokio::test]
async fn a_second_signal_aborts_and_loses_nothing() {
    let stage = Stage::of(60).await;
    let mut worker = stage.worker().await;
    let id = in_the_midst_of_silence(&stage).await;
    worker.signal("TERM");
    until("the first signal is seen", async || worker.log().contains("SIGTERM").then_some(())).await;
    let status = worker.terminate().await;
    assert_eq!(status.code(), Some(1));
    assert!(worker.log().contains("aborted by a second SIGTERM"), "{}", worker.log());
    assert_the_next_one_ends_it(&stage, id).await;
}

#[tokio::test]
async fn a_broker_that_answers_nothing_holds_up_no_end() {
    let mut stage = Stage::small().await;
    let cable = stage.cable_to_broker().await;
    let worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    assert!(cable.cut_far_end() >= 1);
    assert_ends_in_order(worker).await;
}

#[tokio::test]
async fn a_worker_whose_database_is_away_answers_and_ends_when_it_is_told_to() {
    let mut stage = Stage::small().await;
    let nobody = format!("postgres://nobody@127.0.0.1:{}/nothing", crate::stage::free_port());
    let url = stage.set("DATABASE_URL", &nobody);
    let worker = stage.worker_without_database().await;
    stage.restore("DATABASE_URL", url);

    let (status, metrics) = worker.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("teamleader2db_queue_consumer_active"), "{metrics}");
    let (status, ready) = worker.get("/health/ready").await;
    assert_eq!(status, 503);
    assert!(ready.contains(r#""database":false"#), "{ready}");
    until("it says so", async || worker.log().contains("The database cannot be used yet").then_some(())).await;
    assert_ends_in_order(worker).await;
}

#[tokio::test]
async fn every_command_ends_at_a_signal() {
    let stage = Stage::small().await;
    // Nobody serves the account, so it waits for ever.
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut waiting = stage.watch(&["request", "users", "--wait"]);
        waiting.says("is in the queue").await;
        assert_eq!(waiting.end(signal).await.code(), Some(code));
        assert!(waiting.log().contains(&format!("stopped by SIG{signal}")), "{}", waiting.log());
    }
}
