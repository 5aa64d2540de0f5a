//! Authorizing an account: a link with a state that works once, and the code that comes back. For the browser and the
//! shell.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tracing::{info, warn};
use uuid::Uuid;

use crate::api_client::auth::Auth;
use crate::api_client::oauth::{Authorizer, OAuth, TOKEN_TIMEOUT, TokenAnswer, TokenPair};
use crate::api_client::token_store::PairFate;
use crate::process::failpoints::{self, Point};
use crate::process::panics::{self, Panicked};
use crate::store::pool::{self, StoreError};
use crate::store::tokens::Tokens;
use crate::store::tokens::authorization::{Accepted, StartedBy, StateUse};

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
    /// The state is bound to another browser.
    #[error(
        "another browser began this, or this one lost its cookie: open /sync/authorize again, at the address of \
         TEAMLEADER_REDIRECT_URI"
    )]
    OtherBrowser,
    /// The code does not work.
    #[error("Teamleader refused the code ({0}): open /sync/authorize again; a code works once, for 10 minutes")]
    Code(String),
    /// The integration's own id or secret are wrong.
    #[error(
        "Teamleader rejected the integration ({0}): check TEAMLEADER_CLIENT_ID, TEAMLEADER_CLIENT_SECRET and \
         TEAMLEADER_REDIRECT_URI"
    )]
    Client(String),
    /// The user belongs to another account than the one whose records are stored.
    #[error(
        "another Teamleader account: the records here are of {wanted}, and who logged in belongs to {came}. Log in to \
         Teamleader as a user of the former and open /sync/authorize again, or give the latter a TEAMLEADER_ACCOUNT of \
         its own"
    )]
    OtherAccount {
        /// Whose records are stored.
        wanted: Uuid,
        /// Whose user came.
        came: Uuid,
    },
    /// Nothing is used up yet, so the same address works later.
    #[error("{0}: load this page again in a minute")]
    NotNow(&'static str),
    /// Teamleader did not answer as it should.
    #[error("Teamleader did not answer as it should ({0}): open /sync/authorize again")]
    Unclear(String),
    /// The database.
    #[error("it could not be stored ({0}): open /sync/authorize again")]
    Store(#[from] StoreError),
    /// A bug.
    #[error("it could not be stored: {0}. Open /sync/authorize again")]
    Bug(#[from] Panicked),
}

/// How often storing a pair is tried where a bug ends it.
const TRIES_TO_STORE: u32 = 3;

/// The database says within this whether a state is good. Nothing is lost where it does not.
const STATE_TIMEOUT: Duration = Duration::from_secs(5);

/// `users.me` is waited for this long. Meanwhile the pair is nowhere but in this process, and the check before the next
/// list asks again.
const IDENTITY_TIMEOUT: Duration = Duration::from_secs(5);

/// Storing a pair takes at most this long, tries after a bug included.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that [`accept`] takes.
pub const LONGEST: Duration = Duration::from_secs(
    STATE_TIMEOUT.as_secs() + TOKEN_TIMEOUT.as_secs() + IDENTITY_TIMEOUT.as_secs() + STORE_TIMEOUT.as_secs(),
);

/// A link that an operator opens to authorize the account. Its state works once, for an hour.
pub struct Link {
    /// Where it leads.
    pub url: String,
    /// The state in it.
    pub state: String,
}

/// A new link.
pub async fn link(tokens: &Tokens, oauth: &OAuth, by: StartedBy) -> Result<Link, StoreError> {
    let state = tokens.new_state(by).await?;
    Ok(Link { url: oauth.authorize_url(&state), state })
}

/// What Teamleader sends back.
pub struct Callback {
    /// Works once.
    pub code: SecretString,
    /// That of the link.
    pub state: String,
    /// Whether the cookie of this state came with it, or who brings it needs none.
    pub has_cookie: bool,
}

/// Trades a code for tokens and stores them. Any process may do it, at any time. Not to be cancelled: a code that is
/// used up would be left without its tokens.
pub async fn accept(tokens: &Tokens, oauth: &OAuth, callback: Callback) -> Result<(), Rejected> {
    let used = tokens.use_state(&callback.state, callback.has_cookie);
    match pool::with_deadline_of(STATE_TIMEOUT, used).await? {
        StateUse::Accepted => {}
        StateUse::OtherBrowser => return Err(Rejected::OtherBrowser),
        StateUse::Unknown => return Err(Rejected::State),
    }
    let pair = match oauth.exchange(&callback.code).await {
        TokenAnswer::Pair(pair) => pair,
        TokenAnswer::Refused(reason) => return Err(Rejected::Code(reason)),
        TokenAnswer::ClientRejected(reason) => return Err(Rejected::Client(reason)),
        TokenAnswer::NotSent(reason) | TokenAnswer::Unknown(reason) => {
            return Err(Rejected::Unclear(reason));
        }
    };
    // Before the pair is stored, since one of another account must not replace the stored one.
    let by = who_authorized(oauth, &pair).await;
    pool::with_deadline_of(STORE_TIMEOUT, store_with_retries(tokens, &pair, by.as_ref())).await
}

/// Why a refresh token that an operator gave is not in use. What was stored before is as it was, unless it says else.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// It is stored already.
    #[error("this refresh token is stored already: the worker trades it when it needs an access token")]
    Stored,
    /// It does not work.
    #[error(
        "Teamleader refused the refresh token ({0}), so nothing was stored. It works once, and for the integration \
         alone that it was made for"
    )]
    Refused(String),
    /// The integration's own id or secret are wrong.
    #[error(
        "Teamleader rejected the integration ({0}), so nothing was stored, and the token is not used up: check \
         TEAMLEADER_CLIENT_ID and TEAMLEADER_CLIENT_SECRET"
    )]
    Client(String),
    /// Teamleader cannot be reached.
    #[error(
        "the token was not tried, since Teamleader cannot be reached ({0}), and nothing was stored. Try again later, \
         or store it untried with --force"
    )]
    NotSent(String),
    /// Nobody knows whether it is used up.
    #[error(
        "Teamleader did not answer as it should ({0}): the token may be used up, and nothing was stored. Open the \
         worker's /sync/authorize in a browser"
    )]
    Unclear(String),
    /// It belongs to another account than the one whose records are stored.
    #[error(
        "the refresh token belongs to another Teamleader account than the rows here, and is used up. It was not stored"
    )]
    OtherAccount,
    /// The pair belongs to somebody, and nobody knows to whom.
    #[error(
        "the token is used up, and the new pair could not be stored ({0}), since whose it is is not known. Open the \
         worker's /sync/authorize in a browser"
    )]
    Lost(String),
    /// A worker has traded the stored token meanwhile, and what it got was stored first.
    #[error(
        "the token works and is used up, and its new pair was not put in use: a worker has stored a newer one \
         meanwhile, which stays. `teamleader2db status` says who authorized that. If it is not who you want, open the \
         worker's /sync/authorize in a browser"
    )]
    Superseded,
    /// A bug.
    #[error(
        "the token is used up, and the new pair could not be stored ({0}): the log says why. Open the worker's \
         /sync/authorize in a browser"
    )]
    NotStored(String),
    /// The database, before anything was used up.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// A refresh token that was traded, and whose pair is not lost.
