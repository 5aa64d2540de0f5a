//! Replies: final events that go to a queue which the sender of a request named.
//!
//! Whatever the broker does with a reply costs that reply alone. It has a connection of its own, since RabbitMQ closes
//! the one on which something is published that it does not understand; and no event and no acknowledgement waits for
//! it, since the event on the exchange is what counts. After a bounded number of tries it is given up.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::relay::{RelayError, properties};
use crate::broker::publisher::{Fate, Publisher};
use crate::broker::reply_address::ReplyAddresses;
use crate::ids::Account;
use crate::process::failpoints::{self, Point};
use crate::process::telemetry;
use crate::retry;
use crate::store::outbox::{self, Pending};
use crate::store::pool::{self, StoreError};

/// How often replies are looked for that nobody announced.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// No try takes longer than connecting and the broker's answer may: 15 and 20 s.
const TRY_LASTS: Duration = Duration::from_secs(40);

/// Replies that are left when the process ends are tried for this long; the next process sends the others.
const LAST_TRIES: Duration = Duration::from_secs(3);

/// Sends the replies of one account.
#[derive(Clone, Debug)]
pub struct Replies {
    pool: PgPool,
    account: Account,
    publisher: Publisher,
    addresses: ReplyAddresses,
    due: Arc<Notify>,
}

impl Replies {
    /// `publisher` is used for nothing else. `due` is notified where a reply may have been written.
    pub fn new(
        pool: PgPool,
        account: Account,
        publisher: Publisher,
        addresses: ReplyAddresses,
        due: Arc<Notify>,
    ) -> Self {
        Self { pool, account, publisher, addresses, due }
    }

    /// Sends replies until stopped, and then those that are left.
    pub async fn run(self, stop: CancellationToken) {
        let mut failing = false;
        loop {
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                () = self.due.notified() => false,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let sending = self.send_due();
            let sent = match stopped {
                true => tokio::time::timeout(LAST_TRIES, sending).await.unwrap_or(Ok(())),
                false => stop.run_until_cancelled(sending).await.unwrap_or(Ok(())),
            };
            let is_failing = sent.is_err();
            if let Err(error) = sent
                && !failing
            {
                let error = error.explained(&self.pool).await;
                warn!(%error, "Replies cannot be sent; they stay in the outbox");
            }
            if failing && !is_failing {
                info!("Replies are sent again");
            }
            failing = is_failing;
            if stopped {
                self.publisher.close().await;
                return;
            }
        }
    }

    /// Sends each reply that is due, once. An error says that the broker or the database is away, and nothing against a
    /// reply.
    async fn send_due(&self) -> Result<(), RelayError> {
        while let Some(reply) = pool::with_deadline(outbox::take_reply(&self.pool, &self.account, TRY_LASTS)).await? {
            if let Some(why) = self.obstacle(&reply) {
                self.give_up(&reply, why).await?;
                continue;
            }
            if let Err(error) = self.publisher.ready().await {
                let before = reply.tries.saturating_sub(1);
                pool::with_deadline(outbox::defer(&self.pool, reply.id, before, LOOK_EVERY)).await?;
                return Err(error.into());
            }
            self.send(&reply).await?;
        }
        Ok(())
    }

    /// Why a reply is not even tried: it may have been written under other rules, or have ended each process that tried
    /// it.
    fn obstacle(&self, reply: &Pending) -> Option<&'static str> {
        if !self.addresses.takes(&reply.routing_key) {
            return Some("no reply is sent to this address: see REPLY_TO_ALLOWED");
        }
        (reply.tries > retry::REPLY_TRIES).then_some("each try ended before the broker had answered")
    }

    async fn give_up(&self, reply: &Pending, why: &str) -> Result<(), StoreError> {
        let (queue, id) = (&reply.routing_key, reply.event_id);
        warn!(queue, event = %id, why, "A reply is given up; the event on the exchange holds the same");
        telemetry::reply("given_up");
        pool::with_deadline(outbox::give_up(&self.pool, reply.id, why)).await
    }

    async fn send(&self, reply: &Pending) -> Result<(), RelayError> {
        let correlation = reply.correlation_id.as_deref().unwrap_or_default();
        let properties = properties(&reply.event_id.to_string(), correlation, reply.traceparent.as_deref());
        let why = match self.publisher.offer("", &reply.routing_key, reply.payload.as_bytes(), properties).await {
            Ok(fate @ (Fate::Taken | Fate::Unrouted)) => {
                failpoints::reached(Point::ReplyConfirmed);
                telemetry::reply(if fate == Fate::Taken { "sent" } else { "unrouted" });
                return Ok(pool::with_deadline(outbox::sent(&self.pool, reply.id)).await?);
            }
            Ok(Fate::Nacked) => "the queue is full".to_owned(),
            // The broker answered to nothing else on this connection.
            Err(error) => error.to_string(),
        };
        match retry::reply_delay(reply.tries) {
            Some(delay) => pool::with_deadline(outbox::defer(&self.pool, reply.id, reply.tries, delay)).await?,
            None => self.give_up(reply, &why).await?,
        }
        Ok(())
    }
}
