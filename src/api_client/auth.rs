//! The access token: one refresh at a time, and a refresh token that works once is never sent twice.
//!
//! The states and transitions live in the store; this is the protocol around them:
//!
//! 1. a short transaction writes the intent (`refreshing`, with a deadline): it proves that the database can be written
//!    before the old token is burnt;
//! 2. ONE request, in a task that no cancellation drops, the deadline checked just before;
//! 3. the pair is stored, or escrowed on the broker where the database cannot be written by then.
//!
//! An unknown outcome is no failure: a caller that finds `refreshing` uses the access token while it lives, waits for
//! the deadline, looks at the escrowed pair and takes the intent over.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;
use tracing::{Instrument as _, error, info, warn};
use uuid::Uuid;

use super::oauth::{OAuth, TOKEN_TIMEOUT, TokenAnswer, TokenPair};
use super::token_store::{Intent, PairFate, StoredToken, TokenState, TokenStore, TokenStoreError};
use crate::ids::{Epoch, Generation};
use crate::process::failpoints::{self, Point};
use crate::process::panics;
use crate::process::telemetry;
use crate::retry;

/// How long an intent holds: longer than the HTTP timeout, so that after it no request of the attempt can be under way.
pub const ATTEMPT_LASTS: Duration = Duration::from_secs(24);

/// Storing a pair takes at most this long at a time; then it is escrowed.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// The time that is left for escrow. A request is sent only where the longest answer, the store and this are within the
/// intent, so that the attempt that takes the intent over finds the pair.
const ESCROW_TIME: Duration = Duration::from_secs(1);

/// Once a pair is escrowed, storing it is tried for this much longer.
const STORE_ESCROWED_TIME: Duration = Duration::from_secs(3);

/// Any other answer of the store is waited for at most this long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// An access token is refreshed this long before its end, or a tenth of its life, whichever is less.
const AHEAD: Duration = Duration::from_secs(60);

/// While another attempt is under way, how often to look whether it has brought a token.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long nobody sends the token of an attempt whose outcome is unknown.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(5);

/// How often storing a pair is tried where a bug ends it: others wait meanwhile.
const TRIES_TO_STORE: u32 = 10;

/// Before looking again after somebody else was first.
const OVERTAKEN_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no access token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuthError {
    /// An operator has to authorize the account.
    #[error("the account is not authorized")]
    NotAuthorized,
    /// Not now: their side, the network, or the client's secret.
    #[error("no access token: {0}")]
    Unavailable(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] TokenStoreError),
}

impl AuthError {
    /// Whether an access token that lives may be used all the same.
    fn leaves_the_access_token(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Store(TokenStoreError::Unavailable(_)) => true,
            Self::NotAuthorized | Self::Store(TokenStoreError::Fenced | TokenStoreError::Unusable(_)) => false,
            Self::Store(TokenStoreError::NewerSchema { .. }) => false,
        }
    }
}

/// An access token to use now.
#[derive(Clone, Debug)]
pub struct AccessToken {
    /// The token.
    pub token: SecretString,
    /// The pair that it belongs to.
    pub generation: Generation,
}

/// Gives out access tokens, and refreshes them. Cheap to clone; clones share one token.
#[derive(Clone, Debug)]
pub struct Auth {
    store: Arc<dyn TokenStore>,
    oauth: OAuth,
    /// The lock is held for the whole of a refresh: others wait, and then find the new token.
    current: Arc<Mutex<Option<Current>>>,
    /// Held from before the request until the pair is stored or escrowed.
    sending: Arc<Mutex<()>>,
    /// Set when the process ends: no request is started any more.
    closing: Arc<AtomicBool>,
}

#[derive(Clone, Debug)]
struct Current {
    access: AccessToken,
    refresh_at: Instant,
}

impl Auth {
    /// Tokens of the account that `store` is for.
    pub fn new(store: Arc<dyn TokenStore>, oauth: OAuth) -> Self {
        Self { store, oauth, current: Arc::default(), sending: Arc::default(), closing: Arc::default() }
    }