#[derive(Debug)]
pub struct Taken {
    /// Who authorized, if that is known.
    pub by: Option<Authorizer>,
    /// Whether the pair waits on the broker for a worker that stores it, as the database did not take it.
    pub is_escrowed: bool,
}

/// Tries a refresh token that an operator gives: trades it, once, for its next pair, and stores that. What is stored
/// stays until then. Not to be cancelled: the token would be used up and its
/// pair in no place.
///
/// Where a pair is stored that works, it is asked first whose the new one is: one of another account must not replace
/// it. Else storing comes first, as with each pair.
pub async fn try_refresh_token(tokens: &Tokens, oauth: &OAuth, given: &SecretString) -> Result<Taken, NotTaken> {
    let standing = pool::with_deadline_of(STATE_TIMEOUT, tokens.standing(given)).await?;
    if standing.holds_it {
        // A worker may be trading it at this moment: it would be sent twice.
        return Err(NotTaken::Stored);
    }
    let pair = match oauth.refresh(given).await {
        TokenAnswer::Pair(pair) => pair,
        TokenAnswer::Refused(reason) => return Err(NotTaken::Refused(reason)),
        TokenAnswer::ClientRejected(reason) => return Err(NotTaken::Client(reason)),
        TokenAnswer::NotSent(reason) => return Err(NotTaken::NotSent(reason)),
        TokenAnswer::Unknown(reason) => return Err(NotTaken::Unclear(reason)),
    };
    let protects = standing.is_authorized && standing.teamleader_account.is_some();
    let by = if protects { who_authorized(oauth, &pair).await } else { None };
    let stored = pool::with_deadline_of(STORE_TIMEOUT, store_with_retries(tokens, &pair, by.as_ref())).await;
    let by = match by {
        None => who_authorized(oauth, &pair).await,
        by => by,
    };
    match stored {
        Ok(()) => Ok(Taken { by: confirm(tokens, by).await?, is_escrowed: false }),
        Err(Rejected::OtherAccount { .. }) => Err(NotTaken::OtherAccount),
        Err(rejected) => {
            warn!(%rejected, "The new token pair could not be stored yet");
            match (standing.teamleader_account, &by) {
                (Some(ours), Some(by)) if ours != by.account => return Err(NotTaken::OtherAccount),
                (Some(_), None) => return Err(NotTaken::Lost(rejected.to_string())),
                _ => {}
            }
            // To store it later leaves whose it was before: that is the same account, or nobody knows yet.
            match Auth::new(Arc::new(tokens.clone()), oauth.clone()).adopt(standing.generation, pair).await {
                Some(PairFate::Stored) => Ok(Taken { by, is_escrowed: false }),
                Some(PairFate::Escrowed) => Ok(Taken { by, is_escrowed: true }),
                Some(PairFate::Superseded) => Err(NotTaken::Superseded),
                None => Err(NotTaken::NotStored(rejected.to_string())),
            }
        }
    }
}

