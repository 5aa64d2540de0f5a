//! How the records of each resource are made.

use std::sync::LazyLock;

use super::blueprint::Blueprint;
use super::draft::Range;
use super::{
    Draft, Edits, Facts, World, companies, contacts, definitions, departments, documents, events, invoices, projects,
    users,
};
use crate::contract;

/// How the records of one resource are made and what the store must know of them.
pub(crate) struct Recipe {
    /// The resource's name in the simulator's own API, and in the paths of the API but for `list…` endpoints.
    pub(crate) resource: &'static str,
    make: Make,
    /// The filters that compare for equality and that [`Draft::facets`] answers.
    pub(crate) facets: Vec<&'static str>,
    /// The filters that set a bound.
    pub(crate) ranges: Vec<Range>,
    /// Fingerprints of filter values that the blueprint allows and that no record can show.
    pub(crate) unshown: Vec<u64>,
    /// What an update changes.
    pub(crate) edits: Edits,
}

enum Make {
    /// By functions that know the resource.
    ByHand { list: fn(&World, &Facts) -> Draft, info: fn(&World, &Facts, &[&str]) -> String },
    /// As the blueprint draws it.
    Blueprint(Box<Blueprint>),
    /// As the blueprint draws it for each kind of incoming document.
    Documents(Box<[Blueprint; 3]>),
}

impl Recipe {
    /// Writes the list item and what the indexes need.
    pub(crate) fn list(&self, world: &World, facts: &Facts) -> Draft {
        match &self.make {
            Make::ByHand { list, .. } => list(world, facts),
            Make::Blueprint(blueprint) => blueprint.list(world, facts),
            Make::Documents(kinds) => kinds[(facts.ordinal % 3) as usize].list(world, facts),
        }
    }

    /// Writes the record of `.info`, with the optional fields of these includes.
    pub(crate) fn info(&self, world: &World, facts: &Facts, includes: &[&str]) -> String {
        match &self.make {
            Make::ByHand { info, .. } => info(world, facts, includes),
            Make::Blueprint(blueprint) => blueprint.info(world, facts, includes),
            Make::Documents(kinds) => kinds[(facts.ordinal % 3) as usize].info(world, facts, includes),
        }
    }

    fn drawn(resource: &'static str) -> Option<Self> {
        let make = match resource {
            "expenses" => Make::Documents(Box::new(documents::blueprints()?)),
            _ => Make::Blueprint(Box::new(Blueprint::of(resource)?)),
        };
        let (shape, edits) = match &make {
            Make::Blueprint(blueprint) => (&**blueprint, blueprint.edits()),
            // `.info` shows what the list shows.
            Make::Documents(kinds) => (&kinds[0], Edits::ListOnly),
            Make::ByHand { .. } => return None,
        };
        let (facets, ranges, unshown) = (shape.facets(), shape.ranges(), shape.unshown());
        Some(Self { resource, make, facets, ranges, unshown, edits })
    }
}

/// The recipes of all resources that the blueprint has.
pub(crate) fn recipes() -> &'static [Recipe] {
    static RECIPES: LazyLock<Vec<Recipe>> = LazyLock::new(|| {
        let mut recipes = Vec::from(by_hand());
        // userSchedules are computed.
        for resource in contract::resources().filter(|resource| *resource != "userSchedules") {
            if !recipes.iter().any(|recipe| recipe.resource == resource) {
                recipes.extend(Recipe::drawn(resource));
            }
        }
        recipes
    });
    &RECIPES
}

fn by_hand() -> [Recipe; 8] {
    [
        Recipe {
            resource: "companies",
            make: Make::ByHand { list: companies::list, info: companies::info },
            facets: vec![
                "status",
                "email",
                "tags",
                "vat_number",
                "marketing_mails_consent",
                "national_identification_number",
            ],
            ranges: Vec::new(),
            unshown: Vec::new(),
            edits: Edits::Together,
        },
        Recipe {
            resource: "contacts",
            make: Make::ByHand { list: contacts::list, info: contacts::info },
            facets: vec!["status", "email", "tags", "company_id", "marketing_mails_consent"],
            ranges: Vec::new(),
            unshown: Vec::new(),
            edits: Edits::Together,
        },
        Recipe {
            resource: "customFieldDefinitions",
            make: Make::ByHand { list: definitions::list, info: definitions::info },
            facets: vec!["context"],
            ranges: Vec::new(),
            unshown: Vec::new(),
            edits: Edits::ListOnly,
        },
        Recipe {
            resource: "departments",
            make: Make::ByHand { list: departments::list, info: departments::info },
            facets: vec!["status"],
            ranges: Vec::new(),
            unshown: Vec::new(),
            edits: Edits::InTurn,
        },
        Recipe {
            resource: "events",
            make: Make::ByHand { list: events::list, info: events::info },
            facets: vec!["user_id", "activity_type_id", "attendee", "link", "task_id"],
            ranges: vec![Range::from("ends_after", 0), Range::until("starts_before", 1)],
            unshown: Vec::new(),
            edits: Edits::ListOnly,
        },
        Recipe {
            resource: "invoices",
            make: Make::ByHand { list: invoices::list, info: invoices::info },
            facets: vec![
                "status",
                "invoice_number",
                "department_id",
                "deal_id",
                "project_id",
                "subscription_id",
                "purchase_order_number",
                "payment_reference",
                "customer",
            ],
            ranges: vec![Range::from("invoice_date_after", 0), Range::until("invoice_date_before", 0)],
            unshown: Vec::new(),
            edits: Edits::Together,
        },
        Recipe {
            resource: "projects",
            make: Make::ByHand { list: projects::list, info: projects::info },
            facets: vec!["status", "customer", "participant_id"],
            ranges: Vec::new(),
            unshown: Vec::new(),
            edits: Edits::InTurn,
        },
        Recipe {
            resource: "users",
            make: Make::ByHand { list: users::list, info: users::info },
            facets: vec!["status"],
            ranges: Vec::new(),
            unshown: Vec::new(),
            edits: Edits::InTurn,
        },
    ]
}
