//! Changing views: a transaction at a time, with a bound on the wait, and advice where the server refuses.

use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Transaction};

use super::names;
use crate::store::pool::{self, StoreError};
use crate::store::sqlstate;

/// How long to wait for those who read a view that is to be changed. Others who want to read it wait behind.
pub(super) const PATIENCE: &str = "set local lock_timeout = '2s'";

/// The same after a wait in vain: a session that reads one view for long, such as a backup, may read them all.
pub(super) const NO_PATIENCE: &str = "set local lock_timeout = '20ms'";

/// A process that changes a view holds this lock of the database meanwhile, so that only one does at a time.
const LOCK: &str = "select pg_advisory_xact_lock(hashtext('teamleader_views'))";

/// A transaction to change a view in. The inner error is the server's refusal, as of all that is done to views.
pub(super) async fn begin(
    pool: &PgPool,
    patience: &str,
) -> Result<Result<Transaction<'static, Postgres>, sqlx::Error>, StoreError> {
    let mut tx = pool::begin(pool).await?;
    Ok(execute(&mut tx, &[LOCK, patience]).await?.map(|()| tx))
}

/// Runs statements in a transaction. The inner error is the server's refusal: nothing was done then.
pub(super) async fn change<S: AsRef<str>>(
    pool: &PgPool,
    statements: &[S],
    patience: &str,
) -> Result<Result<(), sqlx::Error>, StoreError> {
    let mut tx = match begin(pool, patience).await? {
        Ok(tx) => tx,
        Err(error) => return Ok(Err(error)),
    };
    if let Err(error) = execute(&mut tx, statements).await? {
        return Ok(Err(error));
    }
    tx.commit().await?;
    Ok(Ok(()))
}

/// The same in a transaction that was started.
pub(super) async fn execute<S: AsRef<str>>(
    connection: &mut PgConnection,
    statements: &[S],
) -> Result<Result<(), sqlx::Error>, StoreError> {
    for sql in statements {
        match sqlx::raw_sql(AssertSqlSafe(sql.as_ref().to_owned())).execute(&mut *connection).await {
            Ok(_) => {}
            Err(error) if error.as_database_error().is_some() => return Ok(Err(error)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Ok(()))
}

/// SQLSTATE of a lock that was waited for in vain.
const LOCKED: &str = "55P03";

pub(super) fn is_locked(error: &sqlx::Error) -> bool {
    pool::sqlstate(error).as_deref() == Some(LOCKED)
}

/// What could not be done to a view, and how to fix it.
pub(super) fn advice(view: &str, error: sqlx::Error, again: &str) -> String {
    let view = format!("teamleader_views.{}", names::quoted(view));
    let code = pool::sqlstate(&error).unwrap_or_default().into_owned();
    let what = pool::in_words(&error);
    let fix = match code.as_str() {
        LOCKED => format!("somebody reads it just now: {again} tries again"),
        sqlstate::FORBIDDEN => format!(
            "give the program's role the rights of docs/operations.md; if the view is another role's: alter view \
             {view} owner to the program's"
        ),
        "42809" => format!("something else has its name: rename that, and {again} makes the view"),
        // The columns that are there cannot become these.
        "42P16" => format!("drop view {view}, and what stands on it: {again} makes it again"),
        "54011" => "it would have more columns than PostgreSQL can show".to_owned(),
        _ if StoreError::from(error).is_transient() => format!("{again} tries again"),
        _ => format!("{again} tries again; if that does not help, report it"),
    };
    format!("{what}; {fix}")
}
