//! The diagrams and tables in `docs/views.md`, made from the catalog.

use std::collections::{BTreeMap, BTreeSet};

use super::column::{Column, Type};
use super::definitions::definitions;
use super::model::{self, View};
use super::{fixed, names};
use crate::catalog;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/views.md");
const BEGIN: &str = "<!-- Made by `make views`. -->\n";
const END: &str = "<!-- The end of the generated part. -->\n";

/// What a diagram is of: all resources in one could not be read.
const DIAGRAMS: [(&str, &[&str]); 7] = [
    ("Customers", &["companies", "contacts", "businessTypes", "tags", "notes", "customFieldDefinitions"]),
    (
        "Sales",
        &[
            "deals",
            "dealPhases",
            "dealPipelines",
            "dealSources",
            "lostReasons",
            "quotations",
            "products",
            "productCategories",
            "priceLists",
        ],
    ),
    (
        "Invoicing",
        &[
            "invoices",
            "creditNotes",
            "subscriptions",
            "departments",
            "taxRates",
            "withholdingTaxRates",
            "paymentTerms",
            "paymentMethods",
            "documentTemplates",
        ],
    ),
    (
        "Buying",
        &[
            "orders",
            "expenses",
            "incomingInvoices",
            "incomingInvoices.payments",
            "incomingCreditNotes",
            "incomingCreditNotes.payments",
            "receipts",
            "receipts.payments",
            "bookkeepingSubmissions",
        ],
    ),
    (
        "Projects and time",
        &[
            "projects",
            "milestones",
            "projects-v2/projects",
            "projects-v2/projectGroups",
            "projects-v2/tasks",
            "projects-v2/materials",
            "timeTracking",
            "tasks",
            "workTypes",
            "users",
            "teams",
        ],
    ),
    ("Planning", &["plannableItems", "reservations", "userSchedules"]),
    (
        "Calendar and tickets",
        &[
            "events",
            "meetings",
            "calls",
            "callOutcomes",
            "activityTypes",
            "users.daysOff",
            "dayOffTypes",
            "closingDays",
            "tickets",
            "ticketStatus",
            "tickets.messages",
        ],
    ),
];

fn diagrams(views: &[View]) -> String {
    let mut out = String::new();
    for (title, resources) in DIAGRAMS {
        out.push_str(&format!("### {title}\n\n```mermaid\nerDiagram\n"));
        for view in views.iter().filter(|view| resources.contains(&view.resource.name)) {
            let own = (view.name.clone(), view.columns.clone(), view.is_child);
            let has_values = !view.is_child && model::has_custom_fields(view.resource);
            let values =
                has_values.then(|| fixed::custom_fields(view)).map(|values| (values.name, values.columns, true));
            for (from, columns, is_child) in std::iter::once(own).chain(values) {
                let references = columns.iter().flat_map(|column| column.refers_to.iter().map(move |to| (column, to)));
                for (column, target) in references {
                    let to = names::table(target);
                    let owns = is_child && view.resource.name == *target && column.name == names::id_column(&to);
                    let line = if owns { format!("{to} ||--o{{ {from}") } else { format!("{from} }}o--o| {to}") };
                    out.push_str(&format!("    {line} : {}\n", column.name));
                }
            }
        }
        out.push_str("```\n\n");
    }
    out
}

fn table(views: &[View]) -> String {
    let mut of_resource: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for view in views.iter().filter(|view| view.is_child) {
        of_resource.entry(view.resource.name).or_default().push(format!("`{}`", view.name));
    }
    let mut out = String::from("| view | of | within | instants | local dates |\n| --- | --- | --- | --- | --- |\n");
    for view in views.iter().filter(|view| !view.is_child) {
        let mut within = of_resource.remove(view.resource.name).unwrap_or_default();
        if model::has_custom_fields(view.resource) {
            within.push(format!("`{}_custom_fields`", names::singular(&view.name)));
            within.push(format!("`{}_wide`", view.name));
        }
        let children = views.iter().filter(|child| child.is_child && child.resource == view.resource);
        let of_kind = |kind: Type| {
            let own = view.columns.iter().map(|column| (None, column));
            let all = own.chain(
                children.clone().flat_map(|child| child.columns.iter().map(move |column| (Some(&child.name), column))),
            );
            let named = all.filter(|(_, column)| column.kind == kind && !column.name.starts_with('_'));
            let mut seen = BTreeSet::new();
            let names = named.map(|(child, column)| match child {
                None => format!("`{}`", column.name),
                Some(child) => format!("`{child}.{}`", column.name),
            });
            let names: Vec<String> = names.filter(|name| seen.insert(name.clone())).collect();
            if names.is_empty() { "-".to_owned() } else { names.join(", ") }
        };
        let within = if within.is_empty() { "-".to_owned() } else { within.join(", ") };
        let cells = [
            format!("`{}`", view.name),
            format!("`{}`", view.resource.name),
            within,
            of_kind(Type::Instant),
            of_kind(Type::Date),
        ];
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    out
}

fn made() -> String {
    let views = model::views();
    format!("{}### All views\n\n{}", diagrams(&views), table(&views))
}

#[test]
fn the_document_is_that_of_the_catalog() {
    let document = std::fs::read_to_string(DOCUMENT).expect("docs/views.md");
    let (head, rest) = document.split_once(BEGIN).expect("the beginning of the generated part");
    let (_, tail) = rest.split_once(END).expect("the end of the generated part");
    let made = format!("{head}{BEGIN}\n{}\n{END}{tail}", made());
    if std::env::var_os("WRITE_VIEWS").is_some() {
        std::fs::write(DOCUMENT, &made).expect("docs/views.md can be written");
    } else {
        assert!(made == document, "docs/views.md is not what the catalog says: run `make views`");
    }
}

#[test]
fn every_diagram_shows_resources_that_there_are() {
    for resource in DIAGRAMS.iter().flat_map(|(_, resources)| *resources) {
        assert!(catalog::find(resource).is_some(), "{resource}");
    }
}

#[test]
fn no_view_has_two_columns_or_two_views_one_name() {
    let mut views = BTreeSet::new();
    for view in definitions() {
        let names: Vec<&str> = view.columns.iter().map(|column: &Column| column.name.as_str()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{}: {names:?}", view.name);
        assert!(
            names.iter().all(|name| name.len() <= 63) && view.name.len() + "_with_deleted".len() <= 63,
            "{}",
            view.name
        );
        assert!(views.insert(view.name.clone()), "{}", view.name);
    }
}
