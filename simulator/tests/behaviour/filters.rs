//! Every filter of the blueprint: it finds exactly what matches, or is refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use teamleader_simulator::contract;

use crate::{Api, key, keys, list_of, parse, sorted};

/// Resource, filter, and where a record shows what it compares. A star stands for the items of an array.
#[rustfmt::skip]
const EQUAL: &[(&str, &str, &str)] = &[
    ("calls", "call_outcome_id", "outcome.id"),
    ("commercialDiscounts", "department_id", "department.id"),
    ("companies", "status", "status"),
    ("companies", "tags", "tags.*"),
    ("companies", "vat_number", "vat_number"),
    ("contacts", "status", "status"),
    ("contacts", "tags", "tags.*"),
    ("creditNotes", "customer", "invoicee.customer"),
    ("creditNotes", "department_id", "department.id"),
    ("creditNotes", "invoice_id", "invoice.id"),
    ("customFieldDefinitions", "context", "context"),
    ("deals", "customer", "lead.customer"),
    ("deals", "estimated_closing_date", "estimated_closing_date"),
    ("deals", "phase_id", "current_phase.id"),
    ("deals", "pipeline_ids", "pipeline.id"),
    ("deals", "responsible_user_id", "responsible_user.id"),
    ("deals", "status", "status"),
    ("departments", "status", "status"),
    ("documentTemplates", "department_id", "department.id"),
    ("documentTemplates", "document_type", "document_type"),
    ("documentTemplates", "status", "status"),
    ("events", "activity_type_id", "activity_type.id"),
    ("events", "link", "links.*"),
    ("events", "task_id", "task.id"),
    ("events", "user_id", "creator.id"),
    ("contacts", "marketing_mails_consent", "marketing_mails_consent"),
    ("companies", "marketing_mails_consent", "marketing_mails_consent"),
    ("companies", "national_identification_number", "national_identification_number"),
    ("expenses", "bookkeeping_statuses", "bookkeeping_status"),
    ("expenses", "department_ids", "company_entity.id"),
    ("expenses", "payment_statuses", "payment_status"),
    ("expenses", "review_statuses", "review_status"),
    ("expenses", "source_types", "source.type"),
    ("expenses", "supplier", "supplier"),
    ("invoices", "customer", "invoicee.customer"),
    ("invoices", "deal_id", "deal.id"),
    ("invoices", "department_id", "department.id"),
    ("invoices", "invoice_number", "invoice_number"),
    ("invoices", "payment_reference", "payment_reference"),
    ("invoices", "project_id", "project.id"),
    ("invoices", "status", "status"),
    ("invoices", "subscription_id", "subscription.id"),
    ("mailTemplates", "department_id", "department.id"),
    ("mailTemplates", "type", "type"),
    ("meetings", "group_id", "group.id"),
    ("meetings", "milestone_id", "milestone.id"),
    ("meetings", "recurrence_id", "recurrence.id"),
    ("milestones", "project_id", "project.id"),
    ("milestones", "status", "status"),
    ("paymentMethods", "status", "status"),
    ("plannableItems", "types", "source.type"),
    ("projects", "customer", "customer"),
    ("projects", "participant_id", "participants.*.participant.id"),
    ("projects", "status", "status"),
    ("projects-v2/projectGroups", "project_id", "project.id"),
    ("projects-v2/projectLines", "types", "line.type"),
    ("projects-v2/projects", "customers", "customers.*"),
    ("projects-v2/projects", "deal_ids", "deals.*.id"),
    ("projects-v2/projects", "quotation_ids", "quotations.*.id"),
    ("projects-v2/projects", "status", "status"),
    ("reservations", "assignees", "assignee"),
    ("reservations", "plannable_item_ids", "plannable_item.id"),
    ("subscriptions", "customer", "invoicee.customer"),
    ("subscriptions", "department_id", "department.id"),
    ("subscriptions", "status", "status"),
    ("tasks", "completed", "completed"),
    ("tasks", "customer", "customer"),
    ("tasks", "milestone_id", "milestone.id"),
    ("taxRates", "department_id", "department.id"),
    ("teams", "team_lead_id", "team_lead.id"),
    ("tickets", "assignee_ids", "assignee.id"),
    ("tickets", "project_ids", "project.id"),
    ("tickets.messages", "type", "type"),
    ("timeTracking", "relates_to", "relates_to.*"),
    ("timeTracking", "subject", "subject"),
    ("timeTracking", "subject_types", "subject.type"),
    ("timeTracking", "user_id", "user.id"),
    ("users", "status", "status"),
    ("withholdingTaxRates", "department_id", "department.id"),
];

