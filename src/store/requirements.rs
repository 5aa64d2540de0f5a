//! What the worker needs of a database that others set up, checked before anything is written.

use sqlx::{FromRow as _, PgPool};

use super::pool::{MAX_CONNECTIONS, StoreError, Unmet};
use super::pooler;

/// The oldest version whose SQL is understood here.
const OLDEST: i32 = 140_000;

/// What the database is, as far as the worker depends on it. `row_security_active` knows of superusers, owners, `force`
/// and `bypassrls`. Partitions are left out: rows are reached through their root, whose policies alone hold then.
const LOOK: &str = "
    select current_setting('server_version_num')::integer as version, current_setting('server_encoding') as encoding,
        current_setting('standard_conforming_strings') as strings, current_user::text as role,
        current_database()::text as database, pg_is_in_recovery() as is_standby,
        current_setting('transaction_read_only') = 'on' as is_read_only,
        (select rolconnlimit from pg_roles where rolname = current_user and not rolsuper) as role_limit,
        (select datconnlimit from pg_database where datname = current_database()) as database_limit,
        (select sum(case name when 'max_connections' then setting::integer else -setting::integer end)::integer
         from pg_settings
         where name in ('max_connections', 'superuser_reserved_connections', 'reserved_connections')) as server_limit,
        (select rolsuper from pg_roles where rolname = current_user) as is_superuser,
        array(select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
              where n.nspname in ('teamleader', 'teamleader2db') and c.relkind in ('r', 'p') and not c.relispartition
                  and row_security_active(c.oid) order by 1) as secured";

#[derive(sqlx::FromRow)]
struct Found {
    version: i32,
    encoding: String,
    strings: String,
    role: String,
    database: String,
    is_standby: bool,
    is_read_only: bool,
    role_limit: Option<i32>,
    database_limit: i32,
    server_limit: i32,
    is_superuser: bool,
    secured: Vec<String>,
}

/// An error for the first that is not met.
pub async fn check(pool: &PgPool) -> Result<(), StoreError> {
    unmet(pool).await?.into_iter().next().map_or(Ok(()), |unmet| Err(StoreError::Unmet(unmet)))
}

/// All that is not met. What a pooler takes away is looked for if all else is met: that takes connections of its own.
pub async fn unmet(pool: &PgPool) -> Result<Vec<Unmet>, StoreError> {
    // By a plain query: a pooler may lose prepared ones.
    let found = Found::from_row(&sqlx::raw_sql(LOOK).fetch_one(pool).await?)?;
    let unmet = judge(&found);
    if !unmet.is_empty() {
        return Ok(unmet);
    }
    match pooler::shared_sessions(pool).await? {
        Some(shared) => Ok(vec![shared]),
        None => Ok(pooler::dropped_options(pool).await?.into_iter().collect()),
    }
}

fn judge(found: &Found) -> Vec<Unmet> {
    let Found { encoding, role, database, .. } = found;
    let mut unmet = Vec::new();
    let mut miss = |what: String, remedy: String| unmet.push(Unmet { what, remedy });
    if found.version < OLDEST {
        let what = format!("PostgreSQL {} is too old", found.version / 10_000);
        miss(what, "14 or later is needed".to_owned());
    }
    if found.is_standby {
        miss(
            "this PostgreSQL is a standby (it is in recovery), which takes no writes".to_owned(),
            "name the primary in DATABASE_URL; `status`, `export` and `doctor` can read from a standby".to_owned(),
        );
    } else if found.is_read_only {
        miss(
            "transactions are read-only (default_transaction_read_only is on), although each session sets that off"
                .to_owned(),
            format!(
                "`alter role \"{role}\" set default_transaction_read_only = off`; does a pooler drop what a session \
                 sets? Then name a pool of sessions (pool_mode = session) in DATABASE_URL, or PostgreSQL itself"
            ),
        );
    }
    if encoding != "UTF8" {
        miss(
            format!("the database {database} has the encoding {encoding}, which cannot hold what the API sends"),
            format!(
                "UTF8 is needed, and an encoding stays: make another, `create database … encoding 'UTF8' \
                 template template0`, and name it in DATABASE_URL in place of {database}"
            ),
        );
    }
    if found.strings != "on" {
        miss(
            "standard_conforming_strings is off, and cannot be set for a session".to_owned(),
            format!(
                "`alter role \"{role}\" set standard_conforming_strings = on`; does a pooler drop what a session sets?"
            ),
        );
    }
    if !found.secured.is_empty() {
        miss(
            format!(
                "row level security holds for the role {role} on {}: rows can be hidden from it, and COPY is refused",
                found.secured.join(", ")
            ),
            format!(
                "as a superuser `alter role \"{role}\" bypassrls`, or as the tables' owner \
                 `alter table … disable row level security`"
            ),
        );
    }
    unmet.extend(missing_connections(found));
    unmet
}

