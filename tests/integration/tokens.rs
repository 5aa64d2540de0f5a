//! Tokens that end in mid-run: one refresh at a time, and no refresh token sent twice.

use std::time::Duration;

use serde_json::json;
use teamleader_simulator::{Config, Fault, FaultKind};
use uuid::Uuid;

use crate::stage::{Stage, Worker, until};

/// A run that is fetching details, several at a time.
async fn in_the_midst_of_details(stage: &Stage) -> Uuid {
    stage.slow_down("contacts.info", 40);
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.await_asked("contacts.info", 20).await;
    id
}

/// Authorizes as a person does in the browser.
async fn authorize(worker: &Worker) {
    let (_, text) = worker.get("/sync/authorize").await;
    assert_eq!(text.trim(), "code accepted");
}

#[tokio::test]
async fn an_access_token_that_expires_in_mid_run_is_refreshed_once() {
    let stage = Stage::of(120).await;
    let _worker = stage.worker().await;
    let id = in_the_midst_of_details(&stage).await;
    let before = stage.simulator.counters();
    stage.simulator.expire_access_tokens();

    stage.completed(id).await;
    let after = stage.simulator.counters();
    assert!(after.max_concurrent > 1, "several requests were in flight: {after:?}");
    assert!(after.statuses[&401] >= 1, "the token was refused: {after:?}");
    assert_eq!(after.refreshes, before.refreshes + 1, "{after:?}");
    assert_eq!(after.refused_refresh_reuse, 0, "{after:?}");
    stage.assert_copy_is_equal().await;
    assert!(stage.events_of_kind("authorization.required").is_empty());
}

#[tokio::test]
async fn a_token_is_refreshed_ahead_of_its_end() {
    let counts = [("contacts", 400), ("users", 5)].map(|(resource, count)| (resource.to_owned(), count)).into();
    let mut stage = Stage::with(Config { counts, access_token_ttl: Duration::from_secs(6), ..Config::default() }).await;
    stage.set("SYNC_CONCURRENCY", "8");
    // The answer comes late, so the token ends earlier than the worker would think, and the run takes longer than the token lives.
    stage.simulator.inject(Fault::new(FaultKind::SlowBody { milliseconds: 300 }).at("oauth2/access_token"));
    stage.slow_down("contacts.info", 150);
    let _worker = stage.worker().await;

    stage.complete(json!({ "mode": "full" })).await;
    let counters = stage.simulator.counters();
    assert!(counters.refreshes >= 2, "{counters:?}");
    assert_eq!(counters.refused_refresh_reuse, 0, "{counters:?}");
    let refused = counters.statuses.get(&401).copied().unwrap_or(0);
    assert_eq!(refused, 0, "no request went out with a dead token: {counters:?}");
}

#[tokio::test]
async fn a_revoked_refresh_token_is_told_once_and_the_request_waits_for_a_person() {
    let stage = Stage::of(120).await;
    let worker = stage.worker().await;
    let id = in_the_midst_of_details(&stage).await;
    stage.simulator.revoke_refresh_tokens();
    stage.simulator.expire_access_tokens();

    until("the account is no longer authorized", async || {
        (!stage.events_of_kind("authorization.required").is_empty()).then_some(())
    })
    .await;
    stage.broker.await_ready(&stage.broker.requests_queue(), 1).await;
    let state: String = stage.database.value("select state from teamleader2db.oauth_token").await;
    assert_eq!(state, "reauthorization_required");
    assert_eq!(stage.database.run_status(id).await.as_deref(), Some("running"));
    let refused = stage.simulator.counters();
    assert_eq!(refused.requests["oauth2/access_token"], refused.refreshes + 1, "tried once: {refused:?}");

    assert_eq!(stage.database.run_slice(id).await, 1, "handed back once, and left alone");

    authorize(&worker).await;
    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    let told = stage.events_of_kind("authorization.required");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(stage.final_events(id).len(), 1);
}

#[tokio::test]
async fn a_token_answer_that_is_lost_costs_one_try_and_then_a_person_is_asked() {
    let stage = Stage::of(120).await;
    let worker = stage.worker().await;
    let id = in_the_midst_of_details(&stage).await;
    stage.simulator.inject(Fault::new(FaultKind::LoseTokenAnswer).times(1));
    stage.simulator.expire_access_tokens();

    until("the account is no longer authorized", async || {
        (!stage.events_of_kind("authorization.required").is_empty()).then_some(())
    })
    .await;
    let counters = stage.simulator.counters();
    assert!(stage.simulator.faults().iter().all(|fault| fault.kind != FaultKind::LoseTokenAnswer));
    assert_eq!(
        counters.refused_refresh_reuse, 1,
        "the old token is tried once, after the attempt is over: {counters:?}"
    );

    authorize(&worker).await;
    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    assert_eq!(stage.simulator.counters().refused_refresh_reuse, 1);
    assert_eq!(stage.events_of_kind("authorization.required").len(), 1);
}

