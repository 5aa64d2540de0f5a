//! Keeps the worker's address for webhooks registered with Teamleader. The work of the process that has the lease.

use std::time::Duration;

use sqlx::PgPool;
use tracing::{info, warn};

use crate::api_client::client::{ApiError, Client};
use crate::api_client::webhooks::{Owner, Registered, Webhooks};
use crate::catalog::Resource;
use crate::catalog::webhooks::TYPES;
use crate::ids::Account;
use crate::retry::Failure;
use crate::store::hints::registration::{self, FoundAddress, Registration, Tried, Want};
use crate::store::pool::StoreError;

/// How often all is compared with what Teamleader has, in seconds.
const EVERY: i64 = 86_400;

/// How long after a failure it is tried again, in seconds.
const AFTER_FAILURE: i64 = 15 * 60;

/// How often it is looked whether something is due.
pub const LOOKS_EVERY: Duration = Duration::from_secs(5);

/// What it takes.
#[derive(Clone, Copy, Debug)]
pub struct Registrar<'a> {
    /// The database.
    pub pool: &'a PgPool,
    /// The account.
    pub account: &'a Account,
    /// The API.
    pub client: &'a Client,
    /// What is synced.
    pub synced: &'a [&'static Resource],
    /// The addresses.
    pub webhooks: &'a Webhooks,
}

/// What is due by what is known; `None`: nothing.
pub fn due(known: &Registration, fingerprint: &str, types: &[&str]) -> Option<Want> {
    // What an operator has removed stays so for a day.
    let is_other = known.address.is_some()
        && (known.address.as_deref() != Some(fingerprint) || known.wanted_types.iter().ne(types.iter()));
    let by_difference = (is_other && known.error.is_none()).then_some(Want::Register);
    due_by_time(known).or(by_difference)
}

/// The same whatever is registered: two processes with different settings must not take turns at it.
pub fn due_by_time(known: &Registration) -> Option<Want> {
    if known.wanted_at.is_some() {
        return Some(known.want.as_deref().and_then(Want::parse).unwrap_or(Want::Register));
    }
    let Some(tried_at) = known.tried_at else { return Some(Want::Register) };
    let patience = if known.error.is_some() { AFTER_FAILURE } else { EVERY };
    ((known.now - tried_at).num_seconds() >= patience).then_some(Want::Register)
}

/// Gives up what was asked for, where this process has no address.
pub async fn decline(pool: &PgPool, account: &Account) -> Result<(), StoreError> {
    let known = registration::read(pool, account).await?;
    if known.wanted_at.is_some() {
        let why = "the worker with the lease runs without WEBHOOK_URL: set it for all workers of the account";
        registration::note_failure(pool, account, known.wanted_at, why).await?;
    }
    Ok(())
}

