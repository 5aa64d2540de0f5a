//! The views that are of no one resource, and those of custom fields' values.

use super::column::{Column, Place, Type};
use super::custom_field::{self, REFERENCES};
use super::model::{View, has_custom_fields};
use super::names::{self, id_column, literal, quoted, singular};
use crate::catalog::RESOURCES;

/// A view that is written by hand.
pub(super) struct Fixed {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    pub(super) source: String,
    pub(super) comment: String,
}

/// The accounts.
pub(super) fn accounts() -> Fixed {
    let zone = "(select mode() within group (order by u.content ->> 'time_zone') from teamleader.users u \
                where u.account = r.account and u.deleted_at is null and jsonb_typeof(u.content -> 'time_zone') \
                = 'string')";
    Fixed {
        name: "account".to_owned(),
        columns: vec![
            Column::account(),
            Column::of_row("teamleader_id", Type::Uuid, "r.teamleader_account", "Teamleader's id of the account."),
            Column::of_row(
                "authorized_by",
                Type::Text,
                "r.authorized_by",
                "First and last name of who authorized; null while nobody has.",
            ),
            Column::of_row(
                "time_zone",
                Type::Text,
                zone,
                "The time zone that most of the account's users have set: the one that local dates are of.",
            ),
        ],
        source: "teamleader2db.oauth_token r".to_owned(),
        comment: "The Teamleader accounts that are copied.".to_owned(),
    }
}

/// How fresh the views of each resource are.
pub(super) fn freshness() -> Fixed {
    let names: Vec<String> = RESOURCES
        .iter()
        .map(|resource| format!("({}, {})", literal(resource.name), literal(&names::table(resource.name))))
        .collect();
    Fixed {
        name: "freshness".to_owned(),
        columns: vec![
            Column::account(),
            Column::of_row("resource", Type::Text, "r.resource", "The resource."),
            Column::of_row("view", Type::Text, "r.name", "Its view in schema teamleader_views."),
            Column::of_row(
                "last_success_at",
                Type::Instant,
                "r.last_success_at",
                "When a sync last completed this resource. Null: none ever has.",
            ),
            Column::of_row(
                "last_full_at",
                Type::Instant,
                "r.last_full_at",
                "When one last read all of it and found its deletions. Null: none ever has.",
            ),
        ],
        source: format!(
            "(select a.account, v.resource, v.name, c.last_success_at, c.last_full_at \
             from (select account from teamleader2db.oauth_token union select account from teamleader2db.cursor) a \
             cross join (values {}) as v (resource, name) \
             left join teamleader2db.cursor c on c.account = a.account and c.resource = v.resource) r",
            names.join(", ")
        ),
        comment: "When each resource of each account was last synced, those included that never were.".to_owned(),
    }
}

/// The list `custom_fields` of a row.
pub(super) const VALUES: &str = "(r.content #> '{custom_fields}')";

/// Joins its elements to the row.
pub(super) const EACH_VALUE: &str = "cross join lateral jsonb_array_elements(case when \
                                     jsonb_typeof(r.content #> '{custom_fields}') = 'array' then r.content #> \
                                     '{custom_fields}' end) with ordinality as e (value, position)";

/// Joins the definition that has this id, in the account of a row of this alias.
pub(super) fn definition(of: &str, id: &str) -> String {
    format!(
        "left join teamleader.custom_field_definitions d on d.resource = 'customFieldDefinitions' \
         and d.account = {of}.account and d.id = {id}"
    )
}

/// The values of custom fields of the records of a view, a row a value.
pub(super) fn custom_fields(of: &View) -> Fixed {
    Fixed {
        name: format!("{}_custom_fields", singular(&of.name)),
        columns: columns_of_values(of),
        source: format!(
            "teamleader.{} r {EACH_VALUE} {} where r.resource = {} and r.deleted_at is null",
            of.name,
            definition("r", &in_element(&["definition", "id"]).read_as(Type::Uuid)),
            literal(of.resource.name)
        ),
        comment: format!("The values of custom fields of each record of {}, a row a value.", of.name),
    }
}

/// A place in an element of the list `custom_fields`.
fn in_element(keys: &[&str]) -> Place {
    Place::new("e.value", keys)
}

