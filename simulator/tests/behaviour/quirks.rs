//! The switches: each by the library and, where it can change at run time, by the control routes.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use teamleader_simulator::{Contexts, ErrorItems, Quirks, RefusalForm};

use crate::{Answer, Api, contents, live, read};

async fn settings(api: &Api, body: Value) -> Answer {
    read(api.client.post(format!("{}/_simulator/settings", api.simulator.url())).json(&body)).await.unwrap()
}

#[tokio::test]
async fn settings_change_what_they_name_and_nothing_if_one_is_wrong() {
    let api = Api::unlimited(&[]).await;
    let body = json!({ "matches": "nowhere", "sparse": 0.25, "modules_off": ["milestones"], "projects_v2": true });
    assert_eq!(settings(&api, body).await.status, 204);
    let quirks = api.simulator.quirks();
    assert_eq!((quirks.sparse, quirks.modules_off.clone()), (0.25, vec!["milestones".to_owned()]));
    for wrong in [json!({ "sparse": 2 }), json!({ "nonsense": 1 }), json!({ "modules_off": ["nonsense"] })] {
        let body = json!({ "page_ceiling": 7, "rate_limit": 1 });
        let body = Value::Object(
            body.as_object().unwrap().clone().into_iter().chain(wrong.as_object().unwrap().clone()).collect(),
        );
        assert_eq!(settings(&api, body).await.status, 400);
        assert_eq!(api.simulator.quirks(), quirks);
    }
    for resource in ["milestones.list", "milestones.info"] {
        assert_eq!(api.call(resource, json!({})).await.status, 403);
    }
    assert_eq!(api.call("users.me", json!({})).await.header("x-ratelimit-limit"), "1000000");
}

#[tokio::test]
async fn quirks_that_a_seed_chooses_are_the_same_and_many() {
    let all: Vec<Quirks> = (0..50).map(Quirks::random).collect();
    assert_eq!(all, (0..50).map(Quirks::random).collect::<Vec<_>>());
    assert!(all.iter().enumerate().filter(|(number, quirks)| all[..*number].contains(quirks)).count() < 5);
}

