//! `time_entries`: time with the customer and the project that it was worked for.

use super::{CHANGED, Joined, OF_CUSTOMER, OF_PROJECT, PROJECTS};
use crate::views::column::Type::{Boolean, Date, Instant, Number, Text, Uuid};

pub(super) const TIME_ENTRIES: Joined = Joined {
    name: "time_entries",
    sql: include_str!("time_entries.sql"),
    comment: "Each time entry once, with the customer and the project that its subject leads to.",
    columns: &[
        ("id", Uuid, "Teamleader's id of the time entry.", &["timeTracking"]),
        ("user_id", Uuid, "Who worked.", &["users"]),
        ("work_type_id", Uuid, "The kind of work; null where none is set.", &["workTypes"]),
        ("started_on", Date, "The day of the work. A local date.", &[]),
        ("started_at", Instant, "When it started. An instant; null where only the day is known.", &[]),
        ("ended_at", Instant, "When it ended. An instant; null where only the day is known.", &[]),
        ("duration", Number, "How long it took, in seconds.", &[]),
        ("description", Text, "What was done.", &[]),
        (
            "subject_type",
            Text,
            "What was worked on: company, contact, event, todo (a task), milestone or ticket; null for nothing.",
            &[],
        ),
        (
            "subject_id",
            Uuid,
            "The record that subject_type names. Of time on a task of the new projects it is an id of its own.",
            &[],
        ),
        ("customer_type", Text, OF_CUSTOMER, &[]),
        (
            "customer_id",
            Uuid,
            "Whom it was worked for: the subject itself, the customer of the ticket, of the milestone's project, of \
             the task (else of its deal, else of its project), the first that the event links to (else its deal's); of \
             the new projects the first customer of the project. Null where none of these is there.",
            super::CUSTOMERS,
        ),
        ("project_type", Text, OF_PROJECT, &[]),
        ("project_id", Uuid, "The project that the work is part of; null where it is of none.", PROJECTS),
        ("milestone_id", Uuid, "The milestone of a legacy project; null where it is of none.", &["milestones"]),
        ("ticket_id", Uuid, "The ticket, also where the task is one of it; null where it is of none.", &["tickets"]),
        ("task_id", Uuid, "The task that was worked on, which is no task of the new projects; else null.", &["tasks"]),
        (
            "projects_v2_task_id",
            Uuid,
            "The task of the new projects that was worked on; null where it was none.",
            &["projects-v2/tasks"],
        ),
        ("event_id", Uuid, "The event that was worked on; else null.", &["events"]),
        (
            "deal_id",
            Uuid,
            "The deal of the task, or the first that the event links to; null where there is none.",
            &["deals"],
        ),
        ("invoiceable", Boolean, "Whether the time may be invoiced.", &[]),
        ("billing_info_type", Text, "How the time was billed: invoice or prepaid. Null: it is not billed.", &[]),
        (
            "billing_info_invoice_id",
            Uuid,
            "The invoice that it is on; null where it is on none, or Teamleader does not name it.",
            &["invoices"],
        ),
        (
            "hourly_rate_amount",
            Number,
            "The price of an hour, in hourly_rate_currency. Only the detail has it; null where none is known.",
            &[],
        ),
        ("hourly_rate_currency", Text, "The currency of hourly_rate_amount, as three letters.", &[]),
        ("locked", Boolean, "Whether the entry can no longer be changed. Only the detail has it.", &[]),
        ("_changed_at", Instant, CHANGED, &[]),
    ],
};
