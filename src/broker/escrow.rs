//! Token pairs that the database could not take, escrowed in a durable queue of the account.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lapin::BasicProperties;
use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{error, warn};

use super::consumer::{Lock, Message, PullConsumer};
use super::link::AmqpError;
use super::publisher::Publisher;
use super::topology::Names;
use crate::process::failpoints::{self, Point};
use crate::process::telemetry;
use crate::store::tokens::{Escrow, EscrowOutcome, StoringEscrowed};

/// How long to wait for another process to be done, which takes as long as storing a pair. One that froze at it has the
/// lock until the broker notices.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two tries to get the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(250);

/// The queue of one account's escrowed pairs. Its messages are sealed: the broker sees no token.
///
/// A pair in one process's hand is in nobody's queue: another one that looked meanwhile would find none, and send the
/// old token. So a process that takes pairs holds a lock: a queue that only its connection may use, and that goes with
/// the connection.
#[derive(Clone, Debug)]
pub struct TokenQueue {
    amqp_url: SecretString,
    publisher: Publisher,
    names: Names,
    /// The parts of a process wait for each other without asking the broker.
    taking: Arc<Mutex<()>>,
    warned_without_lock: Arc<AtomicBool>,
}

impl TokenQueue {
    /// The queue must have been declared.
    pub fn new(amqp_url: SecretString, publisher: Publisher, names: &Names) -> Self {
        Self { amqp_url, publisher, names: names.clone(), taking: Arc::default(), warned_without_lock: Arc::default() }
    }

    async fn take_all(&self, store: &(dyn Fn(Vec<u8>) -> StoringEscrowed + Sync)) -> Result<(), AmqpError> {
        let _one_at_a_time = self.taking.lock().await;
        // Whatever happens, the lock and the pair in hand go with its connection.
        let mut consumer = PullConsumer::open(&self.amqp_url).await?;
        self.lock(&mut consumer).await?;
        let taken = self.take_each(&consumer, store).await;
        consumer.close().await;
        taken
    }

    /// Takes the broker's lock, for which it waits a moment. A user that may not declare it goes without.
    async fn lock(&self, consumer: &mut PullConsumer) -> Result<(), AmqpError> {
        let started = Instant::now();
        let lock = self.names.tokens_lock();
        loop {
            match consumer.lock(&lock).await? {
                Lock::Taken => return Ok(()),
                Lock::Forbidden => {
                    if !self.warned_without_lock.swap(true, Ordering::Relaxed) {
                        let fix = "grant the broker's user configure on this name";
                        warn!(queue = lock, fix, "Escrowed token pairs are read without a lock");
                    }
                    return Ok(());
                }
                Lock::Elsewhere if started.elapsed() >= LOCK_TIMEOUT => return Err(AmqpError::EscrowedElsewhere),
                Lock::Elsewhere => tokio::time::sleep(LOCK_PAUSE).await,
            }
        }
    }

    async fn take_each(
        &self,
        consumer: &PullConsumer,
        store: &(dyn Fn(Vec<u8>) -> StoringEscrowed + Sync),
    ) -> Result<(), AmqpError> {
        while let Some(message) = consumer.take(&self.names.tokens_queue()).await? {
            let stored = store(message.body().to_vec()).await;
            match &stored {
                Ok(EscrowOutcome::Stored) => failpoints::reached(Point::ParkedPairStored),
                Ok(EscrowOutcome::Foreign(reason)) => {
                    if let Err(error) = self.set_aside(&message, reason).await {
                        // It stays in hand until the connection ends, and behind those that follow it.
                        error!(%error, "A foreign message among the escrowed token pairs cannot be moved away");
                        continue;
                    }
                }
                Err(error) => {
                    warn!(%error, "An escrowed token pair could not be stored and stays escrowed");
                    // As a new message: RabbitMQ 4 drops one that was put back 20 times.
                    self.publish(message.body()).await?;
                }
            }
            message.ack().await?;
            stored.map_err(|error| AmqpError::Escrowed(error.to_string()))?;
        }
        Ok(())
    }

    /// What cannot be read must not stand before every refresh: it goes where an operator looks, with an alert.
    async fn set_aside(&self, message: &Message, reason: &str) -> Result<(), AmqpError> {
        let (exchange, queue) = (self.names.dead(), self.names.tokens_queue());
        error!(queue, reason, "A message among the escrowed token pairs cannot be used and is moved to {exchange}");
        let properties = message.dead_properties(reason);
        self.publisher.publish(&exchange, self.names.account().as_str(), message.body(), properties).await?;
        telemetry::dead_lettered("token_pair");
        Ok(())
    }

    async fn publish(&self, sealed: &[u8]) -> Result<(), AmqpError> {
        let properties = BasicProperties::default().with_content_type("application/octet-stream".into());
        self.publisher.publish("", &self.names.tokens_queue(), sealed, properties).await
    }
}

#[async_trait]
impl Escrow for TokenQueue {
    async fn put(&self, sealed: Vec<u8>) -> Result<(), String> {
        self.publish(&sealed).await.map_err(|error| error.to_string())
    }

    async fn drain(&self, store: &(dyn Fn(Vec<u8>) -> StoringEscrowed + Sync)) -> Result<(), String> {
        self.take_all(store).await.map_err(|error| error.to_string())
    }
}
