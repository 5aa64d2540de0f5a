//! Requests that cannot be processed: the sender gets an event with the reason, and the message is dead-lettered, where
//! an operator can look at it.

use std::time::Duration;

use secrecy::SecretString;
use sqlx::PgPool;
use tracing::field::display;
use tracing::{Span, error, warn};

use super::delivery::{Received, request_of};
use super::relay::{Relay, RelayError};
use crate::broker::consumer::{Consumer, Message, PullConsumer};
use crate::broker::link::AmqpError;
use crate::broker::publisher::Publisher;
use crate::broker::reply_address::ReplyAddresses;
use crate::broker::topology::Names;
use crate::broker::wake;
use crate::ids::{Epoch, RunId};
use crate::messages::{self, Request};
use crate::process::failpoints::{self, Point};
use crate::process::log_lines;
use crate::process::panics;
use crate::process::telemetry;
use crate::store::lease;
use crate::store::pool::StoreError;
use crate::store::runs::finish::{self, Abandoned, Audience, Refusal};

/// Reports and dead-letters messages that cannot be processed. The caller acknowledges, once this has succeeded.
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
    /// Where replies may go.
    pub addresses: ReplyAddresses,
    /// Host and process, for the lease.
    pub holder: String,
}

impl DeadLetters {
    /// Reports the reason to the sender, then dead-letters the message.
    pub async fn reject(
        &self,
        received: &Received<'_>,
        id: Option<RunId>,
        reason: &str,
        label: &'static str,
    ) -> Result<(), RelayError> {
        self.reject_and_dead_letter(received, (id, Audience::Everyone), reason, label).await
    }

    /// The same for one who wants to join a run that goes on: nobody else hears of it, since it is not the run's end.
    pub async fn reject_joiner(&self, received: &Received<'_>, id: RunId, reason: &str) -> Result<(), RelayError> {
        self.reject_and_dead_letter(received, (Some(id), Audience::Sender), reason, "crowded").await
    }

    async fn reject_and_dead_letter(
        &self,
        received: &Received<'_>,
        (id, audience): (Option<RunId>, Audience),
        reason: &str,
        label: &'static str,
    ) -> Result<(), RelayError> {
        let message = received.message;
        if let Some(id) = id {
            Span::current().record("run", display(id));
        }
        warn!(
            reason,
            message_id = log_lines::foreign(message.message_id()),
            correlation_id = log_lines::foreign(message.correlation_id()),
            reply_to = log_lines::foreign(message.reply_to()),
            app_id = log_lines::foreign(message.app_id()),
            "A request is rejected"
        );
        let seed = messages::id_of_message(self.names.account(), received.message.body());
        let refusal = Refusal { id, seed, reason, reply: received.reply.clone(), audience };
        finish::refuse(&self.pool, self.names.account(), refusal).await?;
        self.relay.flush().await?;
        self.dead_letter(received.message, reason, label).await
    }

    /// A run was finished as failed, since each try to work on it fails: its message is dead-lettered, too.
    pub async fn dead_letter_given_up(&self, message: &Message, id: RunId, reason: &str) -> Result<(), RelayError> {
        error!(reason, "The run {id} is given up");
        self.relay.flush().await?;
        self.dead_letter(message, reason, "given_up").await
    }

    /// What stands in the database of this run cannot be read: it ends as failed, so that the next request gets its
    /// turn. One that has ended has its final event: what its sender gets now is of the message alone.
    pub async fn give_up_unreadable(
        &self,
        received: &Received<'_>,
        id: RunId,
        epoch: Epoch,
        why: &str,
    ) -> Result<(), RelayError> {
        let why = messages::shortened(why.to_owned(), messages::MAX_ERROR);
        let reason = format!("the run cannot be read: {why}. Send it again with a new request_id");
        let account = self.names.account();
        if finish::fail_unreadable(&self.pool, account, epoch, id, &reason, &received.reply).await? {
            return self.dead_letter_given_up(received.message, id, &reason).await;
        }
        self.reject(received, Some(id), &reason, "given_up").await
    }

