//! Publishing, on a connection of its own: a blocked connection stops all writes, acks too.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use secrecy::SecretString;
use tokio::sync::Mutex;

use super::link::{self, AmqpError, REPLY_TIMEOUT};
use crate::process::failpoints::{self, Point};

/// How often a connection that the broker has blocked is looked at.
const LOOK_AT_ALARM: Duration = Duration::from_millis(100);

/// What the broker did with a message that it answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Each queue that it was routed to has it.
    Taken,
    /// No queue was bound for it.
    Unrouted,
    /// A queue that it was routed to did not take it, because it is full. Others may have it.
    Nacked,
}

/// Publishes, one message after the other, each confirmed by the broker. Connects when needed, and again after an
/// error.
#[derive(Clone, Debug)]
pub struct Publisher {
    url: SecretString,
    name: String,
    open: Arc<Mutex<Option<Open>>>,
}

struct Open {
    connection: Connection,
    channel: Channel,
    /// Whether the broker has answered whatever was published. If not, the channel is in no known state.
    settled: bool,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("connected", &self.connection.status().connected()).finish()
    }
}

/// The header for a place in a trace (W3C Trace Context).
pub const TRACEPARENT: &str = "traceparent";

/// Properties with a place in a trace, if there is one.
pub fn traced(traceparent: Option<&str>) -> BasicProperties {
    let Some(traceparent) = traceparent else { return BasicProperties::default() };
    let mut headers = FieldTable::default();
    headers.insert(TRACEPARENT.into(), AMQPValue::LongString(traceparent.into()));
    BasicProperties::default().with_headers(headers)
}

impl Publisher {
    /// For the broker at `url`; `name` is shown in the broker's list of connections. Does not connect yet.
    pub fn new(url: SecretString, name: &str) -> Self {
        Self { url, name: name.to_owned(), open: Arc::default() }
    }

    /// Publishes what must reach a queue, and waits until the broker has confirmed it. Where no queue takes it, that is
    /// an error.
    ///
    /// After an error the message may be there all the same.
    pub async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), AmqpError> {
        let to = || {
            if exchange.is_empty() { routing_key.to_owned() } else { format!("{exchange} ({routing_key})") }
        };
        match self.offer(exchange, routing_key, body, properties).await? {
            Fate::Taken => Ok(()),
            Fate::Unrouted => Err(AmqpError::Unroutable(to())),
            Fate::Nacked => Err(AmqpError::Refused(to())),
        }
    }

    /// Publishes what nobody may be bound for, and waits until the broker has answered.
    ///
    /// After an error the message may be there all the same.
    pub async fn offer(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<Fate, AmqpError> {
        let mut open = self.open.lock().await;
        let current = self.usable(&mut open).await?;
        current.settled = false;
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let published = async {
            let confirm = current
                .channel
                .basic_publish(exchange.into(), routing_key.into(), options, body, properties.with_delivery_mode(2))
                .await?;
            failpoints::reached(Point::MessagePublished);
            confirm.await
        };
        // Without an answer the connection stays for the time being: one that is blocked cannot even be closed, and
        // lapin's thread, its socket and buffers would stay for as long as the alarm lasts, one more with each try.
        let confirmation = link::with_deadline(REPLY_TIMEOUT, published).await?;
        current.settled = true;
        match confirmation {
            Confirmation::Ack(None) => Ok(Fate::Taken),
            Confirmation::Ack(Some(_)) => Ok(Fate::Unrouted),
            Confirmation::Nack(_) => Ok(Fate::Nacked),
            // The channel is in confirm mode.
            Confirmation::NotRequested => Err(AmqpError::Ended),
        }
    }

    /// Makes sure that there is a connection from which the broker takes messages: an error says nothing against what
    /// is to be published.
    pub async fn ready(&self) -> Result<(), AmqpError> {
        self.usable(&mut *self.open.lock().await).await.map(drop)
    }

    async fn usable<'a>(&self, open: &'a mut Option<Open>) -> Result<&'a mut Open, AmqpError> {
        if open.as_ref().is_some_and(Open::is_blocked) {
            unblocked(open.as_ref()).await?;
        }
        Ok(match open.take().filter(Open::is_usable) {
            Some(usable) => open.insert(usable),
            None => open.insert(self.connect().await?),
        })
    }

    /// Closes the connection, if one is open.
    pub async fn close(&self) {
        if let Some(open) = self.open.lock().await.take() {
            link::close(&open.connection).await;
        }
    }

    async fn connect(&self) -> Result<Open, AmqpError> {
        let connection = link::connect(&self.url, &self.name).await?;
        let channel = link::with_deadline(REPLY_TIMEOUT, connection.create_channel()).await?;
        link::with_deadline(REPLY_TIMEOUT, channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Open { connection, channel, settled: true })
    }
}

impl Open {
    fn is_usable(&self) -> bool {
        self.settled && self.connection.status().connected() && self.channel.status().connected()
    }

    /// Whether the broker takes nothing from this connection, because of a memory or disk alarm.
    fn is_blocked(&self) -> bool {
        self.connection.status().connected() && self.connection.status().blocked()
    }
}

/// Waits until the broker takes messages again, as long as for a confirm.
async fn unblocked(open: Option<&Open>) -> Result<(), AmqpError> {
    let waiting = async {
        while open.is_some_and(Open::is_blocked) {
            tokio::time::sleep(LOOK_AT_ALARM).await;
        }
    };
    tokio::time::timeout(REPLY_TIMEOUT, waiting).await.map_err(|_| AmqpError::NoAnswer(REPLY_TIMEOUT))
}
