//! The shape of a resource: what its list item and its `.info` hold, as one tree of fields.
//!
//! One tree for both, because a field that stands in both must have the same value in both: it is null, or has one of
//! several values, only where both allow it.

use super::node::{Content, Follows, Kind, Node, Presence};
use super::words::{self, Clock, Figure, Words};
use crate::contract::{Field, Fields};
use crate::generate::dice::fingerprint;
use crate::generate::family::{Asked, Family};
use crate::generate::kinds::{kind_of, resource_of};

/// The resource whose shape is read, and what else its list shows of it.
pub(super) struct Source {
    pub(super) resource: &'static str,
    pub(super) filter: &'static Fields,
    pub(super) family: Option<&'static Family>,
}

impl Source {
    /// The fields of list item and `.info`, those that must be asked for at the end: what goes before them in the list
    /// item is then there in any case.
    pub(super) fn fields(&self, list: Option<&'static Fields>, info: Option<&'static Fields>) -> Vec<Node> {
        let mut nodes = self.merge("", list, info);
        for in_list in [true, false] {
            mark(&mut nodes, in_list);
        }
        nodes
    }

    fn merge(&self, path: &str, list: Option<&'static Fields>, info: Option<&'static Fields>) -> Vec<Node> {
        let mut keys: Vec<&'static str> =
            list.into_iter().chain(info).flat_map(Fields::keys).map(String::as_str).collect();
        keys.sort_unstable();
        keys.dedup();
        let field = |fields: Option<&'static Fields>, key: &str| fields.and_then(|fields| fields.get(key));
        let nodes = keys.into_iter().filter_map(|key| {
            let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            Some(self.node(key, &path, Drawn::of(field(list, key), field(info, key))?))
        });
        let (mut nodes, asked): (Vec<_>, Vec<_>) = nodes.partition(|node| !matches!(node.list, Presence::Asked(_)));
        nodes.extend(asked);
        nodes
    }

