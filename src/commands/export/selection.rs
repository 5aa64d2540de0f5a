//! The rows that are exported, in SQL.

use std::borrow::Cow;

use sqlx::{AssertSqlSafe, Executor as _, PgConnection, SqlSafeStr as _};
use strsim::jaro_winkler;

use super::error::ExportError;
use super::formulas;
use crate::catalog;
use crate::ids::Account;
use crate::store::pool::{self, StoreError};
use crate::store::sqlstate;
use crate::views::names::{self, literal, quoted};

/// How like the names of views have to be to the one that is not there: that of `kontacts` to `contacts` is 0.92.
const ALIKE: f64 = 0.85;

/// How many of them are named.
const MOST_ALIKE: usize = 8;

/// What the rows become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// CSV.
    Csv {
        /// What spreadsheets take for formulas gets an apostrophe.
        escaped: bool,
    },
    /// A JSON object a line.
    Jsonl,
    /// The CSV of contacts that the Python service wrote.
    OldContacts {
        /// As above.
        escaped: bool,
    },
}

/// The rows to export.
#[derive(Debug)]
pub struct Selection {
    form: Form,
    /// The account's rows, as what can stand behind `from`.
    source: String,
    condition: Option<String>,
    /// As a text in SQL.
    account: String,
}

impl Form {
    /// A line of the server's as it is written.
    ///
    /// JSON holds no line end and no U+0001, but between its parts where it comes from a column of type json, of a view
    /// that is not of this program. Then the server quotes it.
    pub fn line(self, line: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Csv { escaped: true } => return formulas::escaped(line, b','),
            Self::OldContacts { escaped: true } => return formulas::escaped(line, b';'),
            Self::Jsonl if line.first() == Some(&1) => {}
            Self::Csv { .. } | Self::OldContacts { .. } | Self::Jsonl => return Cow::Borrowed(line),
        }
        let unquoted = line.iter().filter(|byte| **byte != 1);
        let mut object: Vec<u8> =
            unquoted.map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
        object.pop();
        object.push(b'\n');
        Cow::Owned(object)
    }

    /// How many lines there are before the first row.
    pub fn headers(self) -> u64 {
        match self {
            Self::Csv { .. } | Self::OldContacts { .. } => 1,
            Self::Jsonl => 0,
        }
    }
}

impl Selection {
    /// The rows of a view, or of that of a resource, that are of this account.
    pub async fn of(
        connection: &mut PgConnection,
        name: &str,
        account: &Account,
        condition: Option<String>,
        form: Form,
    ) -> Result<Self, ExportError> {
        let views = sqlx::query!(
            r#"select relname::text as "name!",
                 exists (select from pg_attribute where attrelid = c.oid and attname = 'account' "#
                + r#"and not attisdropped) as "has_account!"
             from pg_class c where relnamespace = to_regnamespace('teamleader_views') and relkind = 'v' order by 1"#,
        )
        .fetch_all(connection)
        .await
        .map_err(StoreError::from)?;
        let named = |name: &str| views.iter().find(|view| view.name == name);
        let of_resource = || named(&names::table(catalog::resolve(name).ok()?.name));
        let Some(view) = named(name).or_else(|| named(&names::table(name))).or_else(of_resource) else {
            let all: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
            return Err(ExportError::Unknown(name.to_owned(), instead(name, &all)));
        };
        let (has_account, view, account) = (view.has_account, quoted(&view.name), literal(account.as_str()));
        let of_account = if has_account { format!(" where account = {account}") } else { String::new() };
        let source = format!("(select * from teamleader_views.{view}{of_account}) {view}");
        Ok(Self { form, source, condition, account })
    }

    /// How the rows are written.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Finds out whether the rows can be selected: the server prepares statements, and runs none.
    ///
    /// One statement is prepared at a time, so the server refuses a semicolon in the condition. And what can be
    /// prepared in brackets as well as without them has no bracket of its own that would close one of
    /// [`Self::statement`].
    pub async fn check(&self, connection: &mut PgConnection) -> Result<(), ExportError> {
        let select = format!("select from {}", self.source);
        prepare(connection, select.clone()).await.map_err(StoreError::from)?;
        if let Some(condition) = &self.condition {
            for whole in [condition.clone(), in_brackets(condition)] {
                let checked = prepare(connection, format!("{select} where {whole}")).await;
                checked.map_err(|error| self.refused(error))?;
            }
        }
        Ok(())
    }

    /// Whether there are rows, the condition aside.
    pub async fn has_rows(&self, connection: &mut PgConnection) -> Result<bool, ExportError> {
        let sql = format!("select exists (select from {})", self.source);
        Ok(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await.map_err(StoreError::from)?)
    }

    /// What makes the server send the rows.
    pub fn statement(&self) -> String {
        let condition = self.condition.as_deref().map(|condition| format!(" where {}", in_brackets(condition)));
        let rows = format!("select * from {}{}", self.source, condition.unwrap_or_default());
        match self.form {
            Form::Csv { .. } => format!("copy ({rows}) to stdout (format csv, header)"),
            // JSON has these two characters only escaped, so the server quotes nothing. Its other format would double
            // each backslash.
            Form::Jsonl => format!(
                "copy (select row_to_json(_row) from ({rows}) _row) to stdout \
                 (format csv, quote e'\\x01', delimiter e'\\x02')"
            ),
            Form::OldContacts { .. } => {
                format!("copy ({}) to stdout (format csv, header, delimiter ';')", old_contacts(&rows, &self.account))
            }
        }
    }

    /// What the transaction is to set before that.
    pub fn settings(&self) -> &'static str {
        match self.form {
            Form::Csv { .. } | Form::Jsonl => "",
            // PostgreSQL takes every condition on a view's column to leave next to nothing. It would go through the
            // addresses of all contacts again for each contact: hours, where there are many.
            Form::OldContacts { .. } => "set local enable_nestloop = off",
        }
    }

