//! The fields that the blueprint documents for each endpoint, to notice when the API gives others.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use serde_json::Value;

use super::blueprint::{self, Documented, DocumentedField};
use super::derived::RESOURCES;
use super::kind::Kind;
use super::resource::Resource;

/// What one endpoint's records look like.
#[derive(Debug, Default)]
pub struct Shape {
    /// Fields that are there unasked, and those that were asked for.
    pub fields: Vec<Field>,
    /// Where the fields are that were asked for by `includes` and lie deeper (JSON pointers), with the include.
    pub deeper: Vec<(String, String)>,
}

/// A field of a record.
#[derive(Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What its value is, when it is not null; `None` where the blueprint does not say.
    pub kind: Option<Kind>,
    /// The include that brings it.
    pub include: Option<String>,
}

/// The shapes of a resource's list items and details.
#[derive(Debug, Default)]
pub struct Shapes {
    /// Of the list endpoint.
    pub list: Shape,
    /// Of the info endpoint.
    pub info: Shape,
}

impl Shapes {
    /// The shapes of a resource, as far as the blueprint documents them.
    pub fn of(resource: &Resource) -> &'static Self {
        static KNOWN: LazyLock<HashMap<&'static str, Shapes>> = LazyLock::new(|| {
            let shapes = |resource: &Resource| Shapes {
                list: shape(&resource.list_endpoint(), resource.list_includes),
                info: shape(&resource.info_endpoint(), resource.info_includes()),
            };
            RESOURCES.iter().map(|resource| (resource.name, shapes(resource))).collect()
        });
        static NONE: LazyLock<Shapes> = LazyLock::new(Shapes::default);
        KNOWN.get(resource.name).unwrap_or(&NONE)
    }
}

fn shape(endpoint: &str, includes: &[&str]) -> Shape {
    let record = &blueprint::endpoint(endpoint).record;
    let asked =
        |field: &DocumentedField| field.needs_include.as_deref().is_none_or(|include| includes.contains(&include));
    let fields = record.iter().filter(|(_, field)| asked(field)).map(|(name, field)| Field {
        name: name.clone(),
        kind: field.kind(),
        include: field.needs_include.clone(),
    });
    let mut deeper = Vec::new();
    for (name, field) in record {
        look_deeper(&format!("/{name}"), &field.fields, includes, &mut deeper);
    }
    Shape { fields: fields.collect(), deeper }
}

fn look_deeper(path: &str, fields: &Documented, includes: &[&str], found: &mut Vec<(String, String)>) {
    for (name, field) in fields {
        let path = format!("{path}/{name}");
        if let Some(include) = field.needs_include.as_deref().filter(|include| includes.contains(include)) {
            found.push((path.clone(), include.to_owned()));
        }
        look_deeper(&path, &field.fields, includes, found);
    }
}

impl Shape {
    /// The includes that were asked for and whose fields are documented, so that it shows whether they came.
    pub fn includes(&self) -> BTreeSet<&str> {
        let on_top = self.fields.iter().filter_map(|field| field.include.as_deref());
        on_top.chain(self.deeper.iter().map(|(_, include)| include.as_str())).collect()
    }

    /// Where the fields of the includes that were asked for are: their names, joined by `/`.
    pub fn paths_of_includes(&self) -> Vec<String> {
        let on_top = self.fields.iter().filter(|field| field.include.is_some()).map(|field| field.name.clone());
        on_top.chain(self.deeper.iter().map(|(path, _)| path.trim_start_matches('/').to_owned())).collect()
    }

    /// Whether any of these records has a field of this include. `missing`: the fields that are in none of them.
    pub fn has_come(&self, include: &str, missing: &[&Field], records: &[&str]) -> bool {
        let has = |path: &str, json: &&str| {
            serde_json::from_str::<Value>(json).is_ok_and(|record| record.pointer(path).is_some())
        };
        let of_include = |field: &&Field| field.include.as_deref() == Some(include);
        let on_top = self.fields.iter().filter(of_include).any(|field| !missing.contains(&field));
        // Parsed only where the blueprint documents such fields, and only up to the first record that has one.
        let mut paths = self.deeper.iter().filter(|(_, known)| known == include);
        !records.is_empty() && (on_top || paths.any(|(path, _)| records.iter().any(|json| has(path, json))))
    }
}
