//! All the records of the simulated account, and the truth to compare a copy with.

use std::collections::BTreeMap;
use std::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::collection::Collection;
use crate::contract;
use crate::generate::{Facts, Parent, Recipe, World, family, me, recipes, write_optional};

/// The records of every resource.
pub(crate) struct Store {
    pub(crate) world: World,
    /// Held by whoever changes records: a change of one resource may look at others, and none may change meanwhile.
    pub(crate) turn: Mutex<()>,
    collections: BTreeMap<&'static str, RwLock<Collection>>,
}

/// What the simulated account holds of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TruthRecord {
    /// The record's id. Where the API shows none (tags, commercialDiscounts) it is one that no request tells; that of a
    /// ticket's message is its `message_id`, that of a project line the id of what the line is about.
    pub id: Uuid,
    /// The record that it belongs to, where the API lists the records of one parent alone: the `type` of the subject, or
    /// for `users.daysOff`, `tickets.messages` and `projects-v2/projectLines` the parent's resource; and the parent's id.
    pub parent: Option<(String, Uuid)>,
    /// The list item as JSON text, with the optional fields of every include that the endpoint lists. It may hold half a surrogate pair as an
    /// escape, which a `serde_json::Value` cannot carry.
    pub list: String,
    /// The record of `.info` as JSON text, likewise.
    pub info: Option<String>,
    /// When the record last changed, whether or not the API shows it.
    pub updated_at: DateTime<Utc>,
}

impl Store {
    /// A store with the records that the world starts with.
    pub(crate) fn new(world: World) -> Self {
        let collections = recipes().iter().filter_map(|recipe| {
            let endpoint = contract::endpoint(contract::list_endpoint(recipe.resource)?)?;
            Some((recipe.resource, RwLock::new(Collection::generate(recipe, endpoint, &world))))
        });
        Self { collections: collections.collect(), turn: Mutex::default(), world }
    }

    /// The resources' names.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &'static str> {
        self.collections.keys().copied()
    }

    /// The records of a resource, to read.
    pub(crate) fn read(&self, resource: &str) -> Option<RwLockReadGuard<'_, Collection>> {
        let lock = self.collections.get(resource)?;
        Some(lock.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// The records of a resource, to change.
    pub(crate) fn write(&self, resource: &str) -> Option<RwLockWriteGuard<'_, Collection>> {
        let lock = self.collections.get(resource)?;
        Some(lock.write().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// The record of `.info`, if it lives.
    pub(crate) fn info(&self, resource: &str, id: Uuid, includes: &[&str]) -> Option<String> {
        let (recipe, facts) = {
            let collection = self.read(resource)?;
            (collection.recipe, collection.find(id)?.facts)
        };
        // Written after the lock is released; it depends on the facts alone.
        Some(recipe.info(&self.world, &facts, includes))
    }

    /// A record as the parent of others, if it lives.
    pub(crate) fn parent(&self, resource: &str, id: Uuid) -> Option<Parent> {
        let collection = self.read(resource)?;
        let ordinal = collection.find(id)?.facts.ordinal;
        Some(Parent { resource: collection.recipe.resource, ordinal })
    }

    /// The record of `users.me`: the first user is the one who authorized, also after somebody deletes that user.
    pub(crate) fn me(&self) -> String {
        let first = self.world.initial_facts("users", 0);
        let live = self.read("users").and_then(|users| users.find(first.id).map(|user| user.facts));
        me(&self.world, &live.unwrap_or(first))
    }

    /// The facts of every live record at one moment, in the order of creation. [`Store::truth_of`] turns each into text,
    /// which for a large account is too much to hold at once.
    pub(crate) fn snapshot(&self, resource: &str) -> Option<(&'static Recipe, Vec<Facts>)> {
        let collection = self.read(resource)?;
        let live = collection.natural().iter().filter_map(|slot| collection.get(*slot));
        Some((collection.recipe, live.map(|record| record.facts).collect()))
    }

    /// The truth about one record, with the optional fields of the given includes or of all.
    pub(crate) fn truth_of(&self, recipe: &Recipe, facts: &Facts, includes: Option<&[&str]>) -> TruthRecord {
        let info = contract::info_endpoint(recipe.resource);
        let listed = |endpoint: Option<&'static contract::Endpoint>| -> Vec<&str> {
            endpoint.map(|endpoint| endpoint.includes.iter().map(String::as_str).collect()).unwrap_or_default()
        };
        let wanted = |endpoint| includes.map_or_else(|| listed(endpoint), <[&str]>::to_vec);
        let in_list = wanted(contract::list_endpoint(recipe.resource).and_then(contract::endpoint));
        let draft = recipe.list(&self.world, facts);
        let mut list = String::with_capacity(draft.list.len());
        write_optional(&draft.list, &draft.optional, |include| in_list.contains(&include), &mut list);
        let parent = facts.parent.zip(family(recipe.resource));
        let name = |(parent, family): (Parent, &crate::generate::Family)| {
            (family.name_of(parent.resource).to_owned(), self.world.id(parent.resource, parent.ordinal))
        };
        TruthRecord {
            id: facts.id,
            parent: parent.map(name),
            list,
            info: info.map(|_| recipe.info(&self.world, facts, &wanted(info))),
            updated_at: DateTime::from_timestamp(facts.updated_at, 0).unwrap_or_default(),
        }
    }
}

impl TruthRecord {
    /// The list item with the fields of `.info` laid over it, key by key: all that the API tells of the record.
    pub fn content(&self) -> String {
        type Members<'a> = BTreeMap<&'a str, &'a RawValue>;
        let read = |text| -> Members<'_> { serde_json::from_str(text).unwrap_or_default() };
        let mut members = read(&self.list);
        members.extend(self.info.as_deref().map(read).unwrap_or_default());
        // A map of raw JSON under text keys always serialises.
        serde_json::to_string(&members).unwrap_or_default()
    }
}
