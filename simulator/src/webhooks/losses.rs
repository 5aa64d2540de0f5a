//! The truth of a loss meter: which records a client found changed by a pass, and whether a call had announced them.
//!
//! The simulator sees every answer that it gives and every call that is answered, so it knows what a client last got of
//! a record, when, and when it was called for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::generate::Facts;

/// Records by resource.
pub type RecordsByResource = BTreeMap<String, BTreeSet<Uuid>>;

/// The records that a client found changed or deleted by a pass, and not because it was called for them. What was
/// found several times can be in several of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// All that was found.
    pub found: RecordsByResource,
    /// A call came between the client's last answer for the record and the find.
    pub announced: RecordsByResource,
    /// A call came after the find, within the time to wait.
    pub late: RecordsByResource,
    /// No call came within that time.
    pub missed: RecordsByResource,
    /// No call came yet, and that time is not over.
    pub candidates: RecordsByResource,
    /// How often each resource had each of these.
    pub counts: BTreeMap<String, LossCounts>,
}

/// How often records of a resource were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossCounts {
    /// All finds.
    pub found: u64,
    /// Those that a call had announced.
    pub announced: u64,
    /// Those that a call followed.
    pub late: u64,
    /// Those without a call.
    pub missed: u64,
    /// Those that wait for one.
    pub candidates: u64,
}

/// What an answer showed a client.
#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    pub(crate) look: Look,
    /// The records that it shows whole, with their resources.
    pub(crate) shown: Vec<(&'static str, Facts)>,
    /// Records that were asked for and are deleted.
    pub(crate) gone: Vec<(&'static str, Uuid)>,
    /// The optional fields that were asked for.
    pub(crate) includes: Vec<String>,
}

/// How the client asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// By a list, without ids.
    List,
    /// By ids.
    Ids,
}

/// A change of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) resource: &'static str,
    pub(crate) id: Uuid,
    /// What it was; none if it is new.
    pub(crate) before: Option<Facts>,
    /// What it is; none if it is deleted.
    pub(crate) after: Option<Facts>,
    /// Whether an address is registered that takes a type of it.
    pub(crate) counts: bool,
}

