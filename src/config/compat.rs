//! The database of the Python service that this program replaces.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;

use super::database::checked;
use super::error::ConfigError;
use super::secret::secret;

/// The database of the Python service that this program replaces.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connections")]
pub struct CompatArgs {
    /// The Python service's database, if it is another one than this program's
    #[arg(long, env = "COMPAT_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    compat_database_url: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "COMPAT_DATABASE_URL_FILE", value_name = "FILE")]
    compat_database_url_file: Option<PathBuf>,
}

impl CompatArgs {
    /// The variable's name.
    pub const NAME: &str = "COMPAT_DATABASE_URL";

    /// The URL, if it is another database.
    pub fn url(&self) -> Result<Option<SecretString>, ConfigError> {
        let (url, file) = (self.compat_database_url.as_ref(), self.compat_database_url_file.as_deref());
        checked(Self::NAME, secret(Self::NAME, url, file)?)
    }
}
