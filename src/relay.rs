//! The outbox: events go to the broker in order, and are marked sent when it has confirmed them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::BasicProperties;
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::amqp::link::AmqpError;
use crate::amqp::publisher::{self, Publisher, Reach};
use crate::amqp::topology::Names;
use crate::fault::{self, Point};
use crate::ids::TraceParent;
use crate::message::{EVENT_CONTENT_TYPE, Event, RunReport};
use crate::store::outbox::{self, Pending};
use crate::store::pool::{self, StoreError};
use crate::telemetry;

/// How often the outbox is looked at for what nobody waits for.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Events that are read at a time.
const BATCH: i64 = 100;

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

/// Sends the events of one account.
#[derive(Clone, Debug)]
pub struct Relay {
    pool: PgPool,
    publisher: Publisher,
    names: Names,
    /// One at a time, so that the order holds.
    sending: Arc<Mutex<()>>,
    /// Whether it was said that nobody listens; the counter tells how often.
    told_unrouted: Arc<AtomicBool>,
}

impl Relay {
    /// From the account's outbox to the broker.
    pub fn new(pool: PgPool, publisher: Publisher, names: Names) -> Self {
        Self { pool, publisher, names, sending: Arc::default(), told_unrouted: Arc::default() }
    }

    /// Sends all that is pending. When it returns `Ok`, the broker has confirmed every event that was in the outbox at the call.
    pub async fn flush(&self) -> Result<(), RelayError> {
        let _one_at_a_time = self.sending.lock().await;
        loop {
            let pending = pool::answered(outbox::pending(&self.pool, self.names.account(), BATCH)).await?;
            if pending.is_empty() {
                telemetry::outbox_pending(0);
                return Ok(());
            }
            for event in &pending {
                fault::reached(Point::EventWanted);
                self.send(event).await?;
                fault::reached(Point::EventConfirmed);
                pool::answered(outbox::sent(&self.pool, event.id)).await?;
                fault::reached(Point::EventMarked);
            }
        }
    }

    /// Tells how far a run is. Not kept: lost when the broker is away.
    pub async fn tell_progress(&self, report: &RunReport, traceparent: Option<&TraceParent>) {
        let event = Event::of_run(report);
        let key = event.kind.routing_key(self.names.account());
        let traceparent = traceparent.map(TraceParent::as_str);
        let properties = properties(&event.id.to_string(), &event.subject, traceparent);
        let exchange = self.names.events_exchange();
        let sent = self.publisher.publish(&exchange, &key, event.payload.as_bytes(), properties, Reach::Anyone).await;
        if let Err(error) = sent {
            warn!(%error, "A progress event could not be sent");
        }
    }

    /// Looks at the outbox now and then until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut failing = false;
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            match self.flush().await {
                Ok(()) if failing => {
                    failing = false;
                    info!("Events are sent again");
                }
                Ok(()) => {}
                Err(error) => {
                    // Once, not every two seconds: the gauge and /health/ready tell that it lasts.
                    if !failing {
                        warn!(%error, "Events cannot be sent; they stay in the outbox");
                    }
                    failing = true;
                    let count = pool::answered(outbox::count_pending(&self.pool, self.names.account())).await;
                    if let Ok(count) = count {
                        telemetry::outbox_pending(count);
                    }
                }
            }
        }
    }

    async fn send(&self, event: &Pending) -> Result<(), AmqpError> {
        let correlation = event.correlation_id.as_deref().unwrap_or_default();
        let properties = properties(&event.event_id.to_string(), correlation, event.traceparent.as_deref());
        let events = self.names.events_exchange();
        let (exchange, key) = match &event.reply_to {
            Some(queue) => ("", queue.as_str()),
            None => (events.as_str(), event.routing_key.as_str()),
        };
        let taken = self.publisher.publish(exchange, key, event.payload.as_bytes(), properties, Reach::Anyone).await?;
        if !taken {
            telemetry::unrouted();
            if !self.told_unrouted.swap(true, Ordering::Relaxed) {
                info!(key, "Nobody is bound for an event; this is said once, and counted");
            }
        }
        Ok(())
    }
}

fn properties(message_id: &str, correlation_id: &str, traceparent: Option<&str>) -> BasicProperties {
    publisher::traced(traceparent)
        .with_message_id(message_id.into())
        .with_correlation_id(correlation_id.into())
        .with_content_type(EVENT_CONTENT_TYPE.into())
        .with_app_id("teamleader2db".into())
}
