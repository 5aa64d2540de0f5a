//! The lease: only the slice with the newest epoch, the fencing token, writes.

use std::convert::Infallible;
use std::time::Duration;

use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tokio::time::sleep;
use tracing::{info, warn};

use super::pool::{self, StoreError};
use super::schema;
use crate::ids::{Account, Epoch};

/// Transactions of an older epoch that are under way are waited for this long. The server ends by itself those that
/// idle for 10 s.
const WAITS_FOR_OLDER: Duration = Duration::from_secs(12);

/// The first number of the advisory locks of those who write rows of an account.
const WRITERS: i32 = 7_355_008;

/// Acquires the lease of an account with the next epoch: a holder of an older one can write no more.
///
/// Waits for transactions of the older one that are under way, but not for ever: a process that is paused while it
/// sends rows by `COPY` keeps the lease's row locked, and no timeout of PostgreSQL ends that. One that is still under
/// way after [`WAITS_FOR_OLDER`] is ended, which PostgreSQL allows to the same role, and rolled back.
pub async fn acquire(pool: &PgPool, account: &Account, holder: &str) -> Result<Epoch, StoreError> {
    let mut tx = pool::begin(pool).await?;
    // Not after: it would fence the newer program's worker.
    schema::check_not_newer(&mut *tx).await?;
    let session = sqlx::query_scalar!(r#"select pg_backend_pid() as "pid!""#).fetch_one(&mut *tx).await?;
    let epoch = tokio::select! {
        epoch = next_epoch(&mut tx, account, holder) => epoch?,
        never = end_older(pool, session) => match never {},
    };
    tx.commit().await?;
    Ok(epoch)
}

async fn next_epoch(tx: &mut PgConnection, account: &Account, holder: &str) -> sqlx::Result<Epoch> {
    // The subqueries see the row as it was before the statement.
    let taken = sqlx::query!(
        r#"insert into teamleader2db.lease as l (account, epoch, holder) values ($1, 1, $2)
         on conflict (account) do update set epoch = l.epoch + 1, holder = excluded.holder, taken_at = now()
         returning epoch, (select holder from teamleader2db.lease where account = $1) as before,
             (select extract(epoch from now() - taken_at)::bigint from teamleader2db.lease where account = $1) as age"#,
        account.as_str(),
        holder,
    )
    .fetch_one(tx)
    .await?;
    if let (Some(before), Some(age)) = (taken.before.filter(|before| before != holder), taken.age) {
        info!(holder, before, "Took over from {before}, whose lease was {age} s old");
    }
    Ok(Epoch(taken.epoch))
}

/// Who holds the lease of an account.
#[derive(Debug)]
pub struct Holding {
    /// Host and process.
    pub holder: String,
    /// How long ago it acquired the lease.
    pub seconds: i64,
}

/// Who holds the lease of an account, if anyone does.
pub async fn holding(pool: &PgPool, account: &Account) -> Result<Option<Holding>, StoreError> {
    let holding = sqlx::query_as!(
        Holding,
        r#"select holder, extract(epoch from now() - taken_at)::bigint as "seconds!"
         from teamleader2db.lease where account = $1"#,
        account.as_str(),
    );
    Ok(holding.fetch_optional(pool).await?)
}

/// After a while ends the sessions of the same role for which `session` waits, and those for which it waits then.
async fn end_older(pool: &PgPool, session: i32) -> Infallible {
    sleep(WAITS_FOR_OLDER).await;
    loop {
        if let Err(error) = end_those_before(pool, session).await {
            warn!(%error, "Cannot end a transaction that holds the account's lease");
        }
        sleep(Duration::from_secs(1)).await;
    }
}

async fn end_those_before(pool: &PgPool, session: i32) -> sqlx::Result<()> {
    // Neither sessions that only wait before this one, nor those that are another's.
    let older = sqlx::query_scalar!(
        r#"select pid as "pid!" from pg_stat_activity
           where pid = any(pg_blocking_pids($1)) and wait_event_type is distinct from 'Lock'
               and pg_has_role(usesysid, 'member')"#,
        session,
    )
    .fetch_all(pool)
    .await?;
    if !older.is_empty() {
        warn!(
            sessions = ?older,
            "Ending what an older worker left: it holds the account's lease, \
            and does not end by itself"
        );
        sqlx::query!("select from unnest($1::integer[]) as pid where pg_terminate_backend(pid)", &older)
            .execute(pool)
            .await?;
    }
    Ok(())
}

/// Fences every worker of the account, without acquiring the lease.
pub async fn bump_epoch(tx: &mut Transaction<'_, Postgres>, account: &Account) -> Result<(), StoreError> {
    sqlx::query!("update teamleader2db.lease set epoch = epoch + 1 where account = $1", account.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Whether another process acquired the lease within this time: it may be in the midst of a slice.
pub async fn is_anothers(pool: &PgPool, account: &Account, holder: &str, within: Duration) -> Result<bool, StoreError> {
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

/// Begins a transaction that writes: it goes on only while `epoch` is the newest, and no newer one begins before it
/// ends.
pub async fn begin(
    pool: &PgPool,
    account: &Account,
    epoch: Epoch,
) -> Result<Transaction<'static, Postgres>, StoreError> {
    begin_fenced(pool, account, epoch, (true, false)).await
}

/// Begins a transaction as [`begin`] does, whose commit does not wait for the disk.
///
/// For what a crash of PostgreSQL may take back: rows that are merged, with their checkpoint. It is then done again,
/// since each checkpoint is only written over the one before. A later commit that waits for the disk waits for this one
/// as well: the end of a run, a slice that is requeued.
pub async fn begin_batch(
    pool: &PgPool,
    account: &Account,
    epoch: Epoch,
) -> Result<Transaction<'static, Postgres>, StoreError> {
    begin_fenced(pool, account, epoch, (false, false)).await
}

/// Begins a transaction as [`begin_batch`] does, while no other writes rows of the account: those that are under way
/// are waited for, and those to come wait. For what is written beside the steps of a run, of any resource: it meets no
/// row that another has locked, and none waits for it in turn.
pub async fn begin_alone(
    pool: &PgPool,
    account: &Account,
    epoch: Epoch,
) -> Result<Transaction<'static, Postgres>, StoreError> {
    begin_fenced(pool, account, epoch, (false, true)).await
}

/// The same for who holds no lease: a program that changes the schema.
pub async fn hold_writers(tx: &mut PgConnection, account: &str) -> Result<(), StoreError> {
    sqlx::query!(r#"select pg_advisory_xact_lock($2, hashtext($1)) as "locked!: ()""#, account, WRITERS)
        .fetch_one(tx)
        .await?;
    Ok(())
}

/// The same of all accounts.
pub async fn hold_all_writers(tx: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!(
        r#"select pg_advisory_xact_lock($1, hashtext(account)) as "locked!: ()"
           from (select account from teamleader2db.lease order by account) l"#,
        WRITERS
    )
    .fetch_all(tx)
    .await
    .map(drop)
}

/// Holds the lease's row against newer epochs until the transaction ends: a plain select would not fence. A worker
/// whose schema a newer program has migrated is stopped as well. `durable`: the commit waits for the disk. `alone`: no
/// other of the account is under way; a lock of PostgreSQL's, which lets nobody wait for ever, and ends with the
/// transaction.
async fn begin_fenced(
    pool: &PgPool,
    account: &Account,
    epoch: Epoch,
    (durable, alone): (bool, bool),
) -> Result<Transaction<'static, Postgres>, StoreError> {
    let mut tx = pool::begin(pool).await?;
    sqlx::query!(
        r#"select case when $2 then pg_advisory_xact_lock($3, hashtext($1))
             else pg_advisory_xact_lock_shared($3, hashtext($1)) end as "locked!: ()""#,
        account.as_str(),
        alone,
        WRITERS,
    )
    .fetch_one(&mut *tx)
    .await?;
    let newest = sqlx::query!(
        r#"select epoch, (select max(version) from teamleader2db.migration) as "schema",
             case when not $2 then set_config('synchronous_commit', 'off', true) end as setting
         from teamleader2db.lease where account = $1 for share"#,
        account.as_str(),
        durable,
    )
    .fetch_optional(&mut *tx)
    .await?;
    schema::refuse_newer(newest.as_ref().and_then(|newest| newest.schema))?;
    if newest.is_some_and(|newest| newest.epoch == epoch.0) { Ok(tx) } else { Err(StoreError::Fenced) }
}

/// Lets the commit of a batch wait for the disk after all, and with it for all before it.
pub async fn make_durable(tx: &mut Transaction<'_, Postgres>) -> Result<(), StoreError> {
    // Not `to default`: that of the role may be `off`, which is not the session's.
    sqlx::query!(
        r#"select set_config(name, case reset_val when 'off' then 'on' else reset_val end, true) as "set!"
           from pg_settings where name = 'synchronous_commit'"#
    )
    .fetch_one(&mut **tx)
    .await?;
    Ok(())
}
