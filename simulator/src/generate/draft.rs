//! A list item and what the indexes and filters need to know about it.

use super::dice::fingerprint;

/// The list item of a record and what the indexes need to know about it.
#[derive(Default)]
pub(crate) struct Draft {
    /// The item without its optional fields.
    pub(crate) list: String,
    /// The optional fields, in the order of their places.
    pub(crate) optional: Vec<Optional>,
    /// The values to sort by, in the order of the contract's sort fields.
    pub(crate) keys: Vec<SortKey>,
    /// Fingerprints of filter name and value, one for each filter value that matches the record.
    pub(crate) facets: Vec<u64>,
    /// What the filters with bounds compare, as [`Range::value`] counts them: seconds since 1970.
    pub(crate) bounded: Vec<Option<i64>>,
}

/// A filter that sets a bound for a moment or a day, which is itself within the bound.
pub(crate) struct Range {
    /// The filter's name.
    pub(crate) filter: &'static str,
    /// Which end of the range it sets.
    pub(crate) bound: Bound,
    /// What it compares: a place in [`Draft::bounded`].
    pub(crate) value: usize,
}

/// One end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// The lowest value that matches.
    From,
    /// The highest.
    Until,
}

/// Fields of a list item that come only when they are asked for.
pub(crate) struct Optional {
    /// The include that brings them.
    pub(crate) include: &'static str,
    /// The number of bytes of the item that come before them.
    pub(crate) at: u32,
    /// The fields as members of an object, without braces.
    pub(crate) members: Box<str>,
}

impl Draft {
    /// The item, with optional fields that go before this many closing braces at its end.
    pub(super) fn with_optional(mut self, include: &'static str, depth: usize, members: String) -> Self {
        let at = (self.list.len() - depth) as u32;
        self.optional.push(Optional { include, at, members: members.into() });
        self
    }
}

impl Range {
    pub(super) fn from(filter: &'static str, value: usize) -> Self {
        Self { filter, bound: Bound::From, value }
    }

    pub(super) fn until(filter: &'static str, value: usize) -> Self {
        Self { filter, bound: Bound::Until, value }
    }
}

/// A value to sort by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SortKey {
    /// Moments and numbers; a missing value is the lowest.
    Number(i64),
    /// Text, without regard to case.
    Text(Box<str>),
}

impl SortKey {
    pub(super) fn text(value: &str) -> Self {
        Self::Text(value.to_lowercase().into())
    }
}

/// The fingerprint of a filter value that points to a record by its id.
pub(super) fn id_facet(filter: &str, id: uuid::Uuid) -> u64 {
    fingerprint(&[filter, &id.to_string()])
}
