//! The worker processes of an account, for those who look for them.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::pool::StoreError;
use crate::ids::Account;

/// A worker process.
#[derive(Clone, Debug)]
pub struct WorkerRow {
    /// Host, process and a number.
    pub holder: String,
    /// Its version and commit.
    pub version: String,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it was last heard of.
    pub seen_at: DateTime<Utc>,
    /// Whether it was not heard of for a minute, by the database's clock: it is taken for ended.
    pub is_lost: bool,
    /// Whether it consumes requests, or stands by to.
    pub consuming: bool,
    /// Whether it has worked last: the account's lease is its.
    pub has_lease: bool,
    /// Since when.
    pub lease_since: Option<DateTime<Utc>>,
}

/// A process says that it is there. Rows of processes that were not heard of for a day are deleted.
pub async fn note(
    pool: &PgPool,
    account: &Account,
    (holder, version, started_at): (&str, &str, DateTime<Utc>),
    consuming: bool,
) -> Result<(), StoreError> {
    sqlx::query!(
        "with old as (
             delete from teamleader2db.worker
             where account = $1 and holder <> $2 and seen_at < now() - interval '1 day')
         insert into teamleader2db.worker (account, holder, version, started_at, consuming) values ($1, $2, $3, $4, $5)
         on conflict (account, holder) do update set seen_at = now(), consuming = excluded.consuming",
        account.as_str(),
        holder,
        version,
        started_at,
        consuming,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// A process ends.
pub async fn leave(pool: &PgPool, account: &Account, holder: &str) -> Result<(), StoreError> {
    sqlx::query!("delete from teamleader2db.worker where account = $1 and holder = $2", account.as_str(), holder)
        .execute(pool)
        .await?;
    Ok(())
}

/// The processes, the one that has worked last first.
pub async fn all(pool: &PgPool, account: &Account) -> Result<Vec<WorkerRow>, StoreError> {
    let workers = sqlx::query_as!(
        WorkerRow,
        r#"select w.holder, w.version, w.started_at, w.seen_at, w.consuming,
             w.seen_at < now() - interval '1 minute' as "is_lost!",
             l.account is not null as "has_lease!", l.taken_at as "lease_since?"
         from teamleader2db.worker w
         left join teamleader2db.lease l on l.account = w.account and l.holder = w.holder
         where w.account = $1 order by l.account is null, w.seen_at desc limit 50"#,
        account.as_str(),
    );
    Ok(workers.fetch_all(pool).await?)
}
