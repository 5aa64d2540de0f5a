//! The resources: endpoints, sorts and filters, as `endpoints.json` has them, the API's documents as data.
//!
//! A resource is added by one entry in `resources.rs`, which says what the documents do not. Its table, views, shapes and
//! simulator follow from the two.

mod blueprint;
mod derived;
mod resources;
mod shape;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use serde_json::{Value, json};
use uuid::Uuid;

pub use blueprint::{Member, members, shared_fields};
pub use derived::named;
pub use shape::{Field, Kind, Shape, Shapes};

/// Namespace of the row ids that are made from what a record has instead of an id.
const NAMESPACE: Uuid = Uuid::from_u128(0x0b5c_7f52_88a4_5f6e_a0d1_2c94_71e3_d86b);

/// All resources, in the order in which a run works on them.
pub static RESOURCES: LazyLock<Vec<Resource>> = LazyLock::new(derived::resources);

/// A resource of the API: what one `.list` endpoint gives, and its table.
#[derive(Debug, PartialEq)]
pub struct Resource {
    /// The list endpoint without `.list`; for the two that are not called so, a name like it.
    pub name: &'static str,
    /// Values for `includes` of the list endpoint.
    pub list_includes: &'static [&'static str],
    /// How the list is read.
    pub paging: Paging,
    /// Whether the list takes `filter.updated_since` (one second, inclusive).
    pub updated_since: bool,
    /// Whether the list takes `filter.ids`.
    pub ids_filter: bool,
    /// Whether there is an `.info` endpoint.
    pub has_info: bool,
    /// Statuses to ask for, where the filter takes a list of them: without it a list may leave archived records out.
    pub statuses: &'static [&'static str],
    /// A status that a list may leave out, where the filter takes one alone: what seems gone is asked for under it, too.
    pub hidden_status: Option<&'static str>,
    /// Whether and when `.info` is asked.
    pub detail: Detail,
    /// What tells one record from another.
    pub key: Key,
    /// What one list covers.
    pub scope: Scope,
    /// The filter by which an incremental pass may leave out what lies further back, where it is set to.
    pub window: Option<Window>,
    /// Which of the two project APIs it belongs to.
    pub project_api: Option<ProjectApi>,
    /// Whether the documents say that the list gives `meta.matches`.
    pub tells_matches: bool,
}

/// How a list is read to its end without losing a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// Sorted by `updated_at`, each request beginning at the last one seen: nothing shifts below the reader.
    Seek,
    /// By page number, sorted by this field (the API's default order where `None`).
    Offset(Option<(&'static str, Order)>),
}

/// The order of a sort: some lists have one alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `asc`
    Ascending,
    /// `desc`
    Descending,
}

impl Order {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ascending => "asc",
            Self::Descending => "desc",
        }
    }
}

/// Whether `.info` adds fields, and how a change of them is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// `.info` adds nothing, or does not exist.
    None,
    /// `.info` adds fields.
    Info {
        /// Values for `includes` of the info endpoint.
        includes: &'static [&'static str],
        /// Whether the list item differs whenever a field of the detail has changed, since it holds `updated_at`.
        shown_by_list: bool,
    },
    /// `.info` adds so little that it is asked only by a request that names the resource and says `refetch`.
    OnDemand {
        /// Values for `includes` of the info endpoint.
        includes: &'static [&'static str],
    },
}

/// What tells one record from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The field `id`.
    Id,
    /// There is no `id`: these fields together (JSON pointers). Where it is one UUID, that is the row's id; else the row's id is
    /// made from them.
    Fields(&'static [&'static str]),
    /// The field `id`, which older answers do not have: these fields together then.
    IdOr(&'static [&'static str]),
}

/// What one list covers. All but [`Scope::Account`] take a list for each part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole account.
    Account,
    /// One country; the countries are those of the stored addresses.
    Country,
    /// One department and one type of document.
    DepartmentAndType(&'static [&'static str]),
    /// One type.
    Type(&'static [&'static str]),
    /// Seven days of the users; see [`crate::sync`].
    Week,
    /// One parent record: a call for each, so these are read only where they are named.
    Parent(Child, &'static [Parent]),
    /// There is no list: the rows of this resource say which records there are, by `source.id` where `source.type` is the kind.
    Stored(&'static [Parent]),
}

/// How a list is told whose children to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// `filter.subject`, with type and id.
    Subject,
    /// This parameter.
    Parameter(&'static str),
}

/// Records that can have children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The word for it in `filter.subject.type`.
    pub kind: &'static str,
    /// Its resource.
    pub resource: &'static str,
}

