//! The resources: endpoints, sorts and filters, as `endpoints.json` has them, the API's documents as data.
//!
//! A resource is added by one entry in `resources.rs`, which says what the documents do not. Its table, views, shapes
//! and simulator follow from the two.

mod blueprint;
mod derived;
mod entry;
mod kind;
mod members;
mod naming;
mod resource;
mod resources;
mod row_id;
mod shape;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
pub mod webhooks;

pub use derived::{RESOURCES, named};
pub use kind::Kind;
pub use members::{Member, members, shared_fields};
#[cfg(test)]
pub use naming::spellings_of_those_by_id;
pub use naming::{ALL, is_all, resolve, snake_case, spellings, table};
pub use resource::{AskAgain, Child, Detail, Key, Order, Paging, Parent, ProjectApi, Resource, Scope, Window};
pub use shape::{Field, Shape, Shapes};

/// The largest page that the API gives.
pub const PAGE_SIZE: usize = 100;

/// How many records a page has that no size was asked for, or whose list ignores it; nothing in the answer warns of
/// that.
pub const DEFAULT_PAGE_SIZE: usize = 20;

/// How many pages of this size hold this number of records.
pub fn pages(records: i64, size: usize) -> i64 {
    records.max(0).unsigned_abs().div_ceil(size.max(1) as u64).try_into().unwrap_or(i64::MAX)
}

/// The resource of exactly that name; [`resolve`] takes what people write.
pub fn find(name: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.name == name)
}

/// The resources whose records belong to records of this one.
pub fn children_of(parent: &str) -> Vec<&'static str> {
    let belongs = |resource: &&Resource| resource.parents().iter().any(|of| of.resource == parent);
    RESOURCES.iter().filter(belongs).map(|resource| resource.name).collect()
}
