//! What the worker asks of the API is what the API's blueprint offers. Whatever else stands in a body is ignored without an error,
//! so nobody would notice.

use serde_json::{Value, json};
use teamleader_simulator::contract;

use crate::stage::{RESOURCES, Recorder, Stage};

#[tokio::test]
async fn every_request_is_drawn_in_the_blueprint() {
    let mut stage = Stage::of(120).await;
    let recorder = Recorder::start(stage.simulator.url()).await;
    stage.set("TEAMLEADER_API_URI", &recorder.url);
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.simulator.update("contacts", 3);
    stage.simulator.delete("contacts", 3);
    stage.complete(json!({})).await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.assert_copy_is_equal().await;

    let asked = recorder.asked();
    for request in &asked {
        check(&request.endpoint, &request.body);
    }
    let bodies = |endpoint: &str| {
        asked.iter().filter(|request| request.endpoint == endpoint).map(|request| &request.body).collect::<Vec<_>>()
    };
    for resource in RESOURCES {
        assert!(!bodies(&format!("{resource}.list")).is_empty(), "{resource}");
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
            "page" | "filter" | "sort" => endpoint.ends_with(".list"),
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
        if let Some(choices) = &filter.choices {
            assert!(values.iter().all(|value| choices.iter().any(|choice| value == choice)), "{name}: {shown}");
        }
    }
    for sort in body["sort"].as_array().into_iter().flatten() {
        assert!(drawn.sort.fields.iter().any(|field| sort["field"] == **field), "{shown}");
    }
    if endpoint.ends_with(".list") {
        assert_eq!(body["page"]["size"], 100, "the largest page there is: {shown}");
        assert!(body["page"]["number"].as_u64().is_some_and(|number| number >= 1), "{shown}");
    }
}

fn words(body: &Value) -> Vec<&str> {
    body["includes"].as_str().map(|includes| includes.split(',').collect()).unwrap_or_default()
}
