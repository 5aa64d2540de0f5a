//! The values of custom fields on records.
//!
//! The blueprint draws the value of a field that points to a record (`{"type", "id"}`) and no other kind; those follow
//! their definition's `type`: text, numbers, booleans, an array of texts for a multiple choice,
//! `{"amount", "currency"}` for money.

use super::definition::Definition;
use super::dice::Dice;
use super::facts::foreign_id;
use super::json::{Json, day, hundredths};
use super::names::{FIRST_NAMES, LAST_NAMES, SENTENCES, company_name, email, slug, telephone};
use super::world::World;

/// The `context` enumeration of customFieldDefinitions.
#[rustfmt::skip]
const CONTEXTS: [&str; 9] = [
    "contact", "company", "deal", "project", "milestone", "product", "invoice", "subscription", "ticket",
];

/// The member `custom_fields` of a record: a third of the fields of its context has a value.
///
/// The first field of the context follows `edits`, the rest `base`.
pub(super) fn write(json: &mut Json, world: &World, context: &str, base: &mut Dice, edits: &mut Dice) {
    json.list("custom_fields", |json| {
        for (number, definition) in world.definitions(context).iter().enumerate() {
            let (filled, dice) = match number {
                0 => (true, &mut *edits),
                _ => (base.chance(33), &mut *base),
            };
            if filled {
                json.item(|json| {
                    json.reference("definition", "customFieldDefinition", definition.id);
                    write_value(json, world, definition, dice);
                });
            }
        }
    });
}

/// The same for any record that follows the blueprint. Some kinds of record have custom fields although no definition
/// is of them (orders, meetings of an account without such a field): these carry one value, of a definition that no
/// list shows.
pub(super) fn write_any(json: &mut Json, world: &World, context: &str, base: &mut Dice, edits: &mut Dice) {
    if CONTEXTS.contains(&context) || !world.definitions(context).is_empty() {
        return write(json, world, context, base, edits);
    }
    json.list("custom_fields", |json| {
        json.item(|json| {
            json.reference("definition", "customFieldDefinition", foreign_id("customFieldDefinition", base));
            json.text("value", &reference(edits));
        });
    });
}

/// `Dossier 46522`.
fn reference(dice: &mut Dice) -> String {
    format!("{} {}", dice.pick(&["Dossier", "Bestelbon", "Contract", "Kast"]), dice.below(100_000))
}

fn write_value(json: &mut Json, world: &World, definition: &Definition, dice: &mut Dice) {
    const KEY: &str = "value";
    match definition.kind {
        "single_line" => json.text(KEY, &reference(dice)),
        "multi_line" if dice.chance(15) => json.maybe(KEY, dice.chance(50).then_some("")),
        "multi_line" => json.text(KEY, &format!("{}\n{}", dice.pick(SENTENCES), dice.pick(SENTENCES))),
        "single_select" => json.text(KEY, definition.options[dice.below(4) as usize].1),
        "multi_select" => json.list(KEY, |json| {
            for (_, value) in definition.options.iter().take(dice.below(4) as usize) {
                json.value(value);
            }
        }),
        "date" => json.text(KEY, &day(dice.between(0, 2_000_000_000))),
        "money" => json.money(KEY, dice.between(-50_000, 5_000_000), "EUR"),
        "auto_increment" | "integer" => json.number(KEY, dice.below(1_000_000)),
        "number" => json.raw(KEY, &hundredths(dice.between(-100_000, 100_000))),
        "boolean" => match dice.below(3) {
            0 => json.raw(KEY, "null"),
            flag => json.flag(KEY, flag == 1),
        },
        "email" => {
            let at = company_name(dice);
            json.text(KEY, &email(dice.pick(FIRST_NAMES), dice.pick(LAST_NAMES), &at));
        }
        "telephone" => json.text(KEY, &telephone(dice)),
        "url" => json.text(KEY, &format!("https://www.{}.example/", slug(&company_name(dice)))),
        "company" => json.reference(KEY, "company", world.some("companies", dice)),
        "contact" => json.reference(KEY, "contact", world.some("contacts", dice)),
        "user" => json.reference(KEY, "user", world.some("users", dice)),
        _ => json.reference(KEY, "product", world.some("products", dice)),
    }
}
