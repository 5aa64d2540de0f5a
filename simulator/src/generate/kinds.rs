//! The names that references give to records, and the resources in which these are found.

/// The resource whose records have this `type` in references; none for what the API does not list, such as a calendar
/// resource.
pub(crate) fn resource_of(kind: &str) -> Option<&'static str> {
    KINDS.iter().find(|(name, _)| *name == kind).map(|(_, resource)| *resource)
}

/// The `type` that references to records of a resource have.
pub(crate) fn kind_of(resource: &str) -> Option<&'static str> {
    KINDS.iter().find(|(_, name)| *name == resource).map(|(kind, _)| *kind)
}

/// `type` and resource. Of two names for one resource the first is that of a subject.
#[rustfmt::skip]
const KINDS: &[(&str, &str)] = &[
    ("activityType", "activityTypes"), ("businessType", "businessTypes"),
    ("area_level_two", "levelTwoAreas"), ("call", "calls"),
    ("callOutcome", "callOutcomes"), ("company", "companies"), ("contact", "contacts"),
    ("creditNote", "creditNotes"), ("customFieldDefinition", "customFieldDefinitions"),
    ("dayOff", "users.daysOff"), ("dayOffType", "dayOffTypes"), ("deal", "deals"), ("dealPhase", "dealPhases"),
    ("dealPipeline", "dealPipelines"), ("dealSource", "dealSources"), ("department", "departments"),
    ("documentTemplate", "documentTemplates"), ("event", "events"), ("file", "files"),
    ("incomingCreditNote", "incomingCreditNotes"), ("incomingInvoice", "incomingInvoices"),
    ("invoice", "invoices"), ("lostReason", "lostReasons"), ("meeting", "meetings"),
    ("milestone", "milestones"), ("nextgenMaterial", "projects-v2/materials"),
    ("nextgenProject", "projects-v2/projects"), ("nextgenProjectGroup", "projects-v2/projectGroups"),
    ("nextgenTask", "projects-v2/tasks"), ("order", "orders"), ("paymentMethod", "paymentMethods"),
    ("plannableItem", "plannableItems"),
    ("priceList", "priceLists"), ("product", "products"),
    ("productCategory", "productCategories"), ("project", "projects"), ("quotation", "quotations"),
    ("receipt", "receipts"),
    ("subscription", "subscriptions"), ("task", "tasks"), ("todo", "tasks"), ("taxRate", "taxRates"),
    ("team", "teams"), ("ticket", "tickets"), ("ticketStatus", "ticketStatus"),
    ("unitOfMeasure", "unitsOfMeasure"), ("priceunit", "unitsOfMeasure"), ("user", "users"),
    ("withholdingTaxRate", "withholdingTaxRates"), ("workType", "workTypes"),
];
