//! `compat`: for those who come from the Python service teamleader2db, which this program replaces. It copied eight lists into a table each
//! (`id`, `tl_uuid`, `tl_content`, `tl_type`, `created_at`, `updated_at`) and kept its tokens in `tl_auth`, as they are.

mod comparison;
mod tokens;
mod views;

use clap::{Args, Subcommand};
use sqlx::PgPool;

use crate::config::{AccountArgs, CompatArgs, ConfigError, DatabaseArgs, KeyArgs};
use crate::store::pool::{self, StoreError};
use crate::store::tokens::Tokens;

/// What is to be done.
#[derive(Subcommand, Debug)]
pub enum Compat {
    /// Make views with the names and columns of the Python service's tables
    Views(ViewsArgs),
    /// Compare the Python service's tables with the rows here: exit code 0 if nothing keeps you from moving, else 3
    Compare(CompareArgs),
    /// Take over the refresh token that the Python service has stored, and clear it there; stop that service first
    Tokens(TokensArgs),
}

/// Of `compat views`.
#[derive(Args, Debug)]
pub struct ViewsArgs {
    /// The schema to make them in; made if it is not there
    #[arg(long, default_value = "public", value_name = "NAME")]
    schema: String,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Of `compat compare`.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// The schema of the Python service's tables
    #[arg(long, default_value = "public", value_name = "NAME")]
    schema: String,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    old: CompatArgs,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    database: DatabaseArgs,
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
    account: AccountArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    key: KeyArgs,
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
    /// Something else has the name of a view.
    #[error(
        "{0} is there already, and not a view that this command made for the account {1}: rename it (alter table {0} rename to …), or \
         name another schema with --schema"
    )]
    Taken(String, String),
    /// There is nothing to compare with.
    #[error(
        "schema {0} has none of the Python service's tables ({1} …): name theirs with --schema, and their database with COMPAT_DATABASE_URL"
    )]
    NoTables(String, String),
    /// There is no such table of tokens.
    #[error(
        "there is no table {0}: name the Python service's `oauth_table` with --table, and its database with COMPAT_DATABASE_URL"
    )]
    NoTable(String),
    /// There is no token to take over.
    #[error("{0} holds no refresh token: open the worker's /sync/authorize in a browser instead")]
    NoToken(String),
    /// Nobody knows which of several tokens works.
    #[error("{0} holds {1} different refresh tokens: leave only the row that the Python service used last")]
    SeveralTokens(String, usize),
    /// A token is there already, and may be newer.
    #[error(
        "the account {0} is authorized already, so nothing was taken over. If that token is not to be kept: teamleader2db authorize \
         --refresh-token -"
    )]
    Authorized(String),
    /// It is stored here, and still there as well.
    #[error(
        "the token is stored here, but could not be cleared there ({why}): do it before the Python service can start again: \
         update {table} set code = '', auth_token = '', refresh_token = ''",
        why = pool::in_words(.1),
        table = .0
    )]
    NotCleared(String, sqlx::Error),
}

/// What came of it.
pub struct Outcome {
    /// What to print.
    pub text: String,
    /// Whether something is left to be looked at before the move.
    pub is_open: bool,
}

impl Outcome {
    fn done(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_open: false }
    }
}

/// A table of the Python service, and the resource that it is a copy of.
struct OldTable {
    /// What follows `tl_`, which is also what its rows have as `tl_type`.
    kind: &'static str,
    resource: &'static str,
}

impl OldTable {
    fn name(&self) -> String {
        format!("tl_{}", self.kind)
    }
}

/// All that it copied.
const OLD_TABLES: [OldTable; 8] = [
    OldTable { kind: "companies", resource: "companies" },
    OldTable { kind: "contacts", resource: "contacts" },
    OldTable { kind: "custom_fields", resource: "customFieldDefinitions" },
    OldTable { kind: "departments", resource: "departments" },
    OldTable { kind: "events", resource: "events" },
    OldTable { kind: "invoices", resource: "invoices" },
    OldTable { kind: "projects", resource: "projects" },
    OldTable { kind: "users", resource: "users" },
];

impl Compat {
    /// Does it.
    pub async fn run(self) -> Result<Outcome, CompatError> {
        match self {
            Self::Views(args) => {
                let pool = pool::connect(&args.database.url()?)?;
                Ok(Outcome::done(views::make(&pool, &args.account.account, &args.schema).await?))
            }
            Self::Compare(args) => {
                let ours = pool::connect(&args.database.url()?)?;
                let old = old_database(&args.old, &ours)?;
                let compared = comparison::compare(&old, &args.schema, &ours, &args.account.account).await?;
                let text = if args.json { compared.in_json() } else { compared.in_words() };
                Ok(Outcome { text, is_open: compared.is_open() })
            }
            Self::Tokens(args) => {
                let ours = pool::connect(&args.database.url()?)?;
                pool::check_schema(&ours).await?;
                let old = old_database(&args.old, &ours)?;
                let account = args.account.account;
                let store = Tokens::new(ours, account.clone(), args.key.cipher()?, None);
                tokens::take_over(&old, &args.table, &store, &account).await?;
                Ok(Outcome::done(
                    "the refresh token is taken over, and cleared there: the worker uses it when it next needs an access token. Leave the \
                     Python service stopped",
                ))
            }
        }
    }
}

/// The Python service's database: this program's own unless another is named.
fn old_database(args: &CompatArgs, ours: &PgPool) -> Result<PgPool, CompatError> {
    let Some(url) = args.url()? else { return Ok(ours.clone()) };
    pool::connect(&url).map_err(|error| match error {
        StoreError::Url(error) => ConfigError::Invalid(CompatArgs::NAME, error.to_string()).into(),
        error => error.into(),
    })
}

/// The name of a table as it can stand in a statement, if it is there. The server reads the name and quotes it.
async fn resolved(pool: &PgPool, name: &str) -> Result<Option<String>, CompatError> {
    sqlx::query_scalar("select to_regclass($1)::text").bind(name).fetch_one(pool).await.map_err(CompatError::Old)
}
