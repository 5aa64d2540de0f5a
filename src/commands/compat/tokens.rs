//! Taking over the refresh token of the Python service.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tokio::time::Instant;

use super::error::{CompatError, TokenError};
use super::old::resolved;
use crate::api_client::auth::{AccessToken, Auth, AuthError};
use crate::api_client::oauth::{Integration, OAuth};
use crate::api_client::token_store::TokenStoreError;
use crate::broker::consumer::Consumer;
use crate::broker::escrow::TokenQueue;
use crate::broker::publisher::Publisher;
use crate::broker::topology::{Declare, Names};
use crate::ids::Account;
use crate::store::lease;
use crate::store::pool::{self, StoreError};
use crate::store::schema;
use crate::store::tokens::Tokens;
use crate::store::tokens::authorization::Accepted;
use crate::store::tokens::cipher::Cipher;

/// A worker that runs may be quicker, and trade the token by itself: it is waited for this long.
const WAITS_FOR_WORKER: Duration = Duration::from_secs(60);

/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What it takes to take a token over.
pub(super) struct Taking {
    pub(super) pool: PgPool,
    pub(super) amqp_url: SecretString,
    pub(super) names: Names,
    pub(super) declare: Declare,
    pub(super) account: Account,
    pub(super) integration: Integration,
    pub(super) cipher: Cipher,
}

impl Taking {
    /// Stores the refresh token of `table` here, if the account is not authorized; trades it for a pair, as a worker
    /// does, so that whether it works is known; and only then clears it there, so that no forgotten copy of the Python
    /// service can use an older one.
    pub(super) async fn over(self, old: &mut PgConnection, table: &str) -> Result<String, CompatError> {
        schema::check(&self.pool).await?;
        let name = resolved(old, table).await?.ok_or_else(|| TokenError::NoTable(table.to_owned()))?;
        let oauth = OAuth::new(self.integration.clone()).map_err(TokenError::Http)?;
        let held = held(old, &name).await?;
        // Where a pair goes that the database cannot take.
        Consumer::prepare(&self.amqp_url, &self.names, self.declare).await.map_err(TokenError::Broker)?;
        let publisher = Publisher::new(self.amqp_url.clone(), "teamleader2db compat tokens");
        let escrow = Arc::new(TokenQueue::new(self.amqp_url.clone(), publisher, &self.names));
        let tokens = Tokens::new(self.pool.clone(), self.account.clone(), self.cipher.clone(), Some(escrow));
        // While its access token lives it can be known whose it is, before anything is used up.
        let ours = tokens.authorization().await?.teamleader_account;
        if let (Some(ours), Ok(by)) = (ours, oauth.who_authorized(&held.access).await)
            && by.account != ours
        {
            return Err(TokenError::OtherAccount(name).into());
        }
        let clear = format!("update {name} set code = '', auth_token = '', refresh_token = ''");
        if !tokens.take_over(&held.refresh).await? {
            return Err(TokenError::Authorized(self.account, name, clear).into());
        }
        let auth = Auth::new(Arc::new(tokens.clone()), oauth.clone());
        let access = match self.traded(&auth).await? {
            Ok(access) => access,
            Err(AuthError::NotAuthorized) => return Err(TokenError::Refused(name).into()),
            Err(error) => return Err(TokenError::Untried(error.to_string(), clear).into()),
        };
        // Whatever comes now, the old one is used up.
        let cleared = sqlx::query(AssertSqlSafe(format!("{clear} where trim(refresh_token) = $1")));
        let cleared = cleared.bind(held.refresh.expose_secret()).execute(old).await;
        let by = match oauth.who_authorized(&access.token).await {
            Ok(by) if tokens.confirm_identity(&by).await? != Accepted::Stored => {
                return Err(TokenError::Spent.into());
            }
            Ok(by) => format!("authorized by {}", by.name),
            Err(_) => "whose it is the worker will ask".to_owned(),
        };
        let why = match cleared.map(|cleared| cleared.rows_affected()) {
            Ok(0) => "its row has changed meanwhile: does the Python service run?".to_owned(),
            Ok(_) => {
                return Ok(format!(
                    "taken over: {by}. The token is cleared in {name}: leave the Python service stopped"
                ));
            }
            Err(error) => pool::in_words(&error),
        };
        Err(TokenError::NotCleared(why, clear).into())
    }

    /// An access token made of the refresh token, by this process or by a worker that was quicker.
    async fn traded(&self, auth: &Auth) -> Result<Result<AccessToken, AuthError>, StoreError> {
        let epoch = lease::acquire(&self.pool, &self.account, "teamleader2db compat tokens").await?;
        let started = Instant::now();
        loop {
            match auth.access_token(epoch, None).await {
                Err(AuthError::Store(TokenStoreError::Fenced)) if started.elapsed() < WAITS_FOR_WORKER => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                answer => return Ok(answer),
            }
        }
    }
}

/// What the Python service holds.
struct Held {
    refresh: SecretString,
    access: SecretString,
}

/// The one refresh token that the table holds, and the access token beside it.
async fn held(old: &mut PgConnection, name: &str) -> Result<Held, CompatError> {
    let sql = format!(
        "select distinct on (trim(refresh_token)) trim(refresh_token), coalesce(auth_token, '') from {name} \
         where trim(refresh_token) <> ''"
    );
    let rows: Vec<(String, String)> =
        sqlx::query_as(AssertSqlSafe(sql)).fetch_all(old).await.map_err(CompatError::Old)?;
    let mut held: Vec<Held> =
        rows.into_iter().map(|(refresh, access)| Held { refresh: refresh.into(), access: access.into() }).collect();
    match (held.pop(), held.len()) {
        (None, _) => Err(TokenError::Empty(name.to_owned()).into()),
        (Some(held), 0) => Ok(held),
        (Some(_), others) => Err(TokenError::Several(name.to_owned(), others + 1).into()),
    }
}