    /// A token that works, refreshed ahead of its end. `rejected` is the generation whose token the API refused.
    ///
    /// May wait for an attempt of another process to be over: [`ATTEMPT_LASTS`] at most for each. A refresh that has
    /// started goes on when the caller is dropped.
    pub async fn access_token(&self, epoch: Epoch, rejected: Option<Generation>) -> Result<AccessToken, AuthError> {
        let mut waited = false;
        loop {
            let mut current = Arc::clone(&self.current).lock_owned().await;
            if let Some(usable) = current.as_ref().filter(|c| c.refresh_at > Instant::now())
                && rejected.is_none_or(|generation| usable.access.generation > generation)
            {
                return Ok(usable.access.clone());
            }
            *current = None;
            let Some(stored) = with_deadline(self.store.load()).await? else {
                return Err(AuthError::NotAuthorized);
            };
            let living = stored.living_token(rejected);
            match stored.next(living.as_ref()) {
                NextStep::Authorize => return Err(AuthError::NotAuthorized),
                NextStep::Use(fresh) => {
                    *current = Some(fresh.clone());
                    return Ok(fresh.access);
                }
                NextStep::UseMeanwhile(living) => return Ok(living),
                NextStep::Wait(over_in) => {
                    drop(current);
                    if !std::mem::replace(&mut waited, true) {
                        let seconds = over_in.as_secs();
                        info!(seconds, "Waiting for another attempt to refresh the token to be over");
                    }
                    tokio::time::sleep(over_in.min(LOOK_AGAIN)).await;
                }
                NextStep::Refresh => {
                    let attempt = Attempt { auth: self.clone(), epoch, generation: stored.generation };
                    match attempt.spawn(current).await {
                        Ok(Some(fresh)) => return Ok(fresh.access),
                        // Another process was first. The pause keeps what makes that so again and again from becoming a
                        // hot loop.
                        Ok(None) => tokio::time::sleep(OVERTAKEN_PAUSE).await,
                        Err(error) => {
                            let Some(living) = living.filter(|_| error.leaves_the_access_token()) else {
                                return Err(error);
                            };
                            warn!(%error, "The access token could not be refreshed and is used until its end");
                            return Ok(living.access);
                        }
                    }
                }
            }
        }
    }

    /// Stores a pair that an operator's refresh token was traded for, as one of its own: in a task, escrowed where the
    /// database does not take it. It is not stored where the stored generation is above `made_from`. `None`: a bug
    /// ended it, and is in the log.
    pub async fn adopt(&self, made_from: Generation, pair: TokenPair) -> Option<PairFate> {
        let attempt = Attempt { auth: self.clone(), epoch: Epoch(0), generation: made_from };
        tokio::spawn(async move { attempt.store_or_escrow(&pair).await }.in_current_span()).await.ok()
    }

    /// From now on no refresh token is sent. For shutdown.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    /// Waits for a request that was sent: its pair is stored or escrowed when this returns.
    pub async fn settled(&self) {
        drop(self.sending.lock().await);
    }
}

/// What a stored token means for a caller that wants one.
enum NextStep {
    /// An operator has to authorize the account.
    Authorize,
    /// This one works, and need not be refreshed yet.
    Use(Current),
    /// This one works while another attempt refreshes it.
    UseMeanwhile(AccessToken),
    /// Another attempt to refresh is over after this time, at the latest.
    Wait(Duration),
    /// The refresh token is free to be used.
    Refresh,
}

impl StoredToken {
    /// `living`: its access token, if that can be used.
    fn next(&self, living: Option<&Current>) -> NextStep {
        match (self.state, living) {
            (TokenState::ReauthorizationRequired, _) => NextStep::Authorize,
            (TokenState::Authorized, Some(fresh)) if fresh.refresh_at > Instant::now() => NextStep::Use(fresh.clone()),
            (TokenState::Refreshing(_), Some(living)) => NextStep::UseMeanwhile(living.access.clone()),
            (TokenState::Refreshing(over_in), None) if !over_in.is_zero() => NextStep::Wait(over_in),
            (TokenState::Authorized | TokenState::Refreshing(_), _) => NextStep::Refresh,
        }
    }

