//! A field of a resource's shape: where it stands, what it holds, and what looks at it.

use super::words::{Clock, Figure, Words};

/// One field.
pub(super) struct Node {
    pub(super) key: &'static str,
    /// Distinguishes it from every other field of the record.
    pub(super) hash: u64,
    pub(super) list: Presence,
    pub(super) info: Presence,
    pub(super) nullable: bool,
    pub(super) follows: Follows,
    /// It is the one that every edit is sure to change.
    pub(super) marks: bool,
    pub(super) content: Content,
    /// The sorts and filters that look at it.
    pub(super) taps: Vec<Tap>,
}

/// Whether a field stands in one of the two texts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Absent,
    Always,
    /// If this include is asked for.
    Asked(&'static str),
}

/// The edits that change a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    Nothing,
    /// Those that the list shows.
    List,
    /// Those that only `.info` shows.
    Info,
}

/// What a field holds.
pub(super) enum Content {
    /// The record's own id.
    Id,
    CreatedAt(Clock),
    UpdatedAt,
    /// The record that this one belongs to.
    Parent,
    /// What a project line or a plannable item is about, or which document an expense is.
    Target,
    Text(Words),
    /// One of these texts.
    Choice(Vec<&'static str>),
    /// One of these numbers.
    NumberChoice(Vec<&'static str>),
    Flag,
    Number(Figure),
    Moment(Clock),
    Day,
    /// `{"type", "id"}` of a record of one of these kinds, and maybe more members.
    Reference(Vec<Kind>, Vec<Node>),
    References(Vec<Kind>),
    Object(Vec<Node>),
    Objects(Vec<Node>),
    /// Values of the definitions of this context.
    CustomFields(&'static str),
    /// An array of which the blueprint does not draw the items.
    Empty,
}

/// A kind of record that a reference can point to.
pub(super) struct Kind {
    /// The reference's `type`.
    pub(super) name: &'static str,
    /// Where the records are, if the API lists them.
    pub(super) resource: Option<&'static str>,
}

/// A sort or a filter that looks at a field.
pub(super) enum Tap {
    /// The sort field with this number.
    Sort(usize),
    /// A filter for the whole value: a text, a flag, a day, or type and id.
    Whole(&'static str),
    /// A filter for the id of a reference.
    Id(&'static str),
    /// A filter for the id of a reference to a record of this kind.
    IdOf(&'static str, &'static str),
    /// A filter for the type of a reference.
    Kind(&'static str),
    /// The bound with this number.
    Bound(usize),
}
