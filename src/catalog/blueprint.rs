//! The API's blueprint, its documents as data: the fields of each endpoint's records.

use std::collections::HashMap;
use std::sync::LazyLock;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

use super::kind::Kind;

#[derive(Deserialize)]
struct Blueprint {
    endpoints: HashMap<String, Endpoint>,
    webhook_types: Vec<String>,
}

/// What the documents say of an endpoint.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Endpoint {
    /// The fields of a record.
    pub(super) record: Documented,
    /// What it can be asked for.
    pub(super) filter: Documented,
    /// Parameters beside the filter.
    pub(super) parameters: Documented,
    /// What can be asked for besides.
    pub(super) includes: Vec<String>,
    /// By what it can be sorted.
    pub(super) sort: Option<Sort>,
    /// Whether `meta.matches` is declared.
    pub(super) matches: Option<String>,
}

/// How a list can be sorted.
#[derive(Deserialize)]
pub(super) struct Sort {
    /// By which fields.
    pub(super) fields: Vec<String>,
    /// In which orders, where not in both.
    pub(super) orders: Option<Vec<String>>,
}

/// Fields by name, in the blueprint's order.
pub(super) type Documented = IndexMap<String, DocumentedField>;

/// A field as it is documented.
#[derive(Clone, Default, Deserialize)]
pub(super) struct DocumentedField {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) fields: Documented,
    pub(super) needs_include: Option<String>,
    #[serde(default)]
    pub(super) nullable: bool,
    pub(super) example: Option<String>,
    #[serde(default, rename = "enum")]
    pub(super) members: Vec<Value>,
    /// Values that are not documented and were seen.
    #[serde(default)]
    pub(super) enum_live: Vec<Value>,
    /// Its former name.
    pub(super) renamed_from: Option<String>,
}

static BLUEPRINT: LazyLock<Blueprint> = LazyLock::new(|| {
    // A test reads it, and the program is built with the same file.
    serde_json::from_str(include_str!("../../simulator/data/endpoints.json"))
        .unwrap_or(Blueprint { endpoints: HashMap::new(), webhook_types: Vec::new() })
});

/// The types of webhooks.
pub(super) fn webhook_types() -> &'static [String] {
    &BLUEPRINT.webhook_types
}

/// What the documents say of an endpoint; nothing of one that they do not have.
pub(super) fn endpoint(name: &str) -> &'static Endpoint {
    static NONE: LazyLock<Endpoint> = LazyLock::new(Endpoint::default);
    BLUEPRINT.endpoints.get(name).unwrap_or(&NONE)
}

impl DocumentedField {
    /// The values that it can have, where they are documented as texts.
    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.members.iter().filter_map(Value::as_str)
    }

    /// A value.
    pub(super) fn example(&self) -> Option<&str> {
        self.example.as_deref()
    }

    /// Whether it takes several values.
    pub(super) fn is_list(&self) -> bool {
        self.kind.as_deref().is_some_and(|kind| kind.starts_with("array"))
    }

    /// A date that this program writes.
    pub(super) fn of_date() -> Self {
        let (kind, example) = (Some("string".to_owned()), Some("2026-06-01".to_owned()));
        Self { kind, example, ..Self::default() }
    }

    /// What its value is when it is not null; `None` where the blueprint does not say.
    pub(super) fn kind(&self) -> Option<Kind> {
        let name = self.kind.as_deref().unwrap_or_default();
        match name {
            _ if name.starts_with("array") => Some(Kind::Array),
            "enum[number]" | "number" => Some(Kind::Number),
            "string" | "Currency" => Some(Kind::Text),
            _ if name.starts_with("enum") => Some(Kind::Text),
            "boolean" => Some(Kind::Boolean),
            "object" => Some(Kind::Object),
            _ if !self.fields.is_empty() => Some(Kind::Object),
            // A name without a definition: it may be anything.
            _ => None,
        }
    }
}
