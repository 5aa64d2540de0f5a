//! Which change of which resource is called by which type.

use crate::changes::ChangeKind;

/// The types of one resource.
struct Row {
    resource: &'static str,
    added: &'static [&'static str],
    /// The first is the plain one; the others stand in its place, and are not called beside it.
    updated: &'static [&'static str],
    deleted: &'static [&'static str],
}

/// The types that are called for a change of a record. Each change is one call, of these types in turn. Empty where
/// nobody is called.
pub fn webhook_types(resource: &str, kind: ChangeKind) -> &'static [&'static str] {
    let Some(row) = TABLE.iter().find(|row| row.resource == resource) else { return &[] };
    match kind {
        ChangeKind::Add => row.added,
        ChangeKind::Update | ChangeKind::UpdateInfo | ChangeKind::Touch => row.updated,
        // Putting a backup back books nothing and closes nothing.
        ChangeKind::Restore => &row.updated[..row.updated.len().min(1)],
        ChangeKind::Delete => row.deleted,
    }
}

/// The resource whose records a type is about, and the type as the table writes it; none for types of the account.
pub(crate) fn resource_of(kind: &str) -> Option<(&'static str, &'static str)> {
    TABLE.iter().find_map(|row| {
        let mut types = [row.added, row.updated, row.deleted].into_iter().flatten();
        types.find(|name| **name == kind).map(|name| (row.resource, *name))
    })
}

/// The resource as the table writes it, if its records are watched: those of a resource with types, and expenses, which
/// list the documents of three of them.
pub(crate) fn watched(resource: &str) -> Option<&'static str> {
    match resource {
        "expenses" => Some("expenses"),
        _ => TABLE.iter().map(|row| row.resource).find(|name| *name == resource),
    }
}

/// Every resource that has types. `account.deactivated` and `account.deleted` are of no record.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row {
        resource: "calls",
        added: &["call.added"],
        updated: &["call.updated", "call.completed"],
        deleted: &["call.deleted"],
    },
    Row {
        resource: "companies",
        added: &["company.added"],
        updated: &["company.updated"],
        deleted: &["company.deleted"],
    },
    Row {
        resource: "contacts",
        added: &["contact.added"],
        updated: &[
            "contact.updated", "contact.linkedToCompany", "contact.unlinkedFromCompany", "contact.updatedLinkToCompany",
        ],
        deleted: &["contact.deleted"],
    },
    Row {
        resource: "creditNotes",
        added: &["creditNote.booked"],
        updated: &[
            "creditNote.updated", "creditNote.booked", "creditNote.sent", "creditNote.peppolSubmissionFailed",
            "creditNote.peppolSubmissionSucceeded",
        ],
        deleted: &["creditNote.deleted"],
    },
    Row {
        resource: "deals",
        added: &["deal.created"],
        updated: &["deal.updated", "deal.moved", "deal.won", "deal.lost"],
        deleted: &["deal.deleted"],
    },
    Row {
        resource: "incomingCreditNotes",
        added: &["incomingCreditNote.added"],
        updated: &[
            "incomingCreditNote.updated", "incomingCreditNote.approved", "incomingCreditNote.refused",
            "incomingCreditNote.bookkeepingSubmissionFailed", "incomingCreditNote.bookkeepingSubmissionSucceeded",
        ],
        deleted: &["incomingCreditNote.deleted"],
    },
    Row {
        resource: "incomingInvoices",
        added: &["incomingInvoice.added"],
        updated: &[
            "incomingInvoice.updated", "incomingInvoice.approved", "incomingInvoice.refused",
            "incomingInvoice.bookkeepingSubmissionFailed", "incomingInvoice.bookkeepingSubmissionSucceeded",
        ],
        deleted: &["incomingInvoice.deleted"],
    },
    Row {
        resource: "invoices",
        added: &["invoice.drafted"],
        updated: &[
            "invoice.updated", "invoice.booked", "invoice.sent", "invoice.paymentRegistered", "invoice.paymentRemoved",
            "invoice.peppolSubmissionFailed", "invoice.peppolSubmissionSucceeded",
        ],
        deleted: &["invoice.deleted"],
    },
    Row {
        resource: "meetings",
        added: &["meeting.created"],
        updated: &["meeting.updated", "meeting.completed"],
        deleted: &["meeting.deleted"],
    },
    Row {
        resource: "milestones",
        added: &["milestone.created"],
        updated: &["milestone.updated"],
        deleted: &[],
    },
    Row {
        resource: "products",
        added: &["product.added"],
        updated: &["product.updated"],
        deleted: &["product.deleted"],
    },
    Row {
        resource: "projects",
        added: &["project.created"],
        updated: &["project.updated"],
        deleted: &["project.deleted"],
    },
    Row {
        resource: "projects-v2/projects",
        added: &["nextgenProject.created"],
        updated: &["nextgenProject.updated", "nextgenProject.closed"],
        deleted: &["nextgenProject.deleted"],
    },
    Row {
        resource: "projects-v2/tasks",
        added: &["nextgenTask.created"],
        updated: &["nextgenTask.updated", "nextgenTask.completed"],
        deleted: &["nextgenTask.deleted"],
    },
    Row {
        resource: "receipts",
        added: &["receipt.added"],
        updated: &[
            "receipt.updated", "receipt.approved", "receipt.refused", "receipt.bookkeepingSubmissionFailed",
            "receipt.bookkeepingSubmissionSucceeded",
        ],
        deleted: &["receipt.deleted"],
    },
    Row {
        resource: "subscriptions",
        added: &["subscription.added"],
        updated: &["subscription.updated", "subscription.deactivated"],
        deleted: &["subscription.deleted"],
    },
    Row {
        resource: "tasks",
        added: &["task.created"],
        updated: &["task.updated", "task.completed"],
        deleted: &["task.deleted"],
    },
    Row {
        resource: "tickets",
        added: &["ticket.created"],
        updated: &["ticket.updated", "ticket.closed", "ticket.reopened"],
        deleted: &["ticket.deleted"],
    },
    Row {
        resource: "tickets.messages",
        added: &["ticketMessage.added"],
        updated: &[],
        deleted: &[],
    },
    Row {
        resource: "timeTracking",
        added: &["timeTracking.added"],
        updated: &["timeTracking.updated"],
        deleted: &["timeTracking.deleted"],
    },
    Row {
        resource: "users",
        added: &[],
        updated: &[],
        deleted: &["user.deactivated"],
    },
];
