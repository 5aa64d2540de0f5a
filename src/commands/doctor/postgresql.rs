//! The database: the way there, the login, the schema, the rights of the worker's role, and the authorization that is
//! stored in it.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::args::DoctorArgs;
use super::finding::{Finding, clock, wrong};
use super::schemas;
use crate::api_client::clock::DatabaseClock;
use crate::store::pool::{self, StoreError};
use crate::store::tokens::Tokens;
use crate::store::tokens::authorization;
use crate::store::{accounts, report, requirements, schema};
use crate::views;

/// What the worker does with its tables; docs/operations.md has the same as grants.
const RIGHTS: [(&str, &[&str]); 30] = [
    ("teamleader.record", &["select", "insert", "update"]),
    ("teamleader.record_history", &["select", "insert", "delete"]),
    ("teamleader_views.contacts", &["select"]),
    ("teamleader_views.contacts_with_deleted", &["select"]),
    ("teamleader2db.audit_draw", &["select", "insert", "update", "delete"]),
    ("teamleader2db.audit_resource", &["select", "insert", "update"]),
    ("teamleader2db.audit_turn", &["select", "insert", "update", "delete"]),
    ("teamleader2db.cursor", &["select", "insert", "update"]),
    ("teamleader2db.custom_field_column", &["select", "insert", "delete"]),
    ("teamleader2db.event_outbox", &["select", "insert", "update", "delete"]),
    ("teamleader2db.hint", &["select", "insert", "update", "delete"]),
    ("teamleader2db.lease", &["select", "insert", "update"]),
    ("teamleader2db.migration", &["select"]),
    ("teamleader2db.login", &["select", "insert", "delete"]),
    ("teamleader2db.oauth_state", &["select", "insert", "delete"]),
    ("teamleader2db.oauth_token", &["select", "insert", "update"]),
    ("teamleader2db.rejected_record", &["select", "insert", "update", "delete"]),
    ("teamleader2db.run_log", &["select", "insert", "delete"]),
    ("teamleader2db.sync_page", &["select", "insert", "delete"]),
    ("teamleader2db.sync_run", &["select", "insert", "update", "delete"]),
    ("teamleader2db.sync_step", &["select", "insert", "update"]),
    ("teamleader2db.table_count", &["select", "insert", "delete"]),
    ("teamleader2db.view_problem", &["select", "insert", "update", "delete"]),
    ("teamleader2db.view_refresh", &["select", "insert", "update"]),
    ("teamleader2db.wake", &["select", "insert", "update"]),
    ("teamleader2db.webhook_candidate", &["select", "insert", "delete"]),
    ("teamleader2db.webhook_loss", &["select", "insert", "update"]),
    ("teamleader2db.webhook_registration", &["select", "insert", "update"]),
    ("teamleader2db.webhook_type", &["select", "insert", "update"]),
    ("teamleader2db.worker", &["select", "insert", "update", "delete"]),
];

/// What was found; the tokens, if the account is authorized and they can be read; and the database's clock, if it
/// answers.
pub(super) async fn examine(args: &DoctorArgs) -> (Vec<Finding>, Option<Tokens>, DatabaseClock) {
    let (mut findings, database_clock) = (Vec::new(), DatabaseClock::default());
    let tokens = look(args, &mut findings, &database_clock).await.unwrap_or_else(|finding| {
        findings.push(finding);
        None
    });
    (findings, tokens, database_clock)
}

