//! All the records of the simulated account, and the truth to compare a copy with.

use std::collections::BTreeMap;
use std::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::collection::Collection;
use crate::contract;
use crate::generate::{
    DOCUMENTS, Facts, Parent, Recipe, World, document_place, family, has_schedule, me, recipes, schedule,
    write_optional,
};
use crate::guise::Guise;

/// The records of every resource.
pub(crate) struct Store {
    pub(crate) world: World,
    /// Held while records are changed: a change of one resource may look at others, and none may change meanwhile.
    pub(crate) turn: Mutex<()>,
    collections: BTreeMap<&'static str, RwLock<Collection>>,
}

/// The resource whose records are those of this one: incoming documents are expenses.
pub(crate) fn home(resource: &str) -> &str {
    if document_place(resource).is_some() { "expenses" } else { resource }
}

/// Whether the record with this number is one of the resource, and not another kind of document.
pub(crate) fn is_of(resource: &str, ordinal: u64) -> bool {
    document_place(resource).is_none_or(|place| ordinal % 3 == place)
}

/// What the simulated account holds of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TruthRecord {
    /// The record's id. Where the API shows none (tags) it is known here alone; that of a ticket's message is its
    /// `message_id`, that of a project line the id of what the line is about, that of an expense the id of its source,
    /// and that of a schedule the id of its user.
    pub id: Uuid,
    /// The record that it belongs to, where the API lists only the records of one parent: the `type` of the subject, or
    /// for `users.daysOff`, `tickets.messages` and `projects-v2/projectLines` the parent's resource; and the parent's
    /// id.
    pub parent: Option<(String, Uuid)>,
    /// The list item as JSON text, with the optional fields of every include that the endpoint lists. It may hold half
    /// a surrogate pair as an escape, which a `serde_json::Value` cannot carry. `{}` where the resource has no list of
    /// its own (incomingInvoices, incomingCreditNotes, receipts).
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
        self.collections.keys().copied().chain(DOCUMENTS.map(|(_, resource)| resource)).chain(["userSchedules"])
    }

    /// Whether there is such a resource.
    pub(crate) fn has(&self, resource: &str) -> bool {
        self.resources().any(|known| known == resource)
    }

    /// How many records of a resource live.
    pub(crate) fn count(&self, resource: &str) -> usize {
        match resource {
            "userSchedules" => self.scheduled().len(),
            _ if home(resource) == resource => self.read(resource).map_or(0, |collection| collection.len()),
            _ => self.living(resource).len(),
        }
    }

    /// The live records of a resource by their numbers among those of its kind.
    pub(crate) fn living(&self, resource: &str) -> Vec<u64> {
        let Some(collection) = self.read(home(resource)) else { return Vec::new() };
        let live = collection.natural().iter().map(|slot| u64::from(*slot)).filter(|ordinal| is_of(resource, *ordinal));
        let kinds = if document_place(resource).is_some() { 3 } else { 1 };
        live.map(|ordinal| ordinal / kinds).collect()
    }

    /// The users who have a schedule.
    pub(crate) fn scheduled(&self) -> Vec<Facts> {
        let Some((_, users)) = self.snapshot("users") else { return Vec::new() };
        users.into_iter().filter(|user| has_schedule(&self.world, user)).collect()
    }

    /// The schedules of all users from one day to another, both included.
    pub(crate) fn schedules(&self, from: NaiveDate, until: NaiveDate) -> Vec<TruthRecord> {
        let truth = |user: Facts| TruthRecord {
            id: user.id,
            parent: None,
            list: schedule(&self.world, &user, from, until),
            info: None,
            updated_at: DateTime::from_timestamp(user.updated_at, 0).unwrap_or_default(),
        };
        self.scheduled().into_iter().map(truth).collect()
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

    /// A live record.
    pub(crate) fn find(&self, resource: &str, id: Uuid) -> Option<(&'static Recipe, Facts)> {
        let collection = self.read(home(resource))?;
        let facts = collection.find(id)?.facts;
        is_of(resource, facts.ordinal).then_some((collection.recipe, facts))
    }

    /// The record of `.info`, if it lives, and its facts.
    pub(crate) fn info(&self, resource: &str, id: Uuid, includes: &[&str]) -> Option<(Facts, String)> {
        let (recipe, facts) = self.find(resource, id)?;
        // Written after the lock is released; it depends on the facts alone.
        Some((facts, recipe.info(&self.world, &facts, includes)))
    }

    /// A record as the parent of others, if it lives.
    pub(crate) fn parent(&self, resource: &str, id: Uuid) -> Option<Parent> {
        let (recipe, facts) = self.find(resource, id)?;
        Some(match document_place(resource) {
            None => Parent { resource: recipe.resource, ordinal: facts.ordinal },
            Some(place) => Parent { resource: DOCUMENTS[place as usize].1, ordinal: facts.ordinal / 3 },
        })
    }

    /// The record of `users.me`: the first user is the one who authorized, also after somebody deletes that user.
    pub(crate) fn me(&self) -> String {
        let first = self.world.initial_facts("users", 0);
        let live = self.read("users").and_then(|users| users.find(first.id).map(|user| user.facts));
        me(&self.world, &live.unwrap_or(first))
    }

    /// The facts of every live record at one moment, in the order of creation. [`Store::truth_of`] turns each into
    /// text, which for a large account is too much to hold at once.
    pub(crate) fn snapshot(&self, resource: &str) -> Option<(&'static Recipe, Vec<Facts>)> {
        let collection = self.read(home(resource))?;
        let live = collection.natural().iter().filter_map(|slot| collection.get(*slot)).map(|record| record.facts);
        Some((collection.recipe, live.filter(|facts| is_of(resource, facts.ordinal)).collect()))
    }

    /// The truth about one record in its guise, with the optional fields of the given includes or of all.
    pub(crate) fn truth_of(
        &self,
        resource: &str,
        recipe: &Recipe,
        facts: &Facts,
        includes: Option<&[&str]>,
        guise: &Guise<'_>,
    ) -> TruthRecord {
        let info = contract::info_endpoint(resource);
        let listed = |endpoint: Option<&'static contract::Endpoint>| -> Vec<&str> {
            endpoint.map(|endpoint| endpoint.includes.iter().map(String::as_str).collect()).unwrap_or_default()
        };
        let wanted = |endpoint| includes.map_or_else(|| listed(endpoint), <[&str]>::to_vec);
        let list = match contract::list_endpoint(resource) {
            None => "{}".to_owned(),
            Some(endpoint) => {
                let in_list = wanted(contract::endpoint(endpoint));
                let draft = recipe.list(&self.world, facts);
                let mut list = String::with_capacity(draft.list.len());
                write_optional(&draft.list, &draft.optional, |include| in_list.contains(&include), &mut list);
                guise.dress(facts, &list).into_owned()
            }
        };
        let parent = facts.parent.zip(family(resource));
        let name = |(parent, family): (Parent, &crate::generate::Family)| {
            (family.name_of(parent.resource).to_owned(), self.world.id(parent.resource, parent.ordinal))
        };
        TruthRecord {
            id: facts.id,
            parent: parent.map(name),
            list,
            info: info.map(|_| guise.dress(facts, &recipe.info(&self.world, facts, &wanted(info))).into_owned()),
            updated_at: DateTime::from_timestamp(facts.updated_at, 0).unwrap_or_default(),
        }
    }
}

impl TruthRecord {
    /// The list item with the fields of `.info` laid over it, key by key: all that the API gives of the record.
    pub fn content(&self) -> String {
        type Members<'a> = BTreeMap<&'a str, &'a RawValue>;
        let read = |text| -> Members<'_> { serde_json::from_str(text).unwrap_or_default() };
        let mut members = read(&self.list);
        members.extend(self.info.as_deref().map(read).unwrap_or_default());
        // A map of raw JSON under text keys always serialises.
        serde_json::to_string(&members).unwrap_or_default()
    }
}
