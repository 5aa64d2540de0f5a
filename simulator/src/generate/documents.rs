//! Incoming documents: `expenses.list` lists invoices, credit notes and receipts together, and each kind has an `.info`
//! of its own. One record is both, so that list item and `.info` agree and change together.

/// The `type` that an expense's source has, and the resource of its `.info`, by turns.
pub(crate) const DOCUMENTS: [(&str, &str); 3] =
    [("incomingInvoice", "incomingInvoices"), ("incomingCreditNote", "incomingCreditNotes"), ("receipt", "receipts")];

/// The place of a resource among those of incoming documents.
pub(crate) fn document_place(resource: &str) -> Option<u64> {
    let place = DOCUMENTS.iter().position(|(_, name)| *name == resource)?;
    Some(place as u64)
}

/// What the expense with this number is: the `type` of its source and the resource of its `.info`.
pub(crate) fn document_of(expense: u64) -> (&'static str, &'static str) {
    DOCUMENTS[(expense % 3) as usize]
}

/// The number among the expenses of an incoming document, given its number among those of its kind.
pub(super) fn document_ordinal(resource: &str, ordinal: u64) -> Option<u64> {
    Some(ordinal * 3 + document_place(resource)?)
}

/// How many incoming documents of a kind there are among `expenses` expenses.
pub(super) fn document_count(resource: &str, expenses: impl FnOnce() -> u64) -> Option<u64> {
    let place = document_place(resource)?;
    Some((expenses() + 2 - place) / 3)
}
