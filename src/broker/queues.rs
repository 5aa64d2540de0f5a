//! How much waits in queues. Only looked at: nothing is declared, consumed or changed.

use lapin::Connection;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;

use super::link::{self, AmqpError, REPLY_TIMEOUT, Refusal};

/// How many messages of a queue are in nobody's hands; `None`: there is no such queue.
pub(super) async fn waiting_in(connection: &Connection, queue: &str) -> Result<Option<u32>, AmqpError> {
    let channel = link::with_deadline(REPLY_TIMEOUT, connection.create_channel()).await?;
    let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
    let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
    match link::with_deadline(REPLY_TIMEOUT, declared).await {
        Ok(found) => Ok(Some(found.message_count())),
        Err(AmqpError::Broker(error)) if link::refusal(&error) == Some(Refusal::Missing) => Ok(None),
        Err(error) => Err(error),
    }
}
