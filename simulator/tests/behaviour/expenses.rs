//! Incoming documents, planning and schedules: lists whose records have another key than an id, and
//! `.info` without a list.

use serde_json::{Value, json};
use teamleader_simulator::ChangeKind;

use crate::{Api, live, parse, sorted};

#[tokio::test]
async fn an_expense_and_its_document_agree_and_change_together() {
    let api = Api::unlimited(&[("expenses", 60)]).await;
    let kinds = [
        ("incomingInvoice", "incomingInvoices"),
        ("incomingCreditNote", "incomingCreditNotes"),
        ("receipt", "receipts"),
    ];
    for round in 0..3 {
        let mut documents = 0;
        for (kind, resource) in kinds {
            assert_eq!(api.simulator.count(resource), api.simulator.truth(resource).len());
            documents += api.simulator.count(resource);
            for record in api.simulator.truth("expenses") {
                let expense = parse(&record.list);
                assert_eq!(expense["source"]["id"], json!(record.id));
                if expense["source"]["type"] != kind {
                    continue;
                }
                let answer = api.call(&format!("{resource}.info"), json!({ "id": record.id })).await;
                let document = answer.json()["data"].clone();
                assert_eq!(document["id"], json!(record.id), "{resource} {}", answer.text);
                if kind == "receipt" {
                    assert!(document.get("due_date").is_none() && expense["due_date"].is_null());
                }
                for key in ["title", "supplier", "document_number", "review_status", "payment_status", "file", "origin"]
                {
                    assert_eq!(document[key], expense[key], "{resource} {key}");
                }
                let date = if kind == "receipt" { "receipt_date" } else { "invoice_date" };
                assert_eq!(document[date], expense["document_date"], "{resource}");
                assert!(document.get("bookkeeping_status").is_none() && document.get("paid_amount").is_none());
            }
        }
        assert_eq!(documents, api.simulator.count("expenses"), "round {round}");
        let changed = api.simulator.update("receipts", 2);
        assert!(changed.iter().all(|id| live(&api.simulator, "receipts").contains(&id.to_string())));
        assert_eq!(api.simulator.add("incomingInvoices", 2).len(), 2);
        let gone = api.simulator.delete("incomingCreditNotes", 1)[0];
        assert_eq!(api.call("incomingCreditNotes.info", json!({ "id": gone })).await.status, 404);
        assert!(!live(&api.simulator, "expenses").contains(&gone.to_string()));
    }
    let invoice = api.simulator.truth("incomingInvoices")[0].clone();
    assert_eq!(invoice.list, "{}");
    assert_eq!(api.call("receipts.info", json!({ "id": invoice.id })).await.status, 404, "it is no receipt");
    assert!(api.simulator.change_record("incomingInvoices", ChangeKind::Update, invoice.id));
    assert_ne!(api.simulator.truth("incomingInvoices")[0].info, invoice.info);
    assert!(!api.simulator.change_record("receipts", ChangeKind::Update, invoice.id));
}

#[tokio::test]
async fn payments_have_a_total_and_no_pages() {
    let api = Api::unlimited(&[("incomingInvoices.payments", 300)]).await;
    let id = api.simulator.truth("incomingInvoices.payments")[0].parent.clone().unwrap().1;
    let answer = api.call("incomingInvoices.listPayments", json!({ "id": id, "page": { "size": 1 } })).await.json();
    let payments = answer["data"].as_array().unwrap();
    let sum: f64 = payments.iter().map(|payment| payment["payment"]["amount"].as_f64().unwrap()).sum();
    assert!(payments.len() > 20);
    assert!((answer["meta"]["total"]["amount"].as_f64().unwrap() - sum).abs() < 0.01);
    assert!(answer["meta"].get("matches").is_none());
}

#[tokio::test]
async fn plannable_items_have_ids_in_their_order_and_are_found_by_their_source() {
    let api = Api::unlimited(&[("plannableItems", 30), ("reservations", 40)]).await;
    let ids = api.page_ids("plannableItems.list", json!({ "page": { "size": 100 } })).await;
    assert!(ids.is_sorted() && ids.len() == 30);
    assert!(ids.iter().all(|id| id.as_bytes()[14] == b'7'), "{ids:?}");
    let last = api.simulator.add("plannableItems", 1)[0].to_string();
    assert!(ids.iter().all(|id| *id < last));
    for record in api.simulator.truth("plannableItems") {
        let source = parse(&record.list)["source"].clone();
        let found = api.call("plannableItems.info", json!({ "source": source })).await.json();
        assert_eq!(found["data"]["id"], json!(record.id));
    }
    let gone = api.call("plannableItems.info", json!({ "id": uuid::Uuid::nil() })).await;
    assert_eq!(gone.json()["errors"][0], json!({ "key": "not_found", "status": 404 }));
}

