//! Token pairs that the database could not take, parked in a durable queue of the account.

use async_trait::async_trait;
use lapin::BasicProperties;
use lapin::options::{BasicAckOptions, BasicGetOptions};

use super::link::{self, AmqpError, REPLY_TIMEOUT};
use super::publisher::{Publisher, Reach};
use crate::fault::{self, Point};
use crate::store::tokens::{Parking, StoredOutcome};

/// The queue of one account's parked pairs. What is in it is sealed: the broker sees no token.
#[derive(Clone, Debug)]
pub struct TokenQueue {
    publisher: Publisher,
    queue: String,
}

impl TokenQueue {
    /// The queue must have been declared.
    pub fn new(publisher: Publisher, queue: String) -> Self {
        Self { publisher, queue }
    }

    async fn take_all(&self, store: &(dyn Fn(Vec<u8>) -> StoredOutcome + Sync)) -> Result<(), AmqpError> {
        let channel = self.publisher.channel().await?;
        let get = || channel.basic_get(self.queue.as_str().into(), BasicGetOptions::default());
        let mut kept = Ok(());
        while let Some(message) = link::within(REPLY_TIMEOUT, get()).await? {
            match store(message.delivery.data.clone()).await {
                Ok(()) => {
                    fault::reached(Point::ParkedPairStored);
                    _ = link::within(REPLY_TIMEOUT, message.delivery.acker.ack(BasicAckOptions::default())).await?
                }
                Err(error) => {
                    // Left unacknowledged: it goes back to the queue when the channel closes.
                    tracing::warn!(%error, "A parked token pair could not be stored and stays parked");
                    kept = Err(AmqpError::Parked(error.to_string()));
                }
            }
        }
        link::within(REPLY_TIMEOUT, channel.close(200, "done".into())).await?;
        kept
    }
}

#[async_trait]
impl Parking for TokenQueue {
    async fn put(&self, sealed: Vec<u8>) -> Result<(), String> {
        let properties = BasicProperties::default().with_content_type("application/octet-stream".into());
        let published = self.publisher.publish("", &self.queue, &sealed, properties, Reach::AQueue).await;
        published.map(drop).map_err(|error| error.to_string())
    }

    async fn drain(&self, store: &(dyn Fn(Vec<u8>) -> StoredOutcome + Sync)) -> Result<(), String> {
        self.take_all(store).await.map_err(|error| error.to_string())
    }
}
