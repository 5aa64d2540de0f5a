//! Postal addresses.

use uuid::Uuid;

use super::dice::Dice;
use super::json::Json;
use super::world::World;

/// City, postal code, country.
#[rustfmt::skip]
const PLACES: &[(&str, &str, &str)] = &[
    ("Gent", "9000", "BE"), ("Liège", "4000", "BE"), ("Brussel", "1000", "BE"), ("Antwerpen", "2018", "BE"),
    ("Sint-Niklaas", "9100", "BE"), ("Leuven", "3000", "BE"), ("Namur", "5000", "BE"), ("Kortrijk", "8500", "BE"),
    ("'s-Hertogenbosch", "5211 AA", "NL"), ("Amsterdam", "1011 AB", "NL"), ("Utrecht", "3511 CX", "NL"),
    ("Lille", "59000", "FR"), ("Köln", "50667", "DE"),
];

#[rustfmt::skip]
const STREETS: &[&str] = &[
    "Dok Noord", "Kerkstraat", "Rue de l'Église", "Stationsplein", "Chaussée de Namur", "Hauptstraße",
    "Prinsengracht", "Avenue Général-Leclerc", "Nijverheidslaan", "Brusselsesteenweg", "Molenstraat",
];

/// A postal address.
#[derive(Clone)]
pub(super) struct Address {
    line: Option<String>,
    place: Option<&'static (&'static str, &'static str, &'static str)>,
    country: &'static str,
    area: Option<Uuid>,
}

impl Address {
    /// An address of which any part but the country may be missing.
    pub(super) fn roll(world: &World, dice: &mut Dice) -> Self {
        let place = &PLACES[dice.below(PLACES.len() as u64) as usize];
        let line = format!("{} {}{}", dice.pick(STREETS), dice.below(280) + 1, dice.pick(&["", "A", " bus 3", "/2"]));
        Self {
            line: dice.chance(94).then_some(line),
            place: dice.chance(95).then_some(place),
            country: place.2,
            area: if dice.chance(35) { world.area(place.2, dice) } else { None },
        }
    }

    /// The members of the API's `AddressResponse`.
    pub(super) fn write(&self, json: &mut Json) {
        json.maybe("line_1", self.line.as_deref());
        json.maybe("postal_code", self.place.map(|place| place.1));
        json.maybe("city", self.place.map(|place| place.0));
        json.text("country", self.country);
        json.maybe_reference("area_level_two", "area_level_two", self.area);
    }
}