/// Stores whose a stored pair is, if that was not known before.
async fn confirm(tokens: &Tokens, by: Option<Authorizer>) -> Result<Option<Authorizer>, NotTaken> {
    if let Some(by) = &by
        && matches!(tokens.confirm_identity(by).await?, Accepted::OtherAccount { .. })
    {
        return Err(NotTaken::OtherAccount);
    }
    Ok(by)
}

/// Whose pair it is; `None`: it is not known in time.
async fn who_authorized(oauth: &OAuth, pair: &TokenPair) -> Option<Authorizer> {
    let asked = panics::caught(oauth.who_authorized(&pair.access));
    let reason = match tokio::time::timeout(IDENTITY_TIMEOUT, asked).await {
        Ok(Ok(Ok(by))) => return Some(by),
        Ok(Ok(Err(reason))) => reason,
        Ok(Err(panicked)) => panicked.to_string(),
        Err(_) => format!("users.me did not answer within {} s", IDENTITY_TIMEOUT.as_secs()),
    };
    warn!(reason, "It is not known who authorized the account: that is asked again before the next list");
    None
}

/// A bug on the way must not cost the pair: it is nowhere else, and its code is used up.
async fn store_with_retries(tokens: &Tokens, pair: &TokenPair, by: Option<&Authorizer>) -> Result<(), Rejected> {
    for _ in 1..TRIES_TO_STORE {
        if let Ok(stored) = panics::caught(store(tokens, pair, by)).await {
            return stored;
        }
    }
    panics::caught(store(tokens, pair, by)).await?
}

async fn store(tokens: &Tokens, pair: &TokenPair, by: Option<&Authorizer>) -> Result<(), Rejected> {
    failpoints::reached(Point::CodeTraded);
    match tokens.authorize(pair, by).await? {
        Accepted::Stored => {
            failpoints::reached(Point::AuthorizationCommitted);
            if let Some(by) = by {
                info!(by = by.name, teamleader_account = %by.account, "The account is authorized");
            }
            Ok(())
        }
        Accepted::OtherAccount { wanted, came } => Err(Rejected::OtherAccount { wanted, came }),
    }
}
