//! Schema `teamleader_typed`: the columns that people filter, join and add up by, as columns of tables.
//!
//! Reading them from documents takes most of the time of a question: each document is unpacked and parsed. The tables
//! are written by triggers, in the transaction that writes the record, no matter who writes it: what a view reads is
//! never older than the record. The expressions are those that the views have for documents, so that both show the
//! same; a column that no table has is still read from the document.
//!
//! Like the views they are made by `migrate`, see [`keep`]: while a table is being filled, its view reads documents.

mod fill;
pub(super) mod keep;
mod sql;
pub(super) mod table;
