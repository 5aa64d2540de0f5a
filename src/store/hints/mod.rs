//! Hints: records that a webhook has named, in `teamleader2db.hint`.
//!
//! A hint is a reason to look. Calls for the same record merge: each raises the row's generation, and a look serves it
//! only if no call came since the look began.

pub mod loss;
pub mod registration;
pub mod wake;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::pool::{self, StoreError};
use crate::catalog::RESOURCES;
use crate::ids::Account;
use crate::process::failpoints::{self, Point};

/// What `pg_notify` calls the arrival of hints; the payload is the account.
pub const CHANNEL: &str = "teamleader2db_hints";

/// The longest that a look waits after looks that found nothing new, as a power of two in seconds: 64, cut to 60.
const MOST_FRUITLESS: i32 = 6;

/// A record that a webhook has named, to be stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The resource.
    pub resource: &'static str,
    /// The record, or the parent whose list is meant.
    pub id: Uuid,
}

/// A hint that waits.
#[derive(Clone, Debug)]
pub struct Hint {
    /// The record, or the parent whose list is meant.
    pub id: Uuid,
    /// Which calls a look serves that begins now.
    pub generation: i64,
    /// When the first of them came.
    pub came_at: DateTime<Utc>,
    /// When the last of them came.
    pub last_at: DateTime<Utc>,
    /// How many looks in a row have found nothing new.
    pub fruitless: i32,
}

/// A hint that was looked at.
#[derive(Clone, Debug)]
pub struct Served {
    /// The hint.
    pub hint: Hint,
    /// What the look found.
    pub found: Found,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Something new.
    Change,
    /// Nothing new.
    Nothing,
    /// Nothing new, and a list may have lagged: it waits for another look.
    MayLag,
    /// Another answer that differs came at the same time: it waits for another look, and not for long.
    Doubt,
}

