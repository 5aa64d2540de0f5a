//! The Python service's database: its tables, and the connection to them.

use secrecy::SecretString;
use sqlx::PgConnection;

use super::error::CompatError;
use crate::config::CompatArgs;
use crate::store::{pool, reach};

/// A table of the Python service, and the resource that it is a copy of.
#[derive(Clone, Copy, Debug)]
pub(super) struct OldTable {
    /// Its usual name.
    pub(super) name: &'static str,
    /// What its rows have as `tl_type`.
    pub(super) kind: &'static str,
    pub(super) resource: &'static str,
}

/// All that it copied.
pub(super) const OLD_TABLES: [OldTable; 8] = [
    OldTable { name: "tl_companies", kind: "companies", resource: "companies" },
    OldTable { name: "tl_contacts", kind: "contacts", resource: "contacts" },
    OldTable { name: "tl_custom_fields", kind: "custom_fields", resource: "customFieldDefinitions" },
    OldTable { name: "tl_departments", kind: "departments", resource: "departments" },
    OldTable { name: "tl_events", kind: "events", resource: "events" },
    OldTable { name: "tl_invoices", kind: "invoices", resource: "invoices" },
    OldTable { name: "tl_projects", kind: "projects", resource: "projects" },
    OldTable { name: "tl_users", kind: "users", resource: "users" },
];

/// What the comment of a view begins with that this program made.
pub(super) const MADE: &str = "Made by `teamleader2db compat views`";

/// A connection to the Python service's database: that of `COMPAT_DATABASE_URL`, else this program's own.
pub(super) async fn connect(old: &CompatArgs, ours: &SecretString) -> Result<PgConnection, CompatError> {
    let theirs = old.url()?;
    let variable = if theirs.is_some() { CompatArgs::NAME } else { pool::VARIABLE };
    let pool = pool::connect(theirs.as_ref().unwrap_or(ours))?;
    reach::connect(&pool.connect_options(), variable).await.map_err(CompatError::OldAway)
}

/// The name of a table as it can stand in a statement, if it is there. The server reads the name and quotes it.
pub(super) async fn resolved(old: &mut PgConnection, name: &str) -> Result<Option<String>, CompatError> {
    let found: Option<(String, Option<bool>)> = sqlx::query_as(
        "select oid::regclass::text, starts_with(obj_description(oid, 'pg_class'), $2) \
         from pg_class where oid = to_regclass($1)",
    )
    .bind(name)
    .bind(MADE)
    .fetch_optional(old)
    .await
    .map_err(CompatError::Old)?;
    match found {
        Some((name, Some(true))) => Err(CompatError::OurView(name)),
        found => Ok(found.map(|(name, _)| name)),
    }
}