/// Resource, filter that bounds from below, filter that bounds from above, and where a record shows the value.
#[rustfmt::skip]
const RANGES: &[(&str, Option<&str>, Option<&str>, &str)] = &[
    ("calls", Some("scheduled_after"), Some("scheduled_before"), "scheduled_at"),
    ("closingDays", Some("date_after"), Some("date_before"), "date"),
    ("creditNotes", Some("credit_note_date_after"), Some("credit_note_date_before"), "credit_note_date"),
    ("deals", None, Some("created_before"), "created_at"),
    ("deals", Some("estimated_closing_date_from"), Some("estimated_closing_date_until"), "estimated_closing_date"),
    ("events", Some("ends_after"), None, "ends_at"),
    ("events", None, Some("starts_before"), "starts_at"),
    ("invoices", Some("invoice_date_after"), Some("invoice_date_before"), "invoice_date"),
    ("meetings", Some("start_date"), Some("end_date"), "scheduled_at"),
    ("milestones", Some("due_after"), Some("due_before"), "due_on"),
    ("reservations", Some("start_date"), Some("end_date"), "date"),
    ("tasks", Some("due_from"), Some("due_by"), "due_on"),
    ("tickets.messages", Some("created_after"), Some("created_before"), "created_at"),
    ("timeTracking", Some("ended_after"), Some("ended_before"), "ended_at"),
    ("timeTracking", Some("started_after"), Some("started_before"), "started_at"),
    ("users.daysOff", Some("starts_after"), None, "starts_at"),
    ("users.daysOff", None, Some("ends_before"), "ends_at"),
];

/// Filters that other tests look at, on any list or on one.
const ELSEWHERE: &[&str] = &[
    "ids",
    "updated_since",
    "companies email",
    "contacts email",
    "contacts company_id",
    "events attendee",
    "invoices purchase_order_number",
    "tasks user_id",
    "tickets exclude",
    "notes subject",
    "emailTracking subject",
    "files subject",
    "bookkeepingSubmissions subject",
    "userSchedules from",
    "userSchedules until",
    "userSchedules user_ids",
    "tasks deal_id",
];

/// Filters that no field of a record answers.
#[rustfmt::skip]
const REFUSED: &[&str] = &[
    "term", "calls relates_to", "creditNotes project_id", "dealPhases deal_pipeline_id", "dealPipelines status",
    "events done", "meetings employee_id", "productCategories department_id", "projects-v2/projectLines assignees",
    "expenses document_date", "expenses paid_at", "plannableItems assignees", "plannableItems completion_statuses",
    "plannableItems end_date", "plannableItems planned_time_statuses", "plannableItems project_ids",
    "plannableItems start_date", "plannableItems work_type_ids", "reservations project_ids",
    "reservations source_types", "reservations sources", "reservations work_type_ids", "subscriptions deal_id",
    "subscriptions invoice_id", "tasks scheduled", "tickets relates_to",
];

/// What a record shows at a path.
fn shown<'a>(record: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut values = vec![record];
    for key in path.split('.') {
        values = match key {
            "*" => values.into_iter().filter_map(Value::as_array).flatten().collect(),
            key => values.into_iter().filter_map(|value| value.get(key)).collect(),
        };
    }
    values.retain(|value| !value.is_null());
    values
}

/// A large account: everything that can be asked for is there.
async fn large() -> Api {
    let counts: Vec<(&str, usize)> = contract::resources().map(|resource| (resource, 60)).collect();
    Api::unlimited(&counts).await
}

fn records(api: &Api, resource: &str) -> Vec<(Value, Value)> {
    let truth = api.simulator.truth(resource).into_iter();
    truth.map(|record| (parse(&record.list), parse(&record.content()))).collect()
}

