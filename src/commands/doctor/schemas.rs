//! Schemas and rows that somebody has dropped or deleted behind the worker's back.

use sqlx::PgPool;

use super::finding::{Finding, wrong};
use crate::ids::Account;
use crate::messages::request_command;
use crate::store::pool::StoreError;
use crate::store::report;

/// Why the schema is not up to date, where `migrate` cannot help: one of the two that hold each other's other half is
/// missing.
pub(super) async fn lost(pool: &PgPool) -> Option<Finding> {
    let sql = "select to_regclass('teamleader.record') is not null, \
               to_regclass('teamleader2db.migration') is not null and to_regclass('teamleader2db.lease') is not null";
    let there: (bool, bool) = sqlx::query_as(sql).fetch_one(pool).await.ok()?;
    match there {
        (false, true) => Some(wrong(
            "the schema teamleader is missing, with all records, though this database was migrated: was it dropped?",
            "stop the workers and restore it from a backup. Without one, in psql: `alter schema teamleader2db rename \
             to teamleader2db_lost; drop schema if exists teamleader_views cascade;`, then `teamleader2db migrate`, \
             then in psql, for the tokens: `insert into teamleader2db.oauth_token select * from \
             teamleader2db_lost.oauth_token; insert into teamleader2db.lease select * from teamleader2db_lost.lease;`, \
             then start a worker and `teamleader2db request --full`",
        )),
        (true, false) => Some(wrong(
            "the schema teamleader2db is missing, with all tokens, though there are records: was it dropped?",
            "stop the workers and restore it from a backup. Without one, in psql: `alter schema teamleader rename to \
             teamleader_lost; drop schema if exists teamleader_views cascade;`, then `teamleader2db migrate`, \
             `teamleader2db authorize` and `teamleader2db request --full`",
        )),
        _ => None,
    }
}

/// Whether the views' schema is there at all.
pub(super) async fn has_views(pool: &PgPool) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar("select to_regnamespace('teamleader_views') is not null").fetch_one(pool).await?)
}

/// Resources whose rows are missing though they were there.
pub(super) async fn emptied(pool: &PgPool, account: &Account) -> Result<Option<Finding>, StoreError> {
    let emptied = report::emptied(pool, account).await?;
    let resources = emptied.join(" ");
    let what =
        format!("no row is left of {resources}, though the last complete sync listed records: who deleted them?");
    let names: Vec<&str> = emptied.iter().map(String::as_str).collect();
    let fix = format!("read them again: `{}`", request_command(account, &names, " --full --wait"));
    Ok((!emptied.is_empty()).then(|| wrong(what, fix)))
}
