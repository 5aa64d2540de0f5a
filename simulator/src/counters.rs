//! What was asked of the simulator.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use serde::Serialize;

use crate::oauth::TokenOutcome;
use crate::refreshes::RefreshOutcome;

/// What was asked of the simulator since the start or the last reset. Requests under `/_simulator/` do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Requests by endpoint, such as `contacts.list` or `oauth2/access_token`; `unknown` for any other path.
    pub requests: BTreeMap<String, u64>,
    /// Requests to the API by the `X-Api-Version` that they ask for; `none` for those without it.
    pub versions: BTreeMap<String, u64>,
    /// Answers by status. A request whose connection was cut before an answer has none.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests that got no answer, because of a fault.
    pub unanswered: u64,
    /// Refresh tokens traded for new tokens, also when the answer was lost.
    pub refreshes: u64,
    /// Refresh tokens that came a second time and were refused.
    pub refused_refresh_reuse: u64,
    /// Other refused requests to the token endpoint.
    pub refused_token_requests: u64,
    /// Codes traded for tokens.
    pub code_grants: u64,
    /// Requests over the rate limit, and those that a fault refused with 429.
    pub rate_limited: u64,
    /// The most requests that were in work at one moment.
    pub max_concurrent: u64,
}

impl Counters {
    /// All requests together.
    pub fn total(&self) -> u64 {
        self.requests.values().sum()
    }
}

/// Counters that requests write to.
#[derive(Default)]
pub(crate) struct Counting(Mutex<Running>);

#[derive(Default)]
struct Running {
    counters: Counters,
    concurrent: u64,
}

/// A request in work.
pub(crate) struct InWork<'a>(&'a Counting);

impl Counting {
    pub(crate) fn get(&self) -> Counters {
        self.lock().counters.clone()
    }

    pub(crate) fn reset(&self) {
        self.lock().counters = Counters::default();
    }

    /// A request came. It is in work until what this gives is dropped.
    pub(crate) fn begin(&self, endpoint: &str) -> InWork<'_> {
        let mut running = self.lock();
        match running.counters.requests.get_mut(endpoint) {
            Some(count) => *count += 1,
            None => drop(running.counters.requests.insert(endpoint.to_owned(), 1)),
        }
        running.concurrent += 1;
        running.counters.max_concurrent = running.counters.max_concurrent.max(running.concurrent);
        InWork(self)
    }

    /// A request to the API asked for a version, or for none.
    pub(crate) fn version(&self, asked: Option<&str>) {
        let version = asked.unwrap_or("none").to_owned();
        *self.lock().counters.versions.entry(version).or_default() += 1;
    }

    /// A request was answered, or without a status was not.
    pub(crate) fn end(&self, status: Option<u16>) {
        let counters = &mut self.lock().counters;
        match status {
            Some(status) => *counters.statuses.entry(status).or_default() += 1,
            None => counters.unanswered += 1,
        }
        if status == Some(429) {
            counters.rate_limited += 1;
        }
    }

    /// The token endpoint came to a result.
    pub(crate) fn token(&self, outcome: TokenOutcome) {
        let counters = &mut self.lock().counters;
        match outcome {
            TokenOutcome::Granted => counters.code_grants += 1,
            TokenOutcome::Refresh(_, RefreshOutcome::Traded(_)) => counters.refreshes += 1,
            TokenOutcome::Refresh(_, RefreshOutcome::Reused) => counters.refused_refresh_reuse += 1,
            TokenOutcome::Refresh(_, RefreshOutcome::Revoked | RefreshOutcome::Unknown) | TokenOutcome::Refused => {
                counters.refused_token_requests += 1;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for InWork<'_> {
    fn drop(&mut self) {
        self.0.lock().concurrent -= 1;
    }
}
