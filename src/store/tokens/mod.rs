//! The token pair of an account, sealed, with the transitions that prevent a second use of a refresh token.

pub mod authorization;
pub mod cipher;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use super::pool::{self, StoreError};
use super::{lease, outbox};
use crate::api_client::oauth::TokenPair;
use crate::api_client::token_store::{
    Intent, LivingToken, PairFate, StoredToken, TokenState, TokenStore, TokenStoreError,
};
use crate::ids::{Account, Epoch, Generation};
use crate::messages::Event;
use crate::process::failpoints::{self, Point};
use cipher::{Cipher, CipherError};

/// A place outside the database that stores sealed pairs.
#[async_trait]
pub trait Escrow: Send + Sync + std::fmt::Debug {
    /// Stores it, durably, before it returns.
    async fn put(&self, sealed: Vec<u8>) -> Result<(), String>;
    /// Hands over each stored pair in turn; it is forgotten when `store` says that it is stored, and set aside where it
    /// is foreign.
    async fn drain(&self, store: &(dyn Fn(Vec<u8>) -> StoringEscrowed + Sync)) -> Result<(), String>;
}

/// What became of something that was escrowed.
#[derive(Debug)]
pub enum EscrowOutcome {
    /// The database holds this pair, or a newer one.
    Stored,
    /// It cannot be used, for this reason.
    Foreign(String),
}

/// Storing an escrowed pair.
pub type StoringEscrowed = futures_util::future::BoxFuture<'static, Result<EscrowOutcome, TokenStoreError>>;

/// The tokens of one account.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub(super) pool: PgPool,
    pub(super) account: Account,
    cipher: Cipher,
    escrow: Option<Arc<dyn Escrow>>,
}

/// Storing an escrowed pair takes at most this long: other processes wait for the one that has it.
const STORE_ESCROWED_TIMEOUT: Duration = Duration::from_secs(4);

/// What a pair in escrow is sealed for. It is part of each sealed message, so it stays as it is.
const IN_ESCROW: &str = "parked";

/// Why a message among the escrowed pairs is set aside.
const NOT_OPENED: &str = "no key of TOKEN_ENCRYPTION_KEY opens it. If it is a token pair that was sealed with a key \
    which is not in the list, add that key and move the message back to the token queue; else it is somebody else's \
    message";

/// A pair as it is escrowed.
#[derive(Serialize, Deserialize)]
struct EscrowedPair {
    access: String,
    refresh: String,
    expires_in: u64,
}

impl Tokens {
    /// Tokens of `account`. Without `escrow` a pair that cannot be stored is tried for as long as the process lives.
    pub fn new(pool: PgPool, account: Account, cipher: Cipher, escrow: Option<Arc<dyn Escrow>>) -> Self {
        Self { pool, account, cipher, escrow }
    }

    /// Seals a token of this generation.
    pub(super) fn seal(
        &self,
        token: &SecretString,
        kind: &str,
        generation: Generation,
    ) -> Result<Vec<u8>, CipherError> {
        self.cipher.seal(token.expose_secret(), &self.purpose(kind, generation))
    }

    /// Opens a token of this generation.
    pub(super) fn open(&self, sealed: &[u8], kind: &str, generation: Generation) -> Result<SecretString, CipherError> {
        self.cipher.open(sealed, &self.purpose(kind, generation))
    }

    fn purpose(&self, kind: &str, generation: Generation) -> String {
        format!("{}/{}/{kind}", self.account, generation.0)
    }

    async fn generation(&self) -> Result<Generation, StoreError> {
        let stored = sqlx::query_scalar!(
            "select generation from teamleader2db.oauth_token where account = $1",
            self.account.as_str()
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(Generation(stored.unwrap_or(0)))
    }

    /// Whether this is the stored refresh token: an earlier try, whose answer was lost, has stored it.
    async fn holds(&self, generation: Generation, refresh: &SecretString) -> Result<bool, StoreError> {
        let sealed = sqlx::query_scalar!(
            "select refresh_token from teamleader2db.oauth_token where account = $1 and generation = $2",
            self.account.as_str(),
            generation.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        // One that no key opens is another.
        let stored = sealed.flatten().and_then(|sealed| self.open(&sealed, "refresh", generation).ok());
        Ok(stored.is_some_and(|stored| stored.expose_secret() == refresh.expose_secret()))
    }

    /// Opens an escrowed pair and stores it, unless a newer one is stored. Stored means that the row was read back.
    ///
    /// Anyone who can write to the queue can put something else there: only what a key opens is believed.
    async fn store_escrowed(self, escrowed: Vec<u8>) -> Result<EscrowOutcome, TokenStoreError> {
        let Some((made_from, pair)) = self.open_escrowed(&escrowed) else {
            return Ok(EscrowOutcome::Foreign(NOT_OPENED.to_owned()));
        };
        if self.generation().await? <= made_from {
            self.store(made_from, &pair).await?;
        }
        if self.generation().await? <= made_from {
            let why = "the token pair was written, and is not there when it is read back";
            return Err(TokenStoreError::Unavailable(why.to_owned()));
        }
        Ok(EscrowOutcome::Stored)
    }

    fn open_escrowed(&self, escrowed: &[u8]) -> Option<(Generation, TokenPair)> {
        let (generation, sealed) = escrowed.split_at_checked(8)?;
        let made_from = Generation(i64::from_be_bytes(generation.try_into().ok()?));
        let opened = self.open(sealed, IN_ESCROW, made_from).ok()?;
        let pair: EscrowedPair = serde_json::from_str(opened.expose_secret()).ok()?;
        let pair = TokenPair {
            access: pair.access.into(),
            refresh: pair.refresh.into(),
            // Its age is not known: the first use asks for the next pair.
            expires_in: Duration::from_secs(pair.expires_in.min(1)),
        };
        Some((made_from, pair))
    }
}

impl From<StoreError> for TokenStoreError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced => Self::Fenced,
            StoreError::NewerSchema { database, program } => Self::NewerSchema { database, program },
            other if other.is_transient() => Self::Unavailable(other.to_string()),
            lasting => Self::Unusable(lasting.to_string()),
        }
    }
}

