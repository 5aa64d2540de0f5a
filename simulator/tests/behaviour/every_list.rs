//! Every list and every `.info` of the blueprint, over HTTP.

use serde_json::{Value, json};
use teamleader_simulator::contract;

use crate::{Api, key, keys, list_of, live_keys, parse, sorted};

#[tokio::test]
async fn answers_carry_what_the_truth_says() {
    let api = Api::unlimited(&[]).await;
    for resource in contract::resources() {
        let (list, contract) = list_of(resource);
        for includes in ["", "custom_fields,late_fees,related_companies,external_rate,expiry,materials,legacy_project"]
        {
            let names: Vec<&str> = includes.split(',').collect();
            let truth = api.simulator.truth_with(resource, &names);
            let mut listed = String::new();
            for body in api.bodies(resource, &json!({ "page": { "size": 100 }, "includes": includes })) {
                let answer = api.call(list, body).await;
                assert_eq!(answer.status, 200, "{list}: {}", answer.text);
                listed.push_str(&answer.text);
            }
            for record in truth {
                assert!(listed.contains(&record.list), "{list} lacks {}", record.list);
                let Some(info) = record.info else { continue };
                let asked = json!({ "id": record.id, "includes": includes });
                let answer = api.call(&format!("{resource}.info"), asked).await.text;
                match resource {
                    "timeTracking" => {
                        assert_eq!(answer, format!("{{\"data\":{info},\"meta\":{{\"updatable\":true}}}}"));
                    }
                    _ => assert_eq!(answer, format!("{{\"data\":{info}}}")),
                }
            }
            assert!(!contract.record.is_empty());
        }
    }
}

#[tokio::test]
async fn list_and_info_agree_on_what_both_show() {
    fn agree(path: &str, list: &Value, info: &Value) {
        match (list, info) {
            (Value::Object(list), Value::Object(info)) => {
                for (key, value) in list {
                    if let Some(other) = info.get(key) {
                        agree(&format!("{path}.{key}"), value, other);
                    }
                }
            }
            _ => assert_eq!(list, info, "{path}"),
        }
    }
    let api = Api::unlimited(&[]).await;
    for resource in contract::resources() {
        api.simulator.update(resource, 3);
        for record in api.simulator.truth(resource) {
            let mut list = parse(&record.list);
            // The list shows the language, `.info` the locale.
            if resource == "users" {
                list.as_object_mut().unwrap().remove("language");
            }
            if let Some(info) = record.info {
                agree(resource, &list, &parse(&info));
            }
        }
    }
}

#[tokio::test]
async fn every_sort_field_of_the_blueprint_is_served_in_both_directions() {
    let api = Api::unlimited(&[("contacts", 150), ("projects-v2/projects", 130)]).await;
    for resource in contract::resources() {
        let fields = &list_of(resource).1.sort.fields;
        for field in fields {
            let ask = |order: &str| json!({ "sort": [{ "field": field, "order": order }] });
            let orders = &list_of(resource).1.sort.orders;
            if !orders.is_empty() {
                assert_eq!(orders.len(), 1, "{resource}");
                continue;
            }
            let up = api.everything(resource, ask("asc")).await;
            assert_eq!(sorted(keys(&up)), sorted(live_keys(&api.simulator, resource)));
            // Files are sorted for each of their subjects.
            if resource != "files" {
                let mut down = api.everything(resource, ask("desc")).await;
                down.reverse();
                assert_eq!(up, down, "{resource} by {field}");
            }
            let shown = if (resource, field.as_str()) == ("timeTracking", "starts_on") { "started_on" } else { field };
            let values: Vec<&Value> = up.iter().filter_map(|record| record.get(shown)).collect();
            let numbers: Vec<f64> = values.iter().filter_map(|value| measure(value)).collect();
            assert!(numbers.is_sorted(), "{resource} by {field}: {numbers:?}");
            let is_text = |value: &&&Value| value.as_str().is_some_and(|text| text.is_ascii() && !text.contains('?'));
            let texts = values.iter().filter(is_text).map(|value| value.as_str().unwrap().to_lowercase());
            // Files are sorted within each subject, and numbers of invoices by year and number.
            let otherwise = resource == "files" || field == "invoice_number";
            assert!(otherwise || texts.is_sorted(), "{resource} by {field}");
        }
    }
}

