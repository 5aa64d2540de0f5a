//! The routes for other processes.

use serde_json::{Value, json};
use teamleader_simulator::FaultKind;

use crate::{Answer, Api, live, parse, read};

async fn control(api: &Api, method: reqwest::Method, path: &str, body: Value) -> Answer {
    let request = api.client.request(method, format!("{}/_simulator/{path}", api.simulator.url()));
    read(if body.is_null() { request } else { request.json(&body) }).await.unwrap()
}

async fn post(api: &Api, path: &str, body: Value) -> Answer {
    control(api, reqwest::Method::POST, path, body).await
}

async fn get(api: &Api, path: &str) -> Answer {
    control(api, reqwest::Method::GET, path, Value::Null).await
}

async fn delete(api: &Api, path: &str) -> Answer {
    control(api, reqwest::Method::DELETE, path, Value::Null).await
}

#[tokio::test]
async fn the_truth_comes_as_a_line_for_each_record() {
    let api = Api::unlimited(&[]).await;
    assert_eq!(parse(&get(&api, "truth").await.text)["contacts"], 20);
    let lines = get(&api, "truth/contacts").await.text;
    let truth = api.simulator.truth("contacts");
    assert_eq!(lines.lines().count(), truth.len());
    for (line, record) in lines.lines().zip(&truth) {
        let value = parse(line);
        assert_eq!(value["id"], record.id.to_string());
        assert_eq!(value["list"], parse(&record.list));
        assert_eq!(value["info"], parse(record.info.as_ref().unwrap()));
        assert_eq!(value["content"]["remarks"], value["info"]["remarks"]);
        assert_eq!(value["content"]["primary_address"], value["list"]["primary_address"]);
        assert_eq!(value["updated_at"], value["list"]["updated_at"]);
    }
    let bare = get(&api, "truth/contacts?includes=").await.text;
    assert!(parse(bare.lines().next().unwrap())["list"].get("custom_fields").is_none());
    assert_eq!(get(&api, "truth/nonsense").await.status, 404);
}

#[tokio::test]
async fn changes_are_made_at_once_and_while_paging() {
    let api = Api::unlimited(&[]).await;
    let added = post(&api, "changes", json!({ "resource": "contacts", "kind": "add", "count": 4 })).await.json();
    assert_eq!(added["ids"].as_array().unwrap().len(), 4);
    let id = live(&api.simulator, "contacts")[0].clone();
    let gone = post(&api, "changes", json!({ "resource": "contacts", "kind": "delete", "id": id })).await.json();
    assert_eq!(gone["ids"], json!([id]));
    assert_eq!(api.simulator.count("contacts"), 23);

    let body = json!({ "resource": "contacts", "every": 1, "kinds": ["delete"] });
    assert_eq!(post(&api, "changes-while-paging", body).await.status, 204);
    api.call("contacts.list", json!({})).await;
    assert_eq!(delete(&api, "changes-while-paging").await.status, 204);
    api.call("contacts.list", json!({})).await;
    assert_eq!(api.simulator.count("contacts"), 22);

    assert_eq!(post(&api, "changes", json!({ "resource": "nonsense", "kind": "add" })).await.status, 400);
    assert_eq!(post(&api, "nonsense", json!({})).await.status, 404);
}

#[tokio::test]
async fn faults_are_set_listed_and_cleared_and_never_hit_the_control_routes() {
    let api = Api::unlimited(&[]).await;
    let fault = json!({ "kind": "server_error_html", "status": 502, "endpoint": "users.me", "skip": 1, "times": 3 });
    assert_eq!(post(&api, "faults", fault.clone()).await.status, 204);
    assert_eq!(post(&api, "faults", json!({ "kind": "cut_before_answer" })).await.status, 204);
    assert_eq!(post(&api, "faults", json!({ "kind": "nonsense" })).await.status, 400);
    assert_eq!(get(&api, "faults").await.json()[0], fault);
    assert_eq!(api.simulator.faults()[1].kind, FaultKind::CutBeforeAnswer);
    assert!(api.send("contacts.list", json!({})).await.is_err());
    assert_eq!(delete(&api, "faults").await.status, 204);
    assert_eq!(api.call("contacts.list", json!({})).await.status, 200);
}

#[tokio::test]
async fn counters_count_the_api_and_not_the_control_routes() {
    let api = Api::unlimited(&[]).await;
    api.call("contacts.list", json!({})).await;
    api.call("contacts.list", json!({ "page": { "size": 0 } })).await;
    api.call("../etc/passwd", json!({})).await;
    let counters = get(&api, "counters").await.json();
    assert_eq!(counters["requests"], json!({ "contacts.list": 2, "unknown": 1 }));
    assert_eq!(counters["statuses"], json!({ "200": 1, "400": 1, "404": 1 }));
    assert_eq!(counters["max_concurrent"], 1);
    assert_eq!(delete(&api, "counters").await.status, 204);
    assert_eq!(api.simulator.counters().total(), 0);
}

#[tokio::test]
async fn tokens_codes_settings_and_time_are_at_hand() {
    let mut api = Api::unlimited(&[]).await;
    api.token = post(&api, "tokens", Value::Null).await.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(api.call("users.me", json!({})).await.status, 200);
    assert!(post(&api, "codes", Value::Null).await.json()["code"].is_string());
    assert_eq!(post(&api, "tokens/expire", Value::Null).await.status, 204);
    assert_eq!(api.call("users.me", json!({})).await.status, 401);
    assert_eq!(post(&api, "tokens/revoke", Value::Null).await.status, 204);

    let account = "11111111-1111-4111-8111-111111111111";
    let settings =
        json!({ "rate_limit": 3, "rate_window_seconds": 2.5, "account_id": account, "access_token_ttl_seconds": 9 });
    assert_eq!(post(&api, "settings", settings).await.status, 204);
    assert_eq!(api.simulator.account().to_string(), account);
    api.token = api.simulator.grant().access_token;
    assert_eq!(post(&api, "rate-limit/spend", json!({ "requests": 3 })).await.status, 204);
    assert_eq!(api.call("users.me", json!({})).await.status, 429);
    assert_eq!(post(&api, "clock/advance", json!({ "seconds": 2.5 })).await.status, 204);
    assert_eq!(api.call("users.me", json!({})).await.status, 200);
    assert_eq!(post(&api, "clock/advance", json!({ "seconds": 9 })).await.status, 204);
    assert_eq!(api.call("users.me", json!({})).await.status, 401);
}
