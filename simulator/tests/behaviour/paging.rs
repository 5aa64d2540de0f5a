//! Pages, sorts, `ids` and `updated_since`.

use serde_json::json;

use teamleader_simulator::{Matches, WrongOrder};

use crate::{Api, live, parse, read, sorted};

#[tokio::test]
async fn pages_have_twenty_records_unless_asked_and_one_hundred_at_most() {
    let api = Api::unlimited(&[("contacts", 250)]).await;
    assert_eq!(api.page_ids("contacts.list", json!({})).await.len(), 20);
    assert_eq!(api.page_ids("contacts.list", json!({ "page": { "size": 100, "number": 3 } })).await.len(), 50);
    assert_eq!(api.page_ids("contacts.list", json!({ "page": { "size": 100, "number": 4 } })).await.len(), 0);
    assert_eq!(api.page_ids("contacts.list", json!({ "page": { "size": 101 } })).await.len(), 100);
    for page in [json!({ "size": 0 }), json!({ "number": 0 }), json!({ "size": "x" })] {
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
    let api = Api::unlimited(&[("contacts", 25), ("companies", 25), ("calls", 25)]).await;
    let asked = json!({ "includes": "custom_fields,pagination", "page": { "size": 10, "number": 2 } });
    let meta = async |list: &str, body| api.call(list, body).await.json()["meta"].clone();
    let all = json!({ "page": { "size": 10, "number": 2 }, "matches": 25 });
    // Calls declare it, companies do it all the same, contacts do not.
    assert_eq!(meta("calls.list", json!({})).await, json!(null));
    assert_eq!(meta("calls.list", asked.clone()).await, all);
    assert_eq!(meta("companies.list", asked.clone()).await, all);
    assert_eq!(meta("contacts.list", asked.clone()).await, json!(null));
    api.quirk(|quirks| quirks.matches = Matches::Everywhere);
    assert_eq!(meta("contacts.list", asked.clone()).await, all);
    api.quirk(|quirks| quirks.matches = Matches::Nowhere);
    assert_eq!(meta("calls.list", asked.clone()).await, json!(null));
    assert!(api.call("contacts.list", asked).await.json()["data"][0]["custom_fields"].is_array());
}

#[tokio::test]
async fn unknown_keys_are_ignored_and_so_is_the_singular_include() {
    let api = Api::unlimited(&[]).await;
    let body = json!({ "include": "custom_fields", "nonsense": 1, "filter": { "nonsense": true } });
    let answer = api.call("contacts.list", body).await;
    assert_eq!(answer.ids().len(), 20);
    assert!(answer.json()["data"][0].get("custom_fields").is_none());
    let some = json!({ "filter": { "ids": [uuid::Uuid::nil()] } });
    assert_eq!(api.page_ids("lostReasons.list", some.clone()).await, Vec::<String>::new());
    assert_eq!(
        api.call("expenses.list", some).await.json()["data"].as_array().unwrap().len(),
        9,
        "it has no such filter"
    );
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
async fn a_sort_that_the_list_does_not_have_is_ignored_and_so_is_one_that_is_no_list() {
    let api = Api::unlimited(&[]).await;
    let usual = api.page_ids("invoices.list", json!({})).await;
    for sort in [json!([{ "field": "updated_at", "order": "asc" }]), json!("invoice_date"), json!([7])] {
        assert_eq!(api.page_ids("invoices.list", json!({ "sort": sort })).await, usual);
    }
}

#[tokio::test]
async fn an_order_that_the_list_does_not_have_is_refused_or_ignored() {
    let api = Api::unlimited(&[("lostReasons", 9)]).await;
    let usual = api.page_ids("lostReasons.list", json!({})).await;
    let down = json!({ "sort": [{ "field": "name", "order": "desc" }] });
    let refused = api.call("lostReasons.list", down.clone()).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["errors"][0]["title"], "sort.0.order must be `asc`");
    api.quirk(|quirks| quirks.wrong_order = WrongOrder::Ignore);
    assert_eq!(api.page_ids("lostReasons.list", down).await, usual);
}

#[tokio::test]
async fn a_list_can_end_early_have_small_pages_and_no_order() {
    let api = Api::unlimited(&[("contacts", 250), ("companies", 250)]).await;
    api.quirk(|quirks| quirks.page_ceiling = Some(130));
    assert_eq!(api.all_ids("companies.list", json!({})).await.len(), 130);
    let asked = json!({ "includes": "pagination" });
    assert_eq!(api.call("companies.list", asked).await.json()["meta"]["matches"], 130);
    api.quirk(|quirks| (quirks.page_ceiling, quirks.page_size_ignored) = (None, true));
    assert_eq!(api.page_ids("companies.list", json!({ "page": { "size": 100 } })).await.len(), 20);
    api.quirk(|quirks| (quirks.page_size_ignored, quirks.unstable_order) = (false, true));
    let body = json!({ "page": { "size": 100 } });
    let (one, two) = (api.page_ids("contacts.list", body.clone()).await, api.page_ids("contacts.list", body).await);
    assert_ne!(sorted(one), sorted(two), "another hundred of the 250");
    let by_age = json!({ "page": { "size": 100 }, "sort": [{ "field": "added_at", "order": "asc" }] });
    let mut expected = api.simulator.truth("contacts");
    expected.sort_by_key(|record| parse(&record.list)["added_at"].as_str().unwrap().to_owned());
    let expected: Vec<_> = expected.iter().take(100).map(|record| record.id.to_string()).collect();
    assert_eq!(api.page_ids("contacts.list", by_age).await, expected, "what differs for the sort stays in its order");
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
