//! What became of the calls: counts, and the newest of them one by one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::plan::{Forgery, Nature, Right};

/// How many deliveries are remembered until somebody takes them.
const REMEMBERED: usize = 100_000;

/// The webhooks that were called since the start, or since the counts were set to zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookCounts {
    /// The addresses that are registered now, and their types.
    pub registered: BTreeMap<String, BTreeSet<String>>,
    /// Calls by type that were due to the registered addresses: one for each change and address that takes the type,
    /// whether or not it was made.
    pub due: BTreeMap<String, u64>,
    /// Calls by type that went out: due ones that were not lost, and repeated ones.
    pub sent: BTreeMap<String, u64>,
    /// Calls by type that were never made.
    pub dropped: BTreeMap<String, u64>,
    /// Calls that were made a second time.
    pub duplicated: u64,
    /// Calls that let later ones go first.
    pub reordered: u64,
    /// Calls that name another account.
    pub wrong_account: u64,
    /// Answers to calls, by status.
    pub answered: BTreeMap<u16, u64>,
    /// Calls without an answer: no connection, a connection that broke, or nothing for ten seconds.
    pub failed: u64,
    /// Calls to https addresses, which nobody takes as long as `deliver_to` is not set.
    pub undeliverable: u64,
    /// Forged calls that went out.
    pub forged: BTreeMap<Forgery, u64>,
    /// Answers to forged calls by status; 0 stands for none.
    pub forged_answered: BTreeMap<Forgery, BTreeMap<u16, u64>>,
    /// Calls of all kinds that wait for their time or for their answer.
    pub pending: u64,
}

impl WebhookCounts {
    /// Calls of all types that were due.
    pub fn total_due(&self) -> u64 {
        self.due.values().sum()
    }
}

/// One call that was made, and not forged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookDelivery {
    /// The record that it is about: the message and not its ticket, whatever the body names.
    pub id: Uuid,
    /// The type.
    #[serde(rename = "type")]
    pub kind: String,
    /// When the record was changed, by the machine's clock, as the other moments.
    pub changed_at: DateTime<Utc>,
    /// When the call went out.
    pub sent_at: DateTime<Utc>,
    /// When its answer was there; none without an answer.
    pub answered_at: Option<DateTime<Utc>>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Whether it was made before.
    pub is_repeated: bool,
}

/// Counts and remembers the calls.
#[derive(Default)]
pub(crate) struct Log(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    counts: WebhookCounts,
    deliveries: VecDeque<WebhookDelivery>,
}

impl Log {
    /// The counts, without the registered addresses.
    pub(crate) fn counts(&self) -> WebhookCounts {
        self.lock().counts.clone()
    }

    /// Sets every count to zero but that of pending calls.
    pub(crate) fn reset(&self) {
        let counts = &mut self.lock().counts;
        *counts = WebhookCounts { pending: counts.pending, ..WebhookCounts::default() };
    }

    /// Takes the remembered deliveries, oldest answer first.
    pub(crate) fn drain(&self) -> Vec<WebhookDelivery> {
        std::mem::take(&mut self.lock().deliveries).into()
    }

    /// A call was due to an address.
    pub(crate) fn due(&self, kind: &str, is_lost: bool) {
        let counts = &mut self.lock().counts;
        count(&mut counts.due, kind);
        if is_lost {
            count(&mut counts.dropped, kind);
        }
    }

    /// A call waits for its time.
    pub(crate) fn waits(&self, nature: Nature) {
        let counts = &mut self.lock().counts;
        counts.pending += 1;
        if let Nature::Right(Right { is_repeated, is_reordered, names_other_account }) = nature {
            counts.duplicated += u64::from(is_repeated);
            counts.reordered += u64::from(is_reordered && !is_repeated);
            counts.wrong_account += u64::from(names_other_account && !is_repeated);
        }
    }

    /// Nobody takes a call.
    pub(crate) fn undeliverable(&self) {
        let counts = &mut self.lock().counts;
        counts.undeliverable += 1;
        counts.pending -= 1;
    }

    /// A call of the API was answered, or was not.
    pub(crate) fn delivered(&self, delivery: WebhookDelivery) {
        let mut entries = self.lock();
        let counts = &mut entries.counts;
        counts.pending -= 1;
        count(&mut counts.sent, &delivery.kind);
        match delivery.status {
            Some(status) => *counts.answered.entry(status).or_default() += 1,
            None => counts.failed += 1,
        }
        if entries.deliveries.len() == REMEMBERED {
            entries.deliveries.pop_front();
        }
        entries.deliveries.push_back(delivery);
    }

    /// A forged call was answered, or was not.
    pub(crate) fn forged(&self, forgery: Forgery, status: Option<u16>) {
        let counts = &mut self.lock().counts;
        counts.pending -= 1;
        *counts.forged.entry(forgery).or_default() += 1;
        *counts.forged_answered.entry(forgery).or_default().entry(status.unwrap_or_default()).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(by_type: &mut BTreeMap<String, u64>, kind: &str) {
    match by_type.get_mut(kind) {
        Some(count) => *count += 1,
        None => drop(by_type.insert(kind.to_owned(), 1)),
    }
}
