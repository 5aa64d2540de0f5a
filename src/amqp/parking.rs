//! Token pairs that the database could not take, parked in a durable queue of the account.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ErrorKind};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::warn;

use super::link::{self, AmqpError, REPLY_TIMEOUT};
use super::publisher::{Publisher, Reach};
use super::topology::Names;
use crate::fault::{self, Point};
use crate::store::tokens::{Parking, StoredOutcome};

/// How long to wait for another process to be done, which takes as long as storing a pair. One that froze at it has the lock until
/// the broker notices.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two tries to get the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(250);

/// The queue of one account's parked pairs. What is in it is sealed: the broker sees no token.
///
/// A pair in one process's hand is in nobody's queue: another one that looked meanwhile would find none, and send the old token.
/// So whoever takes pairs holds a lock: a queue that only its connection may use, and that goes with the connection.
#[derive(Clone, Debug)]
pub struct TokenQueue {
    publisher: Publisher,
    queue: String,
    lock: String,
    /// The parts of a process wait for each other without asking the broker.
    taking: Arc<Mutex<()>>,
    told_without_lock: Arc<AtomicBool>,
}

impl TokenQueue {
    /// The queue must have been declared.
    pub fn new(publisher: Publisher, names: &Names) -> Self {
        let (queue, lock) = (names.tokens_queue(), names.tokens_lock());
        Self { publisher, queue, lock, taking: Arc::default(), told_without_lock: Arc::default() }
    }

    async fn take_all(&self, store: &(dyn Fn(Vec<u8>) -> StoredOutcome + Sync)) -> Result<(), AmqpError> {
        let _one_at_a_time = self.taking.lock().await;
        // Whatever happens, the lock and what is in hand go with the connection.
        let connection = self.publisher.connect_anew("parked token pairs").await?;
        let channel = self.lock(&connection).await?;
        let taken = self.take_each(&channel, store).await;
        link::close(&connection).await;
        taken
    }

    /// Takes the broker's lock, for which it waits a moment. A user that may not declare it goes without. Gives a channel.
    async fn lock(&self, connection: &Connection) -> Result<Channel, AmqpError> {
        let begun = Instant::now();
        loop {
            let channel = link::within(REPLY_TIMEOUT, connection.create_channel()).await?;
            let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
            let declared = channel.queue_declare(self.lock.as_str().into(), options, FieldTable::default());
            let error = match link::within(REPLY_TIMEOUT, declared).await {
                Ok(_) => return Ok(channel),
                Err(AmqpError::Broker(error)) => error,
                Err(error) => return Err(error),
            };
            if is_soft(&error, &AMQPSoftError::ACCESSREFUSED) {
                if !self.told_without_lock.swap(true, Ordering::Relaxed) {
                    warn!(
                        queue = self.lock,
                        "Parked token pairs are read without a lock: grant configure on this name"
                    );
                }
                // The refusal has closed the channel.
                return link::within(REPLY_TIMEOUT, connection.create_channel()).await;
            }
            if !is_soft(&error, &AMQPSoftError::RESOURCELOCKED) {
                return Err(error.into());
            }
            if begun.elapsed() >= LOCK_TIMEOUT {
                return Err(AmqpError::ParkedElsewhere);
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }

    async fn publish(&self, sealed: &[u8]) -> Result<(), AmqpError> {
        let properties = BasicProperties::default().with_content_type("application/octet-stream".into());
        self.publisher.publish("", &self.queue, sealed, properties, Reach::AQueue).await.map(drop)
    }

    async fn take_each(
        &self,
        channel: &Channel,
        store: &(dyn Fn(Vec<u8>) -> StoredOutcome + Sync),
    ) -> Result<(), AmqpError> {
        let get = || channel.basic_get(self.queue.as_str().into(), BasicGetOptions::default());
        while let Some(message) = link::within(REPLY_TIMEOUT, get()).await? {
            match store(message.delivery.data.clone()).await {
                Ok(()) => {
                    fault::reached(Point::ParkedPairStored);
                    _ = link::within(REPLY_TIMEOUT, message.delivery.acker.ack(BasicAckOptions::default())).await?
                }
                Err(error) => {
                    warn!(%error, "A parked token pair could not be stored and stays parked");
                    // As a new message: RabbitMQ 4 drops one that was put back 20 times.
                    self.publish(&message.delivery.data).await?;
                    _ = link::within(REPLY_TIMEOUT, message.delivery.acker.ack(BasicAckOptions::default())).await?;
                    return Err(AmqpError::Parked(error.to_string()));
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Parking for TokenQueue {
    async fn put(&self, sealed: Vec<u8>) -> Result<(), String> {
        self.publish(&sealed).await.map_err(|error| error.to_string())
    }

    async fn drain(&self, store: &(dyn Fn(Vec<u8>) -> StoredOutcome + Sync)) -> Result<(), String> {
        self.take_all(store).await.map_err(|error| error.to_string())
    }
}

fn is_soft(error: &lapin::Error, kind: &AMQPSoftError) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if *error.kind() == AMQPErrorKind::Soft(kind.clone()))
}
