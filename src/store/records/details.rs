//! Details: which rows want theirs, and how they are merged.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use tracing::info;
use uuid::Uuid;

use super::newest::{self, Verdict};
use super::{Columns, includes, list_fields};
use crate::api_client::answer::Record;
use crate::catalog::Resource;
use crate::ids::Account;
use crate::store::pool::StoreError;

/// A place in the work list of details, which is sorted by time and id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// `listed_at` or `detail_at` of the row.
    pub at: DateTime<Utc>,
    /// Its id.
    pub id: Uuid,
    /// Whether its record was rejected before.
    #[serde(default)]
    pub rejected_before: bool,
}

/// Which rows want their detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Missing or older than the list item.
    Stale,
    /// The same, or not fetched since this time: `refetch`. Another run may have fetched it since, before the list
    /// item changed once more.
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
                r#"select listed_at as at, id, exists (
                     select from teamleader2db.rejected_record j
                     where j.account = $2 and j.resource = $1 and j.id = record.id) as "rejected_before!"
                 from teamleader.record
         where resource = $1 and account = $2 and deleted_at is null and (detail_at is null
                     or detail_at < listed_at)
                   and ($3::timestamptz is null or (listed_at, id) < ($3, $4::uuid))
                 order by listed_at desc, id desc limit $5"#,
                resource.name,
                account.as_str(),
                at,
                id,
                limit,
            )
            .fetch_all(pool)
            .await?
        }
        Wanted::OlderThan(started) => {
            sqlx::query_as!(
                Place,
                r#"select listed_at as at, id, exists (
                     select from teamleader2db.rejected_record j
                     where j.account = $2 and j.resource = $1 and j.id = record.id) as "rejected_before!"
                 from teamleader.record
                 where resource = $1 and account = $2 and deleted_at is null
                   and (detail_at is null or detail_at < listed_at or detail_at < $6)
                   and ($3::timestamptz is null or (listed_at, id) < ($3, $4::uuid))
                 order by listed_at desc, id desc limit $5"#,
                resource.name,
                account.as_str(),
                at,
                id,
                limit,
                started,
            )
            .fetch_all(pool)
            .await?
        }
    };
    Ok(places)
}

/// Of which of these list items, asked for by id just now, the detail is asked for as well: those that differ from
/// their rows or have none, whose detail is missing or stale, and all where no list shows a change of the detail. An
/// `updated_at` has whole seconds, of a clock that may be two minutes off: a detail that was asked for about then may
/// lack a change that the item does not show.
pub async fn wanted_of(
    pool: &PgPool,
    account: &Account,
    resource: &Resource,
    items: &[Record],
) -> Result<Vec<Uuid>, StoreError> {
    let columns = Columns::of(items.iter());
    if resource.has_unshown_details() {
        return Ok(columns.ids);
    }
    let wanted = sqlx::query_scalar!(
        r#"select i.id as "id!" from unnest($3::uuid[], $4::bytea[]) as i (id, hash)
           left join lateral (
               select list_hash, detail_at, listed_at, source_updated_at, deleted_at from teamleader.record
               where resource = $1 and account = $2 and id = i.id limit 1) as r on true
           where r.list_hash is distinct from i.hash or r.deleted_at is not null or r.detail_at is null
               or r.detail_at < r.listed_at or r.detail_at < r.source_updated_at + interval '2 minutes'"#,
        resource.name,
        account.as_str(),
        &columns.ids,
        &columns.hashes as &[&[u8]],
    );
    Ok(wanted.fetch_all(pool).await?)
}

