//! OAuth 2 from the authorize page to a revoked refresh token.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{Answer, Api, read};
use teamleader_simulator::{Config, Fault, FaultKind, RefreshOutcome};

const REDIRECT: &str = "https://example.eu/callback";

async fn token(api: &Api, parameters: Value) -> Answer {
    let mut parameters = parameters;
    parameters["client_id"] = json!("client");
    parameters["client_secret"] = json!("secret");
    read(api.client.post(format!("{}/oauth2/access_token", api.simulator.url())).form(&parameters)).await.unwrap()
}

async fn refresh(api: &Api, refresh_token: &str) -> Answer {
    token(api, json!({ "grant_type": "refresh_token", "refresh_token": refresh_token })).await
}

async fn trade(api: &Api, code: &str, redirect_uri: &str) -> Answer {
    token(api, json!({ "grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri })).await
}

async fn authorize(api: &Api, query: &str) -> Answer {
    let url = format!("{}/oauth2/authorize?response_type=code&{query}", api.simulator.url());
    read(api.client.get(url)).await.unwrap()
}

#[tokio::test]
async fn the_authorize_page_sends_the_user_back_with_a_code_that_works_once() {
    let api = Api::start(Config { redirect_uri: Some(REDIRECT.to_owned()), ..Config::default() }).await;
    let answer = authorize(&api, &format!("client_id=client&redirect_uri={REDIRECT}&state=a%26b")).await;
    assert_eq!(answer.status, 302);
    let location = answer.header("location");
    let code = location.strip_prefix(&format!("{REDIRECT}?code=")).unwrap().strip_suffix("&state=a%26b").unwrap();

    let granted = trade(&api, code, REDIRECT).await;
    assert_eq!(granted.status, 200);
    assert_eq!(granted.json()["token_type"], "Bearer");
    assert_eq!(granted.json()["expires_in"], 3600);
    assert_eq!(trade(&api, code, REDIRECT).await.status, 400);
    assert_eq!(api.simulator.counters().code_grants, 1);
}

#[tokio::test]
async fn a_user_can_refuse() {
    let api = Api::start(Config::default()).await;
    api.simulator.deny_authorization(true);
    let answer = authorize(&api, &format!("client_id=client&redirect_uri={REDIRECT}&state=s")).await;
    assert_eq!(answer.header("location"), format!("{REDIRECT}?error=access_denied&state=s"));
}

#[tokio::test]
async fn a_wrong_client_or_redirect_uri_is_refused() {
    let api = Api::start(Config { redirect_uri: Some(REDIRECT.to_owned()), ..Config::default() }).await;
    assert_eq!(authorize(&api, &format!("client_id=other&redirect_uri={REDIRECT}")).await.status, 400);
    assert_eq!(authorize(&api, "client_id=client&redirect_uri=https://evil.example").await.status, 400);
    let code = api.simulator.issue_code();
    assert_eq!(trade(&api, &code, "https://evil.example").await.status, 400);
    let request = api.client.post(format!("{}/oauth2/access_token", api.simulator.url()));
    assert_eq!(read(request.json(&json!({ "client_id": "client", "client_secret": "x" }))).await.unwrap().status, 401);
}

#[tokio::test]
async fn a_code_works_for_ten_minutes() {
    let api = Api::start(Config::default()).await;
    let (early, late) = (api.simulator.issue_code(), api.simulator.issue_code());
    api.simulator.advance_clock(Duration::from_secs(595));
    assert_eq!(trade(&api, &early, REDIRECT).await.status, 200);
    api.simulator.advance_clock(Duration::from_secs(5));
    assert_eq!(trade(&api, &late, REDIRECT).await.status, 400);
}

#[tokio::test]
async fn a_refresh_token_works_once_and_then_gives_the_real_error() {
    let api = Api::start(Config::default()).await;
    let first = api.simulator.grant();
    let answer = refresh(&api, &first.refresh_token).await;
    assert_eq!(answer.status, 200);
    let second = answer.json()["refresh_token"].as_str().unwrap().to_owned();

    let reused = refresh(&api, &first.refresh_token).await;
    assert_eq!(reused.status, 400);
    let real = json!({ "errors": [{
        "code": 8,
        "title": "The refresh token is invalid.",
        "status": 400,
        "meta": { "type": "invalid_request", "hint": "Token has been revoked" },
    }] });
    assert_eq!(reused.json(), real);
    assert_eq!(refresh(&api, &second).await.status, 200);
    let counters = api.simulator.counters();
    assert_eq!((counters.refreshes, counters.refused_refresh_reuse), (2, 1));
}

#[tokio::test]
async fn every_refresh_token_that_came_is_known_with_what_became_of_it() {
    let api = Api::start(Config::default()).await;
    // The API of a test holds a pair already, so this is the second.
    let pair = api.simulator.grant();
    api.simulator.inject(Fault::new(FaultKind::LoseTokenAnswer).times(1));
    let parameters = [
        ("grant_type", "refresh_token"),
        ("client_id", "client"),
        ("client_secret", "secret"),
        ("refresh_token", pair.refresh_token.as_str()),
    ];
    let request = api.client.post(format!("{}/oauth2/access_token", api.simulator.url()));
    assert!(read(request.form(&parameters)).await.is_err());
    let third = api.simulator.grant();
    assert_eq!(refresh(&api, &pair.refresh_token).await.status, 400);
    api.simulator.revoke_refresh_tokens();
    assert_eq!(refresh(&api, &third.refresh_token).await.status, 400);
    assert_eq!(refresh(&api, &pair.refresh_token).await.status, 400);
    assert_eq!(refresh(&api, "nonsense").await.status, 400);

    let log = api.simulator.refreshes();
    let told: Vec<_> = log.iter().map(|refresh| (refresh.token, refresh.outcome, refresh.answer_lost)).collect();
    let expected = [
        (Some(2), RefreshOutcome::Traded(3), true),
        (Some(2), RefreshOutcome::Reused, false),
        (Some(4), RefreshOutcome::Revoked, false),
        (Some(2), RefreshOutcome::Reused, false),
        (None, RefreshOutcome::Unknown, false),
    ];
    assert_eq!(told, expected);
    assert!(log.iter().all(|refresh| refresh.from.ip().is_loopback() && refresh.from.port() > 0), "{log:?}");
    let counters = api.simulator.counters();
    assert_eq!((counters.refused_refresh_reuse, counters.refused_token_requests), (2, 2));
    let told: Value =
        read(api.client.get(format!("{}/_simulator/refreshes", api.simulator.url()))).await.unwrap().json();
    assert_eq!(told[0]["outcome"], json!({ "traded": 3 }), "{told}");
}

#[tokio::test]
async fn the_token_endpoint_takes_json_as_well() {
    let api = Api::start(Config::default()).await;
    let body = json!({
        "client_id": "client", "client_secret": "secret", "grant_type": "refresh_token",
        "refresh_token": api.simulator.grant().refresh_token,
    });
    let request = api.client.post(format!("{}/oauth2/access_token", api.simulator.url()));
    assert_eq!(read(request.json(&body)).await.unwrap().status, 200);
}

#[tokio::test]
async fn saving_the_integrations_settings_revokes_the_refresh_token_alone() {
    let api = Api::start(Config::default()).await;
    let pair = api.simulator.grant();
    api.simulator.revoke_refresh_tokens();
    assert_eq!(refresh(&api, &pair.refresh_token).await.status, 400);
    assert_eq!(api.call("users.me", json!({})).await.status, 200);
}

#[tokio::test]
async fn an_access_token_expires_by_time_and_on_demand() {
    let mut api = Api::start(Config::default()).await;
    api.simulator.set_access_token_ttl(Duration::from_secs(100));
    let pair = api.simulator.grant();
    assert_eq!(pair.expires_in, 100);
    api.token = pair.access_token;
    assert_eq!(api.call("users.me", json!({})).await.status, 200);
    api.simulator.advance_clock(Duration::from_secs(100));
    let expired = api.call("users.me", json!({})).await;
    assert_eq!((expired.status, &expired.json()["errors"][0]["status"]), (401, &json!(401)));

    api.token = api.simulator.grant().access_token;
    assert_eq!(api.call("users.me", json!({})).await.status, 200);
    api.simulator.expire_access_tokens();
    assert_eq!(api.call("users.me", json!({})).await.status, 401);
    api.token = "nonsense".to_owned();
    assert_eq!(api.call("users.me", json!({})).await.status, 401);
}
