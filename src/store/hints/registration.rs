//! What is registered with Teamleader for webhooks.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

use crate::ids::Account;
use crate::store::pool::StoreError;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Register what is missing, and remove the worker's own addresses that are out of date.
    Register,
    /// Remove the worker's own addresses.
    Unregister,
    /// Register, and remove addresses below the worker's base whose secret no key gives.
    UnregisterStale,
}

/// An address, as it may be shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FoundAddress {
    /// It, without its secret.
    pub address: String,
    /// Whose it is: `current`, `former`, `unknown` or `other`.
    pub owner: String,
    /// For how many types.
    pub types: usize,
}

/// What is known of the registration.
#[derive(Clone, Debug, Default)]
pub struct Registration {
    /// When an operator asked for something.
    pub wanted_at: Option<DateTime<Utc>>,
    /// What.
    pub want: Option<String>,
    /// The address that is registered: its base, and a hash of its secret.
    pub address: Option<String>,
    /// The types that it is registered for.
    pub types: Vec<String>,
    /// The types that were asked for when it was last tried.
    pub wanted_types: Vec<String>,
    /// Since when.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// When it was last tried.
    pub tried_at: Option<DateTime<Utc>>,
    /// Why that failed.
    pub error: Option<String>,
    /// All addresses as of then.
    pub found: Vec<FoundAddress>,
    /// The database's clock.
    pub now: DateTime<Utc>,
}

impl Want {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Unregister => "unregister",
            Self::UnregisterStale => "unregister_stale",
        }
    }

    /// From the word in the database.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Register, Self::Unregister, Self::UnregisterStale].into_iter().find(|want| want.as_str() == word)
    }
}

/// What is known.
pub async fn read(pool: &PgPool, account: &Account) -> Result<Registration, StoreError> {
    let row = sqlx::query!(
        r#"select g.wanted_at as "wanted_at?", g.want as "want?", g.address as "address?", g.types as "types?",
             g.wanted_types as "wanted_types?",
             g.confirmed_at as "confirmed_at?", g.tried_at as "tried_at?", g.error as "error?",
             g.found as "found?: Json<Vec<FoundAddress>>", clock_timestamp() as "now!"
         from (select $1::text as account) as a left join teamleader2db.webhook_registration g using (account)"#,
        account.as_str(),
    )
    .fetch_one(pool)
    .await?;
    Ok(Registration {
        wanted_at: row.wanted_at,
        want: row.want,
        address: row.address,
        types: row.types.unwrap_or_default(),
        wanted_types: row.wanted_types.unwrap_or_default(),
        confirmed_at: row.confirmed_at,
        tried_at: row.tried_at,
        error: row.error,
        found: row.found.map(|found| found.0).unwrap_or_default(),
        now: row.now,
    })
}

/// Asks the process with the lease to do something. Returns the time of the request, by the database's clock.
pub async fn ask(pool: &PgPool, account: &Account, want: Want) -> Result<DateTime<Utc>, StoreError> {
    let asked_at = sqlx::query_scalar!(
        r#"insert into teamleader2db.webhook_registration (account, wanted_at, want) values ($1, clock_timestamp(), $2)
         on conflict (account) do update set wanted_at = excluded.wanted_at, want = excluded.want
         returning wanted_at as "wanted_at!""#,
        account.as_str(),
        want.as_str(),
    );
    Ok(asked_at.fetch_one(pool).await?)
}

/// Asks the process with the lease to register, if anybody ever has.
pub async fn ask_again(tx: &mut PgConnection, account: &Account) -> Result<(), StoreError> {
    sqlx::query!(
        "update teamleader2db.webhook_registration set wanted_at = clock_timestamp(), want = $2
         where account = $1 and wanted_at is null",
        account.as_str(),
        Want::Register.as_str(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What a try has come to.
#[derive(Clone, Debug)]
pub struct Tried {
    /// What was asked for when it began is done, and nothing that was asked for since.
    pub wanted_at: Option<DateTime<Utc>>,
    /// The address that is registered; `None`: none is.
    pub address: Option<String>,
    /// For which types.
    pub types: Vec<String>,
    /// Which types were asked for.
    pub wanted_types: Vec<String>,
    /// All addresses.
    pub found: Vec<FoundAddress>,
    /// Whether there may have been a gap before: an address or type was missing.
    pub gap: bool,
}

/// Notes what a try has come to. Without a gap the registration is confirmed since the first time.
pub async fn note(pool: &PgPool, account: &Account, tried: &Tried) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into teamleader2db.webhook_registration as g
             (account, address, types, confirmed_at, tried_at, error, found, wanted_types)
         values ($1, $2, $3, case when $2::text is not null then clock_timestamp() end, clock_timestamp(), null, $4, $7)
         on conflict (account) do update set
             address = excluded.address, types = excluded.types, tried_at = excluded.tried_at, error = null,
             found = excluded.found, wanted_types = excluded.wanted_types,
             confirmed_at = case when $5 or $2::text is null then excluded.confirmed_at
                 else coalesce(g.confirmed_at, excluded.confirmed_at) end,
             wanted_at = case when g.wanted_at is distinct from $6 then g.wanted_at end,
             want = case when g.wanted_at is distinct from $6 then g.want end",
        account.as_str(),
        tried.address,
        &tried.types,
        Json(&tried.found) as _,
        tried.gap,
        tried.wanted_at,
        &tried.wanted_types,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Notes that an address or type is missing: nobody knows since when. To be called before it is registered, or the gap
/// would be forgotten where nothing comes after that.
pub async fn note_gap(pool: &PgPool, account: &Account) -> Result<(), StoreError> {
    sqlx::query!(
        "update teamleader2db.webhook_registration set confirmed_at = null where account = $1",
        account.as_str()
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Notes that a try has failed. What was asked for is given up; it is tried again by itself later.
pub async fn note_failure(
    pool: &PgPool,
    account: &Account,
    wanted_at: Option<DateTime<Utc>>,
    error: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into teamleader2db.webhook_registration as g (account, tried_at, error)
         values ($1, clock_timestamp(), $2)
         on conflict (account) do update set
             tried_at = excluded.tried_at, error = excluded.error,
             wanted_at = case when g.wanted_at is distinct from $3 then g.wanted_at end,
             want = case when g.wanted_at is distinct from $3 then g.want end",
        account.as_str(),
        error,
        wanted_at,
    )
    .execute(pool)
    .await?;
    Ok(())
}
