//! The views that the catalog and the blueprint give: one a resource, and one for each list within its records.

use super::column::{Column, Place, Type};
use super::comments::add_units;
use super::names::{self, id_column, literal, singular};
use super::writer::{List, Writer, is_reference};
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
    /// Whether it shows a list within a record, and not the record itself.
    pub(super) is_child: bool,
    /// The lists that a row is an element of, as JSON: the outermost first, of `r`, each other of `e0.value` and so on.
    pub(super) lists: Vec<String>,
}

/// The column in which a view with deleted records has the custom fields as they are.
pub(super) const CUSTOM_FIELDS: &str = "_custom_fields";

/// The column that says when the record was found deleted.
pub(super) const DELETED_AT: &str = "_deleted_at";

/// Columns that name the first of several references of a type: the resource, the list, the type, the column. The
/// subject of time on a task of the new projects is a `todo` with an id of its own, and only `relates_to` names the
/// task [seen live 2026].
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

/// All that follow from the catalog, those of records before those of lists within them.
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
        catalog::Key::Fields(_) => "An id made of the fields that identify the record: Teamleader gives it none.",
    };
    let mut columns = vec![Column::of_row("id", Type::Uuid, "r.id", own), Column::account()];
    let mut writer = Writer::beside(&columns, resource, None);
    let record = Place::new("r.content", &[]);
    let described = members.iter().filter(|member| member.name != "id" && !is_custom_fields(member));
    for member in described {
        writer.write(&record, "", member);
    }
    columns.extend(parent_column(resource).filter(|column| !writer.taken.contains(&column.name)));
    let lists = std::mem::take(&mut writer.lists);
    columns.append(&mut writer.columns);
    add_units(&mut columns);
    columns.extend(first_of(resource));
    columns.extend(columns_of_copy(resource));
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
        lists: Vec::new(),
    };
    let mut views = vec![view];
    let outer = Outer {
        columns: vec![
            Column::account(),
            Column {
                refers_to: vec![resource.name],
                ..Column::of_row(&id_column(&table), Type::Uuid, "r.id", &format!("The record of {}.", resource.name))
            },
        ],
        lists: Vec::new(),
    };
    for list in lists {
        of_list(resource, &singular(&table), &list, &outer, &mut views);
    }
    views
}

/// For children that do not say themselves whose they are.
fn parent_column(resource: &Resource) -> Option<Column> {
    let [parent] = resource.parents() else { return None };
    let name = id_column(&names::table(parent.resource));
    let column = Column::of_row(&name, Type::Uuid, "r.parent_id", "The record that it was listed by.");
    Some(Column { refers_to: vec![parent.resource], ..column })
}

/// What this copy knows of a record beside what Teamleader gives.
fn columns_of_copy(resource: &Resource) -> Vec<Column> {
    let mut columns = vec![Column::of_row(
        "_changed_at",
        Type::Instant,
        "r.changed_at",
        "When the record, or whether it is deleted, last changed in this copy. Follow it to pick up changes.",
    )];
    if resource.detail != Detail::None {
        columns.push(Column::of_row(
            "_detail_at",
            Type::Instant,
            "r.detail_at",
            "When the detail was last read. Null: never, so that fields which only the detail has are unknown, not \
             empty.",
        ));
    }
    columns
}

/// The rows of a resource: its partition, since PostgreSQL knows how the values in it are spread, and of the
/// partitioned table it knows nothing. Each view asks for the resource all the same: the primary key begins with it.
fn rows_of(table: &str) -> String {
    format!("teamleader.{table} r")
}

/// What a list lies in.
struct Outer {
    columns: Vec<Column>,
    lists: Vec<String>,
}

fn of_list(resource: &'static Resource, record: &str, list: &List, outer: &Outer, views: &mut Vec<View>) {
    // What people call the lines of an invoice.
    let (called, element) = match list.member.name.as_str() {
        "grouped_lines" => ("line_groups", "group".to_owned()),
        "line_items" => ("lines", "line".to_owned()),
        "schedule" => ("days", "day".to_owned()),
        name => (name, singular(name)),
    };
    let alias = format!("e{}", outer.lists.len());
    let within: Vec<String> = outer.lists.iter().cloned().chain([list.place.json()]).collect();
    let from = format!("{} {}", rows_of(&names::table(resource.name)), self::within(&within));
    let position =
        Column::of_row("position", Type::Count, &format!("{alias}.position"), "The place in the list, from 1.");
    let mut columns = outer.columns.clone();
    columns.push(position.clone());
    let mut writer = Writer::beside(&columns, resource, Some(element.clone()));
    writer.within.clone_from(&list.place.path);
    let mut misshapen = write_element(&mut writer, list, &element, &alias);
    add_units(&mut writer.columns);
    columns.append(&mut writer.columns);
    let lists = std::mem::take(&mut writer.lists);
    misshapen.extend(lists.iter().map(List::misshapen));
    let inner = Outer { columns: of_group(outer, &position, &columns), lists: within.clone() };
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
        lists: within,
    });
    for list in lists {
        of_list(resource, record, &list, &inner, views);
    }
}

/// Joins the elements of lists to a row, those of an inner list to those of the outer one.
pub(super) fn within(lists: &[String]) -> String {
    let joins = lists.iter().enumerate().map(|(level, json)| {
        format!(
            "cross join lateral jsonb_array_elements(case when jsonb_typeof({json}) = 'array' then {json} end) \
             with ordinality as e{level} (value, position)"
        )
    });
    joins.collect::<Vec<_>>().join(" ")
}

/// Writes the columns of an element, which SQL calls by this alias. Returns where it is misshapen.
fn write_element(writer: &mut Writer, list: &List, element: &str, alias: &str) -> Vec<(String, String)> {
    let value = Place::new(&format!("{alias}.value"), &[]);
    if list.member.holds_values {
        let one =
            Member { name: element.to_owned(), kind: Some(Kind::Text), is_nullable: false, ..list.member.clone() };
        let comment = writer.comment(&list.place, &one, Type::Text);
        writer.push(Column::of_field(element.to_owned(), Type::Text, &value, comment));
        return Vec::new();
    }
    let as_object = Member { kind: Some(Kind::Object), is_nullable: false, ..list.member.clone() };
    writer.write_object(&value, if is_reference(&as_object) { element } else { "" }, &as_object);
    let mut wrong = format!("jsonb_typeof({alias}.value) <> 'object'");
    if let Some(plain) = list.member.formerly_plain
        && let Some(column) = writer.columns.iter_mut().find(|column| column.name == plain)
    {
        wrong.push_str(&format!(" and jsonb_typeof({alias}.value) <> 'string'"));
        column.expression = format!("coalesce({}, {})", column.expression, value.read_as(Type::Text));
    }
    let mut misshapen = vec![(list.name.clone(), wrong)];
    // A misshapen element itself is among them already.
    misshapen.extend(writer.misshapen.drain(..).filter(|(name, _)| !name.is_empty()));
    misshapen
}

/// The columns of the outer element that a list within a list repeats: all, with `group_` in front.
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
