//! Schema `teamleader_views`: the records as typed columns, for people and the programs that they query with.
//!
//! Teamleader's fields stand in the API's blueprint, so the views are made from that and the catalog. They are made
//! with the migration of the schema; those with a column a custom field by the worker, after a sync that has changed a
//! definition (see [`wide`]).
//! What others have built on a view is never dropped: a view that is there gains columns and changes in nothing else.

mod change;
mod column;
mod comments;
mod custom_field;
mod ddl;
mod definitions;
#[cfg(test)]
mod document;
pub mod findings;
mod fixed;
mod joined;
mod migrate;
mod model;
pub mod names;
mod problems;
mod schema;
#[cfg(test)]
mod stable_columns;
mod typed;
pub mod wide;
mod wide_columns;
mod writer;

pub use custom_field::contexts_of_no_resource;
pub use migrate::{are_current, migrate};
pub use problems::{ViewProblem, problems};
