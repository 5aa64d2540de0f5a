//! Everything that a running simulator knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use uuid::Uuid;

use crate::changes::{ChangeKind, Changed, PagingChanges};
use crate::clock::Clock;
use crate::config::Config;
use crate::counters::Counting;
use crate::faults::Faults;
use crate::generate::{Facts, Twists, World, recipes, write_optional};
use crate::guise::Guise;
use crate::oauth::OAuth;
use crate::quirks::{Contexts, Quirks};
use crate::rate_limit::RateLimit;
use crate::refreshes::Refreshes;
use crate::sparse::Sparse;
use crate::store::{Store, home};
use crate::webhooks::{Change, Dispatcher, Event, Sighting, Webhooks, resource_of, watched, webhook_types};

type Turns = BTreeMap<(&'static str, ChangeKind), usize>;

/// Everything that a running simulator knows. Each part has a lock of its own, held for no longer than one step.
pub(crate) struct State {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) paging: PagingChanges,
    pub(crate) oauth: OAuth,
    pub(crate) rate_limit: RateLimit,
    pub(crate) faults: Faults,
    pub(crate) counters: Counting,
    pub(crate) refreshes: Refreshes,
    pub(crate) webhooks: Arc<Dispatcher>,
    /// How many changes of each kind each resource had, which are called by its types in turn. Held while a change is
    /// made and called, so that calls come in the order of the changes.
    turns: Mutex<Turns>,
    paged: RwLock<BTreeSet<String>>,
    projects_v2: AtomicBool,
    compresses: AtomicBool,
    quirks: RwLock<Arc<Quirks>>,
    lists: AtomicU64,
}

/// The resource whose calls may name the parent.
const MESSAGES: &str = "tickets.messages";

/// The types of the account itself, for which no record changes.
const ACCOUNT_TYPES: [&str; 2] = ["account.deactivated", "account.deleted"];

impl State {
    /// Makes the records, which takes seconds for a large account.
    pub(crate) fn new(config: &Config) -> Self {
        let state = Self {
            clock: Clock::default(),
            store: Store::new(World::new(config.seed, config.counts.clone())),
            paging: PagingChanges::default(),
            oauth: OAuth::new(config),
            rate_limit: RateLimit::new(config.rate_limit, config.rate_window),
            faults: Faults::default(),
            counters: Counting::default(),
            refreshes: Refreshes::default(),
            webhooks: Arc::new(Dispatcher::new(config.webhooks.clone())),
            turns: Mutex::default(),
            paged: RwLock::new(config.paged.clone()),
            projects_v2: AtomicBool::new(config.projects_v2),
            compresses: AtomicBool::new(false),
            quirks: RwLock::default(),
            lists: AtomicU64::default(),
        };
        state.set_quirks(config.quirks.clone());
        state
    }