fn columns_of_values(of: &View) -> Vec<Column> {
    let column = |name: &str, kind, expression: &str, comment: &str| Column::of_row(name, kind, expression, comment);
    let read = |keys: &[&str], kind| in_element(keys).read_as(kind);
    let record = format!("The record of {}.", of.name);
    let number = format!("coalesce({}, {})", read(&["value"], Type::Number), read(&["value", "amount"], Type::Number));
    // A reference may be an object, or the id alone; a text is no reference, though it looks like one.
    let references = REFERENCES.map(literal).join(", ");
    let id = format!(
        "coalesce({}, case when d.content ->> 'type' in ({references}) then {} end)",
        read(&["value", "id"], Type::Uuid),
        read(&["value"], Type::Uuid)
    );
    let date = format!("case when d.content ->> 'type' = 'date' then {} end", read(&["value"], Type::Date));
    let (currency, kind) = (read(&["value", "currency"], Type::Text), read(&["value", "type"], Type::Text));
    let definition = read(&["definition", "id"], Type::Uuid);
    let no_label = "The definition's label; null where this copy has no such definition.";
    let (text, boolean) = (read(&["value"], Type::Text), read(&["value"], Type::Boolean));
    let texts = read(&["value"], Type::Texts);
    vec![
        Column::account(),
        Column { refers_to: vec![of.resource.name], ..column(&id_column(&of.name), Type::Uuid, "r.id", &record) },
        column("position", Type::Count, "e.position", "The place in the list, from 1."),
        Column {
            refers_to: vec!["customFieldDefinitions"],
            ..column("definition_id", Type::Uuid, &definition, "The definition.")
        },
        column("label", Type::Text, "d.content ->> 'label'", no_label),
        column("type", Type::Text, "d.content ->> 'type'", "The definition's type."),
        column("value_text", Type::Text, &text, "A text, number or boolean, as text."),
        column("value_number", Type::Number, &number, "A number, or the amount of a sum of money."),
        column("value_currency", Type::Text, &currency, "The currency of a sum of money."),
        column("value_boolean", Type::Boolean, &boolean, "Yes or no."),
        column("value_date", Type::Date, &date, "A local date, of a definition of type date."),
        column("value_texts", Type::Texts, &texts, "The choices of a multi_select."),
        column("value_id", Type::Uuid, &id, "The record that it names."),
        column("value_type", Type::Text, &kind, "What the record is that it names."),
        column("_changed_at", Type::Instant, "r.changed_at", "When the record last changed in this copy."),
    ]
}

/// The values in the records that the views cannot show, and show as null.
pub(super) fn problems(views: &[View]) -> Fixed {
    let mut branches = Vec::new();
    for view in views {
        let columns = view.columns.iter().filter_map(|column| Some((column.name.clone(), column.unreadable.clone()?)));
        branches.extend(counted(&view.name, &view.source, columns.chain(view.misshapen.iter().cloned()).collect()));
        if !view.is_child && has_custom_fields(view.resource) {
            let values = custom_fields(view);
            let cases = vec![
                ("value".to_owned(), custom_field::is_unreadable("d.content ->> 'type'", "(e.value -> 'value')")),
                ("custom_fields".to_owned(), "jsonb_typeof(e.value) <> 'object'".to_owned()),
            ];
            branches.extend(counted(&values.name, &values.source, cases));
        }
    }
    let column = |name: &str, kind, comment: &str| Column::of_row(name, kind, &format!("r.{}", quoted(name)), comment);
    Fixed {
        name: "problems".to_owned(),
        columns: vec![
            Column::account(),
            column("view", Type::Text, "The view."),
            column(
                "column",
                Type::Text,
                "The column that is null; or the field that is no list or no object, or has an element that is none.",
            ),
            column("values", Type::Count, "How many."),
            column("example_id", Type::Uuid, "One of the records; what it holds is in schema teamleader."),
        ],
        source: format!("({}) r", branches.join("\nunion all\n")),
        comment:
            "Values that are not of the type that the API documents, and so are null in a view. It reads all records: \
                  name the view."
                .to_owned(),
    }
}

/// Counts the rows of a view's source for which each of these is so; `None` where there are none.
fn counted(view: &str, source: &str, cases: Vec<(String, String)>) -> Option<String> {
    if cases.is_empty() {
        return None;
    }
    let cases: Vec<String> = cases.iter().map(|(name, when)| format!("({}, {when})", literal(name))).collect();
    let (from, condition) = source.split_once(" where ")?;
    Some(format!(
        "select r.account, {} as \"view\", p.name as \"column\", count(*) as \"values\", \
         min(r.id::text)::uuid as example_id \
         from {from} cross join lateral (values {}) as p (name, is_unreadable) \
         where {condition} and r.deleted_at is null and p.is_unreadable group by r.account, p.name",
        literal(view),
        cases.join(", ")
    ))
}
