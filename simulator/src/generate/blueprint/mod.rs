//! Records as the blueprint draws them, for every resource that has no hand-written recipe.
//!
//! The shape is read once, see [`shape`]; a record is then written by walking it. Every field has a random source of
//! its own, so that list item and `.info` agree on the fields of both.

mod filters;
mod node;
mod shape;
mod words;
mod writer;

use filters::{Filters, find, tap_sorts};
use node::{Content, Follows, Node, Presence, Tap};
use shape::Source;
use writer::{View, Writer};

use super::dice::fingerprint;
use super::draft::{Draft, Range, SortKey};
use super::facts::{Edits, Facts};
use super::family::family;
use super::world::World;
use crate::contract::{self, Endpoint};

/// How the records of one resource are drawn.
pub(crate) struct Blueprint {
    resource: &'static str,
    list: &'static Endpoint,
    info: Option<&'static Endpoint>,
    nodes: Vec<Node>,
    filters: Filters,
    /// The sort field that stands for the moment of creation and is not shown.
    by_creation: Option<usize>,
}

impl Blueprint {
    /// The blueprint of a resource; none if it has no list.
    pub(super) fn of(resource: &'static str) -> Option<Self> {
        Self::merged(resource, contract::info_endpoint(resource))
    }

    /// The blueprint of a resource whose records have this `.info`.
    pub(super) fn merged(resource: &'static str, info: Option<&'static Endpoint>) -> Option<Self> {
        let list = contract::endpoint(contract::list_endpoint(resource)?)?;
        let source = Source { resource, filter: &list.filter, family: family(resource) };
        let mut nodes = source.fields(Some(&list.record), info.map(|info| &info.record));
        let filters = Filters::tap(resource, &mut nodes);
        let by_creation = tap_sorts(resource, list, &mut nodes);
        // A record stays where a list must be asked for it: a template does not become one of another kind.
        for (name, _) in
            list.filter.iter().chain(&list.parameters).filter(|(name, field)| field.required || *name == "country")
        {
            if let Some(node) = find(&mut nodes, name) {
                node.follows = Follows::Nothing;
            }
        }
        Some(Self { resource, list, info, nodes, filters, by_creation })
    }

    /// The filters that compare for equality.
    pub(super) fn facets(&self) -> Vec<&'static str> {
        self.filters.facets.clone()
    }

    /// The filters that set a bound.
    pub(super) fn ranges(&self) -> Vec<Range> {
        let ranges = self.filters.ranges.iter();
        ranges.map(|range| Range { filter: range.filter, bound: range.bound, value: range.value }).collect()
    }

    /// Fingerprints of filter values that no record can show, such as that a project is overdue.
    pub(super) fn unshown(&self) -> Vec<u64> {
        let mut unshown = Vec::new();
        for node in &self.nodes {
            for tap in &node.taps {
                if let (Tap::Whole(filter), Content::Choice(shown)) = (tap, &node.content) {
                    let asked = self.list.filter.get(*filter).and_then(|field| field.choices.as_ref());
                    let missing = asked.into_iter().flatten().filter(|choice| !shown.contains(&choice.as_str()));
                    unshown.extend(missing.map(|choice| fingerprint(&[filter, choice])));
                }
            }
        }
        unshown
    }

    /// What an update changes.
    pub(super) fn edits(&self) -> Edits {
        let only_info = self.nodes.iter().any(|node| node.list == Presence::Absent);
        if self.list.record.contains_key("updated_at") {
            Edits::Together
        } else if self.info.is_some() && only_info {
            Edits::InTurn
        } else {
            Edits::ListOnly
        }
    }

    /// Writes the list item and what the indexes need.
    pub(super) fn list(&self, world: &World, facts: &Facts) -> Draft {
        let mut draft = Draft {
            keys: vec![SortKey::Number(i64::MIN); self.list.sort.fields.len()],
            bounded: vec![None; self.filters.ranges.len()],
            ..Draft::default()
        };
        if let Some(creation) = self.by_creation {
            draft.keys[creation] = SortKey::Number(facts.created_at);
        }
        let writer = Writer::new(self.resource, world, facts, View::List);
        draft.list = writer.record(&self.nodes, &mut draft);
        draft
    }

    /// Writes the record of `.info`.
    pub(super) fn info(&self, world: &World, facts: &Facts, includes: &[&str]) -> String {
        Writer::new(self.resource, world, facts, View::Info(includes)).record(&self.nodes, &mut Draft::default())
    }
}