type Key = (&'static str, Uuid);

/// Remembers what clients got and what they were called for. Off, it remembers nothing.
#[derive(Default)]
pub(crate) struct Watch {
    is_on: AtomicBool,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    records: HashMap<Key, Watched>,
    finds: Vec<Find>,
}

#[derive(Default)]
struct Watched {
    /// What the record was and is, oldest first.
    states: Vec<State>,
    /// The state that the client got: its place.
    got: Option<usize>,
    /// When the client asked for the last answer that it got.
    confirmed: Option<Instant>,
    /// The same for an answer by id.
    looked: Option<Instant>,
    /// When the last call went out that was answered well.
    called: Option<Instant>,
    /// Finds that no call has announced: their places.
    open: Vec<usize>,
}

struct State {
    facts: Option<Facts>,
    counts: bool,
}

/// A pass found a record changed.
struct Find {
    key: Key,
    /// When the client asked for the last answer before.
    confirmed: Option<Instant>,
    at: Instant,
    announced: bool,
    /// The first call after it.
    followed: Option<Instant>,
}

impl Watch {
    /// Remembers from now on, from nothing.
    pub(crate) fn start(&self) {
        *self.lock() = Memory::default();
        self.is_on.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// A record changed. Must not run while an answer that may show the change is seen.
    pub(crate) fn changed(&self, change: Change) {
        let Change { resource, id, before, after, counts } = change;
        let mut memory = self.lock();
        let watched = memory.records.entry((resource, id)).or_default();
        // A client may have got it in an answer that is on its way.
        if watched.states.is_empty() && before.is_some() {
            watched.states.push(State { facts: before, counts: false });
        }
        watched.states.push(State { facts: after, counts });
    }

    /// A client got an answer that it asked for at a moment. `differ` compares two states of a record by what the list
    /// shows of them.
    pub(crate) fn saw(
        &self,
        sighting: &Sighting,
        asked: Instant,
        differ: impl Fn(&'static str, &Facts, &Facts) -> bool,
    ) {
        let mut memory = self.lock();
        let is_pass = sighting.look == Look::List;
        let Memory { records, finds } = &mut *memory;
        for (resource, facts) in &sighting.shown {
            let key = (*resource, facts.id);
            let watched = records.entry(key).or_default();
            let Some((place, is_find)) = watched.shown(facts, |a, b| differ(resource, a, b)) else { continue };
            if is_find && is_pass {
                watched.find(key, finds);
            }
            watched.confirm(place, asked, sighting.look);
        }
        for key in &sighting.gone {
            let Some(watched) = records.get_mut(key) else { continue };
            let Some((place, is_find)) = watched.gone() else { continue };
            if is_find {
                watched.find(*key, finds);
            }
            watched.confirm(place, asked, sighting.look);
        }
    }

    /// A call for a record that went out at a moment was answered well.
    pub(crate) fn called(&self, key: Key, sent: Instant) {
        let mut memory = self.lock();
        let Memory { records, finds } = &mut *memory;
        let Some(watched) = records.get_mut(&key) else { return };
        watched.called = watched.called.max(Some(sent));
        watched.open.retain(|place| {
            let find = &mut finds[*place];
            if sent > find.at {
                find.followed.get_or_insert(sent);
            } else if find.confirmed.is_none_or(|confirmed| sent > confirmed) {
                find.announced = true;
            }
            !find.announced
        });
    }

    /// What was found until now, where calls may come so long after a find.
    pub(crate) fn losses(&self, wait: Duration) -> Losses {
        let now = Instant::now();
        let mut losses = Losses::default();
        for find in &self.lock().finds {
            let (resource, id) = find.key;
            let counts = losses.counts.entry(resource.to_owned()).or_default();
            let is_late = find.followed.is_some_and(|call| call.duration_since(find.at) <= wait);
            let (records, count) = match find {
                Find { announced: true, .. } => (&mut losses.announced, &mut counts.announced),
                _ if is_late => (&mut losses.late, &mut counts.late),
                _ if now.duration_since(find.at) <= wait => (&mut losses.candidates, &mut counts.candidates),
                _ => (&mut losses.missed, &mut counts.missed),
            };
            *count += 1;
            counts.found += 1;
            for records in [records, &mut losses.found] {
                records.entry(resource.to_owned()).or_default().insert(id);
            }
        }
        losses
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// The place of the state that an answer shows, and whether the client did not know it by what the list shows. None
    /// for a state that is older than what the client got, as of a list that lags behind, or than the watch.
    fn shown(&mut self, facts: &Facts, differ: impl Fn(&Facts, &Facts) -> bool) -> Option<(usize, bool)> {
        if self.states.is_empty() {
            self.states.push(State { facts: Some(*facts), counts: false });
        }
        let place = self.states.iter().rposition(|state| state.facts.is_some_and(|known| same(&known, facts)))?;
        let Some(got) = self.got else {
            // A client that never got it has nothing to write over.
            return Some((place, false));
        };
        let known = self.states[got].facts?;
        let counts = self.states.get(got + 1..=place)?.iter().any(|state| state.counts);
        Some((place, counts && differ(&known, facts)))
    }

    /// The place of the deletion, and whether a client that asked for the record by id has found it.
    fn gone(&self) -> Option<(usize, bool)> {
        let place = self.states.len().checked_sub(1)?;
        let deletion = self.states.get(place).filter(|state| state.facts.is_none())?;
        let knows = self.got.is_some_and(|got| got != place);
        // Called and not answered by id since: it looks because of the call.
        let was_called = self.called.is_some_and(|called| self.looked.is_none_or(|looked| called > looked));
        Some((place, knows && deletion.counts && !was_called))
    }

    fn find(&mut self, key: Key, finds: &mut Vec<Find>) {
        let confirmed = self.confirmed;
        let announced = self.called.is_some_and(|called| confirmed.is_none_or(|confirmed| called > confirmed));
        if !announced {
            self.open.push(finds.len());
        }
        finds.push(Find { key, confirmed, at: Instant::now(), announced, followed: None });
    }

    fn confirm(&mut self, place: usize, asked: Instant, look: Look) {
        self.got = Some(place);
        self.confirmed = self.confirmed.max(Some(asked));
        if look == Look::Ids {
            self.looked = self.looked.max(Some(asked));
        }
    }
}

fn same(a: &Facts, b: &Facts) -> bool {
    (a.list_edits, a.info_edits, a.updated_at) == (b.list_edits, b.info_edits, b.updated_at)
}
