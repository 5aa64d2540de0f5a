//! Each fault as a client sees it.

use std::time::Duration;

use serde_json::json;
use teamleader_simulator::{Config, Fault, FaultKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Api, live, read};

/// Sends one request and gives every byte that comes back until the connection closes.
async fn raw(api: &Api, endpoint: &str) -> String {
    let address = api.simulator.url().replace("http://", "");
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let request = format!(
        "POST /{endpoint} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}",
        api.token
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_fault_hits_its_endpoint_after_the_skipped_requests_and_as_often_as_told() {
    let api = Api::unlimited(&[]).await;
    api.simulator.inject(Fault::new(FaultKind::ServerError { status: 503 }).at("contacts.list").after(1).times(2));
    let mut statuses = Vec::new();
    for _ in 0..5 {
        assert_eq!(api.call("companies.list", json!({})).await.status, 200);
        statuses.push(api.call("contacts.list", json!({})).await.status);
    }
    assert_eq!(statuses, [200, 503, 503, 200, 200]);
    assert!(api.simulator.faults().is_empty());
    assert_eq!(api.simulator.counters().statuses[&503], 2);
}

#[tokio::test]
async fn a_fault_without_a_number_lasts_until_it_is_cleared() {
    let api = Api::unlimited(&[]).await;
    api.simulator.inject(Fault::new(FaultKind::ServerError { status: 500 }));
    for _ in 0..3 {
        assert_eq!(api.call("users.me", json!({})).await.status, 500);
    }
    api.simulator.clear_faults();
    assert_eq!(api.call("users.me", json!({})).await.status, 200);
}

#[tokio::test]
async fn a_server_error_comes_as_json_or_as_html() {
    let api = Api::unlimited(&[]).await;
    api.simulator.inject(Fault::new(FaultKind::ServerError { status: 500 }).times(1));
    api.simulator.inject(Fault::new(FaultKind::ServerErrorHtml { status: 502 }).times(1));
    let json = api.call("users.me", json!({})).await;
    assert_eq!((json.status, json.header("content-type")), (500, "application/json"));
    assert!(json.json()["errors"][0]["title"].is_string());
    let html = api.call("users.me", json!({})).await;
    assert_eq!((html.status, html.header("content-type")), (502, "text/html"));
    assert!(html.text.starts_with("<html>"));
}

#[tokio::test]
async fn a_connection_is_cut_before_any_byte_of_an_answer() {
    let api = Api::unlimited(&[]).await;
    api.simulator.inject(Fault::new(FaultKind::CutBeforeAnswer).times(1));
    assert_eq!(raw(&api, "users.me").await, "");
    assert_eq!(api.simulator.counters().unanswered, 1);
    assert!(raw(&api, "users.me").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn truncated_json_is_whole_http() {
    let api = Api::unlimited(&[]).await;
    api.simulator.inject(Fault::new(FaultKind::TruncatedJson).times(1));
    let answer = api.call("users.me", json!({})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-length"), answer.text.len().to_string());
    assert!(serde_json::from_str::<serde_json::Value>(&answer.text).is_err());
}

#[tokio::test]
async fn a_body_is_cut_in_the_middle() {
    let api = Api::unlimited(&[("contacts", 100)]).await;
    api.simulator.inject(Fault::new(FaultKind::CutMidBody).times(1));
    let answer = raw(&api, "contacts.list").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned));
    let length: usize = length.unwrap().parse().unwrap();
    assert!(!body.is_empty() && body.len() < length, "{} of {length}", body.len());

    api.simulator.inject(Fault::new(FaultKind::CutMidBody).times(1));
    assert!(api.send("contacts.list", json!({})).await.is_err());
}

#[tokio::test]
async fn a_slow_body_is_whole_in_the_end() {
    let api = Api::unlimited(&[]).await;
    let usual = api.call("contacts.list", json!({})).await.text;
    api.simulator.inject(Fault::new(FaultKind::SlowBody { milliseconds: 40 }).times(1));
    let before = std::time::Instant::now();
    assert_eq!(api.call("contacts.list", json!({})).await.text, usual);
    assert!(before.elapsed() >= Duration::from_millis(40));
}

#[tokio::test]
async fn latency_delays_and_lets_other_faults_through() {
    let api = Api::unlimited(&[]).await;
    api.simulator.inject(Fault::new(FaultKind::Latency { milliseconds: 30 }).times(1));
    api.simulator.inject(Fault::new(FaultKind::Forbidden).times(1));
    let before = std::time::Instant::now();
    assert_eq!(api.call("users.me", json!({})).await.status, 403);
    assert!(before.elapsed() >= Duration::from_millis(30));
}

#[tokio::test]
async fn a_hanging_request_ends_when_the_simulator_stops() {
    let api = Api::unlimited(&[]).await;
    api.simulator.inject(Fault::new(FaultKind::Hang));
    let (answer, ()) = tokio::join!(raw(&api, "users.me"), async {
        while api.simulator.counters().max_concurrent == 0 {
            tokio::task::yield_now().await;
        }
        api.simulator.stop().await;
    });
    assert_eq!(answer, "");
}

#[tokio::test]
async fn a_429_burst_tells_when_to_come_back() {
    let api = Api::start(Config::default()).await;
    api.simulator.inject(Fault::new(FaultKind::RateLimited { reset_in_ms: Some(500) }).times(2));
    for _ in 0..2 {
        let answer = api.call("users.me", json!({})).await;
        assert_eq!((answer.status, answer.header("x-ratelimit-remaining")), (429, "0"));
        assert!(answer.headers.contains_key("x-ratelimit-reset"));
    }
    assert_eq!(api.call("users.me", json!({})).await.header("x-ratelimit-remaining"), "197");
    assert_eq!(api.simulator.counters().rate_limited, 2);
}

#[tokio::test]
async fn a_resource_can_be_forbidden_as_a_whole() {
    let api = Api::unlimited(&[]).await;
    api.simulator.inject(Fault::new(FaultKind::Forbidden).at("invoices"));
    let id = live(&api.simulator, "invoices")[0].clone();
    assert_eq!(api.call("invoices.list", json!({})).await.status, 403);
    assert_eq!(api.call("invoices.info", json!({ "id": id })).await.status, 403);
    assert_eq!(api.call("contacts.list", json!({})).await.status, 200);
}

#[tokio::test]
async fn a_date_can_be_of_another_time() {
    let api = Api::unlimited(&[]).await;
    let date = async || {
        let text = api.call("users.me", json!({})).await.header("date").to_owned();
        chrono::DateTime::parse_from_rfc2822(&text).unwrap()
    };
    api.simulator.inject(Fault::new(FaultKind::Date { seconds: 86_400 }).times(1));
    let (tomorrow, now) = (date().await, date().await);
    assert!((86_390..=86_400).contains(&(tomorrow - now).num_seconds()), "{tomorrow} and {now}");
}

#[tokio::test]
async fn answers_can_be_compressed_where_it_is_asked_for_and_where_it_is_not() {
    let api = Api::unlimited(&[]).await;
    let encoded = async |asks: &'static str| {
        let url = format!("{}/users.me", api.simulator.url());
        let answer = api.client.post(url).bearer_auth(&api.token).header("accept-encoding", asks).send().await.unwrap();
        answer.headers().get("content-encoding").map(|coding| coding.to_str().unwrap().to_owned())
    };
    assert_eq!(encoded("gzip").await, None);
    api.simulator.set_compression(true);
    assert_eq!((encoded("gzip").await.as_deref(), encoded("identity").await), (Some("gzip"), None));
    api.simulator.inject(Fault::new(FaultKind::Gzip).times(1));
    assert_eq!(encoded("identity").await.as_deref(), Some("gzip"));
}

#[tokio::test]
async fn a_token_answer_can_be_lost_after_the_rotation() {
    let api = Api::unlimited(&[]).await;
    let pair = api.simulator.grant();
    api.simulator.inject(Fault::new(FaultKind::LoseTokenAnswer).times(1));
    let refresh = || {
        let form = json!({
            "client_id": "client", "client_secret": "secret", "grant_type": "refresh_token",
            "refresh_token": pair.refresh_token,
        });
        read(api.client.post(format!("{}/oauth2/access_token", api.simulator.url())).form(&form))
    };
    assert_eq!(api.call("users.me", json!({})).await.status, 200, "the API itself is not hit");
    assert!(refresh().await.is_err());
    assert_eq!(refresh().await.unwrap().status, 400);
    let counters = api.simulator.counters();
    assert_eq!((counters.refreshes, counters.refused_refresh_reuse, counters.unanswered), (1, 1, 1));
}
