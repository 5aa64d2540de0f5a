//! Details: which rows want theirs, and how they are merged.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::pool::StoreError;
use super::records::Columns;
use crate::catalog::Resource;
use crate::ids::Account;
use crate::teamleader::answer::Record;

/// A place in the work list of details, which is sorted by time and id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// `listed_at` or `detail_at` of the row.
    pub at: DateTime<Utc>,
    /// Its id.
    pub id: Uuid,
}

/// Which rows want their detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Missing or older than the list item.
    Stale,
    /// Not fetched since this time: `refetch`.
    OlderThan(DateTime<Utc>),
}

/// Rows that want their detail, the newest changes first, after `after`.
pub async fn wanting_detail(
    pool: &PgPool,
    account: &Account,
    resource: &Resource,
    wanted: Wanted,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<Place>, StoreError> {
    let (at, id) = (after.map(|place| place.at), after.map(|place| place.id));
    let places = match wanted {
        Wanted::Stale => {
            sqlx::query_as!(
                Place,
                "select listed_at as at, id from teamleader.record
                 where resource = $1 and account = $2 and deleted_at is null and (detail_at is null or detail_at < listed_at)
                   and ($3::timestamptz is null or (listed_at, id) < ($3, $4::uuid))
                 order by listed_at desc, id desc limit $5",
                resource.name,
                account.as_str(),
                at,
                id,
                limit,
            )
            .fetch_all(pool)
            .await?
        }
        Wanted::OlderThan(begun) => {
            sqlx::query_as!(
                Place,
                "select listed_at as at, id from teamleader.record
                 where resource = $1 and account = $2 and deleted_at is null and (detail_at is null or detail_at < $6)
                   and ($3::timestamptz is null or (listed_at, id) < ($3, $4::uuid))
                 order by listed_at desc, id desc limit $5",
                resource.name,
                account.as_str(),
                at,
                id,
                limit,
                begun,
            )
            .fetch_all(pool)
            .await?
        }
    };
    Ok(places)
}

/// Rows whose detail is older than `before`, the oldest first, after `after`.
pub async fn aged_details(
    pool: &PgPool,
    account: &Account,
    resource: &Resource,
    before: DateTime<Utc>,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<Place>, StoreError> {
    let places = sqlx::query_as!(
        Place,
        r#"select detail_at as "at!", id from teamleader.record
         where resource = $1 and account = $2 and deleted_at is null and detail_at < $3
           and ($4::timestamptz is null or (detail_at, id) > ($4, $5::uuid))
         order by detail_at, id limit $6"#,
        resource.name,
        account.as_str(),
        before,
        after.map(|place| place.at),
        after.map(|place| place.id),
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(places)
}

/// Merges details that were asked for at `asked_at` (the database's clock) or later.
///
/// A row whose list item changed since is left: its detail is stale all the same. Older content never replaces newer.
pub async fn merge_details(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    details: &[Record],
    asked_at: DateTime<Utc>,
) -> Result<i64, StoreError> {
    let columns = Columns::of(details.iter());
    let merged = sqlx::query!(
        // Nothing is inserted, since each row is there: a conflict is looked up by key. Planned as a join before PostgreSQL has counted
        // what a first sync wrote, an update reads all rows each time.
        "insert into teamleader.record as r (resource, account, id, content, source_updated_at, list_hash, detail_hash)
         select $1, $2, d.id, d.content::jsonb, d.updated_at, known.list_hash, d.hash
         from unnest($4::uuid[], $5::text[], $6::timestamptz[], $7::bytea[]) as d (id, content, updated_at, hash)
         cross join lateral (
             select list_hash from teamleader.record where resource = $1 and account = $2 and id = d.id limit 1) as known
         on conflict (resource, account, id) do update set
             content = r.content || excluded.content,
             source_updated_at = coalesce(excluded.source_updated_at, r.source_updated_at),
             detail_at = $3,
             detail_hash = excluded.detail_hash,
             changed_at = case when r.content || excluded.content = r.content then r.changed_at else clock_timestamp() end
         where r.listed_at <= $3
           and (r.source_updated_at is null or excluded.source_updated_at is null
                or excluded.source_updated_at >= r.source_updated_at)",
        resource.name,
        account.as_str(),
        asked_at,
        &columns.ids,
        &columns.contents as &[&str],
        &columns.updated as &[Option<DateTime<Utc>>],
        &columns.hashes as &[&[u8]],
    )
    .execute(tx)
    .await?
    .rows_affected();
    Ok(i64::try_from(merged).unwrap_or(i64::MAX))
}

/// Keeps when details were asked for that are not there any more.
pub async fn keep_asked(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    ids: &[Uuid],
    asked_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update teamleader.record set detail_at = $4 where resource = $1 and account = $2 and id = any($3)",
        resource.name,
        account.as_str(),
        ids,
        asked_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}
