//! The table of resources.

use super::{Child, Detail, Key, Paging, Parent, ProjectApi, Resource, Scope, Window};

/// A list that the API gives in its own order, without details: what the entries below differ from.
const PLAIN: Resource = Resource {
    name: "",
    list_includes: &[],
    paging: Paging::Offset(None),
    updated_since: false,
    ids_filter: false,
    has_info: false,
    statuses: &[],
    hidden_status: None,
    detail: Detail::None,
    key: Key::Id,
    scope: Scope::Account,
    window: None,
    project_api: None,
};

/// A plain list that can be asked for ids.
const BY_IDS: Resource = Resource { ids_filter: true, ..PLAIN };

/// Details whose change the list cannot show.
const UNSHOWN: Detail = Detail::Info { includes: &[], shown_by_list: false };

/// Details whose change the list shows by `updated_at`.
const SHOWN: Detail = Detail::Info { includes: &[], shown_by_list: true };

/// A list with details that can be asked for ids.
const DETAILED: Resource = Resource { has_info: true, detail: UNSHOWN, ..BY_IDS };

const fn parent(kind: &'static str, resource: &'static str) -> Parent {
    Parent { kind, resource }
}

const COMPANY: Parent = parent("company", "companies");
const CONTACT: Parent = parent("contact", "contacts");
const CREDIT_NOTE: Parent = parent("creditNote", "creditNotes");
const DEAL: Parent = parent("deal", "deals");
const INVOICE: Parent = parent("invoice", "invoices");
const NEXTGEN_PROJECT: Parent = parent("nextgenProject", "projects-v2/projects");
const PRODUCT: Parent = parent("product", "products");
const PROJECT: Parent = parent("project", "projects");
const QUOTATION: Parent = parent("quotation", "quotations");
const SUBSCRIPTION: Parent = parent("subscription", "subscriptions");
const TICKET: Parent = parent("ticket", "tickets");
const USER: Parent = parent("user", "users");

/// What notes can be on.
const NOTED: &[Parent] =
    &[COMPANY, CONTACT, CREDIT_NOTE, DEAL, INVOICE, NEXTGEN_PROJECT, PRODUCT, PROJECT, QUOTATION, SUBSCRIPTION];

