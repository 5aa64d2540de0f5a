//! The views that the catalog and the blueprint give: one a resource, and one for each list within its records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::column::{Column, Place, Type};
use super::names::{self, id_column, literal, singular, snake_case};
use crate::catalog::{self, Detail, Kind, Member, RESOURCES, Resource};

/// A view.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Its name in schema `teamleader_views`.
    pub(super) name: String,
    /// Its resource.
    pub(super) resource: &'static Resource,
    /// What it is selected from, `where` included.
    pub(super) source: String,
    /// Its columns.
    pub(super) columns: Vec<Column>,
    /// What it shows, for people.
    pub(super) comment: String,
    /// Where a list or an object should be that is none: its name and when, in SQL.
    pub(super) misshapen: Vec<(String, String)>,
    /// Whether it shows what is within a record, and not the record itself.
    pub(super) is_child: bool,
}

/// The column in which a view with deleted records has the custom fields as they are.
pub(super) const CUSTOM_FIELDS: &str = "_custom_fields";

/// The column in which it has when the record was found gone.
pub(super) const DELETED_AT: &str = "_deleted_at";

/// Lists that were columns of these types while the API's documents did not say what they hold: the resource and the field.
const KEPT: [(&str, &str, Type); 3] = [
    ("dealPhases", "actions", Type::Json),
    ("products", "price_list_prices", Type::Anything),
    ("subscriptions", "grouped_lines", Type::Json),
];

/// Columns that name the first of several references of a type: the resource, the list, the type, the column. The subject of time on a task
/// of the new projects is a `todo` with an id of its own, and only `relates_to` names the task [seen live 2026].
const FIRST_OF: [(&str, &str, &str, &str); 2] = [
    ("timeTracking", "relates_to", "nextgenTask", "projects_v2_task_id"),
    ("timeTracking", "relates_to", "nextgenProject", "projects_v2_project_id"),
];

fn first_of(resource: &Resource) -> impl Iterator<Item = Column> {
    FIRST_OF.iter().filter(|(of, ..)| *of == resource.name).map(|(_, list, kind, name)| {
        let id = format!("jsonb_path_query_first(r.content, '$.{list}[*] ? (@.type == \"{kind}\").id', '{{}}', true)");
        let comment = format!("{list}: the first that is a {kind}.");
        let refers_to = catalog::named(kind).into_iter().collect();
        let column = Column::of_row(name, Type::Uuid, &Place::new(&id, &[]).read_as(Type::Uuid), &comment);
        Column { refers_to, ..column }
    })
}

/// All that follow from the catalog, those of records before those of what is within them.
pub(super) fn views() -> Vec<View> {
    RESOURCES.iter().flat_map(of_resource).collect()
}

/// Whether records of this resource have custom fields.
pub(super) fn has_custom_fields(resource: &Resource) -> bool {
    catalog::members(resource).iter().any(is_custom_fields)
}

fn is_custom_fields(member: &Member) -> bool {
    member.name == "custom_fields"
}

fn of_resource(resource: &'static Resource) -> Vec<View> {
    let table = names::table(resource.name);
    let members = catalog::members(resource);
    let own = match resource.key {
        catalog::Key::Id | catalog::Key::IdOr(_) => "Teamleader's id of the record.",
        catalog::Key::Fields(_) => "An id made of what tells one record from another: Teamleader gives it none.",
    };
    let mut columns = vec![Column::of_row("id", Type::Uuid, "r.id", own), Column::account()];
    let mut writer = Writer::beside(&columns, resource, None);
    let record = Place::new("r.content", &[]);
    let described = members.iter().filter(|member| member.name != "id" && !is_custom_fields(member));
    for member in described {
        writer.write(&record, "", member);
    }
    // Children that do not say themselves whose they are.
    if let [parent] = resource.parents() {
        let name = id_column(&names::table(parent.resource));
        if !writer.taken.contains(&name) {
            let mut column = Column::of_row(&name, Type::Uuid, "r.parent_id", "The record that it was listed by.");
            column.refers_to = vec![parent.resource];
            columns.push(column);
        }
    }
    let lists = std::mem::take(&mut writer.lists);
    columns.append(&mut writer.columns);
    columns.extend(first_of(resource));
    columns.push(Column::of_row(
        "_changed_at",
        Type::Instant,
        "r.changed_at",
        "When the record, or whether it is deleted, last changed in this copy. Follow it to pick up changes.",
    ));
    if resource.detail != Detail::None {
        columns.push(Column::of_row(
            "_detail_at",
            Type::Instant,
            "r.detail_at",
            "When the detail was last read. Null: never, so that fields which only the detail tells are unknown, not empty.",
        ));
    }
    let mut misshapen = std::mem::take(&mut writer.misshapen);
    misshapen.extend(lists.iter().map(List::misshapen));
    if has_custom_fields(resource) {
        let place = Place::new("r.content", &["custom_fields"]);
        misshapen.push(("custom_fields".to_owned(), place.is_no("array")));
    }
    let view = View {
        comment: format!("The records of {} that Teamleader has.", resource.name),
        source: format!("{} where r.resource = {}", rows_of(&table), literal(resource.name)),
        name: table.clone(),
        resource,
        columns,
        misshapen,
        is_child: false,
    };
    let mut views = vec![view];
    let outer = Outer {
        from: rows_of(&table),
        columns: vec![
            Column::account(),
            Column {
                refers_to: vec![resource.name],
                ..Column::of_row(&id_column(&table), Type::Uuid, "r.id", &format!("The record of {}.", resource.name))
            },
        ],
        depth: 0,
    };
    for list in lists {
        of_list(resource, &singular(&table), &list, &outer, &mut views);
    }
    views
}

