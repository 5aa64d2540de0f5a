//! `authorize`: the link that authorizes the account, and what comes of it.

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};

use super::outcome::Outcome;
use super::terminal;
use crate::api_client::oauth::OAuth;
use crate::authorization_flow::{self, Callback};
use crate::config::{CopyArgs, IntegrationArgs, KeyArgs};
use crate::store::pool;
use crate::store::tokens::Tokens;
use crate::store::tokens::authorization::StartedBy;

/// The arguments of `authorize`.
#[derive(Args, Debug)]
pub struct AuthorizeArgs {
    /// The code of the address that Teamleader sent the browser to
    #[arg(long, requires = "state", value_name = "CODE", conflicts_with = "refresh_token")]
    code: Option<SecretString>,
    /// The state of the same address
    #[arg(long, requires = "code", value_name = "STATE")]
    state: Option<String>,
    /// Store a refresh token that nobody else uses; `-` reads it from standard input
    #[arg(long, value_name = "TOKEN")]
    refresh_token: Option<SecretString>,
    #[command(flatten)]
    copy: CopyArgs,
    #[command(flatten)]
    integration: IntegrationArgs,
    #[command(flatten)]
    key: KeyArgs,
}

impl AuthorizeArgs {
    /// Whether it trades a code, which would be used up without its tokens if it were cut short.
    pub fn trades_a_code(&self) -> bool {
        self.code.is_some()
    }

    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<Outcome> {
        let pool = pool::connect(&self.copy.database_url()?)?;
        pool::check_schema(&pool).await?;
        let tokens = Tokens::new(pool, self.copy.account().clone(), self.key.cipher()?, None);
        if let Some(token) = self.refresh_token {
            tokens.authorize_with_refresh_token(&read_if_dash(token)?).await?;
            terminal::print("refresh token stored: the worker uses it when it next needs an access token");
            return Ok(Outcome::Done);
        }
        let oauth = OAuth::new(self.integration.integration()?)?;
        let (Some(code), Some(state)) = (self.code, self.state) else {
            terminal::print(&authorization_flow::link(&tokens, &oauth, StartedBy::Command).await?.url);
            return Ok(Outcome::Done);
        };
        // Who has the database's password and the keys needs no cookie.
        match authorization_flow::accept(&tokens, &oauth, Callback { code, state, has_cookie: true }).await {
            Ok(()) => {
                terminal::print("code accepted");
                Ok(Outcome::Done)
            }
            Err(rejected) => {
                terminal::print(&format!("code rejected: {rejected}"));
                Ok(Outcome::Failed)
            }
        }
    }
}

/// The token, or the first line of standard input for `-`: arguments can be seen by other users of the machine.
fn read_if_dash(token: SecretString) -> anyhow::Result<SecretString> {
    if token.expose_secret() != "-" {
        return Ok(token);
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned().into())
}
