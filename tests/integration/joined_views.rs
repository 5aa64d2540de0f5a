//! The views that join records: what they say of each record, and that none is there twice or missing.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde_json::{Value, json};
use teamleader_simulator::Config;

use crate::answers::{Account, at, day, full_name, moment};
use crate::stage::{Stage, storable};
use crate::views::rows;
use crate::whose::{Customer, named, noted_of, of_deal, worked_for};

/// What the views are made of.
const RESOURCES: [&str; 21] = [
    "companies",
    "contacts",
    "users",
    "departments",
    "deals",
    "invoices",
    "creditNotes",
    "subscriptions",
    "projects",
    "milestones",
    "projects-v2/projects",
    "projects-v2/tasks",
    "tasks",
    "tickets",
    "events",
    "calls",
    "meetings",
    "notes",
    "quotations",
    "products",
    "timeTracking",
];

/// An account of everything, and the copy of it.
async fn copied(contacts: usize) -> (Stage, Account, crate::stage::Worker) {
    let mut stage = Stage::with(Config { seed: 27, ..Config::scaled(contacts) }).await;
    stage.set("TEAMLEADER_RESOURCES", &RESOURCES.join(","));
    let worker = stage.worker().await;
    // An account has projects of one kind; what was read of the other stays.
    stage.complete(json!({ "mode": "full" })).await;
    stage.simulator.set_projects_v2(true);
    stage.complete(json!({ "mode": "full" })).await;
    let records = RESOURCES.map(|resource| {
        let truth = stage.simulator.truth(resource);
        (resource, truth.iter().map(|record| serde_json::from_str(&storable(&record.content())).unwrap()).collect())
    });
    let today = stage.database.value("select current_date").await;
    (stage, Account { records: records.into(), today }, worker)
}

/// The rows of a view by their ids; each id is there once.
async fn by_id(stage: &Stage, sql: &str) -> BTreeMap<String, Value> {
    let rows = rows(&stage.database, sql).await;
    let count = rows.len();
    let by_id: BTreeMap<String, Value> =
        rows.into_iter().map(|row| (row["id"].as_str().unwrap().to_owned(), row)).collect();
    assert_eq!(by_id.len(), count, "a row is there twice: {sql}");
    by_id
}

#[tokio::test]
async fn each_record_is_in_a_joined_view_once_with_its_customer() {
    let (stage, account, _worker) = copied(160).await;
    assert_eq!(stage.database.views_with_problems().await, "");

    let customers = by_id(&stage, "select * from teamleader_views.customers").await;
    assert_eq!(customers.len(), account.all("companies").count() + account.all("contacts").count());
    for (kind, resource) in [("company", "companies"), ("contact", "contacts")] {
        for record in account.all(resource) {
            let row = &customers[record["id"].as_str().unwrap()];
            let name = if kind == "company" { record["name"].clone() } else { json!(full_name(record)) };
            assert_eq!((&row["kind"], &row["name"], &row["status"]), (&json!(kind), &name, &record["status"]));
            assert_eq!((&row["tags"], &row["language"]), (&record["tags"], &record["language"]));
        }
    }

    let entries = by_id(&stage, "select * from teamleader_views.time_entries").await;
    assert_eq!(entries.len(), account.all("timeTracking").count());
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for entry in account.all("timeTracking") {
        let row = &entries[entry["id"].as_str().unwrap()];
        let customer = (row["customer_type"].clone(), row["customer_id"].clone());
        assert_eq!(customer, worked_for(&account, entry), "{entry}");
        assert_eq!(row["duration"].as_f64(), entry["duration"].as_f64());
        if !row["customer_id"].is_null() {
            let new = if row["project_type"] == "nextgenProject" { " of a new project" } else { "" };
            *known.entry(format!("{}{new}", row["subject_type"])).or_default() += 1;
        }
    }
    println!("time entries with a customer, by subject: {known:?}");
    assert!(known.len() >= 7, "{known:?}");

    let activities = by_id(&stage, "select * from teamleader_views.activities").await;
    let booked: Vec<&Value> = account.all("invoices").filter(|invoice| invoice["status"] != "draft").collect();
    let kinds = ["calls", "meetings", "tasks", "tickets", "notes", "quotations", "timeTracking"];
    let all: usize = kinds.iter().map(|resource| account.all(resource).count()).sum();
    assert_eq!(activities.len(), all + booked.len());
    let of = |record: &Value| activities[record["id"].as_str().unwrap()].clone();
    let same = |record: &Value, kind: &str, customer: Customer, on: Option<NaiveDate>| {
        let row = of(record);
        assert_eq!(row["kind"], kind);
        assert_eq!((row["customer_type"].clone(), row["customer_id"].clone()), customer, "{record}");
        assert_eq!(day(&row["day"]), on, "{record}");
    };
    let instant = |value: &Value| moment(value).map(|at| at.date_naive());
    for call in account.all("calls") {
        same(call, "call", named(at(call, "participant/customer")), instant(&call["scheduled_at"]));
    }
    for meeting in account.all("meetings") {
        same(meeting, "meeting", named(&meeting["customer"]), instant(&meeting["scheduled_at"]));
    }
    for task in account.all("tasks") {
        let on = instant(&task["completed_at"]).or_else(|| day(&task["due_on"]));
        same(task, "task", named(&task["customer"]), on);
    }
    for ticket in account.all("tickets") {
        let on = instant(&ticket["last_message_at"]).or_else(|| instant(&ticket["created_at"]));
        same(ticket, "ticket", named(&ticket["customer"]), on);
    }
    for entry in account.all("timeTracking") {
        same(entry, "time", worked_for(&account, entry), day(&entry["started_on"]));
    }
    for note in account.all("notes") {
        same(note, "note", noted_of(&account, note), instant(&note["added_at"]));
    }
    for quotation in account.all("quotations") {
        let customer = of_deal(&account, at(quotation, "deal/id"));
        same(quotation, "quotation", customer, instant(&quotation["created_at"]));
    }
    for invoice in booked {
        same(invoice, "invoice", named(at(invoice, "invoicee/customer")), day(&invoice["invoice_date"]));
    }
}

