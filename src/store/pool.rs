//! Connections to PostgreSQL, and what can go wrong.

use std::pin::pin;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgPool, Postgres, Transaction};
use tracing::Instrument as _;

use super::reach::{self, Unreachable};
pub(super) use super::server_error::refused_value;
use super::server_error::{ACQUIRE_TIMEOUT, cause, passes};
pub use super::server_error::{in_words, sqlstate};
use super::sqlstate::{Cause, IN_THE_WAY};

/// Connections of one process: four lists that are read at a time, the relay, the token, upkeep and the HTTP endpoints.
pub const MAX_CONNECTIONS: u32 = 8;

/// What each session sets, whatever role, database or server have as their default. A pooler of transactions loses it,
/// see docs/operations.md. sqlx sets `TimeZone`, `DateStyle` and `client_encoding`. Left alone is what users' triggers
/// rest on: `search_path`.
pub const SESSION: [(&str, &str); 10] = [
    // The fence, claims and compare-and-swaps look again at rows that were waited for; a higher level would fail
    // instead.
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("idle_session_timeout", "0"),
    // Of a query over all partitions PostgreSQL estimates far more than it reads; compiling it takes seconds.
    ("jit", "off"),
    ("lock_timeout", "20s"),
    // Rather an error than rows that are silently not there.
    ("row_security", "off"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "2min"),
    // PostgreSQL 17 and later; others do not know it.
    ("transaction_timeout", "0"),
];

/// After this long without an answer it is looked whether there can be one, and again as long after that.
const LOOK_AFTER: Duration = Duration::from_millis(500);

/// No answer is waited for longer than this, which is longer than the server lets a statement run. Only a connection
/// that died silently takes so long: a host that froze or a firewall that forgot it sends nothing more, and the kernel
/// may wait for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);

/// What the worker needs and the database does not give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The problem.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl std::fmt::Display for Unmet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.remedy)
    }
}

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL cannot be read. It may hold a password, so it is not shown.
    #[error("{VARIABLE}: {0}")]
    Url(String),
    /// A newer slice holds the lease: stop, and write nothing more.
    #[error("another worker has taken over (a newer epoch holds the lease)")]
    Fenced,
    /// A commit is lost: go on from the rows as they are.
    #[error(
        "PostgreSQL lost what it had committed: it crashed, or a replica took its place. \
         The run goes on from the rows as they are"
    )]
    Lost,
    /// The run is not `running` any more: stop, and write nothing more of it.
    #[error("the run has ended meanwhile: it was cancelled")]
    RunEnded,
    /// The schema is older than this program.
    #[error("the database's schema is not up to date: run `teamleader2db migrate`, or set MIGRATE_ON_START=true")]
    OldSchema,
    /// A newer version of the program has migrated the database to this version of the schema.
    #[error(
        "the database's schema is version {database}, of a newer version of this program, which knows {program}. \
         Run a program at least as new as the one that migrated it"
    )]
    NewerSchema {
        /// The database's version.
        database: i64,
        /// The newest that this program knows.
        program: i64,
    },
    /// The migrations were changed by hand.
    #[error("the migrations do not fit the database: {0}. Run a program at least as new as the one that migrated it")]
    Migration(#[from] MigrateError),
    /// What stands in a row is not what this program wrote.
    #[error("the database holds what this program did not write: {0}")]
    Corrupt(String),
    /// A newer program has started the run, with what this one does not know.
    #[error("a newer version's run: it has {0}")]
    NewerRun(String),
    /// A value that is sealed cannot be opened or made.
    #[error("{0}")]
    Sealed(#[from] super::tokens::cipher::CipherError),
    /// The database is set up as the worker cannot work with it.
    #[error("{0}")]
    Unmet(Unmet),
    /// The connection died silently.
    #[error("PostgreSQL did not answer within {} s: is its host, or the way to it, frozen?", .0.as_secs())]
    NoAnswer(Duration),
    /// The tokens could not be read or written.
    #[error("the token store: {0}")]
    Tokens(String),
    /// The tokens could not be read or written, and waiting does not help.
    #[error("the token store: {0}")]
    TokensUnusable(String),
    /// There is no connection.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// PostgreSQL, or the way to it.
    #[error("PostgreSQL: {}", in_words(.0))]
    Database(#[from] sqlx::Error),
}

/// The variable that has the database's address.
pub const VARIABLE: &str = "DATABASE_URL";

/// Connections to `url`, for a command: one is made at once, so that an error has its cause.
pub async fn open(url: &SecretString) -> Result<PgPool, StoreError> {
    let pool = connect(url)?;
    check(&pool).await?;
    Ok(pool)
}

/// Prepares connections to `url`. Does not connect yet.
pub fn connect(url: &SecretString) -> Result<PgPool, StoreError> {
    connect_keeping(url, false)
}

/// The same; with `history` the versions that are written over are stored, see `teamleader.keep_version` in the
/// migrations.
///
/// Each session ends a transaction that idles for 10 s, so that a frozen process cannot hold the lease's row against
/// the next.
pub fn connect_keeping(url: &SecretString, history: bool) -> Result<PgPool, StoreError> {
    Ok(PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(move |connection, _| Box::pin(set_session(connection, history)))
        .connect_lazy_with(options(url).map_err(StoreError::Url)?))
}

/// Whether a server may be reached by this URL, whatever comes of trying; else why not. The reason shows nothing of it.
pub fn check_url(url: &SecretString) -> Result<(), String> {
    options(url).map(drop)
}

fn options(url: &SecretString) -> Result<PgConnectOptions, String> {
    const FORM: &str = "it is a URL like postgres://user:password@host:5432/database";
    let text = url.expose_secret();
    // sqlx takes any.
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("postgres" | "postgresql") => {}
        Some(_) => return Err(format!("{FORM}, and this one begins with something else")),
        None => return Err(format!("{FORM}, and this one has no ://")),
    }
    let options: PgConnectOptions = text.parse().map_err(|error: sqlx::Error| {
        let why = error.to_string();
        match why.contains("ssl_mode") {
            // The words would show the value, which may be a part of a password that is not escaped.
            true => "it has an sslmode that is none of disable, allow, prefer, require, verify-ca and verify-full"
                .to_owned(),
            false => format!("{FORM}, and this one is not: {}", why.trim_start_matches("error with configuration: ")),
        }
    })?;
    if options.get_port() == 0 {
        return Err(format!("{FORM}, and no server has the port 0"));
    }
    // PgBouncer refuses what it does not know; the server's own default is as exact since PostgreSQL 12.
    Ok(options.application_name("teamleader2db").extra_float_digits(None))
}

/// Makes sure that the server takes connections; an error says at once why it does not.
pub async fn check(pool: &PgPool) -> Result<(), StoreError> {
    let connection = reach::connect(&pool.connect_options(), VARIABLE).await?;
    // A look was all; the goodbye does not matter.
    let _ = tokio::time::timeout(Duration::from_secs(1), connection.close()).await;
    Ok(())
}

/// The error with its cause, where it is the pool's, which knows none.
pub async fn explained(pool: &PgPool, error: StoreError) -> StoreError {
    match error {
        StoreError::Database(sqlx::Error::PoolTimedOut) => check(pool).await.err().unwrap_or(error),
        error => error,
    }
}

/// The answer; or, without waiting for the pool, why there is none, where the server cannot be reached. For what may be
/// dropped at any moment.
pub async fn promptly<T>(pool: &PgPool, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let unreachable = async {
        loop {
            tokio::time::sleep(LOOK_AFTER).await;
            match reach::connect(&pool.connect_options(), VARIABLE).await {
                Err(unreachable) if unreachable.is_silent() => break unreachable,
                _ => {}
            }
        }
    };
    let mut answer = pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        unreachable = unreachable => Err(unreachable.into()),
    }
}

