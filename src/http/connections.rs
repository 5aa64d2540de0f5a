//! The connections that are open, of which there are never too many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a connection on which nothing is worked may still take once the server stops.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// The connections that are open. Where there is room for no more, the one that has waited longest for its caller gives
/// way: half-open ones keep nobody out for longer than it takes to open new ones.
#[derive(Debug)]
pub(super) struct Connections {
    most: u32,
    permits: Arc<Semaphore>,
    next_id: AtomicU64,
    open: Mutex<BTreeMap<u64, Open>>,
    /// A request was answered, so its connection can give way.
    answered: Notify,
}

/// A connection, as the others see it.
#[derive(Debug)]
struct Open {
    /// Whether a request is worked on: then it does not give way.
    is_at_work: bool,
    /// Since when.
    since: Instant,
    close: CancellationToken,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let permits = Arc::new(Semaphore::new(most as usize));
        Self { most, permits, next_id: AtomicU64::default(), open: Mutex::default(), answered: Notify::new() }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one more.
    pub(super) async fn permit(&self) -> OwnedSemaphorePermit {
        loop {
            let answered = self.answered.notified();
            if let Ok(permit) = self.permits.clone().try_acquire_owned() {
                return permit;
            }
            let gives_way = self.close_oldest();
            tokio::select! {
                // The semaphore is never closed.
                Ok(permit) = self.permits.clone().acquire_owned() => return permit,
                () = answered, if !gives_way => {}
            }
        }
    }

    /// Closes the connection that has waited longest for its caller, if one waits.
    pub(super) fn close_oldest(&self) -> bool {
        let mut open = self.all();
        let oldest = open.iter().filter(|(_, open)| !open.is_at_work).min_by_key(|(_, open)| open.since);
        let Some(id) = oldest.map(|(id, _)| *id) else { return false };
        if let Some(oldest) = open.remove(&id) {
            oldest.close.cancel();
        }
        true
    }

    pub(super) fn open(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Connection {
        let close = CancellationToken::new();
        let mut open = self.all();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        open.insert(id, Open { is_at_work: false, since: Instant::now(), close: close.clone() });
        Connection { id, close, connections: self.clone(), _permit: permit }
    }

    /// Waits until all are closed. No caller is waited for, but what is worked on is.
    pub(super) async fn drained(&self) {
        let all_closed = self.permits.acquire_many(self.most);
        tokio::pin!(all_closed);
        while tokio::time::timeout(LAST_ANSWER, &mut all_closed).await.is_err() {
            let idle = |open: &Open| !open.is_at_work && open.since.elapsed() >= LAST_ANSWER;
            self.all().values().filter(|open| idle(open)).for_each(|open| open.close.cancel());
        }
    }
}

/// One connection, open until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    /// It has to give way.
    pub(super) close: CancellationToken,
    connections: Arc<Connections>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.all().remove(&self.id);
    }
}

impl Connection {
    /// A request is worked on, for as long as what this gives lives.
    pub(super) fn at_work(&self) -> AtWork<'_> {
        self.note(true);
        AtWork(self)
    }

    fn note(&self, is_at_work: bool) {
        if let Some(open) = self.connections.all().get_mut(&self.id) {
            (open.is_at_work, open.since) = (is_at_work, Instant::now());
        }
    }

    /// Waits until the caller has done nothing for so long.
    pub(super) async fn is_idle(&self, bound: Duration) {
        let mut until = Instant::now() + bound;
        loop {
            tokio::time::sleep_until(until).await;
            until = match self.connections.all().get(&self.id) {
                Some(open) if open.is_at_work => Instant::now() + bound,
                Some(open) => open.since + bound,
                None => return,
            };
            if until <= Instant::now() {
                return;
            }
        }
    }
}

/// A request is worked on for as long as this lives.
pub(super) struct AtWork<'a>(&'a Connection);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.note(false);
        self.0.connections.answered.notify_waiters();
    }
}
