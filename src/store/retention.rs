//! Rows that are deleted when they are old: finished runs, events that were sent, versions of records, and the content
//! of deleted rows.

use std::time::Duration;

use sqlx::PgPool;
use tracing::info;

use super::draws::{self, pace};
use super::hints;
use super::pool::{self, StoreError};
use super::runs::log;
use super::schema;
use crate::ids::Account;

/// Rows whose content is erased in one statement.
const ERASED_AT_ONCE: i64 = 1_000;

/// Rows that one statement deletes: the server ends one that takes too long, and then nothing would ever go.
const DELETED_AT_ONCE: i64 = 10_000;

/// How long things are stored.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Runs since they were finished, events since they were sent, versions of records since they were written over;
    /// `None`: for ever.
    pub keep: Option<Duration>,
    /// The content of rows since they were marked deleted; `None`: for ever.
    pub erase_deleted_after: Option<Duration>,
}

impl Retention {
    /// Deletes and erases what is too old. Steps and pages go with their runs.
    pub async fn apply(&self, pool: &PgPool, account: &Account) -> Result<(), StoreError> {
        schema::check_not_newer(pool).await?;
        // First: nothing that is slow to delete may hold it up.
        if let Some(after) = self.erase_deleted_after {
            while erase(pool, account, after).await? {}
        }
        if let Some(keep) = self.keep {
            while delete_some(pool, account, keep).await? {}
        }
        while log::delete_old(pool, account, DELETED_AT_ONCE).await? {}
        while hints::delete_served(pool, account, DELETED_AT_ONCE).await? {}
        while draws::delete_old(pool, account, DELETED_AT_ONCE).await? {}
        while pace::delete_old(pool, account, DELETED_AT_ONCE).await? {}
        Ok(())
    }
}

/// Deletes some runs, events that were sent and versions of records; false if none was left.
async fn delete_some(pool: &PgPool, account: &Account, keep: Duration) -> Result<bool, StoreError> {
    // Fewer of them: their pages, which go with them, are many rows.
    let runs = sqlx::query!(
        "delete from teamleader2db.sync_run where account = $1 and id in (
             select id from teamleader2db.sync_run
             where account = $1 and finished_at < now() - case
                 when request is null then interval '7 days'
                 when status = 'cancelled' then greatest(interval '7 days', make_interval(secs => $2))
                 else make_interval(secs => $2) end limit 100)",
        account.as_str(),
        keep.as_secs_f64()
    );
    let events = sqlx::query!(
        "delete from teamleader2db.event_outbox where ctid = any(array(
             select ctid from teamleader2db.event_outbox
             where account = $1 and sent_at < now() - make_interval(secs => $2) limit $3))",
        account.as_str(),
        keep.as_secs_f64(),
        DELETED_AT_ONCE
    );
    let versions = sqlx::query!(
        "delete from teamleader.record_history where ctid = any(array(
             select ctid from teamleader.record_history
             where account = $1 and valid_to < now() - make_interval(secs => $2) limit $3))",
        account.as_str(),
        keep.as_secs_f64(),
        DELETED_AT_ONCE
    );
    let mut deleted = 0;
    for query in [runs, events, versions] {
        deleted += query.execute(pool).await?.rows_affected();
    }
    Ok(deleted > 0)
}

/// Erases the content of some rows that are deleted for longer than `after`, and all their versions; false if none was
/// left. A row that came back meanwhile is not deleted any more by the time it is locked, and stays as it is.
async fn erase(pool: &PgPool, account: &Account, after: Duration) -> Result<bool, StoreError> {
    let mut tx = pool::begin(pool).await?;
    let erased = sqlx::query!(
        r#"update teamleader.record r set content = '{}', list_hash = '', detail_hash = null, detail_at = null,
             changed_at = now()
         from (select resource, id from teamleader.record
               where account = $1 and deleted_at < now() - make_interval(secs => $2) and content <> '{}' limit $3)
                   as old
         where r.resource = old.resource and r.account = $1 and r.id = old.id
           and r.deleted_at < now() - make_interval(secs => $2)
         returning r.resource, r.id"#,
        account.as_str(),
        after.as_secs_f64(),
        ERASED_AT_ONCE,
    )
    .fetch_all(&mut *tx)
    .await?;
    let (resources, ids): (Vec<_>, Vec<_>) = erased.into_iter().map(|row| (row.resource, row.id)).unzip();
    sqlx::query!(
        "delete from teamleader.record_history h using unnest($2::text[], $3::uuid[]) as erased (resource, id)
         where h.resource = erased.resource and h.account = $1 and h.id = erased.id",
        account.as_str(),
        &resources,
        &ids,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    if !ids.is_empty() {
        info!(rows = ids.len(), "Erased the content of {} deleted rows", ids.len());
    }
    Ok(!ids.is_empty())
}
