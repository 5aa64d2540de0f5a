//! Refresh tokens that an operator gives: one that works is in the way of none that does not.

use serde_json::json;
use teamleader_simulator::{Fault, FaultKind};
use uuid::Uuid;

use crate::stage::{Ended, Stage, until};

/// The generation of the stored pair, its state, and the sealed refresh token.
async fn stored(stage: &Stage) -> (i64, String, Vec<u8>) {
    let sql = "select generation, state, refresh_token from teamleader2db.oauth_token";
    sqlx::query_as(sql).fetch_one(&stage.database.pool).await.unwrap()
}

/// An account that is authorized and has synced, and whose worker has ended.
async fn authorized() -> Stage {
    let mut stage = Stage::small().await;
    stage.set("TEAMLEADER_REDIRECT_URI", "https://sync.example.com/sync/oauth");
    let mut worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    worker.terminate().await;
    stage
}

async fn give(stage: &Stage, token: &str) -> Ended {
    stage.run(&["authorize", "--refresh-token", token]).await
}

/// That the account goes on with what is stored.
async fn assert_it_syncs(stage: &Stage) {
    let _worker = stage.worker().await;
    stage.simulator.expire_access_tokens();
    stage.complete(json!({ "mode": "full" })).await;
    let counters = stage.simulator.counters();
    assert_eq!(counters.refused_refresh_reuse, 0, "{counters:?}");
    assert!(stage.events_of_kind("authorization.required").is_empty());
}

#[tokio::test]
async fn a_token_that_does_not_work_leaves_the_one_that_does() {
    let stage = authorized().await;
    let before = stored(&stage).await;
    for malformed in ["", " ", "abc", "def50200 a1b2c3d4e5f6", "-"] {
        // Standard input is empty.
        let ended = give(&stage, malformed).await;
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{malformed:?}: {ended:?}");
        assert!(ended.err.contains("--refresh-token: "), "{ended:?}");
    }
    let asked = stage.simulator.counters().requests["oauth2/access_token"];
    let dead = "def502007f5c0000000000000000000000000000";
    let ended = give(&stage, dead).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("Teamleader refused the refresh token (The refresh token is invalid"), "{ended:?}");
    assert!(!ended.err.contains(dead), "{ended:?}");
    assert_eq!(stage.simulator.counters().requests["oauth2/access_token"], asked + 1, "tried once");
    assert_eq!(stored(&stage).await, before, "nothing has changed");
    assert_it_syncs(&stage).await;
}

#[tokio::test]
async fn a_token_that_works_is_traded_once_and_takes_the_place_of_the_stored_one() {
    let stage = authorized().await;
    let (generation, ..) = stored(&stage).await;
    let traded = stage.simulator.counters().refreshes;
    let ended = give(&stage, &stage.simulator.grant().refresh_token).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.starts_with("refresh token accepted: authorized by "), "{ended:?}");
    assert_eq!(stage.simulator.counters().refreshes, traded + 1);
    let (now, state, _) = stored(&stage).await;
    assert_eq!((now, state.as_str()), (generation + 1, "authorized"));
    let by: Option<String> = stage.database.value("select authorized_by from teamleader2db.oauth_token").await;
    assert!(ended.out.trim().ends_with(&by.expect("it is known whose it is")), "{ended:?}");
    assert_it_syncs(&stage).await;
}

#[tokio::test]
async fn an_account_without_a_token_is_authorized_by_one_that_is_given() {
    let mut stage = Stage::small().await.unauthorized();
    stage.set("TEAMLEADER_REDIRECT_URI", "https://sync.example.com/sync/oauth");
    let ended = give(&stage, "def502007f5c0000000000000000000000000000").await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let ended = give(&stage, &stage.simulator.grant().refresh_token).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.starts_with("refresh token accepted: authorized by "), "{ended:?}");
    assert_it_syncs(&stage).await;
}

