//! Errors of PostgreSQL: their code, what they say, and whether they pass.

use std::borrow::Cow;
use std::time::Duration;

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use super::sqlstate::{Cause, Sent};

/// How long to wait for a free connection, or a new one.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// The SQLSTATEs of a statement that is prepared already, or no more. This program does neither by itself.
const UNPREPARED: [&str; 2] = ["42P05", "26000"];

/// The SQLSTATE of the error, if the server reported it.
pub fn sqlstate(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
}

/// What PostgreSQL says, the code that its manual explains, and where: the table, the constraint, the line of a user's
/// function. Not its detail, which may hold a whole row; nor, as sqlx has it, the line of PostgreSQL's own source.
pub fn in_words(error: &sqlx::Error) -> String {
    match sent(error) {
        Some(error) => {
            let mut words = format!("{} (SQLSTATE {}", error.message(), error.code());
            if let (Some(schema), Some(table)) = (error.schema(), error.table()) {
                words.extend([", table ", schema, ".", table]);
            }
            words.extend(error.constraint().iter().flat_map(|name| [", constraint ", name]));
            // Other lines of the context may show a row, or a statement with its values.
            let function = |line: &&str| line.starts_with("PL/pgSQL function ");
            if UNPREPARED.contains(&error.code()) {
                words += ", as behind a pooler that gives each transaction another session: let DATABASE_URL name one \
                          of sessions (pool_mode = session), or PostgreSQL itself";
            }
            words.extend(
                error.r#where().and_then(|lines| lines.lines().find(function)).iter().flat_map(|at| [", ", at]),
            );
            words + ")"
        }
        None if matches!(error, sqlx::Error::PoolTimedOut) => {
            format!("no connection within {} s; `teamleader2db doctor` says why", ACQUIRE_TIMEOUT.as_secs())
        }
        None => error.to_string(),
    }
}

/// What it means, if the server sent it.
pub(super) fn cause(error: &sqlx::Error) -> Option<Cause> {
    Some(as_sent(sent(error)?).cause())
}

/// The SQLSTATE with which PostgreSQL itself refuses a value, if it does.
pub(super) fn refused_value(error: &sqlx::Error) -> Option<&str> {
    let error = sent(error)?;
    (as_sent(error).is_of_a_value() && error.constraint().is_none()).then(|| error.code())
}

fn as_sent(error: &PgDatabaseError) -> Sent<'_> {
    Sent {
        code: error.code(),
        fatal: matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic),
        by_postgresql: error.routine().is_some(),
        context: error.r#where().unwrap_or_default(),
    }
}

fn sent(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

pub(super) fn passes(error: &sqlx::Error) -> bool {
    use sqlx::Error;
    match error {
        Error::Database(_) => cause(error) == Some(Cause::Passing),
        // What the server sends, or the URL asks for, this program cannot use.
        Error::ColumnDecode { .. } | Error::Decode(_) | Error::Tls(_) | Error::Configuration(_) => false,
        _ => true,
    }
}
