//! Wakes the consumer for hints: whoever finds some that nobody serves publishes a message, one at a time.

use sqlx::PgPool;
use tracing::debug;

use crate::broker::publisher::Publisher;
use crate::broker::topology::Names;
use crate::broker::wake;
use crate::process::failpoints::{self, Point};
use crate::store::hints;
use crate::store::pool::{self, StoreError};
use crate::store::tokens::authorization;

/// Wakes the consumer.
#[derive(Clone, Debug)]
pub struct WakeUp {
    /// The database.
    pub pool: PgPool,
    /// The broker.
    pub publisher: Publisher,
    /// The queue.
    pub names: Names,
}

impl WakeUp {
    /// Publishes the message if hints wait that nobody serves and nobody was woken for. What goes wrong is tried again
    /// by the next who finds them. Not while the account is not authorized: they wait then, and no message piles up.
    pub async fn wake(&self) {
        match pool::with_deadline(self.is_wanted()).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return debug!(%error, "It cannot be seen whether hints wait"),
        }
        failpoints::reached(Point::WakeWanted);
        if let Err(error) = wake::publish(&self.publisher, &self.names).await {
            debug!(%error, "The consumer cannot be woken for hints");
            // The next who finds them need not wait. If it was published all the same, there are two, and no harm.
            let _ = pool::with_deadline(hints::wake::give_back(&self.pool, self.names.account())).await;
        }
    }

    async fn is_wanted(&self) -> Result<bool, StoreError> {
        let account = self.names.account();
        if !hints::wake::is_wanted(&self.pool, account).await? {
            return Ok(false);
        }
        if !authorization::authorization(&self.pool, account).await?.authorized {
            return Ok(false);
        }
        hints::wake::claim(&self.pool, account).await
    }
}
