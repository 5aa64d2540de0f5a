//! `request --wait`: what came of a sync, a resource a row.

use comfy_table::{CellAlignment, Table, presets};

use super::event_text;
use super::terminal::one_line;
use crate::messages::RunReport;

/// What a run did, for people: each resource, below it each error, and a line for all of it.
pub fn show(report: &RunReport) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["resource", "status", "listed", "created", "updated", "deleted", "details", "rejected"]);
    for column in 2..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for (name, resource) in &report.resources {
        let numbers = [
            resource.listed,
            resource.created,
            resource.updated,
            resource.deleted,
            resource.detailed,
            resource.rejected,
        ];
        let words = [one_line(name), resource.status.as_str().to_owned()];
        table.add_row(words.into_iter().chain(numbers.map(|number| number.to_string())));
    }
    let status = report.status.as_str();
    let mut shown = match report.resources.is_empty() {
        // It never became a run.
        true => status.to_owned(),
        false => format!("{table}\n{status}: {}", one_line(&event_text::in_numbers(report))),
    };
    for (name, resource) in &report.resources {
        // All of a run that was given up have its error.
        if let Some(error) = resource.error.as_ref().filter(|error| Some(*error) != report.error.as_ref()) {
            shown.push_str(&format!("\n{}: {}", one_line(name), one_line(error)));
        }
    }
    if let Some(error) = &report.error {
        shown.push_str(&format!("\n{}", one_line(error)));
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::*;
    use crate::messages::{ResourceReport, ResourceStatus, RunStatus};

    #[test]
    fn each_resource_has_its_numbers_and_each_error_its_line() {
        let account = "acme".parse().expect("valid");
        let contacts =
            ResourceReport { status: ResourceStatus::Completed, listed: 20, created: 3, ..ResourceReport::default() };
        let error = Some("the list\ncontradicts itself".to_owned());
        let deals = ResourceReport { status: ResourceStatus::Failed, error, ..ResourceReport::default() };
        let resources = BTreeMap::from([("contacts".to_owned(), contacts), ("deals".to_owned(), deals)]);
        let refused = RunReport::refused(&account, Uuid::nil(), "");
        let report = RunReport { status: RunStatus::Partial, resources, error: None, api_requests: 7, ..refused };
        let shown = show(&report);
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["resource", "status", "listed", "created", "updated", "deleted", "details", "rejected"]);
        assert_eq!(lines[1], ["contacts", "completed", "20", "3", "0", "0", "0", "0"]);
        assert_eq!(lines[2], ["deals", "failed", "0", "0", "0", "0", "0", "0"]);
        let below: Vec<&str> = shown.lines().skip(3).collect();
        assert_eq!(
            below,
            ["partial: 7 requests, 3 created, 0 updated, 0 deleted, 0 details", "deals: the list contradicts itself"]
        );
    }

    #[test]
    fn a_request_that_was_refused_has_its_reason_alone() {
        let account = "acme".parse().expect("valid");
        let shown = show(&RunReport::refused(&account, Uuid::nil(), "the id was used before"));
        assert_eq!(shown, "failed\nthe id was used before");
    }
}
