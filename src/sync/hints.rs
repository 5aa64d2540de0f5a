//! Serves hints: looks at the records that webhooks have named, while nothing runs or beside a run.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::look::{self, Brought, Looked, Reader};
use super::registration::{self, ApiOrStore, Registrar};
use super::slice::WorkError;
use crate::api_client::client::{ApiError, Client};
use crate::api_client::token_store::TokenStoreError;
use crate::api_client::webhooks::Webhooks;
use crate::catalog::webhooks::Look;
use crate::catalog::{self, Resource, Scope};
use crate::ids::{Account, Epoch};
use crate::process::failpoints::{self, Point};
use crate::process::telemetry;
use crate::retry::Failure;
use crate::store::hints::{self, Found, Hint, Served, loss, wake};
use crate::store::lease;
use crate::store::pool::{self, StoreError};
use crate::store::records::Written;
use crate::store::records::elsewhere::Elsewhere;

/// Records that are looked at at once.
const AT_ONCE: i64 = 100;

/// Lists of parents that are read at once.
const LISTS_AT_ONCE: i64 = 10;

/// How often a slice looks for hints that nobody has notified it of.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// How often it is said that hints are served: after 10 s without a word somebody is woken for them.
const SAYS_EVERY: Duration = Duration::from_secs(4);

/// How long nothing is looked at while the API is down.
pub const API_RESTS: Duration = Duration::from_secs(30);

/// How long nothing is looked at after an error of the database, which the run meets as well.
const STORE_RESTS: Duration = Duration::from_secs(2);

/// Of so many at most that find nothing new, each is looked at once more after 2 s.
const FEW: usize = 3;

/// A transaction that another was in the way of is tried this often.
const TRIES: u32 = 3;

/// Serves hints with a lease.
#[derive(Debug)]
pub struct HintServer<'a> {
    /// The database.
    pub pool: &'a PgPool,
    /// The account.
    pub account: &'a Account,
    /// The API, as hints ask it.
    pub client: Client,
    /// The fence.
    pub epoch: Epoch,
    /// Readers of lists, who have to know what is written.
    pub elsewhere: &'a Elsewhere,
    /// What is synced.
    pub synced: &'a [&'static Resource],
    /// Notified when hints may have come.
    pub came: &'a Notify,
    /// The addresses for webhooks, where they are wanted.
    pub webhooks: Option<&'a Webhooks>,
    /// When it was last looked whether something of the registration is due.
    pub registration_looked_at: LookedAt,
}

/// When something was last looked at, in a task that others may be waiting beside.
#[derive(Debug, Default)]
pub struct LookedAt(Mutex<Option<Instant>>);

impl LookedAt {
    /// Whether that is as long ago as this, or never was; it is looked at now then.
    fn is_due(&self, every: Duration) -> bool {
        let mut at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = at.is_none_or(|at| at.elapsed() >= every);
        if is_due {
            *at = Some(Instant::now());
        }
        is_due
    }
}

/// What came of a look for hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// Some were served or put off.
    Served,
    /// There are none now.
    None,
    /// The API is down.
    Down,
    /// The account is not authorized.
    Unauthorized,
}

/// How the serving of hints ended while nothing runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All that can be are served, or time is up.
    InOrder,
    /// The API is down: nobody is to be woken for this long.
    Rests(Duration),
    /// The account is not authorized.
    Unauthorized,
}

