//! The columns of a record's fields, at any depth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::column::{Column, Place, Type};
use super::comments;
use super::names::{self, snake_case};
use crate::catalog::{self, Detail, Kind, Member, RESOURCES, Resource};

/// Lists that were columns of these types while the API's documents did not say what they hold: the resource and the
/// field.
const FORMERLY_COLUMNS: [(&str, &str, Type); 3] = [
    ("dealPhases", "actions", Type::Json),
    ("products", "price_list_prices", Type::Anything),
    ("subscriptions", "grouped_lines", Type::Json),
];

/// A list within a record.
pub(super) struct List {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) member: Member,
}

impl List {
    /// Its name, and when it is none.
    pub(super) fn misshapen(&self) -> (String, String) {
        (self.name.clone(), self.place.is_no("array"))
    }
}

/// Whether it names a record, by type and id.
pub(super) fn is_reference(member: &Member) -> bool {
    let has = |name: &str| member.members.iter().any(|member| member.name == name);
    member.kind == Some(Kind::Object) && has("type") && has("id")
}

/// Writes columns for fields, at any depth.
pub(super) struct Writer {
    resource: &'static Resource,
    pub(super) taken: BTreeSet<String>,
    pub(super) columns: Vec<Column>,
    pub(super) lists: Vec<List>,
    pub(super) misshapen: Vec<(String, String)>,
    /// What goes before a name that is taken.
    prefix: Option<String>,
    /// The path of the list whose elements are written; empty for the record itself.
    pub(super) within: Vec<String>,
}

impl Writer {
    /// One whose columns stand beside these.
    pub(super) fn beside(columns: &[Column], resource: &'static Resource, prefix: Option<String>) -> Self {
        Self {
            resource,
            taken: columns.iter().map(|column| column.name.clone()).collect(),
            columns: Vec::new(),
            lists: Vec::new(),
            misshapen: Vec::new(),
            prefix,
            within: Vec::new(),
        }
    }

    pub(super) fn write(&mut self, at: &Place, prefix: &str, member: &Member) {
        let place = at.of(member);
        let own = snake_case(member.column.as_ref().unwrap_or(&member.name));
        let name = if prefix.is_empty() { own } else { format!("{prefix}_{own}") };
        match member.kind {
            Some(Kind::Object) if !member.members.is_empty() => return self.write_object(&place, &name, member),
            Some(Kind::Array) if !member.members.is_empty() || member.holds_values => {
                self.lists.push(List { name: place.path.join("."), place: place.clone(), member: member.clone() });
                if let Some((.., kind)) =
                    FORMERLY_COLUMNS.iter().find(|(of, name, _)| *of == self.resource.name && *name == member.name)
                {
                    let comment = self.comment(&place, member, *kind);
                    return self.push(Column::of_field(name, *kind, &place, comment));
                }
                if !member.holds_values {
                    return;
                }
            }
            _ => {}
        }
        let kind = Type::of(member);
        let comment = self.comment(&place, member, kind);
        self.push(Column::of_field(name, kind, &place, comment));
    }

    pub(super) fn write_object(&mut self, place: &Place, name: &str, member: &Member) {
        self.misshapen.push((place.path.join("."), place.is_no("object")));
        let reference =
            is_reference(member).then(|| member.members.iter().find(|member| member.name == "type")).flatten();
        for field in &member.members {
            // Null where what it lies in is.
            let field = &Member { is_nullable: field.is_nullable || member.is_nullable, ..field.clone() };
            match (reference, field.name.as_str()) {
                (Some(of), "type") if !of.is_undefined => {
                    let kinds: Vec<String> = kinds_of(&member.name, of).into_iter().collect();
                    // One says the same of all.
                    if kinds.len() != 1 {
                        self.write(place, name, &Member { values: kinds, ..field.clone() });
                    }
                }
                (Some(of), "id") => {
                    let before = self.columns.len();
                    self.write(place, name, field);
                    let refers_to: Vec<&'static str> =
                        kinds_of(&member.name, of).iter().filter_map(|kind| catalog::named(kind)).collect();
                    for column in &mut self.columns[before..] {
                        column.comment = reference_comment(&column.comment, &refers_to, of.is_undefined);
                        column.refers_to.clone_from(&refers_to);
                    }
                }
                _ => self.write(place, name, field),
            }
        }
    }

    pub(super) fn push(&mut self, mut column: Column) {
        if self.taken.contains(&column.name)
            && let Some(prefix) = &self.prefix
        {
            column.name = format!("{prefix}_{}", column.name);
        }
        self.taken.insert(column.name.clone());
        self.columns.push(column);
    }

    /// Where the record has it, and its type.
    pub(super) fn comment(&self, place: &Place, member: &Member, kind: Type) -> String {
        let mut comment = place.path.join(".");
        if comment.is_empty() {
            comment.clone_from(&member.name);
        }
        comment.push('.');
        let mut add = |sentence: &str| {
            if !sentence.is_empty() {
                comment.push(' ');
                comment.push_str(sentence);
            }
        };
        let path = [&self.within[..], &place.path[..]].concat();
        add(comments::meaning(self.resource.name, &path).unwrap_or_default());
        add(kind.as_text());
        if !member.values.is_empty() {
            add(&format!("One of: {}.", member.values.join(", ")));
        }
        if member.only_in_detail && self.resource.detail != Detail::None {
            // An element of a list is there once its detail is.
            add(if self.within.is_empty() {
                "Only the detail has it: null while _detail_at is."
            } else {
                "Only the detail has it."
            });
        }
        add(if member.is_nullable { "Null where there is none." } else { "Documented as never null." });
        comment
    }
}

/// The kinds of records that a reference of this name can name. Where the blueprint documents one type, and several for
/// the same name elsewhere (an invoice's `customer` is documented as a contact, a deal's as a contact or a company), it
/// is of these, too.
fn kinds_of(name: &str, kind: &Member) -> BTreeSet<String> {
    static SEVERAL: LazyLock<BTreeMap<String, BTreeSet<String>>> = LazyLock::new(|| {
        let mut several = BTreeMap::new();
        for resource in RESOURCES.iter() {
            gather(&catalog::members(resource), &mut several);
        }
        several.retain(|_, kinds: &mut BTreeSet<String>| kinds.len() > 1);
        several
    });
    let documented = documented_kinds(kind);
    if kind.values.len() > 1 {
        return documented;
    }
    let elsewhere = SEVERAL.get(name).filter(|kinds| !documented.is_disjoint(kinds));
    elsewhere.into_iter().flatten().cloned().chain(documented.iter().cloned()).collect()
}

fn documented_kinds(kind: &Member) -> BTreeSet<String> {
    kind.values.iter().chain(&kind.example).cloned().collect()
}

fn gather(members: &[Member], several: &mut BTreeMap<String, BTreeSet<String>>) {
    for member in members {
        if let Some(kind) = member.members.iter().find(|field| field.name == "type").filter(|_| is_reference(member)) {
            several.entry(member.name.clone()).or_default().extend(kind.values.iter().cloned());
        }
        gather(&member.members, several);
    }
}

fn reference_comment(comment: &str, refers_to: &[&'static str], is_open: bool) -> String {
    match refers_to {
        _ if is_open => format!("{comment} A record of the resource that the type beside it names."),
        [] => format!("{comment} Of what has no list in the API."),
        [one] => format!("{comment} A record of {}.", names::table(one)),
        many => {
            let names: Vec<String> = many.iter().map(|name| names::table(name)).collect();
            format!("{comment} A record of {}, as the type beside it says.", names.join(" or "))
        }
    }
}
