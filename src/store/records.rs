//! The rows: merged set-wise, one statement a batch, and only where they differ.

use std::collections::HashMap;
use std::ops::AddAssign;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::pool::StoreError;
use crate::catalog::Resource;
use crate::ids::Account;
use crate::teamleader::answer::Record;

/// What a merged page changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Rows that were not there before.
    pub created: i64,
    /// Rows whose list item differed, or that had been deleted.
    pub updated: i64,
    /// Records whose row was equal already.
    pub unchanged: i64,
}

impl AddAssign for Merged {
    fn add_assign(&mut self, other: Self) {
        self.created += other.created;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
    }
}

/// Merges list items. A row changes only where the hash differs and the content is not older.
///
/// `parent_resource`: of the parents of those that have one, as [`Record::parent`] tells. `touch`: the source says that each of these records changed, and its list item
/// cannot show it: equal ones are marked, so that their detail is stale.
pub async fn merge_page<'a>(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    records: impl IntoIterator<Item = &'a Record>,
    parent_resource: Option<&str>,
    touch: bool,
) -> Result<Merged, StoreError> {
    let told = newest(records);
    let (ids, parents): (Vec<Uuid>, Vec<Option<Uuid>>) = told.iter().map(|record| (record.id, record.parent)).unzip();
    let known: HashMap<Uuid, (Vec<u8>, bool)> = sqlx::query!(
        // Row by row, by key: planned as a join before PostgreSQL has counted what a first sync wrote, it reads all rows each time.
        r#"select r.id, r.list_hash,
             r.deleted_at is not null or (p.parent_id is not null and r.parent_id is distinct from p.parent_id) as "differs!"
         from unnest($3::uuid[], $4::uuid[]) as p (id, parent_id)
         cross join lateral (
             select * from teamleader.record where resource = $1 and account = $2 and id = p.id limit 1) as r"#,
        resource.name,
        account.as_str(),
        &ids,
        &parents as &[Option<Uuid>],
    )
    .fetch_all(&mut *tx)
    .await?
    .into_iter()
    .map(|row| (row.id, (row.list_hash, row.differs)))
    .collect();
    let equal = |record: &Record| known.get(&record.id).is_some_and(|(hash, differs)| !differs && hash == &record.hash);
    let (same, differing): (Vec<&Record>, Vec<&Record>) = told.iter().partition(|record| equal(record));
    let written =
        if differing.is_empty() { 0 } else { upsert(tx, account, resource, &differing, parent_resource).await? };
    if touch && !same.is_empty() {
        let same: Vec<Uuid> = same.iter().map(|record| record.id).collect();
        sqlx::query!(
            "update teamleader.record set listed_at = clock_timestamp() where resource = $1 and account = $2 and id = any($3)",
            resource.name,
            account.as_str(),
            &same,
        )
        .execute(tx)
        .await?;
    }
    // A user's trigger may have kept some from being written.
    let created = count(differing.iter().filter(|record| !known.contains_key(&record.id)).count()).min(written);
    Ok(Merged { created, updated: written - created, unchanged: count(told.len()) - written })
}

/// The records, each once, in their order. Pages that overlap, or shifted while they were made, can tell one twice: the newer counts, or
/// the last.
pub fn newest<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<&'a Record> {
    let (mut newest, mut places): (Vec<&Record>, HashMap<Uuid, usize>) = (Vec::new(), HashMap::new());
    for record in records {
        let place = *places.entry(record.id).or_insert(newest.len());
        match newest.get_mut(place) {
            None => newest.push(record),
            Some(kept) if record.updated_at >= kept.updated_at => *kept = record,
            Some(_) => {}
        }
    }
    newest
}

/// Records as the arrays that one statement takes.
#[derive(Default)]
pub(super) struct Columns<'a> {
    pub(super) ids: Vec<Uuid>,
    pub(super) contents: Vec<&'a str>,
    pub(super) updated: Vec<Option<DateTime<Utc>>>,
    pub(super) hashes: Vec<&'a [u8]>,
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
            columns.parents.push(record.parent);
        }
        columns
    }
}

