//! Changes of the simulated account: on demand, and while a client reads page after page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::collection::{Change, Collection, Slot};
use crate::generate::{Edits, Facts, Parent, Twists, World, document_of, families_of, family};
use crate::store::{Store, home, is_of};

/// What happens to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A new record.
    Add,
    /// Some of its fields change. Where only `.info` can show a part of the fields and nothing in the list shows it
    /// (departments, tasks, tickets and others), updates change in turn a field of the list and a field of `.info`.
    Update,
    /// Fields that only `.info` shows change; the list item stays the same, but for a new `updated_at` where it has
    /// one.
    UpdateInfo,
    /// It is deleted, and with it every record that belongs to it.
    Delete,
    /// Nothing but its `updated_at` changes, to the same moment for all.
    Touch,
    /// It is what it was before its last update, with an older `updated_at`, as after a backup was put back. One that
    /// was never updated becomes another, which is older as well.
    Restore,
}

impl ChangeKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Add, Self::Update, Self::UpdateInfo, Self::Delete, Self::Touch, Self::Restore];
}

/// A record that was changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changed {
    /// The resource, for an incoming document that of its kind.
    pub(crate) resource: &'static str,
    pub(crate) id: Uuid,
    /// What it was; none if it is new.
    pub(crate) before: Option<Facts>,
    /// What it is now; none if it is deleted.
    pub(crate) after: Option<Facts>,
    /// The record that it belongs to.
    pub(crate) parent: Option<Parent>,
}

/// Changes that go on while clients read a list.
#[derive(Default)]
pub(crate) struct PagingChanges(Mutex<BTreeMap<String, Rotation>>);

struct Rotation {
    every: u32,
    kinds: Vec<ChangeKind>,
    pages: u32,
    changes: usize,
}

impl PagingChanges {
    /// From now on, one record changes after each `every` list requests of the resource, by each kind in turn.
    pub(crate) fn start(&self, resource: &str, every: u32, kinds: Vec<ChangeKind>) {
        let rotation = Rotation { every: every.max(1), kinds, pages: 0, changes: 0 };
        self.lock().insert(resource.to_owned(), rotation);
    }

    /// No more changes while paging, of any resource.
    pub(crate) fn stop(&self) {
        self.lock().clear();
    }

