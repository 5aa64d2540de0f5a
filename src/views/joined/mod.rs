//! The views that join records: what people look for, and no resource has by itself. Their SQL stands in files beside
//! this one, over the views of the records; every join is by account and id, and finds one row at most.

mod activities;
mod customers;
mod money;
mod reconciliation;
mod time_entries;

use super::column::{Column, Type};
use super::fixed::Fixed;
use super::names::quoted;

/// A view that joins records.
struct Joined {
    name: &'static str,
    sql: &'static str,
    comment: &'static str,
    columns: &'static [JoinedColumn],
}

/// A column: its name, its type, what it holds, and the resources that it names a record of.
type JoinedColumn = (&'static str, Type, &'static str, &'static [&'static str]);

/// What both kinds of customers are.
const CUSTOMERS: &[&str] = &["companies", "contacts"];

/// What both kinds of projects are.
const PROJECTS: &[&str] = &["projects", "projects-v2/projects"];

const OF_CUSTOMER: &str = "What the customer is: company or contact; null where there is no customer.";
const OF_PROJECT: &str = "What the project is: project (the legacy ones) or nextgenProject (projects_v2_projects); \
                          null where there is no project.";
const CHANGED: &str = "When the record last changed in this copy. Of a record that is joined to it a change does not \
                       show here.";

/// All of them; those that another one reads stand before it.
pub(super) fn views() -> Vec<Fixed> {
    let views = [
        &customers::CUSTOMERS,
        &money::REVENUE,
        &money::OPEN_ITEMS,
        &time_entries::TIME_ENTRIES,
        &activities::ACTIVITIES,
        &reconciliation::RECONCILIATION,
    ];
    views
        .into_iter()
        .map(|view| Fixed {
            name: view.name.to_owned(),
            columns: std::iter::once(Column::account()).chain(view.columns.iter().map(column)).collect(),
            source: format!("(\n{}) r", view.sql),
            comment: view.comment.to_owned(),
        })
        .collect()
}

fn column((name, kind, comment, refers_to): &JoinedColumn) -> Column {
    let column = Column::of_row(name, *kind, &format!("r.{}", quoted(name)), comment);
    Column { refers_to: refers_to.to_vec(), ..column }
}
