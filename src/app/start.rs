//! What has to be done in the database before anything else uses it.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::PgPool;
use tracing::{error, info};

use crate::catalog::Resource;
use crate::ids::Account;
use crate::process::log_lines::{self, Seldom};
use crate::process::telemetry;
use crate::retry;
use crate::store::pool::{self, StoreError};
use crate::store::tokens::Tokens;
use crate::store::{report, requirements, schema};
use crate::views;

/// What has to be done in the database before anything else uses it.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) pool: PgPool,
    pub(super) migrate: bool,
    pub(super) tokens: Tokens,
    pub(super) first_refresh_token: Option<SecretString>,
    pub(super) account: Account,
    pub(super) resources: Vec<&'static Resource>,
}

impl Start {
    /// Waits for the database, brings it up to date or refuses an old one, and makes sure that the account's tokens can
    /// be used.
    pub(super) async fn prepare(self) -> anyhow::Result<()> {
        let (mut delays, mut seldom) = (retry::RECONNECT.begin(), Seldom::default());
        // The database may be starting, too, or start again. A schema or a key that does not fit is an error at once.
        let successes = loop {
            let error = match self.try_to_prepare().await {
                Ok(successes) => break successes,
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(error.into()),
            };
            let delay = delays.next_delay().unwrap_or(retry::RECONNECT.longest);
            if seldom.lets_through(&error.to_string()) {
                error!(%error, delay = log_lines::seconds(delay), "The database cannot be used yet; trying again");
            }
            tokio::time::sleep(delay).await;
        };
        info!("The database is ready");
        for (resource, at) in successes {
            telemetry::last_success(&resource, at);
        }
        Ok(())
    }

    async fn try_to_prepare(&self) -> Result<Vec<(String, DateTime<Utc>)>, StoreError> {
        // First: an error of the pool would not say why there is no connection.
        pool::check(&self.pool).await?;
        if self.migrate {
            views::migrate(&self.pool).await?;
        } else {
            requirements::check(&self.pool).await?;
            schema::check(&self.pool).await?;
        }
        self.tokens.ensure_account_row(self.first_refresh_token.as_ref()).await?;
        // A key that does not open the stored tokens is found now, not by the first request.
        self.tokens.check_key().await?;
        report::last_successes(&self.pool, &self.account, &self.resources).await
    }
}
