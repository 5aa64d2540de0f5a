//! The records that the partitions of a resource are made from, and the rows that belong to a partition.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::pool::StoreError;
use super::runs::StepKey;
use crate::api_client::answer::{self, Page};
use crate::catalog::{self, Parent, Resource};
use crate::ids::Account;

/// Which rows of a resource one of its partitions has: those of a parent, else those whose content has this in it.
#[derive(Clone, Copy, Debug)]
pub struct PartitionRows<'a> {
    /// The parent.
    pub parent_id: Option<Uuid>,
    /// What the content has; null: anything.
    pub content: &'a Value,
}

/// The countries of the stored addresses, as two-letter codes.
pub async fn countries(pool: &PgPool, account: &Account) -> Result<Vec<String>, StoreError> {
    let countries = sqlx::query_scalar!(
        r#"select distinct country as "country!"
         from teamleader.record r, lateral (
             select content #>> '{primary_address,country}'
             union all select content #>> '{address,country}'
             union all select address #>> '{address,country}' from jsonb_path_query(content, 'lax $.addresses[*]')
             as address
         ) as addresses (country)
         where resource in ('companies', 'contacts', 'departments') and account = $1 and deleted_at is null
           and country ~ '^[A-Z]{2}$'
         order by 1"#,
        account.as_str(),
    )
    .fetch_all(pool)
    .await?;
    Ok(countries)
}

/// Up to `limit` rows of a resource after `after`, in the order of their ids; with `since` of those whose list item
/// differed since then.
pub async fn after(
    connection: &mut PgConnection,
    account: &Account,
    resource: &str,
    after: Option<Uuid>,
    since: Option<DateTime<Utc>>,
    limit: i64,
) -> Result<Vec<Uuid>, StoreError> {
    let ids = sqlx::query_scalar!(
        "select id from teamleader.record
         where resource = $1 and account = $2 and deleted_at is null and id > $3
           and ($4::timestamptz is null or listed_at >= $4)
         order by id limit $5",
        resource,
        account.as_str(),
        // No record has this id, and the index is entered at the place.
        after.unwrap_or(Uuid::nil()),
        since,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids)
}

/// A page of what stands in the place of a list: the records that the rows of another resource name as their source,
/// with the fields that both have, as an answer of the API would give them. `size` of them from 1 on.
pub async fn stored_page(
    pool: &PgPool,
    account: &Account,
    resource: &Resource,
    of: &Parent,
    (number, size): (u32, usize),
) -> Result<Page, StoreError> {
    let shared = catalog::shared_fields(resource);
    let rows = sqlx::query!(
        r#"select id as "row!", content #>> '{source,id}' as "id!", count(*) over () as "all!",
             (select jsonb_object_agg(key, value) from jsonb_each(content) where key = any($4)) as "shared?"
         from teamleader.record
         where resource = $1 and account = $2 and deleted_at is null and content #>> '{source,type}' = $3
           and content #>> '{source,id}' is not null
         order by id limit $5 offset $6"#,
        of.resource,
        account.as_str(),
        of.kind,
        &shared,
        i64::try_from(size).unwrap_or(i64::MAX),
        i64::from(number.saturating_sub(1)).saturating_mul(i64::try_from(size).unwrap_or(i64::MAX)),
    )
    .fetch_all(pool)
    .await?;
    // Past the end, nothing says how many there are: as many as the pages before it held.
    let matches = match rows.first() {
        Some(row) => row.all,
        None => i64::from(number.saturating_sub(1)).saturating_mul(i64::try_from(size).unwrap_or(0)),
    };
    let mut parents = HashMap::new();
    let records = rows.into_iter().map(|row| {
        parents.extend(row.id.parse::<Uuid>().map(|id| (id, row.row)));
        let mut record = row.shared.unwrap_or_else(|| json!({}));
        record["id"] = json!(row.id);
        record
    });
    let answer = json!({ "data": records.collect::<Vec<_>>(), "meta": { "matches": matches } });
    let mut page = answer::parse_list(resource, answer.to_string().as_bytes()).map_err(StoreError::Corrupt)?;
    page.records.iter_mut().for_each(|record| record.parent = parents.get(&record.id).copied());
    Ok(page)
}

/// Which kind of parent has a row with this id that is not deleted.
pub async fn kind_of(
    pool: &PgPool,
    account: &Account,
    kinds: &'static [Parent],
    id: Uuid,
) -> Result<Option<&'static Parent>, StoreError> {
    let resources: Vec<String> = kinds.iter().map(|kind| kind.resource.to_owned()).collect();
    let found = sqlx::query_scalar!(
        "select resource from teamleader.record
         where resource = any($1) and account = $2 and id = $3 and deleted_at is null limit 1",
        &resources,
        account.as_str(),
        id,
    );
    let found = found.fetch_optional(pool).await?;
    Ok(found.and_then(|resource| kinds.iter().find(|kind| kind.resource == resource)))
}

/// The parent of a row.
pub async fn of_child(
    pool: &PgPool,
    account: &Account,
    resource: &Resource,
    id: Uuid,
) -> Result<Option<Uuid>, StoreError> {
    let parent = sqlx::query_scalar!(
        "select parent_id from teamleader.record where resource = $1 and account = $2 and id = $3",
        resource.name,
        account.as_str(),
        id,
    );
    Ok(parent.fetch_optional(pool).await?.flatten())
}

/// The rows that belong to these parents and are not deleted, by parent.
pub async fn children(
    connection: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    parents: &[Uuid],
) -> Result<HashMap<Uuid, Vec<Uuid>>, StoreError> {
    let rows = sqlx::query!(
        r#"select parent_id as "parent_id!", id from teamleader.record
         where resource = $1 and account = $2 and deleted_at is null and parent_id = any($3)"#,
        resource.name,
        account.as_str(),
        parents,
    )
    .fetch_all(connection)
    .await?;
    let mut children: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
    for row in rows {
        children.entry(row.parent_id).or_default().push(row.id);
    }
    Ok(children)
}

/// The rows of a partition that no page of the run from `first_page` on gave, and that were first written before
/// `started`, when the run started.
pub async fn unseen_in_partition(
    tx: &mut PgConnection,
    step: StepKey<'_>,
    rows: PartitionRows<'_>,
    (first_page, started): (i32, Option<DateTime<Utc>>),
) -> Result<Vec<Uuid>, StoreError> {
    let StepKey { account, run, resource } = step;
    let ids = sqlx::query_scalar!(
        r#"select id as "id!" from (
             select id from teamleader.record
             where resource = $1 and account = $2 and deleted_at is null
               and ($4::uuid is null or parent_id = $4) and ($5::jsonb is null or $5 = 'null' or content @> $5)
               and ($7::timestamptz is null or first_seen_at < $7)
             except
             select unnest(ids) from teamleader2db.sync_page
             where account = $2 and run_id = $3 and resource = $1 and pass > 0 and page >= $6) as unseen
         order by id"#,
        resource.name,
        account.as_str(),
        run.0,
        rows.parent_id,
        rows.content,
        first_page,
        started,
    )
    .fetch_all(tx)
    .await?;
    Ok(ids)
}
