//! Requests that cannot be processed: whoever waits is told, and the message is kept where a person can look at it.

use std::time::Duration;

use secrecy::SecretString;
use sqlx::PgPool;
use tracing::{error, warn};
use uuid::Uuid;

use crate::amqp::consumer::{Consumer, Mailbox, Message};
use crate::amqp::link::AmqpError;
use crate::amqp::publisher::{Publisher, Reach};
use crate::amqp::topology::Names;
use crate::delivery::{delivered, reply_of};
use crate::fault::{self, Point};
use crate::ids::RunId;
use crate::message::{self, Request};
use crate::relay::{Relay, RelayError};
use crate::store::ending::{self, Abandoned};
use crate::store::{journal, lease};
use crate::telemetry;

/// Tells of and keeps what cannot be processed. The caller acknowledges, once this has succeeded.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    /// The broker, for what it gave up itself.
    pub amqp_url: SecretString,
    /// Exchanges and queues.
    pub names: Names,
    /// The database.
    pub pool: PgPool,
    /// Publishes the messages.
    pub publisher: Publisher,
    /// Sends the events.
    pub relay: Relay,
    /// Host and process, for the lease.
    pub holder: String,
}

impl DeadLetters {
    /// Tells the sender why, then keeps the message where a person can look at it.
    pub async fn refuse(
        &self,
        message: &Message,
        id: Option<RunId>,
        reason: &str,
        label: &'static str,
    ) -> Result<(), RelayError> {
        let seed = message::id_of_message(self.names.account(), message.body());
        let id = id.map_or(seed, |id| id.0);
        self.tell_and_bury(message, (id, seed), reason, label, true).await
    }

    /// The same for one who wants to join a run that goes on: nobody else hears of it, since it is not the run's end.
    pub async fn turn_away(&self, message: &Message, id: RunId, reason: &str) -> Result<(), RelayError> {
        let sender = reply_of(message);
        let sender = format!("{:?}", (sender.reply_to, sender.correlation_id));
        let seed = message::id_of_message(self.names.account(), sender.as_bytes());
        self.tell_and_bury(message, (id.0, seed), reason, "crowded", false).await
    }

    async fn tell_and_bury(
        &self,
        message: &Message,
        ids: (Uuid, Uuid),
        reason: &str,
        label: &'static str,
        to_all: bool,
    ) -> Result<(), RelayError> {
        warn!(reason, "A request is refused");
        ending::refuse(&self.pool, self.names.account(), ids, reason, reply_of(message), to_all).await?;
        self.relay.flush().await?;
        self.bury(message, reason, label).await
    }

    /// A run that crashes whoever works on it was finished as failed.
    pub async fn bury_given_up(&self, message: &Message, id: RunId) -> Result<(), RelayError> {
        let reason = format!(
            "the run was begun {} times without progress: see the worker's log, and send it again with a new request_id",
            journal::MAX_ATTEMPTS
        );
        error!(run = %id, reason, "A run is given up");
        self.relay.flush().await?;
        self.bury(message, &reason, "given_up").await
    }

    /// Requests that the broker itself gave up get their event too. A message that cannot even be read stays where it is: it must
    /// not keep the others waiting, so this has a connection of its own, and its failure ends nothing. While another worker is at a
    /// slice, it is left to that one: to take the lease would end the slice. `anothers` is how long such a slice may last; `None`: this
    /// worker is the active one.
    pub async fn bury_undelivered(&self, consumer: &Consumer, anothers: Option<Duration>) -> Result<(), RelayError> {
        let queue = self.names.undelivered_queue();
        if consumer.waiting_in(&queue).await? == 0 {
            return Ok(());
        }
        if let Some(slice) = anothers
            && lease::is_anothers(&self.pool, self.names.account(), &self.holder, slice).await?
        {
            return Ok(());
        }
        if let Err(error) = self.bury_all_of(&queue).await {
            error!(%error, queue, "Requests that the broker gave up cannot be told of: look into the queue");
        }
        Ok(())
    }

    async fn bury_all_of(&self, queue: &str) -> Result<(), RelayError> {
        let letters = Mailbox::open(&self.amqp_url).await?;
        while let Some(message) = letters.take(queue).await? {
            let why = message.why_given_up();
            let reason = format!(
                "the broker gave the request up: {}. Send it again with a new request_id",
                match why {
                    Some("expired") => "it waited longer than its expiration, or a policy's message-ttl, allows",
                    // 1000 deliveries, or an older broker that does not say.
                    _ => "it was delivered too often without being acknowledged, see the worker's log",
                }
            );
            match Request::parse(message.body(), message.message_id()) {
                Ok(Request { id: Some(id), parameters }) => {
                    let epoch = lease::take(&self.pool, self.names.account(), &self.holder).await?;
                    let delivered = delivered(&message, id, &parameters);
                    let poisonous = why != Some("expired");
                    let account = self.names.account();
                    match ending::abandon(&self.pool, account, epoch, &delivered, poisonous, &reason).await? {
                        Abandoned::Ended | Abandoned::GoesOn => {
                            self.relay.flush().await?;
                            self.bury(&message, &reason, "undelivered").await?;
                        }
                        Abandoned::HasBegun => self.deliver_again(&message).await?,
                        Abandoned::Conflict => self.refuse(&message, Some(id), &reason, "undelivered").await?,
                    }
                }
                Ok(Request { id: None, .. }) => self.refuse(&message, None, &reason, "undelivered").await?,
                Err(bad) => self.refuse(&message, bad.id, &reason, "undelivered").await?,
            }
            message.ack().await?;
        }
        letters.close().await;
        Ok(())
    }

    /// A run that has begun does not expire: its request goes back to the queue, as it was but for the expiration.
    async fn deliver_again(&self, message: &Message) -> Result<(), AmqpError> {
        let properties = message.copy_properties(message.slice());
        let (exchange, key) = (self.names.requests_exchange(), self.names.account().as_str());
        self.publisher.publish(&exchange, key, message.body(), properties, Reach::AQueue).await?;
        Ok(())
    }

    async fn bury(&self, message: &Message, reason: &str, label: &'static str) -> Result<(), RelayError> {
        let properties = message.dead_properties(reason);
        fault::reached(Point::DeadLetterWanted);
        self.publisher
            .publish(&self.names.dead(), self.names.account().as_str(), message.body(), properties, Reach::AQueue)
            .await?;
        fault::reached(Point::DeadLetterConfirmed);
        telemetry::dead_lettered(label);
        Ok(())
    }
}
