//! `export`: the rows of a view of schema `teamleader_views`, as CSV or JSON.
//!
//! PostgreSQL makes the text (`copy … to stdout`), and this program hands it on row by row: neither holds the result.
//! All of it is of one moment, and in a transaction that can only read.

mod destination;
mod error;
mod formulas;
mod selection;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum, ValueHint};
use clap_complete::engine::ArgValueCompleter;
use futures_util::TryStreamExt as _;
use sqlx::{PgPool, Postgres, Transaction};

use super::outcome::Outcome;
use super::terminal;
use crate::config::{ConfigError, CopyArgs, completion};
use crate::store::pool::{self, StoreError};
use crate::store::{accounts, schema, sqlstate};
use destination::Destination;
pub use error::ExportError;
use selection::{Form, Selection};

/// For a long export and a slow reader: only they end it. A reader may take longer for the rows on their way than a
/// session may idle. So that the server does not go on for one that was stopped, it looks after its client, which
/// PostgreSQL can do on Linux.
const TRANSACTION: &str = "set transaction isolation level repeatable read, read only;
    set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0;
    select set_config('client_connection_check_interval', '2s', true) where version() like '%linux%';";

/// What the help shows of it.
const EXAMPLES: &str = "\
Examples:
  teamleader2db export contacts -o contacts.csv
  teamleader2db export time_tracking --format jsonl | jq .
  teamleader2db export contacts -o active.csv --where \"status = 'active'\"";

/// The arguments of `export`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// A view of schema teamleader_views, such as contact_emails or contacts_wide, or a resource, such as
    /// projects-v2/projects
    #[arg(
        value_name = "NAME",
        required_unless_present = "preset",
        conflicts_with = "preset",
        add = ArgValueCompleter::new(completion::resources)
    )]
    name: Option<String>,
    /// How the rows are written; without it as the name of the file ends, .csv or .jsonl
    #[arg(long, value_name = "FORMAT", conflicts_with = "preset")]
    format: Option<Format>,
    /// A list as the Python service wrote it, instead of a view
    #[arg(long, value_name = "PRESET")]
    preset: Option<Preset>,
    /// Only rows for which this is true: SQL over the view's columns, such as "status = 'active'"; with --preset those
    /// of contacts
    #[arg(long = "where", value_name = "CONDITION", allow_hyphen_values = true)]
    condition: Option<String>,
    /// In CSV, put an apostrophe before texts that a spreadsheet would take for formulas
    #[arg(long)]
    escape_formulas: bool,
    /// The file, which is replaced once all is written; standard output if there is none, or for `-`
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    #[command(flatten)]
    copy: CopyArgs,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Comma-separated, with a header; a null is nothing, an empty text is ""
    Csv,
    /// A JSON object a line
    Jsonl,
}

/// A list that something else expects as it is.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Preset {
    /// The contacts, separated by semicolons; or_id, cp_name_catpro and accountmanager are empty, as Teamleader's API
    /// does not have them
    Contacts,
}

impl ExportArgs {
    /// Runs the command, and says what was written to which file. On standard error: the rows may be on standard
    /// output, by whatever name.
    ///
    /// Dropped before its end, it removes what it has half done, as after an error.
    pub async fn run(self) -> Result<Outcome, ExportError> {
        let pool = pool::open(&self.copy.database_url()?).await?;
        check_schema(&pool).await?;
        let mut tx = pool::begin(&pool).await?;
        sqlx::raw_sql(TRANSACTION).execute(&mut *tx).await.map_err(StoreError::from)?;
        let selection = self.selection(&mut tx).await?;
        selection.check(&mut tx).await?;
        self.check_account(&pool, &selection, &mut tx).await?;
        sqlx::raw_sql(selection.settings()).execute(&mut *tx).await.map_err(StoreError::from)?;
        let written = write(&mut tx, &selection, self.file()).await?;
        if let (Some(rows), Some(file)) = (written, self.file()) {
            let rows = format!("{rows} {}", if rows == 1 { "row" } else { "rows" });
            // A reader that closed standard error is no error.
            let _ = writeln!(std::io::stderr(), "wrote {rows} to {}", terminal::visible(&file.to_string_lossy()));
        }
        Ok(Outcome::Done)
    }

    /// That there is nothing of an account which there is not would look like an answer.
    async fn check_account(
        &self,
        pool: &PgPool,
        selection: &Selection,
        tx: &mut Transaction<'static, Postgres>,
    ) -> Result<(), ExportError> {
        match accounts::unknown(pool, self.copy.account()).await? {
            // Rows without anything else of their account are rows all the same.
            Some(unknown) if !selection.has_rows(tx).await? => Err(unknown.into()),
            _ => Ok(()),
        }
    }

    async fn selection(&self, tx: &mut Transaction<'static, Postgres>) -> Result<Selection, ExportError> {
        let escaped = self.escape_formulas;
        let form = match (self.preset, self.format.or_else(|| self.format_of_file())) {
            (Some(Preset::Contacts), _) => Form::OldContacts { escaped },
            (None, Some(Format::Jsonl)) if escaped => {
                let why = "only CSV has formulas: leave it out, or take --format csv";
                return Err(ConfigError::Invalid("--escape-formulas", why.to_owned()).into());
            }
            (None, Some(Format::Jsonl)) => Form::Jsonl,
            (None, Some(Format::Csv)) => Form::Csv { escaped },
            (None, None) => {
                let why = "it is csv or jsonl; without it -o has to name a file that ends in .csv or .jsonl";
                return Err(ConfigError::Invalid("--format", why.to_owned()).into());
            }
        };
        let name = self.name.as_deref().unwrap_or("contacts");
        Selection::of(tx, name, self.copy.account(), self.condition.clone(), form).await
    }

    /// The format that the file's name ends with.
    fn format_of_file(&self) -> Option<Format> {
        match self.file()?.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Format::Csv),
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            _ => None,
        }
    }

    /// The file, unless it is standard output.
    fn file(&self) -> Option<&Path> {
        self.output.as_deref().filter(|file| *file != Path::new("-"))
    }
}

/// A role that may only read the views cannot read how old the schema is; it can see all the
/// same whether there is a view.
async fn check_schema(pool: &PgPool) -> Result<(), ExportError> {
    match schema::check(pool).await {
        Err(StoreError::Database(error)) if pool::sqlstate(&error).as_deref() == Some(sqlstate::FORBIDDEN) => Ok(()),
        Err(StoreError::OldSchema) => Err(ExportError::NoCopy),
        checked => Ok(checked?),
    }
}

/// Writes all rows, and gives their number; `None` where the reader closed the pipe, which is no error.
async fn write(
    tx: &mut Transaction<'static, Postgres>,
    selection: &Selection,
    file: Option<&Path>,
) -> Result<Option<u64>, ExportError> {
    let failed = |error| ExportError::Output(file.unwrap_or(Path::new("standard output")).to_owned(), error);
    let is_closed = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    let mut destination = Destination::open(file).await.map_err(failed)?;
    let statement = selection.statement();
    let refused = |error| selection.refused(error);
    let mut lines = tx.copy_out_raw(&statement).await.map_err(refused)?;
    let mut written = 0;
    // A message of the server's is one row, or the header.
    while let Some(line) = lines.try_next().await.map_err(refused)? {
        match destination.write(&selection.form().line(&line)).await {
            Err(error) if is_closed(&error) => return Ok(None),
            done => done.map_err(failed)?,
        }
        written += 1;
    }
    match destination.finish().await {
        Err(error) if is_closed(&error) => Ok(None),
        done => done.map(|()| Some(written - selection.form().headers())).map_err(failed),
    }
}