    /// Requests that the broker itself gave up get their event too. A message that cannot even be read stays where it
    /// is: it must not keep the others waiting, so this has a connection of its own, and its failure ends nothing.
    /// While another worker is at a slice, it is left to that one: to take the lease would end the slice. `anothers` is
    /// how long such a slice may last; `None`: this worker is the active one.
    pub async fn dead_letter_undelivered(
        &self,
        consumer: &Consumer,
        anothers: Option<Duration>,
    ) -> Result<(), RelayError> {
        let queue = self.names.undelivered_queue();
        if consumer.waiting_in(&queue).await? == 0 {
            return Ok(());
        }
        if let Some(slice) = anothers
            && lease::is_anothers(&self.pool, self.names.account(), &self.holder, slice).await?
        {
            return Ok(());
        }
        let dead_lettered = self.dead_letter_all_of(&queue).await;
        if let Err(RelayError::Store(error)) = &dead_lettered
            && error.obstacle().is_some()
        {
            return dead_lettered;
        }
        if let Err(error) = dead_lettered {
            error!(%error, queue, "Requests that the broker gave up cannot be reported: look into the queue");
        }
        Ok(())
    }

    async fn dead_letter_all_of(&self, queue: &str) -> Result<(), RelayError> {
        let letters = PullConsumer::open(&self.amqp_url).await?;
        while let Some(message) = letters.take(queue).await? {
            match panics::caught(self.dead_letter_undelivered_message(&message)).await {
                Ok(dead_lettered) => dead_lettered?,
                Err(panicked) => {
                    let received = Received::new(&message, &self.addresses);
                    let reason = panicked.to_string();
                    let rejected = panics::caught(self.reject(&received, None, &reason, "panicked"));
                    match rejected.await {
                        Ok(rejected) => rejected?,
                        // It stays in hand until the connection ends. The next one must not wait for it.
                        Err(panicked) => {
                            error!(%panicked, queue, "A message that the broker gave up stays where it is");
                            continue;
                        }
                    }
                }
            }
            message.ack().await?;
        }
        letters.close().await;
        Ok(())
    }

    async fn dead_letter_undelivered_message(&self, message: &Message) -> Result<(), RelayError> {
        if wake::is_wake_up(message) {
            // It asks for nothing: hints that wait are found without it.
            return Ok(());
        }
        let received = Received::new(message, &self.addresses);
        let why = message.why_given_up();
        let reason = format!(
            "the broker gave the request up: {}. Send it again with a new request_id",
            match why {
                Some("expired") => "it waited longer than its expiration, or a policy's message-ttl, allows",
                // 1000 deliveries, or an older broker that does not say.
                _ => "it was delivered too often without being acknowledged, see the worker's log",
            }
        );
        match request_of(message) {
            Ok(Request { id: Some(id), parameters }) => {
                let epoch = lease::acquire(&self.pool, self.names.account(), &self.holder).await?;
                let delivered = received.delivered(id, &parameters);
                let poisonous = why != Some("expired");
                let account = self.names.account();
                let abandoned = finish::abandon(&self.pool, account, epoch, &delivered, poisonous, &reason).await;
                if let Err(error @ StoreError::Corrupt(_)) = &abandoned {
                    return self.give_up_unreadable(&received, id, epoch, &error.to_string()).await;
                }
                match abandoned? {
                    Abandoned::Ended | Abandoned::GoesOn => {
                        self.relay.flush().await?;
                        self.dead_letter(message, &reason, "undelivered").await?;
                    }
                    Abandoned::HasBegun => self.deliver_again(message).await?,
                    Abandoned::Conflict => self.reject(&received, Some(id), &reason, "undelivered").await?,
                }
            }
            Ok(Request { id: None, .. }) => self.reject(&received, None, &reason, "undelivered").await?,
            Err(bad) => self.reject(&received, bad.id, &format!("{reason}. {}", bad.reason), "undelivered").await?,
        }
        Ok(())
    }

    /// A run that has started does not expire: its request goes back to the queue, as it was but for the expiration.
    async fn deliver_again(&self, message: &Message) -> Result<(), AmqpError> {
        let properties = message.copy_properties(message.slice());
        let (exchange, key) = (self.names.requests_exchange(), self.names.account().as_str());
        self.publisher.publish(&exchange, key, message.body(), properties).await?;
        Ok(())
    }

    async fn dead_letter(&self, message: &Message, reason: &str, label: &'static str) -> Result<(), RelayError> {
        let properties = message.dead_properties(reason);
        failpoints::reached(Point::DeadLetterWanted);
        self.publisher.publish(&self.names.dead(), self.names.account().as_str(), message.body(), properties).await?;
        failpoints::reached(Point::DeadLetterConfirmed);
        telemetry::dead_lettered(label);
        Ok(())
    }
}
