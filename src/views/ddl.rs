//! The SQL that makes a view, or brings one that is there up to date.

use std::collections::BTreeMap;

use super::column::Column;
use super::names::{literal, quoted};

/// The views that are there.
pub(super) type Existing = BTreeMap<String, KnownView>;

/// A view that is there.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownView {
    /// In their order.
    pub(super) columns: Vec<Known>,
    /// What somebody has set for it, as PostgreSQL keeps it: `security_invoker=true`.
    pub(super) options: Vec<String>,
}

impl KnownView {
    /// Whether somebody has set that it reads with the rights of who reads it (`security_invoker`): those rights, and
    /// policies for rows, are of the records, and the typed columns know nothing of them.
    pub(super) fn is_of_its_reader(&self) -> bool {
        let mut values = self.options.iter().filter_map(|option| option.strip_prefix("security_invoker="));
        values.next_back().is_some_and(|value| ["true", "on", "yes", "1"].contains(&value))
    }
}

/// A column that is there.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) name: String,
    /// Its type as PostgreSQL writes it.
    pub(super) kind: String,
    /// Its comment.
    pub(super) comment: String,
}

/// Makes a view, or replaces the one that is there, and says what it and its columns are. PostgreSQL lets a view that
/// is there gain columns at its end: those that are there keep their places. Its options would be lost if they were not
/// repeated.
pub(super) fn create(name: &str, columns: &[Column], source: &str, comment: &str, there: Option<&KnownView>) -> String {
    let (there, options) = there.map_or((&[][..], &[][..]), |there| (&there.columns, &there.options));
    let known = there.iter().filter_map(|known| columns.iter().find(|column| column.name == known.name));
    let mut selected: Vec<String> = known.map(as_column).collect();
    let new = columns.iter().filter(|column| !there.iter().any(|known| known.name == column.name));
    selected.extend(new.map(as_column));
    let qualified = format!("teamleader_views.{}", quoted(name));
    let options = options.iter().filter_map(|option| option.split_once('='));
    let options: Vec<String> = options.map(|(name, value)| format!("{} = {}", quoted(name), literal(value))).collect();
    let with = if options.is_empty() { String::new() } else { format!(" with ({})", options.join(", ")) };
    let mut sql = format!(
        "create or replace view {qualified}{with} as select\n    {}\nfrom {source};\ncomment on view {qualified} \
         is {};\n",
        selected.join(",\n    "),
        literal(comment)
    );
    for column in columns {
        sql.push_str(&comment_on(name, &column.name, &column.comment));
    }
    sql
}

fn comment_on(view: &str, column: &str, comment: &str) -> String {
    format!("comment on column teamleader_views.{}.{} is {};\n", quoted(view), quoted(column), literal(comment))
}

/// With its type, so that it is what the catalog says and not what an expression happens to give.
fn as_column(column: &Column) -> String {
    format!("({})::{} as {}", column.expression, column.kind.as_sql(), quoted(&column.name))
}
