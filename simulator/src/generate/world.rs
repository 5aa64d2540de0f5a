//! What records know of each other: ids follow from the seed, so that a reference costs no look-up.

use std::collections::BTreeMap;
use std::sync::RwLock;

use uuid::Uuid;

use super::definition::Definition;
use super::dice::{Dice, fingerprint};
use super::documents::{document_count, document_ordinal};
use super::facts::{Facts, Parent, Rolls};
use super::family::{families, family};
use super::kinds::resource_of;
use super::names::AREA_COUNTRIES;

/// The parents of project lines.
const PROJECTS: &str = "projects-v2/projects";

/// The fixed properties of one simulated account.
pub(crate) struct World {
    seed: u64,
    counts: BTreeMap<String, usize>,
    /// The definitions that existed at the start. Records carry values of these, also after one is deleted.
    definitions: BTreeMap<&'static str, Vec<Definition>>,
    account: RwLock<Uuid>,
    /// What of the records is otherwise than usual.
    twists: RwLock<Twists>,
}

/// What of the records is otherwise than usual. A change of it needs the records of `commercialDiscounts` and
/// `customFieldDefinitions` to be written again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Twists {
    /// commercialDiscounts show no id.
    pub(crate) discounts_without_ids: bool,
    /// Every second of the commercialDiscounts has the name and the department of the one before.
    pub(crate) equal_discounts: bool,
    /// The contexts of custom fields are named as documented.
    pub(crate) documented_contexts: bool,
}

impl World {
    /// A world from its seed and the number of records that it starts with.
    pub(crate) fn new(seed: u64, mut counts: BTreeMap<String, usize>) -> Self {
        for family in families() {
            // A child without a parent could not be listed.
            let count = |parent: &str| counts.get(parent).copied().unwrap_or_default() as u64;
            let living = |parent: &str| document_count(parent, || count("expenses")).unwrap_or_else(|| count(parent));
            if family.parents.iter().all(|parent| living(parent) == 0) {
                counts.remove(family.child);
            }
        }
        let mut world = Self {
            seed,
            counts,
            definitions: BTreeMap::new(),
            account: RwLock::new(Dice::new(&[seed, fingerprint(&["account"])]).uuid()),
            twists: RwLock::default(),
        };
        for ordinal in 0..world.count("customFieldDefinitions") {
            let facts = world.initial_facts("customFieldDefinitions", ordinal);
            let definition = Definition::roll(world.rolls("customFieldDefinitions", &facts), &facts);
            world.definitions.entry(definition.context).or_default().push(definition);
        }
        world
    }