/// The types that calls are wanted of: those of resources that are synced.
pub fn wanted_types(synced: &[&'static Resource]) -> Vec<&'static str> {
    TYPES.iter().filter(|known| known.looks_at(synced).next().is_some()).map(|known| known.name).collect()
}

impl Registrar<'_> {
    /// Does what is due. An error is one that concerns all requests; any other is stored.
    pub async fn keep(&self) -> Result<(), ApiOrStore> {
        let known = registration::read(self.pool, self.account).await?;
        let types = wanted_types(self.synced);
        let Some(want) = due(&known, &self.webhooks.fingerprint(), &types) else { return Ok(()) };
        match self.carry_out(want, &types).await {
            Ok(mut tried) => {
                tried.wanted_at = known.wanted_at;
                registration::note(self.pool, self.account, &tried).await?;
                let (count, base) = (tried.types.len(), self.webhooks.base());
                match tried.address {
                    Some(_) => info!(base, "Webhooks of {count} types come to {base}"),
                    None => info!(base, "No webhooks come to {base} any more"),
                }
                Ok(())
            }
            Err(error @ (ApiOrStore::Store(_) | ApiOrStore::Api(ApiError::NotAuthorized | ApiError::Store(_)))) => {
                Err(error)
            }
            Err(ApiOrStore::Api(error)) => {
                let why = explained(&error);
                warn!("Webhooks cannot be registered: {why}");
                registration::note_failure(self.pool, self.account, known.wanted_at, &why).await?;
                Ok(())
            }
        }
    }

    /// Registers first, then removes: no moment is without an address.
    async fn carry_out(&self, want: Want, types: &[&'static str]) -> Result<Tried, ApiOrStore> {
        let before = self.client.webhooks().await?;
        let address = self.webhooks.address();
        let has = |name: &str| {
            before.iter().any(|known| known.url == address && known.types.iter().any(|known| known == name))
        };
        let missing: Vec<&str> = types.iter().copied().filter(|name| !has(name)).collect();
        let registers = want != Want::Unregister;
        let mut changed = false;
        if registers && !missing.is_empty() {
            registration::note_gap(self.pool, self.account).await?;
            self.register(&address, missing.clone()).await?;
            changed = true;
        }
        for known in &before {
            let extra = self.superfluous(want, known, types);
            if !extra.is_empty() {
                self.client.unregister_webhook(&known.url, &extra).await?;
                changed = true;
            }
        }
        let now = if changed { self.client.webhooks().await? } else { before };
        let found = now.iter().map(|known| self.shown(known)).collect();
        let current = now.iter().find(|known| known.url == address);
        let registered =
            types.iter().filter(|name| current.is_some_and(|known| known.types.iter().any(|of| of == *name)));
        let registered: Vec<String> = registered.map(|name| (*name).to_owned()).collect();
        if registers && registered.len() < types.len() {
            let lacking: Vec<&str> =
                types.iter().copied().filter(|name| !registered.iter().any(|of| of == name)).collect();
            warn!(types = lacking.join(", "), "Teamleader registers no webhooks of {} types", lacking.len());
        }
        Ok(Tried {
            wanted_at: None,
            address: (registers && !registered.is_empty()).then(|| self.webhooks.fingerprint()),
            types: registered,
            wanted_types: types.iter().map(|name| (*name).to_owned()).collect(),
            found,
            gap: !missing.is_empty(),
        })
    }

    /// Registers types; where some are refused, the others by halves.
    async fn register(&self, address: &str, types: Vec<&'static str>) -> Result<(), ApiError> {
        let (mut waiting, mut last) = (vec![types], None);
        let mut any = false;
        while let Some(types) = waiting.pop() {
            match self.client.register_webhook(address, &types).await {
                Ok(()) => any = true,
                Err(error @ ApiError::Failed { failure: Failure::Rejected, .. }) => {
                    let (first, second) = types.split_at(types.len() / 2);
                    waiting.extend(
                        [first, second]
                            .into_iter()
                            .filter(|half| types.len() > 1 && !half.is_empty())
                            .map(<[_]>::to_vec),
                    );
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        // None at all: it is the address.
        last.filter(|_| !any).map_or(Ok(()), Err)
    }

    /// The types that are taken from an address; none from others'.
    fn superfluous(&self, want: Want, known: &Registered, types: &[&'static str]) -> Vec<String> {
        let all = known.types.clone();
        match (self.webhooks.owner(&known.url), want) {
            (Owner::Other, _) | (Owner::Unknown, Want::Register | Want::Unregister) => Vec::new(),
            (Owner::Unknown, Want::UnregisterStale) | (Owner::Former, _) | (Owner::Current, Want::Unregister) => all,
            (Owner::Current, Want::Register | Want::UnregisterStale) => {
                all.into_iter().filter(|name| !types.contains(&name.as_str())).collect()
            }
        }
    }

    fn shown(&self, known: &Registered) -> FoundAddress {
        let owner = match self.webhooks.owner(&known.url) {
            Owner::Current => "current",
            Owner::Former => "former",
            Owner::Unknown => "unknown",
            Owner::Other => "other",
        };
        FoundAddress { address: self.webhooks.masked(&known.url), owner: owner.to_owned(), types: known.types.len() }
    }
}

/// What cannot be stored as a failure of the registration.
#[derive(Debug, thiserror::Error)]
pub enum ApiOrStore {
    /// The API, for all requests.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A failure with what to do about it.
fn explained(error: &ApiError) -> String {
    match error {
        ApiError::Failed { failure: Failure::Forbidden, .. } => format!(
            "{error}. In Teamleader's marketplace give the integration the right to webhooks, and authorize again; or \
             leave WEBHOOK_URL out"
        ),
        ApiError::Failed { failure: Failure::Rejected, .. } => {
            format!("{error}. Is WEBHOOK_URL an address that Teamleader can reach by https?")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, Utc};

    use super::*;

    #[test]
    fn it_is_tried_at_first_daily_after_a_change_and_when_asked_for() {
        let now = Utc::now();
        let ago = |seconds| Some(now - TimeDelta::seconds(seconds));
        let known = Registration {
            now,
            tried_at: ago(60),
            address: Some("here".to_owned()),
            wanted_types: vec!["contact.added".to_owned()],
            ..Registration::default()
        };
        let is_due = |known: &Registration| due(known, "here", &["contact.added"]);
        assert_eq!(is_due(&known), None);
        assert_eq!(is_due(&Registration { now, ..Registration::default() }), Some(Want::Register));
        assert_eq!(is_due(&Registration { tried_at: ago(EVERY), ..known.clone() }), Some(Want::Register));
        assert_eq!(due(&known, "there", &["contact.added"]), Some(Want::Register), "another base or key");
        assert_eq!(due(&known, "here", &["contact.added", "deal.won"]), Some(Want::Register), "more is synced");
        let failed = Registration { error: Some("no".to_owned()), ..known.clone() };
        assert_eq!(is_due(&failed), None);
        assert_eq!(is_due(&Registration { tried_at: ago(AFTER_FAILURE), ..failed }), Some(Want::Register));
        assert_eq!(due_by_time(&Registration { address: Some("there".to_owned()), ..known.clone() }), None);
        let removed = Registration { address: None, ..known.clone() };
        assert_eq!(is_due(&removed), None, "what an operator has removed stays so for a day");
        let asked = Registration { wanted_at: ago(1), want: Some("unregister".to_owned()), ..known };
        assert_eq!(is_due(&asked), Some(Want::Unregister));
    }
}
