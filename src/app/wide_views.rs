//! The views with a column a custom field follow what runs have read, after these, and beside the next.

use std::sync::Arc;

use futures_util::FutureExt as _;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::process::panics;
use crate::store::pool::{self, StoreError};
use crate::views::wide;

/// Refreshes the views.
#[derive(Debug)]
pub(super) struct WideViews {
    /// The database.
    pub(super) pool: PgPool,
    /// Notified when a run is finished.
    pub(super) run_finished: Arc<Notify>,
}

impl WideViews {
    /// Refreshes them after each run, and at the start what a process that died has left, until stopped. What fails is
    /// tried again after the next run: no run depends on it.
    pub(super) async fn follow_runs(self, stop: CancellationToken) {
        if stop.run_until_cancelled(self.refresh(pool::with_deadline(self.catch_up()))).await.is_none() {
            return;
        }
        while stop.run_until_cancelled(self.run_finished.notified()).await.is_some() {
            if stop.run_until_cancelled(self.refresh(pool::with_deadline(wide::refresh(&self.pool)))).await.is_none() {
                return;
            }
        }
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        if wide::has_definitions(&self.pool).await? { wide::refresh(&self.pool).await } else { Ok(()) }
    }

    async fn refresh(&self, refreshing: impl Future<Output = Result<(), StoreError>> + Send) {
        match panics::caught(refreshing.boxed()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(%error, "The views of custom fields could not be refreshed");
                if let Err(error) = pool::with_deadline(wide::note_failure(&self.pool, &error)).await {
                    warn!(%error, "That the views could not be refreshed is not stored");
                }
            }
            Err(panicked) => error!(%panicked, "The views of custom fields could not be refreshed"),
        }
    }
}
