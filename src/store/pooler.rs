//! What a pooler between this program and PostgreSQL takes away: the session that belongs to a connection, and the
//! options of the URL.
//!
//! A pooler of transactions says nothing of it: each statement outside of a transaction, and each transaction, may meet
//! another session of the server. What was set, prepared, listened to or locked for a session is lost then, and belongs
//! to somebody else.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgPool, Row as _};
use uuid::Uuid;

use super::pool::{self, SESSION, StoreError, Unmet, VARIABLE};
use super::reach;

/// A setting that no program reads.
const MARK: &str = "teamleader2db.session";

/// How often it is looked: a busy pooler may give a connection the same session by chance.
const LOOKS: usize = 3;

/// Looking takes some round trips.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a pooler gives each transaction another session; what to do then.
///
/// In plain queries: prepared statements are among what such a pooler loses.
pub async fn shared_sessions(pool: &PgPool) -> Result<Option<Unmet>, StoreError> {
    let shared = pool::with_deadline_of(LOOK_TIMEOUT, are_shared(pool)).await?;
    Ok(shared.then(|| Unmet {
        what: "a pooler stands before PostgreSQL that gives each transaction another session (PgBouncer's \
               pool_mode = transaction): what a worker sets, prepares and locks for its sessions is lost"
            .to_owned(),
        remedy: format!(
            "for `worker` and `migrate` name in {VARIABLE} a pool of sessions (pool_mode = session), or PostgreSQL \
             itself; `status`, `export` and `doctor` can do with this one, if it keeps prepared statements (PgBouncer \
             1.21 or later)"
        ),
    }))
}

async fn are_shared(pool: &PgPool) -> Result<bool, StoreError> {
    let options = pool.connect_options();
    let mut one = reach::connect(&options, VARIABLE).await?;
    let mut other = reach::connect(&options, VARIABLE).await?;
    let mut shared = false;
    for _ in 0..LOOKS {
        // From letters and digits.
        let mark = Uuid::new_v4().simple().to_string();
        one.execute(AssertSqlSafe(format!("select set_config('{MARK}', '{mark}', false)"))).await?;
        // A transaction keeps the session that it begins on: the one above if sessions are shared, since that is free,
        // or, when others have taken it meanwhile, one that leaves `one` without its own.
        other.execute("begin").await?;
        shared = mark_of(&mut other).await? == mark || mark_of(&mut one).await? != mark;
        other.execute("rollback").await?;
        if shared {
            break;
        }
    }
    // A look was all; the goodbye does not matter.
    let _ = one.close().await;
    let _ = other.close().await;
    Ok(shared)
}

async fn mark_of(connection: &mut PgConnection) -> Result<String, StoreError> {
    let sql = AssertSqlSafe(format!("select coalesce(current_setting('{MARK}', true), '')"));
    Ok(connection.fetch_one(sql).await?.try_get(0)?)
}

/// The settings in the `options` of the URL that did not reach the server; what to do about it.
pub async fn dropped_options(pool: &PgPool) -> Result<Option<Unmet>, StoreError> {
    let options = pool.connect_options();
    let names = names_in(options.get_options().unwrap_or_default());
    if names.is_empty() {
        return Ok(None);
    }
    // A setting of an extension that is not loaded is none of pg_settings.
    let dropped: Vec<String> = sqlx::query_scalar(
        "select n.name from unnest($1::text[]) as n (name) left join pg_settings s on lower(s.name) = lower(n.name)
         where case when s.name is null then current_setting(n.name, true) is null
             else s.source not in ('client', 'session') end",
    )
    .bind(&names)
    .fetch_all(pool)
    .await?;
    Ok((!dropped.is_empty()).then(|| Unmet {
        what: format!("a pooler drops the options of {VARIABLE}: {}", dropped.join(", ")),
        remedy: "give them to the role, `alter role … set …`, and take `options` out of the URL; or let the pooler \
                 pass them on"
            .to_owned(),
    }))
}

/// The names in `-c name=value --other-name=value`, but for those that each session sets anyway.
fn names_in(options: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        let setting = match word {
            "-c" => words.next(),
            _ => word.strip_prefix("--").or_else(|| word.strip_prefix("-c")),
        };
        if let Some((name, _)) = setting.and_then(|setting| setting.split_once('=')) {
            let name = name.replace('-', "_");
            if !SESSION.iter().any(|(own, _)| own.eq_ignore_ascii_case(&name)) {
                names.push(name);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_postgresql_reads_them() {
        assert_eq!(names_in(""), [""; 0]);
        assert_eq!(
            names_in("-c search_path=crm -cwork_mem=8MB --log-min-messages=debug1 -c lock_timeout=1s -B 7 -c"),
            ["search_path", "work_mem", "log_min_messages"]
        );
    }
}
