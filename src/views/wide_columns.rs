//! The columns of a view `…_wide`: their names, which follow the labels of their definitions, and their types.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::column::{Column, Type};
use super::custom_field::{CustomField, Part};
use super::ddl::Known;
use super::names::{self, quoted};

/// A column as it is stored in `teamleader2db.custom_field_column`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredColumn {
    pub(super) name: String,
    pub(super) label: String,
    pub(super) kind: String,
    pub(super) former_names: Vec<String>,
}

/// The columns by their definition.
pub(super) type Columns = BTreeMap<(Uuid, Part), StoredColumn>;

/// The columns as they are to be named: those with the label that they had keep their name, others get one that is none
/// of theirs, nor a column of the records.
pub(super) fn named(fields: &[&CustomField], stored: &Columns, of_records: &BTreeSet<String>) -> Columns {
    let wanted = fields.iter().flat_map(|field| field.parts().iter().map(move |part| (*field, *part)));
    // A name that becomes free is there for others, so that two labels can be swapped.
    let renamed: BTreeSet<(Uuid, Part)> = wanted
        .clone()
        .map(|(field, part)| ((field.id, part), &field.label))
        .filter(|(key, label)| stored.get(key).is_none_or(|column| column.label != **label))
        .map(|(key, _)| key)
        .collect();
    let mut named: Columns = stored.clone();
    named.retain(|key, _| !renamed.contains(key));
    let mut taken: BTreeSet<String> =
        of_records.iter().chain(named.values().map(|column| &column.name)).cloned().collect();
    for (field, part) in wanted.filter(|(field, part)| renamed.contains(&(field.id, *part))) {
        let key = (field.id, part);
        let name = names::of_custom_field(&field.label, part.ending(), &taken);
        taken.insert(name.clone());
        let mut former_names = stored.get(&key).map(|column| column.former_names.clone()).unwrap_or_default();
        if let Some(before) = stored.get(&key).filter(|before| before.name != name) {
            former_names.retain(|former| *former != name && *former != before.name);
            former_names.push(before.name.clone());
        }
        named.insert(key, StoredColumn { name, label: field.label.clone(), kind: String::new(), former_names });
    }
    for field in fields {
        for part in field.parts() {
            if let Some(column) = named.get_mut(&(field.id, *part)) {
                column.kind.clone_from(&field.kind);
            }
        }
    }
    named
}

/// The definitions of columns that have none any more: it was erased.
pub(super) fn erased<'a>(fields: &[&CustomField], stored: &'a Columns) -> impl Iterator<Item = CustomField> + 'a {
    let known: BTreeSet<Uuid> = fields.iter().map(|field| field.id).collect();
    let lost = stored.iter().filter(move |((id, part), _)| *part == Part::Value && !known.contains(id));
    lost.map(|((id, _), column)| CustomField {
        id: *id,
        account: None,
        context: String::new(),
        label: column.label.clone(),
        kind: column.kind.clone(),
        is_deleted: true,
    })
}

/// All columns of a view; and which of them are of another type than their definition has now, as a column's type
/// cannot change.
pub(super) fn columns(
    fields: &[&CustomField],
    named: &Columns,
    stored: &Columns,
    of_records: &[Known],
    there: &[Known],
) -> (Vec<Column>, Vec<String>) {
    let mut columns: Vec<Column> = of_records.iter().map(of_record).collect();
    let mut unlike = Vec::new();
    for field in fields {
        // A currency that it does not have any more, too.
        for part in [Part::Value, Part::Currency] {
            let key = (field.id, part);
            let Some(StoredColumn { name, former_names, .. }) = named.get(&key) else { continue };
            let wanted = if part == Part::Currency { Type::Text } else { field.value_type() };
            let before = stored.get(&key).and_then(|stored| there.iter().find(|known| known.name == stored.name));
            let had = before.and_then(|known| type_of(&known.kind));
            let kind = match had.filter(|had| had.as_sql() != wanted.as_sql()) {
                // Whatever it is now can be read as text.
                Some(Type::Text) => Type::Anything,
                Some(had) => had,
                None => wanted,
            };
            if kind.as_sql() != wanted.as_sql() {
                unlike.push(format!("{name} is {} still and not {}", kind.as_sql(), wanted.as_sql()));
            }
            let comment = field.comment(part, former_names);
            columns.push(Column::of_row(name, kind, &field.expression(part, kind), &comment));
        }
    }
    (columns, unlike)
}

/// A column of the records, as the view without custom fields has it.
fn of_record(known: &Known) -> Column {
    let kind = type_of(&known.kind).unwrap_or(Type::Anything);
    Column::of_row(&known.name, kind, &format!("r.{}", quoted(&known.name)), &known.comment)
}