/// One look after the other; an `Err` leaves nothing more to look at.
async fn look(
    args: &DoctorArgs,
    findings: &mut Vec<Finding>,
    database_clock: &DatabaseClock,
) -> Result<Option<Tokens>, Finding> {
    let pool = args.copy.database_url().map_err(anyhow::Error::from).and_then(|url| Ok(pool::connect(&url)?));
    let pool = pool.map_err(|error| {
        wrong(error, "fix DATABASE_URL; a character of a password that is no letter or digit is written like %40")
    })?;
    connect(&pool).await?;
    // First: behind some poolers nothing else can be asked.
    let unmet = requirements::unmet(&pool).await.map_err(|error| wrong(error, "see the server's log"))?;
    findings.extend(unmet.into_iter().map(|unmet| wrong(unmet.what, unmet.remedy)));
    let (version, now) = version(&pool).await.map_err(|error| wrong(error, "see the server's log"))?;
    findings.push(version);
    database_clock.set(now);
    findings.extend(clock("PostgreSQL's", now));
    findings.extend(session(&pool).await.map_err(|error| wrong(error, "see the server's log"))?);
    match schema::check(&pool).await {
        Ok(()) => findings.push(Finding::Well("the schema is up to date".to_owned())),
        Err(error @ StoreError::OldSchema) => {
            return Err(match schemas::lost(&pool).await {
                Some(lost) => lost,
                None => wrong(error, mend_schema(&pool).await),
            });
        }
        Err(error @ StoreError::NewerSchema { .. }) => {
            return Err(wrong(error, "start the newer version everywhere, or restore the backup from before it"));
        }
        Err(error) if is_denied(&error) => {
            return Err(wrong(
                error,
                "as the schemas' owner give the role of DATABASE_URL the grants of docs/operations.md",
            ));
        }
        Err(error) => return Err(wrong(error, "see the server's log")),
    }
    findings.push(rights(&pool).await.map_err(|error| wrong(error, "see the server's log"))?);
    let account = args.copy.account();
    let unknown = accounts::unknown(&pool, account).await.map_err(|error| wrong(error, "see the server's log"))?;
    if let Some(unknown) = unknown {
        return Err(wrong(unknown, "a worker that is started with this name makes the account"));
    }
    let ahead = report::watermarks_ahead(&pool, account).await.map_err(|error| wrong(error, "see the server's log"))?;
    findings.extend(watermarks(&ahead));
    findings.extend(schemas::emptied(&pool, account).await.map_err(|error| wrong(error, "see the server's log"))?);
    findings.push(views(&pool).await.map_err(|error| wrong(error, "see the server's log"))?);
    let tokens = args.key.cipher().ok().map(|cipher| Tokens::new(pool.clone(), account.clone(), cipher, None));
    if let Some(tokens) = &tokens
        && let Err(error) = tokens.check_key().await
    {
        return Err(wrong(error, "without the old key the tokens are lost, and nothing else: authorize again"));
    }
    let known = authorization::authorization(&pool, account).await;
    let known = known.map_err(|error| wrong(error, "see the server's log"))?;
    if !known.authorized {
        let what = format!("the account {account} is not authorized: {}", known.reason.unwrap_or_default());
        return Err(wrong(what, "open the worker's /sync/authorize in a browser, or the link that `authorize` prints"));
    }
    findings.push(Finding::Well(format!("the account {account} is authorized")));
    Ok(tokens)
}

/// One connection, not through the pool: that tries again until its patience ends, and does not say why.
async fn connect(pool: &PgPool) -> Result<(), Finding> {
    match pool::check(pool).await {
        Ok(()) => Ok(()),
        Err(StoreError::Unreachable(why)) => {
            Err(wrong(format!("no connection to {}: {}", why.address(), why.cause()), why.advice()))
        }
        Err(error) => Err(wrong(error, "see the server's log")),
    }
}

async fn version(pool: &PgPool) -> Result<(Finding, DateTime<Utc>), StoreError> {
    let sql = "select current_setting('server_version'), clock_timestamp()";
    let (version, now): (String, DateTime<Utc>) = sqlx::query_as(sql).fetch_one(pool).await?;
    Ok((Finding::Well(format!("version {version}")), now))
}

