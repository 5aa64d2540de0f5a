//! The HTTP server: where it listens, and the token of its callers.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};

use super::error::ConfigError;
use super::secret::secret;

/// The shortest token of HTTP that is taken beyond loopback, in characters.
const SHORTEST_TOKEN: usize = 16;

/// The HTTP server.
#[derive(Args, Debug)]
#[command(next_help_heading = "HTTP")]
pub struct HttpArgs {
    /// Where the HTTP server listens; beyond loopback a token is required
    #[arg(
        long,
        env = "HTTP_LISTEN",
        default_value = "127.0.0.1:8080",
        value_parser = parse_listen,
        value_name = "ADDRESS"
    )]
    http_listen: SocketAddr,
    /// The token that callers send as `Authorization: Bearer …`
    #[arg(long, env = "HTTP_API_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    http_api_token: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "HTTP_API_TOKEN_FILE", value_name = "FILE")]
    http_api_token_file: Option<PathBuf>,
}

/// Where a server listens.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let how = "it is an IP address and a port, such as 127.0.0.1:8080, or 0.0.0.0:8080 for all addresses";
    text.parse().map_err(|_| how.to_owned())
}

impl HttpArgs {
    /// Where to listen, and the token, which is required beyond loopback.
    pub fn listen(&self) -> Result<(SocketAddr, Option<SecretString>), ConfigError> {
        let token = secret("HTTP_API_TOKEN", self.http_api_token.as_ref(), self.http_api_token_file.as_deref())?;
        let is_loopback = self.http_listen.ip().is_loopback();
        if token.is_none() && !is_loopback {
            let how = format!("{} can be reached from other machines: set HTTP_API_TOKEN too", self.http_listen);
            return Err(ConfigError::Invalid("HTTP_LISTEN", how));
        }
        if let Some(token) = &token {
            check_token(token, is_loopback)?;
        }
        Ok((self.http_listen, token))
    }
}

/// A token that can be sent in a header, and that other machines cannot guess.
fn check_token(token: &SecretString, is_loopback: bool) -> Result<(), ConfigError> {
    let token = token.expose_secret();
    let how = "make one with `head -c 24 /dev/urandom | base64`";
    if token.trim() != token || !token.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        let why = "only visible ASCII characters, and no space at its ends";
        return Err(ConfigError::Invalid("HTTP_API_TOKEN", format!("{why}: {how}")));
    }
    if token.len() < SHORTEST_TOKEN && !is_loopback {
        let why = format!("shorter than {SHORTEST_TOKEN} characters, and other machines can try to guess it");
        return Err(ConfigError::Invalid("HTTP_API_TOKEN", format!("{why}: {how}")));
    }
    Ok(())
}
