//! Everything that a running simulator knows.

use uuid::Uuid;

use crate::changes::{ChangeKind, PagingChanges};
use crate::clock::Clock;
use crate::config::Config;
use crate::counters::Counting;
use crate::faults::Faults;
use crate::generate::World;
use crate::oauth::OAuth;
use crate::rate_limit::RateLimit;
use crate::refreshes::Refreshes;
use crate::store::Store;

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
}

impl State {
    /// Makes the records, which takes seconds for a large account.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            clock: Clock::default(),
            store: Store::new(World::new(config.seed, config.counts.clone())),
            paging: PagingChanges::default(),
            oauth: OAuth::new(config),
            rate_limit: RateLimit::new(config.rate_limit, config.rate_window),
            faults: Faults::default(),
            counters: Counting::default(),
            refreshes: Refreshes::default(),
        }
    }

    /// Changes records of a resource now.
    pub(crate) fn change(&self, resource: &str, kind: ChangeKind, count: usize) -> Vec<Uuid> {
        self.store.change(resource, kind, count, self.clock.now().timestamp())
    }

    /// Changes one record now; false if it does not live.
    pub(crate) fn change_record(&self, resource: &str, kind: ChangeKind, id: Uuid) -> bool {
        self.store.change_record(resource, kind, id, self.clock.now().timestamp())
    }
}
