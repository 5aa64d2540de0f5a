//! The version of the database's schema: the migrations that were applied to it. A program works on a schema of its own
//! version only. One that is older waits for its migrations; one that is newer belongs to a newer program, which may
//! have changed what this one reads, so this one stops before it writes.

use std::sync::LazyLock;

use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::{PgExecutor, PgPool};

use super::pool::StoreError;
use super::server_error::sqlstate;
use super::sqlstate::{FORBIDDEN, NO_TABLE};
use super::tables;

/// Where sqlx stores which migrations were applied. Qualified: by PostgreSQL's default the place of an unqualified name
/// depends on the user's, and changes when a migration makes a schema of that name.
const MIGRATIONS_TABLE: &str = "teamleader2db.migration";

/// The migrations, which the binary carries.
static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!();
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrator.create_schema("teamleader2db");
    migrator
});

/// The newest migration that this program knows: the version of its schema.
pub fn version() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Brings the schema up to date. Two processes at once are no harm: one waits for the other.
pub async fn migrate(pool: &PgPool) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await?;
    // sqlx takes a lock of the session, and does not give it back after an error: it goes with the connection.
    connection.close_on_drop();
    // An index over millions of rows takes its time.
    sqlx::raw_sql("set statement_timeout = 0").execute(&mut *connection).await?;
    MIGRATOR.run(&mut *connection).await.map_err(|error| match error {
        // It says nothing of the migrations.
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)
            if sqlstate(&error).as_deref() == Some(FORBIDDEN) =>
        {
            StoreError::Database(error)
        }
        MigrateError::VersionMissing(database) if database > version() => {
            StoreError::NewerSchema { database, program: version() }
        }
        error => StoreError::Migration(error),
    })?;
    Ok(tables::make(&mut connection).await?)
}

/// Checks that the schema is this program's, without changing anything.
pub async fn check(pool: &PgPool) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await?;
    let applied = connection.list_applied_migrations(MIGRATIONS_TABLE).await;
    let applied = applied.map_err(|error| match error {
        MigrateError::Execute(error) if is_missing(&error) => StoreError::OldSchema,
        MigrateError::Execute(error) => StoreError::Database(error),
        error => StoreError::Migration(error),
    })?;
    refuse_newer(applied.iter().map(|done| done.version).max())?;
    let known: Vec<i64> = MIGRATOR.iter().map(|migration| migration.version).collect();
    let missing = known.iter().any(|version| !applied.iter().any(|done| done.version == *version));
    if missing || !tables::missing(&mut connection).await?.is_empty() { Err(StoreError::OldSchema) } else { Ok(()) }
}

/// Checks that no newer program has migrated the schema meanwhile. Before whatever writes.
pub async fn check_not_newer(executor: impl PgExecutor<'_>) -> Result<(), StoreError> {
    let newest = sqlx::query_scalar!("select max(version) from teamleader2db.migration").fetch_one(executor).await?;
    refuse_newer(newest)
}

/// Refuses a schema whose newest migration this program does not know.
pub(super) fn refuse_newer(newest: Option<i64>) -> Result<(), StoreError> {
    match newest {
        Some(database) if database > version() => Err(StoreError::NewerSchema { database, program: version() }),
        _ => Ok(()),
    }
}

/// Whether there is no such table.
fn is_missing(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(NO_TABLE))
}

#[cfg(test)]
mod tests {
    use super::MIGRATOR;

    /// The newest migration of 0.1.0: no older worker was beside those up to it.
    const FIRST_RELEASE: i64 = 18;

    #[test]
    fn a_migration_waits_for_the_transactions_of_an_older_worker() {
        for migration in MIGRATOR.iter().filter(|migration| migration.version > FIRST_RELEASE) {
            let sql = migration.sql.as_str();
            let first = sql.lines().find(|line| !line.is_empty() && !line.starts_with("--"));
            // A fence holds that table in a weaker mode until its transaction ends, and the next one sees the version.
            assert_eq!(first, Some("lock table teamleader2db.lease in exclusive mode;"), "{}", migration.version);
        }
    }
}
