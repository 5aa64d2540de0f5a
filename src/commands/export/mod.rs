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

use clap::{Args, ValueEnum};
use futures_util::TryStreamExt as _;
use sqlx::{PgPool, Postgres, Transaction};

use super::outcome::Outcome;
use super::terminal;
use crate::config::{ConfigError, CopyArgs};
use crate::store::pool::{self, StoreError};
use crate::store::sqlstate;
use destination::Destination;
pub use error::ExportError;
use selection::{Form, Selection};

/// For a long export and a slow reader: only they end it. A reader may take longer for the rows on their way than a
/// session may idle. So that the server does not go on for one that was stopped, it looks after its client, which
/// PostgreSQL can do on Linux.
const TRANSACTION: &str = "set transaction isolation level repeatable read, read only;
    set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0;
    select set_config('client_connection_check_interval', '2s', true) where version() like '%linux%';";

/// The arguments of `export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// A view of schema teamleader_views, such as contact_emails or contacts_wide, or a resource, such as
    /// projects-v2/projects
    #[arg(value_name = "NAME", required_unless_present = "preset", conflicts_with = "preset")]
    name: Option<String>,
    /// How the rows are written
    #[arg(long, value_name = "FORMAT", required_unless_present = "preset", conflicts_with = "preset")]
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
    #[arg(short, long, value_name = "FILE")]
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
        let pool = pool::connect(&self.copy.database_url()?)?;
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
        // No macro can check what no migration makes.
        let sql = "select account from teamleader_views.account \
                   union select account from teamleader_views.freshness order by 1";
        let known: Vec<String> = match sqlx::query_scalar(sql).fetch_all(pool).await {
            Ok(known) => known,
            // One that may read some views only.
            Err(error) if pool::sqlstate(&error).as_deref() == Some(sqlstate::FORBIDDEN) => return Ok(()),
            Err(error) => return Err(StoreError::from(error).into()),
        };
        let account = self.copy.account().as_str();
        if known.is_empty() || known.iter().any(|known| known == account) || selection.has_rows(tx).await? {
            return Ok(());
        }
        Err(ExportError::Account(account.to_owned(), known.join(", ")))
    }

    async fn selection(&self, tx: &mut Transaction<'static, Postgres>) -> Result<Selection, ExportError> {
        let escaped = self.escape_formulas;
        let form = match (self.preset, self.format) {
            (Some(Preset::Contacts), _) => Form::OldContacts { escaped },
            (None, Some(Format::Jsonl)) if escaped => {
                let why = "only CSV has formulas: leave it out, or take --format csv";
                return Err(ConfigError::Invalid("--escape-formulas", why.to_owned()).into());
            }
            (None, Some(Format::Jsonl)) => Form::Jsonl,
            (None, Some(Format::Csv) | None) => Form::Csv { escaped },
        };
        let name = self.name.as_deref().unwrap_or("contacts");
        Selection::of(tx, name, self.copy.account(), self.condition.clone(), form).await
    }

    /// The file, unless it is standard output.
    fn file(&self) -> Option<&Path> {
        self.output.as_deref().filter(|file| *file != Path::new("-"))
    }
}

/// A role that may only read the views cannot read how old the schema is; it can see all the
/// same whether there is a view.
async fn check_schema(pool: &PgPool) -> Result<(), ExportError> {
    match pool::check_schema(pool).await {
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
