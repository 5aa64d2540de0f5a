//! What stores the tokens of an account, and what it has to do: the states and transitions of `auth`.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use uuid::Uuid;

use super::oauth::TokenPair;
use crate::ids::{Epoch, Generation};

/// What the store knows of an account's tokens.
#[derive(Clone, Debug)]
pub struct StoredToken {
    /// Rises with each pair.
    pub generation: Generation,
    /// What may be done now.
    pub state: TokenState,
    /// The access token, with the time it still lives and the time it lives in all.
    pub access: Option<LivingToken>,
}

/// An access token and its life, by the database's clock.
#[derive(Clone, Debug)]
pub struct LivingToken {
    /// The token.
    pub token: SecretString,
    /// How long it still lives; zero when expired.
    pub remaining: Duration,
    /// How long it lived when it was new.
    pub lifetime: Duration,
}

/// The state of an account's authorization. The store sets it: `Authorized` with each pair, `Refreshing` with an
/// intent, `ReauthorizationRequired` when the refresh token was refused or there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// There is a refresh token, and nobody is using it.
    Authorized,
    /// An attempt is under way, or its process died; it is over after this time.
    Refreshing(Duration),
    /// An operator has to authorize the account.
    ReauthorizationRequired,
}

/// What came of writing an intent.
#[derive(Debug)]
pub enum Intent {
    /// Written: use this refresh token, once.
    Written(SecretString),
    /// Another pair or another attempt came first: look again.
    Overtaken,
}

/// What became of a new pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairFate {
    /// It is the stored one.
    Stored,
    /// It waits on the broker for the database.
    Escrowed,
    /// A newer one is stored, and stays.
    Superseded,
}

/// Why the store could not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TokenStoreError {
    /// A newer slice holds the lease.
    #[error("another worker has taken over")]
    Fenced,
    /// The database, or what stands in it, cannot be used; the text says how to fix it.
    #[error("{0}")]
    Unavailable(String),
    /// The same, and waiting does not help: an operator has to do what the text says.
    #[error("{0}")]
    Unusable(String),
    /// A newer version of the program has migrated the database.
    #[error("the database's schema is version {database}, and this program knows {program}")]
    NewerSchema {
        /// The database's version.
        database: i64,
        /// The newest that this program knows.
        program: i64,
    },
}

/// Where the tokens of one account are stored.
#[async_trait]
pub trait TokenStore: Send + Sync + std::fmt::Debug {
    /// Reads the stored state; `None` when the account was never authorized.
    async fn load(&self) -> Result<Option<StoredToken>, TokenStoreError>;

    /// Writes the intent to use the refresh token of `generation`, in a transaction of its own that checks the epoch.
    /// An intent whose deadline has passed is taken over.
    async fn intend(
        &self,
        epoch: Epoch,
        generation: Generation,
        attempt: Uuid,
        lasts: Duration,
    ) -> Result<Intent, TokenStoreError>;

    /// Whether the attempt has still this long to go, by the clock of the database, and nobody has taken it over.
    async fn may_send(&self, attempt: Uuid, within: Duration) -> Result<bool, TokenStoreError>;

    /// Withdraws the intent of an attempt whose request was certainly not sent.
    async fn withdraw(&self, attempt: Uuid) -> Result<(), TokenStoreError>;

    /// Shortens an attempt whose outcome nobody will know: it may be taken over after `pause`, if its deadline is not
    /// sooner.
    async fn end(&self, attempt: Uuid, pause: Duration) -> Result<(), TokenStoreError>;

    /// Stores the pair made from `generation`, whatever the state or the epoch, unless another one is stored already.
    /// Returns which of both it is: stored, or superseded.
    async fn store(&self, made_from: Generation, pair: &TokenPair) -> Result<PairFate, TokenStoreError>;

    /// Puts the pair where it survives this process although the database cannot be written.
    async fn escrow_pair(&self, made_from: Generation, pair: &TokenPair) -> Result<(), TokenStoreError>;

    /// Stores the escrowed pairs, unless the stored generation is as high.
    async fn recover_escrowed(&self) -> Result<(), TokenStoreError>;

    /// The refresh token of `generation` was refused: an operator has to authorize, unless the generation has moved.
    /// True when this call set it.
    async fn refused(&self, generation: Generation, reason: &str) -> Result<bool, TokenStoreError>;
}
