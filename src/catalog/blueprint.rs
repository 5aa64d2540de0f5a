//! The API's blueprint, as it was drawn up: what each endpoint's records look like.

use std::collections::HashMap;
use std::sync::LazyLock;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

use super::Resource;
use super::shape::Kind;

#[derive(Deserialize)]
struct Blueprint {
    endpoints: HashMap<String, Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(default)]
    record: Drawn,
}

/// Fields by name, in the blueprint's order.
pub(super) type Drawn = IndexMap<String, DrawnField>;

/// A field as it is drawn.
#[derive(Clone, Deserialize)]
pub(super) struct DrawnField {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) fields: Drawn,
    pub(super) needs_include: Option<String>,
    example: Option<String>,
    #[serde(default, rename = "enum")]
    members: Vec<Value>,
}

static BLUEPRINT: LazyLock<Blueprint> = LazyLock::new(|| {
    // A test reads it: whoever starts the program meets no other file than the test did.
    serde_json::from_str(include_str!("../../simulator/data/endpoints.json"))
        .unwrap_or(Blueprint { endpoints: HashMap::new() })
});

/// The record of an endpoint, if it is drawn.
pub(super) fn record(endpoint: &str) -> Option<&'static Drawn> {
    BLUEPRINT.endpoints.get(endpoint).map(|endpoint| &endpoint.record)
}

impl DrawnField {
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

/// A field of what is stored of a record: of the list item, of the detail, or of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// What its value is when it is not null; `None` where the blueprint does not say.
    pub kind: Option<Kind>,
    /// Whether its type has a name that the blueprint does not define.
    pub is_undefined: bool,
    /// Of a list: whether its elements are plain values.
    pub holds_values: bool,
    /// The values that it can have, where they are drawn.
    pub values: Vec<String>,
    /// A value.
    pub example: Option<String>,
    /// Whether the detail alone tells it.
    pub only_in_detail: bool,
    /// The fields of an object, or of the objects in a list.
    pub members: Vec<Self>,
}

/// The fields of what a sync stores of a resource's records, in the blueprint's order: those of the list, then those that the detail adds.
pub fn members(resource: &Resource) -> Vec<Member> {
    let list = asked(&resource.list_endpoint(), resource.list_includes);
    let info = asked(&resource.info_endpoint(), resource.info_includes());
    merged(list, info, false)
}

/// What comes with these includes.
fn asked(endpoint: &str, includes: &[&str]) -> Drawn {
    fn left(drawn: &Drawn, includes: &[&str]) -> Drawn {
        let asked =
            |field: &DrawnField| field.needs_include.as_deref().is_none_or(|include| includes.contains(&include));
        let cut = |field: &DrawnField| DrawnField { fields: left(&field.fields, includes), ..field.clone() };
        drawn.iter().filter(|(_, field)| asked(field)).map(|(name, field)| (name.clone(), cut(field))).collect()
    }
    record(endpoint).map(|drawn| left(drawn, includes)).unwrap_or_default()
}

fn merged(list: Drawn, mut info: Drawn, only_in_detail: bool) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    for (name, listed) in list {
        let detailed = info.shift_remove(&name);
        members.push(member(name, Some(listed), detailed, only_in_detail));
    }
    members.extend(info.into_iter().map(|(name, detailed)| member(name, None, Some(detailed), true)));
    members
}

fn member(name: String, listed: Option<DrawnField>, detailed: Option<DrawnField>, only_in_detail: bool) -> Member {
    let drawn: Vec<&DrawnField> = listed.iter().chain(&detailed).collect();
    let values = drawn.iter().map(|field| &field.members).max_by_key(|members| members.len());
    let in_words = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Member {
        kind: drawn.iter().find_map(|field| field.kind()),
        is_undefined: drawn.iter().any(|field| field.kind.is_some() && field.kind().is_none()),
        holds_values: drawn.iter().any(|field| {
            field.kind.as_deref().is_some_and(|kind| kind.starts_with("array[string") || kind.starts_with("array[enum"))
        }),
        values: values.into_iter().flatten().map(in_words).collect(),
        example: drawn.iter().find_map(|field| field.example.clone()),
        only_in_detail,
        name,
        members: merged(
            listed.map(|field| field.fields).unwrap_or_default(),
            detailed.map(|field| field.fields).unwrap_or_default(),
            only_in_detail,
        ),
    }
}
