//! The lines of an invoice or a credit note, which only `.info` shows. They add up to what the document says.

use uuid::Uuid;

use super::amounts::tax_of;
use super::dice::Dice;
use super::json::{Json, hundredths};
use super::names::{PRODUCTS, SENTENCES, SUBJECTS};
use super::world::World;

/// What the lines of a document have in common.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    /// What they add up to, in cents without tax.
    pub(super) sum: i64,
    pub(super) currency: &'static str,
    /// A credit note's have the currency of the price as well, and no tax that is withheld.
    pub(super) of_credit_note: bool,
}

/// `grouped_lines`: sections of line items.
pub(super) fn write_lines(json: &mut Json, world: &World, dice: &mut Dice, lines: Lines) {
    let sizes: Vec<i64> = (0..dice.between(1, 3)).map(|_| dice.between(1, 4)).collect();
    let (mut rest, mut to_come) = (lines.sum, sizes.iter().sum::<i64>());
    json.list("grouped_lines", |json| {
        for size in sizes {
            json.item(|json| {
                json.nested("section", |json| json.text("title", dice.pick(SUBJECTS)));
                json.list("line_items", |json| {
                    for _ in 0..size {
                        to_come -= 1;
                        let price = Price::roll(dice, rest, to_come == 0);
                        rest -= price.net;
                        json.item(|json| write_line(json, world, dice, price, lines));
                    }
                });
            });
        }
    });
}

/// What a line costs.
#[derive(Clone, Copy)]
struct Price {
    /// Cents for one.
    unit: i64,
    quantity: i64,
    /// Hundredths of a percent; 0 for none.
    discount: i64,
    /// Cents after the discount.
    net: i64,
}

impl Price {
    /// A part of what is left; the last line is all of it.
    fn roll(dice: &mut Dice, rest: i64, is_last: bool) -> Self {
        if is_last {
            return Self { unit: rest, quantity: 1, discount: 0, net: rest };
        }
        let quantity = dice.between(1, 20);
        let unit = rest * dice.between(10, 60) / 100 / quantity;
        let discount = if dice.chance(20) { dice.between(1, 2_000) } else { 0 };
        let before = unit * quantity;
        Self { unit, quantity, discount, net: before - (before * discount + 5_000) / 10_000 }
    }
}

fn write_line(json: &mut Json, world: &World, dice: &mut Dice, price: Price, lines: Lines) {
    let currency = lines.currency;
    json.maybe_reference("product", "product", any(world, 50, "products", dice));
    let category = any(world, 50, "productCategories", dice);
    json.maybe_reference("product_category", "productCategory", category);
    json.number("quantity", price.quantity);
    json.text("description", dice.pick(PRODUCTS));
    let extended = dice.pick(SENTENCES);
    let is_extended = dice.chance(30);
    match lines.of_credit_note {
        // Documented as never null.
        true => json.text("extended_description", extended),
        false => json.maybe("extended_description", is_extended.then_some(extended)),
    }
    json.maybe_reference("unit", "unitOfMeasure", any(world, 30, "unitsOfMeasure", dice));
    json.nested("unit_price", |json| {
        json.raw("amount", &hundredths(price.unit));
        if lines.of_credit_note {
            json.text("currency", currency);
        }
        json.text("tax", "excluding");
    });
    json.reference("tax", "taxRate", world.some("taxRates", dice));
    match price.discount {
        0 => json.raw("discount", "null"),
        discount => json.nested("discount", |json| {
            json.raw("value", &hundredths(discount));
            json.text("type", "percentage");
        }),
    }
    let before = price.unit * price.quantity;
    json.nested("total", |json| {
        json.money("tax_exclusive", price.net, currency);
        json.money("tax_exclusive_before_discount", before, currency);
        json.money("tax_inclusive", price.net + tax_of(price.net), currency);
        json.money("tax_inclusive_before_discount", before + tax_of(before), currency);
    });
    if !lines.of_credit_note {
        let withheld = any(world, 10, "withholdingTaxRates", dice);
        json.maybe_reference("withheld_tax", "withholdingTaxRate", withheld);
    }
}

/// One of the records of a resource, in this many cases of a hundred.
fn any(world: &World, percent: u64, resource: &str, dice: &mut Dice) -> Option<Uuid> {
    if dice.chance(percent) { world.any(resource, dice) } else { None }
}