#[tokio::test]
async fn a_filter_for_a_value_finds_the_records_that_show_it() {
    let api = large().await;
    for (resource, filter, path) in EQUAL {
        let records = records(&api, resource);
        // Time is related to more kinds of records than can be asked for.
        let kinds = list_of(resource).1.filter[*filter].fields.get("type").and_then(|kind| kind.choices.clone());
        let can_be_asked = |value: &&Value| {
            let kind = value["type"].as_str().unwrap_or_default().to_owned();
            kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
        };
        let wanted = records.iter().find_map(|(_, record)| shown(record, path).into_iter().find(can_be_asked));
        let wanted = wanted.unwrap_or_else(|| panic!("no {resource} with {path}"));
        let matches = |record: &&(Value, Value)| shown(&record.1, path).contains(&wanted);
        let expected: Vec<Value> = records.iter().filter(matches).map(|(list, _)| list.clone()).collect();
        assert!(
            !expected.is_empty() && (expected.len() < records.len() || *filter == "relates_to"),
            "{resource} by {filter}"
        );
        let array = list_of(resource).1.filter[*filter].kind.as_deref().unwrap_or_default().starts_with("array");
        let value = if array { json!([wanted]) } else { wanted.clone() };
        let found = found(&api, resource, filter, value).await;
        assert_eq!(found, sorted(keys(&expected)), "{resource} by {filter} {wanted}");
    }
}

/// The keys of what a filter finds. Another filter that is required stays as it is.
async fn found(api: &Api, resource: &str, filter: &str, value: Value) -> Vec<String> {
    let (endpoint, contract) = list_of(resource);
    let mut all = Vec::new();
    let mut bodies = api.bodies(resource, &json!({}));
    for body in &mut bodies {
        body["filter"][filter] = value.clone();
    }
    bodies.dedup();
    let mut asked = Vec::new();
    for mut body in bodies {
        if asked.contains(&body) {
            continue;
        }
        asked.push(body.clone());
        for number in 1.. {
            body["page"] = json!({ "size": 100, "number": number });
            let answer = api.call(endpoint, body.clone()).await;
            assert_eq!(answer.status, 200, "{endpoint} {body}: {}", answer.text);
            let page = answer.json()["data"].as_array().unwrap().clone();
            all.extend(keys(&page));
            if page.len() < 100 || !contract.paged {
                break;
            }
        }
    }
    sorted(all)
}

#[tokio::test]
async fn a_bound_keeps_what_lies_within_and_what_lies_on_it() {
    let api = large().await;
    for (resource, from, until, path) in RANGES {
        let records = records(&api, resource);
        // A day off is written with the offset of Brussels, all others in UTC.
        let moment = |record: &Value| {
            let text = shown(record, path).first()?.as_str()?.to_owned();
            let day = text.len() == 10;
            let text = if day { format!("{text}T00:00:00+00:00") } else { text };
            Some(chrono::DateTime::parse_from_rfc3339(&text).unwrap().to_utc())
        };
        let mut moments: Vec<_> = records.iter().filter_map(|(_, record)| moment(record)).collect();
        moments.sort();
        let middle = moments[moments.len() / 2];
        let day = |moment: &chrono::DateTime<chrono::Utc>| moment.date_naive();
        for (filter, is_from) in [(from, true), (until, false)] {
            let Some(filter) = filter else { continue };
            let by_day = |at: &chrono::DateTime<chrono::Utc>| {
                if is_from { day(at) >= day(&middle) } else { day(at) <= day(&middle) }
            };
            let by_moment = |at: &chrono::DateTime<chrono::Utc>| if is_from { *at >= middle } else { *at <= middle };
            let expected = |within: &dyn Fn(&chrono::DateTime<chrono::Utc>) -> bool| {
                let matching = records.iter().filter(|(_, record)| moment(record).is_some_and(|at| within(&at)));
                sorted(matching.map(|(list, _)| key(list)).collect())
            };
            if matches!(*resource, "events" | "timeTracking") {
                let body = json!({ "filter": { *filter: day(&middle).to_string() } });
                assert_eq!(api.call(list_of(resource).0, body).await.status, 400, "{resource} by {filter}");
                let found_by_moment = found(&api, resource, filter, json!(middle.to_rfc3339())).await;
                assert_eq!(found_by_moment, expected(&by_moment), "{resource} by {filter} {middle}");
                continue;
            }
            let found_by_day = found(&api, resource, filter, json!(day(&middle).to_string())).await;
            assert_eq!(found_by_day, expected(&by_day), "{resource} by {filter} {middle}");
            let found_by_moment = found(&api, resource, filter, json!(middle.to_rfc3339())).await;
            assert_eq!(found_by_moment, expected(&by_moment), "{resource} by {filter} {middle}");
            assert!(!found_by_day.is_empty() && found_by_day.len() < records.len(), "{resource} by {filter}");
        }
    }
}

