//! The state that the handlers share.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::Guard;
use super::dashboard::memory::Memory;
use super::queue::QueueLook;
use super::webhooks::intake::Receiver;
use crate::api_client::client::Client;
use crate::api_client::oauth::OAuth;
use crate::broker::publisher::Publisher;
use crate::broker::topology::{Declare, Names};
use crate::process::consumer_state::ConsumerState;
use crate::store::pool::StoreError;
use crate::store::report::{self, TableStatus};
use crate::store::tokens::Tokens;

/// Of a table with more stale details than these it is remembered how many there were: in a first sync nearly all are,
/// and each look would read every row.
const MOST_STALE: i64 = 10_000;

/// The state that the handlers share.
#[derive(Clone, Debug)]
pub struct HttpState {
    /// The database.
    pub pool: PgPool,
    /// The account's tokens.
    pub tokens: Tokens,
    /// The OAuth endpoints.
    pub oauth: OAuth,
    /// The broker.
    pub publisher: Publisher,
    /// Exchanges and queues.
    pub names: Names,
    /// Whether to make them.
    pub declare: Declare,
    /// Renders metrics.
    pub metrics: Option<PrometheusHandle>,
    /// Whether this process consumes.
    pub consuming: ConsumerState,
    /// Who may call.
    pub guard: Guard,
    /// The API, for forecasts and the budget.
    pub client: Client,
    /// What the dashboard remembers.
    pub memory: Arc<Memory>,
    /// What waits in the queues.
    pub queue: QueueLook,
    /// Takes webhooks, where they are wanted.
    pub webhooks: Option<Receiver>,
    /// Cancelled once the database is up to date and the account has its row.
    pub prepared: CancellationToken,
    /// Authorizations in progress, which the shutdown waits for. Closed: none starts any more.
    pub authorizing: TaskTracker,
}

impl HttpState {
    /// The tables of the account.
    pub(super) async fn tables(&self) -> Result<Vec<TableStatus>, StoreError> {
        let known = self.memory.stale_details();
        let most = known.as_ref().map(|_| MOST_STALE);
        let mut tables = report::tables(&self.pool, self.names.account(), most).await?;
        for table in tables.iter_mut().filter(|table| table.stale_details >= MOST_STALE) {
            let counted = known.as_ref().and_then(|known| known.get(&table.resource)).copied();
            table.stale_details = table.stale_details.max(counted.unwrap_or_default());
        }
        Ok(tables)
    }

    /// Whether a worker reads the account's queue: this process does where it consumes; else the broker is asked.
    pub(super) async fn has_consumer(&self) -> Option<bool> {
        if self.consuming.is_active() {
            return Some(true);
        }
        self.queue.depths().await?.has_consumer()
    }
}