#[tokio::test]
async fn contexts_are_named_as_they_were_seen_or_as_they_are_documented() {
    let api = Api::unlimited(&[]).await;
    let contexts = async |filter: Value| {
        let body = json!({ "page": { "size": 100 }, "filter": filter });
        let answer = api.call("customFieldDefinitions.list", body).await.json();
        let mut all: Vec<String> = answer["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|field| field["context"].as_str().unwrap().to_owned())
            .collect();
        all.dedup();
        all.sort();
        all.dedup();
        all
    };
    let seen = contexts(json!({})).await;
    for context in
        ["sale", "todo", "callback", "meeting", "meeting_report", "pro_external_cost", "werkbonnen", "contact"]
    {
        assert!(seen.contains(&context.to_owned()), "{context} is not in {seen:?}");
    }
    assert!(!seen.contains(&"deal".to_owned()));
    assert_eq!(contexts(json!({ "context": "deal" })).await, ["sale"]);
    api.quirk(|quirks| quirks.contexts = Contexts::Documented);
    let documented = contexts(json!({})).await;
    assert!(["deal", "task", "call"].iter().all(|context| documented.contains(&(*context).to_owned())));
    assert!(!documented.contains(&"sale".to_owned()));
    assert_eq!(contexts(json!({ "context": "deal" })).await, ["deal"]);
}

#[tokio::test]
async fn sparse_records_lack_fields_in_list_info_and_truth_alike() {
    let api = Api::unlimited(&[("contacts", 100), ("deals", 60), ("commercialDiscounts", 20)]).await;
    let full = contents(&api.simulator, "contacts");
    api.quirk(|quirks| quirks.sparse = 0.3);
    for resource in ["contacts", "deals", "commercialDiscounts"] {
        let answers = api.everything(resource, json!({ "includes": "custom_fields,second_responsible_user" })).await;
        let truth = api.simulator.truth(resource);
        assert_eq!(answers.len(), truth.len());
        for record in truth {
            let list = answers.iter().find(|answer| answer["id"] == json!(record.id)).unwrap();
            assert_eq!(*list, crate::parse(&record.list), "{resource}");
            if let Some(info) = &record.info {
                let body = json!({ "id": record.id, "includes": "second_responsible_user" });
                let answer = api.call(&format!("{resource}.info"), body).await.json();
                assert_eq!(answer["data"], crate::parse(info));
            }
        }
    }
    let sparse = contents(&api.simulator, "contacts");
    let count =
        |key: &str, wanted: Option<Value>| sparse.values().filter(|record| record.get(key) == wanted.as_ref()).count();
    assert!(count("salutation", None) > 3 && count("salutation", Some(Value::Null)) > 3);
    assert!(count("first_name", None) > 10 && count("first_name", Some(Value::Null)) == 0);
    assert_eq!((count("id", None), count("updated_at", None)), (0, 0));
    assert_eq!(sparse, contents(&api.simulator, "contacts"), "the same fields are missing each time");
    let values = sparse.values().flat_map(|record| record["custom_fields"].as_array().into_iter().flatten());
    assert!(values.filter(|value| value["value"].is_null()).count() > 10);
    api.quirk(|quirks| quirks.sparse = 0.0);
    assert_eq!(contents(&api.simulator, "contacts"), full);
}

#[tokio::test]
async fn error_items_have_the_members_that_are_set() {
    let api = Api::unlimited(&[]).await;
    let error = async |endpoint: &str| {
        let answer = api.call(endpoint, json!({ "id": uuid::Uuid::nil() })).await;
        assert_eq!(answer.status, 404);
        answer.json()["errors"][0].clone()
    };
    let key = json!({ "key": "not_found", "status": 404 });
    assert!(error("contacts.info").await["title"].is_string());
    assert_eq!(error("plannableItems.info").await, key);
    api.quirk(|quirks| quirks.error_items = ErrorItems::WithoutTitle);
    assert!(error("contacts.info").await.get("title").is_none());
    api.quirk(|quirks| quirks.error_items = ErrorItems::WithoutStatus);
    let without = error("contacts.info").await;
    assert!(without.get("status").is_none() && without["title"].is_string());
    api.quirk(|quirks| quirks.error_items = ErrorItems::Key);
    assert_eq!(error("contacts.info").await, key);
}

#[tokio::test]
async fn the_date_of_every_answer_can_be_off_by_years() {
    let api = Api::unlimited(&[]).await;
    api.quirk(|quirks| quirks.date_offset_seconds = 2_300_000_000);
    for _ in 0..2 {
        let answer = api.call("contacts.list", json!({})).await;
        let date = DateTime::parse_from_rfc2822(answer.header("date")).unwrap().to_utc();
        let off = (date - Utc::now()).num_seconds();
        assert!((2_299_999_990..=2_300_000_010).contains(&off), "{date}");
    }
}

#[tokio::test]
async fn a_dead_refresh_token_is_refused_in_the_form_that_is_set() {
    let api = Api::unlimited(&[]).await;
    api.simulator.revoke_refresh_tokens();
    let forms = [
        (RefusalForm::Code8, 400, "/errors/0/meta/type", "invalid_request"),
        (RefusalForm::InvalidGrant, 400, "/errors/0/meta/type", "invalid_grant"),
        (RefusalForm::BareInvalidGrant, 400, "/error", "invalid_grant"),
        (RefusalForm::Unauthorized, 401, "/errors/0/meta/type", "invalid_request"),
    ];
    for (form, status, place, kind) in forms {
        api.quirk(|quirks| quirks.refusal_form = form);
        let body = json!({
            "client_id": "client", "client_secret": "secret", "grant_type": "refresh_token", "refresh_token": "dead",
        });
        let request = api.client.post(format!("{}/oauth2/access_token", api.simulator.url())).form(&body);
        let answer = read(request).await.unwrap();
        assert_eq!((answer.status, answer.json().pointer(place)), (status, Some(&json!(kind))), "{form:?}");
    }
}

#[tokio::test]
async fn lists_can_lag_behind_info() {
    let api = Api::unlimited(&[]).await;
    let before = live(&api.simulator, "contacts");
    api.simulator.advance_clock(std::time::Duration::from_secs(600));
    let added = api.simulator.add("contacts", 1)[0];
    api.quirk(|quirks| quirks.list_lag_seconds = 60);
    let ids = api.page_ids("contacts.list", json!({ "page": { "size": 100 } })).await;
    assert_eq!(crate::sorted(ids), crate::sorted(before));
    assert_eq!(api.call("contacts.info", json!({ "id": added })).await.status, 200);
    api.simulator.advance_clock(std::time::Duration::from_secs(60));
    let ids = api.page_ids("contacts.list", json!({ "page": { "size": 100 } })).await;
    assert!(ids.contains(&added.to_string()));
}

#[tokio::test]
async fn a_path_that_is_not_there_is_unknown_to_the_edge() {
    let api = Api::unlimited(&[]).await;
    let answer = api.call("currencies.list", json!({})).await;
    assert_eq!((answer.status, answer.header("content-type")), (404, "text/html"));
    assert!(!answer.headers.contains_key("x-api-version") && !answer.headers.contains_key("x-ratelimit-limit"));
    let deleted = api.call("contacts.info", json!({ "id": uuid::Uuid::nil() })).await;
    assert_eq!((deleted.status, deleted.header("x-api-version")), (404, "2023-09-26"));
}
