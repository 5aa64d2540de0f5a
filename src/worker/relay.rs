//! The outbox: events go to the broker in order, and are marked sent when it has confirmed them.
//!
//! A sender's reply is no event: see `replies.rs`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use lapin::BasicProperties;
use sqlx::PgPool;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::broker::link::AmqpError;
use crate::broker::publisher::{self, Fate, Publisher};
use crate::broker::topology::Names;
use crate::ids::{RunId, TraceParent};
use crate::messages::{EVENT_CONTENT_TYPE, Event, RunReport};
use crate::process::failpoints::{self, Point};
use crate::process::log_lines::{self, Seldom};
use crate::process::telemetry;
use crate::retry;
use crate::store::outbox::{self, Pending};
use crate::store::pool::{self, StoreError};
use crate::store::runs;

/// How often the outbox is looked at for what nobody waits for.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Events that are read at a time.
const BATCH: i64 = 100;

/// How often an event is published without an answer before it is set behind the others. A connection that breaks takes
/// one try.
const UNANSWERED_TRIES: i32 = 3;

/// Why events are not sent yet. They stay in the outbox.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The broker.
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RelayError {
    /// The same, with its cause where the pool had no connection.
    pub async fn explained(self, pool: &PgPool) -> Self {
        match self {
            Self::Store(error) => Self::Store(pool::explained(pool, error).await),
            Self::Amqp(error) => Self::Amqp(error),
        }
    }
}

/// Sends the events of one account.
#[derive(Clone, Debug)]
pub struct Relay {
    pool: PgPool,
    publisher: Publisher,
    names: Names,
    /// One at a time, so that the order holds.
    sending: Arc<Mutex<()>>,
    /// Whether it was said that nobody listens; the counter goes on.
    said_unrouted: Arc<AtomicBool>,
    /// Why progress events were lost lately.
    lost_progress: Arc<SyncMutex<Seldom>>,
    /// Wakes the sender of replies, which are written together with events.
    replies: Arc<Notify>,
}

impl Relay {
    /// From the account's outbox to the broker. `replies` is notified with each flush.
    pub fn new(pool: PgPool, publisher: Publisher, names: Names, replies: Arc<Notify>) -> Self {
        Self {
            pool,
            publisher,
            names,
            sending: Arc::default(),
            said_unrouted: Arc::default(),
            lost_progress: Arc::default(),
            replies,
        }
    }

    /// Sends all that is due. When it returns `Ok`, the broker has confirmed every event that was in the outbox at the
    /// call, but for those that it does not take: because a queue of somebody else's is full or does not answer, or
    /// since it closes the channel for one. Such an event stays in the outbox and is tried again later, and holds up
    /// neither the others nor the caller. Replies are sent apart.
    pub async fn flush(&self) -> Result<(), RelayError> {
        self.replies.notify_one();
        let _one_at_a_time = self.sending.lock().await;
        loop {
            let pending = pool::with_deadline(outbox::pending(&self.pool, self.names.account(), BATCH)).await?;
            if pending.is_empty() {
                let left = pool::with_deadline(outbox::count_pending(&self.pool, self.names.account())).await?;
                telemetry::outbox_pending(left);
                return Ok(());
            }
            for event in &pending {
                self.send(event).await?;
            }
        }
    }

    /// Publishes how far a run is. Not stored: lost when the broker is away. Nothing is sent of a run that has ended,
    /// so it does not follow a final event that this process sends.
    pub async fn send_progress(&self, report: &RunReport, traceparent: Option<&TraceParent>) {
        // No final event goes out meanwhile.
        let _one_at_a_time = self.sending.lock().await;
        let running = runs::is_running(&self.pool, self.names.account(), RunId(report.request_id));
        if !pool::with_deadline(running).await.unwrap_or(false) {
            return;
        }
        // Bytes written to a connection that the broker has blocked would go out at any later time.
        if let Err(error) = self.publisher.ready().await {
            return self.report_lost_progress(&error);
        }
        let event = Event::of_run(report);
        let key = event.kind.routing_key(self.names.account());
        let traceparent = traceparent.map(TraceParent::as_str);
        let properties = properties(&event.id.to_string(), &event.subject, traceparent);
        let exchange = self.names.events_exchange();
        if let Err(error) = self.publisher.offer(&exchange, &key, event.payload.as_bytes(), properties).await {
            self.report_lost_progress(&error);
        }
    }

