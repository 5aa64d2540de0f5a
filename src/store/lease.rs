//! The lease: only the slice with the newest epoch writes.

use sqlx::{PgPool, Postgres, Transaction};

use super::pool::{self, StoreError};
use crate::ids::{Account, Epoch};

/// Takes the next epoch of an account: whoever held an older one can write no more.
///
/// Waits for transactions of the older one that are under way; the server ends those that idle for 10 s.
pub async fn take(pool: &PgPool, account: &Account, holder: &str) -> Result<Epoch, StoreError> {
    let epoch = sqlx::query_scalar!(
        "insert into teamleader2db.lease as l (account, epoch, holder) values ($1, 1, $2)
         on conflict (account) do update set epoch = l.epoch + 1, holder = excluded.holder, taken_at = now()
         returning epoch",
        account.as_str(),
        holder,
    )
    .fetch_one(pool)
    .await?;
    Ok(Epoch(epoch))
}

/// Fences whoever works for the account, without taking the lease.
pub async fn raise(tx: &mut Transaction<'_, Postgres>, account: &Account) -> Result<(), StoreError> {
    sqlx::query!("update teamleader2db.lease set epoch = epoch + 1 where account = $1", account.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Whether another process took the lease in the last seconds: it may be in the midst of a slice.
pub async fn is_anothers(
    pool: &PgPool,
    account: &Account,
    holder: &str,
    within: std::time::Duration,
) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar!(
        r#"select exists (
             select from teamleader2db.lease
             where account = $1 and holder <> $2 and taken_at > now() - make_interval(secs => $3)) as "exists!""#,
        account.as_str(),
        holder,
        within.as_secs_f64(),
    )
    .fetch_one(pool)
    .await?;
    Ok(found)
}

/// Begins a transaction that writes: it goes on only while `epoch` is the newest, and no newer one begins before it ends.
pub async fn begin(
    pool: &PgPool,
    account: &Account,
    epoch: Epoch,
) -> Result<Transaction<'static, Postgres>, StoreError> {
    let mut tx = pool::begin(pool).await?;
    check(&mut tx, account, epoch).await?;
    Ok(tx)
}

/// Holds the lease's row against newer epochs until the transaction ends. A plain select would not fence.
pub async fn check(tx: &mut Transaction<'_, Postgres>, account: &Account, epoch: Epoch) -> Result<(), StoreError> {
    let newest =
        sqlx::query_scalar!("select epoch from teamleader2db.lease where account = $1 for share", account.as_str())
            .fetch_optional(&mut **tx)
            .await?;
    if newest == Some(epoch.0) { Ok(()) } else { Err(StoreError::Fenced) }
}