#[tokio::test]
async fn a_token_pair_that_cannot_be_stored_is_escrowed_and_not_lost() {
    let stage = Stage::of(60).await;
    let mut worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.database.fail_before("update on teamleader2db.oauth_token", "new.generation > old.generation").await;
    stage.simulator.expire_access_tokens();
    let id = stage.request(json!({ "mode": "full", "refetch": true })).await;
    let escrowed = format!("{}.tokens.acme", stage.broker.prefix);
    stage.broker.await_ready(&escrowed, 1).await;
    stage.completed(id).await;
    worker.kill();
    stage.database.interfere_no_more().await;

    let _next = stage.worker().await;
    stage.complete(json!({})).await;
    stage.broker.await_ready(&escrowed, 0).await;
    let state: String = stage.database.value("select state || ' ' || generation from teamleader2db.oauth_token").await;
    assert!(state.starts_with("authorized "), "{state}");
    assert_eq!(stage.simulator.counters().refused_refresh_reuse, 0);
    assert!(stage.events_of_kind("authorization.required").is_empty());
}

#[tokio::test]
async fn a_token_endpoint_that_fails_is_not_given_the_same_token_in_a_burst() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    stage
        .database
        .watch("update on teamleader2db.oauth_token", "new.attempt_id <> old.attempt_id or old.attempt_id is null")
        .await;
    stage.simulator.inject(Fault::new(FaultKind::ServerError { status: 503 }).at("oauth2/access_token").times(2));
    stage.simulator.expire_access_tokens();

    stage.complete(json!({ "resources": ["users"] })).await;
    let gaps = stage.database.gaps_seen().await;
    assert_eq!(gaps.len(), 2, "three attempts: {gaps:?}");
    // An attempt lasts 5 s after an answer that tells nothing. This is no limit on how fast the test must be.
    assert!(gaps.iter().all(|seconds| *seconds >= 5.0), "{gaps:?}");
    assert_eq!(stage.simulator.counters().refused_refresh_reuse, 0);
}

#[tokio::test]
async fn a_foreign_message_among_the_escrowed_pairs_is_moved_away_and_stops_no_refresh() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    let queue = format!("{}.tokens.acme", stage.broker.prefix);
    // As short as a generation, of one that is higher than any, and as long as a pair.
    for foreign in [&b"x"[..], &[0x7f; 8], &[0x7f; 400]] {
        stage.broker.put(&queue, foreign).await;
        stage.simulator.expire_access_tokens();
        stage.complete(json!({ "resources": ["users"] })).await;

        let dead = stage.broker.take(&stage.broker.dead_queue()).await;
        assert_eq!(dead.data, foreign);
        assert!(crate::refusals::reason(&dead).contains("TOKEN_ENCRYPTION_KEY"), "{}", crate::refusals::reason(&dead));
    }
    stage.broker.await_ready(&queue, 0).await;
    assert_eq!(stage.simulator.counters().refused_refresh_reuse, 0);
    let (_, metrics) = worker.get("/metrics").await;
    let counted = "teamleader2db_dead_letters_total{account=\"acme\",reason=\"token_pair\"} 3";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_escrowed_pair_whose_predecessor_the_database_lost_is_stored() {
    let stage = Stage::of(60).await;
    let mut worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    let before = "create table restored as select * from teamleader2db.oauth_token";
    stage.database.execute(before).await;
    stage.simulator.expire_access_tokens();
    stage.complete(json!({ "resources": ["users"] })).await;
    stage.database.fail_before("update on teamleader2db.oauth_token", "new.generation > old.generation").await;
    stage.simulator.expire_access_tokens();
    stage.request(json!({ "mode": "full", "refetch": true })).await;
    let escrowed = format!("{}.tokens.acme", stage.broker.prefix);
    stage.broker.await_ready(&escrowed, 1).await;
    worker.kill();
    stage.database.interfere_no_more().await;
    // A dump of an hour ago comes back: two generations behind what the escrowed pair makes.
    stage.database.execute("delete from teamleader2db.oauth_token").await;
    stage.database.execute("insert into teamleader2db.oauth_token select * from restored").await;

    let _next = stage.worker().await;
    stage.complete(json!({})).await;
    stage.broker.await_ready(&escrowed, 0).await;
    assert_eq!(stage.simulator.counters().refused_refresh_reuse, 0);
    assert!(stage.events_of_kind("authorization.required").is_empty());
    stage.broker.await_ready(&stage.broker.dead_queue(), 0).await;
}
