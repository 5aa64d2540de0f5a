//! The queue of dead letters: each is looked at, and stays, is sent again or is dropped.
//!
//! **A look uses up no delivery.** A quorum queue counts a delivery of each message that is returned to it: by a nack
//! that requeues, and by the end of the channel on which the message was in hand. At its delivery limit it drops the
//! message. The worker declares this queue with a limit that nobody reaches, but one that an earlier version has
//! declared has none of its own, which means 20 to RabbitMQ 4, and a policy may set another one, which AMQP does not
//! show. So no letter is returned: one after the other is taken, published again as it was, and acknowledged once the
//! broker has confirmed the copy. The copy has never been delivered. After one round through all that were there at its
//! beginning the order is the same, but for letters that came meanwhile.
//!
//! - A copy goes through an exchange of its own (`<prefix>.dead.again`), to which only this queue is bound: others that
//!   an operator has bound to the exchange of dead letters do not get it. So it keeps its routing key, the account.
//! - Nothing is lost, wherever this ends: a letter is acknowledged only when its copy is confirmed. At most one is in
//!   hand, so one that is killed costs at most one delivery of one letter, or leaves one of them twice, and the queue
//!   turned by some places. The second copy of a letter that the worker has put there has the same number, and is
//!   dropped by the next round; of others it stays.
//! - Two at once would each see some of the letters: an exclusive queue is the lock, which goes with its connection.
//! - A letter that cannot be published as it was (another user's `user_id`, `CC`, an `expiration`, a body above 64 KiB:
//!   none that the worker has put there) stays in hand until the end, and then returns. It is the only one that this
//!   costs a delivery.

pub mod letter;
mod turn;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use secrecy::SecretString;
use tokio::time::{Instant, sleep};

use crate::broker::consumer::{Lock, Message, PullConsumer};
use crate::broker::link::{self, AmqpError, REPLY_TIMEOUT, Refusal};
use crate::broker::publisher::{Fate, Publisher};
use crate::broker::queues;
use crate::broker::topology::Names;

/// How long another command that goes through the letters is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the lock is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(200);

/// Why a round through the dead letters failed.
#[derive(Debug, thiserror::Error)]
pub enum DeadLettersError {
    /// The broker.
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    /// Another command holds the lock.
    #[error("another `dead-letters` command is at the queue {0}: try again once it is done")]
    Busy(String),
    /// The way back into the queue cannot be made.
    #[error(
        "the dead letters cannot be put back: {why}. Grant the broker's user configure, write and read on {exchange}"
    )]
    NoWayBack {
        /// The exchange.
        exchange: String,
        /// The broker's words.
        why: lapin::Error,
    },
}

/// What becomes of a letter.
#[derive(Debug)]
pub enum Verdict {
    /// It stays among the dead letters.
    Stays,
    /// It becomes a request of the account again, with these properties and this body.
    Resent(Box<BasicProperties>, Vec<u8>),
    /// It is dropped.
    Dropped,
}

/// The dead letters of all accounts, held against every other command.
#[derive(Debug)]
pub struct DeadLetterQueue {
    letters: PullConsumer,
    publisher: Publisher,
    names: Names,
    /// Open while there is the way back.
    way_back: Option<Channel>,
    /// How many were sent again so far.
    resent: usize,
}

impl DeadLetterQueue {
    /// Connects, and waits a moment for another command to be done.
    pub async fn open(url: &SecretString, names: &Names) -> Result<Self, DeadLettersError> {
        let mut letters = PullConsumer::open(url).await?;
        lock(&mut letters, names).await?;
        let publisher = Publisher::new(url.clone(), "teamleader2db dead-letters");
        Ok(Self { letters, publisher, names: names.clone(), way_back: None, resent: 0 })
    }

