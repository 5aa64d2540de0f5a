//! The rows: upserts of list items and merged details, set-wise, one statement a batch, and only where they differ.

pub mod details;
pub mod elsewhere;
pub mod gone;
mod includes;
pub mod load;
pub mod newest;
pub mod rekey;

use std::collections::HashMap;
use std::ops::AddAssign;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::hints::loss::{self, Found};
use super::pool::StoreError;
use crate::api_client::answer::Record;
use crate::catalog::{Resource, Shapes, webhooks};
use crate::ids::Account;
use newest::{Origin, Verdict};

/// What a merged page changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Rows that were not there before.
    pub created: i64,
    /// Rows whose list item differed, or that had been deleted.
    pub updated: i64,
    /// Records whose row was equal already, or newer.
    pub unchanged: i64,
    /// Records to ask for by id, since this answer cannot say which state is the newest.
    pub doubted: Vec<Uuid>,
}

impl AddAssign for Merged {
    fn add_assign(&mut self, other: Self) {
        self.created += other.created;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.doubted.extend(other.doubted);
    }
}

/// How list items came about.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The resource of the parents, of those that have one: see [`Record::parent`].
    pub parent_resource: Option<&'a str>,
    /// By what they were asked for.
    pub origin: Origin,
}

impl Source<'static> {
    /// Records without a parent.
    pub const fn of(origin: Origin) -> Self {
        Self { parent_resource: None, origin }
    }
}

/// Merges list items. A row changes only where the hash differs and the answer counts, see [`newest`].
pub async fn merge_page<'a>(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    records: impl IntoIterator<Item = &'a Record>,
    Source { parent_resource, origin }: Source<'_>,
) -> Result<Merged, StoreError> {
    let trust = origin.trust(resource);
    let (distinct, mut doubted) = newest::of_each(records, trust);
    let ids: Vec<Uuid> = distinct.iter().map(|record| record.id).collect();
    let rows = newest::rows(tx, account, resource, &ids).await?;
    let (mut same, mut differing) = (Vec::new(), Vec::new());
    for &record in &distinct {
        match newest::judge_item(record, rows.get(&record.id), trust) {
            Verdict::Equal => same.push(record),
            Verdict::Counts => differing.push(record),
            Verdict::Doubtful => doubted.push(record.id),
            Verdict::Outdated => {}
        }
        record.asked.note(record.id);
    }
    let written =
        if differing.is_empty() { 0 } else { upsert(tx, account, resource, &differing, parent_resource).await? };
    if origin == Origin::Changes && !same.is_empty() {
        touch(tx, account, resource, &same).await?;
    }
    if origin != Origin::ById && written > 0 && webhooks::announce_changes(resource) {
        let found = differing.iter().filter_map(|record| overwritten(record, rows.get(&record.id)?));
        loss::note_changed(tx, account, resource.name, &found.collect::<Vec<_>>()).await?;
    }
    // A user's trigger may have prevented some writes.
    let created = count(differing.iter().filter(|record| !rows.contains_key(&record.id)).count()).min(written);
    Ok(Merged { created, updated: written - created, unchanged: count(distinct.len()) - written, doubted })
}

/// What the loss meter wants to know of a row that a pass has written over. Not where the record says itself that it is
/// the same: it is shown with other fields then.
fn overwritten(record: &Record, row: &newest::Row) -> Option<Found> {
    let is_same = record.updated_at.is_some() && record.updated_at == row.state.updated_at && !row.deleted;
    let confirmed_at = row.state.asked_at;
    (!is_same).then_some(Found { id: record.id, confirmed_at, changed_at: record.updated_at })
}

