//! The table of resources: what the API's documents do not say of each. All else is derived from them, in `derived.rs`.

use super::entry::{Entry, Reach};
use super::resource::ProjectApi;

/// A list of the whole account, of which the documents say all: what the entries below differ from.
const PLAIN: Entry =
    Entry { name: "", sort: None, key: &[], reach: Reach::Account, window: None, on_demand: false, project_api: None };

const fn plain(name: &'static str) -> Entry {
    Entry { name, ..PLAIN }
}

/// A list that can be sorted by several fields, none of which stays as it is: this one changes least.
const fn sorted(name: &'static str, sort: &'static str) -> Entry {
    Entry { name, sort: Some(sort), ..PLAIN }
}

const fn of(name: &'static str, reach: Reach) -> Entry {
    Entry { name, reach, ..PLAIN }
}

const fn legacy(name: &'static str, sort: Option<&'static str>) -> Entry {
    Entry { name, sort, project_api: Some(ProjectApi::Legacy), ..PLAIN }
}

const fn v2(name: &'static str, sort: Option<&'static str>) -> Entry {
    Entry { name, sort, project_api: Some(ProjectApi::V2), ..PLAIN }
}

/// A list that can be asked for dates, by this filter.
const fn dated(name: &'static str, window: &'static str) -> Entry {
    Entry { name, window: Some(window), ..PLAIN }
}

/// All resources, in the order in which a run works on them: small ones that others refer to come first, children after
/// all their parents.
pub(super) const ENTRIES: &[Entry] = &[
    plain("departments"),
    sorted("users", "email"),
    plain("teams"),
    sorted("customFieldDefinitions", "label"),
    Entry { key: &["/tag"], ..plain("tags") },
    plain("workTypes"),
    plain("activityTypes"),
    plain("callOutcomes"),
    plain("dayOffTypes"),
    plain("closingDays"),
    plain("dealPipelines"),
    plain("dealPhases"),
    plain("dealSources"),
    plain("lostReasons"),
    plain("paymentMethods"),
    plain("paymentTerms"),
    sorted("taxRates", "description"),
    plain("withholdingTaxRates"),
    // Before July 2026 it had no id.
    Entry { key: &["/name", "/department/id"], ..plain("commercialDiscounts") },
    plain("unitsOfMeasure"),
    plain("priceLists"),
    plain("productCategories"),
    plain("ticketStatus"),
    of("mailTemplates", Reach::Types),
    of("documentTemplates", Reach::DepartmentsAndTypes),
    plain("products"),
    plain("companies"),
    plain("contacts"),
    // The countries of the stored addresses: after the companies and contacts.
    of("businessTypes", Reach::Countries),
    of("levelTwoAreas", Reach::Countries),
    plain("deals"),
    plain("quotations"),
    legacy("projects", None),
    legacy("milestones", Some("due_on")),
    v2("projects-v2/projects", Some("project_key")),
    v2("projects-v2/projectGroups", None),
    v2("projects-v2/tasks", None),
    v2("projects-v2/materials", None),
    plain("subscriptions"),
    sorted("invoices", "invoice_date"),
    plain("creditNotes"),
    plain("orders"),
    Entry { key: &["/source/type", "/source/id"], ..sorted("expenses", "document_date") },
    of("incomingInvoices", Reach::Stored("expenses", "incomingInvoice")),
    of("incomingCreditNotes", Reach::Stored("expenses", "incomingCreditNote")),
    of("receipts", Reach::Stored("expenses", "receipt")),
    plain("tickets"),
    dated("events", "ends_after"),
    dated("meetings", "start_date"),
    dated("calls", "scheduled_after"),
    dated("tasks", "due_from"),
    // The detail adds only whether it is locked.
    Entry { on_demand: true, ..dated("timeTracking", "started_after") },
    plain("plannableItems"),
    plain("reservations"),
    Entry { key: &["/user/id", "/from"], ..of("userSchedules", Reach::Weeks) },
    of("users.daysOff", Reach::Of("users")),
    Entry { key: &["/message_id"], ..of("tickets.messages", Reach::Of("tickets")) },
    Entry { key: &["/line/id"], reach: Reach::Of("projects-v2/projects"), ..v2("projects-v2/projectLines", None) },
    of("notes", Reach::Subjects),
    of("emailTracking", Reach::Subjects),
    of("files", Reach::Subjects),
    of("incomingInvoices.payments", Reach::Of("incomingInvoices")),
    of("incomingCreditNotes.payments", Reach::Of("incomingCreditNotes")),
    of("receipts.payments", Reach::Of("receipts")),
    of("bookkeepingSubmissions", Reach::Subjects),
];

/// Where fields stood before: the resource, the field now, the field in answers of older versions of the API, which
/// rows may still have. What the documents call renamed is not among them.
pub(super) const FORMERLY: &[(&str, &str, &str)] = &[
    // Before version 2023-09-26.
    ("meetings", "title", "name"),
    // Before version 2022-09-15.
    ("subscriptions", "note", "remark"),
    ("subscriptions", "billing_cycle.periodicity", "periodicity"),
    // Before version 2019-07-03.
    ("tasks", "due_on", "due_at"),
    ("events", "task", "todo"),
    // Before version 2018-10-30.
    ("companies", "primary_address", "address"),
    ("contacts", "primary_address", "address"),
];

/// Resources whose key is a text that answers before version 2022-09-15 of the API give in lower case.
pub(super) const FORMERLY_IN_LOWER_CASE: &[&str] = &["tags"];

/// Lists whose elements were plain values before: the resource, the list, the field of an element that such a value is.
pub(super) const FORMERLY_PLAIN: &[(&str, &str, &str)] = &[
    // Before version 2023-09-26.
    ("customFieldDefinitions", "configuration.options", "value"),
];