    /// The access token, if it lives and was not rejected.
    fn living_token(&self, rejected: Option<Generation>) -> Option<Current> {
        let living = self.access.as_ref()?;
        if living.remaining.is_zero() || rejected.is_some_and(|generation| self.generation <= generation) {
            return None;
        }
        let access = AccessToken { token: living.token.clone(), generation: self.generation };
        Some(Current { access, refresh_at: refresh_at(living.remaining, living.lifetime) })
    }
}

fn refresh_at(remaining: Duration, lifetime: Duration) -> Instant {
    Instant::now() + remaining.saturating_sub(AHEAD.min(lifetime / 10))
}

/// Bounds the wait for an answer of the store: a refresh that hung would keep everybody else from a token.
async fn with_deadline<T>(answer: impl Future<Output = Result<T, TokenStoreError>>) -> Result<T, TokenStoreError> {
    with_deadline_of(ANSWER_TIMEOUT, answer).await
}

async fn with_deadline_of<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, TokenStoreError>>,
) -> Result<T, TokenStoreError> {
    let late = || TokenStoreError::Unavailable(format!("the database did not answer within {} s", limit.as_secs()));
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(late()))
}

/// One attempt to refresh.
struct Attempt {
    auth: Auth,
    epoch: Epoch,
    generation: Generation,
}

impl Attempt {
    /// Runs in a task, with the lock on the current token: no cancellation may drop a request that uses the refresh
    /// token up. `None`: another process was first; look again.
    async fn spawn(self, mut current: OwnedMutexGuard<Option<Current>>) -> Result<Option<Current>, AuthError> {
        let refreshing = async move {
            let outcome = self.run().await;
            if let Ok(Some(fresh)) = &outcome {
                *current = Some(fresh.clone());
            }
            outcome
        };
        let interrupted = |_| Err(AuthError::Unavailable("the refresh was interrupted".to_owned()));
        tokio::spawn(refreshing.in_current_span()).await.unwrap_or_else(interrupted)
    }

    async fn run(self) -> Result<Option<Current>, AuthError> {
        let store = &self.auth.store;
        store.recover_escrowed().await?;
        let id = Uuid::new_v4();
        let started = Instant::now();
        let intent = with_deadline(store.intend(self.epoch, self.generation, id, ATTEMPT_LASTS)).await?;
        let Intent::Written(refresh_token) = intent else {
            return Ok(None);
        };
        failpoints::reached(Point::IntentCommitted);
        // A process that was paused may be too late: after the deadline another one may send the same token. The
        // database's clock went on even where this machine's was paused, too; this machine's has how long the database
        // took to answer.
        let needs = TOKEN_TIMEOUT + STORE_TIMEOUT + ESCROW_TIME;
        let in_time = with_deadline(store.may_send(id, needs)).await? && started.elapsed() + needs < ATTEMPT_LASTS;
        let _sending = self.auth.sending.lock().await;
        if !in_time || self.auth.closing.load(Ordering::SeqCst) {
            with_deadline(store.withdraw(id)).await?;
            return if in_time { Err(AuthError::Unavailable("the process ends".to_owned())) } else { Ok(None) };
        }
        let answer = self.auth.oauth.refresh(&refresh_token).await;
        telemetry::token_refreshed(match &answer {
            TokenAnswer::Pair(_) => "refreshed",
            TokenAnswer::Refused(_) => "refused",
            TokenAnswer::ClientRejected(_) => "client_rejected",
            TokenAnswer::NotSent(_) => "not_sent",
            TokenAnswer::Unknown(_) => "unknown",
        });
        self.conclude(id, answer).await
    }

