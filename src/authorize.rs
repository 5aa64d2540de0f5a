//! Authorizing an account: a link with a state that works once, and the code that comes back. For the browser and the shell.

use secrecy::SecretString;
use tracing::info;

use crate::fault::{self, Point};
use crate::store::authorization::Accepted;
use crate::store::pool::StoreError;
use crate::store::tokens::Tokens;
use crate::teamleader::oauth::{OAuth, TokenAnswer};

/// Why a code is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// The user said no, or Teamleader did.
    #[error("Teamleader says {0}: open /sync/authorize again")]
    Denied(String),
    /// A parameter is missing.
    #[error("code and state are needed: open /sync/authorize instead of this page")]
    Incomplete,
    /// The state was not given out for this account, was used already, or is older than an hour.
    #[error("the state is unknown, used or too old: open /sync/authorize again, and log in within an hour")]
    State,
    /// The code does not work.
    #[error("Teamleader refused the code ({0}): open /sync/authorize again; a code works once, for 10 minutes")]
    Code(String),
    /// The integration's own id or secret are wrong.
    #[error(
        "Teamleader rejected the integration ({0}): check TEAMLEADER_CLIENT_ID, TEAMLEADER_CLIENT_SECRET and TEAMLEADER_REDIRECT_URI"
    )]
    Client(String),
    /// The user belongs to another account than the one whose records are stored.
    #[error("another Teamleader account")]
    OtherAccount,
    /// Teamleader did not answer as it should.
    #[error("Teamleader did not answer as it should ({0}): open /sync/authorize again")]
    Unclear(String),
    /// The database.
    #[error("it could not be stored ({0}): open /sync/authorize again")]
    Store(#[from] StoreError),
}

/// The link that a person opens to authorize. Its state works once, for an hour.
pub async fn link(tokens: &Tokens, oauth: &OAuth) -> Result<String, StoreError> {
    Ok(oauth.authorize_url(&tokens.new_state().await?))
}

/// Trades a code for tokens and stores them. Any process may do it, at any time.
pub async fn accept(tokens: &Tokens, oauth: &OAuth, code: SecretString, state: String) -> Result<(), Rejected> {
    // In a task of its own: a browser that goes away must not leave a used code without its tokens.
    let (tokens, oauth) = (tokens.clone(), oauth.clone());
    tokio::spawn(async move { trade(&tokens, &oauth, &code, &state).await })
        .await
        .unwrap_or_else(|_| Err(Rejected::Unclear("it was interrupted".to_owned())))
}

async fn trade(tokens: &Tokens, oauth: &OAuth, code: &SecretString, state: &str) -> Result<(), Rejected> {
    if !tokens.use_state(state).await? {
        return Err(Rejected::State);
    }
    let pair = match oauth.exchange(code).await {
        TokenAnswer::Pair(pair) => pair,
        TokenAnswer::Refused(reason) => return Err(Rejected::Code(reason)),
        TokenAnswer::ClientRejected(reason) => return Err(Rejected::Client(reason)),
        TokenAnswer::NotSent(reason) | TokenAnswer::Unknown(reason) => {
            return Err(Rejected::Unclear(reason));
        }
    };
    fault::reached(Point::CodeTraded);
    let by = oauth.who_authorized(&pair.access).await.map_err(Rejected::Unclear)?;
    match tokens.authorize(&pair, &by).await? {
        Accepted::Stored => {
            fault::reached(Point::AuthorizationCommitted);
            info!(by = by.name, teamleader_account = %by.account, "The account is authorized");
            Ok(())
        }
        Accepted::OtherAccount => Err(Rejected::OtherAccount),
    }
}
