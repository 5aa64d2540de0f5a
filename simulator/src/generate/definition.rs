//! One custom field definition: needed by its own record, and by all records that carry a value of it.

use uuid::Uuid;

use super::dice::{Dice, fingerprint};
use super::facts::{Facts, Rolls};
use super::json::Json;
use super::names::{SUBJECTS, spice};

/// The `type` enumeration of customFieldDefinitions.
#[rustfmt::skip]
const TYPES: [&str; 17] = [
    "single_line", "multi_line", "single_select", "multi_select", "date", "money", "auto_increment",
    "integer", "number", "boolean", "email", "telephone", "url", "company", "contact", "product",
    "user",
];

/// The contexts behind contact and company, which come first and get every type.
#[rustfmt::skip]
const OTHER_CONTEXTS: [&str; 7] = [
    "invoice", "project", "deal", "product", "milestone", "subscription", "ticket",
];

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

impl Definition {
    /// The definition with these facts.
    pub(super) fn roll(mut rolls: Rolls, facts: &Facts) -> Self {
        let ordinal = facts.ordinal as usize;
        let types = TYPES.len();
        let context = match ordinal / types {
            0 => "contact",
            1 => "company",
            // Invoices and projects each get their types in turn, two of three definitions.
            _ => OTHER_CONTEXTS[[0, 1, 0, 1, 2, 3, 0, 1, 4, 0, 1, 5, 0, 1, 6][(ordinal - 2 * types) % 15]],
        };
        let kind = if ordinal < 2 * types { TYPES[ordinal % types] } else { TYPES[(ordinal * 5) % types] };
        let selects = matches!(kind, "single_select" | "multi_select");
        let options = match selects {
            true => ["Ja", "Non", "Peut-être 🤔", "未定"].map(|value| (option_id(facts.id, value), value)).to_vec(),
            false => Vec::new(),
        };
        let label = format!("{} {} {}", kind.replace('_', " "), rolls.list.pick(SUBJECTS), rolls.list.below(1000));
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

    /// The record.
    pub(super) fn write(&self) -> String {
        let mut json = Json::object(512);
        json.id("id", self.id);
        json.text("context", self.context);
        json.text("type", self.kind);
        json.text("label", &self.label);
        json.text("group", &self.group);
        json.flag("required", self.required);
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
        });
        json.finish()
    }
}

fn option_id(definition: Uuid, value: &str) -> Uuid {
    Dice::new(&[definition.as_u64_pair().0, fingerprint(&[value])]).uuid()
}
