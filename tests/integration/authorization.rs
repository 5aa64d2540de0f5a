//! A person authorizes the account; until then requests wait.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{ACCOUNT, Stage, Worker, until};

/// The status and JSON of `/health/ready`.
async fn health(worker: &Worker) -> (u16, Value) {
    let (status, text) = worker.get("/health/ready").await;
    (status, serde_json::from_str(&text).unwrap())
}

/// What the callback says to these parameters.
async fn callback(worker: &Worker, parameters: &[(&str, &str)]) -> (u16, String) {
    let answer = worker.request(reqwest::Method::GET, "/sync/oauth").query(parameters).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap().trim().to_owned())
}

/// A state that was given out: from where the link leads.
async fn new_state(worker: &Worker) -> String {
    let no_redirects = reqwest::redirect::Policy::none();
    let browser = reqwest::Client::builder().no_proxy().redirect(no_redirects).build().unwrap();
    let answer = browser.get(format!("{}/sync/authorize", worker.url)).send().await.unwrap();
    assert!(answer.status().is_redirection(), "{}", answer.status());
    let link: reqwest::Url = answer.headers()["location"].to_str().unwrap().parse().unwrap();
    let query = |name: &str| link.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    assert_eq!(link.path(), "/oauth2/authorize");
    assert_eq!(query("response_type").as_deref(), Some("code"));
    assert_eq!(query("redirect_uri"), Some(format!("{}/sync/oauth", worker.url)));
    query("state").expect("a state")
}

#[tokio::test]
async fn requests_wait_until_a_person_has_authorized_the_account() {
    let stage = Stage::small().await.unauthorized();
    let worker = stage.worker().await;
    let told =
        until("a person is asked to authorize", async || stage.events_of_kind("authorization.required").pop()).await;
    assert_eq!(told.routing_key, format!("authorization.{ACCOUNT}.required"));
    assert_eq!(told.subject(), ACCOUNT);
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.broker.await_ready(&stage.broker.requests_queue(), 1).await;
    let (status, body) = health(&worker).await;
    assert_eq!((status, &body["status"]), (200, &json!("degraded")), "the callback has to reach this process: {body}");
    assert!(body["problems"].to_string().contains("/sync/authorize"), "{body}");

    let (status, text) = worker.get("/sync/authorize").await;
    assert_eq!((status, text.trim()), (200, "code accepted"));
    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    let (status, body) = health(&worker).await;
    assert_eq!((status, &body["status"]), (200, &json!("ok")), "{body}");
    assert_eq!(stage.events_of_kind("authorization.required").len(), 1, "told once");
    let counters = stage.simulator.counters();
    assert_eq!((counters.code_grants, counters.refreshes), (1, 0), "{counters:?}");
}

#[tokio::test]
async fn a_worker_that_starts_again_does_not_ask_twice() {
    let stage = Stage::small().await.unauthorized();
    let mut first = stage.worker().await;
    until("a person is asked to authorize", async || stage.events_of_kind("authorization.required").pop()).await;
    first.terminate().await;
    let mut second = stage.worker().await;
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
    second.terminate().await;
    let told = stage.events_of_kind("authorization.required");
    assert!(told.iter().all(|event| event.id() == told[0].id()), "{told:?}");
    let written: i64 = stage.database.value("select count(*) from teamleader2db.event_outbox").await;
    assert_eq!(written, 1);
}

#[tokio::test]
async fn a_callback_that_is_not_ours_is_rejected_with_the_reason() {
    let stage = Stage::small().await.unauthorized();
    let worker = stage.worker().await;
    let code = stage.simulator.issue_code();
    let unknown = Uuid::new_v4().to_string();
    let (status, text) = callback(&worker, &[("code", &code), ("state", &unknown)]).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.starts_with("code rejected: the state is unknown"), "{text}");

    let state = new_state(&worker).await;
    let (status, text) = callback(&worker, &[("code", "wrong"), ("state", &state)]).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.starts_with("code rejected: Teamleader refused the code"), "{text}");
    let (_, text) = callback(&worker, &[("code", &code), ("state", &state)]).await;
    assert!(text.starts_with("code rejected: the state is unknown, used"), "a state works once: {text}");

    for parameters in [&[("code", code.as_str())][..], &[("state", state.as_str())], &[]] {
        let (status, text) = callback(&worker, parameters).await;
        assert_eq!(status, 400, "{text}");
        assert!(text.starts_with("code rejected: code and state are needed"), "{text}");
    }
    stage.simulator.deny_authorization(true);
    let (status, text) = worker.get("/sync/authorize").await;
    assert_eq!(status, 400);
    assert!(text.starts_with("code rejected: Teamleader says access_denied"), "{text}");
    let state: String = stage.database.value("select state from teamleader2db.oauth_token").await;
    assert_eq!(state, "reauthorization_required");
    assert_eq!(stage.simulator.counters().code_grants, 0, "an unknown state costs no code");
}

#[tokio::test]
async fn another_teamleader_account_is_rejected() {
    let stage = Stage::small().await.unauthorized();
    let worker = stage.worker().await;
    let (_, text) = worker.get("/sync/authorize").await;
    assert_eq!(text.trim(), "code accepted");
    let before: (i64, Vec<u8>) = tokens(&stage).await;
    let ours = stage.simulator.account();
    stage.simulator.set_account(Uuid::new_v4());

    let (status, text) = worker.get("/sync/authorize").await;
    assert_eq!((status, text.trim()), (400, "code rejected: another Teamleader account"));
    assert_eq!(tokens(&stage).await, before, "the stored tokens are as they were");

    stage.simulator.set_account(ours);
    let (_, text) = worker.get("/sync/authorize").await;
    assert_eq!(text.trim(), "code accepted", "the same account may authorize again");
    assert_eq!(tokens(&stage).await.0, before.0 + 1);
}

async fn tokens(stage: &Stage) -> (i64, Vec<u8>) {
    let generation = stage.database.value("select generation from teamleader2db.oauth_token").await;
    (generation, stage.database.value("select refresh_token from teamleader2db.oauth_token").await)
}
