//! Makes the records: realistic, of the right shape, and a function of the seed.
//!
//! Nothing about a record is stored but its [`Facts`] and the text of its list item; `.info` is written when it is asked
//! for. A resource is one [`Recipe`] in [`RECIPES`]: to add one, write its two functions and put it there.

mod companies;
mod contacts;
mod custom_fields;
mod definition;
mod definitions;
mod departments;
mod dice;
mod events;
mod facts;
mod invoice_lines;
mod invoices;
mod json;
mod names;
mod projects;
mod users;
mod world;

pub(crate) use dice::fingerprint;
pub(crate) use facts::Facts;
pub(crate) use json::moment;
pub(crate) use users::me;
pub(crate) use world::World;

/// How the records of one resource are made and what the store must know of them.
pub(crate) struct Recipe {
    /// The resource's name in the API's paths.
    pub(crate) resource: &'static str,
    /// Writes the list item and what the indexes need.
    pub(crate) list: fn(&World, &Facts) -> Draft,
    /// Writes the record of `.info`, with the optional fields of these includes.
    pub(crate) info: fn(&World, &Facts, &[&str]) -> String,
    /// The include of the list, if it has one.
    pub(crate) list_include: Option<ListInclude>,
    /// The filters that compare for equality and that [`Draft::facets`] answers.
    pub(crate) facets: &'static [&'static str],
    /// What an update changes.
    pub(crate) edits: Edits,
}

/// Where the optional fields of a list item go.
#[derive(Clone, Copy)]
pub(crate) struct ListInclude {
    /// Its name.
    pub(crate) name: &'static str,
    /// The fields go before this many closing braces at the end of the item.
    pub(crate) depth: usize,
}

/// What an update changes in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edits {
    /// Fields of the list and fields that only `.info` shows, at once; the list shows a new `updated_at`.
    Together,
    /// In turn a field of the list and a field that only `.info` shows: nothing in the list betrays the second kind.
    InTurn,
    /// Fields of the list; `.info` adds none.
    ListOnly,
}

/// The list item of a record and what the indexes need to know about it.
#[derive(Default)]
pub(crate) struct Draft {
    /// The item without its optional fields.
    pub(crate) list: String,
    /// The optional fields as members of an object, without braces.
    pub(crate) extra: String,
    /// The values to sort by, in the order of the contract's sort fields.
    pub(crate) keys: Vec<SortKey>,
    /// Fingerprints of filter name and value, one for each filter value that matches the record.
    pub(crate) facets: Vec<u64>,
}

/// A value to sort by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SortKey {
    /// Moments and numbers.
    Number(i64),
    /// Text, without regard to case.
    Text(Box<str>),
}

impl SortKey {
    fn text(value: &str) -> Self {
        Self::Text(value.to_lowercase().into())
    }
}

/// Every resource that the simulator has.
pub(crate) static RECIPES: [Recipe; 8] = [
    Recipe {
        resource: "companies",
        list: companies::list,
        info: companies::info,
        list_include: Some(ListInclude { name: "custom_fields", depth: 1 }),
        facets: &["status", "email", "tags", "vat_number"],
        edits: Edits::Together,
    },
    Recipe {
        resource: "contacts",
        list: contacts::list,
        info: contacts::info,
        list_include: Some(ListInclude { name: "custom_fields", depth: 1 }),
        facets: &["status", "email", "tags", "company_id"],
        edits: Edits::Together,
    },
    Recipe {
        resource: "customFieldDefinitions",
        list: definitions::list,
        info: definitions::info,
        list_include: None,
        facets: &["context"],
        edits: Edits::ListOnly,
    },
    Recipe {
        resource: "departments",
        list: departments::list,
        info: departments::info,
        list_include: None,
        facets: &["status"],
        edits: Edits::InTurn,
    },
    Recipe {
        resource: "events",
        list: events::list,
        info: events::info,
        list_include: None,
        facets: &["user_id", "activity_type_id", "attendee", "link", "task_id"],
        edits: Edits::ListOnly,
    },
    Recipe {
        resource: "invoices",
        list: invoices::list,
        info: invoices::info,
        // The optional fields stand in `total`, which is therefore written last.
        list_include: Some(ListInclude { name: "late_fees", depth: 2 }),
        facets: &[
            "status",
            "invoice_number",
            "department_id",
            "deal_id",
            "project_id",
            "purchase_order_number",
            "payment_reference",
            "customer",
        ],
        edits: Edits::Together,
    },
    Recipe {
        resource: "projects",
        list: projects::list,
        info: projects::info,
        list_include: None,
        facets: &["status", "customer", "participant_id"],
        edits: Edits::InTurn,
    },
    Recipe {
        resource: "users",
        list: users::list,
        info: users::info,
        list_include: None,
        facets: &["status"],
        edits: Edits::InTurn,
    },
];

/// The recipe of a resource.
pub(crate) fn recipe(resource: &str) -> Option<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.resource == resource)
}

/// The fingerprint of a filter value that points to a record by its id.
fn id_facet(filter: &str, id: uuid::Uuid) -> u64 {
    fingerprint(&[filter, &id.to_string()])
}
