//! The account and the databases.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;

use super::error::ConfigError;
use super::secret::secret;
use crate::ids::Account;

/// Which account.
#[derive(Args, Debug)]
pub struct AccountArgs {
    /// The account that is served: 1 to 64 of A-Z a-z 0-9 _ -
    #[arg(long = "account", env = "TEAMLEADER_ACCOUNT", default_value = "default", value_name = "NAME")]
    pub account: Account,
}

/// PostgreSQL.
#[derive(Args, Debug)]
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
        secret("DATABASE_URL", self.database_url.as_ref(), self.database_url_file.as_deref())
    }
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