/// The filter of an incremental pass over a list that cannot tell what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The filter that takes the earliest moment.
    pub from: &'static str,
    /// Whether it takes a date, and not a time.
    pub is_date: bool,
}

/// The two project APIs, of which an account uses one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectApi {
    /// `projects` and `milestones`.
    Legacy,
    /// `projects-v2/…`.
    V2,
}

/// How a record that a complete pass did not see is asked for once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskAgain {
    /// By `filter.ids`, 100 at a time.
    Ids,
    /// By `.info`, one at a time.
    Info,
    /// By reading the list once more.
    List,
}

/// The largest page that the API gives.
pub const PAGE_SIZE: usize = 100;

/// How many records a page has that no size was asked for, or whose list ignores it; nothing in the answer warns of that.
pub const DEFAULT_PAGE_SIZE: usize = 20;

/// How many pages of this size so many records are.
pub fn pages(records: i64, size: usize) -> i64 {
    records.max(0).unsigned_abs().div_ceil(size.max(1) as u64).try_into().unwrap_or(i64::MAX)
}

/// The resource of that name.
pub fn find(name: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.name == name)
}

/// All names, comma-separated, for messages to people.
pub fn names() -> String {
    RESOURCES.iter().map(|r| r.name).collect::<Vec<_>>().join(", ")
}

/// The name of a resource's table and view.
pub fn table(resource: &str) -> String {
    snake_case(&resource.replace(['/', '.', '-'], "_"))
}