    /// What every choice follows from.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// What of the records is otherwise than usual.
    pub(crate) fn twists(&self) -> Twists {
        *self.twists.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Makes some of the records otherwise than usual; true if that is new.
    pub(crate) fn twist(&self, twists: Twists) -> bool {
        let mut now = self.twists.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        std::mem::replace(&mut *now, twists) != twists
    }

    /// How many records of a resource there were at the start.
    pub(crate) fn count(&self, resource: &str) -> u64 {
        if let Some(count) = document_count(resource, || self.count("expenses")) {
            return count;
        }
        self.counts.get(resource).copied().unwrap_or(0) as u64
    }

    /// The custom fields that records of a context can have.
    pub(super) fn definitions(&self, context: &str) -> &[Definition] {
        self.definitions.get(context).map_or(&[], Vec::as_slice)
    }

    /// The Teamleader account.
    pub(crate) fn account(&self) -> Uuid {
        *self.account.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Makes this another Teamleader account.
    pub(crate) fn set_account(&self, account: Uuid) {
        *self.account.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = account;
    }

    /// The id of the record with this number.
    pub(crate) fn id(&self, resource: &str, ordinal: u64) -> Uuid {
        if let Some((target, ordinal)) = line_target(resource, ordinal) {
            return self.id(target, ordinal);
        }
        if let Some(ordinal) = document_ordinal(resource, ordinal) {
            return self.id("expenses", ordinal);
        }
        let id = Dice::new(&[self.seed, fingerprint(&["id", resource]), ordinal]).uuid();
        if resource == "plannableItems" { in_order(id, ordinal) } else { id }
    }

    /// Whether a plannable item was made for this record.
    pub(crate) fn item_is_for(&self, item: u64, kind: &str, id: Uuid) -> bool {
        item_source("plannableItems", item)
            .is_some_and(|(resource, ordinal)| resource_of(kind) == Some(resource) && self.id(resource, ordinal) == id)
    }

    /// A source of choices that belongs to the account and not to a record, such as what a change hits.
    pub(crate) fn dice(&self, purpose: &str, number: u64) -> Dice {
        Dice::new(&[self.seed, fingerprint(&[purpose]), number])
    }

    /// What a record that exists from the start looks like: created between 2015 and 2024, last changed by 2026.
    pub(crate) fn initial_facts(&self, resource: &str, ordinal: u64) -> Facts {
        const JANUARY_2015: i64 = 1_420_070_400;
        const JANUARY_2024: i64 = 1_704_067_200;
        const JANUARY_2026: i64 = 1_767_225_600;
        let mut dice = Dice::new(&[self.seed, fingerprint(&["age", resource]), ordinal]);
        let created_at = dice.between(JANUARY_2015, JANUARY_2024);
        let updated_at = if dice.chance(20) { created_at } else { dice.between(created_at, JANUARY_2026) };
        let (id, parent) = (self.id(resource, ordinal), self.initial_parent(resource, ordinal));
        Facts { id, ordinal, created_at, updated_at, list_edits: 0, info_edits: 0, parent }
    }

    fn initial_parent(&self, resource: &str, ordinal: u64) -> Option<Parent> {
        let family = family(resource)?;
        if let Some((target, ordinal)) = line_target(resource, ordinal)
            && ordinal < self.count(target)
        {
            // A task, a material or a group stands in the project that it names itself.
            let project = self
                .field_dice(self.record_seed(target, ordinal), fingerprint(&["project"]), 0)
                .below(self.count(PROJECTS));
            return Some(Parent { resource: PROJECTS, ordinal: project });
        }
        family.choose(&mut self.dice_of_parent(resource, ordinal), |parent| self.count(parent))
    }

    /// The source of the choice of a record's parent.
    pub(crate) fn dice_of_parent(&self, resource: &str, ordinal: u64) -> Dice {
        Dice::new(&[self.seed, fingerprint(&["parent", resource]), ordinal])
    }

    /// What the fields of one drawn record follow from.
    pub(super) fn record_seed(&self, resource: &str, ordinal: u64) -> u64 {
        Dice::new(&[self.seed, fingerprint(&[resource]), ordinal]).next()
    }

    /// The source of one field of a drawn record: it depends on nothing but the field, so that a list item and `.info`
    /// agree whatever else they hold.
    pub(super) fn field_dice(&self, record_seed: u64, field: u64, edits: u32) -> Dice {
        Dice::new(&[record_seed, field, u64::from(edits)])
    }

    pub(super) fn rolls(&self, resource: &str, facts: &Facts) -> Rolls {
        let name = fingerprint(&[resource]);
        let dice = |stream: u64, edits: u32| Dice::new(&[self.seed, name, facts.ordinal, stream, u64::from(edits)]);
        Rolls { base: dice(0, 0), list: dice(1, facts.list_edits), info: dice(2, facts.info_edits) }
    }

    /// The same, where the account has any.
    pub(in crate::generate) fn any(&self, resource: &str, dice: &mut Dice) -> Option<Uuid> {
        (self.count(resource) > 0).then(|| self.some(resource, dice))
    }

    /// One of the administrative areas of a country: they are of the countries by turns.
    pub(in crate::generate) fn area(&self, country: &str, dice: &mut Dice) -> Option<Uuid> {
        let of = AREA_COUNTRIES.len() as u64;
        let turn = AREA_COUNTRIES.iter().position(|known| *known == country)? as u64;
        let areas = self.count("levelTwoAreas").checked_sub(turn + 1)? / of + 1;
        Some(self.id("levelTwoAreas", turn + of * dice.below(areas)))
    }

    /// The id of some record of the resource that existed at the start.
    pub(in crate::generate) fn some(&self, resource: &str, dice: &mut Dice) -> Uuid {
        let count = self.count(resource).max(1);
        self.id(resource, dice.below(count))
    }
}

/// A UUID of version 7: those of later records are larger.
fn in_order(id: Uuid, ordinal: u64) -> Uuid {
    /// The first of January 2024 in milliseconds.
    const START: u64 = 1_704_067_200_000;
    let (_, low) = id.as_u64_pair();
    let high = ((START + ordinal * 60_000) << 16) | 0x7000 | (low & 0xfff);
    Uuid::from_u64_pair(high, low)
}

/// What a project line is about: tasks, materials and groups by turns, each once. The line has no id but theirs.
pub(super) fn line_target(resource: &str, ordinal: u64) -> Option<(&'static str, u64)> {
    const TARGETS: [&str; 3] = ["projects-v2/tasks", "projects-v2/materials", "projects-v2/projectGroups"];
    (resource == "projects-v2/projectLines").then(|| (TARGETS[(ordinal % 3) as usize], ordinal / 3))
}

/// What a plannable item is made for: tasks, meetings and calls by turns, each once.
pub(super) fn item_source(resource: &str, ordinal: u64) -> Option<(&'static str, u64)> {
    const SOURCES: [&str; 3] = ["tasks", "meetings", "calls"];
    (resource == "plannableItems").then(|| (SOURCES[(ordinal % 3) as usize], ordinal / 3))
}
