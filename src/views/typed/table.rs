//! The tables of typed columns: what `tables.txt` chooses of the views.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::Resource;
use crate::views::column::{Column, Type};
use crate::views::fixed::{self, Fixed};
use crate::views::model::{DELETED_AT, View, has_custom_fields, within};
use crate::views::names::{self, literal, quoted};

const TABLES: &str = include_str!("tables.txt");

/// The schema.
pub(super) const SCHEMA: &str = "teamleader_typed";

/// The column that says when a record changed.
pub(super) const CHANGED_AT: &str = "_changed_at";

/// The column that has an element of `custom_fields`.
const ELEMENT: &str = "_element";

/// The names of the views whose tables are complete.
pub(in crate::views) type Complete = BTreeSet<String>;

/// A table of typed columns.
#[derive(Clone, Debug)]
pub(in crate::views) struct Table {
    /// Its name, which is that of its view.
    pub(in crate::views) name: String,
    pub(super) resource: &'static Resource,
    /// Its columns; the expressions are over `r`, a row of the resource, and what [`Self::within`] joins to it.
    pub(super) columns: Vec<Column>,
    /// What a row is found by: the column that names the record comes first, then the account.
    pub(super) key: Vec<String>,
    pub(super) indexed: Vec<String>,
    /// The elements that are joined to `r` for a table of a list; empty for one of records.
    pub(super) within: String,
    /// The list within `r` that they come from, as JSON.
    pub(super) list: String,
    /// How the view calls an element of a list, and where that is found from a row of the table, the outermost first.
    elements: Vec<(String, String)>,
    /// What its view joins to it.
    joined: String,
}

impl Table {
    /// Whether it has rows for a list within records, and not for the records.
    pub(super) fn is_of_list(&self) -> bool {
        !self.within.is_empty()
    }

    /// Its name in SQL.
    pub(super) fn qualified(&self) -> String {
        format!("{SCHEMA}.{}", quoted(&self.name))
    }

    /// The view that reads it: of records that with deleted ones, which the other reads.
    pub(in crate::views) fn view(&self) -> String {
        if self.is_of_list() { self.name.clone() } else { format!("{}_with_deleted", self.name) }
    }

    pub(super) fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|stored| stored.name == column)
    }

    /// Columns of its view as they are read from it; those that it does not have are read from the document.
    pub(in crate::views) fn read(&self, columns: &[Column]) -> Vec<Column> {
        let read = columns.iter().map(|column| Column {
            expression: if self.has(&column.name) {
                format!("t.{}", quoted(&column.name))
            } else {
                let elements = self.elements.iter().rev();
                elements
                    .fold(column.expression.clone(), |expression, (element, place)| expression.replace(element, place))
            },
            ..column.clone()
        });
        read.collect()
    }

    /// What its view is selected from.
    pub(in crate::views) fn source(&self) -> String {
        format!("{} t {}", self.qualified(), self.joined)
    }
}

/// Joins the record to a row that has its id in this column. PostgreSQL leaves the join out where nothing is read from
/// the document.
fn record(resource: &Resource, id: &str) -> String {
    format!(
        "left join teamleader.{} r on r.resource = {} and r.account = t.account and r.id = t.{}",
        quoted(&names::table(resource.name)),
        literal(resource.name),
        quoted(id)
    )
}

/// The columns that say where an element is, of the outermost list first, as views of lists within lists name them.
fn places(depth: usize) -> Vec<String> {
    (0..depth).rev().map(|level| format!("{}position", "group_".repeat(level))).collect()
}

/// What [`TABLES`] says of a view.
#[derive(Default)]
struct Chosen {
    /// None: all.
    columns: Vec<&'static str>,
    indexed: Vec<String>,
}

fn chosen() -> BTreeMap<&'static str, Chosen> {
    let mut chosen: BTreeMap<&str, Chosen> = BTreeMap::new();
    for line in TABLES.lines().filter(|line| !line.starts_with('#')) {
        let (view, columns) = line.split_once(':').unwrap_or((line, ""));
        let of_view = chosen.entry(view).or_default();
        for column in columns.split_whitespace() {
            let name = column.trim_end_matches('*');
            of_view.columns.push(name);
            of_view.indexed.extend((name != column).then(|| name.to_owned()));
        }
    }
    chosen
}

/// All tables, those of a resource one after the other, that of its records first.
pub(in crate::views) fn tables(views: &[View]) -> Vec<Table> {
    let chosen = chosen();
    let mut tables = Vec::new();
    for view in views {
        if let Some(of_view) = chosen.get(&*view.name) {
            tables.push(if view.is_child { of_list(view, of_view) } else { of_records(view, of_view) });
        }
        if !view.is_child && has_custom_fields(view.resource) {
            let values = fixed::custom_fields(view);
            tables.extend(chosen.contains_key(&*values.name).then(|| of_values(view, values)));
        }
    }
    tables.sort_by_key(|table| (table.resource.name, table.is_of_list()));
    tables
}

