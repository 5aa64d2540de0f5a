//! Records that belong to others.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use teamleader_simulator::{ChangeKind, Simulator};
use uuid::Uuid;

use crate::{Api, key, keys, live_keys, parse, sorted};

const CHILDREN: [&str; 8] = [
    "bookkeepingSubmissions",
    "emailTracking",
    "files",
    "incomingInvoices.payments",
    "notes",
    "projects-v2/projectLines",
    "tickets.messages",
    "users.daysOff",
];

/// The resource of a parent, by the name that the truth gives.
fn parents_resource(name: &str) -> &str {
    match name {
        "company" => "companies",
        "contact" => "contacts",
        "creditNote" => "creditNotes",
        "deal" => "deals",
        "incomingCreditNote" => "incomingCreditNotes",
        "incomingInvoice" => "incomingInvoices",
        "invoice" => "invoices",
        "meeting" => "meetings",
        "nextgenProject" => "projects-v2/projects",
        "product" => "products",
        "project" => "projects",
        "quotation" => "quotations",
        "receipt" => "receipts",
        "subscription" => "subscriptions",
        "ticket" => "tickets",
        resource => resource,
    }
}

fn by_parent(simulator: &Simulator, child: &str) -> BTreeMap<(String, Uuid), Vec<String>> {
    let mut all = BTreeMap::<_, Vec<String>>::new();
    for record in simulator.truth(child) {
        all.entry(record.parent.unwrap()).or_default().push(key(&parse(&record.list)));
    }
    all
}

fn asked(child: &str, kind: &str, id: Uuid) -> (&'static str, Value) {
    match child {
        "users.daysOff" => ("users.listDaysOff", json!({ "id": id })),
        "tickets.messages" => ("tickets.listMessages", json!({ "id": id })),
        "incomingInvoices.payments" => ("incomingInvoices.listPayments", json!({ "id": id })),
        "bookkeepingSubmissions" => {
            ("bookkeepingSubmissions.list", json!({ "filter": { "subject": { "type": kind, "id": id } } }))
        }
        "projects-v2/projectLines" => ("projects-v2/projectLines.list", json!({ "project_id": id })),
        "notes" => ("notes.list", json!({ "filter": { "subject": { "type": kind, "id": id } } })),
        "files" => ("files.list", json!({ "filter": { "subject": { "type": kind, "id": id } } })),
        _ => ("emailTracking.list", json!({ "filter": { "subject": { "type": kind, "id": id } } })),
    }
}

async fn listed(api: &Api, child: &str, kind: &str, id: Uuid) -> Vec<String> {
    let (endpoint, mut body) = asked(child, kind, id);
    body["page"] = json!({ "size": 100 });
    let answer = api.call(endpoint, body).await.json();
    keys(answer["data"].as_array().unwrap())
}

#[tokio::test]
async fn every_child_has_one_living_parent_and_is_listed_for_it_alone() {
    let api = Api::unlimited(&[("notes", 60), ("files", 60)]).await;
    for child in CHILDREN {
        api.simulator.add(child, 10);
        for ((kind, id), children) in by_parent(&api.simulator, child) {
            assert!(
                crate::live(&api.simulator, parents_resource(&kind)).contains(&id.to_string()),
                "{child} of {kind}"
            );
            assert_eq!(sorted(listed(&api, child, &kind, id).await), sorted(children), "{child} of {kind}");
        }
        for record in api.simulator.truth(child) {
            let (kind, id) = record.parent.unwrap();
            let list = parse(&record.list);
            match child {
                "users.daysOff" => assert_eq!(list["user"], json!({ "type": "user", "id": id })),
                "bookkeepingSubmissions" | "emailTracking" | "files" | "notes" => {
                    assert_eq!(list["subject"], json!({ "type": kind, "id": id }))
                }
                _ => {}
            }
        }
    }
    let on_contacts =
        api.simulator.truth("notes").iter().filter(|note| note.parent.as_ref().unwrap().0 == "contact").count();
    assert!((20..=50).contains(&on_contacts), "{on_contacts} of 70 notes");
}

