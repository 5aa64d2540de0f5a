//! The records of one resource and the indexes that answer its lists.
//!
//! Lists must cost next to nothing, or a benchmark of a client would measure the simulator. So the text of every list
//! item is stored, and every sort has its index: an array of record numbers in order. A change moves one number in
//! each, and a page is a slice of one.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use uuid::Uuid;

use crate::contract::Endpoint;
use crate::generate::{Facts, Optional, Parent, Recipe, SortKey, World, read_json, write_optional};
use crate::guise::Guise;

/// How many changes of a resource are remembered, for lists that lag behind.
const REMEMBERED: usize = 10_000;

/// One live record.
pub(crate) struct Record {
    pub(crate) facts: Facts,
    /// The list item without its optional fields.
    list: Box<str>,
    optional: Box<[Optional]>,
    keys: Box<[SortKey]>,
    facets: Box<[u64]>,
    bounded: Box<[Option<i64>]>,
}

/// A record's number: its ordinal, which is also its place in [`Collection::records`].
pub(crate) type Slot = u32;

/// The records of one resource.
pub(crate) struct Collection {
    pub(crate) recipe: &'static Recipe,
    pub(crate) endpoint: &'static Endpoint,
    /// By slot; a deleted record leaves its place empty for ever.
    records: Vec<Option<Record>>,
    by_id: HashMap<Uuid, Slot>,
    /// Live slots in the order of creation.
    natural: Vec<Slot>,
    /// Live slots by the moment of the last change.
    by_update: Vec<Slot>,
    /// Live slots by each of the contract's sort fields.
    sorted: Vec<Vec<Slot>>,
    /// Live slots of the children of each parent, in the order of creation; empty where records have no parents.
    by_parent: HashMap<Parent, Vec<Slot>>,
    /// Slots that matched the filters of recent lists, until the next change.
    pub(crate) selections: Mutex<HashMap<String, Arc<Vec<Slot>>>>,
    /// How many choices of records were made; the next choice depends on it.
    pub(crate) choices: u64,
    /// How many single updates were made, for [`crate::generate::Edits::InTurn`].
    pub(crate) updates: u64,
    /// What the latest changes undid: when, where, and what was there.
    log: VecDeque<(i64, Slot, Option<Facts>)>,
}

/// An earlier state of the records.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Past {
    /// That before this many changes.
    Changes(usize),
    /// That at a moment, in seconds since 1970.
    At(i64),
}

impl Record {
    fn make(recipe: &Recipe, world: &World, facts: Facts) -> Self {
        let draft = recipe.list(world, &facts);
        Self {
            facts,
            list: draft.list.into(),
            optional: draft.optional.into(),
            keys: draft.keys.into(),
            facets: draft.facets.into(),
            bounded: draft.bounded.into(),
        }
    }

    /// The amount of a payment.
    pub(crate) fn amount(&self) -> f64 {
        let record = read_json(&self.list).unwrap_or_default();
        record.pointer("/payment/amount").and_then(serde_json::Value::as_f64).unwrap_or_default()
    }

    /// Whether the record has one of the facets of every group.
    pub(crate) fn has_facets(&self, groups: &[Vec<u64>]) -> bool {
        groups.iter().all(|group| self.has_any_facet(group))
    }

    /// Whether the record has one of these facets.
    pub(crate) fn has_any_facet(&self, facets: &[u64]) -> bool {
        facets.iter().any(|facet| self.facets.contains(facet))
    }

    /// What a bound of the recipe compares, if the record has it.
    pub(crate) fn bounded(&self, value: usize) -> Option<i64> {
        self.bounded.get(value).copied().flatten()
    }
}