fn seconds(value: Option<f64>) -> Duration {
    Duration::try_from_secs_f64(value.unwrap_or(0.0)).unwrap_or_default()
}

#[async_trait]
impl TokenStore for Tokens {
    async fn load(&self) -> Result<Option<StoredToken>, TokenStoreError> {
        let row = sqlx::query!(
            r#"select generation, state, access_token, access_lifetime,
                 extract(epoch from access_expires_at - clock_timestamp())::float8 as lives,
                 extract(epoch from attempt_deadline - clock_timestamp())::float8 as over_in
             from teamleader2db.oauth_token where account = $1"#,
            self.account.as_str()
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::from)?;
        let Some(row) = row else { return Ok(None) };
        let generation = Generation(row.generation);
        let state = match row.state.as_str() {
            "authorized" => TokenState::Authorized,
            "refreshing" => TokenState::Refreshing(seconds(row.over_in)),
            _ => TokenState::ReauthorizationRequired,
        };
        let access = match row.access_token {
            Some(sealed) if state != TokenState::ReauthorizationRequired => Some(LivingToken {
                token: self.open(&sealed, "access", generation).map_err(StoreError::from)?,
                remaining: seconds(row.lives),
                lifetime: seconds(row.access_lifetime),
            }),
            _ => None,
        };
        Ok(Some(StoredToken { generation, state, access }))
    }

    async fn intend(
        &self,
        epoch: Epoch,
        generation: Generation,
        attempt: Uuid,
        lasts: Duration,
    ) -> Result<Intent, TokenStoreError> {
        let mut tx = lease::begin(&self.pool, &self.account, epoch).await?;
        let sealed = sqlx::query_scalar!(
            r#"update teamleader2db.oauth_token
             set state = 'refreshing', attempt_id = $3,
             attempt_deadline = clock_timestamp() + make_interval(secs => $4),
                 updated_at = now()
             where account = $1 and generation = $2 and refresh_token is not null
               and (state = 'authorized' or state = 'refreshing' and attempt_deadline <= clock_timestamp())
             returning refresh_token as "refresh_token!""#,
            self.account.as_str(),
            generation.0,
            attempt,
            lasts.as_secs_f64(),
        )
        .fetch_optional(&mut *tx)
        .await
        .map_err(StoreError::from)?;
        let Some(sealed) = sealed else {
            return Ok(Intent::Overtaken);
        };
        // Opened before the commit: a wrong key must leave no intent behind.
        let refresh = self.open(&sealed, "refresh", generation).map_err(StoreError::from)?;
        failpoints::reached(Point::IntentWritten);
        tx.commit().await.map_err(StoreError::from)?;
        Ok(Intent::Written(refresh))
    }

