//! Why an export was not done.

use std::path::PathBuf;

use crate::config::ConfigError;
use crate::store::accounts::UnknownAccount;
use crate::store::pool::{self, StoreError};
use crate::store::sqlstate;

/// Why it was not done, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is another database, or an old copy.
    #[error(
        "this database has no copy that this version knows: is DATABASE_URL right? If it is, `teamleader2db migrate` \
         brings it up to date"
    )]
    NoCopy,
    /// There is no such account.
    #[error(transparent)]
    Account(#[from] UnknownAccount),
    /// There is no such view.
    #[error("there is no view {0:?} in schema teamleader_views: {1}")]
    Unknown(String, String),
    /// The condition is not one, or cannot be decided for a row.
    #[error("--where: {}{}", pool::in_words(.0), hint(.0))]
    Condition(sqlx::Error),
    /// The file, or the disk.
    #[error("{file} cannot be written: {1}. Fix that, or name another file with -o", file = .0.display())]
    Output(PathBuf, std::io::Error),
}

impl ExportError {
    /// Whether what was asked for is at fault.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Config(_)
                | Self::Store(StoreError::Url(_))
                | Self::Account(..)
                | Self::Unknown(..)
                | Self::Condition(_)
        )
    }
}

/// What is likely to be meant: `status = active` asks for a column `active`.
fn hint(error: &sqlx::Error) -> &'static str {
    match pool::sqlstate(error).as_deref() {
        Some(sqlstate::NO_COLUMN) => {
            ". A text stands in single quotes, and all in double ones for the shell: --where \"status = 'active'\""
        }
        _ => "",
    }
}
