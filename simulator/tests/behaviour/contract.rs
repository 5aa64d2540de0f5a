//! Records and parameters against the blueprint.

use serde_json::{Value, json};
use teamleader_simulator::contract::{self, Field, Fields};

use crate::{Api, RESOURCES, contents, parse};

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
        if !field.nullable {
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
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => value.is_string(),
    };
    let allowed =
        |choices: &Vec<String>| value.as_str().is_some_and(|text| choices.iter().any(|choice| choice == text));
    if !right || !field.choices.as_ref().is_none_or(allowed) {
        faults.push(format!("{path} cannot be {value}"));
    }
}

#[tokio::test]
async fn every_record_of_list_and_info_has_the_blueprints_shape() {
    let api = Api::unlimited(&[("contacts", 300), ("companies", 300), ("invoices", 300), ("projects", 100)]).await;
    let mut faults = Vec::new();
    for resource in RESOURCES {
        for kind in ["list", "info"] {
            let name = format!("{resource}.{kind}");
            let endpoint = contract::endpoint(&name).unwrap();
            let all: Vec<&str> = endpoint.includes.iter().map(String::as_str).collect();
            for includes in [&[][..], &all[..]] {
                let truth = api.simulator.truth_with(resource, includes);
                assert!(!truth.is_empty());
                for record in truth {
                    let text = if kind == "list" { record.list } else { record.info.unwrap() };
                    object_faults(&name, &endpoint.record, &parse(&text), includes, &mut faults);
                }
            }
        }
    }
    faults.sort();
    faults.dedup();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test]
async fn answers_carry_what_the_truth_says() {
    let api = Api::unlimited(&[]).await;
    for resource in RESOURCES {
        for includes in ["", "custom_fields,late_fees,related_companies,related_contacts,external_rate"] {
            let names: Vec<&str> = includes.split(',').collect();
            let truth = api.simulator.truth_with(resource, &names);
            let ids: Vec<_> = truth.iter().map(|record| record.id.to_string()).collect();
            let mut body = json!({ "page": { "size": 100 }, "includes": includes });
            if resource != "projects" {
                body["filter"] = json!({ "ids": ids });
            }
            let listed = api.call(&format!("{resource}.list"), body).await.text;
            for record in truth {
                assert!(listed.contains(&record.list), "{resource}.list lacks {}", record.list);
                let info =
                    api.call(&format!("{resource}.info"), json!({ "id": record.id, "includes": includes })).await;
                assert_eq!(info.text, format!("{{\"data\":{}}}", record.info.unwrap()));
            }
        }
    }
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
async fn every_sort_field_of_the_blueprint_is_served_in_both_directions() {
    let api = Api::unlimited(&[("contacts", 150)]).await;
    for resource in RESOURCES {
        let endpoint = contract::endpoint(&format!("{resource}.list")).unwrap();
        assert!(!endpoint.sort.fields.is_empty());
        for field in &endpoint.sort.fields {
            let ask = |order: &str| json!({ "sort": [{ "field": field, "order": order }] });
            let up = api.all_ids_of(resource, ask("asc")).await;
            let mut down = api.all_ids_of(resource, ask("desc")).await;
            down.reverse();
            assert_eq!(up, down, "{resource} by {field}");
            assert_eq!(crate::sorted(up), crate::sorted(crate::live(&api.simulator, resource)));
        }
    }
}

impl Api {
    /// Like [`Api::all_ids`], also where the list has no pages and would never end.
    async fn all_ids_of(&self, resource: &str, body: Value) -> Vec<String> {
        let endpoint = format!("{resource}.list");
        match contract::endpoint(&endpoint).unwrap().paged {
            true => self.all_ids(&endpoint, body).await,
            false => self.page_ids(&endpoint, body).await,
        }
    }
}

#[tokio::test]
async fn every_filter_that_is_served_finds_exactly_the_matching_records() {
    let api = Api::unlimited(&[("contacts", 200), ("companies", 60), ("invoices", 60), ("projects", 60)]).await;
    let cases: &[(&str, &str, &str)] = &[
        ("contacts", "status", "/status"),
        ("companies", "status", "/status"),
        ("companies", "vat_number", "/vat_number"),
        ("customFieldDefinitions", "context", "/context"),
        ("departments", "status", "/status"),
        ("events", "user_id", "/creator/id"),
        ("events", "activity_type_id", "/activity_type/id"),
        ("events", "task_id", "/task/id"),
        ("invoices", "status", "/status"),
        ("invoices", "department_id", "/department/id"),
        ("invoices", "project_id", "/project/id"),
        ("invoices", "deal_id", "/deal/id"),
        ("invoices", "invoice_number", "/invoice_number"),
        ("invoices", "payment_reference", "/payment_reference"),
        ("invoices", "customer", "/invoicee/customer"),
        ("projects", "status", "/status"),
        ("projects", "customer", "/customer"),
        ("users", "status", "/status"),
    ];
    for (resource, filter, pointer) in cases {
        let records = contents(&api.simulator, resource);
        let wanted = records.values().filter_map(|record| record.pointer(pointer)).find(|value| !value.is_null());
        let wanted = wanted.unwrap_or_else(|| panic!("no {resource} with {pointer}"));
        let expected = records.iter().filter(|(_, record)| record.pointer(pointer) == Some(wanted));
        let expected: Vec<String> = expected.map(|(id, _)| id.clone()).collect();
        let array = contract::endpoint(&format!("{resource}.list")).unwrap().filter[*filter].kind.clone();
        let value = if array.unwrap_or_default().starts_with("array") { json!([wanted]) } else { wanted.clone() };
        let found = api.all_ids_of(resource, json!({ "filter": { *filter: value } })).await;
        assert_eq!(crate::sorted(found), expected, "{resource} by {filter} {wanted}");
    }
}

#[tokio::test]
async fn a_filter_that_the_simulator_lacks_is_refused_and_never_ignored() {
    let api = Api::unlimited(&[]).await;
    assert_eq!(api.call("contacts.list", json!({ "filter": { "term": "x" } })).await.status, 501);
    assert_eq!(api.call("deals.list", json!({})).await.status, 501);
    assert_eq!(api.call("nonsense.list", json!({})).await.status, 404);
}

#[tokio::test]
async fn custom_field_values_follow_their_definitions() {
    let api = Api::unlimited(&[("contacts", 200), ("companies", 200)]).await;
    let definitions = contents(&api.simulator, "customFieldDefinitions");
    let mut seen = std::collections::BTreeSet::new();
    for (resource, context) in
        [("contacts", "contact"), ("companies", "company"), ("invoices", "invoice"), ("projects", "project")]
    {
        for (id, record) in contents(&api.simulator, resource) {
            for field in record["custom_fields"].as_array().unwrap() {
                let definition = &definitions[field["definition"]["id"].as_str().unwrap()];
                assert_eq!(definition["context"], context, "{resource} {id}");
                let (kind, value) = (definition["type"].as_str().unwrap(), &field["value"]);
                let fits = match kind {
                    "multi_select" => value.is_array(),
                    "money" => value["amount"].is_number() && value["currency"].is_string(),
                    "auto_increment" | "integer" => value.is_u64(),
                    "number" => value.is_number(),
                    "boolean" => value.is_boolean(),
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