/// Fewer connections than a worker needs, by the limit of the role, the database or the server.
fn missing_connections(found: &Found) -> Vec<Unmet> {
    let Found { role, database, .. } = found;
    let mut unmet = Vec::new();
    let limits = [
        (
            found.role_limit.unwrap_or(-1),
            format!("the role {role} may have"),
            format!("alter role \"{role}\" connection limit"),
        ),
        (
            if found.is_superuser { -1 } else { found.database_limit },
            format!("the database {database} may have"),
            format!("alter database \"{database}\" connection limit"),
        ),
        (
            found.server_limit,
            "max_connections without what it keeps for superusers leaves".to_owned(),
            "alter system set max_connections =".to_owned(),
        ),
    ];
    let needed = i32::try_from(MAX_CONNECTIONS).unwrap_or(i32::MAX);
    // -1 is no limit.
    for (limit, whose, command) in limits.into_iter().filter(|(limit, ..)| (0..needed).contains(limit)) {
        unmet.push(Unmet {
            what: format!(
                "{whose} {limit} connections, and a worker needs {needed}: one for each of four lists, and for \
                 events, tokens, upkeep and HTTP"
            ),
            remedy: format!("`{command} {}`, so that there is room for a standby and for commands", 3 * needed),
        });
    }
    unmet
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Found {
        Found {
            version: 150_000,
            encoding: "UTF8".to_owned(),
            strings: "on".to_owned(),
            role: "anna".to_owned(),
            database: "crm".to_owned(),
            is_standby: false,
            is_read_only: false,
            role_limit: Some(-1),
            database_limit: -1,
            server_limit: 97,
            is_superuser: false,
            secured: Vec::new(),
        }
    }

    fn complaint(found: &Found) -> String {
        let unmet = judge(found);
        assert_eq!(unmet.len(), 1, "{unmet:?}");
        unmet[0].to_string()
    }

    #[test]
    fn each_thing_that_is_missing_is_named_with_what_to_do() {
        assert_eq!(judge(&good()), []);
        assert_eq!(judge(&Found { role_limit: Some(8), database_limit: 8, server_limit: 8, ..good() }), []);
        assert_eq!(judge(&Found { database_limit: 1, is_superuser: true, role_limit: None, ..good() }), []);
        for (found, said, remedy) in [
            (Found { version: 130_011, ..good() }, "PostgreSQL 13 is too old", "14 or later"),
            (Found { is_standby: true, is_read_only: true, ..good() }, "is a standby", "name the primary"),
            (Found { is_read_only: true, ..good() }, "default_transaction_read_only", "alter role \"anna\""),
            (Found { encoding: "LATIN1".to_owned(), ..good() }, "encoding LATIN1", "encoding 'UTF8'"),
            (Found { strings: "off".to_owned(), ..good() }, "standard_conforming_strings", "alter role \"anna\""),
            (Found { role_limit: Some(7), ..good() }, "role anna may have 7 connections", "connection limit 24"),
            (Found { database_limit: 0, ..good() }, "database crm may have 0 connections", "alter database \"crm\""),
            (Found { server_limit: 5, ..good() }, "leaves 5 connections", "max_connections = 24"),
            (
                Found { secured: vec!["teamleader.record".to_owned()], ..good() },
                "security holds for the role anna on teamleader.record",
                "bypassrls",
            ),
        ] {
            let complaint = complaint(&found);
            assert!(complaint.contains(said) && complaint.contains(remedy), "{complaint}");
        }
    }
}
