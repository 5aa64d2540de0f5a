//! Custom fields as their definitions have them, and how their values are read.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;
use uuid::Uuid;

use super::column::{Place, Type};
use super::model::CUSTOM_FIELDS;
use super::names::literal;
use crate::api_client::answer::Record;
use crate::catalog::{self, Resource};
use crate::store::pool::StoreError;

/// A custom field, as its definition has it.
#[derive(Clone, Debug)]
pub(super) struct CustomField {
    pub(super) id: Uuid,
    /// `None` where its record was erased.
    pub(super) account: Option<String>,
    pub(super) context: String,
    pub(super) label: String,
    pub(super) kind: String,
    pub(super) is_deleted: bool,
}

/// The types whose value is another record.
pub(super) const REFERENCES: [&str; 4] = ["company", "contact", "product", "user"];

/// All of them, the deleted ones too, in the order in which this copy met them.
pub(super) async fn custom_fields(connection: &mut PgConnection) -> Result<Vec<CustomField>, StoreError> {
    // Two accounts here can be one at Teamleader: their definitions are the same.
    let fields = sqlx::query_as!(
        CustomField,
        r#"select id as "id!", account as "account?", content ->> 'context' as "context!", "#
            + r#"coalesce(content ->> 'label', '') as "label!",
             coalesce(content ->> 'type', '') as "kind!", deleted_at is not null as "is_deleted!"
         from (select distinct on (id) * from teamleader.record
               where resource = 'customFieldDefinitions' and content ->> 'context' is not null
               order by id, deleted_at is not null, account) one
         order by first_seen_at, id"#
    )
    .fetch_all(connection)
    .await?;
    Ok(fields)
}

/// Reports definitions whose context is that of no resource [seen live 2026: `meeting_report`, `pro_external_cost`,
/// `werkbonnen`]: their values are in no record, so they have no column.
pub fn contexts_of_no_resource(resource: &Resource, records: &[Record]) -> BTreeSet<String> {
    if resource.name != "customFieldDefinitions" {
        return BTreeSet::new();
    }
    #[derive(serde::Deserialize)]
    struct Definition {
        context: Option<String>,
    }
    let contexts = records.iter().filter_map(|record| serde_json::from_str::<Definition>(&record.json).ok()?.context);
    let is_of_none = |context: &String| catalog::named(context).is_none();
    let in_words =
        |context: String| format!("the context {context} is of no resource: its custom fields have no column");
    contexts.filter(is_of_none).map(in_words).collect()
}

impl CustomField {
    /// Whether records of this resource have it. Contexts are named like references, those of deals, tasks and calls
    /// also `sale`, `todo` and `callback` [seen live 2026]; `project` and `task` are those of both kinds of projects.
    pub(super) fn is_of(&self, resource: &Resource) -> bool {
        let of_v2 = |name: &'static str| resource.name == format!("projects-v2/{name}");
        catalog::named(&self.context).is_some_and(|name| name == resource.name || of_v2(name))
    }

    /// What its columns show: the value, and beside a sum of money its currency.
    pub(super) fn parts(&self) -> &'static [Part] {
        if self.kind == "money" { &[Part::Value, Part::Currency] } else { &[Part::Value] }
    }

    pub(super) fn value_type(&self) -> Type {
        value_type(&self.kind)
    }

    pub(super) fn expression(&self, part: Part, kind: Type) -> String {
        // A UUID has nothing that would have to be quoted.
        let value = format!(
            "jsonb_path_query_first(r.{CUSTOM_FIELDS}, '$[*] ? (@.definition.id == \"{}\").value', '{{}}', true)",
            self.id
        );
        read(&self.kind, part, &value, kind)
    }

    pub(super) fn comment(&self, part: Part, former_names: &[String]) -> String {
        let what = if part == Part::Currency { "The currency of the custom field" } else { "Custom field" };
        let of_account = self.account.as_ref().map(|account| format!(" of the account {account}")).unwrap_or_default();
        let mut comment = format!("{what} \"{}\" ({}){of_account}.", self.label, self.kind);
        if !former_names.is_empty() {
            comment.push_str(&format!(" Formerly {}.", former_names.join(", ")));
        }
        if self.is_deleted {
            comment.push_str(" Deleted in Teamleader.");
        }
        comment
    }
}

/// What the value of a custom field of this type is shown as.
fn value_type(of: &str) -> Type {
    match of {
        "multi_select" => Type::Texts,
        "date" => Type::Date,
        "money" | "auto_increment" | "integer" | "number" => Type::Number,
        "boolean" => Type::Boolean,
        of if REFERENCES.contains(&of) => Type::Uuid,
        "single_line" | "multi_line" | "single_select" | "email" | "telephone" | "url" => Type::Text,
        // A type that is not documented.
        _ => Type::Anything,
    }
}

/// Reads a part of `value`, which is of a custom field of this type, as `kind`. A sum and a reference may be an object,
/// or a plain value.
fn read(of: &str, part: Part, value: &str, kind: Type) -> String {
    let at = |key: Option<&str>| Place::new(value, key.as_slice());
    let within = match (part, value_type(of)) {
        (Part::Currency, _) => return at(Some("currency")).read_as(kind),
        (Part::Value, Type::Number) if of == "money" => "amount",
        (Part::Value, Type::Uuid) => "id",
        (Part::Value, _) => return at(None).read_as(kind),
    };
    format!("coalesce({}, {})", at(Some(within)).read_as(kind), at(None).read_as(kind))
}

/// When `value`, of a custom field whose type stands in `of`, is none of that type, in SQL.
pub(super) fn is_unreadable(of: &str, value: &str) -> String {
    let mut types: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let definitions = catalog::find("customFieldDefinitions").map(catalog::members).unwrap_or_default();
    for known in definitions.iter().filter(|member| member.name == "type").flat_map(|member| &member.values) {
        let sql = read(known, Part::Value, value, value_type(known));
        types.entry(sql).or_default().push(literal(known));
    }
    let cases: Vec<String> = types
        .into_iter()
        .map(|(sql, known)| format!("when {of} in ({}) then {sql} is null", known.join(", ")))
        .collect();
    format!("{value} <> 'null' and case {} else false end", cases.join(" "))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Value,
    Currency,
}

impl Part {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Currency => "currency",
        }
    }

    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Value => "",
            Self::Currency => "_currency",
        }
    }
}
