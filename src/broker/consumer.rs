//! Consuming: one message in hand at a time, on a connection of its own.

use futures_util::StreamExt;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ErrorKind, Queue};
use secrecy::SecretString;
use tracing::warn;

use super::link::{self, AmqpError, REPLY_TIMEOUT};
pub use super::message::Message;
use super::topology::{Declare, Differing, Names};

const TAG: &str = "teamleader2db";

/// Consumes the requests of an account. The queue lets only one consumer be active.
#[derive(Debug)]
pub struct Consumer {
    connection: Connection,
    channel: Channel,
    stream: lapin::Consumer,
    on_standby: bool,
}

impl Consumer {
    /// Makes sure that all queues are there, without consuming.
    pub async fn prepare(url: &SecretString, names: &Names, declare: Declare) -> Result<(), AmqpError> {
        let connection = link::connect(url, &format!("teamleader2db {} start", names.account())).await?;
        names.declare(&connection, declare).await?;
        link::with_deadline(REPLY_TIMEOUT, connection.close(200, "done".into())).await
    }

    /// Connects, makes sure that all queues are there, and consumes. The connection ends with the value.
    pub async fn open(url: &SecretString, names: &Names, declare: Declare) -> Result<Self, AmqpError> {
        let connection = link::connect(url, &format!("teamleader2db {} consumer", names.account())).await?;
        for Differing { queue, argument } in names.declare(&connection, declare).await? {
            warn!(
                queue,
                argument, "A queue has another setting than it is declared with, and is used as it is: see `doctor`"
            );
        }
        let channel = link::with_deadline(REPLY_TIMEOUT, connection.create_channel()).await?;
        link::with_deadline(REPLY_TIMEOUT, channel.basic_qos(1, BasicQosOptions::default())).await?;
        let queue = names.requests_queue();
        // Of several RabbitMQ counts the active one alone, so this asks before it is one of them.
        let on_standby = look_at(&channel, &queue).await?.consumer_count() > 0;
        let consumed = channel.basic_consume(
            queue.as_str().into(),
            TAG.into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let stream = link::with_deadline(REPLY_TIMEOUT, consumed).await?;
        Ok(Self { connection, channel, stream, on_standby })
    }

    /// The next message. An error means that nothing more comes, and that a message in hand will be delivered again.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Result<Message, AmqpError> {
        match self.stream.next().await {
            Some(Ok(delivery)) => Ok(Message::new(delivery)),
            Some(Err(error)) => Err(error.into()),
            None => Err(AmqpError::Ended),
        }
    }

    /// Asks for no more messages; the one in hand stays in hand. Another consumer becomes active.
    pub async fn cancel(&mut self) -> Result<(), AmqpError> {
        link::with_deadline(REPLY_TIMEOUT, self.channel.basic_cancel(TAG.into(), BasicCancelOptions::default())).await
    }

    /// How many messages wait in a queue.
    pub async fn waiting_in(&self, queue: &str) -> Result<u32, AmqpError> {
        Ok(look_at(&self.channel, queue).await?.message_count())
    }

    /// Whether another consumer was active when this one came.
    pub fn came_on_standby(&self) -> bool {
        self.on_standby
    }

    /// Closes the connection; a message in hand goes back to the queue.
    pub async fn close(self) {
        link::close(&self.connection).await;
    }
}

/// Takes single messages, on a connection of its own.
#[derive(Debug)]
pub struct PullConsumer {
    connection: Connection,
    channel: Channel,
    /// Open for as long as the lock is held.
    lock: Option<Channel>,
}

/// What came of wanting a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// It is held until the connection ends.
    Taken,
    /// Another connection holds it.
    Elsewhere,
    /// This user may not declare it.
    Forbidden,
}

impl PullConsumer {
    /// Connects. The connection ends with the value.
    pub async fn open(url: &SecretString) -> Result<Self, AmqpError> {
        let connection = link::connect(url, "teamleader2db consumer").await?;
        let channel = link::with_deadline(REPLY_TIMEOUT, connection.create_channel()).await?;
        Ok(Self { connection, channel, lock: None })
    }

    /// Declares a queue that no other connection may use: a lock that goes with this one, however it ends.
    pub async fn lock(&mut self, queue: &str) -> Result<Lock, AmqpError> {
        // The broker closes a channel that it refuses something on.
        let channel = link::with_deadline(REPLY_TIMEOUT, self.connection.create_channel()).await?;
        let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
        match link::with_deadline(REPLY_TIMEOUT, declared).await {
            Ok(_) => {
                self.lock = Some(channel);
                Ok(Lock::Taken)
            }
            Err(AmqpError::Broker(error)) if is_soft(&error, &AMQPSoftError::RESOURCELOCKED) => Ok(Lock::Elsewhere),
            Err(AmqpError::Broker(error)) if is_soft(&error, &AMQPSoftError::ACCESSREFUSED) => Ok(Lock::Forbidden),
            Err(error) => Err(error),
        }
    }

    /// The connection, for what else is to be asked of the broker.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Takes a message from a queue, if there is one.
    pub async fn take(&self, queue: &str) -> Result<Option<Message>, AmqpError> {
        let got = link::with_deadline(REPLY_TIMEOUT, self.channel.basic_get(queue.into(), BasicGetOptions::default()))
            .await?;
        Ok(got.map(|got| Message::new(got.delivery)))
    }

    /// Closes the connection.
    pub async fn close(self) {
        link::close(&self.connection).await;
    }
}

async fn look_at(channel: &Channel, queue: &str) -> Result<Queue, AmqpError> {
    let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
    link::with_deadline(REPLY_TIMEOUT, channel.queue_declare(queue.into(), options, FieldTable::default())).await
}

fn is_soft(error: &lapin::Error, kind: &AMQPSoftError) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if *error.kind() == AMQPErrorKind::Soft(kind.clone()))
}