/// The source says that these changed, and their list items cannot show it: their details are stale.
async fn touch(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    records: &[&Record],
) -> Result<(), StoreError> {
    let columns = Columns::of(records.iter().copied());
    sqlx::query!(
        "update teamleader.record r set listed_at = clock_timestamp(), asked_at = coalesce(page.asked_at, r.asked_at),
             detail_at = case when r.detail_at < now() then r.detail_at
                 when r.detail_at is not null then now() - interval '1 microsecond' end
         from unnest($3::uuid[], $4::timestamptz[]) as page (id, asked_at)
         where r.resource = $1 and r.account = $2 and r.id = page.id
           and (r.asked_at is null or page.asked_at is null or r.asked_at <= page.asked_at
               or r.asked_at > clock_timestamp())",
        resource.name,
        account.as_str(),
        &columns.ids,
        &columns.asked as &[Option<DateTime<Utc>>],
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Records as the arrays that one statement takes.
#[derive(Default)]
pub(super) struct Columns<'a> {
    pub(super) ids: Vec<Uuid>,
    pub(super) contents: Vec<&'a str>,
    pub(super) updated: Vec<Option<DateTime<Utc>>>,
    pub(super) hashes: Vec<&'a [u8]>,
    pub(super) asked: Vec<Option<DateTime<Utc>>>,
    parents: Vec<Option<Uuid>>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(records: impl Iterator<Item = &'a Record>) -> Self {
        let mut columns = Self::default();
        for record in records {
            columns.ids.push(record.id);
            columns.contents.push(&record.json);
            columns.updated.push(record.updated_at);
            columns.hashes.push(&record.hash);
            columns.asked.push(record.asked.at());
            columns.parents.push(record.parent);
        }
        columns
    }
}

/// Writes list items over their rows, unless a newer answer is there by now; the fields that only the detail has stay,
/// until a later detail does not have them. The detail is stale then, also where the server's clock was ahead when that
/// came. Returns the rows written.
async fn upsert(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    records: &[&Record],
    parent_resource: Option<&str>,
) -> Result<i64, StoreError> {
    let columns = Columns::of(records.iter().copied());
    let written = sqlx::query!(
        "insert into teamleader.record as r
             (resource, account, id, content, source_updated_at, list_hash, first_seen_at, changed_at, listed_at,
              parent_resource, parent_id, asked_at)
         select $1, $2, id, content::jsonb, updated_at, hash, at, at, at, case when parent_id is not null then $7
             end, parent_id, asked_at
         from unnest($3::uuid[], $4::text[], $5::timestamptz[], $6::bytea[], $8::uuid[], $9::timestamptz[])
                  as page (id, content, updated_at, hash, parent_id, asked_at),
              (select clock_timestamp() as at) as clock
         on conflict (resource, account, id) do update set
             content = case when $10 and r.detail_hash is not null then r.content || excluded.content
             else excluded.content end,
             list_fields = case when $10 and r.detail_hash is not null
                 then nullif(teamleader2db.field_names(excluded.content), $11) end,
             source_updated_at = excluded.source_updated_at,
             list_hash = excluded.list_hash,
             listed_at = excluded.listed_at,
             detail_at = case when r.detail_at < excluded.listed_at then r.detail_at
                 when r.detail_at is not null then excluded.listed_at - interval '1 microsecond' end,
             parent_resource = coalesce(excluded.parent_resource, r.parent_resource),
             parent_id = coalesce(excluded.parent_id, r.parent_id),
             asked_at = excluded.asked_at,
             changed_at = case when r.deleted_at is null and r.content
                     = case when $10 and r.detail_hash is not null then r.content || excluded.content
                         else excluded.content end
                 then r.changed_at else excluded.changed_at end,
             deleted_at = null
         where (r.list_hash <> excluded.list_hash or r.deleted_at is not null
                or (excluded.parent_id is not null and r.parent_id is distinct from excluded.parent_id))
           and (r.asked_at is null or excluded.asked_at is null or excluded.asked_at >= r.asked_at
                or r.asked_at > clock_timestamp())",
        resource.name,
        account.as_str(),
        &columns.ids,
        &columns.contents as &[&str],
        &columns.updated as &[Option<DateTime<Utc>>],
        &columns.hashes as &[&[u8]],
        parent_resource,
        &columns.parents as &[Option<Uuid>],
        &columns.asked as &[Option<DateTime<Utc>>],
        resource.has_details(),
        &list_fields(resource),
    )
    .execute(tx)
    .await?
    .rows_affected();
    Ok(i64::try_from(written).unwrap_or(i64::MAX))
}

/// The names of the fields that items of the list are documented to have, sorted by their bytes.
pub(super) fn list_fields(resource: &Resource) -> Vec<String> {
    let mut names: Vec<String> = Shapes::of(resource).list.fields.iter().map(|field| field.name.clone()).collect();
    names.sort_unstable();
    names
}

/// A number of records, as counts have it.
pub fn count(records: usize) -> i64 {
    i64::try_from(records).unwrap_or(i64::MAX)
}

/// The ids of rows that are not deleted, in their order, after `after`.
pub async fn ids(
    pool: &PgPool,
    account: &Account,
    resource: &str,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Uuid>, StoreError> {
    let ids = sqlx::query_scalar!(
        "select id from teamleader.record
         where resource = $1 and account = $2 and deleted_at is null and id > $3
         order by id limit $4",
        resource,
        account.as_str(),
        // No record has this id, and the index is entered at the place.
        after.unwrap_or(Uuid::nil()),
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(ids)
}

/// How many rows are not deleted.
pub async fn count_rows(tx: &mut PgConnection, account: &Account, resource: &Resource) -> Result<i64, StoreError> {
    let rows = sqlx::query_scalar!(
        r#"select count(*) as "count!" from teamleader.record where resource = $1 and account = $2
             and deleted_at is null"#,
        resource.name,
        account.as_str(),
    )
    .fetch_one(tx)
    .await?;
    Ok(rows)
}

/// Those of these records that have a row, and whether that is marked deleted.
pub async fn known(
    pool: &PgPool,
    account: &Account,
    resource: &Resource,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, bool>, StoreError> {
    let known = sqlx::query!(
        r#"select p.id as "id!", r.deleted as "deleted!" from unnest($3::uuid[]) as p (id)
           cross join lateral (
               select deleted_at is not null as deleted from teamleader.record
               where resource = $1 and account = $2 and id = p.id limit 1) as r"#,
        resource.name,
        account.as_str(),
        ids,
    );
    Ok(known.fetch_all(pool).await?.into_iter().map(|row| (row.id, row.deleted)).collect())
}

/// How a row was last written.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// When its content changed, or it was marked deleted.
    pub changed_at: DateTime<Utc>,
    /// When the answer was asked for that it was written from.
    pub asked_at: Option<DateTime<Utc>>,
    /// Whether its detail was fetched, and is to be asked for once more.
    pub undetailed: bool,
}

/// How these rows were last written.
pub async fn written(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Written>, StoreError> {
    let rows = sqlx::query!(
        r#"select p.id as "id!", r.changed_at as "changed_at!", r.asked_at as "asked_at?",
             r.detail_at is null and r.deleted_at is null as "undetailed!"
           from unnest($3::uuid[]) as p (id)
           cross join lateral (
               select changed_at, asked_at, detail_at, deleted_at from teamleader.record
               where resource = $1 and account = $2 and id = p.id limit 1) as r"#,
        resource.name,
        account.as_str(),
        ids,
    );
    let rows = rows.fetch_all(tx).await?.into_iter();
    let written = rows.map(|row| {
        (row.id, Written { changed_at: row.changed_at, asked_at: row.asked_at, undetailed: row.undetailed })
    });
    Ok(written.collect())
}

/// The database's clock, within a transaction.
pub async fn clock_of(tx: &mut PgConnection) -> Result<DateTime<Utc>, StoreError> {
    Ok(sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(tx).await?)
}

/// The database's clock, by which `detail_at` and `listed_at` are compared.
pub async fn clock(pool: &PgPool) -> Result<DateTime<Utc>, StoreError> {
    let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(pool).await?;
    Ok(now)
}