/// A pooler in between may give another session to each transaction, without a word.
async fn session(pool: &PgPool) -> Result<Option<Finding>, StoreError> {
    let names = pool::SESSION.map(|(name, _)| name);
    // One that this version does not have is null.
    let values: Vec<Option<String>> =
        sqlx::query_scalar("select current_setting(name, true) from unnest($1::text[]) as n (name)")
            .bind(names.as_slice())
            .fetch_all(pool)
            .await?;
    let dropped: Vec<_> = pool::SESSION
        .iter()
        .zip(&values)
        .filter(|((_, set), value)| value.as_ref().is_some_and(|value| set != value))
        .map(|(setting, _)| setting)
        .collect();
    if dropped.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> = dropped.iter().map(|(name, _)| *name).collect();
    let rights: Vec<String> =
        dropped.iter().map(|(name, set)| format!("alter role current_user set {name} = '{set}';")).collect();
    let what = format!("a pooler drops what the worker sets for its sessions: {}", names.join(", "));
    Ok(Some(wrong(what, format!("give it to the role, see docs/operations.md: {}", rights.join(" ")))))
}

/// What an incremental sync from a time in the future would miss.
fn watermarks(ahead: &[String]) -> Option<Finding> {
    let resources = ahead.join(", ");
    let what = format!("the watermark of {resources} lies in the future: a Date of the API was wrong when it was set");
    let remedy = "the next sync of each reads all of it and sets it back: `teamleader2db request --full --wait`, \
                  followed by the resources' names";
    (!ahead.is_empty()).then(|| wrong(what, remedy))
}

async fn mend_schema(pool: &PgPool) -> String {
    let sql = "select current_user::text, has_database_privilege(current_database(), 'create')";
    let user: Option<(String, bool)> = sqlx::query_as(sql).fetch_one(pool).await.ok();
    match user {
        Some((user, false)) => {
            format!("`teamleader2db migrate` does it, as another user: {user} may not create schemas in this database")
        }
        _ => "`teamleader2db migrate` does it, or `worker` by itself unless MIGRATE_ON_START=false".to_owned(),
    }
}

fn is_denied(error: &StoreError) -> bool {
    matches!(error, StoreError::Database(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501"))
}

async fn views(pool: &PgPool) -> Result<Finding, StoreError> {
    Ok(if !schemas::has_views(pool).await? {
        let what = "the schema teamleader_views is missing, with all views: was it dropped?";
        wrong(what, mend_schema(pool).await)
    } else if views::are_current(pool).await? {
        Finding::Well("the views are up to date".to_owned())
    } else {
        wrong("the views of schema teamleader_views are not those of this version", mend_schema(pool).await)
    })
}

/// Whether the role may do what the worker does.
async fn rights(pool: &PgPool) -> Result<Finding, StoreError> {
    let (tables, rights): (Vec<&str>, Vec<&str>) =
        RIGHTS.iter().flat_map(|(table, rights)| rights.iter().map(|right| (*table, *right))).unzip();
    // Without usage of a schema its tables cannot even be asked about.
    let sql = "select current_user::text, array(
             select format('%s on schema %s', privilege, name)
             from (values ('teamleader', 'usage'), ('teamleader2db', 'usage'), ('teamleader_views', 'usage'),
                 ('teamleader_views', 'create')) as s (name, privilege)
             where to_regnamespace(name) is not null and not has_schema_privilege(name, privilege))";
    let (user, mut lacking): (String, Vec<String>) = sqlx::query_as(sql).fetch_one(pool).await?;
    if lacking.is_empty() {
        let sql = "select format('%s on %s', string_agg(privilege, ', '), name), min(ordinal)
             from unnest($1::text[], $2::text[]) with ordinality as n (name, privilege, ordinal)
             where to_regclass(name) is not null and not has_table_privilege(name, privilege)
             group by name
             union all
             select 'insert on all tables in schema teamleader', null
             from pg_inherits i where i.inhparent = to_regclass('teamleader.record')
             having bool_or(not has_table_privilege(i.inhrelid, 'insert'))
             order by 2";
        lacking = sqlx::query_scalar(sql).bind(tables).bind(rights).fetch_all(pool).await?;
    }
    if lacking.is_empty() {
        return Ok(Finding::Well(format!("the role {user} has the rights that a worker needs")));
    }
    let grants: Vec<String> = lacking.iter().map(|right| format!("grant {right} to \"{user}\";")).collect();
    let what = format!("the role {user} lacks {}", lacking.join("; "));
    Ok(wrong(what, format!("as the schemas' owner: {}", grants.join(" "))))
}
