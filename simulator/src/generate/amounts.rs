//! Sums of documents, in cents, that add up as a bookkeeper adds them.

use super::dice::Dice;
use super::json::Json;

/// The tax on an amount, in cents, rounded half up.
pub(super) fn tax_of(net: i64) -> i64 {
    (net * 21 + 50) / 100
}

pub(super) fn write_exchange_rate(json: &mut Json, currency: &str) {
    json.nested("currency_exchange_rate", |json| {
        json.text("from", currency);
        json.text("to", "EUR");
        json.raw("rate", if currency == "EUR" { "1" } else { "1.1234" });
    });
}

/// The discount on a document in hundredths of a percent; 0 in half of the cases.
pub(super) fn discount(dice: &mut Dice) -> i64 {
    if dice.chance(50) { dice.between(1, 3_000) } else { 0 }
}

/// The cents that a document's lines add up to, so that this is left after the discount.
pub(super) fn before(net: i64, discount: i64) -> i64 {
    let left = |sum: i64| sum - (sum * discount + 5_000) / 10_000;
    let near = net * 10_000 / (10_000 - discount);
    (near - 2..=near + 2).find(|sum| left(*sum) == net).unwrap_or(near)
}
