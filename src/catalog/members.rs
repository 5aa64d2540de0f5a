//! The fields of a resource's stored records, as the API's documents have them.

use serde_json::Value;

use super::blueprint::{self, Documented, DocumentedField};
use super::kind::Kind;
use super::resource::{Resource, Scope, list_endpoint};
use super::resources::{FORMERLY, FORMERLY_PLAIN};

/// A field of a stored record: of the list item, of the detail, or of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// What its column is called, if not like the field.
    pub column: Option<String>,
    /// What its value is when it is not null; `None` where the blueprint does not say.
    pub kind: Option<Kind>,
    /// Whether its type has a name that the blueprint does not define.
    pub is_undefined: bool,
    /// Of a list: whether its elements are plain values.
    pub holds_values: bool,
    /// The values that it can have, where they are documented.
    pub values: Vec<String>,
    /// A value.
    pub example: Option<String>,
    /// Whether it, or what it lies in, is documented as null at times.
    pub is_nullable: bool,
    /// Whether only the detail has it.
    pub only_in_detail: bool,
    /// Where in a record older answers have it, as keys on the way down; empty where it was always here.
    pub formerly: Vec<String>,
    /// Of a list: the field that older answers give alone in the place of an element.
    pub formerly_plain: Option<&'static str>,
    /// What the documents called it before.
    pub renamed_from: Option<String>,
    /// The fields of an object, or of the objects in a list.
    pub members: Vec<Self>,
}

/// The fields that a sync stores of a resource's records, in the blueprint's order: those of the list, then those that
/// the detail adds.
pub fn members(resource: &Resource) -> Vec<Member> {
    let info = asked(&resource.info_endpoint(), resource.info_includes());
    let mut list = asked(&resource.list_endpoint(), resource.list_includes);
    match resource.scope {
        Scope::Stored([of, ..]) => list = stored(of.resource, &info),
        Scope::Week => list.extend(["from", "until"].map(|name| (name.to_owned(), DocumentedField::of_date()))),
        _ => {}
    }
    let mut members = merged(list, info, false);
    with_former(&mut members, resource.name);
    members
}

/// The fields that a record of a resource without a list has of the row that names it, but for its id.
pub fn shared_fields(resource: &Resource) -> Vec<String> {
    let info = asked(&resource.info_endpoint(), resource.info_includes());
    let of = resource.parents().first().map(|of| stored(of.resource, &info)).unwrap_or_default();
    of.into_keys().filter(|name| name != "id").collect()
}

/// What a record of a resource without a list has of the row that names it: what both have.
fn stored(of: &str, info: &Documented) -> Documented {
    let shared = |(name, _): &(&String, &DocumentedField)| info.contains_key(*name);
    let own = info.get("id").map(|id| ("id".to_owned(), id.clone()));
    let row = blueprint::endpoint(&list_endpoint(of)).record.iter().filter(shared);
    own.into_iter().chain(row.map(|(name, field)| (name.clone(), field.clone()))).collect()
}

/// Notes where older answers have fields, by their documented names and by [`FORMERLY`]. A field that was renamed keeps
/// its former name beside the new one.
fn with_former(members: &mut Vec<Member>, resource: &str) {
    for (_, path, before) in FORMERLY.iter().filter(|(of, ..)| *of == resource) {
        if let Some(member) = at(members, path) {
            member.set_formerly(before.split('.').map(str::to_owned).collect());
        }
    }
    for (_, path, field) in FORMERLY_PLAIN.iter().filter(|(of, ..)| *of == resource) {
        if let Some(member) = at(members, path) {
            member.formerly_plain = Some(field);
        }
    }
    let mut renamed: Vec<Member> = Vec::new();
    for member in members.iter_mut() {
        if let Some(before) = member.renamed_from.clone() {
            member.set_formerly(vec![before.clone()]);
            renamed.push(Member { column: Some(before), ..member.clone() });
        }
    }
    members.extend(renamed);
}

/// The field at this place.
fn at<'m>(members: &'m mut [Member], path: &str) -> Option<&'m mut Member> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let member = members.iter_mut().find(|member| member.name == first)?;
    match rest {
        Some(rest) => at(&mut member.members, rest),
        None => Some(member),
    }
}

impl Member {
    /// Its own place in older answers, and that of all within it.
    fn set_formerly(&mut self, path: Vec<String>) {
        for member in &mut self.members {
            member.set_formerly([&path[..], std::slice::from_ref(&member.name)].concat());
        }
        self.formerly = path;
    }
}

/// What comes with these includes.
fn asked(name: &str, includes: &[&str]) -> Documented {
    fn left(documented: &Documented, includes: &[&str]) -> Documented {
        let asked =
            |field: &DocumentedField| field.needs_include.as_deref().is_none_or(|include| includes.contains(&include));
        let cut = |field: &DocumentedField| DocumentedField { fields: left(&field.fields, includes), ..field.clone() };
        documented.iter().filter(|(_, field)| asked(field)).map(|(name, field)| (name.clone(), cut(field))).collect()
    }
    left(&blueprint::endpoint(name).record, includes)
}

fn merged(list: Documented, mut info: Documented, only_in_detail: bool) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    for (name, listed) in list {
        let detailed = info.shift_remove(&name);
        members.push(member(name, Some(listed), detailed, only_in_detail));
    }
    members.extend(info.into_iter().map(|(name, detailed)| member(name, None, Some(detailed), true)));
    members
}

fn member(
    name: String,
    listed: Option<DocumentedField>,
    detailed: Option<DocumentedField>,
    only_in_detail: bool,
) -> Member {
    let both: Vec<&DocumentedField> = listed.iter().chain(&detailed).collect();
    let values = both.iter().map(|field| &field.members).max_by_key(|members| members.len());
    let live = both.iter().map(|field| &field.enum_live).max_by_key(|members| members.len());
    let as_text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Member {
        kind: both.iter().find_map(|field| field.kind()),
        is_undefined: both.iter().any(|field| field.kind.is_some() && field.kind().is_none()),
        holds_values: both.iter().any(|field| {
            field.kind.as_deref().is_some_and(|kind| kind.starts_with("array[string") || kind.starts_with("array[enum"))
        }),
        values: values.into_iter().flatten().chain(live.into_iter().flatten()).map(as_text).collect(),
        column: None,
        formerly: Vec::new(),
        formerly_plain: None,
        renamed_from: both.iter().find_map(|field| field.renamed_from.clone()),
        example: both.iter().find_map(|field| field.example.clone()),
        is_nullable: both.iter().any(|field| field.nullable),
        only_in_detail,
        name,
        members: merged(
            listed.map(|field| field.fields).unwrap_or_default(),
            detailed.map(|field| field.fields).unwrap_or_default(),
            only_in_detail,
        ),
    }
}
