//! The integration in Teamleader's marketplace, and the keys that seal its tokens.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;
use tracing::warn;

use super::endpoint;
use super::error::ConfigError;
use super::secret::{read_file, secret};
use crate::api_client::oauth::Integration;
use crate::api_client::version;
use crate::store::tokens::cipher::Cipher;

/// The integration, as registered in Teamleader's marketplace.
#[derive(Args, Debug)]
#[command(next_help_heading = "Teamleader")]
pub struct IntegrationArgs {
    /// Client id of the integration
    #[arg(long, env = "TEAMLEADER_CLIENT_ID", hide_env_values = true, value_name = "ID")]
    teamleader_client_id: Option<String>,
    /// A file that holds it
    #[arg(long, env = "TEAMLEADER_CLIENT_ID_FILE", value_name = "FILE")]
    teamleader_client_id_file: Option<PathBuf>,
    /// Client secret of the integration
    #[arg(long, env = "TEAMLEADER_CLIENT_SECRET", hide_env_values = true, value_name = "SECRET")]
    teamleader_client_secret: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "TEAMLEADER_CLIENT_SECRET_FILE", value_name = "FILE")]
    teamleader_client_secret_file: Option<PathBuf>,
    /// Where Teamleader sends the user back to: this worker's /sync/oauth, as the browser reaches it
    #[arg(long, env = "TEAMLEADER_REDIRECT_URI", value_name = "URL")]
    teamleader_redirect_uri: Option<String>,
    /// The API, without user and password
    #[arg(long, env = "TEAMLEADER_API_URI", default_value = "https://api.focus.teamleader.eu", value_name = "URL")]
    teamleader_api_uri: String,
    /// The authorization server, without user and password
    #[arg(long, env = "TEAMLEADER_AUTH_URI", default_value = "https://focus.teamleader.eu", value_name = "URL")]
    teamleader_auth_uri: String,
    /// The dated version of the API that requests ask for: answers have its shape
    #[arg(long, env = "TEAMLEADER_API_VERSION", default_value = version::NEWEST, value_name = "DATE")]
    teamleader_api_version: String,
}

impl IntegrationArgs {
    /// The integration, with a warning in the log where tokens and records can be read on their way.
    pub fn integration_of_worker(&self) -> Result<Integration, ConfigError> {
        let integration = self.integration()?;
        for url in [&integration.api_uri, &integration.auth_uri] {
            if endpoint::can_be_overheard(url) {
                warn!(url, "What goes to Teamleader is not encrypted: set an address that begins with https://");
            }
        }
        Ok(integration)
    }

    /// The integration, all of it.
    pub fn integration(&self) -> Result<Integration, ConfigError> {
        // As everywhere, an empty variable is one that is not set.
        let given = self.teamleader_client_id.as_ref().filter(|id| !id.is_empty());
        let client_id = match (given, &self.teamleader_client_id_file) {
            (Some(_), Some(_)) => return Err(ConfigError::Both("TEAMLEADER_CLIENT_ID")),
            (Some(id), None) => id.clone(),
            (None, Some(file)) => read_file("TEAMLEADER_CLIENT_ID", file)?,
            (None, None) => return Err(ConfigError::Missing("TEAMLEADER_CLIENT_ID")),
        };
        let client_secret = secret(
            "TEAMLEADER_CLIENT_SECRET",
            self.teamleader_client_secret.as_ref(),
            self.teamleader_client_secret_file.as_deref(),
        )?
        .ok_or(ConfigError::Missing("TEAMLEADER_CLIENT_SECRET"))?;
        let redirect_uri = self.teamleader_redirect_uri.as_deref().ok_or_else(|| {
            let how = "not set: the address of this worker's /sync/oauth as the browser reaches it, as registered in \
                the marketplace";
            ConfigError::Invalid("TEAMLEADER_REDIRECT_URI", how.to_owned())
        })?;
        let checked = endpoint::http_url(redirect_uri);
        let checked = checked.map_err(|why| ConfigError::Invalid("TEAMLEADER_REDIRECT_URI", why))?;
        if checked.fragment().is_some() {
            let why = "a URL without #, to which Teamleader sends nobody back".to_owned();
            return Err(ConfigError::Invalid("TEAMLEADER_REDIRECT_URI", why));
        }
        Ok(Integration {
            client_id,
            client_secret,
            redirect_uri: redirect_uri.to_owned(),
            auth_uri: base_url("TEAMLEADER_AUTH_URI", &self.teamleader_auth_uri)?,
            api_uri: base_url("TEAMLEADER_API_URI", &self.teamleader_api_uri)?,
            api_version: self
                .teamleader_api_version
                .parse()
                .map_err(|why| ConfigError::Invalid("TEAMLEADER_API_VERSION", why))?,
        })
    }
}

/// How tokens are sealed.
#[derive(Args, Debug)]
#[command(next_help_heading = "Teamleader")]
pub struct KeyArgs {
    /// Keys of 32 bytes in base64, comma-separated: the first encrypts tokens, all decrypt
    #[arg(long, env = "TOKEN_ENCRYPTION_KEY", hide_env_values = true, value_name = "KEYS")]
    token_encryption_key: Option<SecretString>,
    /// A file that holds them
    #[arg(long, env = "TOKEN_ENCRYPTION_KEY_FILE", value_name = "FILE")]
    token_encryption_key_file: Option<PathBuf>,
}

impl KeyArgs {
    /// The keys.
    pub fn cipher(&self) -> Result<Cipher, ConfigError> {
        let keys = secret(
            "TOKEN_ENCRYPTION_KEY",
            self.token_encryption_key.as_ref(),
            self.token_encryption_key_file.as_deref(),
        )?
        .ok_or(ConfigError::Missing("TOKEN_ENCRYPTION_KEY"))?;
        Ok(Cipher::new(&keys)?)
    }
}

fn base_url(name: &'static str, text: &str) -> Result<String, ConfigError> {
    endpoint::base_url(text).map_err(|why| ConfigError::Invalid(name, why))
}
