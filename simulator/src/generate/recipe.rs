//! How the records of each resource are made.

use std::sync::LazyLock;

use super::blueprint::Blueprint;
use super::documents::DOCUMENTS;
use super::draft::{Draft, Range};
use super::facts::{Edits, Facts};
use super::world::World;
use super::{companies, contacts, credit_notes, definitions, departments, events, invoices, projects, users};
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

/// Writes the list item of a record and what the indexes need.
type List = fn(&World, &Facts) -> Draft;

/// Writes the record of `.info`, with the optional fields of these includes.
type Info = fn(&World, &Facts, &[&str]) -> String;

enum Make {
    /// By functions that know the resource.
    ByHand { list: List, info: Info },
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

    fn by_hand(resource: &'static str, list: List, info: Info, edits: Edits) -> Self {
        let make = Make::ByHand { list, info };
        Self { resource, make, facets: Vec::new(), ranges: Vec::new(), unshown: Vec::new(), edits }
    }

    fn with_facets(self, facets: &[&'static str]) -> Self {
        Self { facets: facets.to_vec(), ..self }
    }

    fn with_ranges(self, ranges: [Range; 2]) -> Self {
        Self { ranges: ranges.into(), ..self }
    }

    fn drawn(resource: &'static str) -> Option<Self> {
        let make = match resource {
            "expenses" => Make::Documents(Box::new(documents()?)),
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
        let mut recipes = Vec::from(written_by_hand());
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

fn written_by_hand() -> [Recipe; 9] {
    [
        Recipe::by_hand("companies", companies::list, companies::info, Edits::Together).with_facets(&[
            "status",
            "email",
            "tags",
            "vat_number",
            "marketing_mails_consent",
            "national_identification_number",
        ]),
        Recipe::by_hand("contacts", contacts::list, contacts::info, Edits::Together).with_facets(&[
            "status",
            "email",
            "tags",
            "company_id",
            "marketing_mails_consent",
        ]),
        Recipe::by_hand("creditNotes", credit_notes::list, credit_notes::info, Edits::Together)
            .with_facets(&["department_id", "invoice_id", "customer"])
            .with_ranges([Range::from("credit_note_date_after", 0), Range::until("credit_note_date_before", 0)]),
        Recipe::by_hand("customFieldDefinitions", definitions::list, definitions::info, Edits::ListOnly)
            .with_facets(&["context"]),
        Recipe::by_hand("departments", departments::list, departments::info, Edits::InTurn).with_facets(&["status"]),
        Recipe::by_hand("events", events::list, events::info, Edits::ListOnly)
            .with_facets(&["user_id", "activity_type_id", "attendee", "link", "task_id"])
            .with_ranges([Range::from("ends_after", 0), Range::until("starts_before", 1)]),
        Recipe::by_hand("invoices", invoices::list, invoices::info, Edits::Together)
            .with_facets(&[
                "status",
                "invoice_number",
                "department_id",
                "deal_id",
                "project_id",
                "subscription_id",
                "purchase_order_number",
                "payment_reference",
                "customer",
            ])
            .with_ranges([Range::from("invoice_date_after", 0), Range::until("invoice_date_before", 0)]),
        Recipe::by_hand("projects", projects::list, projects::info, Edits::InTurn).with_facets(&[
            "status",
            "customer",
            "participant_id",
        ]),
        Recipe::by_hand("users", users::list, users::info, Edits::InTurn).with_facets(&["status"]),
    ]
}

/// How expenses are drawn: one shape for each kind of document.
fn documents() -> Option<[Blueprint; 3]> {
    let [invoice, credit_note, receipt] =
        DOCUMENTS.map(|(_, resource)| Blueprint::merged("expenses", contract::info_endpoint(resource)));
    Some([invoice?, credit_note?, receipt?])
}
