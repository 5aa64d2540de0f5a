//! How much waits in the queues of an account, and whether a worker reads them. Only looked at: nothing is declared,
//! consumed or changed.

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use secrecy::SecretString;
use serde::Serialize;

use super::link::{self, AmqpError, REPLY_TIMEOUT, Refusal};
use super::topology::Names;
use crate::messages::QueueState;
use crate::retry::DELAY_STEPS;

/// How many messages wait in the queues of an account, but for what a worker has in hand; `None`: there is no such
/// queue, or this user may not look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Depths {
    /// Requests that wait for the worker.
    pub requests: Option<u32>,
    /// Whether a worker reads the queue of requests: RabbitMQ counts the active one, and none that is on standby.
    pub consumers: Option<u32>,
    /// Requests that wait in the delay queues, since the API was down.
    pub delayed: Option<u32>,
    /// Requests that the broker gave up and whose end is not reported yet.
    pub undelivered: Option<u32>,
    /// Dead letters, of all accounts under the prefix.
    pub dead: Option<u32>,
}

impl Depths {
    /// What the surfaces show of it, where a request usually takes this many requests to the API.
    pub fn state(&self, usual_api_requests: i64) -> QueueState {
        let cost = |requests: u32| i64::from(requests).saturating_mul(usual_api_requests);
        QueueState {
            requests: self.requests,
            expected_api_requests: self.requests.map(cost),
            delayed: self.delayed,
            dead: self.dead,
        }
    }

    /// Whether a worker reads the queue of requests; `None`: unknown.
    pub fn has_consumer(&self) -> Option<bool> {
        self.consumers.map(|workers| workers > 0)
    }
}

/// How much waits in the queues of an account.
pub async fn depths(url: &SecretString, names: &Names) -> Result<Depths, AmqpError> {
    let connection = link::connect(url, "teamleader2db queues").await?;
    let looked = look(&connection, names).await;
    link::close(&connection).await;
    looked
}

async fn look(connection: &Connection, names: &Names) -> Result<Depths, AmqpError> {
    let mut looks = Looks { connection, channel: None };
    let requests = looks.at(&names.requests_queue()).await?;
    let mut delayed = None;
    for seconds in DELAY_STEPS {
        if let Some(found) = looks.at(&names.delay_queue(seconds)).await? {
            delayed = Some(delayed.unwrap_or(0_u32).saturating_add(found.messages));
        }
    }
    Ok(Depths {
        requests: requests.map(|found| found.messages),
        consumers: requests.map(|found| found.consumers),
        delayed,
        undelivered: looks.at(&names.undelivered_queue()).await?.map(|found| found.messages),
        dead: looks.at(&names.dead()).await?.map(|found| found.messages),
    })
}

/// How many messages of a queue are in nobody's hands; `None`: there is no such queue.
pub(super) async fn waiting_in(connection: &Connection, queue: &str) -> Result<Option<u32>, AmqpError> {
    Ok(Looks { connection, channel: None }.at(queue).await?.map(|found| found.messages))
}

/// What the broker says of a queue.
#[derive(Clone, Copy)]
struct Found {
    messages: u32,
    consumers: u32,
}

/// Looks at one queue after the other.
struct Looks<'a> {
    connection: &'a Connection,
    /// The broker closes it where a queue is missing.
    channel: Option<Channel>,
}

impl Looks<'_> {
    async fn at(&mut self, queue: &str) -> Result<Option<Found>, AmqpError> {
        let channel = match self.channel.take() {
            Some(channel) => channel,
            None => link::with_deadline(REPLY_TIMEOUT, self.connection.create_channel()).await?,
        };
        let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
        let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
        match link::with_deadline(REPLY_TIMEOUT, declared).await {
            Ok(found) => {
                self.channel = Some(channel);
                Ok(Some(Found { messages: found.message_count(), consumers: found.consumer_count() }))
            }
            Err(AmqpError::Broker(error)) => match link::refusal(&error) {
                Some(Refusal::Missing | Refusal::Access) => Ok(None),
                _ => Err(error.into()),
            },
            Err(error) => Err(error),
        }
    }
}
