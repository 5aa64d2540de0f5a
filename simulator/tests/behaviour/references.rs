//! References lead somewhere: to a record of the account, wherever there is such a resource.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use teamleader_simulator::contract;

use crate::{Api, parse};

/// The `type` of references, and the resource in which the record is found.
#[rustfmt::skip]
const RESOURCES: &[(&str, &str)] = &[
    ("activityType", "activityTypes"), ("area_level_two", "levelTwoAreas"), ("businessType", "businessTypes"),
    ("call", "calls"), ("callOutcome", "callOutcomes"), ("company", "companies"), ("contact", "contacts"),
    ("creditNote", "creditNotes"), ("customFieldDefinition", "customFieldDefinitions"),
    ("dayOff", "users.daysOff"), ("dayOffType", "dayOffTypes"), ("deal", "deals"), ("dealPhase", "dealPhases"), ("dealPipeline", "dealPipelines"),
    ("dealSource", "dealSources"), ("department", "departments"), ("documentTemplate", "documentTemplates"),
    ("file", "files"), ("incomingCreditNote", "incomingCreditNotes"),
    ("incomingInvoice", "incomingInvoices"), ("invoice", "invoices"), ("lostReason", "lostReasons"),
    ("meeting", "meetings"), ("milestone", "milestones"), ("nextgenMaterial", "projects-v2/materials"),
    ("nextgenProject", "projects-v2/projects"), ("nextgenProjectGroup", "projects-v2/projectGroups"),
    ("nextgenTask", "projects-v2/tasks"), ("paymentMethod", "paymentMethods"),
    ("plannableItem", "plannableItems"), ("priceList", "priceLists"), ("priceunit", "unitsOfMeasure"),
    ("product", "products"), ("productCategory", "productCategories"), ("project", "projects"),
    ("quotation", "quotations"), ("receipt", "receipts"), ("subscription", "subscriptions"), ("task", "tasks"),
    ("taxRate", "taxRates"), ("team", "teams"), ("ticket", "tickets"), ("ticketStatus", "ticketStatus"),
    ("todo", "tasks"), ("unitOfMeasure", "unitsOfMeasure"), ("user", "users"),
    ("withholdingTaxRate", "withholdingTaxRates"), ("workType", "workTypes"),
];

/// References to what the API does not list.
#[rustfmt::skip]
const OF_NO_RESOURCE: &[&str] = &[
    "account", "address", "calendarResource", "customLocation", "onlineMeetingRoom", "peppolIncomingDocument",
    "recurrence", "virtual", "workOrder",
];

/// References to records that no list shows, by where they stand, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    // Time on a task of the new projects names a `todo` of its own; `relates_to` has the task.
    ("timeTracking.subject", "todo"),
    // No definition is of these, whose custom fields have one all the same.
    ("orders.custom_fields[].definition", "customFieldDefinition"),
    ("projects-v2/tasks.custom_fields[].definition", "customFieldDefinition"),
];

/// The references in a value, as path, type and id.
fn references(path: &str, value: &Value, found: &mut BTreeSet<(String, String, String)>) {
    match value {
        Value::Object(members) => {
            if let (Some(kind), Some(id)) = (value["type"].as_str(), value["id"].as_str())
                && path.contains('.')
            {
                found.insert((path.to_owned(), kind.to_owned(), id.to_owned()));
            }
            members.iter().for_each(|(key, member)| references(&format!("{path}.{key}"), member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(&format!("{path}[]"), item, found)),
        _ => {}
    }
}

fn includes_of<'a>(fields: &'a contract::Fields, all: &mut Vec<&'a str>) {
    for field in fields.values() {
        all.extend(field.needs_include.as_deref());
        includes_of(&field.fields, all);
    }
}

#[tokio::test]
async fn every_reference_leads_to_a_record_of_the_account() {
    let api =
        Api::unlimited(&[("contacts", 200), ("companies", 100), ("invoices", 100), ("projects-v2/materials", 40)])
            .await;
    let mut found = BTreeSet::new();
    let documents = ["incomingInvoices", "incomingCreditNotes", "receipts"];
    let mut living: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for resource in contract::resources().chain(documents) {
        let endpoints = contract::list_endpoint(resource).into_iter().filter_map(contract::endpoint);
        let mut includes = Vec::new();
        endpoints.chain(contract::info_endpoint(resource)).for_each(|of| includes_of(&of.record, &mut includes));
        for record in api.simulator.truth_with(resource, &includes) {
            living.entry(resource).or_default().insert(record.id.to_string());
            for text in [Some(record.list), record.info].into_iter().flatten() {
                references(resource, &parse(&text), &mut found);
            }
        }
    }
    assert!(found.len() > 1000, "{}", found.len());
    let mut lost = BTreeSet::new();
    let (mut led, mut excepted) = (BTreeSet::new(), BTreeSet::new());
    for (path, kind, id) in &found {
        if OF_NO_RESOURCE.contains(&kind.as_str()) {
            continue;
        }
        let resource = RESOURCES.iter().find(|(name, _)| name == kind).map(|(_, resource)| *resource);
        if resource.is_some_and(|resource| living.get(resource).is_some_and(|ids| ids.contains(id))) {
            led.insert(kind.as_str());
        } else if let Some(exception) =
            EXCEPTIONS.iter().find(|exception| **exception == (path.as_str(), kind.as_str()))
        {
            excepted.insert(exception);
        } else {
            lost.insert(format!("{path}: {kind}"));
        }
    }
    assert!(lost.is_empty(), "they lead nowhere: {lost:#?}");
    assert_eq!(excepted.len(), EXCEPTIONS.len(), "exceptions that none is any more");
    let never: Vec<_> = RESOURCES.iter().filter(|(kind, _)| !led.contains(kind)).collect();
    assert!(never.is_empty(), "no reference is of these types: {never:?}");
}
