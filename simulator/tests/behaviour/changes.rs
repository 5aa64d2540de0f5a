//! Changes on demand and while a client pages.

use std::time::Duration;

use serde_json::json;
use teamleader_simulator::{ChangeKind, TruthRecord, contract};

use crate::{Api, keys, list_of, live, live_keys, sorted, stored};

fn record(api: &Api, resource: &str, id: uuid::Uuid) -> TruthRecord {
    api.simulator.truth(resource).into_iter().find(|record| record.id == id).unwrap()
}

#[tokio::test]
async fn added_updated_and_deleted_records_show_in_lists_and_info() {
    let api = Api::unlimited(&[("contacts", 400), ("companies", 30)]).await;
    for resource in stored() {
        // Few changes mend the indexes, many rebuild them: both ways must give the same lists.
        for count in [2, 300] {
            let added = api.simulator.add(resource, count);
            assert_eq!(added.len(), count);
            assert!(!api.simulator.update(resource, count).is_empty());
            let deleted = api.simulator.delete(resource, count / 2);
            assert_eq!(deleted.len(), count / 2);
            let sort = &list_of(resource).1.sort;
            for field in sort.fields.iter().filter(|_| sort.orders.is_empty()) {
                let body = json!({ "sort": [{ "field": field, "order": "asc" }] });
                let found = api.everything(resource, body).await;
                assert_eq!(sorted(keys(&found)), sorted(live_keys(&api.simulator, resource)), "{resource} by {field}");
            }
            if contract::info_endpoint(resource).is_some() {
                let gone = api.call(&format!("{resource}.info"), json!({ "id": deleted[0] })).await;
                assert_eq!(gone.status, 404);
            }
        }
    }
}

#[tokio::test]
async fn an_update_shows_and_bumps_updated_at() {
    let api = Api::unlimited(&[]).await;
    for resource in ["contacts", "companies", "creditNotes", "deals", "invoices", "products"] {
        let before = api.simulator.truth(resource)[3].clone();
        assert!(api.simulator.update_record(resource, before.id));
        let after = record(&api, resource, before.id);
        assert_ne!((&before.list, &before.info), (&after.list, &after.info));
        let filter = json!({ "filter": { "updated_since": after.updated_at.to_rfc3339() } });
        assert_eq!(api.page_ids(&format!("{resource}.list"), filter).await, [before.id.to_string()]);
        assert!(after.updated_at > before.updated_at);
    }
    assert!(!api.simulator.update_record("contacts", uuid::Uuid::nil()));
}

#[tokio::test]
async fn every_update_shows_and_where_info_adds_fields_it_alternates() {
    let api = Api::unlimited(&[]).await;
    for resource in stored() {
        let list = &list_of(resource).1.record;
        let info = contract::info_endpoint(resource);
        let in_turn = !list.contains_key("updated_at")
            && info.is_some_and(|info| info.record.keys().any(|key| !list.contains_key(key)));
        for number in 0..api.simulator.count(resource).min(6) {
            let id = api.simulator.truth(resource)[number].id;
            for round in 0..4 {
                let before = record(&api, resource, id);
                api.simulator.update_record(resource, id);
                let after = record(&api, resource, id);
                let list_changes = !in_turn || (number * 4 + round) % 2 == 0;
                assert_eq!(before.list != after.list, list_changes, "{resource}");
                // What the list alone shows may be all that has changed.
                assert!(before.info != after.info || list_changes, "{resource}");
                assert!(before.content() != after.content(), "{resource}");
            }
            let before = record(&api, resource, id);
            assert!(api.simulator.change_record(resource, ChangeKind::UpdateInfo, id));
            let after = record(&api, resource, id);
            if in_turn {
                assert_eq!(before.list, after.list, "{resource}");
                assert_ne!(before.info, after.info, "{resource}");
            }
        }
    }
}