/// Stores calls, of these types, and the hints that they are, in one transaction that notifies those who listen.
pub async fn store(
    pool: &PgPool,
    account: &Account,
    named: &[Named],
    types: &[(&'static str, i64)],
) -> Result<(), StoreError> {
    let mut tx = pool::begin(pool).await?;
    // Sorted, as all who write them do: two processes must not wait for each other.
    let mut named = named.to_vec();
    named.sort_unstable();
    named.dedup();
    let mut types = types.to_vec();
    types.sort_unstable();
    let (resources, ids): (Vec<String>, Vec<Uuid>) =
        named.iter().map(|named| (named.resource.to_owned(), named.id)).unzip();
    loss::announce(&mut tx, account, &resources, &ids).await?;
    sqlx::query!(
        "insert into teamleader2db.hint as h (account, resource, id)
         select $1, resource, id from unnest($2::text[], $3::uuid[]) as named (resource, id)
         order by resource, id
         on conflict (account, resource, id) do update set
             generation = excluded.generation, last_at = excluded.last_at, served_at = null,
             came_at = case when h.served_at is null then h.came_at else excluded.came_at end",
        account.as_str(),
        &resources,
        &ids,
    )
    .execute(&mut *tx)
    .await?;
    let (names, calls): (Vec<String>, Vec<i64>) =
        types.into_iter().map(|(name, calls)| (name.to_owned(), calls)).unzip();
    sqlx::query!(
        "insert into teamleader2db.webhook_type as t (account, type, calls, last_at)
         select $1, type, calls, clock_timestamp() from unnest($2::text[], $3::bigint[]) as came (type, calls)
         order by type
         on conflict (account, type) do update set calls = t.calls + excluded.calls, last_at = excluded.last_at",
        account.as_str(),
        &names,
        &calls,
    )
    .execute(&mut *tx)
    .await?;
    if !ids.is_empty() {
        sqlx::query!(r#"select pg_notify($1, $2) as "notified!: ()""#, CHANNEL, account.as_str())
            .fetch_one(&mut *tx)
            .await?;
    }
    failpoints::reached(Point::HintsStored);
    tx.commit().await?;
    Ok(())
}

/// The hints that may be looked at now, of the resource whose hint came first, in the order in which they came. Lists
/// of parents come after records, or their parents would have no row yet.
pub async fn due(pool: &PgPool, account: &Account, limit: i64) -> Result<Option<(String, Vec<Hint>)>, StoreError> {
    let lists: Vec<String> = RESOURCES.iter().filter(|of| !of.stands_alone()).map(|of| of.name.to_owned()).collect();
    let rows = sqlx::query!(
        "with first as (
             select resource from teamleader2db.hint
             where account = $1 and served_at is null and not_before <= now()
             order by resource = any($3), came_at limit 1)
         select h.resource, h.id, h.generation, h.came_at, h.last_at, h.fruitless
         from teamleader2db.hint h join first using (resource)
         where h.account = $1 and h.served_at is null and h.not_before <= now()
         order by h.came_at, h.id limit $2",
        account.as_str(),
        limit,
        &lists,
    )
    .fetch_all(pool)
    .await?;
    let Some(resource) = rows.first().map(|row| row.resource.clone()) else { return Ok(None) };
    let hints = rows.into_iter().map(|row| Hint {
        id: row.id,
        generation: row.generation,
        came_at: row.came_at,
        last_at: row.last_at,
        fruitless: row.fruitless,
    });
    Ok(Some((resource, hints.collect())))
}

/// How many hints wait, and how long the oldest has, in seconds.
pub async fn waiting(pool: &PgPool, account: &Account) -> Result<(i64, f64), StoreError> {
    let row = sqlx::query!(
        r#"select count(*) as "waiting!",
             coalesce(extract(epoch from clock_timestamp() - min(came_at)), 0)::float8 as "seconds!"
         from teamleader2db.hint where account = $1 and served_at is null"#,
        account.as_str(),
    );
    let row = row.fetch_one(pool).await?;
    Ok((row.waiting, row.seconds))
}

/// When the last call came.
pub async fn last_call(pool: &PgPool, account: &Account) -> Result<Option<DateTime<Utc>>, StoreError> {
    let last =
        sqlx::query_scalar!("select max(last_at) from teamleader2db.webhook_type where account = $1", account.as_str());
    Ok(last.fetch_one(pool).await?)
}

/// A type of which calls have come.
#[derive(Clone, Debug, Serialize)]
pub struct TypeRow {
    /// Its name.
    #[serde(rename = "type")]
    pub name: String,
    /// How many calls have come.
    pub calls: i64,
    /// When the last came.
    pub last_at: DateTime<Utc>,
}

/// The types of which calls have come.
pub async fn types(pool: &PgPool, account: &Account) -> Result<Vec<TypeRow>, StoreError> {
    let types = sqlx::query_as!(
        TypeRow,
        "select type as name, calls, last_at from teamleader2db.webhook_type where account = $1 order by type",
        account.as_str(),
    );
    Ok(types.fetch_all(pool).await?)
}

/// Settles hints in the transaction that merged what the look asked for `looked_at`. One for which a call came
/// meanwhile waits on. A look that found nothing new makes the next look at that record wait.
pub async fn settle(
    tx: &mut PgConnection,
    account: &Account,
    resource: &str,
    served: &[Served],
    looked_at: Option<DateTime<Utc>>,
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = served.iter().map(|served| served.hint.id).collect();
    let generations: Vec<i64> = served.iter().map(|served| served.hint.generation).collect();
    let changed: Vec<bool> = served.iter().map(|served| served.found == Found::Change).collect();
    let doubted: Vec<bool> = served.iter().map(|served| served.found == Found::Doubt).collect();
    let waits: Vec<bool> = served.iter().map(|served| matches!(served.found, Found::Doubt | Found::MayLag)).collect();
    sqlx::query!(
        // Locked in the order in which calls write them.
        "with locked as materialized (
             select id from teamleader2db.hint
             where account = $1 and resource = $2 and id = any($3) order by id for update)
         update teamleader2db.hint h set
             served_at = case when h.generation = s.generation and not s.waits then clock_timestamp() end,
             looked_at = coalesce($6, clock_timestamp()),
             fruitless = case when s.changed then 0 when s.doubted then h.fruitless else least(h.fruitless + 1, $7) end,
             not_before = case when s.changed then '-infinity'
                 when s.doubted then clock_timestamp() + interval '200 ms' else clock_timestamp()
                 + least(60, power(2, least(h.fruitless + 1, $7))) * interval '1 second' end
         from unnest($3::uuid[], $4::bigint[], $5::boolean[], $8::boolean[], $9::boolean[])
                  as s (id, generation, changed, doubted, waits)
             join locked using (id)
         where h.account = $1 and h.resource = $2 and h.id = s.id",
        account.as_str(),
        resource,
        &ids,
        &generations,
        &changed,
        looked_at,
        MOST_FRUITLESS,
        &doubted,
        &waits,
    )
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// Lets hints of a resource wait that cannot be looked at now: as long as after looks that found nothing new.
pub async fn postpone(pool: &PgPool, account: &Account, resource: &str, hints: &[Hint]) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = hints.iter().map(|hint| hint.id).collect();
    sqlx::query!(
        "with locked as materialized (
             select id from teamleader2db.hint
             where account = $1 and resource = $2 and id = any($3) order by id for update)
         update teamleader2db.hint h set fruitless = least(h.fruitless + 1, $4),
             not_before = clock_timestamp() + least(60, power(2, least(h.fruitless + 1, $4))) * interval '1 second'
         from locked where h.account = $1 and h.resource = $2 and h.id = locked.id",
        account.as_str(),
        resource,
        &ids,
        MOST_FRUITLESS,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Deletes the hints of a resource that is not synced any more.
pub async fn forget(pool: &PgPool, account: &Account, resource: &str) -> Result<(), StoreError> {
    sqlx::query!("delete from teamleader2db.hint where account = $1 and resource = $2", account.as_str(), resource)
        .execute(pool)
        .await?;
    Ok(())
}

/// Deletes some hints that were served more than a day ago; false if none was left.
pub async fn delete_served(pool: &PgPool, account: &Account, limit: i64) -> Result<bool, StoreError> {
    let deleted = sqlx::query!(
        "delete from teamleader2db.hint where ctid = any(array(
             select ctid from teamleader2db.hint
             where account = $1 and served_at < now() - interval '1 day' limit $2))",
        account.as_str(),
        limit,
    );
    Ok(deleted.execute(pool).await?.rows_affected() > 0)
}