    fn node(&self, key: &'static str, path: &str, drawn: Drawn) -> Node {
        let presence = |field: Option<&'static Field>| match field {
            None => Presence::Absent,
            Some(field) => field.needs_include.as_deref().map_or(Presence::Always, Presence::Asked),
        };
        let (list, info) = (presence(drawn.list), presence(drawn.info));
        let content = self.content(key, path, &drawn);
        let edited = match &content {
            // A currency and a country belong to what they stand beside, and do not change on their own.
            Content::Choice(_) | Content::Text(_) if words::stays(key) || drawn.kind == "Currency" => false,
            Content::Text(_) | Content::Choice(_) | Content::NumberChoice(_) | Content::Flag => true,
            Content::Number(_) | Content::Moment(_) | Content::Day | Content::CustomFields(_) => true,
            _ => false,
        };
        let follows = match edited {
            false => Follows::Nothing,
            true if list != Presence::Absent || renamed(path) != path => Follows::List,
            true => Follows::Info,
        };
        Node {
            key,
            hash: fingerprint(&[renamed(path)]),
            list,
            info,
            nullable: drawn.fields().all(|field| field.nullable),
            follows,
            marks: false,
            content,
            taps: Vec::new(),
        }
    }

    fn content(&self, key: &'static str, path: &str, drawn: &Drawn) -> Content {
        match path {
            "id" | "message_id" => return Content::Id,
            "created_at" | "added_at" => return Content::CreatedAt(written(drawn.example())),
            "updated_at" => return Content::UpdatedAt,
            "line" if self.resource == "projects-v2/projectLines" => return Content::Target,
            "source" if matches!(self.resource, "expenses" | "plannableItems") => return Content::Target,
            // In no specification; nobody says which there are.
            "status" if self.resource == "orders" => return Content::Choice(vec!["draft", "ordered", "delivered"]),
            _ => {}
        }
        if self.names_parent(key, path, drawn) {
            return Content::Parent;
        }
        let kind = drawn.kind;
        let is_array = kind.starts_with("array");
        if kind == "array[CustomField]" {
            return Content::CustomFields(self.context());
        }
        let inside =
            |field: Option<&'static Field>| field.map(|field| &field.fields).filter(|fields| !fields.is_empty());
        let (list, info) = (inside(drawn.list), inside(drawn.info));
        if list.is_some() || info.is_some() {
            let mut nodes = self.merge(path, list, info);
            if drawn.points() {
                nodes.retain(|node| node.key != "type" && node.key != "id");
                let kinds = self.kinds(key, drawn).into_iter();
                let kinds = kinds.map(|name| Kind { name, resource: resource_of(name) }).collect();
                return if is_array { Content::References(kinds) } else { Content::Reference(kinds, nodes) };
            }
            return if is_array { Content::Objects(nodes) } else { Content::Object(nodes) };
        }
        let mut choices = drawn.choices();
        if matches!(key, "currency" | "Currency") && choices.contains(&"EUR") {
            choices = words::CURRENCIES.to_vec();
        }
        if path == "estimated_time.total.unit" {
            // Documented as seconds, and shown as minutes in examples.
            choices.push("min");
        }
        match kind {
            _ if is_array => Content::Empty,
            "boolean" => Content::Flag,
            "number" => Content::Number(Figure::of(key, path, drawn.example())),
            "enum[number]" => Content::NumberChoice(choices),
            _ if !choices.is_empty() => Content::Choice(choices),
            _ => text(self.resource, key, kind, drawn.example()),
        }
    }

    /// The context of the custom fields.
    fn context(&self) -> &'static str {
        match self.resource {
            "projects-v2/projects" => "project",
            _ => kind_of(self.resource).unwrap_or_default(),
        }
    }

    /// Whether a field shows the record that this one belongs to.
    fn names_parent(&self, key: &'static str, path: &str, drawn: &Drawn) -> bool {
        self.family.is_some_and(|family| match family.asked {
            Asked::Subject => path == "subject",
            // What stands deeper points to other records of the parent's kind.
            Asked::Parameter(_) if path != key => false,
            Asked::Parameter(_) => {
                let kinds = if drawn.points() { self.kinds(key, drawn) } else { Vec::new() };
                let is_parent = |kind: &str| resource_of(kind).is_some_and(|name| family.parents.contains(&name));
                matches!(kinds[..], [kind] if is_parent(kind))
            }
        })
    }

    /// The types of a reference: the members of the enumeration, of the record or of the filter of that name, else the
    /// one of the example.
    fn kinds(&self, key: &'static str, drawn: &Drawn) -> Vec<&'static str> {
        let types = drawn.map(|field| field.fields.get("type"));
        let Some(types) = types else { return Vec::new() };
        let choices = types.choices();
        if !choices.is_empty() {
            return choices;
        }
        let filtered = self.filter.get(key).and_then(|filter| filter.fields.get("type")?.choices.as_ref());
        match filtered {
            Some(kinds) => kinds.iter().map(String::as_str).collect(),
            None => vec![types.example().unwrap_or_else(|| kind_named(key))],
        }
    }
}

/// A field as list and `.info` draw it.
struct Drawn {
    list: Option<&'static Field>,
    info: Option<&'static Field>,
    kind: &'static str,
}

impl Drawn {
    fn of(list: Option<&'static Field>, info: Option<&'static Field>) -> Option<Self> {
        let kind = list.or(info)?.kind.as_deref().unwrap_or_default();
        Some(Self { list, info, kind })
    }

    fn map(&self, inside: impl Fn(&'static Field) -> Option<&'static Field>) -> Option<Self> {
        Self::of(self.list.and_then(&inside), self.info.and_then(&inside))
    }

    fn fields(&self) -> impl Iterator<Item = &'static Field> {
        self.list.into_iter().chain(self.info)
    }