#[tokio::test]
async fn children_vanish_with_their_parent() {
    let api = Api::unlimited(&[]).await;
    for child in CHILDREN {
        let all = by_parent(&api.simulator, child);
        let ((kind, id), gone) = all.iter().next().unwrap();
        assert!(api.simulator.delete_record(parents_resource(kind), *id));
        let left = live_keys(&api.simulator, child);
        assert!(gone.iter().all(|key| !left.contains(key)), "{child}");
        assert_eq!(left.len() + gone.len(), all.values().map(Vec::len).sum::<usize>(), "{child}");
        let (endpoint, body) = asked(child, kind, *id);
        let answer = api.call(endpoint, body).await;
        match child {
            "bookkeepingSubmissions" | "emailTracking" | "files" | "notes" => {
                assert_eq!(answer.json()["data"], json!([]))
            }
            _ => assert_eq!(answer.status, 404),
        }
        if child == "files" {
            assert_eq!(api.call("files.info", json!({ "id": gone[0] })).await.status, 404);
        }
    }
    // Many at once, and all.
    api.simulator.delete("contacts", 1000);
    assert!(api.simulator.truth("notes").iter().all(|note| note.parent.as_ref().unwrap().0 != "contact"));
    api.simulator.delete("users", 1000);
    assert_eq!(api.simulator.count("users.daysOff"), 0);
    assert!(api.simulator.add("users.daysOff", 3).is_empty(), "there is nobody who could have a day off");
}

#[tokio::test]
async fn a_list_for_a_parent_needs_one() {
    let api = Api::unlimited(&[]).await;
    let bodies = [
        ("users.listDaysOff", json!({})),
        ("users.listDaysOff", json!({ "id": "x" })),
        ("tickets.listMessages", json!({})),
        ("projects-v2/projectLines.list", json!({})),
        ("notes.list", json!({})),
        ("notes.list", json!({ "filter": { "subject": { "type": "contact" } } })),
        ("notes.list", json!({ "filter": { "subject": { "type": "nonsense", "id": Uuid::nil() } } })),
        ("emailTracking.list", json!({})),
        ("files.list", json!({})),
        ("levelTwoAreas.list", json!({})),
        ("documentTemplates.list", json!({ "filter": { "document_type": "invoice" } })),
        ("documentTemplates.list", json!({ "filter": { "department_id": Uuid::nil() } })),
        ("mailTemplates.list", json!({})),
    ];
    for (endpoint, body) in bodies {
        assert_eq!(api.call(endpoint, body.clone()).await.status, 400, "{endpoint} {body}");
    }
}

#[tokio::test]
async fn business_types_are_listed_for_all_countries_or_for_one() {
    let api = Api::unlimited(&[("businessTypes", 30)]).await;
    let all = api.call("businessTypes.list", json!({})).await.json();
    assert_eq!(all["data"].as_array().unwrap().len(), 30);
    let some = api.call("businessTypes.list", json!({ "country": "BE" })).await.json();
    let some = some["data"].as_array().unwrap();
    assert!(some.len() < 30 && some.iter().all(|kind| kind["country"] == "BE"));
    assert_eq!(some.len(), all["data"].as_array().unwrap().iter().filter(|kind| kind["country"] == "BE").count());
}

#[tokio::test]
async fn children_change_while_their_lists_are_read() {
    let api = Api::unlimited(&[]).await;
    let (user, _) = by_parent(&api.simulator, "users.daysOff").into_keys().next().unwrap();
    assert_eq!(user, "users");
    let id = api.simulator.truth("users")[0].id;
    let before = api.simulator.count("users.daysOff");
    api.simulator.change_while_paging("users.daysOff", 2, &[ChangeKind::Add]);
    for _ in 0..4 {
        api.call("users.listDaysOff", json!({ "id": id })).await;
    }
    assert_eq!(api.simulator.count("users.daysOff"), before + 2);
    assert_eq!(api.simulator.counters().requests["users.listDaysOff"], 4);
}

#[tokio::test]
async fn a_line_is_about_what_stands_in_its_project() {
    let api = Api::unlimited(&[("projects-v2/projects", 9), ("projects-v2/projectLines", 12)]).await;
    for record in api.simulator.truth("projects-v2/projectLines") {
        let line = parse(&record.list)["line"].clone();
        let resource = match line["type"].as_str().unwrap() {
            "nextgenTask" => "projects-v2/tasks",
            "nextgenMaterial" => "projects-v2/materials",
            _ => "projects-v2/projectGroups",
        };
        let target = api.call(&format!("{resource}.info"), json!({ "id": line["id"] })).await.json();
        assert_eq!(target["data"]["project"]["id"], json!(record.parent.unwrap().1), "{resource}");
    }
}
