//! The facts of one record, which precede its content, and the ids of records that are no resource here.

use uuid::Uuid;

use super::dice::{Dice, fingerprint};

/// Identity and age of one record; its content follows from these and the seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// The record's id.
    pub(crate) id: Uuid,
    /// Its number among the records of its resource, counted from 0 and never used again.
    pub(crate) ordinal: u64,
    /// Seconds since 1970.
    pub(crate) created_at: i64,
    /// Seconds since 1970.
    pub(crate) updated_at: i64,
    /// How often a field that the list shows was changed.
    pub(crate) list_edits: u32,
    /// How often a field that only `.info` shows was changed.
    pub(crate) info_edits: u32,
    /// The record that it belongs to, for ever, where the API lists records of one parent alone.
    pub(crate) parent: Option<Parent>,
}

/// The record that another one belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Parent {
    /// The parent's resource.
    pub(crate) resource: &'static str,
    /// Its number among the records of its resource.
    pub(crate) ordinal: u64,
}

/// What an update changes in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edits {
    /// Fields of the list and fields that only `.info` shows, at once; the list shows a new `updated_at`.
    Together,
    /// In turn a field of the list and a field that only `.info` shows: nothing in the list betrays the second kind.
    InTurn,
    /// Fields of the list; `.info` adds none.
    ListOnly,
}

/// The three sources of one record's fields.
pub(super) struct Rolls {
    /// Never changes.
    pub(super) base: Dice,
    /// Changes with every edit that the list shows.
    pub(super) list: Dice,
    /// Changes with every edit that only `.info` shows.
    pub(super) info: Dice,
}

/// The id of one of a few records of a kind that no list shows, such as a calendar resource.
pub(super) fn foreign_id(kind: &str, dice: &mut Dice) -> Uuid {
    let number = dice.below(12);
    Dice::new(&[fingerprint(&["foreign", kind]), number]).uuid()
}
