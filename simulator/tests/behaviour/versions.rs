//! Dated versions of the API.

use serde_json::{Value, json};
use teamleader_simulator::{Fault, FaultKind, Version};

use crate::Api;

async fn first(api: &Api, version: Option<&str>, list: &str) -> Value {
    let answer = api.send_as(version, list, json!({ "page": { "size": 100 } })).await.unwrap();
    answer.json()["data"][0].clone()
}

#[tokio::test]
async fn without_the_header_the_version_of_the_integration_answers_and_says_so() {
    let api = Api::unlimited(&[]).await;
    let old = api.send_as(None, "meetings.list", json!({})).await.unwrap();
    assert_eq!(old.header("x-api-version"), "2018-06-30");
    assert!(old.json()["data"][0]["name"].is_string() && old.json()["data"][0].get("title").is_none());
    let new = api.call("meetings.list", json!({})).await;
    assert_eq!(new.header("x-api-version"), "2023-09-26");
    assert!(new.json()["data"][0]["title"].is_string());
    let versions = api.simulator.counters().versions;
    assert_eq!((versions["none"], versions["2023-09-26"], versions.len()), (1, 1, 2));
    api.quirk(|quirks| quirks.pinned_version = Version::NEWEST);
    let pinned = api.send_as(None, "meetings.list", json!({})).await.unwrap();
    assert_eq!((pinned.header("x-api-version"), &pinned.text), ("2023-09-26", &new.text));
}

#[tokio::test]
async fn a_version_that_does_not_exist_is_refused() {
    let api = Api::unlimited(&[]).await;
    assert_eq!(api.send_as(Some("2026-01-01"), "users.me", json!({})).await.unwrap().status, 400);
    for version in Version::all() {
        let answer = api.send_as(Some(&version.to_string()), "users.me", json!({})).await.unwrap();
        assert_eq!((answer.status, answer.header("x-api-version").to_owned()), (200, version.to_string()));
    }
}

#[tokio::test]
async fn older_versions_answer_in_their_shapes() {
    let api = Api::unlimited(&[("tasks", 60), ("invoices", 60), ("companies", 60)]).await;
    let (before, after) = (Some("2022-09-15"), Some("2023-09-26"));
    let option = async |version| {
        let answer = api.send_as(version, "customFieldDefinitions.list", json!({ "page": { "size": 100 } })).await;
        let answer = answer.unwrap().json();
        let mut definitions = answer["data"].as_array().unwrap().iter();
        definitions.find_map(|definition| definition.pointer("/configuration/options/0").cloned()).unwrap()
    };
    assert!(option(before).await.is_string() && option(after).await["value"].is_string());
    let price = async |version| {
        let answer = api.send_as(version, "orders.info", json!({ "id": api.simulator.truth("orders")[2].id })).await;
        let answer = answer.unwrap().json();
        let groups = answer["data"]["grouped_lines"].as_array().unwrap().clone();
        groups.iter().find_map(|group| group.pointer("/line_items/0").cloned())
    };
    if let (Some(old), Some(new)) = (price(before).await, price(after).await) {
        assert!(old["unit_price"]["currency"].is_string() && new["unit_price"].get("currency").is_none());
    }

    let old = first(&api, Some("2021-09-01"), "subscriptions.list").await;
    let new = first(&api, before, "subscriptions.list").await;
    assert_eq!((&old["remark"], &old["periodicity"]), (&new["note"], &new["billing_cycle"]["periodicity"]));
    assert!(old.get("note").is_none() && old.get("billing_cycle").is_none());

    let product = first(&api, Some("2020-05-01"), "products.list").await;
    let text = product["description"].as_str().map(|text| text.starts_with("<p>"));
    assert!(text.is_none_or(|is_html| is_html));
    let task = first(&api, Some("2019-07-03"), "tasks.list").await;
    assert!(task.get("title").is_none() && task.get("due_on").is_some());
    let tasks = api.send_as(Some("2019-03-13"), "tasks.list", json!({ "page": { "size": 100 } })).await.unwrap().json();
    let tasks = tasks["data"].as_array().unwrap();
    assert!(tasks.iter().all(|task| task["assignee"].is_object() && task.get("due_on").is_none()));
    assert!(tasks.iter().any(|task| task["assignee"]["id"].is_null()));

    let event = first(&api, Some("2019-03-13"), "events.list").await;
    assert_eq!(event["todo"]["type"], "todo");
    let invoices = api.send_as(Some("2019-01-24"), "invoices.list", json!({ "page": { "size": 100 } })).await.unwrap();
    let invoices = invoices.json();
    for invoice in invoices["data"].as_array().unwrap() {
        assert!(matches!(invoice["status"].as_str().unwrap(), "draft" | "booked"));
        assert!(invoice["invoice_number"].as_str().is_none_or(|number| !number.contains('/')));
    }
    let oldest = first(&api, None, "companies.list").await;
    assert!(oldest["local_business_number"].is_string() && oldest["address"].is_object());
    assert!(first(&api, None, "deals.list").await["customer"].is_object());
    assert!(first(&api, None, "products.list").await["translations"].is_object());
}

#[tokio::test]
async fn an_answer_can_be_of_another_version_than_was_asked_for() {
    let api = Api::unlimited(&[]).await;
    let version = "2022-09-15".parse().unwrap();
    api.simulator.inject(Fault::new(FaultKind::OtherVersion { version }).at("meetings").times(1));
    let answer = api.call("meetings.list", json!({})).await;
    assert_eq!(answer.header("x-api-version"), "2022-09-15");
    assert!(answer.json()["data"][0].get("title").is_none());
}