#[tokio::test]
async fn revenue_has_each_document_once_with_its_sign_and_open_items_their_age() {
    let (stage, account, _worker) = copied(120).await;
    let revenue = by_id(&stage, "select * from teamleader_views.revenue").await;
    let booked: Vec<&Value> = account.all("invoices").filter(|invoice| invoice["status"] != "draft").collect();
    assert_eq!(revenue.len(), booked.len() + account.all("creditNotes").count());
    let none = Value::Null;
    let documents = booked.iter().map(|invoice| (*invoice, *invoice, "invoice", 1.0, "invoice_date"));
    let credited = account.all("creditNotes").map(|note| {
        let invoice = account.find("invoices", at(note, "invoice/id")).unwrap_or(&none);
        (note, invoice, "credit_note", -1.0, "credit_note_date")
    });
    let mut with_user = 0;
    for (document, invoice, kind, sign, dated) in documents.chain(credited) {
        let row = &revenue[document["id"].as_str().unwrap()];
        let amount = at(document, "total/tax_exclusive/amount").as_f64().map(|amount| amount * sign);
        assert_eq!((&row["kind"], row["tax_exclusive"].as_f64()), (&json!(kind), amount));
        assert_eq!((&row["currency"], &row["day"]), (at(document, "total/tax_exclusive/currency"), &document[dated]));
        assert_eq!(&row["customer_id"], at(document, "invoicee/customer/id"));
        let department = account.find("departments", at(document, "department/id"));
        assert_eq!(&row["department"], department.map_or(&none, |department| &department["name"]));
        let deal = account.find("deals", at(invoice, "deal/id")).unwrap_or(&none);
        let user = account.find("users", at(deal, "responsible_user/id"));
        assert_eq!(row["responsible_user"], user.map_or(Value::Null, |user| json!(full_name(user))), "{document}");
        with_user += usize::from(user.is_some());
    }
    assert!(with_user > 5, "{with_user}");

    let open = by_id(&stage, "select * from teamleader_views.open_items").await;
    let unpaid = booked.iter().filter(|invoice| invoice["status"] == "outstanding" && invoice["paid"] == false);
    let mut ages: BTreeMap<String, usize> = BTreeMap::new();
    for invoice in unpaid.clone() {
        let row = &open[invoice["id"].as_str().unwrap()];
        assert_eq!(row["due"].as_f64(), at(invoice, "total/due/amount").as_f64());
        let days = day(&invoice["due_on"]).map(|due| (account.today - due).num_days());
        assert_eq!(row["days_overdue"].as_i64(), days);
        let age = match days {
            None => "no due date",
            Some(..=0) => "not due",
            Some(1..=30) => "1 to 30 days",
            Some(31..=60) => "31 to 60 days",
            Some(61..=90) => "61 to 90 days",
            Some(_) => "over 90 days",
        };
        assert_eq!(row["age"], age);
        *ages.entry(age.to_owned()).or_default() += 1;
    }
    assert_eq!(open.len(), unpaid.count());
    assert!(!ages.is_empty(), "{ages:?}");
}
