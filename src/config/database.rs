//! The account and the databases.

use std::path::PathBuf;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use secrecy::SecretString;

use super::completion;
use super::error::ConfigError;
use super::secret::secret;
use crate::ids::Account;
use crate::store::pool;

/// Which account.
#[derive(Args, Debug)]
#[command(next_help_heading = "Account")]
pub struct AccountArgs {
    /// The account that is served: 1 to 64 of A-Z a-z 0-9 _ -
    #[arg(
        long = "account",
        env = "TEAMLEADER_ACCOUNT",
        default_value = "default",
        value_name = "NAME",
        add = ArgValueCompleter::new(completion::accounts)
    )]
    pub account: Account,
}

/// PostgreSQL.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connections")]
pub struct DatabaseArgs {
    /// PostgreSQL, as postgres://user:password@host:5432/database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    database_url_file: Option<PathBuf>,
}

impl DatabaseArgs {
    /// `DATABASE_URL`.
    pub fn url(&self) -> Result<SecretString, ConfigError> {
        self.url_if_set()?.ok_or(ConfigError::Missing("DATABASE_URL"))
    }

    /// `DATABASE_URL`, where the command can do without.
    pub fn url_if_set(&self) -> Result<Option<SecretString>, ConfigError> {
        checked("DATABASE_URL", secret("DATABASE_URL", self.database_url.as_ref(), self.database_url_file.as_deref())?)
    }
}

/// A URL that a server may be reached by, whatever comes of trying.
pub(super) fn checked(name: &'static str, url: Option<SecretString>) -> Result<Option<SecretString>, ConfigError> {
    if let Some(url) = &url {
        pool::check_url(url).map_err(|why| ConfigError::Invalid(name, why))?;
    }
    Ok(url)
}

/// Which copy: of which account, in which database.
#[derive(Args, Debug)]
pub struct CopyArgs {
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl CopyArgs {
    /// The account.
    pub fn account(&self) -> &Account {
        &self.account.account
    }

    /// `DATABASE_URL`.
    pub fn database_url(&self) -> Result<SecretString, ConfigError> {
        self.database.url()
    }

    /// `DATABASE_URL`, where the command can do without.
    pub fn database_url_if_set(&self) -> Result<Option<SecretString>, ConfigError> {
        self.database.url_if_set()
    }
}
