//! What is deleted when it is old: finished runs and events that were sent.

use std::time::Duration;

use sqlx::PgPool;

use super::pool::StoreError;
use crate::ids::Account;

/// Deletes runs that were finished, and events that were sent, longer ago than `keep`. Their steps and pages go with the runs.
pub async fn delete_old(pool: &PgPool, account: &Account, keep: Duration) -> Result<(), StoreError> {
    let seconds = keep.as_secs_f64();
    sqlx::query!(
        "delete from teamleader2db.sync_run where account = $1 and finished_at < now() - make_interval(secs => $2)",
        account.as_str(),
        seconds
    )
    .execute(pool)
    .await?;
    sqlx::query!(
        "delete from teamleader2db.event_outbox where account = $1 and sent_at < now() - make_interval(secs => $2)",
        account.as_str(),
        seconds
    )
    .execute(pool)
    .await?;
    Ok(())
}
