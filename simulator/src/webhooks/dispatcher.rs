//! Makes the calls: each in its time, those for one record one after the other, and never in the way of the API.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::addresses::Addresses;
use super::log::{Log, WebhookCounts, WebhookDelivery};
use super::losses::Watch;
use super::plan::{Nature, Plan, Planned, Subject, plan};
use super::sender::{Sender, Target};
use super::settings::Webhooks;
use super::table::resource_of;

/// How many calls are made at once.
const AT_ONCE: usize = 32;

/// What is called for.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// The type.
    pub(crate) kind: &'static str,
    /// The record.
    pub(crate) id: Uuid,
    /// The ticket of a message.
    pub(crate) ticket: Option<Uuid>,
    /// The account of the calls.
    pub(crate) account: Uuid,
}

/// Calls that are made one after the other: those for one record to one address. A call that others may overtake, and
/// one that is forged, has a lane of its own.
type Lane = (String, Uuid);

/// A call that waits for its turn.
struct Waiting {
    call: Planned,
    event: Event,
    changed_at: DateTime<Utc>,
    due: Instant,
}

/// Makes the calls.
pub(crate) struct Dispatcher {
    pub(crate) addresses: Addresses,
    pub(crate) watch: Watch,
    log: Log,
    settings: RwLock<Arc<Webhooks>>,
    /// How often each record was called for; held while calls are planned.
    numbers: Mutex<HashMap<Uuid, u64>>,
    lanes: Mutex<HashMap<Lane, VecDeque<Waiting>>>,
    sender: Sender,
    slots: Semaphore,
    runtime: Handle,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Dispatcher {
    /// One that calls nobody yet; its calls are made by the runtime that this is called in.
    pub(crate) fn new(settings: Webhooks) -> Self {
        Self {
            addresses: Addresses::default(),
            watch: Watch::default(),
            log: Log::default(),
            settings: RwLock::new(Arc::new(settings)),
            numbers: Mutex::default(),
            lanes: Mutex::default(),
            sender: Sender::default(),
            slots: Semaphore::new(AT_ONCE),
            runtime: Handle::current(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// How webhooks are delivered at this moment.
    pub(crate) fn settings(&self) -> Arc<Webhooks> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Delivers them otherwise from now on. What the seed decides begins again.
    pub(crate) fn set(&self, settings: Webhooks) {
        let mut numbers = lock(&self.numbers);
        numbers.clear();
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// What became of the calls.
    pub(crate) fn counts(&self) -> WebhookCounts {
        WebhookCounts { registered: self.addresses.list(), ..self.log.counts() }
    }

    /// Sets the counts to zero.
    pub(crate) fn reset_counts(&self) {
        self.log.reset();
    }

    /// Takes the deliveries that are remembered.
    pub(crate) fn drain(&self) -> Vec<WebhookDelivery> {
        self.log.drain()
    }

    /// Calls every address that takes the type of an event, in its time.
    pub(crate) fn call(self: &Arc<Self>, events: &[Event]) {
        let settings = self.settings();
        let (now, changed_at) = (Instant::now(), Utc::now());
        let mut numbers = lock(&self.numbers);
        for event in events {
            let taking = self.addresses.taking(&[event.kind]);
            if taking.is_empty() {
                continue;
            }
            let calls = numbers.entry(event.id).or_default();
            *calls += 1;
            let Event { kind, id, ticket, account } = *event;
            let subject = Subject { kind, id, ticket, account, number: *calls };
            for (place, url) in taking {
                let Plan { calls, is_lost } = plan(&settings, &subject, place, &url);
                self.log.due(kind, is_lost);
                for call in calls {
                    let due = now + call.after;
                    self.enqueue(Waiting { call, event: event.clone(), changed_at, due });
                }
            }
        }
    }

    fn enqueue(self: &Arc<Self>, waiting: Waiting) {
        self.log.waits(waiting.call.nature);
        let is_ordered = matches!(waiting.call.nature, Nature::Right(right) if !right.is_reordered);
        if !is_ordered {
            let this = self.clone();
            self.spawn(async move { this.make(waiting).await });
            return;
        }
        let lane = (waiting.call.url.clone(), waiting.event.id);
        let mut lanes = lock(&self.lanes);
        match lanes.get_mut(&lane) {
            Some(queue) => queue.push_back(waiting),
            None => {
                lanes.insert(lane.clone(), VecDeque::from([waiting]));
                let this = self.clone();
                self.spawn(async move { this.serve(lane).await });
            }
        }
    }

    fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let work = async move {
            let _ = stop.run_until_cancelled_owned(work).await;
        };
        drop(self.tasks.spawn_on(work, &self.runtime));
    }

    /// Makes the calls of a lane, until there are none.
    async fn serve(&self, lane: Lane) {
        loop {
            let next = {
                let mut lanes = lock(&self.lanes);
                let next = lanes.get_mut(&lane).and_then(VecDeque::pop_front);
                if next.is_none() {
                    lanes.remove(&lane);
                }
                next
            };
            let Some(waiting) = next else { return };
            self.make(waiting).await;
        }
    }

    async fn make(&self, Waiting { call, event, changed_at, due }: Waiting) {
        tokio::time::sleep_until(due).await;
        // The semaphore is never closed.
        let Ok(_slot) = self.slots.acquire().await else { return };
        let settings = self.settings();
        let Some(target) = Target::new(&call.url, settings.deliver_to.as_deref()) else {
            self.log.undeliverable();
            return;
        };
        let (sent_at, sent) = (Utc::now(), std::time::Instant::now());
        let answer = self.sender.post(&target, Bytes::from(call.body)).await;
        if let Err(error) = &answer {
            tracing::debug!(kind = event.kind, id = %event.id, "A call has no answer: {error:#}");
        }
        let status = answer.ok();
        if let Nature::Right(right) = call.nature
            && !right.names_other_account
            && self.watch.is_on()
            && status.is_some_and(|status| (200..300).contains(&status))
            && let Some((resource, _)) = resource_of(event.kind)
        {
            self.watch.called((resource, event.id), sent);
        }
        match call.nature {
            Nature::Forged(forgery) => self.log.forged(forgery, status),
            Nature::Right(right) => self.log.delivered(WebhookDelivery {
                id: event.id,
                kind: event.kind.to_owned(),
                changed_at,
                sent_at,
                answered_at: status.map(|_| Utc::now()),
                status,
                is_repeated: right.is_repeated,
            }),
        }
    }

    /// Makes no further calls, and gives up those that have no answer.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
