//! `customers`: companies and contacts in one.

use super::{CHANGED, Joined};
use crate::views::column::Type::{Boolean, Instant, Number, Text, Texts, Uuid};

pub(super) const CUSTOMERS: Joined = Joined {
    name: "customers",
    sql: include_str!("customers.sql"),
    comment: "Companies and contacts in one: who deals, invoices, projects and time name as customer.",
    columns: &[
        ("id", Uuid, "Teamleader's id of the company or the contact.", super::CUSTOMERS),
        ("kind", Text, "company or contact: what customer_type is in the other views. Never null.", &[]),
        ("name", Text, "The company's name; of a contact first and last name. Null where neither is there.", &[]),
        ("first_name", Text, "The contact's first name; null for companies.", &[]),
        ("last_name", Text, "The contact's last name; null for companies.", &[]),
        ("status", Text, "active or deactivated. Null where Teamleader does not say.", &[]),
        ("vat_number", Text, "The VAT number with its country; null where there is none.", &[]),
        (
            "national_identification_number",
            Text,
            "The number in the country's register; null where there is none.",
            &[],
        ),
        ("language", Text, "The language to write in, as two letters; null where none is set.", &[]),
        ("address_line_1", Text, "Street and number of the primary address; null where there is none.", &[]),
        ("postal_code", Text, "The postal code of the primary address; null where there is none.", &[]),
        ("city", Text, "The city of the primary address; null where there is none.", &[]),
        ("country", Text, "The country of the primary address, as two letters; null where there is none.", &[]),
        ("iban", Text, "The bank account; null where none is known.", &[]),
        ("bic", Text, "The bank; null where none is known.", &[]),
        (
            "payment_term_type",
            Text,
            "What payment_term_days are counted from; null where the customer has no term of its own.",
            &[],
        ),
        ("payment_term_days", Number, "The term of payment in days; null where the term has none.", &[]),
        (
            "preferred_currency",
            Text,
            "The currency that the company prefers, as three letters; null for contacts and where none is set.",
            &[],
        ),
        ("responsible_user_id", Uuid, "The user responsible for the company; null for contacts.", &["users"]),
        (
            "marketing_mails_consent",
            Boolean,
            "Whether marketing mails may be sent. Only the detail has it: null while _detail_at is.",
            &[],
        ),
        ("tags", Texts, "The tags; empty where there are none.", &[]),
        ("website", Text, "The website; null where there is none.", &[]),
        ("web_url", Text, "The page in Teamleader Focus.", &[]),
        ("added_at", Instant, "When it was added to Teamleader. An instant.", &[]),
        ("updated_at", Instant, "When it last changed in Teamleader. An instant.", &[]),
        ("_changed_at", Instant, CHANGED, &[]),
        (
            "_detail_at",
            Instant,
            "When the detail was last read. Null: never, so that what only the detail has is unknown.",
            &[],
        ),
    ],
};
