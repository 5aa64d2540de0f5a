//! `activities`: what happened with a customer.

use super::{CHANGED, Joined, OF_CUSTOMER, OF_PROJECT, PROJECTS};
use crate::views::column::Type::{Date, Instant, Text, Uuid};

pub(super) const ACTIVITIES: Joined = Joined {
    name: "activities",
    sql: include_str!("activities.sql"),
    comment: "Calls, meetings, tasks, tickets, time, notes, quotations and invoices in one, by customer and time. What \
              is planned is in it, too: day lies in the future then.",
    columns: &[
        (
            "id",
            Uuid,
            "Teamleader's id of the record that kind names.",
            &["calls", "meetings", "tasks", "tickets", "timeTracking", "notes", "quotations", "invoices"],
        ),
        ("kind", Text, "call, meeting, task, ticket, time, note, quotation or invoice. Never null.", &[]),
        ("customer_type", Text, OF_CUSTOMER, &[]),
        (
            "customer_id",
            Uuid,
            "The customer: that of the record; of time as in time_entries; of a quotation that of its deal; of a note \
             that of its subject. Null where none of these is there.",
            super::CUSTOMERS,
        ),
        (
            "contact_id",
            Uuid,
            "The contact at the customer: of a call or a ticket who takes part, of an invoice for whose attention it \
             is, of a quotation the deal's contact person. Null where there is none. Who attends a meeting is in \
             meeting_attendees.",
            &["contacts"],
        ),
        (
            "at",
            Instant,
            "When: a call and a meeting are scheduled, a task was completed, the last message of a ticket (else its \
             creation), time started, a note was added, a quotation was created. An instant; null where only the day \
             is known.",
            &[],
        ),
        (
            "day",
            Date,
            "The day: the local date that the record has (due_on of an open task, started_on of time, the date of an \
             invoice), else that of at in the time zone of your session.",
            &[],
        ),
        (
            "title",
            Text,
            "What it is about: the title, the subject, the description, the text of a note, the number of an invoice.",
            &[],
        ),
        ("status", Text, "Open, done, completed, closed and the like, by kind; null for time and notes.", &[]),
        (
            "user_id",
            Uuid,
            "The user: who is assigned, created the meeting, worked, or is responsible for the quotation's deal. Null \
             where it is a team or nobody.",
            &["users"],
        ),
        ("deal_id", Uuid, "The deal that it belongs to; null where it is of none.", &["deals"]),
        ("project_type", Text, OF_PROJECT, &[]),
        ("project_id", Uuid, "The project that it belongs to; null where it is of none.", PROJECTS),
        ("_changed_at", Instant, CHANGED, &[]),
    ],
};