    /// What the answer to the refresh token means.
    async fn conclude(&self, id: Uuid, answer: TokenAnswer) -> Result<Option<Current>, AuthError> {
        let store = &self.auth.store;
        match answer {
            TokenAnswer::Pair(pair) => {
                // A bug on the way must not cost the pair: it is nowhere else.
                for _ in 0..TRIES_TO_STORE {
                    if panics::caught(self.store_or_escrow(&pair)).await.is_ok() {
                        break;
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                let access = AccessToken { token: pair.access, generation: Generation(self.generation.0 + 1) };
                Ok(Some(Current { access, refresh_at: refresh_at(pair.expires_in, pair.expires_in) }))
            }
            TokenAnswer::Refused(reason) => {
                let reason = format!(
                    "Teamleader refused the refresh token ({}): the integration's settings were saved in the \
                     marketplace, or another program or copy used the token",
                    reason.trim_end_matches('.')
                );
                // A pair that was escrowed meanwhile may explain the refusal.
                store.recover_escrowed().await?;
                if with_deadline(store.refused(self.generation, &reason)).await? {
                    error!(reason, "The refresh token was refused: an operator has to authorize the account again");
                    return Err(AuthError::NotAuthorized);
                }
                Ok(None)
            }
            TokenAnswer::ClientRejected(reason) => {
                with_deadline(store.withdraw(id)).await?;
                Err(AuthError::Unavailable(format!(
                    "Teamleader rejected the integration itself ({reason}): check TEAMLEADER_CLIENT_ID and \
                     TEAMLEADER_CLIENT_SECRET"
                )))
            }
            TokenAnswer::NotSent(reason) => {
                with_deadline(store.withdraw(id)).await?;
                Err(AuthError::Unavailable(format!("the token endpoint cannot be reached: {reason}")))
            }
            TokenAnswer::Unknown(reason) => {
                // Waiting for the deadline would show nothing more. The pause keeps a server that fails from getting
                // the same token again and again at once, and lets it end what it may still be doing.
                if let Err(error) = with_deadline(store.end(id, UNKNOWN_PAUSE)).await {
                    warn!(%error, "An attempt to refresh the token lasts until its deadline");
                }
                Err(AuthError::Unavailable(format!("the outcome of the refresh is unknown: {reason}")))
            }
        }
    }

    /// Stores the pair, or escrows it; a live pair is never thrown away while this process lives.
    async fn store_or_escrow(&self, pair: &TokenPair) -> PairFate {
        failpoints::reached(Point::PairReceived);
        let reason = match self.store(pair).await {
            Ok(fate) => return fate,
            Err(reason) => reason,
        };
        warn!(%reason, "The new token pair could not be stored yet");
        let mut storing = pin!(self.store_at_last(pair));
        // Beside it, since this process may not live to see the database again; the higher generation wins.
        tokio::select! {
            fate = &mut storing => return fate,
            () = self.escrow_at_last(pair) => {}
        }
        // The next process that looks at the escrow stores it.
        match tokio::time::timeout(STORE_ESCROWED_TIME, storing).await {
            Ok(PairFate::Stored) => PairFate::Stored,
            // The newer pair may have been made from this one, once that was taken from the escrow.
            Ok(PairFate::Superseded | PairFate::Escrowed) | Err(_) => PairFate::Escrowed,
        }
    }

    async fn store(&self, pair: &TokenPair) -> Result<PairFate, TokenStoreError> {
        let fate = with_deadline_of(STORE_TIMEOUT, self.auth.store.store(self.generation, pair)).await?;
        failpoints::reached(Point::PairStored);
        match fate {
            PairFate::Superseded => warn!("A newer token pair than the new one is stored, and stays"),
            PairFate::Stored | PairFate::Escrowed => {
                info!(generation = self.generation.0 + 1, "Refreshed the access token");
            }
        }
        Ok(fate)
    }

    async fn store_at_last(&self, pair: &TokenPair) -> PairFate {
        let mut delays = retry::STORE_TOKEN.begin();
        loop {
            tokio::time::sleep(delays.next_delay().unwrap_or(retry::STORE_TOKEN.longest)).await;
            if let Ok(fate) = self.store(pair).await {
                return fate;
            }
        }
    }

    async fn escrow_at_last(&self, pair: &TokenPair) {
        let mut delays = retry::STORE_TOKEN.begin();
        loop {
            failpoints::reached(Point::ParkingWanted);
            match self.auth.store.escrow_pair(self.generation, pair).await {
                Ok(()) => break,
                Err(reason) => {
                    error!(
                        %reason,
                        "The new token pair can be neither stored nor escrowed; trying on, do not stop this process"
                    );
                }
            }
            tokio::time::sleep(delays.next_delay().unwrap_or(retry::STORE_TOKEN.longest)).await;
        }
        failpoints::reached(Point::PairParked);
        warn!("The new token pair is escrowed on the broker until the database can be written");
    }
}