    fn example(&self) -> Option<&'static str> {
        self.fields().find_map(|field| field.example.as_deref())
    }

    /// Whether it points to a record.
    fn points(&self) -> bool {
        self.fields().any(|field| field.fields.contains_key("type") && field.fields.contains_key("id"))
    }

    /// The members of the enumeration that both texts allow.
    fn choices(&self) -> Vec<&'static str> {
        let of = |field: &'static Field| field.choices.iter().flatten().chain(&field.enum_live).map(String::as_str);
        let mut drawn = self.fields().filter(|field| field.choices.is_some());
        let first: Vec<_> = drawn.next().into_iter().flat_map(of).collect();
        let other: Option<Vec<_>> = drawn.next().map(|field| of(field).collect());
        first.into_iter().filter(|choice| other.as_ref().is_none_or(|other| other.contains(choice))).collect()
    }
}

/// The path that list items have for a field which `.info` of incoming documents names otherwise.
fn renamed(path: &str) -> &str {
    if matches!(path, "invoice_date" | "receipt_date") { "document_date" } else { path }
}

/// The `type` of a reference whose type the documentation does not name.
fn kind_named(key: &'static str) -> &'static str {
    match key {
        "group" => "nextgenProjectGroup",
        "product_category" => "productCategory",
        "tax" => "taxRate",
        "unit" => "unitOfMeasure",
        "withheld_tax" => "withholdingTaxRate",
        _ => key,
    }
}

/// How a moment is written, from its example.
fn written(example: Option<&str>) -> Clock {
    let is_plain = example.is_some_and(|example| example.as_bytes().get(10) == Some(&b' '));
    if is_plain { Clock::Plain } else { Clock::Utc }
}

/// What a text holds that is no enumeration.
fn text(resource: &str, key: &str, kind: &str, example: Option<&'static str>) -> Content {
    let shown = example.unwrap_or_default();
    if let Some(choices) = words::choices(key).or_else(|| words::choices(kind)) {
        return Content::Choice(choices.to_vec());
    }
    match shown.as_bytes() {
        [_, _, _, _, b'-', _, _, b'-', _, _] => return Content::Day,
        [_, _, _, _, b'-', _, _, b'-', _, _, b' ', ..] => return Content::Moment(Clock::Plain),
        [_, _, _, _, b'-', _, _, b'-', _, _, b'T', ..] if shown.ends_with("+01:00") => {
            return Content::Moment(Clock::Brussels);
        }
        [_, _, _, _, b'-', _, _, b'-', _, _, b'T', ..] => return Content::Moment(Clock::Utc),
        _ => {}
    }
    Content::Text(Words::of(resource, key, shown))
}

/// Marks the field that changes with every edit of the list or of `.info`. Where there is no text, an enumeration or a
/// flag is good for it as it is, for these go from one value to the next.
fn mark(nodes: &mut [Node], in_list: bool) {
    let rank = |node: &Node| match &node.content {
        Content::Text(words) if words.is_prose() => Some(if node.nullable { 1 } else { 0 }),
        Content::Choice(choices) if choices.len() > 1 && node.follows != Follows::Nothing && !node.nullable => Some(2),
        Content::Flag if !node.nullable => Some(2),
        Content::Moment(_) | Content::Day => Some(3),
        Content::Reference(..) => Some(4),
        Content::Objects(_) => Some(5),
        _ => None,
    };
    // A field that the list has under another name changes with it.
    let of_group = nodes
        .iter_mut()
        .filter(|node| (node.list != Presence::Absent) == in_list && (in_list || node.follows != Follows::List));
    let ranked = of_group.filter_map(|node| Some((rank(node)?, node)));
    if let Some((_, node)) = ranked.min_by_key(|(rank, _)| *rank) {
        node.marks = true;
        if let Content::Reference(..) | Content::Objects(_) = node.content {
            node.follows = if in_list { Follows::List } else { Follows::Info };
        }
    }
}