#[tokio::test]
async fn schedules_come_for_some_users_and_seven_days_at_most() {
    let api = Api::unlimited(&[("users", 30)]).await;
    let ids = live(&api.simulator, "users");
    let ask = |ids: &[String], from: &str, until: &str| {
        let filter = json!({ "user_ids": ids, "from": from, "until": until });
        json!({ "filter": filter, "includes": "pagination" })
    };
    let week = api.call("userSchedules.list", ask(&ids, "2026-06-01", "2026-06-07")).await.json();
    let truth = api.simulator.schedules("2026-06-01".parse().unwrap(), "2026-06-07".parse().unwrap());
    assert_eq!(week["meta"], json!({ "page": { "size": 20, "number": 1 }, "matches": truth.len() }));
    let expected: Vec<Value> = truth.iter().take(20).map(|record| parse(&record.list)).collect();
    assert_eq!(week["data"], json!(expected));
    let days = week["data"][0]["schedule"].as_array().unwrap();
    assert!(!days.is_empty() && days.len() < 6, "days off are left out");
    let one = api.call("userSchedules.list", ask(&ids[..1], "2026-06-01", "2026-06-01")).await.json();
    assert_eq!(one["data"][0]["user"]["id"], json!(ids[0]));
    for body in [
        ask(&ids, "2026-06-01", "2026-06-08"),
        ask(&ids, "2026-06-02", "2026-06-01"),
        ask(&[], "2026-06-01", "2026-06-02"),
        json!({ "filter": { "user_ids": ids, "from": "2026-06-01" } }),
    ] {
        assert_eq!(api.call("userSchedules.list", body).await.status, 400);
    }
    api.simulator.delete("users", 100);
    assert_eq!(api.simulator.count("userSchedules"), 0);
}

#[tokio::test]
async fn a_message_is_had_alone_with_its_ticket() {
    let api = Api::unlimited(&[]).await;
    for record in api.simulator.truth("tickets.messages") {
        let message = api.call("tickets.getMessage", json!({ "message_id": record.id })).await.json();
        let list = parse(&record.list);
        assert!(list.as_object().unwrap().iter().all(|(key, value)| message[key] == *value));
        assert_eq!(message["raw_body"], list["body"]);
        assert_eq!(message["ticket"], json!({ "type": "ticket", "id": record.parent.unwrap().1 }));
    }
    let unknown = json!({ "message_id": uuid::Uuid::nil() });
    assert_eq!(api.call("tickets.getMessage", unknown).await.status, 404);
}

#[tokio::test]
async fn time_on_a_task_of_the_new_projects_names_it_beside_its_own_subject() {
    let api = Api::unlimited(&[("timeTracking", 200)]).await;
    let new_tasks = live(&api.simulator, "projects-v2/tasks");
    let old_tasks = live(&api.simulator, "tasks");
    let mut seen = (0, 0);
    for record in api.simulator.truth("timeTracking") {
        let time = parse(&record.list);
        if time["subject"]["type"] != "todo" {
            continue;
        }
        let subject = time["subject"]["id"].as_str().unwrap().to_owned();
        match old_tasks.contains(&subject) {
            true => seen.0 += 1,
            false => {
                seen.1 += 1;
                let task = &time["relates_to"][0];
                assert_eq!(task["type"], "nextgenTask");
                assert!(new_tasks.contains(&task["id"].as_str().unwrap().to_owned()));
                assert!(!new_tasks.contains(&subject));
            }
        }
    }
    assert!(seen.0 > 0 && seen.1 > 0, "{seen:?}");
}

#[tokio::test]
async fn discounts_have_ids_and_can_have_equal_names() {
    let api = Api::unlimited(&[("commercialDiscounts", 6)]).await;
    let list = async || {
        let answer = api.call("commercialDiscounts.list", json!({})).await.json();
        answer["data"].as_array().unwrap().clone()
    };
    let usual = list().await;
    let ids: Vec<String> = usual.iter().map(|discount| discount["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(sorted(ids), sorted(live(&api.simulator, "commercialDiscounts")));
    api.quirk(|quirks| quirks.equal_discounts = true);
    let equal = list().await;
    assert_eq!((&equal[2]["name"], &equal[2]["department"]), (&equal[3]["name"], &equal[3]["department"]));
    assert_ne!(equal[2]["id"], equal[3]["id"]);
    api.quirk(|quirks| (quirks.equal_discounts, quirks.discounts_without_ids) = (false, true));
    let without = list().await;
    assert!(without.iter().all(|discount| discount.get("id").is_none()));
    let truth = api.simulator.truth("commercialDiscounts");
    assert!(truth.iter().zip(&without).all(|(record, listed)| parse(&record.list) == *listed));
}