/// `workOrder` is `work_order`.
pub fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 8);
    for c in name.chars() {
        let after_word = snake.ends_with(|before: char| before.is_ascii_lowercase() || before.is_ascii_digit());
        if c.is_ascii_uppercase() && after_word {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// The resources whose records belong to records of this one.
pub fn children_of(parent: &str) -> Vec<&'static str> {
    let belongs = |resource: &&Resource| resource.parents().iter().any(|of| of.resource == parent);
    RESOURCES.iter().filter(belongs).map(|resource| resource.name).collect()
}

impl Resource {
    /// The path of the list endpoint, without a leading slash.
    pub fn list_endpoint(&self) -> String {
        derived::list_endpoint(self.name)
    }

    /// The path of the info endpoint, without a leading slash.
    pub fn info_endpoint(&self) -> String {
        format!("{}.info", self.name)
    }

    /// Whether it is read without naming it.
    pub fn stands_alone(&self) -> bool {
        !matches!(self.scope, Scope::Parent(..))
    }

    /// The records whose children these are.
    pub fn parents(&self) -> &'static [Parent] {
        match self.scope {
            Scope::Parent(_, parents) | Scope::Stored(parents) => parents,
            _ => &[],
        }
    }

    /// The rows that name the records, where there is no list.
    pub fn stored_in(&self) -> Option<&'static Parent> {
        match self.scope {
            Scope::Stored(of) => of.first(),
            _ => None,
        }
    }

    /// How a record that a complete pass did not see is asked for once more.
    pub fn ask_again(&self) -> AskAgain {
        match self {
            Self { ids_filter: true, .. } => AskAgain::Ids,
            Self { has_info: true, .. } => AskAgain::Info,
            _ => AskAgain::List,
        }
    }

    /// Whether details are fetched without being asked for.
    pub fn has_details(&self) -> bool {
        matches!(self.detail, Detail::Info { .. })
    }

    /// Whether there are details whose change no list shows.
    pub fn has_unshown_details(&self) -> bool {
        matches!(self.detail, Detail::Info { shown_by_list: false, .. })
    }

    /// Values for `includes` of the info endpoint.
    pub fn info_includes(&self) -> &'static [&'static str] {
        match self.detail {
            Detail::Info { includes, .. } | Detail::OnDemand { includes } => includes,
            Detail::None => &[],
        }
    }

    /// The id of a record's row: the record's own, or one made from what it has instead. `id` is the JSON of its field `id`, `record`
    /// that of all of it. The error shows nothing of it.
    pub fn row_id(&self, record: &str, id: Option<&str>) -> Result<Uuid, String> {
        let own = || id.and_then(|id| serde_json::from_str::<&str>(id).ok()?.parse().ok());
        // Nearly all are plain.
        if !matches!(self.key, Key::Fields(_))
            && let Some(id) = own()
        {
            return Ok(id);
        }
        match self.key {
            Key::Fields(pointers) | Key::IdOr(pointers) => self.id_of_fields(record, pointers, |part| part),
            Key::Id => {
                let id: Value = id.and_then(|id| serde_json::from_str(id).ok()).unwrap_or_default();
                self.made_id(&[&id]).ok_or_else(|| "a record without an id that is a UUID".to_owned())
            }
        }
    }

    /// The id that the row of this record had before its list gave it one, or gave what tells it from others as it is
    /// written; `None` where it always did.
    pub fn former_id(&self, record: &str) -> Option<Uuid> {
        match self.key {
            Key::IdOr(pointers) => self.id_of_fields(record, pointers, |part| part).ok(),
            Key::Fields(pointers) if resources::FORMERLY_IN_LOWER_CASE.contains(&self.name) => {
                self.id_of_fields(record, pointers, in_lower_case).ok()
            }
            Key::Id | Key::Fields(_) => None,
        }
    }

    fn id_of_fields(&self, record: &str, pointers: &[&str], spelled: fn(Value) -> Value) -> Result<Uuid, String> {
        let record: Value = serde_json::from_str(record).map_err(|_| "a record is not JSON".to_owned())?;
        let part = |pointer: &&str| spelled(record.pointer(pointer).cloned().unwrap_or_default());
        let parts: Vec<Value> = pointers.iter().map(part).collect();
        self.made_id(&parts.iter().collect::<Vec<_>>())
            .ok_or_else(|| format!("a record without {}, which tell one from another", pointers.join(" and ")))
    }

    fn made_id(&self, parts: &[&Value]) -> Option<Uuid> {
        let texts = parts.iter().map(|part| match part {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null if parts.len() > 1 => Some(String::new()),
            _ => None,
        });
        let texts: Vec<String> = texts.collect::<Option<_>>()?;
        match &texts[..] {
            [one] if one.parse::<Uuid>().is_ok() => one.parse().ok(),
            // What is asked for by its id later has to have the API's.
            _ if self.key == Key::Id && self.ask_again() != AskAgain::List => None,
            texts => Some(Uuid::new_v5(&NAMESPACE, [&[self.name.to_owned()], texts].concat().join("\n").as_bytes())),
        }
    }

    /// The body of a list request for a page, by number and size, of the part that `part` names.
    ///
    /// `since` is an RFC 3339 time for `filter.updated_since`, or for the window. `pagination` is always asked for: some lists tell
    /// `meta` only then.
    pub fn list_body(&self, (page, size): (u32, usize), since: Option<&str>, part: &Value) -> Value {
        let mut body = self.base_body(page, size);
        if let Some(since) = since {
            match self.window {
                _ if self.updated_since => body["filter"]["updated_since"] = json!(since),
                Some(Window { from, is_date }) => {
                    let since = if is_date { since.split('T').next().unwrap_or(since) } else { since };
                    body["filter"][from] = json!(since);
                }
                None => {}
            }
        }
        overlay(&mut body, part);
        body
    }

    /// The body of a list request for up to [`PAGE_SIZE`] ids, of those with this status if it names one.
    pub fn ids_body(&self, ids: &[Uuid], status: Option<&str>) -> Value {
        let mut body = self.base_body(1, PAGE_SIZE);
        body["filter"]["ids"] = json!(ids);
        if let Some(status) = status {
            body["filter"]["status"] = json!(status);
        }
        body
    }

    /// The body of an info request.
    pub fn info_body(&self, id: Uuid) -> Value {
        let mut body = json!({ "id": id });
        if !self.info_includes().is_empty() {
            body["includes"] = json!(self.info_includes().join(","));
        }
        body
    }

    fn base_body(&self, page: u32, size: usize) -> Value {
        let includes = [self.list_includes, &["pagination"]].concat().join(",");
        let mut body = json!({
            "page": { "size": size, "number": page },
            "includes": includes,
        });
        let sort = match self.paging {
            Paging::Seek => Some(("updated_at", Order::Ascending)),
            Paging::Offset(sort) => sort,
        };
        if let Some((field, order)) = sort {
            body["sort"] = json!([{ "field": field, "order": order.as_str() }]);
        }
        if !self.statuses.is_empty() {
            body["filter"] = json!({ "status": self.statuses });
        }
        body
    }
}

fn in_lower_case(part: Value) -> Value {
    match part {
        Value::String(text) => Value::String(text.to_lowercase()),
        other => other,
    }
}

/// Lays the keys of an object over another one, objects within it too.
fn overlay(body: &mut Value, over: &Value) {
    match (body, over) {
        (Value::Object(body), Value::Object(over)) => {
            for (key, value) in over {
                overlay(body.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (body, over) => *body = over.clone(),
    }
}