    /// Once a minute at most: each few seconds one is due.
    fn report_lost_progress(&self, error: &AmqpError) {
        let mut seldom = self.lost_progress.lock().unwrap_or_else(PoisonError::into_inner);
        if seldom.lets_through(&error.to_string()) {
            warn!(%error, "A progress event could not be sent");
        }
    }

    /// Looks at the outbox now and then until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut failing = false;
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            failpoints::reached(Point::RelayDue);
            match self.flush().await {
                Ok(()) if failing => {
                    failing = false;
                    info!("Events are sent again");
                }
                Ok(()) => {}
                Err(error) => {
                    // Once, not every two seconds: the gauge and /health/ready show that it lasts.
                    if !failing {
                        let error = error.explained(&self.pool).await;
                        warn!(%error, "Events cannot be sent; they stay in the outbox");
                    }
                    failing = true;
                    let count = pool::with_deadline(outbox::count_pending(&self.pool, self.names.account())).await;
                    if let Ok(count) = count {
                        telemetry::outbox_pending(count);
                    }
                }
            }
        }
    }

    async fn send(&self, event: &Pending) -> Result<(), RelayError> {
        if event.superseded {
            let why = "a queue did not take it, and a later event of its subject was sent";
            return Ok(pool::with_deadline(outbox::give_up(&self.pool, event.id, why)).await?);
        }
        failpoints::reached(Point::EventWanted);
        let correlation = event.correlation_id.as_deref().unwrap_or_default();
        let properties = properties(&event.event_id.to_string(), correlation, event.traceparent.as_deref());
        let (exchange, key) = (self.names.events_exchange(), event.routing_key.as_str());
        // A broker that is away says nothing against the event.
        self.publisher.ready().await?;
        match self.publisher.offer(&exchange, key, event.payload.as_bytes(), properties).await {
            Ok(Fate::Taken) => {}
            Ok(Fate::Unrouted) => {
                telemetry::unrouted();
                if !self.said_unrouted.swap(true, Ordering::Relaxed) {
                    info!(key, "Nobody is bound for an event; this is said once, and counted");
                }
            }
            Ok(Fate::Nacked) => {
                telemetry::event_nacked();
                return Ok(pool::with_deadline(self.try_later(event, "a queue that is bound for it is full")).await?);
            }
            Err(error) => {
                let tries = event.tries.saturating_add(1);
                if tries < UNANSWERED_TRIES {
                    pool::with_deadline(outbox::defer(&self.pool, event.id, tries, Duration::ZERO)).await?;
                    return Err(error.into());
                }
                return Ok(pool::with_deadline(self.try_later(event, &error.to_string())).await?);
            }
        }
        failpoints::reached(Point::EventConfirmed);
        pool::with_deadline(outbox::sent(&self.pool, event.id)).await?;
        failpoints::reached(Point::EventMarked);
        Ok(())
    }

    /// The broker does not take the event. Queues that have it all the same get it again with each try.
    async fn try_later(&self, event: &Pending, why: &str) -> Result<(), StoreError> {
        let (key, id) = (&event.routing_key, event.event_id);
        let tries = event.tries.saturating_add(1);
        match retry::refused_event_delay(tries) {
            Some(delay) => {
                let delayed = log_lines::seconds(delay);
                warn!(key, event = %id, delayed, why, "The broker does not take an event; it is tried again later");
                outbox::defer(&self.pool, event.id, tries, delay).await
            }
            None => {
                error!(key, event = %id, tries, why, "An event is given up");
                outbox::give_up(&self.pool, event.id, why).await
            }
        }
    }
}

/// The properties of an event.
pub(crate) fn properties(message_id: &str, correlation_id: &str, traceparent: Option<&str>) -> BasicProperties {
    publisher::traced(traceparent)
        .with_message_id(message_id.into())
        .with_correlation_id(correlation_id.into())
        .with_content_type(EVENT_CONTENT_TYPE.into())
        .with_app_id("teamleader2db".into())
}