#[tokio::test]
async fn a_deleted_record_is_gone_once_and_its_id_never_comes_back() {
    let api = Api::unlimited(&[]).await;
    let before = live(&api.simulator, "events");
    let id = api.simulator.truth("events")[7].id;
    assert!(api.simulator.delete_record("events", id));
    assert!(!api.simulator.delete_record("events", id));
    let added = api.simulator.add("events", 1)[0];
    assert!(!before.contains(&added.to_string()));
}

#[tokio::test]
async fn many_records_can_share_one_updated_at() {
    let api = Api::unlimited(&[("contacts", 150)]).await;
    let tied = api.simulator.tie_updated_at("contacts", 120);
    let truth = api.simulator.truth("contacts");
    let moments = truth.iter().filter(|record| tied.contains(&record.id)).map(|record| record.updated_at);
    let moments: std::collections::BTreeSet<_> = moments.collect();
    assert_eq!(moments.len(), 1);
    let since = moments.first().unwrap().to_rfc3339();
    let body = json!({ "filter": { "updated_since": since }, "sort": [{ "field": "updated_at", "order": "asc" }] });
    let found = api.all_ids("contacts.list", body).await;
    assert_eq!(sorted(found), sorted(tied.iter().map(ToString::to_string).collect()));
}

#[tokio::test]
async fn a_naive_reader_misses_records_that_are_there_all_the_time() {
    let api = Api::unlimited(&[("contacts", 400)]).await;
    let before = live(&api.simulator, "contacts");
    api.simulator.change_while_paging("contacts", 2, &[ChangeKind::Delete, ChangeKind::Update, ChangeKind::Delete]);
    let mut read = Vec::new();
    for number in 1..=40 {
        let page = json!({ "page": { "size": 10, "number": number } });
        read.extend(api.page_ids("contacts.list", page).await);
        api.call("companies.list", json!({})).await;
    }
    api.simulator.stop_changing();
    let after = live(&api.simulator, "contacts");
    assert!(after.len() < before.len());
    assert!(after.iter().any(|id| !read.contains(id)), "some record must have slipped to a page that was read");
    api.call("contacts.list", json!({})).await;
    api.call("contacts.list", json!({})).await;
    assert_eq!(live(&api.simulator, "contacts"), after);
}

#[tokio::test]
async fn a_change_is_dated_by_the_simulators_clock() {
    let api = Api::unlimited(&[]).await;
    let first = api.simulator.add("contacts", 1)[0];
    api.simulator.advance_clock(Duration::from_secs(86_400));
    let second = api.simulator.add("contacts", 1)[0];
    let apart = record(&api, "contacts", second).updated_at - record(&api, "contacts", first).updated_at;
    assert!((86_400..86_410).contains(&apart.num_seconds()));
}

#[tokio::test]
async fn sorts_hold_after_any_number_of_changes() {
    let api = Api::unlimited(&[("companies", 150)]).await;
    for round in 0..40 {
        api.simulator.advance_clock(Duration::from_secs(1));
        let kind = [ChangeKind::Add, ChangeKind::Update, ChangeKind::Delete, ChangeKind::Touch][round % 4];
        // The last rounds change so many at once that the indexes are rebuilt.
        api.simulator.change("companies", kind, if round < 36 { round % 7 } else { 300 });
        let field_of = |field: &'static str| {
            let body = json!({ "page": { "size": 100 }, "sort": [{ "field": field, "order": "asc" }] });
            let page = api.call("companies.list", body);
            async move {
                let page = page.await.json();
                let values = page["data"].as_array().unwrap().iter();
                values.map(|record| record[field].as_str().unwrap().to_lowercase()).collect::<Vec<_>>()
            }
        };
        // The test's parser turns half a surrogate pair into a question mark, which sorts elsewhere.
        let names: Vec<_> = field_of("name").await.into_iter().filter(|name| !name.contains('?')).collect();
        assert!(names.is_sorted(), "round {round}: {names:#?}");
        assert!(field_of("updated_at").await.is_sorted(), "round {round}");
    }
}
