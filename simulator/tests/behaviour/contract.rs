//! Records and parameters against the blueprint.

use serde_json::{Value, json};
use teamleader_simulator::contract::{self, Field, Fields};

use crate::{Api, contents, list_of, parse};

/// What is wrong with an object, as paths.
fn object_faults(path: &str, fields: &Fields, value: &Value, includes: &[&str], faults: &mut Vec<String>) {
    let Some(object) = value.as_object() else {
        return faults.push(format!("{path} is no object: {value}"));
    };
    for key in object.keys().filter(|key| !fields.contains_key(*key)) {
        faults.push(format!("{path}.{key} is not in the blueprint"));
    }
    for (key, field) in fields {
        let wanted = field.needs_include.as_deref().is_none_or(|include| includes.contains(&include));
        match object.get(key) {
            // Live answers have it of selections alone.
            None if path.starts_with("customFieldDefinitions") && key == "configuration" => {}
            None if wanted => faults.push(format!("{path}.{key} is missing")),
            Some(_) if !wanted => faults.push(format!("{path}.{key} came without its include")),
            Some(value) => field_faults(&format!("{path}.{key}"), field, value, includes, faults),
            None => {}
        }
    }
}

fn field_faults(path: &str, field: &Field, value: &Value, includes: &[&str], faults: &mut Vec<String>) {
    let kind = field.kind.as_deref().unwrap_or("");
    if value.is_null() {
        // Seen live: a custom field of yes and no that nobody has answered.
        if !field.nullable && !path.ends_with("custom_fields[].value") {
            faults.push(format!("{path} is null"));
        }
        return;
    }
    // The blueprint draws one kind of value alone; `custom_field_values_follow_their_definitions` looks at all.
    if path.ends_with("custom_fields[].value") {
        return;
    }
    if kind.starts_with("array") {
        let Some(items) = value.as_array() else {
            return faults.push(format!("{path} is no array: {value}"));
        };
        // `actions`, `grouped_lines` of subscriptions: nothing tells of the items, so there are none.
        if kind == "array" && field.fields.is_empty() {
            if !items.is_empty() {
                faults.push(format!("{path} cannot hold {value}"));
            }
            return;
        }
        for item in items {
            let path = format!("{path}[]");
            if field.fields.is_empty() {
                scalar_faults(&path, "string", field, item, faults);
            } else {
                object_faults(&path, &field.fields, item, includes, faults);
            }
        }
    } else if !field.fields.is_empty() {
        object_faults(path, &field.fields, value, includes, faults);
    } else {
        scalar_faults(path, kind, field, value, faults);
    }
}

fn scalar_faults(path: &str, kind: &str, field: &Field, value: &Value, faults: &mut Vec<String>) {
    let right = match kind {
        "number" | "enum[number]" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => value.is_string(),
    };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    // Documented as seconds, and shown as minutes in examples.
    let is_unit = path.ends_with("estimated_time.total.unit") && text == "min";
    let allowed = |choices: &Vec<String>| choices.contains(&text) || field.enum_live.contains(&text) || is_unit;
    if !right || !field.choices.as_ref().is_none_or(allowed) {
        faults.push(format!("{path} cannot be {value}"));
    }
}

/// The includes that fields need, at any depth. A few are not in the list of their endpoint.
fn includes_of<'a>(fields: &'a Fields, all: &mut Vec<&'a str>) {
    for field in fields.values() {
        all.extend(field.needs_include.as_deref());
        includes_of(&field.fields, all);
    }
}

#[tokio::test]
async fn every_record_of_list_and_info_has_the_blueprints_shape() {
    let api = Api::unlimited(&[("contacts", 300), ("companies", 300), ("invoices", 300), ("projects", 100)]).await;
    let mut faults = Vec::new();
    for resource in contract::resources() {
        let (name, list) = list_of(resource);
        let info = contract::info_endpoint(resource);
        let mut all = Vec::new();
        for endpoint in [Some(list), info].into_iter().flatten() {
            includes_of(&endpoint.record, &mut all);
        }
        for includes in [&[][..], &all[..]] {
            let truth = api.simulator.truth_with(resource, includes);
            assert!(!truth.is_empty(), "{resource}");
            for record in truth {
                object_faults(name, &list.record, &parse(&record.list), includes, &mut faults);
                assert_eq!(info.is_some(), record.info.is_some(), "{resource}");
                if let (Some(info), Some(text)) = (info, record.info) {
                    object_faults(&format!("{resource}.info"), &info.record, &parse(&text), includes, &mut faults);
                }
            }
        }
    }
    faults.sort();
    faults.dedup();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test]
async fn users_me_has_the_blueprints_shape_and_names_the_account() {
    let api = Api::unlimited(&[]).await;
    let me = api.call("users.me", json!({})).await.json();
    let mut faults = Vec::new();
    object_faults("users.me", &contract::endpoint("users.me").unwrap().record, &me["data"], &[], &mut faults);
    assert!(faults.is_empty(), "{faults:#?}");

    assert_eq!(me["data"]["account"]["id"], json!(api.simulator.account()));
    let other = uuid::Uuid::from_u128(7);
    api.simulator.set_account(other);
    assert_eq!(api.call("users.me", json!({})).await.json()["data"]["account"]["id"], json!(other));
    let users = api.call("users.list", json!({})).await.json();
    assert!(users["data"].as_array().unwrap().iter().all(|user| user["account"]["id"] == json!(other)));
}

#[tokio::test]
async fn custom_field_values_follow_their_definitions() {
    let api = Api::unlimited(&[("contacts", 200), ("companies", 200)]).await;
    let definitions = contents(&api.simulator, "customFieldDefinitions");
    let mut seen = std::collections::BTreeSet::new();
    for (resource, context) in [
        ("contacts", "contact"),
        ("companies", "company"),
        ("invoices", "invoice"),
        ("projects", "project"),
        ("deals", "sale"),
        ("tasks", "todo"),
        ("calls", "callback"),
    ] {
        for (id, record) in contents(&api.simulator, resource) {
            for field in record["custom_fields"].as_array().unwrap() {
                let definition = &definitions[field["definition"]["id"].as_str().unwrap()];
                assert_eq!(definition["context"], context, "{resource} {id}");
                let (kind, value) = (definition["type"].as_str().unwrap(), &field["value"]);
                let fits = match kind {
                    "multi_select" => value.is_array(),
                    "money" => value["amount"].is_number() && value["currency"].is_string(),
                    "auto_increment" | "integer" => value.is_u64(),
                    "number" | "enum[number]" => value.is_number(),
                    "boolean" => value.is_boolean() || value.is_null(),
                    "multi_line" => value.is_string() || value.is_null(),
                    "company" | "contact" | "product" | "user" => value["type"] == kind && value["id"].is_string(),
                    _ => value.is_string(),
                };
                assert!(fits, "{kind} {value}");
                seen.insert(kind.to_owned());
            }
        }
    }
    let kinds = contract::endpoint("customFieldDefinitions.list").unwrap().record["type"].choices.clone().unwrap();
    assert_eq!(seen, kinds.into_iter().collect());
}

#[tokio::test]
async fn even_a_small_account_holds_what_breaks_naive_readers() {
    let api = Api::unlimited(&[]).await;
    let text: String = api.simulator.truth("contacts").into_iter().map(|record| record.list).collect();
    assert!(text.contains("\\u0000") && text.contains("\\ud83d\"") && text.contains('🦄') && text.contains("株式会社"));
    assert!(text.contains(":null") && text.contains(":\"\"") && text.contains(":[]"));
}
