//! Taking over the refresh token of the Python service.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tokio::time::Instant;

use super::{CompatError, resolved};
use crate::ids::Account;
use crate::store::authorization::Accepted;
use crate::store::cipher::Cipher;
use crate::store::pool::{self, StoreError};
use crate::store::{lease, tokens::Tokens};
use crate::teamleader::auth::{AccessToken, Auth, AuthError, TokenStoreError};
use crate::teamleader::oauth::{Integration, OAuth};

/// A worker that runs may be quicker, and trade the token by itself: so long it is waited for.
const WAITS_FOR_WORKER: Duration = Duration::from_secs(60);

/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Why the token was not taken over, and where it is now.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is no such table.
    #[error(
        "there is no table {0}: name the Python service's `oauth_table` with --table, and its database with COMPAT_DATABASE_URL"
    )]
    NoTable(String),
    /// There is no token to take over.
    #[error("{0} holds no refresh token: open the worker's /sync/authorize in a browser instead")]
    Empty(String),
    /// Nobody knows which of several tokens works.
    #[error("{0} holds {1} different refresh tokens: leave only the row that the Python service used last")]
    Several(String, usize),
    /// A token is there already, and may be newer.
    #[error(
        "the account {0} is authorized already, so nothing was taken over. Does {1} still hold a token? If it is that of this account: {2}"
    )]
    Authorized(Account, String, String),
    /// It does not work.
    #[error(
        "Teamleader refused the token, so nothing was cleared in {0}. It works for the integration alone that it was made for: are \
         TEAMLEADER_CLIENT_ID and _SECRET those of the Python service? Else open the worker's /sync/authorize in a browser"
    )]
    Refused(String),
    /// It belongs to somebody else.
    #[error("the token of {0} belongs to another Teamleader account than the rows here: nothing was cleared there")]
    OtherAccount(String),
    /// Nobody knows yet.
    #[error("the token is stored here, but could not be tried ({0}). The worker tries on. Once a sync has run: {1}")]
    Untried(String, String),
    /// It works, and is still there as well.
    #[error(
        "the token is taken over and works, but could not be cleared there ({0}). Before the Python service can start again: {1}"
    )]
    NotCleared(String, String),
    /// The HTTP client.
    #[error("the HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

/// What it takes to take a token over.
pub(super) struct Taking {
    pub(super) pool: PgPool,
    pub(super) account: Account,
    pub(super) integration: Integration,
    pub(super) cipher: Cipher,
}

impl Taking {
    /// Stores the refresh token of `table` here, if the account is not authorized; trades it for a pair, as a worker does, so that whether
    /// it works is known; and only then clears it there, so that no forgotten copy of the Python service can use an older one.
    pub(super) async fn over(self, old: &mut PgConnection, table: &str) -> Result<String, CompatError> {
        pool::check_schema(&self.pool).await?;
        let name = resolved(old, table).await?.ok_or_else(|| TokenError::NoTable(table.to_owned()))?;
        let oauth = OAuth::new(self.integration.clone()).map_err(TokenError::Http)?;
        let token = held(old, &name).await?;
        let tokens = Tokens::new(self.pool.clone(), self.account.clone(), self.cipher.clone(), None);
        let clear = format!("update {name} set code = '', auth_token = '', refresh_token = ''");
        if !tokens.take_over(&token).await? {
            return Err(TokenError::Authorized(self.account, name, clear).into());
        }
        let auth = Auth::new(Arc::new(tokens.clone()), oauth.clone());
        let untried = |reason: String| TokenError::Untried(reason, clear.clone());
        let access = match self.traded(&auth).await? {
            Ok(access) => access,
            Err(AuthError::NotAuthorized) => return Err(TokenError::Refused(name).into()),
            Err(error) => return Err(untried(error.to_string()).into()),
        };
        let by = oauth.who_authorized(&access.token).await.map_err(untried)?;
        if tokens.confirm_identity(&by).await? == Accepted::OtherAccount {
            return Err(TokenError::OtherAccount(name).into());
        }
        let cleared = sqlx::query(AssertSqlSafe(format!("{clear} where trim(refresh_token) = $1")));
        let cleared = cleared.bind(token.expose_secret()).execute(old).await;
        let why = match cleared.map(|cleared| cleared.rows_affected()) {
            Ok(0) => "its row has changed meanwhile: does the Python service run?".to_owned(),
            Ok(_) => String::new(),
            Err(error) => pool::in_words(&error),
        };
        if !why.is_empty() {
            return Err(TokenError::NotCleared(why, clear).into());
        }
        Ok(format!(
            "taken over: authorized by {}. The token is cleared in {name}: leave the Python service stopped",
            by.name
        ))
    }

    /// An access token made of the refresh token, by this process or by a worker that was quicker.
    async fn traded(&self, auth: &Auth) -> Result<Result<AccessToken, AuthError>, StoreError> {
        let epoch = lease::take(&self.pool, &self.account, "teamleader2db compat tokens").await?;
        let begun = Instant::now();
        loop {
            match auth.access_token(epoch, None).await {
                Err(AuthError::Store(TokenStoreError::Fenced)) if begun.elapsed() < WAITS_FOR_WORKER => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                answer => return Ok(answer),
            }
        }
    }
}

/// The one refresh token that the table holds.
async fn held(old: &mut PgConnection, name: &str) -> Result<SecretString, CompatError> {
    let rows: Vec<Option<String>> =
        sqlx::query_scalar(AssertSqlSafe(format!("select distinct nullif(trim(refresh_token), '') from {name}")))
            .fetch_all(old)
            .await
            .map_err(CompatError::Old)?;
    let mut held: Vec<SecretString> = rows.into_iter().flatten().map(SecretString::from).collect();
    match (held.pop(), held.len()) {
        (None, _) => Err(TokenError::Empty(name.to_owned()).into()),
        (Some(token), 0) => Ok(token),
        (Some(_), others) => Err(TokenError::Several(name.to_owned(), others + 1).into()),
    }
}