/// The rows of a resource: its partition, since PostgreSQL knows how the values in it are spread, and of the partitioned table it knows nothing. Each
/// view asks for the resource all the same: the primary key begins with it.
fn rows_of(table: &str) -> String {
    format!("teamleader.{table} r")
}

/// A list within a record.
struct List {
    name: String,
    place: Place,
    member: Member,
}

impl List {
    fn misshapen(&self) -> (String, String) {
        (self.name.clone(), self.place.is_no("array"))
    }
}

/// What a list lies in.
struct Outer {
    from: String,
    columns: Vec<Column>,
    depth: usize,
}

fn of_list(resource: &'static Resource, record: &str, list: &List, outer: &Outer, views: &mut Vec<View>) {
    // What people call the lines of an invoice.
    let (called, element) = match list.member.name.as_str() {
        "grouped_lines" => ("line_groups", "group".to_owned()),
        "line_items" => ("lines", "line".to_owned()),
        "schedule" => ("days", "day".to_owned()),
        name => (name, singular(name)),
    };
    let alias = format!("e{}", outer.depth);
    let value = Place::new(&format!("{alias}.value"), &[]);
    let json = list.place.json();
    let from = format!(
        "{} cross join lateral jsonb_array_elements(case when jsonb_typeof({json}) = 'array' then {json} end) with ordinality as {alias} (value, position)",
        outer.from
    );
    let position =
        Column::of_row("position", Type::Count, &format!("{alias}.position"), "The place in the list, from 1.");
    let mut columns = outer.columns.clone();
    columns.push(position.clone());
    let mut writer = Writer::beside(&columns, resource, Some(element.clone()));
    let mut misshapen = Vec::new();
    if list.member.holds_values {
        let one = Member { name: element.clone(), kind: Some(Kind::Text), ..list.member.clone() };
        let comment = writer.comment(&list.place, &one, Type::Text);
        writer.push(Column::of_field(element.clone(), Type::Text, &value, comment));
    } else {
        let as_object = Member { kind: Some(Kind::Object), ..list.member.clone() };
        writer.write_object(&value, if is_reference(&as_object) { &element } else { "" }, &as_object);
        let mut wrong = format!("jsonb_typeof({alias}.value) <> 'object'");
        if let Some(plain) = list.member.formerly_plain
            && let Some(column) = writer.columns.iter_mut().find(|column| column.name == plain)
        {
            wrong.push_str(&format!(" and jsonb_typeof({alias}.value) <> 'string'"));
            column.expression = format!("coalesce({}, {})", column.expression, value.read_as(Type::Text));
        }
        misshapen.push((list.name.clone(), wrong));
        // That the element itself is none is said.
        misshapen.extend(writer.misshapen.drain(..).filter(|(name, _)| !name.is_empty()));
    }
    columns.append(&mut writer.columns);
    let lists = std::mem::take(&mut writer.lists);
    misshapen.extend(lists.iter().map(List::misshapen));
    let inner = Outer { from: from.clone(), columns: of_group(outer, &position, &columns), depth: outer.depth + 1 };
    columns.push(Column::of_row(
        "_changed_at",
        Type::Instant,
        "r.changed_at",
        "When the record last changed in this copy.",
    ));
    views.push(View {
        name: format!("{record}_{called}"),
        resource,
        source: format!("{from} where r.resource = {} and r.deleted_at is null", literal(resource.name)),
        comment: format!(
            "The elements of {} of each record of {} that Teamleader has.{}",
            list.name,
            resource.name,
            if list.member.only_in_detail { " Known once the detail was read." } else { "" }
        ),
        columns,
        misshapen,
        is_child: true,
    });
    for list in lists {
        of_list(resource, record, &list, &inner, views);
    }
}

/// What a list within a list tells of the element that it lies in: all, with `group_` in front.
fn of_group(outer: &Outer, position: &Column, columns: &[Column]) -> Vec<Column> {
    let in_group = columns.iter().filter(|column| !outer.columns.iter().any(|known| known.name == column.name));
    let renamed = in_group.map(|column| Column {
        name: format!("group_{}", column.name),
        comment: if column.name == position.name {
            "The place of the group, from 1.".to_owned()
        } else {
            column.comment.clone()
        },
        ..column.clone()
    });
    outer.columns.iter().cloned().chain(renamed).collect()
}

