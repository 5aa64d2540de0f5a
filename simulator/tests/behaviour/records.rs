//! Records that come back, that cannot be read, and that are not shown.

use serde_json::{Value, json};
use teamleader_simulator::{ChangeKind, Fault, FaultKind, Oddity, TruthRecord};

use crate::{Api, live, parse, read};

fn record(api: &Api, resource: &str, id: uuid::Uuid) -> TruthRecord {
    api.simulator.truth(resource).into_iter().find(|record| record.id == id).unwrap()
}

#[tokio::test]
async fn a_restored_record_is_what_it_was_and_older() {
    let api = Api::unlimited(&[]).await;
    for resource in ["contacts", "deals", "invoices", "tasks"] {
        let id = api.simulator.truth(resource)[1].id;
        api.simulator.update_record(resource, id);
        let before = record(&api, resource, id);
        api.simulator.advance_clock(std::time::Duration::from_secs(3600));
        for _ in 0..2 {
            api.simulator.update_record(resource, id);
        }
        let after = record(&api, resource, id);
        assert!(api.simulator.change_record(resource, ChangeKind::Restore, id));
        let restored = record(&api, resource, id);
        assert_ne!(restored.content(), after.content(), "{resource}");
        assert!(restored.updated_at < before.updated_at && restored.updated_at < after.updated_at, "{resource}");
        let untouched = api.simulator.truth(resource)[2].clone();
        api.simulator.change_record(resource, ChangeKind::Restore, untouched.id);
        let restored = record(&api, resource, untouched.id);
        assert!(restored.updated_at < untouched.updated_at && restored.content() != untouched.content(), "{resource}");
    }
}

#[tokio::test]
async fn every_kind_of_change_has_its_route() {
    let api = Api::unlimited(&[]).await;
    for kind in ChangeKind::ALL {
        let body = json!({ "resource": "contacts", "kind": kind, "count": 2 });
        let answer = read(api.client.post(format!("{}/_simulator/changes", api.simulator.url())).json(&body)).await;
        assert_eq!(answer.unwrap().json()["ids"].as_array().unwrap().len(), 2, "{kind:?}");
    }
}

#[tokio::test]
async fn one_record_is_odd_in_lists_and_in_info_until_the_fault_is_gone() {
    let api = Api::unlimited(&[("contacts", 50), ("quotations", 30)]).await;
    for odd in Oddity::ALL {
        for resource in ["contacts", "quotations"] {
            let (list, info) = (format!("{resource}.list"), format!("{resource}.info"));
            let body = json!({ "page": { "size": 100 } });
            let right = api.call(&list, body.clone()).await.text;
            api.simulator.inject(Fault::new(FaultKind::OddRecord { odd, id: None }).at(resource));
            let wrong = api.call(&list, body.clone()).await.text;
            assert_ne!(wrong, right, "{odd:?}");
            assert_eq!(api.call(&list, body.clone()).await.text, wrong, "the same record");
            let FaultKind::OddRecord { id: Some(id), .. } = api.simulator.faults()[0].kind else { panic!("{odd:?}") };
            let text = api.call(&info, json!({ "id": id })).await.text;
            match odd {
                Oddity::Huge => assert!(wrong.contains("1e200000") && text.contains("1e200000")),
                Oddity::Deep => {
                    assert!(serde_json::from_str::<Value>(&text.replace("\\ud83d", "?")).is_err());
                    assert!(wrong.contains(&"[".repeat(200)) && text.contains(&"[".repeat(200)));
                }
                Oddity::NoId => {
                    assert!(parse(&text)["data"].get("id").is_none());
                    let records = parse(&wrong)["data"].as_array().unwrap().clone();
                    assert_eq!(records.iter().filter(|record| record.get("id").is_none()).count(), 1);
                }
                _ => {
                    let key =
                        if parse(&right)["data"][0].get("updated_at").is_some() { "updated_at" } else { "created_at" };
                    let value = parse(&text)["data"][key].clone();
                    let expected = match odd {
                        Oddity::MomentNull => Value::Null,
                        Oddity::MomentEmpty => json!(""),
                        Oddity::MomentZero => json!("0000-00-00 00:00:00"),
                        _ => json!("9999-12-31T23:59:59+00:00"),
                    };
                    assert_eq!(value, expected, "{resource} {odd:?}");
                }
            }
            let other = live(&api.simulator, resource).into_iter().find(|other| *other != id.to_string()).unwrap();
            assert!(parse(&api.call(&info, json!({ "id": other })).await.text)["data"]["id"].is_string());
            api.simulator.clear_faults();
            assert_eq!(api.call(&list, body).await.text, right);
        }
    }
}

