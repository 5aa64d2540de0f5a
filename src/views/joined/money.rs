//! `revenue` and `open_items`: what was invoiced, and what of it is open.

use super::{CHANGED, Joined, OF_CUSTOMER, OF_PROJECT, PROJECTS};
use crate::views::column::Type::{Boolean, Count, Date, Instant, Number, Text, Uuid};

pub(super) const REVENUE: Joined = Joined {
    name: "revenue",
    sql: include_str!("revenue.sql"),
    comment: "Invoices and credit notes in one, credit notes with the opposite sign, so that a sum over one currency \
              is what is left. Drafts are not in it.",
    columns: &[
        ("id", Uuid, "Teamleader's id of the invoice or the credit note, as kind says.", &["invoices", "creditNotes"]),
        ("kind", Text, "invoice or credit_note. Never null.", &[]),
        ("number", Text, "The number of the document, as Teamleader writes it; null where it has none.", &[]),
        ("day", Date, "invoice_date or credit_note_date. A local date; null where the document has none.", &[]),
        ("status", Text, "outstanding or matched; of a credit note booked.", &[]),
        ("paid", Boolean, "Whether Teamleader has the document as paid.", &[]),
        (
            "invoice_id",
            Uuid,
            "The invoice itself; of a credit note the invoice that it names, null where it names none.",
            &["invoices"],
        ),
        ("department_id", Uuid, "The department that issued it.", &["departments"]),
        ("department", Text, "The department's name; null where this copy has no such department.", &[]),
        ("customer_type", Text, OF_CUSTOMER, &[]),
        ("customer_id", Uuid, "The customer that was invoiced: a record of customers.", super::CUSTOMERS),
        ("customer", Text, "The customer's name as it stands on the document.", &[]),
        (
            "deal_id",
            Uuid,
            "The deal that the invoice names; of a credit note that of its invoice. Null where there is none.",
            &["deals"],
        ),
        (
            "responsible_user_id",
            Uuid,
            "The user responsible for the deal, as it is today; null without a deal: invoices have none of their own.",
            &["users"],
        ),
        ("responsible_user", Text, "That user's first and last name; null where there is none.", &[]),
        ("project_type", Text, OF_PROJECT, &[]),
        ("project_id", Uuid, "The project that the invoice names; of a credit note that of its invoice.", PROJECTS),
        (
            "subscription_id",
            Uuid,
            "The subscription that made the invoice; of a credit note that of its invoice. Null where there is none.",
            &["subscriptions"],
        ),
        ("currency", Text, "The currency of all amounts of the row, as three letters. Never add two of them.", &[]),
        ("tax_exclusive", Number, "The total without taxes, in currency; of a credit note below zero.", &[]),
        ("tax_inclusive", Number, "The total with taxes, in currency; of a credit note below zero.", &[]),
        ("payable", Number, "What is to be paid, in currency; of a credit note below zero.", &[]),
        (
            "exchange_rate_from",
            Text,
            "The first currency of the rate, as Teamleader gives it. Null where the detail was not read.",
            &[],
        ),
        ("exchange_rate_to", Text, "The second currency of the rate, as Teamleader gives it.", &[]),
        (
            "exchange_rate",
            Number,
            "The rate between exchange_rate_from and exchange_rate_to, as Teamleader gives it. Its direction is not \
             documented: the API's example has from USD, to EUR and 1.1234, which by the names would be euro for a \
             dollar, and by the size is dollars for a euro. Hold it against an invoice whose value you know. No amount \
             of this view is converted.",
            &[],
        ),
        ("_changed_at", Instant, CHANGED, &[]),
    ],
};

pub(super) const OPEN_ITEMS: Joined = Joined {
    name: "open_items",
    sql: include_str!("open_items.sql"),
    comment: "Invoices that are outstanding and not paid, by age. Credit notes are not in it: whether Teamleader takes \
              them off what is due is not documented.",
    columns: &[
        ("id", Uuid, "Teamleader's id of the invoice.", &["invoices"]),
        ("number", Text, "The invoice's number, as Teamleader writes it.", &[]),
        ("day", Date, "The invoice's date. A local date.", &[]),
        ("due_on", Date, "When it is to be paid. A local date; null where none is set.", &[]),
        ("department_id", Uuid, "The department that issued it.", &["departments"]),
        ("customer_type", Text, OF_CUSTOMER, &[]),
        ("customer_id", Uuid, "The customer that was invoiced: a record of customers.", super::CUSTOMERS),
        ("customer", Text, "The customer's name as it stands on the invoice.", &[]),
        ("deal_id", Uuid, "The deal that the invoice names; null where it names none.", &["deals"]),
        ("currency", Text, "The currency of the amounts of the row, as three letters. Never add two of them.", &[]),
        ("payable", Number, "What was to be paid in all, in currency.", &[]),
        ("due", Number, "What is still to be paid, in currency; with late fees it is in invoices.", &[]),
        (
            "days_overdue",
            Count,
            "Days from due_on to today, in the time zone of your session: 0 or less is not overdue. Null if due_on is.",
            &[],
        ),
        (
            "age",
            Text,
            "not due, 1 to 30 days, 31 to 60 days, 61 to 90 days, over 90 days; no due date where due_on is null.",
            &[],
        ),
        (
            "on_hold_since",
            Date,
            "Since when the invoice is on hold. A local date; null where it is not, and where the detail was \
             not read.",
            &[],
        ),
        ("payment_reference", Text, "The reference that the customer pays with; null where there is none.", &[]),
        (
            "expected_payment_method",
            Text,
            "How it is expected to be paid. Only the detail has it; null where none is set, too.",
            &[],
        ),
        ("_changed_at", Instant, CHANGED, &[]),
    ],
};