    /// Why the rows did not come: where the condition is to blame, it says so. It is no SQL (SQLSTATE classes 42, 0A),
    /// there are values that it cannot work with (22, 21), or it would change something (25).
    pub fn refused(&self, error: sqlx::Error) -> ExportError {
        let code = pool::sqlstate(&error).unwrap_or_default();
        let of_condition = ["0A", "21", "22", "25", "42"].iter().any(|class| code.starts_with(class));
        if self.condition.is_some() && of_condition && code != sqlstate::FORBIDDEN {
            ExportError::Condition(error)
        } else {
            StoreError::from(error).into()
        }
    }
}

/// The columns that the Python service wrote, of these rows of contacts. The addresses are read once, however many
/// contacts there are.
fn old_contacts(rows: &str, account: &str) -> String {
    let first = |column: &str, view: &str, kind: &str| {
        format!(
            "select distinct on (contact_id) contact_id, {column} from teamleader_views.{view}
             where account = {account} and type = '{kind}' order by contact_id, position"
        )
    };
    format!(
        "select null as or_id, null as cp_name_catpro, e.email, t.number as phone, c.website, c.web_url as form_url,
             c.remarks as description, null as accountmanager
         from ({rows}) c
         left join ({}) e on e.contact_id = c.id
         left join ({}) t on t.contact_id = c.id",
        first("email", "contact_emails", "primary"),
        first("number", "contact_telephones", "phone")
    )
}

/// On lines of its own, so that a comment at its end hides nothing else.
fn in_brackets(condition: &str) -> String {
    format!("(\n{condition}\n)")
}

async fn prepare(connection: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    connection.prepare(AssertSqlSafe(sql).into_sql_str()).await.map(|_| ())
}

/// What else there is.
fn instead(name: &str, views: &[&str]) -> String {
    let name = names::table(name);
    // Those that hold the name come first.
    let likeness = |view: &str| jaro_winkler(view, &name) + if view.contains(&name) { 1.0 } else { 0.0 };
    let mut alike: Vec<(f64, &str)> = views.iter().map(|view| (likeness(view), *view)).collect();
    alike.retain(|(likeness, _)| *likeness >= ALIKE);
    alike.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let alike: Vec<&str> = alike.into_iter().take(MOST_ALIKE).map(|(_, view)| view).collect();
    let all = r"psql's \dv teamleader_views.* lists all";
    let wide = if name.ends_with("_wide") { "; those that end in _wide are made at the end of a sync" } else { "" };
    match alike[..] {
        [] => format!("{all}{wide}"),
        _ => format!("there are {}; {all}{wide}", alike.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_with_such_a_name_are_suggested() {
        let views =
            ["account", "companies", "contact_emails", "contacts", "contacts_with_deleted", "tags", "time_tracking"];
        for (name, hint) in [
            ("kontacts", "there are contacts"),
            ("contatcs", "there are contacts"),
            ("timetracking", "there are time_tracking; "),
            ("emails", "there are contact_emails; "),
            ("contact", "there are contacts, contact_emails, contacts_with_deleted; "),
            ("zzz", r"psql's \dv"),
        ] {
            let instead = instead(name, &views);
            assert!(instead.starts_with(hint), "{name}: {instead}");
        }
        assert!(instead("contacts_wide", &views).ends_with("at the end of a sync"));
    }

    #[test]
    fn json_of_several_lines_becomes_one_line() {
        let several = b"\x01{\"a\":{\n \"b\": \"\\n\"\r\n}}\x01\n";
        assert_eq!(Form::Jsonl.line(several).as_ref(), b"{\"a\":{  \"b\": \"\\n\"  }}\n");
        assert_eq!(Form::Csv { escaped: false }.line(b"\x01,\"a\nb\"\n").as_ref(), b"\x01,\"a\nb\"\n");
    }
}
