//! The counts of rows, which triggers keep: see `migrations/0019_reports.sql`.

use sqlx::PgPool;

use crate::store::pool::StoreError;
use crate::store::schema;

/// Folds the counts of each table into one row. What is written meanwhile is neither lost nor waited for: its counts
/// are rows of their own.
pub async fn fold_counts(pool: &PgPool) -> Result<(), StoreError> {
    schema::check_not_newer(pool).await?;
    sqlx::query!(
        "with folded as (
             delete from teamleader2db.table_count where (account, resource) in (
                 select account, resource from teamleader2db.table_count group by account, resource
                 having count(*) > 1)
             returning account, resource, rows, deleted)
         insert into teamleader2db.table_count (account, resource, rows, deleted)
         select account, resource, sum(rows), sum(deleted) from folded group by account, resource
         having sum(rows) <> 0 or sum(deleted) <> 0"
    )
    .execute(pool)
    .await?;
    Ok(())
}
