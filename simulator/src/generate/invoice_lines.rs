//! The lines of an invoice, which only `.info` shows.

use uuid::Uuid;

use super::dice::Dice;
use super::json::{Json, hundredths};
use super::names::{PRODUCTS, SENTENCES, SUBJECTS};
use super::world::World;

/// `grouped_lines`: sections of line items.
pub(super) fn write_lines(json: &mut Json, world: &World, dice: &mut Dice, currency: &str) {
    json.list("grouped_lines", |json| {
        for _ in 0..dice.between(1, 3) {
            json.item(|json| {
                json.nested("section", |json| json.text("title", dice.pick(SUBJECTS)));
                json.list("line_items", |json| {
                    for _ in 0..dice.between(1, 4) {
                        json.item(|json| write_line(json, world, dice, currency));
                    }
                });
            });
        }
    });
}

fn write_line(json: &mut Json, world: &World, dice: &mut Dice, currency: &str) {
    let unit_price = dice.between(100, 100_000);
    let quantity = dice.between(1, 20);
    let net = unit_price * quantity;
    let gross = net + net * 21 / 100;
    json.maybe_reference("product", "product", any(world, 50, "products", dice));
    let category = any(world, 50, "productCategories", dice);
    json.maybe_reference("product_category", "productCategory", category);
    json.number("quantity", quantity);
    json.text("description", dice.pick(PRODUCTS));
    json.maybe("extended_description", dice.chance(30).then(|| dice.pick(SENTENCES)));
    json.maybe_reference("unit", "unitOfMeasure", any(world, 30, "unitsOfMeasure", dice));
    json.nested("unit_price", |json| {
        json.raw("amount", &hundredths(unit_price));
        json.text("tax", "excluding");
    });
    json.reference("tax", "taxRate", world.some("taxRates", dice));
    match dice.chance(20) {
        true => json.nested("discount", |json| {
            json.raw("value", &hundredths(dice.between(1, 2_000)));
            json.text("type", "percentage");
        }),
        false => json.raw("discount", "null"),
    }
    json.nested("total", |json| {
        json.money("tax_exclusive", net, currency);
        json.money("tax_exclusive_before_discount", net, currency);
        json.money("tax_inclusive", gross, currency);
        json.money("tax_inclusive_before_discount", gross, currency);
    });
    let withheld = any(world, 10, "withholdingTaxRates", dice);
    json.maybe_reference("withheld_tax", "withholdingTaxRate", withheld);
}

/// One of the records of a resource, in this many cases of a hundred.
fn any(world: &World, percent: u64, resource: &str, dice: &mut Dice) -> Option<Uuid> {
    if dice.chance(percent) { world.any(resource, dice) } else { None }
}
