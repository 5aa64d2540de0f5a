//! Pages, sorts, `ids` and `updated_since`.

use serde_json::json;

use crate::{Api, live, read, sorted};

#[tokio::test]
async fn pages_have_twenty_records_unless_asked_and_one_hundred_at_most() {
    let api = Api::unlimited(&[("contacts", 250)]).await;
    assert_eq!(api.page_ids("contacts.list", json!({})).await.len(), 20);
    assert_eq!(api.page_ids("contacts.list", json!({ "page": { "size": 100, "number": 3 } })).await.len(), 50);
    assert_eq!(api.page_ids("contacts.list", json!({ "page": { "size": 100, "number": 4 } })).await.len(), 0);
    for page in [json!({ "size": 101 }), json!({ "size": 0 }), json!({ "number": 0 }), json!({ "size": "x" })] {
        let answer = api.call("contacts.list", json!({ "page": page })).await;
        assert_eq!(answer.status, 400);
        assert!(answer.json()["errors"][0]["title"].is_string());
    }
}

#[tokio::test]
async fn all_pages_together_are_the_truth() {
    let api = Api::unlimited(&[("contacts", 250), ("events", 130)]).await;
    for resource in ["contacts", "events"] {
        let ids = api.all_ids(&format!("{resource}.list"), json!({})).await;
        assert_eq!(sorted(ids), sorted(live(&api.simulator, resource)));
    }
}

#[tokio::test]
async fn a_list_without_pages_gives_everything() {
    let api = Api::unlimited(&[("departments", 120)]).await;
    let answer =
        api.call("departments.list", json!({ "page": { "size": 5, "number": 9 }, "includes": "pagination" })).await;
    assert_eq!(answer.ids().len(), 120);
    assert!(answer.json().get("meta").is_none());
}

#[tokio::test]
async fn the_number_of_matches_comes_only_when_asked_for() {
    let api = Api::unlimited(&[("contacts", 25)]).await;
    assert!(api.call("contacts.list", json!({})).await.json().get("meta").is_none());
    let asked = json!({ "includes": "custom_fields,pagination", "page": { "size": 10, "number": 2 } });
    let answer = api.call("contacts.list", asked).await.json();
    assert_eq!(answer["meta"], json!({ "page": { "size": 10, "number": 2 }, "matches": 25 }));
    assert!(answer["data"][0]["custom_fields"].is_array());
}

#[tokio::test]
async fn unknown_keys_are_ignored_and_so_is_the_singular_include() {
    let api = Api::unlimited(&[]).await;
    let body = json!({ "include": "custom_fields", "nonsense": 1, "filter": { "nonsense": true } });
    let answer = api.call("contacts.list", body).await;
    assert_eq!(answer.ids().len(), 20);
    assert!(answer.json()["data"][0].get("custom_fields").is_none());
}

#[tokio::test]
async fn updated_since_is_inclusive_and_sorts_as_asked() {
    let api = Api::unlimited(&[("contacts", 120)]).await;
    let mut truth = api.simulator.truth("contacts");
    truth.sort_by_key(|record| record.updated_at);
    let since = truth[70].updated_at;
    let expected: Vec<String> =
        truth.iter().filter(|record| record.updated_at >= since).map(|record| record.id.to_string()).collect();
    assert!(expected.contains(&truth[70].id.to_string()));

    let filter = json!({ "updated_since": since.to_rfc3339() });
    let by_update = json!({ "filter": filter, "sort": [{ "field": "updated_at", "order": "asc" }] });
    assert_eq!(api.all_ids("contacts.list", by_update).await, expected);
    let by_name = api.all_ids("contacts.list", json!({ "filter": filter })).await;
    assert_eq!(sorted(by_name.clone()), sorted(expected.clone()));
    let all_by_name = api.all_ids("contacts.list", json!({})).await;
    assert_eq!(by_name, all_by_name.into_iter().filter(|id| expected.contains(id)).collect::<Vec<_>>());

    let wrong = api.call("contacts.list", json!({ "filter": { "updated_since": "yesterday" } })).await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn ids_that_are_gone_or_repeated_give_no_record() {
    let api = Api::unlimited(&[]).await;
    let mut ids = live(&api.simulator, "companies");
    ids.truncate(3);
    let asked =
        json!({ "filter": { "ids": [ids[0], ids[1], ids[1], ids[2], "00000000-0000-4000-8000-000000000000"] } });
    assert_eq!(sorted(api.page_ids("companies.list", asked).await), sorted(ids));
    assert_eq!(api.call("companies.list", json!({ "filter": { "ids": ["x"] } })).await.status, 400);
}

#[tokio::test]
async fn a_sort_that_the_blueprint_does_not_have_is_refused() {
    let api = Api::unlimited(&[]).await;
    let answer = api.call("invoices.list", json!({ "sort": [{ "field": "updated_at", "order": "asc" }] })).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn info_of_a_record_that_is_gone_is_404_and_needs_an_id() {
    let api = Api::unlimited(&[]).await;
    let id = api.simulator.delete("companies", 1)[0];
    assert_eq!(api.call("companies.info", json!({ "id": id })).await.status, 404);
    assert_eq!(api.call("companies.info", json!({})).await.status, 400);
    assert_eq!(api.call("companies.info", json!({ "id": "x" })).await.status, 400);
}

#[tokio::test]
async fn query_parameters_work_as_a_body_does() {
    let api = Api::unlimited(&[("contacts", 50)]).await;
    let ids = live(&api.simulator, "contacts");
    let get = |query: String| {
        let url = format!("{}/contacts.list?{query}", api.simulator.url());
        read(api.client.get(url).bearer_auth(&api.token))
    };
    let page = get("page[size]=7&page[number]=2&sort[0][field]=added_at&sort[0][order]=desc".to_owned()).await.unwrap();
    let body = json!({ "page": { "size": 7, "number": 2 }, "sort": [{ "field": "added_at", "order": "desc" }] });
    assert_eq!(page.ids(), api.page_ids("contacts.list", body).await);
    let some = get(format!("filter[ids][]={}&filter[ids][]={}", ids[4], ids[9])).await.unwrap();
    assert_eq!(sorted(some.ids()), sorted(vec![ids[4].clone(), ids[9].clone()]));
}
