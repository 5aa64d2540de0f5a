//! What the worker asks of the API is what the API's blueprint offers. Whatever else stands in a body is ignored without an error,
//! so nobody would notice.

use serde_json::{Value, json};
use teamleader_simulator::contract;

use crate::stage::{Recorder, Stage};

#[tokio::test]
async fn every_request_is_drawn_in_the_blueprint() {
    let mut stage = Stage::of(120).await.of_everything();
    let recorder = Recorder::start(stage.simulator.url()).await;
    stage.set("TEAMLEADER_API_URI", &recorder.url);
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.simulator.update("contacts", 3);
    stage.simulator.delete("contacts", 3);
    stage.complete(json!({})).await;
    // The others of the two project APIs.
    stage.simulator.set_projects_v2(true);
    stage.complete(json!({ "mode": "full", "refetch": true })).await;
    stage.complete(json!({ "mode": "audit", "sample": 10 })).await;
    stage.assert_copy_is_equal().await;

    let asked = recorder.asked();
    // This one is in the facts, and not in the blueprint.
    for request in asked.iter().filter(|request| request.endpoint != "accounts.projects-v2-status") {
        check(&request.endpoint, &request.body);
    }
    let bodies = |endpoint: &str| {
        asked.iter().filter(|request| request.endpoint == endpoint).map(|request| &request.body).collect::<Vec<_>>()
    };
    for endpoint in contract::endpoints().keys().filter(|endpoint| endpoint.contains(".list")) {
        assert_eq!(bodies(endpoint).is_empty(), endpoint == "webhooks.list", "{endpoint}");
    }
    assert!(
        bodies("contacts.list").iter().any(|body| body["filter"]["updated_since"].is_string()),
        "changes are asked for"
    );
    assert!(
        bodies("contacts.list").iter().any(|body| body["filter"]["ids"].is_array()),
        "what is missing is asked for by id"
    );
    assert!(bodies("contacts.list").iter().all(|body| words(body).contains(&"custom_fields")));
    assert!(bodies("users.list").iter().all(|body| body["filter"]["status"] == json!(["active", "deactivated"])));
}

fn check(endpoint: &str, body: &Value) {
    let drawn = contract::endpoint(endpoint).unwrap_or_else(|| panic!("there is no {endpoint}"));
    let shown = format!("{endpoint} {body}");
    for include in words(body) {
        assert!(include == "pagination" || drawn.includes.iter().any(|known| known == include), "{include}: {shown}");
    }
    for key in body.as_object().unwrap().keys() {
        let known = match key.as_str() {
            "includes" => true,
            "page" | "filter" | "sort" => endpoint.contains(".list"),
            other => drawn.parameters.contains_key(other),
        };
        assert!(known, "{key}: {shown}");
    }
    for (name, value) in body["filter"].as_object().into_iter().flatten() {
        let filter = drawn.filter.get(name).unwrap_or_else(|| panic!("no filter {name}: {shown}"));
        let many = filter.kind.as_deref().is_some_and(|kind| kind.starts_with("array"));
        assert_eq!(value.is_array(), many, "{name}: {shown}");
        let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        assert!(values.len() <= 100, "{shown}");
        if let Some(choices) = filter.fields.get("type").and_then(|kind| kind.choices.as_ref()) {
            assert!(choices.iter().any(|choice| value["type"] == **choice), "{name}: {shown}");
        }
        if let Some(choices) = &filter.choices {
            assert!(values.iter().all(|value| choices.iter().any(|choice| value == choice)), "{name}: {shown}");
        }
    }
    for sort in body["sort"].as_array().into_iter().flatten() {
        assert!(drawn.sort.fields.iter().any(|field| sort["field"] == **field), "{shown}");
    }
    if endpoint.contains(".list") {
        // The largest page there is, and somewhat less in further passes.
        assert!(body["page"]["size"].as_u64().is_some_and(|size| (83..=100).contains(&size)), "{shown}");
        assert!(body["page"]["number"].as_u64().is_some_and(|number| number >= 1), "{shown}");
    }
}

fn words(body: &Value) -> Vec<&str> {
    body["includes"].as_str().map(|includes| includes.split(',').collect()).unwrap_or_default()
}
