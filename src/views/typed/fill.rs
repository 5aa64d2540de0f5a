//! Fills tables from the documents that are there already.

use sqlx::{AssertSqlSafe, PgPool};
use tracing::info;
use uuid::Uuid;

use super::sql;
use super::table::Table;
use crate::store::lease;
use crate::store::pool::{self, StoreError};
use crate::views::names::{self, quoted};

/// Records of a portion. A writer of records waits for a portion at most.
const PORTION: i64 = 500;

/// How many records lie between two lines of the log.
const TOLD_AFTER: usize = 100_000;

/// Fills the tables of a resource, which the triggers write already: a row that is there is newer than the document
/// that this reads. In portions, each in a transaction of its own; one that was interrupted begins again, and meets
/// rows that are there.
pub(super) async fn fill(pool: &PgPool, tables: &[&Table]) -> Result<(), StoreError> {
    let (resource, mut filled) = (tables[0].resource.name, 0);
    let mut account: Option<String> = None;
    while let Some(next) = next_account(pool, resource, account.as_deref()).await? {
        let mut after = Uuid::nil();
        while let Some((last, records)) = portion(pool, tables, &next, after).await? {
            after = last;
            filled += records;
            if filled / TOLD_AFTER > (filled - records) / TOLD_AFTER {
                info!(resource, records = filled, "The typed columns of {filled} records of {resource} are filled");
            }
        }
        account = Some(next);
    }
    for table in tables {
        // PostgreSQL does not know yet how many rows there are.
        let sql = format!("analyze {0};\n{1}", table.qualified(), sql::comment(table, true));
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await?;
    }
    Ok(())
}

async fn next_account(pool: &PgPool, resource: &str, after: Option<&str>) -> Result<Option<String>, StoreError> {
    let next = sqlx::query_scalar!(
        "select account from teamleader.record where resource = $1 and ($2::text is null or account > $2)
         order by account limit 1",
        resource,
        after
    );
    Ok(next.fetch_optional(pool).await?)
}

/// Fills in the next records after an id; gives the last id, and how many they were. None of the account's workers
/// writes meanwhile, and anybody else who does waits for the rows.
async fn portion(
    pool: &PgPool,
    tables: &[&Table],
    account: &str,
    after: Uuid,
) -> Result<Option<(Uuid, usize)>, StoreError> {
    let mut tx = pool::begin(pool).await?;
    lease::hold_writers(&mut tx, account).await?;
    let resource = tables[0].resource.name;
    let ids = sqlx::query_scalar!(
        "select id from teamleader.record where resource = $1 and account = $2 and id > $3
         order by id limit $4 for share",
        resource,
        account,
        after,
        PORTION
    );
    let ids: Vec<Uuid> = ids.fetch_all(&mut *tx).await?;
    let rows = format!("teamleader.{}", quoted(&names::table(resource)));
    for table in tables {
        let insert = sql::insert(table, &rows, "r.account = $1 and r.id = any($2)");
        let sql = format!("{insert} on conflict do nothing");
        sqlx::query(AssertSqlSafe(sql)).bind(account).bind(&ids).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(ids.last().map(|last| (*last, ids.len())))
}