impl Collection {
    /// The records that a resource has from the start.
    pub(crate) fn generate(recipe: &'static Recipe, endpoint: &'static Endpoint, world: &World) -> Self {
        let count = world.count(recipe.resource);
        let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let share = count.div_ceil(threads).max(1000);
        let make = |ordinal| Record::make(recipe, world, world.initial_facts(recipe.resource, ordinal));
        let records = std::thread::scope(|scope| {
            let parts: Vec<_> = (0..count)
                .step_by(share as usize)
                .map(|from| {
                    scope.spawn(move || (from..count.min(from + share)).map(|n| Some(make(n))).collect::<Vec<_>>())
                })
                .collect();
            // A panic while making records is a bug here, and goes on to the caller that starts the simulator.
            parts.into_iter().flat_map(|part| part.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
        });
        Self::of(recipe, endpoint, records)
    }

    fn of(recipe: &'static Recipe, endpoint: &'static Endpoint, records: Vec<Option<Record>>) -> Self {
        let mut collection = Self {
            recipe,
            endpoint,
            records,
            by_id: HashMap::new(),
            natural: Vec::new(),
            by_update: Vec::new(),
            sorted: vec![Vec::new(); endpoint.sort.fields.len()],
            by_parent: HashMap::new(),
            selections: Mutex::default(),
            choices: 0,
            updates: 0,
            log: VecDeque::new(),
        };
        collection.rebuild();
        collection
    }

    /// The records as they were. They are made again, which takes its time.
    pub(crate) fn as_of(&self, world: &World, past: Past) -> Self {
        let mut facts: Vec<_> = self.records.iter().map(|record| record.as_ref().map(|record| record.facts)).collect();
        let undone = self.log.iter().rev().enumerate().take_while(|(number, (at, ..))| match past {
            Past::Changes(changes) => *number < changes,
            Past::At(moment) => *at > moment,
        });
        for (_, (_, slot, before)) in undone {
            facts[*slot as usize] = *before;
        }
        let make = |facts: Option<Facts>| facts.map(|facts| Record::make(self.recipe, world, facts));
        Self::of(self.recipe, self.endpoint, facts.into_iter().map(make).collect())
    }

    /// How many records live.
    pub(crate) fn len(&self) -> usize {
        self.natural.len()
    }

    /// How many records were ever made.
    pub(crate) fn next_ordinal(&self) -> u64 {
        self.records.len() as u64
    }

    /// The slot of a live record.
    pub(crate) fn slot(&self, id: Uuid) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    /// A record by its slot.
    pub(crate) fn get(&self, slot: Slot) -> Option<&Record> {
        self.records.get(slot as usize).and_then(Option::as_ref)
    }

    /// A live record by its id.
    pub(crate) fn find(&self, id: Uuid) -> Option<&Record> {
        self.slot(id).and_then(|slot| self.get(slot))
    }

    /// Live slots in the order of creation.
    pub(crate) fn natural(&self) -> &[Slot] {
        &self.natural
    }

    /// Live slots of the children of a parent, in the order of creation.
    pub(crate) fn children(&self, parent: Parent) -> &[Slot] {
        self.by_parent.get(&parent).map_or(&[], Vec::as_slice)
    }

    /// Live slots by a sort field of the contract, ascending.
    pub(crate) fn sorted(&self, field: usize) -> &[Slot] {
        &self.sorted[field]
    }

    /// Live slots of records that changed at or after a moment, oldest change first.
    pub(crate) fn updated_since(&self, since: i64) -> &[Slot] {
        let from = self.by_update.partition_point(|slot| self.updated_at(*slot) < since);
        &self.by_update[from..]
    }

    /// Compares two records by a sort field; equal ones by their order of creation.
    pub(crate) fn compare(&self, field: usize, a: Slot, b: Slot) -> Ordering {
        self.rank(field, a, b).then(a.cmp(&b))
    }

    /// Compares two records by a sort field alone.
    pub(crate) fn rank(&self, field: usize, a: Slot, b: Slot) -> Ordering {
        let key = |slot| self.get(slot).map(|record| &record.keys[field]);
        key(a).cmp(&key(b))
    }

    /// Appends a list item, with the optional fields of these includes, in its guise.
    pub(crate) fn write(&self, slot: Slot, includes: &[String], guise: &Guise<'_>, out: &mut String) {
        let Some(record) = self.get(slot) else { return };
        let wanted = |include: &str| includes.iter().any(|asked| asked == include);
        if guise.is_plain() {
            return write_optional(&record.list, &record.optional, wanted, out);
        }
        let mut text = String::with_capacity(record.list.len() * 2);
        write_optional(&record.list, &record.optional, wanted, &mut text);
        out.push_str(&guise.dress(&record.facts, &text));
    }

    /// Writes every record again: what they follow from has changed.
    pub(crate) fn rewrite(&mut self, world: &World) {
        let live = self.natural.iter().filter_map(|slot| self.get(*slot));
        let same = live.map(|record| Change::Put(record.facts)).collect();
        self.put(world, same);
    }

    /// Makes changes at a moment, in seconds since 1970.
    pub(crate) fn apply(&mut self, world: &World, changes: Vec<Change>, now: i64) {
        for change in &changes {
            let slot = match change {
                Change::Put(facts) => facts.ordinal as Slot,
                Change::Remove(slot) => *slot,
            };
            if self.log.len() == REMEMBERED {
                self.log.pop_front();
            }
            let before = self.get(slot).map(|record| record.facts);
            self.log.push_back((now, slot, before));
        }
        self.put(world, changes);
    }

    /// Puts records in their places, new ones and changed ones, or removes them, and keeps the indexes right.
    fn put(&mut self, world: &World, changes: Vec<Change>) {
        // Moving one number in an index copies a part of it; beyond this many moves it is cheaper to sort again.
        let at_once = changes.len() > 256;
        for change in changes {
            let (slot, record) = match change {
                Change::Put(facts) => (facts.ordinal as Slot, Some(Record::make(self.recipe, world, facts))),
                Change::Remove(slot) => (slot, None),
            };
            if self.records.len() <= slot as usize {
                self.records.resize_with(slot as usize + 1, || None);
            }
            if !at_once && let Some(old) = self.get(slot) {
                let id = old.facts.id;
                self.unlink(slot);
                self.by_id.remove(&id);
            }
            self.records[slot as usize] = record;
            if !at_once && let Some(new) = self.get(slot) {
                let id = new.facts.id;
                self.link(slot);
                self.by_id.insert(id, slot);
            }
        }
        if at_once {
            self.rebuild();
        }
        self.selections.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).clear();
    }