    /// Goes through all letters that are there, the oldest first.
    pub async fn go_through(&mut self, mut judge: impl FnMut(&Message) -> Verdict) -> Result<(), DeadLettersError> {
        let queue = self.names.dead();
        let waiting = queues::waiting_in(self.letters.connection(), &queue).await?.unwrap_or(0);
        let mut numbers = HashSet::new();
        for _ in 0..waiting {
            let Some(message) = self.letters.take(&queue).await? else { break };
            let message = message.with(turn::as_sent);
            let copy = message.exact_copy();
            // One that ended between the confirmation and the acknowledgement has left it twice.
            if let (Some(number), Ok(copy)) = (message.dead_letter_id(), &copy)
                && !numbers.insert((number.to_owned(), hash_of(copy, message.body())))
            {
                message.ack().await?;
                continue;
            }
            match judge(&message) {
                Verdict::Dropped => message.ack().await?,
                Verdict::Resent(properties, body) => {
                    let (exchange, key) = (self.names.requests_exchange(), self.names.account().as_str());
                    self.publisher.publish(&exchange, key, &body, *properties).await?;
                    self.resent += 1;
                    message.ack().await?;
                }
                Verdict::Stays => {
                    let Ok(copy) = copy else { continue };
                    if self.put_back(&message, copy).await? {
                        message.ack().await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// How many letters have become requests again so far, confirmed by the broker.
    pub fn resent(&self) -> usize {
        self.resent
    }

    /// Publishes a letter again as it was, but behind all others. False where the queue does not take it, because it is
    /// full: the letter itself stays in hand then, and returns.
    async fn put_back(&mut self, message: &Message, copy: BasicProperties) -> Result<bool, DeadLettersError> {
        let exchange = self.names.dead_again();
        if self.way_back.is_none() {
            self.way_back = Some(self.open_way_back(&exchange).await?);
        }
        let fate =
            self.publisher.offer(&exchange, message.routing_key(), message.body(), turn::behind_all(copy)).await?;
        Ok(fate == Fate::Taken)
    }

    /// The exchange goes with its only binding, or with the broker.
    async fn open_way_back(&self, exchange: &str) -> Result<Channel, DeadLettersError> {
        let made = async {
            let channel = link::with_deadline(REPLY_TIMEOUT, self.letters.connection().create_channel()).await?;
            let options = ExchangeDeclareOptions { auto_delete: true, ..Default::default() };
            let (table, kind) = (FieldTable::default(), ExchangeKind::Fanout);
            let declared = channel.exchange_declare(exchange.into(), kind, options, table.clone());
            link::with_deadline(REPLY_TIMEOUT, declared).await?;
            let queue = self.names.dead();
            let options = QueueBindOptions::default();
            let bound = channel.queue_bind(queue.as_str().into(), exchange.into(), "".into(), options, table);
            link::with_deadline(REPLY_TIMEOUT, bound).await?;
            Ok::<_, AmqpError>(channel)
        };
        made.await.map_err(|error| match error {
            AmqpError::Broker(why) if link::refusal(&why) == Some(Refusal::Access) => {
                DeadLettersError::NoWayBack { exchange: exchange.to_owned(), why }
            }
            error => error.into(),
        })
    }

    /// Lets others at the letters. Those in hand return.
    pub async fn close(self) {
        if let Some(channel) = self.way_back {
            let exchange = self.names.dead_again();
            let deleted = channel.exchange_delete(exchange.as_str().into(), ExchangeDeleteOptions::default());
            // One that stays is used by the next command.
            let _ = link::with_deadline(REPLY_TIMEOUT, deleted).await;
        }
        self.publisher.close().await;
        self.letters.close().await;
    }
}

/// Of all that makes two letters the same.
fn hash_of(properties: &BasicProperties, body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{properties:?}").hash(&mut hasher);
    body.hash(&mut hasher);
    hasher.finish()
}

/// Takes the broker's lock, for which it waits a moment. A user that may not declare it goes without.
async fn lock(letters: &mut PullConsumer, names: &Names) -> Result<(), DeadLettersError> {
    let (lock, started) = (names.dead_lock(), Instant::now());
    loop {
        match letters.lock(&lock).await? {
            Lock::Taken | Lock::Forbidden => return Ok(()),
            Lock::Elsewhere if started.elapsed() >= LOCK_TIMEOUT => return Err(DeadLettersError::Busy(names.dead())),
            Lock::Elsewhere => sleep(LOCK_PAUSE).await,
        }
    }
}
