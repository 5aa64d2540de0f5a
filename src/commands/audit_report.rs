//! `audit`: what it found, a resource a row.

use comfy_table::{CellAlignment, Table, presets};

use super::terminal::one_line;
use crate::messages::RunReport;

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
            // A row that was created has its detail merged as well.
            resource.updated.max(resource.detailed - resource.created),
            resource.deleted,
        ];
        let row = [one_line(name), resource.status.as_str().to_owned()]
            .into_iter()
            .chain(numbers.map(|number| number.to_string()));
        table.add_row(row);
        if let Some(error) = &resource.error {
            errors.push_str(&format!("\n{}: {}", one_line(name), one_line(error)));
        }
    }
    if let Some(error) = &report.error {
        errors.push_str(&format!("\n{}", one_line(error)));
    }
    format!("{table}{errors}")
}

/// Whether rows are missing or wrong. Stale ones are as old as the last sync, which is no fault.
pub fn needs_repair(report: &RunReport) -> bool {
    let audited = report.resources.values().filter_map(|resource| resource.audited);
    audited.into_iter().any(|found| found.missing + found.wrong > 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::*;
    use crate::messages::{Audited, ResourceReport};

    #[test]
    fn a_row_that_was_created_is_not_counted_as_updated() {
        let account = "acme".parse().expect("valid");
        let audited = Some(Audited { missing: 3, stale: 0, wrong: 2 });
        let repaired = ResourceReport { created: 3, updated: 2, detailed: 5, audited, ..ResourceReport::default() };
        let resources = BTreeMap::from([("contacts".to_owned(), repaired)]);
        let report = RunReport { resources, ..RunReport::refused(&account, Uuid::nil(), "") };
        let shown = show(&report);
        let numbers: Vec<&str> = shown.lines().nth(1).expect("a row").split_whitespace().skip(2).collect();
        assert_eq!(numbers, ["0", "3", "0", "2", "3", "2", "0"]);
        assert!(needs_repair(&report));
    }
}