/// The type that PostgreSQL writes so.
fn type_of(sql: &str) -> Option<Type> {
    use Type::{Boolean, Count, Date, Instant, Json, Number, Text, Texts, Time, Uuid};
    [Text, Texts, Number, Boolean, Uuid, Date, Instant, Time, Count, Json].into_iter().find(|kind| kind.as_sql() == sql)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(id: u128, label: &str, kind: &str) -> CustomField {
        CustomField {
            id: Uuid::from_u128(id),
            account: Some("acme".to_owned()),
            context: "contact".to_owned(),
            label: label.to_owned(),
            kind: kind.to_owned(),
            is_deleted: false,
        }
    }

    /// Names by id, after these definitions took the place of those that gave `stored`.
    fn names(fields: &[CustomField], stored: &Columns) -> (Vec<String>, Columns) {
        let of_records = BTreeSet::from(["id".to_owned(), "cf_mine".to_owned()]);
        let now = named(&fields.iter().collect::<Vec<_>>(), stored, &of_records);
        (now.values().map(|column| column.name.clone()).collect(), now)
    }

    #[test]
    fn a_column_follows_its_definition_and_not_its_label() {
        let (first, stored) = names(
            &[field(1, "Sector", "single_line"), field(2, "sector!", "date"), field(3, "Mine", "url")],
            &Columns::new(),
        );
        assert_eq!(first, ["cf_sector", "cf_sector_2", "cf_mine_2"]);
        let swapped = [field(1, "Branche", "single_line"), field(2, "Sector", "date"), field(3, "Mine", "url")];
        let (then, stored) = names(&swapped, &stored);
        assert_eq!(then, ["cf_branche", "cf_sector", "cf_mine_2"]);
        assert_eq!(stored[&(Uuid::from_u128(1), Part::Value)].former_names, ["cf_sector"]);
        let back = [field(1, "Sector", "single_line"), field(2, "Branche", "date"), field(3, "Mine", "url")];
        let (back, stored) = names(&back, &stored);
        assert_eq!(back, ["cf_sector", "cf_branche", "cf_mine_2"]);
        assert_eq!(stored[&(Uuid::from_u128(1), Part::Value)].former_names, ["cf_branche"]);
    }

    #[test]
    fn a_deleted_one_keeps_its_column() {
        let (_, stored) = names(&[field(1, "Sector", "single_line")], &Columns::new());
        let (left, _) = names(&[field(2, "Sector", "single_line")], &stored);
        assert_eq!(left, ["cf_sector", "cf_sector_2"]);
    }

    fn known(columns: &[(&str, &str)]) -> Vec<Known> {
        let one = |(name, kind): &(&str, &str)| Known {
            name: (*name).to_owned(),
            kind: (*kind).to_owned(),
            comment: String::new(),
        };
        columns.iter().map(one).collect()
    }

    #[test]
    fn a_name_that_becomes_free_does_not_bring_its_type() {
        let old = [field(1, "Sector", "single_line")];
        let (_, stored) = names(&old, &Columns::new());
        let now = [field(1, "Sector (old)", "single_line"), field(2, "Sector", "date")];
        let (_, named) = names(&now, &stored);
        let (columns, unlike) =
            columns(&now.iter().collect::<Vec<_>>(), &named, &stored, &[], &known(&[("cf_sector", "text")]));
        let made: Vec<(&str, Type)> = columns.iter().map(|column| (column.name.as_str(), column.kind)).collect();
        assert_eq!(made, [("cf_sector_old", Type::Text), ("cf_sector", Type::Date)]);
        assert!(unlike.is_empty(), "{unlike:?}");
    }

    #[test]
    fn what_is_money_no_more_keeps_the_column_of_its_currency() {
        let (_, stored) = names(&[field(1, "Budget", "money")], &Columns::new());
        let now = [field(1, "Budget", "single_line")];
        let (_, named) = names(&now, &stored);
        let there = known(&[("cf_budget", "numeric"), ("cf_budget_currency", "text")]);
        let (columns, unlike) = columns(&now.iter().collect::<Vec<_>>(), &named, &stored, &[], &there);
        let made: Vec<(&str, Type)> = columns.iter().map(|column| (column.name.as_str(), column.kind)).collect();
        assert_eq!(made, [("cf_budget", Type::Number), ("cf_budget_currency", Type::Text)]);
        assert_eq!(unlike, ["cf_budget is numeric still and not text"]);
    }

    #[test]
    fn money_has_a_column_for_its_currency() {
        let (made, _) = names(&[field(1, "Budget", "money"), field(2, "Budget", "money")], &Columns::new());
        assert_eq!(made, ["cf_budget", "cf_budget_currency", "cf_budget_2", "cf_budget_2_currency"]);
    }
}
