//! Why a step of the move was not done, and what to do.

use crate::broker::link::AmqpError;
use crate::config::ConfigError;
use crate::ids::Account;
use crate::store::pool::{self, StoreError};
use crate::store::reach::Unreachable;

/// Why it was not done, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CompatError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database of this program.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The Python service's database.
    #[error("the Python service's database: {}", pool::in_words(.0))]
    Old(sqlx::Error),
    /// There is no connection to it.
    #[error("the Python service's database: {0}")]
    OldAway(Unreachable),
    /// Something else has the name of a view.
    #[error(
        "{0} is there already, and not a view that this command made for the account {1}: rename it (alter table {0} \
         rename to …), or name another schema with --schema"
    )]
    Taken(String, String),
    /// There is nothing to compare with.
    #[error(
        "none of these tables is there: {0}. Name their schema with --schema, their names like tl_contacts=people, \
         and their database with COMPAT_DATABASE_URL"
    )]
    NoTables(String),
    /// That is no table of the Python service.
    #[error(
        "{0} is a view that `compat views` made: name the Python service's own table, like tl_contacts=tl_contacts_old"
    )]
    OurView(String),
    /// The token was not taken over.
    #[error(transparent)]
    Tokens(#[from] TokenError),
}

impl CompatError {
    /// Whether the settings are at fault.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Store(StoreError::Url(_)))
    }
}

/// Why the token was not taken over, and where it is now.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is no such table.
    #[error(
        "there is no table {0}: name the Python service's `oauth_table` with --table, and its database with \
         COMPAT_DATABASE_URL"
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
        "the account {0} is authorized already, so nothing was taken over. Does {1} still hold a token? If it is that \
         of this account: {2}"
    )]
    Authorized(Account, String, String),
    /// It does not work.
    #[error(
        "Teamleader refused the token, so nothing was cleared in {0}. It works for the integration alone that it was \
         made for: are TEAMLEADER_CLIENT_ID and _SECRET those of the Python service? Else open the worker's \
         /sync/authorize in a browser"
    )]
    Refused(String),
    /// It belongs to somebody else, and was left alone.
    #[error(
        "the token of {0} belongs to another Teamleader account than the rows here: nothing was done. Is DATABASE_URL \
         right, and TEAMLEADER_ACCOUNT?"
    )]
    OtherAccount(String),
    /// It belongs to somebody else, which was not to be known before.
    #[error(
        "the token belonged to another Teamleader account than the rows here, and is used up: its user has to log in \
         there again. Open the worker's /sync/authorize as a user of the account whose rows are here"
    )]
    Spent,
    /// Nobody knows yet.
    #[error(
        "the token is stored here, and may have been traded already ({0}). The worker goes on with it. Once a sync \
         has run: {1}"
    )]
    Untried(String, String),
    /// It works, and is still there as well.
    #[error(
        "the token is taken over and works, but could not be cleared there ({0}). Before the Python service can start \
         again: {1}"
    )]
    NotCleared(String, String),
    /// The broker, which keeps a fresh pair if the database cannot.
    #[error(transparent)]
    Broker(#[from] AmqpError),
    /// The HTTP client.
    #[error("the HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}
