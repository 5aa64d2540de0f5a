//! Logins at the dashboard, shared by the processes of an account, so that one that is ended holds nowhere.

use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;

use super::pool::StoreError;
use crate::ids::Account;

/// The most logins of an account: of more the oldest ends.
const MOST: i64 = 1_000;

/// Stores a new login for this long. Those that have ended are deleted.
pub async fn begin(pool: &PgPool, account: &Account, id: Uuid, lasts: Duration) -> Result<(), StoreError> {
    sqlx::query!(
        "with old as (
             delete from teamleader2db.login where id in (
                 select id from teamleader2db.login
                 where ends_at <= now()
                    or account = $2 and ends_at <= (
                        select ends_at from teamleader2db.login where account = $2 order by ends_at desc offset $4
                            limit 1)))
         insert into teamleader2db.login (id, account, ends_at) values ($1, $2, now() + make_interval(secs => $3))",
        id,
        account.as_str(),
        lasts.as_secs_f64(),
        MOST - 1,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Whether a login has neither ended nor been ended.
pub async fn holds(pool: &PgPool, account: &Account, id: Uuid) -> Result<bool, StoreError> {
    let holds = sqlx::query_scalar!(
        r#"select exists (
             select from teamleader2db.login where id = $1 and account = $2 and ends_at > now()) as "holds!""#,
        id,
        account.as_str(),
    )
    .fetch_one(pool)
    .await?;
    Ok(holds)
}

/// Ends a login, for every process.
pub async fn end(pool: &PgPool, account: &Account, id: Uuid) -> Result<(), StoreError> {
    sqlx::query!("delete from teamleader2db.login where id = $1 and account = $2", id, account.as_str())
        .execute(pool)
        .await?;
    Ok(())
}