#[tokio::test]
async fn info_of_one_record_can_fail_for_ever() {
    let api = Api::unlimited(&[]).await;
    api.simulator.inject(Fault::new(FaultKind::BrokenInfo { status: 500, id: None }).at("companies"));
    let ids = live(&api.simulator, "companies");
    assert_eq!(api.page_ids("companies.list", json!({})).await.len(), ids.len());
    for _ in 0..3 {
        assert_eq!(api.call("companies.info", json!({ "id": ids[3] })).await.status, 500);
        assert_eq!(api.call("companies.info", json!({ "id": ids[4] })).await.status, 200);
    }
}

#[tokio::test]
async fn a_list_can_be_empty_capped_small_behind_or_wrong_about_itself() {
    let api = Api::unlimited(&[("companies", 60)]).await;
    let ask = async || {
        let body = json!({ "page": { "size": 100 }, "includes": "custom_fields,pagination" });
        let answer = api.call("companies.list", body).await;
        (
            answer.ids().len(),
            answer.json()["meta"]["matches"].clone(),
            answer.json()["data"][0]["custom_fields"].clone(),
        )
    };
    let fault = |kind| api.simulator.inject(Fault::new(kind).at("companies").times(1));
    fault(FaultKind::EmptyList);
    assert_eq!(ask().await, (0, json!(0), Value::Null));
    fault(FaultKind::Capped { records: 30 });
    let (records, matches, _) = ask().await;
    assert_eq!((records, matches), (30, json!(30)));
    fault(FaultKind::PageSizeIgnored);
    assert_eq!(ask().await.0, 20);
    fault(FaultKind::WrongMatches { matches: u64::MAX });
    assert_eq!(ask().await.1, json!(u64::MAX));
    fault(FaultKind::IncludesIgnored);
    assert_eq!(ask().await.2, Value::Null);
    api.simulator.delete("companies", 1);
    api.simulator.add("companies", 2);
    fault(FaultKind::Lagging { changes: 3 });
    assert_eq!(ask().await.0, 60);
    let (records, matches, fields) = ask().await;
    assert_eq!((records, matches, fields.is_array()), (61, json!(61), true));
}

#[tokio::test]
async fn a_gateway_can_answer_for_the_api() {
    let api = Api::unlimited(&[]).await;
    for (kind, status) in [(FaultKind::Edge404, 404), (FaultKind::Html200, 200)] {
        api.simulator.inject(Fault::new(kind).times(1));
        let answer = api.call("contacts.list", json!({})).await;
        assert_eq!((answer.status, answer.header("content-type")), (status, "text/html"));
        assert!(!answer.headers.contains_key("x-api-version"));
    }
    assert_eq!(api.call("contacts.list", json!({})).await.status, 200);
}

#[tokio::test]
async fn every_kind_of_fault_is_among_the_samples_and_has_its_route() {
    let api = Api::unlimited(&[]).await;
    for kind in FaultKind::samples() {
        let fault = serde_json::to_value(Fault::new(kind)).unwrap();
        let answer = read(api.client.post(format!("{}/_simulator/faults", api.simulator.url())).json(&fault)).await;
        assert_eq!(answer.unwrap().status, 204, "{fault}");
    }
    assert_eq!(api.simulator.faults().len(), FaultKind::samples().len());
    let drawn: std::collections::BTreeSet<String> =
        (0..500).map(|seed| format!("{:?}", FaultKind::random(seed))).collect();
    assert_eq!(drawn.len(), FaultKind::samples().len());
}