/// By a statement, not by the connection's options: poolers refuse these, or drop them without a word. By a plain one:
/// prepared ones are what some poolers fail on, and they are to be named by what `requirements` finds.
async fn set_session(connection: &mut PgConnection, history: bool) -> sqlx::Result<()> {
    connection.execute(AssertSqlSafe(session_sql(history))).await.map(drop)
}

/// Sets what of [`SESSION`] the server knows, and `teamleader2db.history`. A role whose commits do not wait for the
/// disk has to: what the broker was promised must not be lost.
fn session_sql(history: bool) -> String {
    let wanted: Vec<String> = SESSION.iter().map(|(name, value)| format!("('{name}', '{value}')")).collect();
    format!(
        "select set_config('teamleader2db.history', '{}', false), array(
             select set_config(s.name, wanted.value, false)
             from (values {}) as wanted (name, value) join pg_settings s on s.name = wanted.name),
         case when current_setting('synchronous_commit') = 'off'
             then set_config('synchronous_commit', 'on', false) end",
        if history { "on" } else { "off" },
        wanted.join(", ")
    )
}

/// Begins a transaction; the only way to begin one.
///
/// In a task of its own, which no caller can cancel: sqlx 0.9.0 forgets a `begin` that is dropped while `BEGIN` is on
/// its way, and the connection goes back to the pool inside a transaction that nobody ends (transact-rs/sqlx#4393).
/// Whatever that connection is used for next is then neither committed nor rolled back, and keeps its locks: the row of
/// the lease, for one, for as long as the process lives.
#[allow(clippy::disallowed_methods)]
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, StoreError> {
    let pool = pool.clone();
    // A pooler of transactions may have lost the session's default.
    const BEGIN: &str = "begin isolation level read committed";
    let transaction = tokio::spawn(async move { pool.begin_with(BEGIN).await }.in_current_span()).await;
    // Only the end of the runtime ends the task early.
    Ok(transaction.unwrap_or(Err(sqlx::Error::WorkerCrashed))?)
}

