//! `audit`: what it found, a resource a row.

use comfy_table::{CellAlignment, Table, presets};

use crate::message::RunReport;

/// What an audit found, for people.
pub fn show(report: &RunReport) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["resource", "status", "compared", "missing", "stale", "wrong", "created", "updated", "deleted"]);
    for column in 2..9 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut errors = String::new();
    for (name, resource) in &report.resources {
        let found = resource.audited.unwrap_or_default();
        let numbers = [
            resource.listed,
            found.missing,
            found.stale,
            found.wrong,
            resource.created,
            resource.updated.max(resource.detailed),
            resource.deleted,
        ];
        let row = [name.clone(), resource.status.clone()].into_iter().chain(numbers.map(|number| number.to_string()));
        table.add_row(row);
        if let Some(error) = &resource.error {
            errors.push_str(&format!("\n{name}: {error}"));
        }
    }
    if let Some(error) = &report.error {
        errors.push_str(&format!("\n{error}"));
    }
    format!("{table}{errors}")
}

/// Whether rows are missing or wrong. Stale ones are as old as the last sync, which is no fault.
pub fn needs_repair(report: &RunReport) -> bool {
    let audited = report.resources.values().filter_map(|resource| resource.audited);
    audited.into_iter().any(|found| found.missing + found.wrong > 0)
}