#[tokio::test]
async fn tickets_can_be_without_a_status_and_tasks_without_a_user() {
    let api = large().await;
    let records = records(&api, "tickets");
    let unwanted = &records[0].1["status"]["id"];
    let expected = records.iter().filter(|(_, ticket)| ticket["status"]["id"] != *unwanted).map(|(list, _)| key(list));
    let asked = json!({ "status_ids": [unwanted] });
    assert_eq!(found(&api, "tickets", "exclude", asked).await, sorted(expected.collect()));

    let tasks: Vec<Value> = api.simulator.truth("tasks").iter().map(|task| parse(&task.list)).collect();
    let user = &tasks.iter().find(|task| task["assignee"]["type"] == "user").unwrap()["assignee"]["id"];
    for (value, expected) in [
        (user.clone(), tasks.iter().filter(|task| task["assignee"]["id"] == *user).map(key).collect()),
        (Value::Null, tasks.iter().filter(|task| task["assignee"].is_null()).map(key).collect::<Vec<_>>()),
    ] {
        assert_eq!(found(&api, "tasks", "user_id", value).await, sorted(expected));
    }
}

#[tokio::test]
async fn updated_since_and_ids_find_what_the_truth_says() {
    let api = large().await;
    for resource in contract::resources() {
        let filters = &list_of(resource).1.filter;
        let truth = api.simulator.truth(resource);
        if filters.contains_key("ids") {
            let ids: Vec<_> = truth.iter().step_by(7).map(|record| record.id.to_string()).collect();
            assert_eq!(found(&api, resource, "ids", json!(ids)).await, sorted(ids), "{resource}");
        }
        if filters.contains_key("updated_since") {
            let since = truth[9].updated_at;
            let expected = truth.iter().filter(|record| record.updated_at >= since).map(|record| record.id.to_string());
            let found = found(&api, resource, "updated_since", json!(since.to_rfc3339())).await;
            assert_eq!(found, sorted(expected.collect()), "{resource}");
        }
    }
}

#[tokio::test]
async fn what_no_field_answers_is_refused_and_never_ignored() {
    let api = Api::unlimited(&[]).await;
    for resource in contract::resources() {
        let (endpoint, contract) = list_of(resource);
        for (filter, field) in &contract.filter {
            let full = format!("{resource} {filter}");
            if REFUSED.contains(&filter.as_str()) || REFUSED.contains(&full.as_str()) {
                let mut body = api.bodies(resource, &json!({})).remove(0);
                let value = if field.kind.as_deref().is_some_and(|kind| kind.starts_with("array")) {
                    json!([])
                } else {
                    json!("x")
                };
                body["filter"][filter] = value;
                assert_eq!(api.call(endpoint, body).await.status, 501, "{full}");
            }
        }
    }
    let overdue = json!({ "filter": { "status": "overdue" } });
    assert_eq!(api.call("projects-v2/projects.list", overdue).await.status, 501);
    let nonsense = json!({ "filter": { "status": "nonsense" } });
    assert_eq!(api.call("projects-v2/projects.list", nonsense).await.status, 400);
    assert_eq!(api.call("levelTwoAreas.list", json!({ "country": "BE", "language": "nl" })).await.status, 501);
}

#[tokio::test]
async fn every_filter_of_the_blueprint_is_looked_at_here() {
    let mut looked_at: BTreeSet<String> = ELSEWHERE.iter().chain(REFUSED).map(|name| (*name).to_owned()).collect();
    looked_at.extend(EQUAL.iter().map(|(resource, filter, _)| format!("{resource} {filter}")));
    for (resource, from, until, _) in RANGES {
        looked_at.extend([from, until].into_iter().flatten().map(|filter| format!("{resource} {filter}")));
    }
    for resource in contract::resources() {
        for filter in list_of(resource).1.filter.keys() {
            let full = format!("{resource} {filter}");
            assert!(looked_at.contains(filter) || looked_at.contains(&full), "{full}");
        }
    }
}
