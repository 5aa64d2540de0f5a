//! Wakes the consumer for hints and for the audit: whoever finds that something is due which nobody does publishes a
//! message, one at a time.

use sqlx::PgPool;
use tracing::debug;

use crate::broker::publisher::Publisher;
use crate::broker::topology::Names;
use crate::broker::wake;
use crate::process::failpoints::{self, Point};
use crate::store::draws::pace;
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
    /// Requests of the audit an hour; 0: there is none.
    pub audit_rate: u32,
}

impl WakeUp {
    /// Publishes the message if hints wait, or a turn of the audit is due, and nobody is at it or was woken for it.
    /// What goes wrong is tried again by the next who finds it. Not while the account is not authorized: they wait
    /// then, and no message piles up.
    pub async fn wake(&self) {
        match pool::with_deadline(self.is_wanted()).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return debug!(%error, "It cannot be seen whether hints wait, or an audit is due"),
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
        let is_wanted = hints::wake::is_wanted(&self.pool, account).await?
            || self.audit_rate > 0 && pace::is_due(&self.pool, account, self.audit_rate).await?;
        if !is_wanted {
            return Ok(false);
        }
        if !authorization::authorization(&self.pool, account).await?.authorized {
            return Ok(false);
        }
        hints::wake::claim(&self.pool, account).await
    }
}