    /// A list request was answered: returns how a record changes now, if one does.
    pub(crate) fn page_was_read(&self, resource: &str) -> Option<ChangeKind> {
        let mut rotations = self.lock();
        let rotation = rotations.get_mut(resource)?;
        rotation.pages += 1;
        if rotation.pages % rotation.every != 0 {
            return None;
        }
        rotation.changes += 1;
        rotation.kinds.get((rotation.changes - 1) % rotation.kinds.len().max(1)).copied()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Rotation>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Store {
    /// Changes this many records, which the seed and the number of earlier changes choose. Gives those, fewer than
    /// asked for where there are not as many (or nothing that they could belong to), none for an unknown resource.
    pub(crate) fn change(&self, resource: &str, kind: ChangeKind, count: usize, now: i64) -> Vec<Changed> {
        let _turn = self.turn();
        let resource_asked = resource;
        let resource = home(resource);
        let Some(mut collection) = self.write(resource) else {
            return Vec::new();
        };
        let facts: Vec<Facts> = match kind {
            ChangeKind::Add => {
                let ordinals =
                    (collection.next_ordinal()..).filter(|ordinal| is_of(resource_asked, *ordinal)).take(count);
                ordinals.filter_map(|ordinal| self.added(resource, ordinal, now)).collect()
            }
            _ => choose(&mut collection, &self.world, resource_asked, count),
        };
        let ordinals: Vec<u64> = facts.iter().map(|facts| facts.ordinal).collect();
        let (changed, changes) = facts.into_iter().map(|facts| changed(&mut collection, kind, facts, now)).unzip();
        collection.apply(&self.world, changes, now);
        drop(collection);
        if kind == ChangeKind::Delete {
            self.orphan(resource, &ordinals, now);
        }
        changed
    }

    /// Changes one record; none if it does not live.
    pub(crate) fn change_record(&self, resource: &str, kind: ChangeKind, id: Uuid, now: i64) -> Option<Changed> {
        let _turn = self.turn();
        let mut collection = self.write(home(resource))?;
        let facts = collection.find(id).map(|record| record.facts).filter(|facts| is_of(resource, facts.ordinal))?;
        let (changed, change) = changed(&mut collection, kind, facts, now);
        collection.apply(&self.world, vec![change], now);
        drop(collection);
        if kind == ChangeKind::Delete {
            self.orphan(home(resource), &[facts.ordinal], now);
        }
        Some(changed)
    }

    /// A new record; none if it would have to belong to another and there is none.
    fn added(&self, resource: &str, ordinal: u64, now: i64) -> Option<Facts> {
        let parent = match family(resource) {
            None => None,
            Some(family) => {
                let living = |parent: &str| self.count(parent) as u64;
                let chosen = family.choose(&mut self.world.dice_of_parent(resource, ordinal), living)?;
                let ordinal = *self.living(chosen.resource).get(chosen.ordinal as usize)?;
                Some(Parent { ordinal, ..chosen })
            }
        };
        let id = self.world.id(resource, ordinal);
        Some(Facts { id, ordinal, created_at: now, updated_at: now, list_edits: 0, info_edits: 0, parent })
    }

    /// Removes what belonged to deleted records.
    fn orphan(&self, resource: &str, ordinals: &[u64], now: i64) {
        if resource == "expenses" {
            for ordinal in ordinals {
                self.orphan(document_of(*ordinal).1, &[*ordinal / 3], now);
            }
        }
        for (family, resource) in families_of(resource) {
            let Some(mut children) = self.write(family.child) else { continue };
            let parents = ordinals.iter().map(|ordinal| Parent { resource, ordinal: *ordinal });
            let slots = parents.flat_map(|parent| children.children(parent)).copied();
            let removed: Vec<Change> = slots.map(Change::Remove).collect();
            if !removed.is_empty() {
                children.apply(&self.world, removed, now);
            }
        }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Makes the account another one: `users.me` and every user give the new id.
    pub(crate) fn set_account(&self, account: Uuid) {
        let _turn = self.turn();
        self.world.set_account(account);
        if let Some(mut users) = self.write("users") {
            users.rewrite(&self.world);
        }
    }

    /// Makes some of the records otherwise than usual.
    pub(crate) fn twist(&self, twists: Twists) {
        let _turn = self.turn();
        if !self.world.twist(twists) {
            return;
        }
        for resource in ["commercialDiscounts", "customFieldDefinitions"] {
            if let Some(mut collection) = self.write(resource) {
                collection.rewrite(&self.world);
            }
        }
    }
}

/// Different records, in the order of their creation.
fn choose(collection: &mut Collection, world: &World, resource: &str, count: usize) -> Vec<Facts> {
    let of_resource = collection.natural().iter().copied().filter(|slot| is_of(resource, u64::from(*slot)));
    let live: Vec<Slot> = of_resource.collect();
    let slots: BTreeSet<Slot> = if count >= live.len() {
        live.into_iter().collect()
    } else {
        let mut dice = world.dice(collection.recipe.resource, collection.choices);
        let mut chosen = BTreeSet::new();
        while chosen.len() < count {
            chosen.insert(live[dice.below(live.len() as u64) as usize]);
        }
        chosen
    };
    let facts = slots.iter().filter_map(|slot| collection.get(*slot)).map(|record| record.facts).collect();
    collection.choices += 1;
    facts
}

fn changed(collection: &mut Collection, kind: ChangeKind, facts: Facts, now: i64) -> (Changed, Change) {
    let after = altered(collection, kind, facts, now);
    let resource = match collection.recipe.resource {
        "expenses" => document_of(facts.ordinal).1,
        resource => resource,
    };
    let before = (kind != ChangeKind::Add).then_some(facts);
    let changed = Changed { resource, id: facts.id, before, after, parent: facts.parent };
    (changed, after.map_or(Change::Remove(facts.ordinal as Slot), Change::Put))
}

/// What a record is after a change; none if it is deleted.
fn altered(collection: &mut Collection, kind: ChangeKind, mut facts: Facts, now: i64) -> Option<Facts> {
    let (list, info) = match kind {
        ChangeKind::Delete => return None,
        ChangeKind::Add | ChangeKind::Touch => (0, 0),
        ChangeKind::UpdateInfo => (0, 1),
        ChangeKind::Restore => {
            restore(&mut facts);
            return Some(facts);
        }
        ChangeKind::Update => {
            collection.updates += 1;
            match collection.recipe.edits {
                Edits::Together => (1, 1),
                Edits::ListOnly => (1, 0),
                Edits::InTurn => ((collection.updates % 2) as u32, ((collection.updates + 1) % 2) as u32),
            }
        }
    };
    facts.list_edits += list;
    facts.info_edits += info;
    facts.updated_at = now;
    Some(facts)
}

/// Takes the last update back, and dates the record to before it.
fn restore(facts: &mut Facts) {
    const HOUR: i64 = 3600;
    let (list, info) = (facts.list_edits, facts.info_edits);
    match (list, info) {
        (0, 0) => (facts.list_edits, facts.info_edits) = (1, 1),
        _ => (facts.list_edits, facts.info_edits) = (list.saturating_sub(1), info.saturating_sub(1)),
    }
    facts.updated_at = ((facts.created_at + facts.updated_at) / 2).min(facts.updated_at - HOUR);
}