fn is_reference(member: &Member) -> bool {
    let has = |name: &str| member.members.iter().any(|member| member.name == name);
    member.kind == Some(Kind::Object) && has("type") && has("id")
}

/// Writes columns for fields, at any depth.
struct Writer {
    resource: &'static Resource,
    taken: BTreeSet<String>,
    columns: Vec<Column>,
    lists: Vec<List>,
    misshapen: Vec<(String, String)>,
    /// What goes before a name that is taken.
    prefix: Option<String>,
}

impl Writer {
    /// One whose columns stand beside these.
    fn beside(columns: &[Column], resource: &'static Resource, prefix: Option<String>) -> Self {
        Self {
            resource,
            taken: columns.iter().map(|column| column.name.clone()).collect(),
            columns: Vec::new(),
            lists: Vec::new(),
            misshapen: Vec::new(),
            prefix,
        }
    }

    fn write(&mut self, at: &Place, prefix: &str, member: &Member) {
        let place = at.of(member);
        let own = snake_case(member.column.as_ref().unwrap_or(&member.name));
        let name = if prefix.is_empty() { own } else { format!("{prefix}_{own}") };
        match member.kind {
            Some(Kind::Object) if !member.members.is_empty() => return self.write_object(&place, &name, member),
            Some(Kind::Array) if !member.members.is_empty() || member.holds_values => {
                self.lists.push(List { name: place.path.join("."), place: place.clone(), member: member.clone() });
                if let Some((.., kind)) =
                    KEPT.iter().find(|(of, name, _)| *of == self.resource.name && *name == member.name)
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

    fn write_object(&mut self, place: &Place, name: &str, member: &Member) {
        self.misshapen.push((place.path.join("."), place.is_no("object")));
        let reference =
            is_reference(member).then(|| member.members.iter().find(|member| member.name == "type")).flatten();
        for field in &member.members {
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

    fn push(&mut self, mut column: Column) {
        if self.taken.contains(&column.name)
            && let Some(prefix) = &self.prefix
        {
            column.name = format!("{prefix}_{}", column.name);
        }
        self.taken.insert(column.name.clone());
        self.columns.push(column);
    }

    /// Where Teamleader tells it, and what it is.
    fn comment(&self, place: &Place, member: &Member, kind: Type) -> String {
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
        add(kind.in_words());
        if !member.values.is_empty() {
            add(&format!("One of: {}.", member.values.join(", ")));
        }
        if member.only_in_detail && self.resource.detail != Detail::None {
            add("Only the detail tells it.");
        }
        comment
    }
}

/// What a reference of this name can be to. Where the blueprint draws one type, and several for the same name elsewhere (an invoice's `customer`
/// is drawn as a contact, a deal's as a contact or a company), it is of these, too.
fn kinds_of(name: &str, kind: &Member) -> BTreeSet<String> {
    static SEVERAL: LazyLock<BTreeMap<String, BTreeSet<String>>> = LazyLock::new(|| {
        let mut several = BTreeMap::new();
        for resource in RESOURCES.iter() {
            gather(&catalog::members(resource), &mut several);
        }
        several.retain(|_, kinds: &mut BTreeSet<String>| kinds.len() > 1);
        several
    });
    let drawn = drawn_kinds(kind);
    if kind.values.len() > 1 {
        return drawn;
    }
    let elsewhere = SEVERAL.get(name).filter(|kinds| !drawn.is_disjoint(kinds));
    elsewhere.into_iter().flatten().cloned().chain(drawn.iter().cloned()).collect()
}

fn drawn_kinds(kind: &Member) -> BTreeSet<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_and_statistics_are_of_the_expressions_of_the_views() {
        let plain = |sql: &str| sql.replace(['(', ')', ' ', '\n'], "");
        let migration = plain(include_str!("../../migrations/0007_views.sql"));
        let views = views();
        for (view, name) in [
            ("invoices", "invoice_date"),
            ("invoices", "invoicee_customer_id"),
            ("invoices", "status"),
            ("invoices", "invoicee_customer_type"),
            ("invoices", "total_tax_exclusive_currency"),
            ("time_tracking", "started_on"),
            ("time_tracking", "subject_id"),
            ("time_tracking", "subject_type"),
            ("deals", "lead_customer_id"),
            ("deals", "status"),
            ("companies", "status"),
            ("contacts", "status"),
        ] {
            let of_view = views.iter().find(|known| known.name == view).expect("a view");
            let column = of_view.columns.iter().find(|column| column.name == name).expect("a column");
            let expression = plain(&column.expression.replace("r.content", "content"));
            let (index, statistics) =
                (format!("onteamleader.{view}{expression};"), format!("on{expression}fromteamleader.{view};"));
            assert!(
                migration.contains(&index) || migration.contains(&statistics),
                "{view}.{name}: PostgreSQL would not know that it is {expression}"
            );
        }
    }
}
