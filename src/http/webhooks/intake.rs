//! From calls to hints: calls that come within a moment are stored together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::call::Call;
use crate::api_client::webhooks::Webhooks;
use crate::catalog::Resource;
use crate::ids::Account;
use crate::process::log_lines::Seldom;
use crate::process::telemetry;
use crate::store::hints::{self, Named};
use crate::store::pool::{self, StoreError};

/// Calls of so long are stored together, while they follow each other; one by itself does not wait.
const GATHERS: Duration = Duration::from_millis(10);

/// As many are stored together at most.
const AT_ONCE: usize = 1_000;

/// Calls that wait to be stored. More are refused, since the database is away or slow.
const QUEUED: usize = 4_000;

/// How long a call waits until it is stored. Teamleader's patience is not documented.
const PATIENCE: Duration = Duration::from_secs(3);

/// Hints that wait to be served. More are refused: the database must not fill up while the account is not authorized.
const MOST_WAITING: i64 = 100_000;

/// How often they are counted.
const COUNTED_EVERY: Duration = Duration::from_secs(5);

/// A transaction that another was in the way of is tried as often.
const TRIES: u32 = 3;

/// The name of types that are not known.
const UNKNOWN: &str = "unknown";

/// What the route needs.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// The addresses that calls may be sent to.
    pub webhooks: Arc<Webhooks>,
    /// Where they go.
    pub intake: Intake,
}

/// Takes calls.
#[derive(Clone, Debug)]
pub struct Intake {
    sender: mpsc::Sender<Waiting>,
    synced: Arc<[&'static Resource]>,
}

/// Why a call was not stored.
#[derive(Debug)]
pub struct NotStored(pub &'static str);

/// A call that waits to be stored.
struct Waiting {
    named: Vec<Named>,
    kind: &'static str,
    stored: oneshot::Sender<Result<(), NotStored>>,
}

/// Stores calls, in a task of its own.
#[derive(Debug)]
pub struct Gatherer {
    receiver: mpsc::Receiver<Waiting>,
    pool: PgPool,
    account: Account,
    /// Notified when hints are stored.
    stored: Arc<Notify>,
}

/// The two ends.
pub fn open(pool: PgPool, account: Account, synced: &[&'static Resource], stored: Arc<Notify>) -> (Intake, Gatherer) {
    let (sender, receiver) = mpsc::channel(QUEUED);
    (Intake { sender, synced: synced.into() }, Gatherer { receiver, pool, account, stored })
}

impl Intake {
    /// Stores what a call is a reason to look at, of what is synced. An error: nothing is stored, or that is unknown.
    pub async fn store(&self, call: &Call) -> Result<(), NotStored> {
        let looks = call.kind.into_iter().flat_map(|kind| kind.looks_at(&self.synced));
        let named: Vec<Named> = looks.map(|look| Named { resource: look.resource(), id: call.id }).collect();
        for named in &named {
            telemetry::hint_received(named.resource);
        }
        let (stored, answer) = oneshot::channel();
        let waiting = Waiting { named, kind: call.kind.map_or(UNKNOWN, |kind| kind.name), stored };
        let busy = NotStored("too many calls wait for the database: send it again later");
        self.sender.try_send(waiting).map_err(|_| busy)?;
        let late = || NotStored("the database does not answer: send it again later");
        timeout(PATIENCE, answer).await.ok().and_then(Result::ok).unwrap_or_else(|| Err(late()))
    }
}

impl Gatherer {
    /// Stores calls until stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut seldom = Seldom::default();
        let (mut waiting, mut counted): (i64, Option<Instant>) = (0, None);
        let mut next_at = Instant::now();
        while let Some(Some(first)) = stop.run_until_cancelled(self.receiver.recv()).await {
            let calls = self.gather(first, next_at).await;
            next_at = Instant::now() + GATHERS;
            if counted.is_none_or(|at| at.elapsed() >= COUNTED_EVERY)
                && let Ok((hints, _)) = pool::with_deadline(hints::waiting(&self.pool, &self.account)).await
            {
                (waiting, counted) = (hints, Some(Instant::now()));
            }
            let stored = match waiting < MOST_WAITING {
                true => pool::with_deadline_of(PATIENCE, self.store_in_tries(&calls)).await.map_err(|error| {
                    if seldom.lets_through(&error.to_string()) {
                        warn!(%error, "Calls of webhooks cannot be stored");
                    }
                    "the database cannot be used now: send it again later"
                }),
                false => Err("too many hints wait to be served: send it again later"),
            };
            if stored.is_ok() {
                waiting += calls.iter().map(|call| call.named.len() as i64).sum::<i64>();
                self.stored.notify_waiters();
            }
            for call in calls {
                // The caller may have gone.
                let _ = call.stored.send(stored.map_err(NotStored));
            }
        }
    }

    /// The calls that come until then, and those that are there.
    async fn gather(&mut self, first: Waiting, ends_at: Instant) -> Vec<Waiting> {
        let mut calls = vec![first];
        while calls.len() < AT_ONCE {
            tokio::select! {
                biased;
                call = self.receiver.recv() => match call {
                    Some(call) => calls.push(call),
                    None => break,
                },
                () = sleep_until(ends_at) => break,
            }
        }
        calls
    }

    /// Stores them; where another transaction was in the way, once more.
    async fn store_in_tries(&self, calls: &[Waiting]) -> Result<(), StoreError> {
        for _ in 1..TRIES {
            match self.store(calls).await {
                Err(error) if error.is_in_the_way() => {}
                stored => return stored,
            }
        }
        self.store(calls).await
    }

    async fn store(&self, calls: &[Waiting]) -> Result<(), StoreError> {
        let named: Vec<Named> = calls.iter().flat_map(|call| call.named.iter().cloned()).collect();
        let mut types: BTreeMap<&'static str, i64> = BTreeMap::new();
        for call in calls {
            *types.entry(call.kind).or_default() += 1;
        }
        let types: Vec<(&'static str, i64)> = types.into_iter().collect();
        hints::store(&self.pool, &self.account, &named, &types).await
    }
}
