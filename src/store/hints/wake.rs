//! The message that wakes the consumer for hints: one at a time.

use sqlx::PgPool;

use crate::ids::Account;
use crate::store::pool::StoreError;

/// Whether hints may be looked at now, or something of the registration was asked for.
pub async fn is_wanted(pool: &PgPool, account: &Account) -> Result<bool, StoreError> {
    let wanted = sqlx::query_scalar!(
        r#"select exists (
             select from teamleader2db.hint
             where account = $1 and served_at is null and not_before <= clock_timestamp())
         or exists (
             select from teamleader2db.webhook_registration
             where account = $1 and wanted_at is not null) as "wanted!""#,
        account.as_str(),
    );
    Ok(wanted.fetch_one(pool).await?)
}

/// Whether to publish such a message now: no slice has said within 10 s that it serves hints, and no message was
/// published within 10 s that the consumer has not taken yet. Who gets `true` publishes.
pub async fn claim(pool: &PgPool, account: &Account) -> Result<bool, StoreError> {
    let claimed = sqlx::query!(
        "insert into teamleader2db.wake as w (account, asked_at)
         values ($1, clock_timestamp())
         on conflict (account) do update set asked_at = excluded.asked_at
         where (w.asked_at is null or w.asked_at < clock_timestamp() - interval '10 s')
           and (w.serving_at is null or w.serving_at < clock_timestamp() - interval '10 s')
           and w.not_before <= clock_timestamp()",
        account.as_str(),
    );
    Ok(claimed.execute(pool).await?.rows_affected() > 0)
}

/// The message could not be published, or the consumer has taken it and serves nothing.
pub async fn give_back(pool: &PgPool, account: &Account) -> Result<(), StoreError> {
    sqlx::query!("update teamleader2db.wake set asked_at = null where account = $1", account.as_str())
        .execute(pool)
        .await?;
    Ok(())
}

/// Whether a run is not over: its message is in the queue, or is delayed.
pub async fn a_run_is_under_way(pool: &PgPool, account: &Account) -> Result<bool, StoreError> {
    let is_under_way = sqlx::query_scalar!(
        r#"select exists (
             select from teamleader2db.sync_run where account = $1 and status = 'running') as "is_under_way!""#,
        account.as_str(),
    );
    Ok(is_under_way.fetch_one(pool).await?)
}

/// The consumer has taken the message, or a slice serves hints: says so, before it reads them.
pub async fn serving(pool: &PgPool, account: &Account) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into teamleader2db.wake as w (account, serving_at) values ($1, clock_timestamp())
         on conflict (account) do update set asked_at = null, serving_at = excluded.serving_at",
        account.as_str(),
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Nobody serves hints any more. `rests`: nobody is woken for this many seconds.
pub async fn ended(pool: &PgPool, account: &Account, rests: f64) -> Result<(), StoreError> {
    sqlx::query!(
        "update teamleader2db.wake set serving_at = null, not_before = clock_timestamp() + make_interval(secs => $2)
         where account = $1",
        account.as_str(),
        rests,
    )
    .execute(pool)
    .await?;
    Ok(())
}