/// All resources, in the order in which a run works on them: small ones that others refer to come first, children after all their
/// parents.
#[rustfmt::skip]
pub static RESOURCES: &[Resource] = &[
    Resource { name: "departments", paging: Paging::Offset(Some("created_at")), statuses: &["active", "archived"], ..DETAILED },
    Resource {
        name: "users",
        paging: Paging::Offset(Some("email")),
        statuses: &["active", "deactivated"],
        detail: Detail::Info { includes: &["external_rate"], shown_by_list: false },
        ..DETAILED
    },
    Resource { name: "teams", paging: Paging::Offset(Some("name")), ..BY_IDS },
    Resource { name: "customFieldDefinitions", paging: Paging::Offset(Some("label")), has_info: true, ..BY_IDS },
    Resource { name: "tags", paging: Paging::Offset(Some("tag")), key: Key::Fields(&["/tag"]), ..PLAIN },
    Resource { name: "workTypes", ..BY_IDS },
    Resource { name: "activityTypes", ..BY_IDS },
    Resource { name: "callOutcomes", ..PLAIN },
    Resource { name: "dayOffTypes", ..PLAIN },
    Resource { name: "closingDays", ..PLAIN },
    Resource { name: "dealPipelines", ..BY_IDS },
    Resource { name: "dealPhases", ..BY_IDS },
    Resource { name: "dealSources", ..BY_IDS },
    Resource { name: "lostReasons", paging: Paging::Offset(Some("name")), ..BY_IDS },
    Resource { name: "paymentMethods", statuses: &["active", "archived"], ..BY_IDS },
    Resource { name: "paymentTerms", ..PLAIN },
    Resource { name: "taxRates", ..PLAIN },
    Resource { name: "withholdingTaxRates", ..PLAIN },
    Resource { name: "commercialDiscounts", key: Key::Fields(&["/name", "/department/id"]), ..PLAIN },
    Resource { name: "unitsOfMeasure", ..PLAIN },
    Resource { name: "priceLists", ..BY_IDS },
    Resource { name: "productCategories", ..PLAIN },
    Resource { name: "ticketStatus", ..BY_IDS },
    Resource {
        name: "mailTemplates",
        scope: Scope::Type(&["invoice", "quotation", "work_order", "credit_note"]),
        ..PLAIN
    },
    Resource {
        name: "documentTemplates",
        statuses: &["active", "archived"],
        scope: Scope::DepartmentAndType(&[
            "delivery_note", "invoice", "order", "order_confirmation", "quotation", "timetracking_report", "workorder",
        ]),
        ..PLAIN
    },
    Resource {
        name: "products",
        updated_since: true,
        detail: Detail::Info { includes: &["suppliers"], shown_by_list: true },
        ..DETAILED
    },
    Resource {
        name: "companies",
        list_includes: &["custom_fields"],
        paging: Paging::Seek,
        updated_since: true,
        hidden_status: Some("deactivated"),
        detail: Detail::Info { includes: &["related_companies", "related_contacts"], shown_by_list: true },
        ..DETAILED
    },
    Resource {
        name: "contacts",
        list_includes: &["custom_fields"],
        paging: Paging::Seek,
        updated_since: true,
        hidden_status: Some("deactivated"),
        detail: SHOWN,
        ..DETAILED
    },
    // The countries of the stored addresses: after the companies and contacts.
    Resource { name: "businessTypes", scope: Scope::Country, ..PLAIN },
    Resource { name: "levelTwoAreas", scope: Scope::Country, ..PLAIN },
    Resource {
        name: "deals",
        list_includes: &["custom_fields"],
        paging: Paging::Offset(Some("created_at")),
        updated_since: true,
        detail: SHOWN,
        ..DETAILED
    },
    Resource { name: "quotations", detail: SHOWN, ..DETAILED },
    Resource {
        name: "projects",
        paging: Paging::Offset(Some("created_at")),
        updated_since: true,
        ids_filter: false,
        project_api: Some(ProjectApi::Legacy),
        ..DETAILED
    },
    Resource {
        name: "milestones",
        paging: Paging::Offset(Some("due_on")),
        project_api: Some(ProjectApi::Legacy),
        ..DETAILED
    },
    Resource {
        name: "projects-v2/projects",
        list_includes: &["custom_fields", "legacy_project"],
        paging: Paging::Offset(Some("project_key")),
        detail: Detail::Info { includes: &["legacy_project"], shown_by_list: false },
        project_api: Some(ProjectApi::V2),
        ..DETAILED
    },
    Resource { name: "projects-v2/projectGroups", project_api: Some(ProjectApi::V2), ..DETAILED },
    Resource { name: "projects-v2/tasks", project_api: Some(ProjectApi::V2), ..DETAILED },
    Resource { name: "projects-v2/materials", project_api: Some(ProjectApi::V2), ..DETAILED },
    Resource {
        name: "subscriptions",
        paging: Paging::Offset(Some("created_at")),
        statuses: &["active", "deactivated"],
        ..DETAILED
    },
    Resource {
        name: "invoices",
        list_includes: &["late_fees"],
        paging: Paging::Offset(Some("invoice_date")),
        updated_since: true,
        detail: Detail::Info { includes: &["late_fees"], shown_by_list: true },
        ..DETAILED
    },
    Resource { name: "creditNotes", updated_since: true, detail: SHOWN, ..DETAILED },
    Resource { name: "tickets", ..DETAILED },
    Resource {
        name: "events",
        paging: Paging::Offset(Some("starts_at")),
        has_info: true,
        window: Some(Window { from: "ends_after", is_date: false }),
        ..BY_IDS
    },
    Resource {
        name: "meetings",
        list_includes: &["tracked_time"],
        paging: Paging::Offset(Some("scheduled_at")),
        detail: Detail::Info { includes: &["tracked_time"], shown_by_list: false },
        window: Some(Window { from: "start_date", is_date: true }),
        ..DETAILED
    },
    Resource { name: "calls", ids_filter: false, window: Some(Window { from: "scheduled_after", is_date: true }), ..DETAILED },
    Resource {
        name: "tasks",
        paging: Paging::Offset(Some("due_on")),
        window: Some(Window { from: "due_from", is_date: true }),
        ..DETAILED
    },
    Resource {
        name: "timeTracking",
        list_includes: &["materials", "relates_to"],
        paging: Paging::Offset(Some("starts_on")),
        detail: Detail::OnDemand { includes: &["materials", "relates_to"] },
        window: Some(Window { from: "started_after", is_date: false }),
        ..DETAILED
    },
    Resource {
        name: "users.daysOff",
        scope: Scope::Parent(Child::Parameter("id"), &[USER]),
        ..PLAIN
    },
    Resource {
        name: "tickets.messages",
        key: Key::Fields(&["/message_id"]),
        scope: Scope::Parent(Child::Parameter("id"), &[TICKET]),
        ..PLAIN
    },
    Resource {
        name: "projects-v2/projectLines",
        key: Key::Fields(&["/line/id"]),
        scope: Scope::Parent(Child::Parameter("project_id"), &[NEXTGEN_PROJECT]),
        project_api: Some(ProjectApi::V2),
        ..PLAIN
    },
    Resource { name: "notes", scope: Scope::Parent(Child::Subject, NOTED), ..PLAIN },
    // What notes can be on is tried.
    Resource { name: "emailTracking", scope: Scope::Parent(Child::UndocumentedSubject, NOTED), ..PLAIN },
    Resource {
        name: "files",
        paging: Paging::Offset(Some("updated_at")),
        has_info: true,
        scope: Scope::Parent(
            Child::Subject,
            &[COMPANY, CONTACT, DEAL, INVOICE, CREDIT_NOTE, PRODUCT, PROJECT, NEXTGEN_PROJECT, TICKET],
        ),
        ..PLAIN
    },
];