/// Rows whose detail is older than `before`, the oldest first, after `after`. Those that are stale were asked for
/// before these.
pub async fn expired_details(
    pool: &PgPool,
    account: &Account,
    resource: &Resource,
    before: DateTime<Utc>,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<Place>, StoreError> {
    let places = sqlx::query_as!(
        Place,
        r#"select detail_at as "at!", id, false as "rejected_before!" from teamleader.record
         where resource = $1 and account = $2 and deleted_at is null and detail_at < $3 and detail_at >= listed_at
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

/// Merges details that count, see [`newest`]. Those of which that is unknown stay stale, and so do those that lack what
/// was asked for, see [`includes`]; returns how many were written.
///
/// A detail that was asked for later than its list item is not stale. One that is older than that by `updated_at`
/// counts all the same, and the list item is merged again when it is met next: either the record was restored, or
/// `.info` lags behind.
pub async fn merge_details(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    details: &[Record],
) -> Result<i64, StoreError> {
    let ids: Vec<Uuid> = details.iter().map(|detail| detail.id).collect();
    let rows = newest::rows(tx, account, resource, &ids).await?;
    let (mut counting, mut doubted, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for (detail, row) in details.iter().filter_map(|detail| Some((detail, rows.get(&detail.id)?))) {
        match newest::judge_detail(detail, row) {
            Verdict::Counts | Verdict::Equal => {
                counting.push(detail);
                bare.extend(includes::is_bare(resource, detail, row).then_some(detail.id));
            }
            Verdict::Doubtful => doubted.push(detail.id),
            Verdict::Outdated => {}
        }
        detail.asked.note(detail.id);
    }
    let written = write(tx, account, resource, &counting).await?;
    if !bare.is_empty() && includes::are_usual(tx, account, resource, &bare).await? {
        let (bare_details, name) = (bare.len(), resource.name);
        info!(bare_details, "{bare_details} details of {name} came without any include, and are asked for again");
        doubted.append(&mut bare);
    }
    if !doubted.is_empty() {
        make_stale(tx, account, resource, &doubted).await?;
    }
    Ok(written)
}

/// Writes details over their rows, unless a newer answer is there by now. Of what the row held, the fields of its list
/// item stay: the others are those of an earlier detail.
async fn write(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    details: &[&Record],
) -> Result<i64, StoreError> {
    let columns = Columns::of(details.iter().copied());
    let merged = sqlx::query!(
        // Nothing is inserted, since each row is there: a conflict is looked up by key. Planned as a join before
        // PostgreSQL has counted what a first sync wrote, an update reads all rows each time.
        r"insert into teamleader.record as r
             (resource, account, id, content, source_updated_at, list_hash, detail_hash, detail_at, asked_at)
         select $1, $2, id, content::jsonb, updated_at, '\x', hash, coalesce(asked_at, clock_timestamp()), asked_at
         from unnest($3::uuid[], $4::text[], $5::timestamptz[], $6::bytea[], $7::timestamptz[])
                  as d (id, content, updated_at, hash, asked_at)
         on conflict (resource, account, id) do update set
             content = case when r.detail_hash is null then r.content
                 else teamleader2db.only_fields(r.content, coalesce(r.list_fields, $8)) end || excluded.content,
             list_fields = case when r.detail_hash is null then nullif(teamleader2db.field_names(r.content), $8)
             else r.list_fields end,
             source_updated_at = coalesce(excluded.source_updated_at, r.source_updated_at),
             list_hash = case when excluded.source_updated_at < r.source_updated_at then '\x' else r.list_hash end,
             detail_at = case when r.asked_at <= excluded.asked_at then greatest(excluded.detail_at, r.listed_at)
                 else excluded.detail_at end,
             detail_hash = excluded.detail_hash,
             asked_at = excluded.asked_at,
             changed_at = case when r.deleted_at is null and r.content = case when r.detail_hash is null then r.content
                     else teamleader2db.only_fields(r.content, coalesce(r.list_fields, $8)) end || excluded.content
                 then r.changed_at else clock_timestamp() end,
             deleted_at = null
         where r.asked_at is null or excluded.asked_at is null or excluded.asked_at >= r.asked_at
            or r.asked_at > clock_timestamp()",
        resource.name,
        account.as_str(),
        &columns.ids,
        &columns.contents as &[&str],
        &columns.updated as &[Option<DateTime<Utc>>],
        &columns.hashes as &[&[u8]],
        &columns.asked as &[Option<DateTime<Utc>>],
        &list_fields(resource),
    )
    .execute(tx)
    .await?
    .rows_affected();
    Ok(i64::try_from(merged).unwrap_or(i64::MAX))
}

/// Makes details be asked for once more.
async fn make_stale(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    ids: &[Uuid],
) -> Result<(), StoreError> {
    sqlx::query!(
        "update teamleader.record set detail_at = null where resource = $1 and account = $2 and id = any($3)",
        resource.name,
        account.as_str(),
        ids,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Stores when details were asked for that the API does not have any more.
pub async fn store_asked(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    (ids, asked_at): (&[Uuid], &[Option<DateTime<Utc>>]),
) -> Result<(), StoreError> {
    sqlx::query!(
        "update teamleader.record r set detail_at = coalesce(gone.asked_at, clock_timestamp())
         from unnest($3::uuid[], $4::timestamptz[]) as gone (id, asked_at)
         where r.resource = $1 and r.account = $2 and r.id = gone.id",
        resource.name,
        account.as_str(),
        ids,
        asked_at as &[Option<DateTime<Utc>>],
    )
    .execute(tx)
    .await?;
    Ok(())
}
