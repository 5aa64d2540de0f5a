//! The tables of the resources: how many rows, and how fresh they are.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use super::resources::detailed;
use crate::catalog::RESOURCES;
use crate::ids::Account;
use crate::store::pool::StoreError;

/// A resource's table and how fresh it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TableStatus {
    /// The resource.
    pub resource: String,
    /// Rows that are not deleted.
    pub rows: i64,
    /// When a run last ended with the resource completed.
    pub last_success_at: Option<DateTime<Utc>>,
    /// The watermark of incremental passes.
    pub watermark: Option<DateTime<Utc>>,
    /// Rows whose detail is missing or older than their list item; over HTTP, of 10,000 and more as they were counted
    /// within the last minute.
    pub stale_details: i64,
    /// Rows marked deleted.
    pub deleted: i64,
}

/// The tables of an account, in the catalog's order. Exact, and no row is read but those whose detail is stale; of more
/// than `most_stale` in a table no more are read and counted.
pub async fn tables(pool: &PgPool, account: &Account, most_stale: Option<i64>) -> Result<Vec<TableStatus>, StoreError> {
    let names: Vec<String> = RESOURCES.iter().map(|resource| resource.name.to_owned()).collect();
    let tables = sqlx::query_as!(
        TableStatus,
        r#"select n.resource as "resource!", coalesce(k.rows, 0) as "rows!", c.last_success_at, c.watermark,
             case when n.resource = any($3) then
                 (select count(*) from (
                      select from teamleader.record r
                      where r.resource = n.resource and r.account = $1 and r.deleted_at is null
                        and (r.detail_at is null or r.detail_at < r.listed_at) limit $4) as stale) else 0 end
                 as "stale_details!",
             coalesce(k.deleted, 0) as "deleted!"
         from unnest($2::text[]) with ordinality as n (resource, ordinal)
         left join (
             select resource, sum(rows)::bigint as rows, sum(deleted)::bigint as deleted
             from teamleader2db.table_count where account = $1 group by resource) as k on k.resource = n.resource
         left join teamleader2db.cursor c on c.account = $1 and c.resource = n.resource
         order by n.ordinal"#,
        account.as_str(),
        &names,
        &detailed(),
        most_stale,
    )
    .fetch_all(pool)
    .await?;
    Ok(tables)
}