fn measure(value: &Value) -> Option<f64> {
    ["", "/amount", "/value"].iter().find_map(|pointer| value.pointer(pointer)?.as_f64())
}

#[tokio::test]
async fn the_default_sort_is_that_of_the_blueprint() {
    let api = Api::unlimited(&[]).await;
    for resource in contract::resources() {
        if let Some(sort) = &list_of(resource).1.sort.default {
            let order = if sort.order == contract::Order::Asc { "asc" } else { "desc" };
            let asked = json!({ "sort": [{ "field": sort.field, "order": order }] });
            assert_eq!(api.everything(resource, asked).await, api.everything(resource, json!({})).await, "{resource}");
        }
    }
}

#[tokio::test]
async fn records_without_an_id_have_a_key_of_their_own_for_ever() {
    let api = Api::unlimited(&[]).await;
    for resource in ["tags", "expenses", "tickets.messages", "projects-v2/projectLines"] {
        let mut seen = sorted(live_keys(&api.simulator, resource));
        api.simulator.delete(resource, 2);
        api.simulator.add(resource, 40);
        let live = live_keys(&api.simulator, resource);
        let mut distinct = sorted(live.clone());
        distinct.dedup();
        assert_eq!(distinct.len(), live.len(), "{resource}");
        seen.extend(distinct);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), live.len() + 2, "{resource}: a key came back");
    }
    for resource in ["tickets.messages", "projects-v2/projectLines"] {
        for record in api.simulator.truth(resource) {
            assert_eq!(record.id.to_string(), key(&parse(&record.list)));
        }
    }
}

#[tokio::test]
async fn defaults_stand_beside_the_data() {
    let api = Api::unlimited(&[]).await;
    for resource in ["dealPipelines", "paymentTerms"] {
        let answer = api.call(&format!("{resource}.list"), json!({})).await.json();
        assert_eq!(answer["meta"], json!({ "default": crate::live(&api.simulator, resource)[0] }));
    }
    let asked = api.call("dealPipelines.list", json!({ "includes": "pagination" })).await.json();
    assert_eq!(asked["meta"]["matches"], 2);
}

#[tokio::test]
async fn the_kind_of_projects_is_what_the_settings_say() {
    let api = Api::unlimited(&[]).await;
    let status = async || api.call("accounts.projects-v2-status", json!({})).await.json()["data"]["status"].clone();
    assert_eq!(status().await, "legacy");
    api.simulator.set_projects_v2(true);
    assert_eq!(status().await, "projects-v2");
    for endpoint in ["projects.list", "projects-v2/projects.list"] {
        assert!(!api.call(endpoint, json!({})).await.ids().is_empty());
    }
    let settings = api.client.post(format!("{}/_simulator/settings", api.simulator.url()));
    settings.json(&json!({ "projects_v2": false })).send().await.unwrap();
    assert_eq!(status().await, "legacy");
}

#[tokio::test]
async fn a_list_without_pages_has_them_if_it_is_told_so() {
    let mut config = teamleader_simulator::Config { rate_limit: 1_000_000, ..Default::default() };
    config.quirks.matches = teamleader_simulator::Matches::Everywhere;
    config.counts.insert("priceLists".to_owned(), 45);
    config.paged.insert("priceLists".to_owned());
    let api = Api::start(config).await;
    let ask = |number: u32| json!({ "page": { "number": number }, "includes": "pagination" });
    let third = api.call("priceLists.list", ask(3)).await;
    assert_eq!(third.ids().len(), 5);
    assert_eq!(third.json()["meta"], json!({ "page": { "size": 20, "number": 3 }, "matches": 45 }));
    assert!(api.page_ids("priceLists.list", ask(4)).await.is_empty());
    api.simulator.set_paged("priceLists", false);
    let all = api.call("priceLists.list", ask(4)).await;
    assert_eq!(all.ids().len(), 45);
    assert!(all.json().get("meta").is_none());
}

#[tokio::test]
async fn what_the_blueprint_does_not_have_is_not_found() {
    let api = Api::unlimited(&[]).await;
    assert_eq!(api.call("users.daysOff.list", json!({ "id": "x" })).await.status, 404);
    assert_eq!(api.call("nonsense.list", json!({})).await.status, 404);
}