impl HintServer<'_> {
    /// Serves those that wait, until none is left or `is_over`.
    pub async fn serve(&self, is_over: impl Fn() -> bool) -> Result<Ended, StoreError> {
        loop {
            match self.round().await? {
                Round::Served if !is_over() => {}
                Round::Served | Round::None => return Ok(Ended::InOrder),
                Round::Down => return Ok(Ended::Rests(API_RESTS)),
                Round::Unauthorized => return Ok(Ended::Unauthorized),
            }
        }
    }

    /// Says again and again that hints are served, however long a look lasts. Where it cannot be said, looks fail, too.
    pub async fn say_so(&self) -> Infallible {
        loop {
            sleep(SAYS_EVERY).await;
            let _ = pool::with_deadline(wake::serving(self.pool, self.account)).await;
        }
    }

    /// Serves them as they come, beside a run, until it is dropped. What goes wrong with the database the run meets,
    /// too.
    pub async fn serve_beside_a_run(&self) -> Infallible {
        let _ = pool::with_deadline(wake::serving(self.pool, self.account)).await;
        loop {
            let came = self.came.notified();
            match self.round().await {
                Ok(Round::Served) => {}
                Ok(Round::None) => _ = timeout(LOOKS_EVERY, came).await,
                Ok(Round::Down | Round::Unauthorized) => sleep(API_RESTS).await,
                Err(error) => {
                    debug!(%error, "Hints cannot be served now");
                    sleep(STORE_RESTS).await;
                }
            }
        }
    }

    /// Serves the next of them, after what is due of the registration.
    async fn round(&self) -> Result<Round, StoreError> {
        if let Some(round) = self.keep_registration().await? {
            return Ok(round);
        }
        let Some((resource, mut hints)) = hints::due(self.pool, self.account, AT_ONCE).await? else {
            return Ok(Round::None);
        };
        let Some(of) = catalog::find(&resource).filter(|of| self.synced.contains(of)) else {
            // It was synced when they came.
            hints::forget(self.pool, self.account, &resource).await?;
            return Ok(Round::Served);
        };
        if matches!(of.scope, Scope::Parent(..)) {
            hints.truncate(LISTS_AT_ONCE as usize);
        }
        failpoints::reached(Point::HintsChosen);
        if let Some(round) = self.serve_some(of, &hints).await? {
            return Ok(round);
        }
        // One of them is to blame, and costs only itself.
        for hint in hints {
            let alone = std::slice::from_ref(&hint);
            match self.serve_some(of, alone).await? {
                Some(Round::Served) => {}
                Some(round) => return Ok(round),
                None => hints::postpone(self.pool, self.account, of.name, alone).await?,
            }
        }
        Ok(Round::Served)
    }

    /// Looks at these, and stores what that brings. `None`: it cannot be read or stored, for no reason that concerns
    /// all.
    async fn serve_some(&self, of: &'static Resource, hints: &[Hint]) -> Result<Option<Round>, StoreError> {
        let (name, few) = (of.name, hints.len() == 1);
        let looked = match self.look(of, hints).await {
            Ok(looked) => looked,
            Err(error) => {
                let (why, is_refused) = (error.to_string(), is_refused(&error));
                if let Some(round) = self.judge(error).await? {
                    return Ok(Some(round));
                }
                warn!(error = why, "Records of {name} that webhooks have named could not be read");
                // It would be so each time. The next pass says so, too.
                if !(few && is_refused) {
                    return Ok(None);
                }
                vec![Looked::default()]
            }
        };
        match self.store(of, hints, looked).await {
            Ok(()) => Ok(Some(Round::Served)),
            Err(error) if error.is_refused() => {
                warn!(%error, "Records of {name} that webhooks have named could not be stored");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Does what is due of the registration, now and then. `Some`: nothing can be asked for now.
    async fn keep_registration(&self) -> Result<Option<Round>, StoreError> {
        if !self.registration_looked_at.is_due(registration::LOOKS_EVERY) {
            return Ok(None);
        }
        let Some(webhooks) = self.webhooks else {
            // Another process asked for it, or an authorization did: as long as the wish stands, somebody is woken.
            registration::decline(self.pool, self.account).await?;
            return Ok(None);
        };
        let registrar =
            Registrar { pool: self.pool, account: self.account, client: &self.client, synced: self.synced, webhooks };
        match registrar.keep().await {
            Ok(()) => Ok(None),
            Err(ApiOrStore::Store(error)) => Err(error),
            Err(ApiOrStore::Api(error)) => Ok(Some(self.judge(error.into()).await?.unwrap_or(Round::None))),
        }
    }

    /// What an error means for all hints; `None`: it concerns these alone.
    async fn judge(&self, error: WorkError) -> Result<Option<Round>, StoreError> {
        match error {
            WorkError::Store(error) => Err(error),
            WorkError::Api(ApiError::Store(TokenStoreError::Fenced)) => Err(StoreError::Fenced),
            WorkError::Api(ApiError::Store(error)) => Err(StoreError::Tokens(error.to_string())),
            WorkError::Api(ApiError::NotAuthorized) => Ok(Some(Round::Unauthorized)),
            error if error.is_of_the_api(&self.client).await => Ok(Some(Round::Down)),
            _ => Ok(None),
        }
    }

    async fn look(&self, resource: &'static Resource, hints: &[Hint]) -> Result<Vec<Looked>, WorkError> {
        let reader = Reader { client: &self.client, pool: self.pool, account: self.account };
        if !matches!(resource.scope, Scope::Parent(..)) {
            let ids: Vec<_> = hints.iter().map(|hint| hint.id).collect();
            return Ok(vec![reader.records(resource, &ids).await?]);
        }
        let look = match resource.name {
            "tickets.messages" => Look::ChildrenOrOne(resource.name),
            name => Look::Children(name),
        };
        let lists: Vec<_> = hints.iter().map(|hint| reader.children(resource, look, hint.id)).collect();
        let one = |looked: Result<Looked, WorkError>| match looked {
            // The parent is deleted, or its list is not given: that concerns no other.
            Err(error) if is_refused(&error) => Ok(Looked::default()),
            looked => looked,
        };
        join_all(lists).await.into_iter().map(one).collect()
    }

    /// Stores what the look brought, and settles the hints, in one transaction.
    async fn store(&self, resource: &'static Resource, hints: &[Hint], looked: Vec<Looked>) -> Result<(), StoreError> {
        let mut tries = 1;
        let (changes, served) = loop {
            match self.try_to_store(resource, hints, &looked).await {
                // Another transaction was in the way: a user's, since those of the account are not beside this one.
                Err(error) if error.is_in_the_way() && tries < TRIES => tries += 1,
                stored => break stored?,
            }
        };
        let now = self.client.clock().now().unwrap_or_else(Utc::now);
        for served in served.iter().filter(|served| !matches!(served.found, Found::Doubt | Found::MayLag)) {
            telemetry::hint_served(resource.name, now - served.hint.came_at);
        }
        let (looked_at, name) = (hints.len(), resource.name);
        info!(looked_at, changes, "Looked at {looked_at} {name} that webhooks have named: {changes} changed");
        Ok(())
    }

    async fn try_to_store(
        &self,
        resource: &'static Resource,
        hints: &[Hint],
        looked: &[Looked],
    ) -> Result<(usize, Vec<Served>), StoreError> {
        let by_parent = matches!(resource.scope, Scope::Parent(..));
        let mut tx = lease::begin_alone(self.pool, self.account, self.epoch).await?;
        let (mut changes, mut served) = (0, Vec::new());
        for (place, looked) in looked.iter().enumerate() {
            let Brought { changed, written, doubted, held, .. } =
                look::store(&mut tx, self.account, resource, looked, false).await?;
            changes += changed.len();
            if held > 0 {
                warn!(held, "{held} {} are missing from Teamleader: none was marked deleted", resource.name);
            }
            let of = if by_parent { hints.get(place..=place) } else { Some(hints) };
            served.extend(of.unwrap_or_default().iter().map(|hint| {
                let (is_new, is_doubted) = match by_parent {
                    true => (!changed.is_empty(), !doubted.is_empty()),
                    false => (changed.contains(&hint.id), doubted.contains(&hint.id)),
                };
                // A list may lag behind the call, unless a run has seen since what changed. In a storm most have
                // nothing new.
                let may_lag = hints.len() <= FEW
                    && hint.fruitless == 0
                    && looked.seen.contains(&hint.id)
                    && !written.get(&hint.id).is_some_and(|row| was_written_since(row, hint.last_at));
                let found = match (is_doubted, is_new) {
                    (true, _) => Found::Doubt,
                    (false, true) => Found::Change,
                    (false, false) if may_lag => Found::MayLag,
                    (false, false) => Found::Nothing,
                };
                Served { hint: hint.clone(), found }
            }));
            self.elsewhere.wrote(resource.name, changed);
        }
        let looked_at = looked.iter().filter_map(|looked| looked.asked_at).min();
        // Before the hints, as where calls are stored: neither waits for the other.
        if changes > 0 {
            let shown = i64::try_from(changes).unwrap_or(i64::MAX);
            loss::note_shown(&mut tx, self.account, resource.name, shown).await?;
        }
        hints::settle(&mut tx, self.account, resource.name, &served, looked_at).await?;
        failpoints::reached(Point::HintsWritten);
        tx.commit().await?;
        failpoints::reached(Point::HintsServed);
        Ok((changes, served))
    }
}

/// Whether a row was changed by what was asked for at this time or later.
fn was_written_since(row: &Written, at: DateTime<Utc>) -> bool {
    row.changed_at >= at && row.asked_at.is_some_and(|asked_at| asked_at >= at)
}

/// Whether the API would refuse the same again.
fn is_refused(error: &WorkError) -> bool {
    match error {
        WorkError::Api(ApiError::Failed { failure, .. }) => {
            matches!(failure, Failure::Forbidden | Failure::NotFound | Failure::Rejected)
        }
        WorkError::Unusable(_) | WorkError::Inapplicable(_) | WorkError::Withheld(_) => true,
        _ => false,
    }
}
