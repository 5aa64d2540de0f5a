//! One custom field definition: needed by its own record, and by all records that carry a value of it.

use uuid::Uuid;

use super::dice::{Dice, fingerprint};
use super::facts::{Facts, Rolls};
use super::json::Json;
use super::names::spice;

/// The `type` enumeration of customFieldDefinitions.
#[rustfmt::skip]
const TYPES: [&str; 17] = [
    "single_line", "multi_line", "single_select", "multi_select", "date", "money", "auto_increment",
    "integer", "number", "boolean", "email", "telephone", "url", "company", "contact", "product",
    "user",
];

/// The contexts behind contact and company, which come first and get every type.
const OTHER_CONTEXTS: [&str; 4] = ["invoice", "project", "deal", "product"];

/// The contexts of the definitions behind the first forty, by turns.
#[rustfmt::skip]
const LATER_CONTEXTS: [&str; 14] = [
    "task", "call", "deal", "meeting", "meeting_report", "pro_external_cost", "werkbonnen", "invoice", "project",
    "milestone", "subscription", "ticket", "deal", "product",
];

/// How many definitions have a context of [`OTHER_CONTEXTS`] or one of the first two.
const EARLIER: usize = 40;

/// The name that live answers give to a context.
fn live(context: &'static str) -> &'static str {
    match context {
        "call" => "callback",
        "deal" => "sale",
        "task" => "todo",
        context => context,
    }
}

/// One custom field, as far as the records that use it must know it.
pub(super) struct Definition {
    pub(super) id: Uuid,
    pub(super) context: &'static str,
    pub(super) kind: &'static str,
    pub(super) label: String,
    group: String,
    required: bool,
    /// The answers of a selection; empty for every other type.
    pub(super) options: Vec<(Uuid, &'static str)>,
    extra_option_allowed: bool,
}

/// The two texts of a definition.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// With the default value of a selection.
    ListItem,
    Info,
}

impl Definition {
    /// The definition with these facts.
    pub(super) fn roll(mut rolls: Rolls, facts: &Facts) -> Self {
        let ordinal = facts.ordinal as usize;
        let types = TYPES.len();
        let context = match ordinal / types {
            0 => "contact",
            1 => "company",
            _ if ordinal >= EARLIER => LATER_CONTEXTS[(ordinal - EARLIER) % LATER_CONTEXTS.len()],
            // Invoices and projects each get their types in turn, two of three definitions.
            // The forty are documented contexts: a small account has no definition of milestones and the like.
            _ => OTHER_CONTEXTS[[0, 1, 0, 1, 2, 3][(ordinal - 2 * types) % 6]],
        };
        let kind = if ordinal < 2 * types { TYPES[ordinal % types] } else { TYPES[(ordinal * 5) % types] };
        let selects = matches!(kind, "single_select" | "multi_select");
        let options = match selects {
            true => ["Ja", "Nee", "Peut-être", "Later"].map(|value| (option_id(facts.id, value), value)).to_vec(),
            false => Vec::new(),
        };
        let label = match facts.list_edits {
            0 => labelled(kind).to_owned(),
            edits => format!("{} {}", labelled(kind), edits + 1),
        };
        Self {
            id: facts.id,
            context,
            kind,
            label: spice(facts.ordinal, label),
            group: rolls.list.pick(&["Algemeen", "Général", "Facturatie", ""]).to_owned(),
            required: rolls.base.chance(15),
            options,
            extra_option_allowed: selects && rolls.base.chance(30),
        }
    }

    /// The name of the context, as documented or as live answers have it.
    pub(super) fn shown_context(&self, documented: bool) -> &'static str {
        if documented { self.context } else { live(self.context) }
    }

    /// The record, with contexts as documented or as live answers name them.
    pub(super) fn write(&self, documented: bool, text: Text) -> String {
        let mut json = Json::object(512);
        json.id("id", self.id);
        json.text("context", self.shown_context(documented));
        json.text("type", self.kind);
        json.text("label", &self.label);
        json.text("group", &self.group);
        json.flag("required", self.required);
        // Live answers have it of selections alone.
        if !documented && self.options.is_empty() {
            return json.finish();
        }
        json.nested("configuration", |json| {
            json.list("options", |json| {
                for (id, value) in &self.options {
                    json.item(|json| {
                        json.id("id", *id);
                        json.text("value", value);
                    });
                }
            });
            json.flag("extra_option_allowed", self.extra_option_allowed);
            if text == Text::ListItem {
                json.maybe("default_value", self.options.first().map(|(_, value)| *value));
            }
        });
        json.finish()
    }
}

/// What a field of a type is called.
fn labelled(kind: &str) -> &'static str {
    match kind {
        "single_line" => "Referentie",
        "multi_line" => "Bijzonderheden",
        "single_select" => "Nieuwsbrief",
        "multi_select" => "Interesses",
        "date" => "Laatste bezoek",
        "money" => "Kredietlimiet",
        "auto_increment" => "Klantnummer",
        "integer" => "Aantal medewerkers",
        "number" => "Korting in %",
        "boolean" => "Akkoord voorwaarden",
        "email" => "E-mail boekhouding",
        "telephone" => "Noodnummer",
        "url" => "Webshop",
        "company" => "Moederbedrijf",
        "contact" => "Aangebracht door",
        "product" => "Favoriet product",
        _ => "Tweede verantwoordelijke",
    }
}

fn option_id(definition: Uuid, value: &str) -> Uuid {
    Dice::new(&[definition.as_u64_pair().0, fingerprint(&[value])]).uuid()
}