/// Bounds the wait for an answer of the database.
pub async fn with_deadline<T, E: From<StoreError>>(answer: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    with_deadline_of(ANSWER_TIMEOUT, answer).await
}

/// The same for what should take less.
pub async fn with_deadline_of<T, E: From<StoreError>>(
    limit: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(StoreError::NoAnswer(limit).into()))
}

impl StoreError {
    /// Whether what was to be written is refused, by PostgreSQL or by what users built on the tables: see
    /// [`Cause::Refused`].
    pub fn is_refused(&self) -> bool {
        match self {
            Self::Database(error) => cause(error) == Some(Cause::Refused),
            _ => false,
        }
    }

    /// What an operator has to do before anything can be done at all, if there is such a thing: a fixed sentence.
    pub fn obstacle(&self) -> Option<&'static str> {
        match self {
            Self::Sealed(_) | Self::TokensUnusable(_) => Some(
                "the stored tokens cannot be used: add the key that sealed them to TOKEN_ENCRYPTION_KEY, \
                 or authorize again",
            ),
            Self::OldSchema => Some("the database's schema is too old: run `teamleader2db migrate`"),
            Self::NewerSchema { .. } => Some(
                "the database's schema is newer than this program: run one at least as new as the one that migrated it",
            ),
            Self::Migration(_) if !self.is_transient() => Some(
                "the database's schema does not fit this program: run one at least as new as the one that migrated it",
            ),
            Self::NewerRun(_) => Some(
                "a newer version's run comes first: it waits for a worker at least as new as the one that began it",
            ),
            Self::Unmet(_) => Some("the database lacks what the worker needs: `teamleader2db doctor` names it"),
            Self::Url(_) | Self::Fenced | Self::Lost | Self::RunEnded | Self::Migration(_) | Self::Corrupt(_) => None,
            Self::NoAnswer(_) | Self::Tokens(_) | Self::Unreachable(_) | Self::Database(_) => None,
        }
    }

    /// Whether another transaction was in the way: a deadlock, or a serialization failure. The same may succeed at
    /// once.
    pub fn is_in_the_way(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| IN_THE_WAY.contains(&code.as_ref()))
            }
            _ => false,
        }
    }

    /// Whether it says nothing against what was asked for: the server is away, busy, full or not to be written to, or
    /// another worker has taken over. Waiting may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Fenced | Self::Lost | Self::NoAnswer(_) | Self::Tokens(_) => true,
            Self::Database(error)
            | Self::Migration(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => passes(error),
            Self::Unreachable(why) => passes(why.error()),
            Self::Url(_) | Self::OldSchema | Self::Migration(_) | Self::Corrupt(_) | Self::NewerRun(_) => false,
            Self::RunEnded | Self::NewerSchema { .. } => false,
            Self::Sealed(_) | Self::TokensUnusable(_) | Self::Unmet(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::polled;

    /// The transaction in which the next statement runs: a new one each time, unless the connection is inside one
    /// already.
    async fn transaction(pool: &PgPool) -> String {
        let sql = "select pg_current_xact_id()::text";
        sqlx::query_scalar(sql).fetch_one(pool).await.expect("PostgreSQL answers")
    }

    #[tokio::test]
    async fn a_begin_that_is_dropped_at_any_of_its_awaits_leaves_no_transaction_open() {
        let url = std::env::var("DATABASE_URL").expect("DATABASE_URL: run `make test`, which starts a PostgreSQL");
        let pool = connect(&url.into()).expect("a URL");
        // One connection: the next statement goes over the one that `begin` was dropped on.
        let one = pool.options().clone().max_connections(1);
        let pool = one.connect_lazy_with((*pool.connect_options()).clone());
        for times in 1.. {
            let done = polled(times, begin(&pool)).await;
            assert_ne!(transaction(&pool).await, transaction(&pool).await, "dropped after {times} polls");
            if done {
                break;
            }
        }
    }

    #[tokio::test]
    async fn an_answer_that_waits_for_a_pool_in_vain_is_not_waited_for() {
        let pool = connect(&"postgres://anna@127.0.0.1:9/nothing".to_owned().into()).expect("a URL");
        let waiting = promptly(&pool, std::future::pending::<Result<(), StoreError>>());
        let refused =
            tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("at once").expect_err("refused");
        assert!(refused.is_transient() && refused.to_string().contains("127.0.0.1:9: connection refused"), "{refused}");
        let timed_out = StoreError::Database(sqlx::Error::PoolTimedOut);
        let explained = explained(&pool, timed_out).await.to_string();
        assert!(explained.contains("127.0.0.1:9: connection refused"), "{explained}");
    }
}
