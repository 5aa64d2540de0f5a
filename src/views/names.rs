//! Names of views and columns.

use std::collections::BTreeSet;

/// PostgreSQL cuts a longer name.
const MAX_BYTES: usize = 63;

pub use crate::catalog::{snake_case, table};

/// What one record of a table is called: `company` of `companies`.
pub(super) fn singular(table: &str) -> String {
    match table {
        "units_of_measure" => "unit_of_measure".to_owned(),
        "users_days_off" => "user_day_off".to_owned(),
        "tickets_messages" => "ticket_message".to_owned(),
        _ if table.ends_with("status") => table.to_owned(),
        _ => match (table.strip_suffix("ies"), table.strip_suffix('s')) {
            (Some(stem), _) => format!("{stem}y"),
            (None, Some(stem)) => stem.to_owned(),
            (None, None) => table.to_owned(),
        },
    }
}

/// The column that names a record of a table: `company_id` of `companies`, `task_id` of `projects_v2_tasks`.
pub(super) fn id_column(table: &str) -> String {
    let singular = singular(table);
    format!("{}_id", singular.strip_prefix("projects_v2_").unwrap_or(&singular))
}

/// A column's name for a custom field with this label, and this ending, that is none of `taken`: lower case, a
/// character that is neither letter nor digit as `_`, a number behind where others have the name already.
pub(super) fn of_custom_field(label: &str, ending: &str, taken: &BTreeSet<String>) -> String {
    let mut words = String::new();
    for c in label.chars() {
        if c.is_alphanumeric() {
            words.extend(c.to_lowercase());
        } else if !words.is_empty() && !words.ends_with('_') {
            words.push('_');
        }
    }
    let words = words.trim_end_matches('_');
    let words = if words.is_empty() { "unnamed" } else { words };
    let numbered = |number: usize| {
        let ending = if number == 1 { ending.to_owned() } else { format!("_{number}{ending}") };
        let room = MAX_BYTES - "cf_".len() - ending.len();
        format!("cf_{}{ending}", words[..words.floor_char_boundary(room)].trim_end_matches('_'))
    };
    (1..).map(numbered).find(|name| !taken.contains(name)).unwrap_or_default()
}

/// An identifier in SQL, whatever it holds.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL, whatever it holds and whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    let text = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", text.replace('\\', "\\\\")) } else { format!("'{text}'") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tables_and_their_records_have_the_names_that_people_use() {
        for (resource, in_table, record, id) in [
            ("companies", "companies", "company", "company_id"),
            (
                "customFieldDefinitions",
                "custom_field_definitions",
                "custom_field_definition",
                "custom_field_definition_id",
            ),
            ("users.daysOff", "users_days_off", "user_day_off", "user_day_off_id"),
            ("projects-v2/projectLines", "projects_v2_project_lines", "projects_v2_project_line", "project_line_id"),
            ("ticketStatus", "ticket_status", "ticket_status", "ticket_status_id"),
            ("timeTracking", "time_tracking", "time_tracking", "time_tracking_id"),
            ("deals", "deals", "deal", "deal_id"),
        ] {
            let name = table(resource);
            assert_eq!((name.as_str(), singular(&name).as_str(), id_column(&name).as_str()), (in_table, record, id));
        }
    }

    #[test]
    fn equal_labels_have_distinct_columns() {
        let mut taken = BTreeSet::new();
        for (label, name) in [
            ("Klant sinds", "cf_klant_sinds"),
            ("klant-SINDS?", "cf_klant_sinds_2"),
            ("Été 2024 (€)", "cf_été_2024"),
            ("?!", "cf_unnamed"),
            ("", "cf_unnamed_2"),
            ("a\"; drop table x; --", "cf_a_drop_table_x"),
        ] {
            let made = of_custom_field(label, "", &taken);
            assert_eq!(made, name);
            taken.insert(made);
        }
        assert_eq!(of_custom_field("Budget", "_currency", &taken), "cf_budget_currency");
    }

    proptest! {
        #[test]
        fn names_have_no_more_bytes_than_postgresql_keeps(labels in prop::collection::vec(".{0,90}", 1..40)) {
            let mut taken = BTreeSet::new();
            for label in labels {
                let name = of_custom_field(&label, "_currency", &taken);
                prop_assert!(name.len() <= MAX_BYTES && name.starts_with("cf_"), "{name}");
                prop_assert!(taken.insert(name));
            }
        }
    }
}