/// Writes list items over what is there; the fields that only the detail has stay. Returns the rows written.
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
              parent_resource, parent_id)
         select $1, $2, id, content::jsonb, updated_at, hash, at, at, at, case when parent_id is not null then $7 end, parent_id
         from unnest($3::uuid[], $4::text[], $5::timestamptz[], $6::bytea[], $8::uuid[])
                  as page (id, content, updated_at, hash, parent_id),
              (select clock_timestamp() as at) as clock
         on conflict (resource, account, id) do update set
             content = r.content || excluded.content,
             source_updated_at = excluded.source_updated_at,
             list_hash = excluded.list_hash,
             listed_at = excluded.listed_at,
             parent_resource = coalesce(excluded.parent_resource, r.parent_resource),
             parent_id = coalesce(excluded.parent_id, r.parent_id),
             changed_at = case when r.deleted_at is null and r.content || excluded.content = r.content
                 then r.changed_at else excluded.changed_at end,
             deleted_at = null
         where (r.list_hash <> excluded.list_hash or r.deleted_at is not null
                or (excluded.parent_id is not null and r.parent_id is distinct from excluded.parent_id))
           and (r.source_updated_at is null or excluded.source_updated_at is null
                or excluded.source_updated_at >= r.source_updated_at)",
        resource.name,
        account.as_str(),
        &columns.ids,
        &columns.contents as &[&str],
        &columns.updated as &[Option<DateTime<Utc>>],
        &columns.hashes as &[&[u8]],
        parent_resource,
        &columns.parents as &[Option<Uuid>],
    )
    .execute(tx)
    .await?
    .rows_affected();
    Ok(i64::try_from(written).unwrap_or(i64::MAX))
}

/// A number of records, as counts have it.
pub(super) fn count(records: usize) -> i64 {
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
        r#"select count(*) as "count!" from teamleader.record where resource = $1 and account = $2 and deleted_at is null"#,
        resource.name,
        account.as_str(),
    )
    .fetch_one(tx)
    .await?;
    Ok(rows)
}

/// The database's clock, by which `detail_at` and `listed_at` are compared.
pub async fn clock(pool: &PgPool) -> Result<DateTime<Utc>, StoreError> {
    let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(pool).await?;
    Ok(now)
}

/// What a pass over a list has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// All records.
    Complete,
    /// What changed since the watermark.
    Incremental,
}

/// Moves the watermark of a resource, in the transaction that ends its pass. Back only after a complete pass, from one
/// that cannot be: no list can have been read in the future.
pub async fn move_watermark(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    watermark: DateTime<Utc>,
    pass: Pass,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into teamleader2db.cursor as c (account, resource, watermark) values ($1, $2, $3)
         on conflict (account, resource) do update set watermark = case
             when $4 and c.watermark > clock_timestamp() then excluded.watermark
             else greatest(c.watermark, excluded.watermark) end",
        account.as_str(),
        resource.name,
        watermark,
        pass == Pass::Complete,
    )
    .execute(tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;
    use crate::teamleader::answer;

    #[test]
    fn of_a_record_that_pages_tell_twice_the_newer_counts_whatever_their_order() {
        let record = |second: u32| {
            let id = Uuid::from_u128(1);
            let body = format!(r#"{{"data":{{"id":"{id}","updated_at":"2026-01-01T00:00:0{second}+00:00"}}}}"#);
            answer::parse_info(catalog::find("contacts").expect("known"), body.as_bytes()).expect("valid").0
        };
        let (older, newer) = (record(1), record(2));
        for told in [[older.clone(), newer.clone()], [newer.clone(), older]] {
            assert_eq!(newest(&told), [&newer]);
        }
    }
}