    async fn may_send(&self, attempt: Uuid, within: Duration) -> Result<bool, TokenStoreError> {
        let may = sqlx::query_scalar!(
            r#"select exists (
                 select from teamleader2db.oauth_token
                 where account = $1 and state = 'refreshing' and attempt_id = $2
                   and attempt_deadline > clock_timestamp() + make_interval(secs => $3)) as "may!""#,
            self.account.as_str(),
            attempt,
            within.as_secs_f64(),
        )
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::from)?;
        Ok(may)
    }

    async fn withdraw(&self, attempt: Uuid) -> Result<(), TokenStoreError> {
        sqlx::query!(
            "update teamleader2db.oauth_token
             set state = 'authorized', attempt_id = null, attempt_deadline = null, updated_at = now()
             where account = $1 and state = 'refreshing' and attempt_id = $2",
            self.account.as_str(),
            attempt,
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::from)?;
        Ok(())
    }

    async fn end(&self, attempt: Uuid, pause: Duration) -> Result<(), TokenStoreError> {
        sqlx::query!(
            "update teamleader2db.oauth_token
             set attempt_deadline = least(attempt_deadline, clock_timestamp() + make_interval(secs => $3)),
             updated_at = now()
             where account = $1 and state = 'refreshing' and attempt_id = $2",
            self.account.as_str(),
            attempt,
            pause.as_secs_f64(),
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::from)?;
        Ok(())
    }

    async fn store(&self, made_from: Generation, pair: &TokenPair) -> Result<PairFate, TokenStoreError> {
        let next = Generation(made_from.0 + 1);
        let access = self.seal(&pair.access, "access", next).map_err(StoreError::from)?;
        let refresh = self.seal(&pair.refresh, "refresh", next).map_err(StoreError::from)?;
        // Not only over the generation that it was made from: a database that was restored, or a replica that was
        // behind, may have lost it.
        let written = sqlx::query!(
            "insert into teamleader2db.oauth_token as stored
                 (account, generation, state, access_token, refresh_token, access_expires_at, access_lifetime)
             values ($1, $3, 'authorized', $4, $5, clock_timestamp() + make_interval(secs => $6), $6)
             on conflict (account) do update
             set generation = excluded.generation, state = excluded.state, access_token = excluded.access_token,
                 refresh_token = excluded.refresh_token, access_expires_at = excluded.access_expires_at,
             access_lifetime = excluded.access_lifetime, attempt_id = null, attempt_deadline = null,
                     reason = null, updated_at = now()
             where stored.generation <= $2",
            self.account.as_str(),
            made_from.0,
            next.0,
            access,
            refresh,
            pair.expires_in.as_secs_f64(),
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::from)?;
        if written.rows_affected() == 1 || self.holds(next, &pair.refresh).await? {
            return Ok(PairFate::Stored);
        }
        Ok(PairFate::Superseded)
    }

    async fn escrow_pair(&self, made_from: Generation, pair: &TokenPair) -> Result<(), TokenStoreError> {
        let Some(escrow) = &self.escrow else {
            return Err(TokenStoreError::Unavailable("there is no broker to escrow it on".to_owned()));
        };
        let plain = EscrowedPair {
            access: pair.access.expose_secret().to_owned(),
            refresh: pair.refresh.expose_secret().to_owned(),
            expires_in: pair.expires_in.as_secs(),
        };
        let plain: SecretString = serde_json::to_string(&plain)
            .map_err(|_| TokenStoreError::Unavailable(CipherError::Seal.to_string()))?
            .into();
        let sealed = self.seal(&plain, IN_ESCROW, made_from).map_err(StoreError::from)?;
        let message = [&made_from.0.to_be_bytes()[..], &sealed].concat();
        escrow.put(message).await.map_err(TokenStoreError::Unavailable)
    }

    async fn recover_escrowed(&self) -> Result<(), TokenStoreError> {
        let Some(escrow) = &self.escrow else {
            return Ok(());
        };
        let tokens = self.clone();
        let store = move |escrowed| -> StoringEscrowed {
            Box::pin(pool::with_deadline_of(STORE_ESCROWED_TIMEOUT, tokens.clone().store_escrowed(escrowed)))
        };
        escrow.drain(&store).await.map_err(TokenStoreError::Unavailable)
    }

    async fn refused(&self, generation: Generation, reason: &str) -> Result<bool, TokenStoreError> {
        let mut tx = pool::begin(&self.pool).await?;
        let moved = sqlx::query!(
            "update teamleader2db.oauth_token
             set state = 'reauthorization_required', reason = $3, attempt_id = null, attempt_deadline = null,
             updated_at = now()
             where account = $1 and generation = $2 and state <> 'reauthorization_required'",
            self.account.as_str(),
            generation.0,
            reason,
        )
        .execute(&mut *tx)
        .await
        .map_err(StoreError::from)?
        .rows_affected();
        if moved == 1 {
            let event = Event::authorization_required(&self.account, generation.0, reason);
            outbox::put(&mut tx, &self.account, &event, &[]).await?;
        }
        failpoints::reached(Point::TokenRefusedWritten);
        tx.commit().await.map_err(StoreError::from)?;
        failpoints::reached(Point::TokenRefusedCommitted);
        Ok(moved == 1)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgPoolOptions;

    use super::*;

    /// Versions that run beside each other, or after each other, share the queue.
    #[tokio::test]
    async fn a_pair_that_another_version_escrowed_is_opened() {
        let cipher = Cipher::new(&"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned().into()).expect("a key");
        let sealed = cipher.seal(r#"{"access":"a","refresh":"r","expires_in":3600}"#, "acme/7/parked").expect("sealed");
        let pool = PgPoolOptions::new().connect_lazy("postgres://nobody@localhost/none").expect("a URL");
        let tokens = Tokens::new(pool, "acme".parse().expect("an account"), cipher, None);
        let message = [&7_i64.to_be_bytes()[..], &sealed].concat();
        let (made_from, pair) = tokens.open_escrowed(&message).expect("opened");
        assert_eq!((made_from, pair.refresh.expose_secret()), (Generation(7), "r"));
    }
}
