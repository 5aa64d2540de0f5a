//! Listening to an account's events, on a queue that goes with its connection.

use futures_util::StreamExt;
use lapin::Connection;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use secrecy::SecretString;

use super::link::{self, AmqpError, REPLY_TIMEOUT};
use super::topology::{Declare, Names};
use crate::messages::EventKind;

/// An event takes some kilobytes, more where many resources failed with long errors. This is the largest message on
/// RabbitMQ 4.
const EVENT_BOUND: u64 = 16 * 1024 * 1024;

/// Hears each event of an account that is published from now on.
#[derive(Debug)]
pub struct Listener {
    connection: Connection,
    stream: lapin::Consumer,
}

impl Listener {
    /// Connects, makes sure that the exchanges and queues are there, and binds a queue of its own to the account's
    /// events. `name` is shown in the broker's list of connections. The connection ends with the value.
    pub async fn open(url: &SecretString, names: &Names, declare: Declare, name: &str) -> Result<Self, AmqpError> {
        let connection = link::connect_for_bodies_of(EVENT_BOUND, url, name).await?;
        names.declare(&connection, declare).await?;
        let channel = link::with_deadline(REPLY_TIMEOUT, connection.create_channel()).await?;
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        let declared = channel.queue_declare("".into(), options, FieldTable::default());
        let queue = link::with_deadline(REPLY_TIMEOUT, declared).await?.name().clone();
        let bound = channel.queue_bind(
            queue.clone(),
            names.events_exchange().as_str().into(),
            EventKind::routing_pattern(names.account()).as_str().into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        link::with_deadline(REPLY_TIMEOUT, bound).await?;
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let consumed = channel.basic_consume(queue, "".into(), options, FieldTable::default());
        let stream = link::with_deadline(REPLY_TIMEOUT, consumed).await?;
        Ok(Self { connection, stream })
    }

    /// The text of the next event. An error means that no more come. Cancel-safe.
    pub async fn next(&mut self) -> Result<String, AmqpError> {
        let delivery = self.stream.next().await.ok_or(AmqpError::Ended)??;
        Ok(String::from_utf8_lossy(&delivery.data).into_owned())
    }

    /// Closes the connection.
    pub async fn close(self) {
        link::close(&self.connection).await;
    }
}
