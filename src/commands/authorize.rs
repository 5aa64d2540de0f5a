//! `authorize`: the link that authorizes the account, and what comes of it.

use std::sync::Arc;

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use tracing::warn;

use super::outcome::Outcome;
use super::terminal;
use crate::api_client::oauth::OAuth;
use crate::authorization_flow::{self, Callback, NotTaken, Taken};
use crate::broker::consumer::Consumer;
use crate::broker::escrow::TokenQueue;
use crate::broker::publisher::Publisher;
use crate::config::{self, AmqpArgs, CopyArgs, IntegrationArgs, KeyArgs};
use crate::store::tokens::authorization::StartedBy;
use crate::store::tokens::{Escrow, Tokens};
use crate::store::{pool, schema};

/// The arguments of `authorize`.
#[derive(Args, Debug)]
pub struct AuthorizeArgs {
    /// The code of the address that Teamleader sent the browser to
    #[arg(long, requires = "state", value_name = "CODE", conflicts_with = "refresh_token")]
    code: Option<SecretString>,
    /// The state of the same address
    #[arg(long, requires = "code", value_name = "STATE")]
    state: Option<String>,
    /// Try a refresh token that nobody else uses, and store what it is traded for; `-` reads it from standard input
    #[arg(long, value_name = "TOKEN")]
    refresh_token: Option<SecretString>,
    /// Store the refresh token without trying it, in the place of one that may work: for when the API is down
    #[arg(long, requires = "refresh_token")]
    force: bool,
    #[command(flatten)]
    copy: CopyArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
    #[command(flatten)]
    integration: IntegrationArgs,
    #[command(flatten)]
    key: KeyArgs,
}

impl AuthorizeArgs {
    /// Whether it trades a code or a token, which would be used up without its pair if it were cut short.
    pub fn trades(&self) -> bool {
        self.code.is_some() || self.refresh_token.is_some()
    }

    /// Runs the command.
    pub async fn run(mut self) -> anyhow::Result<Outcome> {
        // Before anything is looked at: what was given cannot be used.
        let token = match self.refresh_token.take() {
            Some(token) => Some(config::refresh_token("--refresh-token", &read_if_dash(token).await?)?),
            None => None,
        };
        let pool = pool::open(&self.copy.database_url()?).await?;
        schema::check(&pool).await?;
        let escrow = if token.is_some() && !self.force { self.escrow().await? } else { None };
        let tokens = Tokens::new(pool, self.copy.account().clone(), self.key.cipher()?, escrow);
        if let (Some(token), true) = (&token, self.force) {
            tokens.authorize_with_refresh_token(token).await?;
            terminal::print("refresh token stored untried: the worker uses it when it next needs an access token");
            return Ok(Outcome::Done);
        }
        let oauth = OAuth::new(self.integration.integration()?)?;
        if let Some(token) = token {
            return try_token(&tokens, &oauth, &token).await;
        }
        let (Some(code), Some(state)) = (self.code, self.state) else {
            let link = authorization_flow::link(&tokens, &oauth, StartedBy::Command).await?;
            terminal::note(
                "Open this link in a browser within an hour, and log in to Teamleader, which sends the browser on to \
                 TEAMLEADER_REDIRECT_URI. If no worker listens there, take code and state from the address: \
                 teamleader2db authorize --code … --state …",
            );
            terminal::print(&link.url);
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

    /// Where a pair goes that the database cannot take, if there is a broker.
    async fn escrow(&self) -> anyhow::Result<Option<Arc<dyn Escrow>>> {
        let Some(url) = self.amqp.url_if_set()? else { return Ok(None) };
        let names = self.amqp.names(self.copy.account())?;
        if let Err(error) = Consumer::prepare(&url, &names, self.amqp.amqp_declare).await {
            warn!(%error, "The new pair cannot be escrowed, should the database go away meanwhile");
            return Ok(None);
        }
        let publisher = Publisher::new(url.clone(), "teamleader2db authorize");
        Ok(Some(Arc::new(TokenQueue::new(url, publisher, &names))))
    }
}

async fn try_token(tokens: &Tokens, oauth: &OAuth, token: &SecretString) -> anyhow::Result<Outcome> {
    match authorization_flow::try_refresh_token(tokens, oauth, token).await {
        Ok(Taken { by, is_escrowed }) => {
            let by = match by {
                Some(by) => format!(": authorized by {}", by.name),
                None => "; whose it is the worker asks before it syncs".to_owned(),
            };
            let waits =
                "; its new pair waits on the broker until a worker stores it, unless a newer one is stored then";
            terminal::print(&format!("refresh token accepted{by}{}", if is_escrowed { waits } else { "" }));
        }
        Err(stored @ NotTaken::Stored) => terminal::print(&stored.to_string()),
        Err(why) => {
            terminal::complain(&why.to_string());
            return Ok(Outcome::Failed);
        }
    }
    Ok(Outcome::Done)
}

/// The token, or the first line of standard input for `-`: arguments can be seen by other users of the machine.
async fn read_if_dash(token: SecretString) -> anyhow::Result<SecretString> {
    if token.expose_secret() != "-" {
        return Ok(token);
    }
    // On a thread of its own: a signal must end the waiting.
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    Ok(line.await??.into())
}