#[tokio::test]
async fn a_token_that_cannot_be_tried_is_stored_only_by_force() {
    let stage = authorized().await;
    let before = stored(&stage).await;
    let given = stage.simulator.grant().refresh_token;
    stage.simulator.inject(Fault::new(FaultKind::ServerError { status: 503 }).at("oauth2/access_token"));
    let ended = give(&stage, &given).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("503") && ended.err.contains("may be used up, and nothing was stored"), "{ended:?}");
    assert_eq!(stored(&stage).await, before);

    let asked = stage.simulator.counters().requests["oauth2/access_token"];
    let ended = stage.run(&["authorize", "--force", "--refresh-token", &given]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.starts_with("refresh token stored untried"), "{ended:?}");
    assert_eq!(stage.simulator.counters().requests["oauth2/access_token"], asked, "it was not sent");
    assert_eq!(stored(&stage).await.0, before.0 + 1);
    stage.simulator.clear_faults();
    assert_it_syncs(&stage).await;
}

#[tokio::test]
async fn a_token_of_another_teamleader_account_replaces_none() {
    let stage = authorized().await;
    let (before, ours) = (stored(&stage).await, stage.simulator.account());
    stage.simulator.set_account(Uuid::new_v4());
    let ended = give(&stage, &stage.simulator.grant().refresh_token).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("belongs to another Teamleader account"), "{ended:?}");
    assert_eq!(stored(&stage).await, before);
    stage.simulator.set_account(ours);
    assert_it_syncs(&stage).await;
}

#[tokio::test]
async fn the_stored_token_is_not_sent_a_second_time() {
    let stage = authorized().await;
    let given = stage.simulator.grant().refresh_token;
    assert_eq!(stage.run(&["authorize", "--force", "--refresh-token", &given]).await.code, 0);
    let (before, asked) = (stored(&stage).await, stage.simulator.counters().requests["oauth2/access_token"]);
    let ended = give(&stage, &given).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains("this refresh token is stored already"), "{ended:?}");
    assert_eq!(stage.simulator.counters().requests["oauth2/access_token"], asked, "a worker may be trading it");
    assert_eq!(stored(&stage).await, before);
    assert_it_syncs(&stage).await;
}

#[tokio::test]
async fn a_pair_that_the_database_does_not_take_is_escrowed_and_found_by_the_worker() {
    let stage = authorized().await;
    let before = stored(&stage).await;
    stage.database.fail_before("update on teamleader2db.oauth_token", "new.generation > old.generation").await;
    let ended = give(&stage, &stage.simulator.grant().refresh_token).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("escrowed on the broker"), "{ended:?}");
    assert!(ended.out.contains("; its new pair waits on the broker until a worker stores it"), "{ended:?}");
    assert_eq!(stored(&stage).await, before);
    stage.broker.await_ready(&stage.broker.tokens_queue(), 1).await;
    stage.database.interfere_no_more().await;
    // What was stored before works no more; what is escrowed does.
    stage.simulator.expire_access_tokens();
    assert_it_syncs(&stage).await;
    assert!(stored(&stage).await.0 > before.0);
}

#[tokio::test]
async fn a_pair_that_a_newer_one_is_stored_before_is_not_said_to_be_in_use() {
    let mut stage = authorized().await;
    // Without a broker it waits for the database alone, which takes no pair but one of far later.
    stage.restore("AMQP_URL", None);
    let update = "update on teamleader2db.oauth_token";
    stage.database.fail_before(update, "new.generation > old.generation and new.generation < 1000").await;
    let given = stage.simulator.grant().refresh_token;
    let mut giving = stage.watch(&["authorize", "--refresh-token", &given]);
    giving.says("The new token pair could not be stored yet").await;
    // As a worker's pair, and those that followed it.
    stage.database.execute("update teamleader2db.oauth_token set generation = 1000").await;
    let status = until("it ends", async || giving.ended()).await;
    assert_eq!(status.code(), Some(1), "{}", giving.log());
    assert!(giving.log().contains("a worker has stored a newer one meanwhile, which stays"), "{}", giving.log());
    assert!(giving.lines().is_empty(), "it is not said to be accepted: {:?}", giving.lines());
    assert_eq!(stored(&stage).await.0, 1000);
}
