//! Records that are to be asked for by id, since an answer could not say which state is the newest: stored with the
//! page that gave them, until they were asked for.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::pool::StoreError;
use super::runs::StepKey;
use super::seen_ids;
use crate::catalog::PAGE_SIZE;

/// The pass under which `sync_page` stores them.
const DOUBTED: i32 = -2;

/// Some of them, which were stored together: as many as one request takes.
#[derive(Debug)]
pub struct Batch {
    /// Its place among the run's.
    page: i32,
    /// The records.
    pub ids: Vec<Uuid>,
}

/// Stores records to be asked for, in the transaction of the page that gave them.
pub async fn store(tx: &mut PgConnection, step: StepKey<'_>, ids: &[Uuid]) -> Result<(), StoreError> {
    for ids in ids.chunks(PAGE_SIZE) {
        seen_ids::append(tx, step, DOUBTED, ids).await?;
    }
    Ok(())
}

/// The next ones to ask for, if any are left.
pub async fn next(pool: &PgPool, step: StepKey<'_>) -> Result<Option<Batch>, StoreError> {
    let StepKey { account, run, resource } = step;
    let batch = sqlx::query_as!(
        Batch,
        "select page, ids from teamleader2db.sync_page
         where account = $1 and run_id = $2 and resource = $3 and pass = $4 order by page limit 1",
        account.as_str(),
        run.0,
        resource.name,
        DOUBTED,
    )
    .fetch_optional(pool)
    .await?;
    Ok(batch)
}

/// Forgets a batch, in the transaction that merges what came of asking for it.
pub async fn settle(tx: &mut PgConnection, step: StepKey<'_>, batch: &Batch) -> Result<(), StoreError> {
    let StepKey { account, run, resource } = step;
    sqlx::query!(
        "delete from teamleader2db.sync_page where account = $1 and run_id = $2 and resource = $3 and pass = $4
             and page = $5",
        account.as_str(),
        run.0,
        resource.name,
        DOUBTED,
        batch.page,
    )
    .execute(tx)
    .await?;
    Ok(())
}
