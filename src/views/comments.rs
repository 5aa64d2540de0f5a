//! What columns say of themselves: what a field holds, in which unit, and what null means.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::column::{Column, Type};

/// What fields hold, by the end of their path, as `meanings.txt` has it.
static MEANINGS: LazyLock<BTreeMap<&'static str, &'static str>> = LazyLock::new(|| {
    let lines = include_str!("meanings.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(" = ")).collect()
});

/// What a field of a resource holds, by its path from the record down; `None` where nothing is known but its name.
pub(super) fn meaning(resource: &str, path: &[String]) -> Option<&'static str> {
    found(resource, path).map(|(_, text)| text)
}

/// The entry that fits: one of the resource before others, a longer path before a shorter one.
fn found(resource: &str, path: &[String]) -> Option<(&'static str, &'static str)> {
    let ends = || (0..path.len()).map(|from| path[from..].join("."));
    let own = ends().map(|end| format!("{resource}:{end}"));
    own.chain(ends()).find_map(|end| MEANINGS.get_key_value(end.as_str()).map(|(end, text)| (*end, *text)))
}

/// Adds what stands in the column beside: the currency of an amount, the unit of a value.
pub(super) fn add_units(columns: &mut [Column]) {
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    let has = |name: &str| names.iter().any(|known| known == name);
    for column in columns {
        let beside = |ending: &str, other: &str| {
            let beside = format!("{}_{other}", column.name.strip_suffix(ending)?.strip_suffix('_')?);
            has(&beside).then_some(beside)
        };
        let sentence = if let Some(currency) = beside("amount", "currency") {
            format!("In {currency}.")
        } else if let Some(amount) = beside("currency", "amount") {
            format!("The currency of {amount}, as three letters.")
        } else if let Some(unit) = beside("value", "unit").filter(|_| column.kind == Type::Number) {
            format!("In {unit}.")
        } else if let Some(value) = beside("unit", "value") {
            format!("The unit of {value}.")
        } else {
            continue;
        };
        column.comment.push(' ');
        column.comment.push_str(&sentence);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::definitions::definitions;
    use super::*;
    use crate::catalog::{self, Member, RESOURCES};

    #[test]
    fn no_column_says_its_path_alone() {
        for view in definitions() {
            for column in &view.columns {
                let mut words = column.comment.split_whitespace();
                let first = words.next().unwrap_or_default();
                let is_path = first.starts_with(|c: char| c.is_ascii_lowercase()) && first.ends_with('.');
                let rest = words.count();
                assert!(rest >= if is_path { 2 } else { 1 }, "{}.{}: {}", view.name, column.name, column.comment);
            }
        }
    }

    #[test]
    fn an_amount_says_its_currency_and_a_rate_that_its_direction_is_unknown() {
        let comment = |view: &str, name: &str| {
            let views = definitions();
            let of_view = views.into_iter().find(|known| known.name == view).expect("a view");
            of_view.columns.into_iter().find(|column| column.name == name).expect("a column").comment
        };
        for (view, name, said) in [
            ("invoices", "total_due_amount", "In total_due_currency."),
            ("invoices", "total_due_currency", "The currency of total_due_amount, as three letters."),
            ("invoices", "currency_exchange_rate_rate", "Its direction is not documented"),
            ("invoice_taxes", "rate", "0.21 is 21 percent."),
            ("invoice_lines", "discount_value", "in percent"),
            ("time_tracking", "duration", "in seconds"),
            ("projects_v2_projects", "time_budget_value", "In time_budget_unit."),
            ("invoices", "note", "null while _detail_at is"),
            ("invoices", "paid_at", "Null where there is none."),
            ("revenue", "exchange_rate", "not documented"),
        ] {
            let comment = comment(view, name);
            assert!(comment.contains(said), "{view}.{name}: {comment}");
        }
        for view in definitions() {
            let names: BTreeSet<&str> = view.columns.iter().map(|column| column.name.as_str()).collect();
            for column in view.columns.iter().filter(|column| column.kind == Type::Number) {
                let currency = column.name.strip_suffix("amount").map(|stem| format!("{stem}currency"));
                let has = currency.is_some_and(|currency| names.contains(currency.as_str()));
                assert!(!has || column.comment.contains("urrency"), "{}.{}", view.name, column.name);
            }
        }
    }

    #[test]
    fn each_meaning_is_of_a_field_that_there_is() {
        fn gather(resource: &str, path: &[String], members: &[Member], used: &mut BTreeSet<&'static str>) {
            for member in members {
                let path = [path, std::slice::from_ref(&member.name)].concat();
                used.extend(found(resource, &path).map(|(end, _)| end));
                gather(resource, &path, &member.members, used);
            }
        }
        let mut used = BTreeSet::new();
        for resource in RESOURCES.iter() {
            gather(resource.name, &[], &catalog::members(resource), &mut used);
        }
        let unused: Vec<_> = MEANINGS.keys().filter(|end| !used.contains(*end)).collect();
        assert!(unused.is_empty(), "of no field: {unused:?}");
    }
}