fn of_records(view: &View, chosen: &Chosen) -> Table {
    let always = ["id", "account", CHANGED_AT, "_detail_at"];
    let is_stored = |name: &str| always.contains(&name) || chosen.columns.contains(&name);
    let mut columns: Vec<Column> = view.columns.iter().filter(|column| is_stored(&column.name)).cloned().collect();
    columns.push(Column::of_row(DELETED_AT, Type::Instant, "r.deleted_at", ""));
    Table {
        name: view.name.clone(),
        resource: view.resource,
        columns,
        key: vec!["id".to_owned(), "account".to_owned()],
        indexed: chosen.indexed.clone(),
        within: String::new(),
        list: String::new(),
        elements: Vec::new(),
        joined: record(view.resource, "id"),
    }
}

fn of_list(view: &View, chosen: &Chosen) -> Table {
    let places = places(view.lists.len());
    let id = view.columns[1].name.clone();
    let is_stored = |name: &str| {
        let always = name == "account" || name == id || places.iter().any(|it| it == name);
        // When the record changed is not stored: a list that stays as it is is not written again.
        always || (chosen.columns.is_empty() && name != CHANGED_AT) || chosen.columns.contains(&name)
    };
    let columns = view.columns.iter().filter(|column| is_stored(&column.name)).cloned().collect();
    let elements = view.lists.iter().zip(&places).enumerate().map(|(level, (list, place))| {
        (format!("e{level}.value"), format!("({list} -> (t.{} - 1)::integer)", quoted(place)))
    });
    Table {
        name: view.name.clone(),
        resource: view.resource,
        columns,
        indexed: chosen.indexed.clone(),
        within: within(&view.lists),
        list: view.lists[0].clone(),
        elements: elements.collect(),
        joined: record(view.resource, &id),
        key: [id, "account".to_owned()].into_iter().chain(places).collect(),
    }
}

/// The elements themselves are kept beside their definition, since their values are of many types.
fn of_values(view: &View, values: Fixed) -> Table {
    let id = values.columns[1].name.clone();
    let kept = ["account", &*id, "position", "definition_id"];
    let mut columns: Vec<Column> = values.columns.into_iter().filter(|column| kept.contains(&&*column.name)).collect();
    columns.push(Column::of_row(ELEMENT, Type::Json, "e.value", ""));
    Table {
        name: values.name,
        resource: view.resource,
        columns,
        indexed: vec!["definition_id".to_owned()],
        within: fixed::EACH_VALUE.to_owned(),
        list: fixed::VALUES.to_owned(),
        elements: vec![("e.value".to_owned(), format!("t.{}", quoted(ELEMENT)))],
        joined: format!("{} {}", fixed::definition("t", "t.definition_id"), record(view.resource, &id)),
        key: vec![id, "account".to_owned(), "position".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::model;

    #[test]
    fn each_table_is_of_a_view_and_each_column_of_it() {
        let tables = tables(&model::views());
        let chosen = chosen();
        let found: BTreeSet<&str> = tables.iter().map(|table| &*table.name).collect();
        assert_eq!(found, chosen.keys().copied().collect::<BTreeSet<_>>());
        for table in &tables {
            let of_view = &chosen[&*table.name];
            let named = of_view.columns.iter().map(|name| (*name).to_owned()).chain(of_view.indexed.iter().cloned());
            for column in named.chain(table.key.iter().cloned()) {
                assert!(table.has(&column), "{}.{column}", table.name);
            }
        }
    }

    #[test]
    fn a_column_that_is_not_stored_is_read_from_the_place_of_its_element() {
        let views = model::views();
        let view = views.iter().find(|view| view.name == "invoice_lines").expect("a view");
        let table = tables(&views).into_iter().find(|table| table.name == "invoice_lines").expect("a table");
        let read = table.read(&view.columns);
        let of = |name: &str| read.iter().find(|column| column.name == name).map(|column| &*column.expression);
        assert_eq!(of("quantity"), Some("t.\"quantity\""));
        let element = "((((r.content #> '{grouped_lines}') -> (t.\"group_position\" - 1)::integer) #> '{line_items}') \
                       -> (t.\"position\" - 1)::integer)";
        assert!(of("unit_id").is_some_and(|read| read.contains(element)), "{:?}", of("unit_id"));
        assert!(read.iter().all(|column| !column.expression.contains("e0.") && !column.expression.contains("e1.")));
    }
}
