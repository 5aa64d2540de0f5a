//! The open connections, of which there are never too many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long an idle connection may stay open once the server stops.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// The open connections. Where there is room for no more, the one that has waited longest for its caller gives way:
/// half-open ones block other callers for no longer than it takes to open new ones.
#[derive(Debug)]
pub(super) struct Connections {
    most: u32,
    permits: Arc<Semaphore>,
    next_id: AtomicU64,
    open: Mutex<BTreeMap<u64, Open>>,
    /// A request was answered, so its connection can give way.
    answered: Notify,
}

/// What happens on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    /// It waits for its caller, and can give way.
    Idle,
    /// A request is worked on: it does not give way.
    Work,
}

/// A connection, as the others see it.
#[derive(Debug)]
struct Open {
    activity: Activity,
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
        let oldest = open.iter().filter(|(_, open)| open.activity == Activity::Idle).min_by_key(|(_, open)| open.since);
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
        open.insert(id, Open { activity: Activity::Idle, since: Instant::now(), close: close.clone() });
        Connection { id, close, connections: self.clone(), _permit: permit }
    }

    /// Waits until all are closed: for each request in progress, and for no caller.
    pub(super) async fn drained(&self) {
        let all_closed = self.permits.acquire_many(self.most);
        tokio::pin!(all_closed);
        while tokio::time::timeout(LAST_ANSWER, &mut all_closed).await.is_err() {
            let idle = |open: &Open| open.activity == Activity::Idle && open.since.elapsed() >= LAST_ANSWER;
            self.all().values().filter(|open| idle(open)).for_each(|open| open.close.cancel());
        }
    }
}

/// One connection, open until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    /// Cancelled when it has to give way.
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
    /// Marks a request as worked on for as long as the returned guard lives.
    pub(super) fn at_work(&self) -> AtWork<'_> {
        self.note(Activity::Work);
        AtWork(self)
    }

    fn note(&self, activity: Activity) {
        if let Some(open) = self.connections.all().get_mut(&self.id) {
            (open.activity, open.since) = (activity, Instant::now());
        }
    }

    /// Waits until the caller has done nothing for this long.
    pub(super) async fn is_idle(&self, bound: Duration) {
        let mut until = Instant::now() + bound;
        loop {
            tokio::time::sleep_until(until).await;
            until = match self.connections.all().get(&self.id) {
                Some(open) if open.activity == Activity::Work => Instant::now() + bound,
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
        self.0.note(Activity::Idle);
        self.0.connections.answered.notify_waiters();
    }
}