    /// How the API behaves at this moment.
    pub(crate) fn quirks(&self) -> Arc<Quirks> {
        self.quirks.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Makes the API behave so from now on.
    pub(crate) fn set_quirks(&self, quirks: Quirks) {
        self.store.twist(Twists {
            discounts_without_ids: quirks.discounts_without_ids,
            equal_discounts: quirks.equal_discounts,
            documented_contexts: quirks.contexts == Contexts::Documented,
        });
        *self.quirks.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(quirks);
    }

    /// The number of this request among those to lists.
    pub(crate) fn next_list(&self) -> u64 {
        self.lists.fetch_add(1, Ordering::Relaxed)
    }

    /// The fields that the records of a resource lack at this moment.
    pub(crate) fn sparse(&self, resource: &str) -> Option<Sparse> {
        Sparse::new(self.quirks().sparse, self.store.world.seed(), resource)
    }

    /// Whether a list comes in pages although the blueprint shows none.
    pub(crate) fn is_paged(&self, resource: &str) -> bool {
        self.paged.read().unwrap_or_else(|poisoned| poisoned.into_inner()).contains(resource)
    }

    /// Makes a list come in pages, or only as the blueprint shows.
    pub(crate) fn set_paged(&self, resource: &str, paged: bool) {
        let mut all = self.paged.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        match paged {
            true => drop(all.insert(resource.to_owned())),
            false => drop(all.remove(resource)),
        }
    }

    /// Whether the account has the new projects.
    pub(crate) fn has_projects_v2(&self) -> bool {
        self.projects_v2.load(Ordering::Relaxed)
    }

    /// Gives the account the new projects, or the legacy ones.
    pub(crate) fn set_projects_v2(&self, projects_v2: bool) {
        self.projects_v2.store(projects_v2, Ordering::Relaxed);
    }

    /// Whether answers come in gzip where that is asked for.
    pub(crate) fn compresses(&self) -> bool {
        self.compresses.load(Ordering::Relaxed)
    }

    /// Makes answers come in gzip where that is asked for, or never.
    pub(crate) fn set_compression(&self, yes: bool) {
        self.compresses.store(yes, Ordering::Relaxed);
    }

    /// Changes records of a resource now.
    pub(crate) fn change(&self, resource: &str, kind: ChangeKind, count: usize) -> Vec<Uuid> {
        let mut turns = self.turns();
        let changed = self.store.change(resource, kind, count, self.clock.now().timestamp());
        self.call(&mut turns, kind, &changed);
        changed.iter().map(|changed| changed.id).collect()
    }

    /// Changes one record now; false if it does not live.
    pub(crate) fn change_record(&self, resource: &str, kind: ChangeKind, id: Uuid) -> bool {
        let mut turns = self.turns();
        let changed = self.store.change_record(resource, kind, id, self.clock.now().timestamp());
        self.call(&mut turns, kind, changed.as_slice());
        changed.is_some()
    }

    /// Delivers webhooks otherwise from now on; what the seed and the turn decide begins again.
    pub(crate) fn set_webhooks(&self, settings: Webhooks) {
        let mut turns = self.turns();
        turns.clear();
        self.webhooks.set(settings);
    }

    /// Calls for changes of one kind: each by one type, in turn.
    fn call(&self, turns: &mut Turns, kind: ChangeKind, changes: &[Changed]) {
        let account = self.store.world.account();
        let event = |changed: &Changed| {
            let types = webhook_types(changed.resource, kind);
            self.watch(changed, types);
            let turn = turns.entry((changed.resource, kind)).or_default();
            let place = turn.checked_rem(types.len())?;
            *turn += 1;
            let parent = changed.parent.filter(|_| changed.resource == MESSAGES);
            let ticket = parent.map(|ticket| self.store.world.id(ticket.resource, ticket.ordinal));
            Some(Event { kind: types[place], id: changed.id, ticket, account })
        };
        let events: Vec<Event> = changes.iter().filter_map(event).collect();
        self.webhooks.call(&events);
    }

    /// Remembers a change for the truth of a loss meter.
    fn watch(&self, changed: &Changed, types: &[&str]) {
        let Changed { resource, id, before, after, .. } = *changed;
        if self.webhooks.watch.is_on() && watched(resource).is_some() {
            let counts = !self.webhooks.addresses.taking(types).is_empty();
            self.webhooks.watch.changed(Change { resource, id, before, after, counts });
        }
    }

    /// A client got an answer that it asked for at a moment.
    pub(crate) fn saw(&self, sighting: &Sighting, asked: Instant) {
        // A change that the answer shows is remembered first.
        let _turns = self.turns();
        let world = &self.store.world;
        let differ = |resource: &'static str, before: &Facts, after: &Facts| {
            let resource = home(resource);
            let Some(recipe) = recipes().iter().find(|recipe| recipe.resource == resource) else { return false };
            let guise = Guise::new(resource, self.sparse(resource));
            let text = |facts: &Facts| {
                let draft = recipe.list(world, facts);
                let mut text = String::with_capacity(draft.list.len());
                let wanted = |include: &str| sighting.includes.iter().any(|asked| asked == include);
                write_optional(&draft.list, &draft.optional, wanted, &mut text);
                guise.dress(facts, &text).into_owned()
            };
            text(before) != text(after)
        };
        self.webhooks.watch.saw(sighting, asked, differ);
    }

    /// Calls for records without a change of them; false if there is no such type.
    pub(crate) fn storm(&self, kind: &str, ids: &[Uuid]) -> bool {
        let _turns = self.turns();
        let account = self.store.world.account();
        let of_account = || ACCOUNT_TYPES.into_iter().find(|name| *name == kind).map(|name| ("", name));
        let Some((resource, kind)) = resource_of(kind).or_else(of_account) else { return false };
        let ticket = |id: &Uuid| {
            let parent = self.store.find(resource, *id)?.1.parent.filter(|_| resource == MESSAGES)?;
            Some(self.store.world.id(parent.resource, parent.ordinal))
        };
        let event = |id: &Uuid| Event { kind, id: *id, ticket: ticket(id), account };
        let events: Vec<Event> = ids.iter().map(event).collect();
        self.webhooks.call(&events);
        true
    }

    /// The same for so many records that live, or all; none if there is no such type.
    pub(crate) fn storm_of(&self, kind: &str, count: usize) -> Option<Vec<Uuid>> {
        let ids: Vec<Uuid> = match resource_of(kind) {
            Some((resource, _)) => {
                let (_, records) = self.store.snapshot(resource)?;
                records.iter().map(|facts| facts.id).take(count).collect()
            }
            None => vec![self.store.world.account(); count],
        };
        self.storm(kind, &ids).then_some(ids)
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
