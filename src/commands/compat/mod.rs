//! `compat`: for those who come from the Python service teamleader2db, which this program replaces. It copied eight
//! lists into a table each (`id`, `tl_uuid`, `tl_content`, `tl_type`, `created_at`, `updated_at`) and stored its tokens
//! in `tl_auth`, as they are.

mod comparison;
mod judgement;
mod tokens;
mod views;

use std::time::Duration;

use clap::{Args, Subcommand};
use secrecy::SecretString;
use sqlx::{ConnectOptions, PgConnection};

use super::outcome::Outcome;
use super::terminal;
use crate::config::{AmqpArgs, CompatArgs, ConfigError, CopyArgs, IntegrationArgs, KeyArgs};
use crate::store::pool::{self, StoreError};
use comparison::Asked;

/// The longest wait for a connection to the Python service's database.
const PATIENCE: Duration = Duration::from_secs(10);

/// The steps of the move.
#[derive(Subcommand, Debug)]
pub enum Compat {
    /// Make views with the names and columns of the Python service's tables
    Views(ViewsArgs),
    /// Compare the Python service's tables with the rows here: exit code 0 if nothing keeps you from moving, else 3
    Compare(CompareArgs),
    /// Take over the refresh token that the Python service has stored, try it, and clear it there; stop that service
    /// first
    Tokens(Box<TokensArgs>),
}

/// Of `compat views`.
#[derive(Args, Debug)]
pub struct ViewsArgs {
    /// The schema to make them in; made if it is not there
    #[arg(long, default_value = "public", value_parser = schema_name, value_name = "NAME")]
    schema: String,
    #[command(flatten)]
    copy: CopyArgs,
}

/// Of `compat compare`.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// What to compare, such as tl_contacts, or tl_contacts=schema.people where it has another name; all eight unless
    /// named
    #[arg(value_name = "TABLE[=NAME]")]
    tables: Vec<Asked>,
    /// The schema of the Python service's tables
    #[arg(long, default_value = "public", value_parser = schema_name, value_name = "NAME")]
    schema: String,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    old: CompatArgs,
    #[command(flatten)]
    copy: CopyArgs,
}

/// Of `compat tokens`.
#[derive(Args, Debug)]
pub struct TokensArgs {
    /// The table of the Python service's tokens, with its schema unless that is on the search path
    #[arg(long, default_value = "tl_auth", value_name = "NAME")]
    table: String,
    #[command(flatten)]
    old: CompatArgs,
    #[command(flatten)]
    copy: CopyArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
    #[command(flatten)]
    integration: IntegrationArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// PostgreSQL cuts longer names, and so would mean another schema than the one that was looked at.
fn schema_name(name: &str) -> Result<String, String> {
    match name.len() {
        1..=63 => Ok(name.to_owned()),
        _ => Err("a schema's name has 1 to 63 bytes".to_owned()),
    }
}

/// Why it was not done, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CompatError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database of this program.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The Python service's database.
    #[error("the Python service's database: {}", pool::in_words(.0))]
    Old(sqlx::Error),
    /// It does not answer.
    #[error("the Python service's database: no connection within {} s", PATIENCE.as_secs())]
    OldAway,
    /// Something else has the name of a view.
    #[error(
        "{0} is there already, and not a view that this command made for the account {1}: rename it (alter table {0} \
         rename to …), or name another schema with --schema"
    )]
    Taken(String, String),
    /// There is nothing to compare with.
    #[error(
        "none of these tables is there: {0}. Name their schema with --schema, their names like tl_contacts=people, \
         and their database with COMPAT_DATABASE_URL"
    )]
    NoTables(String),
    /// That is no table of the Python service.
    #[error(
        "{0} is a view that `compat views` made: name the Python service's own table, like tl_contacts=tl_contacts_old"
    )]
    OurView(String),
    /// The token was not taken over.
    #[error(transparent)]
    Tokens(#[from] tokens::TokenError),
}

impl CompatError {
    /// Whether the settings are at fault.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Store(StoreError::Url(_)))
    }
}

/// A table of the Python service, and the resource that it is a copy of.
#[derive(Clone, Copy, Debug)]
struct OldTable {
    /// Its usual name.
    name: &'static str,
    /// What its rows have as `tl_type`.
    kind: &'static str,
    resource: &'static str,
}

/// All that it copied.
const OLD_TABLES: [OldTable; 8] = [
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
const MADE: &str = "Made by `teamleader2db compat views`";

impl Compat {
    /// Does it, and prints what came of it.
    pub async fn run(self) -> Result<Outcome, CompatError> {
        match self {
            Self::Views(args) => {
                let pool = pool::connect(&args.copy.database_url()?)?;
                terminal::print(&views::make(&pool, args.copy.account(), &args.schema).await?);
                Ok(Outcome::Done)
            }
            Self::Compare(args) => {
                let url = args.copy.database_url()?;
                let ours = pool::connect(&url)?;
                let mut old = connect(args.old.url()?.as_ref().unwrap_or(&url)).await?;
                let asked = Asked::or_all(args.tables, &args.schema);
                let compared = comparison::compare(&mut old, &asked, &ours, args.copy.account()).await?;
                terminal::print(&if args.json { compared.as_json() } else { compared.as_text() });
                Ok(if compared.is_open() { Outcome::Partial } else { Outcome::Done })
            }
            Self::Tokens(args) => {
                let url = args.copy.database_url()?;
                let mut old = connect(args.old.url()?.as_ref().unwrap_or(&url)).await?;
                let taking = tokens::Taking {
                    pool: pool::connect(&url)?,
                    names: args.amqp.names(args.copy.account())?,
                    amqp_url: args.amqp.url()?,
                    declare: args.amqp.amqp_declare,
                    account: args.copy.account().clone(),
                    integration: args.integration.integration()?,
                    cipher: args.key.cipher()?,
                };
                terminal::print(&taking.over(&mut old, &args.table).await?);
                Ok(Outcome::Done)
            }
        }
    }
}

/// A connection to the Python service's database, which may be this program's own.
async fn connect(url: &SecretString) -> Result<PgConnection, CompatError> {
    let pool = pool::connect(url).map_err(|error| match error {
        StoreError::Url(_) => {
            let how = "not a URL like postgres://user:password@host:5432/database".to_owned();
            ConfigError::Invalid(CompatArgs::NAME, how).into()
        }
        error => CompatError::from(error),
    })?;
    let connected = tokio::time::timeout(PATIENCE, pool.connect_options().connect()).await;
    connected.map_err(|_| CompatError::OldAway)?.map_err(CompatError::Old)
}

/// The name of a table as it can stand in a statement, if it is there. The server reads the name and quotes it.
async fn resolved(old: &mut PgConnection, name: &str) -> Result<Option<String>, CompatError> {
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
