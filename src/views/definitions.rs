//! The definitions of all views but those with a column a custom field: what the catalog and the blueprint give.

use super::column::{Column, Type};
use super::ddl::{self, KnownView};
use super::fixed::{self, Fixed};
use super::typed::table::{self, Complete};
use super::{joined, model, names};

/// All views but those of custom fields' columns, as they read documents.
#[cfg(test)]
pub(super) fn definitions() -> Vec<Fixed> {
    over(&Complete::new())
}

/// The same, reading typed columns where their table is complete.
pub(super) fn over(complete: &Complete) -> Vec<Fixed> {
    let views = model::views();
    let mut tables = table::tables(&views);
    tables.retain(|table| complete.contains(&table.name));
    let mut definitions = of_documents(&views);
    for view in &mut definitions {
        if let Some(table) = tables.iter().find(|table| table.view() == view.name) {
            view.columns = table.read(&view.columns);
            view.source = table.source();
        }
    }
    definitions
}

fn of_documents(views: &[model::View]) -> Vec<Fixed> {
    let mut definitions = vec![fixed::accounts(), fixed::freshness()];
    for view in views {
        if view.is_child {
            definitions.push(Fixed {
                name: view.name.clone(),
                columns: view.columns.clone(),
                source: view.source.clone(),
                comment: view.comment.clone(),
            });
            continue;
        }
        let all = with_deleted(view);
        let living = view
            .columns
            .iter()
            .map(|column| Column { expression: format!("r.{}", names::quoted(&column.name)), ..column.clone() });
        definitions.push(Fixed {
            name: view.name.clone(),
            columns: living.collect(),
            source: format!("teamleader_views.{} r where r.{} is null", names::quoted(&all.name), model::DELETED_AT),
            comment: view.comment.clone(),
        });
        definitions.insert(definitions.len() - 1, all);
        if model::has_custom_fields(view.resource) {
            definitions.push(fixed::custom_fields(view));
        }
    }
    definitions.push(fixed::problems(views));
    definitions.extend(joined::views());
    definitions
}

fn with_deleted(view: &model::View) -> Fixed {
    let mut columns = view.columns.clone();
    columns.push(Column::of_row(
        model::DELETED_AT,
        Type::Instant,
        "r.deleted_at",
        "When the record was found deleted in Teamleader.",
    ));
    if model::has_custom_fields(view.resource) {
        let comment = "The custom fields as Teamleader gives them; contact_custom_fields, contacts_wide and \
                       their like show them.";
        columns.push(Column::of_row(model::CUSTOM_FIELDS, Type::Json, "(r.content #> '{custom_fields}')", comment));
    }
    Fixed {
        name: format!("{}_with_deleted", view.name),
        columns,
        source: view.source.clone(),
        comment: format!("The records of {}, and those that are deleted in Teamleader.", view.resource.name),
    }
}

/// The SQL that makes a view, or brings the one that is there up to date.
pub(super) fn create(view: &Fixed, there: Option<&KnownView>) -> String {
    ddl::create(&view.name, &view.columns, &view.source, &view.comment, there)
}
