//! The contract of the API as its blueprint draws it, read from `data/endpoints.json`.
//!
//! Which filters, sorts, includes and pages an endpoint has is decided by that file and not by code.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The shape of a field.
#[derive(Debug, Deserialize)]
pub struct Field {
    /// The blueprint's name of the type, such as `string`, `array[enum]` or `Money`; a few have none.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Whether the value may be null.
    #[serde(default)]
    pub nullable: bool,
    /// The values of an enumeration.
    #[serde(rename = "enum")]
    pub choices: Option<Vec<String>>,
    /// The fields of an object or of the objects in an array.
    #[serde(default)]
    pub fields: Fields,
    /// The include that brings this field.
    pub needs_include: Option<String>,
    /// Whether a parameter or a filter must be given.
    #[serde(default)]
    pub required: bool,
    /// A value that the blueprint gives as an example: often the only hint at what a text holds.
    pub example: Option<String>,
    /// Members that live answers have beside those of [`Field::choices`].
    #[serde(default)]
    pub enum_live: Vec<String>,
}

/// Fields by name.
pub type Fields = BTreeMap<String, Field>;

/// One read endpoint.
#[derive(Debug, Deserialize)]
pub struct Endpoint {
    /// Filters of a list.
    #[serde(default)]
    pub filter: Fields,
    /// Parameters beside filters, sorts and pages.
    #[serde(default)]
    pub parameters: Fields,
    /// Whether a list comes in pages. One that does not gives everything at once.
    #[serde(default)]
    pub paged: bool,
    /// How a list can be sorted.
    #[serde(default)]
    pub sort: Sorts,
    /// The optional fields that can be asked for.
    #[serde(default)]
    pub includes: Vec<String>,
    /// What comes beside `data`.
    #[serde(default)]
    pub meta: Fields,
    /// The shape of one record.
    #[serde(default)]
    pub record: Fields,
    /// Whether the record of `.info` is documented without the envelope `data`.
    #[serde(default)]
    pub unwrapped: bool,
    /// Whether live answers come without that envelope, where somebody saw otherwise than documented.
    pub unwrapped_live: Option<bool>,
    /// Whether the specification declares that the list says how many records match.
    #[serde(default)]
    pub matches: Declared,
    /// How many days a request may ask for, both ends included.
    pub max_days: Option<i64>,
}

/// Whether the specification declares something.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Declared {
    /// It does.
    Declared,
    /// It says nothing.
    #[default]
    Undeclared,
}

impl Endpoint {
    /// Whether the answer has the page and the number of matches although nobody asked.
    pub fn tells_page_unasked(&self) -> bool {
        self.meta.get("page").is_some_and(|page| page.needs_include.is_none())
    }

    /// Whether the record comes without the envelope `data`.
    pub fn is_bare(&self) -> bool {
        self.unwrapped_live.unwrap_or(self.unwrapped)
    }
}

/// The sorts of a list.
#[derive(Debug, Default, Deserialize)]
pub struct Sorts {
    /// The fields to sort by.
    #[serde(default)]
    pub fields: Vec<String>,
    /// The sort when none is asked for. Without one the order is that of creation.
    pub default: Option<Sort>,
    /// The directions that the list has; without an entry it has both.
    #[serde(default)]
    pub orders: Vec<Order>,
}

/// A field and a direction.
#[derive(Clone, Debug, Deserialize)]
pub struct Sort {
    /// The field.
    pub field: String,
    /// Ascending unless said otherwise.
    #[serde(default)]
    pub order: Order,
}

/// A direction.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// From low to high.
    #[default]
    Asc,
    /// From high to low.
    Desc,
}

#[derive(Deserialize)]
struct Contract {
    endpoints: BTreeMap<String, Endpoint>,
    writes: BTreeMap<String, IgnoredAny>,
    webhook_types: Vec<String>,
}

/// The contract, which always fits its types: a test reads the file that is compiled in.
fn contract() -> &'static Contract {
    static CONTRACT: LazyLock<Contract> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../data/endpoints.json")).expect("data/endpoints.json fits its types")
    });
    &CONTRACT
}

/// Every endpoint that reads, by name, such as `contacts.list`.
pub fn endpoints() -> &'static BTreeMap<String, Endpoint> {
    &contract().endpoints
}

/// Whether this is the name of an endpoint that writes, such as `webhooks.register`.
pub fn writes(name: &str) -> bool {
    contract().writes.contains_key(name)
}

/// Whether the API has an endpoint of this name.
pub(crate) fn has(name: &str) -> bool {
    endpoint(name).is_some() || writes(name)
}

/// The types that webhooks can be registered for, such as `contact.updated`.
pub fn webhook_types() -> &'static [String] {
    &contract().webhook_types
}

/// One endpoint by name.
pub fn endpoint(name: &str) -> Option<&'static Endpoint> {
    endpoints().get(name)
}

/// Every resource that has a list and is read, with the name of its list endpoint. Webhooks are registered by clients.
fn lists() -> &'static BTreeMap<&'static str, &'static str> {
    static LISTS: LazyLock<BTreeMap<&'static str, &'static str>> = LazyLock::new(|| {
        let names = endpoints().keys().filter(|name| *name != "webhooks.list");
        names.filter_map(|name| Some((resource_of(name)?, name.as_str()))).collect()
    });
    &LISTS
}

/// The names of all resources, such as `contacts`, `projects-v2/tasks` and `users.daysOff`.
pub fn resources() -> impl Iterator<Item = &'static str> {
    lists().keys().copied()
}

/// The list endpoint of a resource, such as `contacts.list` or `users.listDaysOff`.
pub fn list_endpoint(resource: &str) -> Option<&'static str> {
    lists().get(resource).copied()
}

/// The resource that a list endpoint lists.
pub fn resource_of(list_endpoint: &str) -> Option<&str> {
    match list_endpoint {
        "users.listDaysOff" => Some("users.daysOff"),
        "tickets.listMessages" => Some("tickets.messages"),
        "incomingCreditNotes.listPayments" => Some("incomingCreditNotes.payments"),
        "incomingInvoices.listPayments" => Some("incomingInvoices.payments"),
        "receipts.listPayments" => Some("receipts.payments"),
        _ => list_endpoint.strip_suffix(".list"),
    }
}

/// Whether an endpoint is one of a resource's: its list, or any that has its name in front.
pub(crate) fn belongs_to(endpoint: &str, resource: &str) -> bool {
    endpoint == resource
        || resource_of(endpoint) == Some(resource)
        || endpoint.rsplit_once('.').is_some_and(|(front, _)| front == resource)
}

/// The info endpoint of a resource, if it has one.
pub fn info_endpoint(resource: &str) -> Option<&'static Endpoint> {
    endpoint(&format!("{resource}.info"))
}