    fn updated_at(&self, slot: Slot) -> i64 {
        self.get(slot).map_or(i64::MIN, |record| record.facts.updated_at)
    }

    fn rebuild(&mut self) {
        let live = self.records.iter().enumerate().filter_map(|(slot, record)| record.as_ref().map(|_| slot as Slot));
        self.natural = live.collect();
        self.by_id = self.natural.iter().filter_map(|slot| Some((self.get(*slot)?.facts.id, *slot))).collect();
        self.by_parent.clear();
        for slot in &self.natural {
            if let Some(parent) = self.records[*slot as usize].as_ref().and_then(|record| record.facts.parent) {
                self.by_parent.entry(parent).or_default().push(*slot);
            }
        }
        let mut by_update = self.natural.clone();
        by_update.sort_by_key(|slot| (self.updated_at(*slot), *slot));
        self.by_update = by_update;
        for field in 0..self.sorted.len() {
            let mut index = self.natural.clone();
            index.sort_unstable_by(|a, b| self.compare(field, *a, *b));
            self.sorted[field] = index;
        }
    }

    /// Takes a record out of every index; it must still be in its place, for its keys say where to look.
    fn unlink(&mut self, slot: Slot) {
        self.each_index(slot, |index, place| {
            if let Ok(place) = place {
                index.remove(place);
            }
        });
    }

    /// Puts a record into every index; it must be in its place already.
    fn link(&mut self, slot: Slot) {
        self.each_index(slot, |index, place| {
            if let Err(place) = place {
                index.insert(place, slot);
            }
        });
    }

    fn each_index(&mut self, slot: Slot, act: impl Fn(&mut Vec<Slot>, Result<usize, usize>)) {
        let place = self.natural.binary_search(&slot);
        act(&mut self.natural, place);
        if let Some(parent) = self.get(slot).and_then(|record| record.facts.parent) {
            let children = self.by_parent.entry(parent).or_default();
            let place = children.binary_search(&slot);
            act(children, place);
        }
        let key = (self.updated_at(slot), slot);
        let place = self.by_update.binary_search_by_key(&key, |other| (self.updated_at(*other), *other));
        act(&mut self.by_update, place);
        for field in 0..self.sorted.len() {
            let place = self.sorted[field].binary_search_by(|other| self.compare(field, *other, slot));
            act(&mut self.sorted[field], place);
        }
    }
}

/// A change of one record.
pub(crate) enum Change {
    /// The record with these facts is new or has changed.
    Put(Facts),
    /// The record in this slot is deleted.
    Remove(Slot),
}
