//! `reconciliation`: documents whose amounts do not add up.

use super::Joined;
use crate::views::column::Type::{Number, Text, Uuid};

pub(super) const RECONCILIATION: Joined = Joined {
    name: "reconciliation",
    sql: include_str!("reconciliation.sql"),
    comment: "What does not add up in invoices and credit notes, a row a finding; no row where all does. A cent for \
              each line and each rate, and one more, is taken for rounding. It reads all documents.",
    columns: &[
        (
            "check",
            Text,
            "What was held against what: lines, lines_with_taxes, total, taxable, tax_rate, payable, due, paid, \
             unpaid, credit_notes, credit_note_customer or currency.",
            &[],
        ),
        ("document", Text, "What the document is: invoice or credit_note.", &[]),
        ("document_id", Uuid, "Teamleader's id of the document.", &["invoices", "creditNotes"]),
        ("number", Text, "The document's number; null of a draft.", &[]),
        (
            "expected",
            Number,
            "The amount that would be right, in currency; of check currency the number of currencies that there may \
             be; null where the finding is not an amount.",
            &[],
        ),
        (
            "found",
            Number,
            "What is there instead, in the same unit (of currency 2 for several); null where expected is.",
            &[],
        ),
        ("difference", Number, "found less expected; null where expected is.", &[]),
        ("currency", Text, "The currency of the document's total without taxes, as three letters.", &[]),
        ("meaning", Text, "What the finding means, in a sentence.", &[]),
    ],
};
