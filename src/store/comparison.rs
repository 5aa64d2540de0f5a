//! Rows compared with what the API gives, for audits. Nothing is written but which ids were found to differ, and, to
//! repair them, that rows are to be written again.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::pool::StoreError;
use super::records::{Columns, list_fields};
use crate::api_client::answer::Record;
use crate::catalog::{Resource, Shapes};
use crate::ids::Account;

/// The result of a comparison: the ids, by how their rows differ.
#[derive(Debug, Default)]
pub struct Compared {
    /// Records that have no row.
    pub missing: Vec<Uuid>,
    /// Rows that hold an older state of their record, or lack its detail.
    pub stale: Vec<Uuid>,
    /// Rows that hold what the API did not give, or that are marked deleted although the record lives.
    pub wrong: Vec<Uuid>,
    /// Rows whose content is what the API gave, also if it was written from another text.
    pub same: HashSet<Uuid>,
}

impl Compared {
    /// All of them.
    pub fn differing(&self) -> Vec<Uuid> {
        [&self.missing[..], &self.stale, &self.wrong].concat()
    }

    /// Leaves out those that are in `known`.
    pub fn without(self, known: &[Uuid]) -> Self {
        let unknown = |ids: Vec<Uuid>| ids.into_iter().filter(|id| !known.contains(id)).collect();
        Self { missing: unknown(self.missing), stale: unknown(self.stale), wrong: unknown(self.wrong), same: self.same }
    }

    fn sort(&mut self, id: Uuid, known: bool, older: bool, holds: bool) {
        if holds {
            self.same.insert(id);
        }
        match (known, older, holds) {
            (false, ..) => self.missing.push(id),
            (true, true, _) => self.stale.push(id),
            (true, false, false) => self.wrong.push(id),
            (true, false, true) => {}
        }
    }
}

/// Compares list items with their rows, but for rows that were written from a later request. A row with details holds
/// those fields of the item that `.info` has, too, as `.info` gives them: they are left to [`details`].
pub async fn items(
    connection: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    items: &[Record],
) -> Result<Compared, StoreError> {
    let columns = Columns::of(items.iter());
    let info = Shapes::of(resource).info.fields.iter().map(|field| field.name.clone());
    let fields_of_info: Vec<String> = info.filter(|_| resource.has_details()).collect();
    let rows = sqlx::query!(
        r#"select p.id as "id!", r.id is not null as "known!",
             r.asked_at >= p.asked_at and r.asked_at <= clock_timestamp() as later,
             coalesce(r.deleted_at is null and r.list_hash <> p.hash, false) as "older!",
             coalesce(r.deleted_at is null and r.content = case when $8 and r.detail_hash is not null
                     then r.content || (p.content::jsonb - case when r.detail_at is null then '{}' else $6::text[] end)
                     else p.content::jsonb end, false) as "holds!"
         from unnest($3::uuid[], $4::text[], $5::bytea[], $7::timestamptz[]) as p (id, content, hash, asked_at)
         left join lateral (
             select * from teamleader.record where resource = $1 and account = $2 and id = p.id limit 1) as r on true"#,
        resource.name,
        account.as_str(),
        &columns.ids,
        &columns.contents as &[&str],
        &columns.hashes as &[&[u8]],
        &fields_of_info,
        &columns.asked as &[Option<DateTime<Utc>>],
        resource.has_details(),
    )
    .fetch_all(connection)
    .await?;
    let mut compared = Compared::default();
    let rows = rows.iter().filter(|row| row.later != Some(true));
    rows.for_each(|row| compared.sort(row.id, row.known, row.older, row.holds));
    Ok(compared)
}

/// Compares details with their rows, but for rows that were written from a later request.
pub async fn details(
    connection: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    details: &[Record],
) -> Result<Compared, StoreError> {
    let columns = Columns::of(details.iter());
    let rows = sqlx::query!(
        r#"select p.id as "id!",
             r.detail_at is null or r.detail_at < r.listed_at or r.detail_hash is distinct from p.hash as "older!",
             case when r.detail_hash is null then r.content
             else teamleader2db.only_fields(r.content, coalesce(r.list_fields, $7))
                     end || p.content::jsonb = r.content as "holds!"
         from unnest($3::uuid[], $4::text[], $5::bytea[], $6::timestamptz[]) as p (id, content, hash, asked_at)
         cross join lateral (
             select * from teamleader.record
             where resource = $1 and account = $2 and id = p.id and deleted_at is null limit 1) as r
         where (r.asked_at >= p.asked_at and r.asked_at <= clock_timestamp()) is not true"#,
        resource.name,
        account.as_str(),
        &columns.ids,
        &columns.contents as &[&str],
        &columns.hashes as &[&[u8]],
        &columns.asked as &[Option<DateTime<Utc>>],
        &list_fields(resource),
    )
    .fetch_all(connection)
    .await?;
    let mut compared = Compared::default();
    rows.iter().for_each(|row| compared.sort(row.id, true, row.older, row.holds));
    Ok(compared)
}

/// Of records that the API does not have, each asked for at its time or later, those whose row was not written from a
/// later request.
pub async fn missing(
    connection: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    (ids, asked_at): (&[Uuid], &[Option<DateTime<Utc>>]),
) -> Result<Compared, StoreError> {
    let wrong = sqlx::query_scalar!(
        r#"select p.id as "id!" from unnest($3::uuid[], $4::timestamptz[]) as p (id, asked_at)
         where not exists (
             select from teamleader.record r
             where r.resource = $1 and r.account = $2 and r.id = p.id
               and r.asked_at >= p.asked_at and r.asked_at <= clock_timestamp())"#,
        resource.name,
        account.as_str(),
        ids,
        asked_at as &[Option<DateTime<Utc>>],
    )
    .fetch_all(connection)
    .await?;
    Ok(Compared { wrong, ..Compared::default() })
}

/// Marks rows to be written by the next merge, whatever it brings, and their details to be asked for.
pub async fn distrust(
    connection: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    ids: &[Uuid],
) -> Result<(), StoreError> {
    sqlx::query!(
        "update teamleader.record set list_hash = '', source_updated_at = null, detail_at = null
         where resource = $1 and account = $2 and id = any($3)",
        resource.name,
        account.as_str(),
        ids,
    )
    .execute(connection)
    .await?;
    Ok(())
}
