//! `compat`: for those who come from the Python service teamleader2db, which this program replaces. It copied eight
//! lists into a table each (`id`, `tl_uuid`, `tl_content`, `tl_type`, `created_at`, `updated_at`) and stored its tokens
//! in `tl_auth`, as they are.

mod comparison;
mod error;
mod judgement;
mod old;
mod tokens;
mod views;

use clap::{Args, Subcommand};

use super::outcome::Outcome;
use super::terminal;
use crate::config::{AmqpArgs, CompatArgs, CopyArgs, IntegrationArgs, KeyArgs};
use crate::store::pool;
use comparison::Asked;
pub use error::CompatError;
use old::connect;

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

/// The arguments of `compat views`.
#[derive(Args, Debug)]
pub struct ViewsArgs {
    /// The schema to make them in; made if it is not there
    #[arg(long, default_value = "public", value_parser = schema_name, value_name = "NAME")]
    schema: String,
    #[command(flatten)]
    copy: CopyArgs,
}

/// The arguments of `compat compare`.
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

/// The arguments of `compat tokens`.
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

impl Compat {
    /// Runs the command and prints its result.
    pub async fn run(self) -> Result<Outcome, CompatError> {
        match self {
            Self::Views(args) => {
                let pool = pool::open(&args.copy.database_url()?).await?;
                terminal::print(&views::make(&pool, args.copy.account(), &args.schema).await?);
                Ok(Outcome::Done)
            }
            Self::Compare(args) => {
                let url = args.copy.database_url()?;
                let ours = pool::open(&url).await?;
                let mut old = connect(&args.old, &url).await?;
                let asked = Asked::or_all(args.tables, &args.schema);
                let compared = comparison::compare(&mut old, &asked, &ours, args.copy.account()).await?;
                terminal::print(&if args.json { compared.as_json() } else { compared.as_text() });
                Ok(if compared.is_open() { Outcome::Partial } else { Outcome::Done })
            }
            Self::Tokens(args) => {
                let url = args.copy.database_url()?;
                let mut old = connect(&args.old, &url).await?;
                let taking = tokens::Taking {
                    pool: pool::open(&url).await?,
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
