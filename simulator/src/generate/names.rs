//! The lists that names, places and texts are drawn from. Dutch, French and German first, as in the real accounts, with
//! enough of other scripts to find every place that counts bytes where it should count characters.

use super::dice::Dice;
use super::facts::area_id;
use super::json::{Json, LONE_SURROGATE};

#[rustfmt::skip]
pub(super) const FIRST_NAMES: &[&str] = &[
    "Erlich", "Noor", "Sören", "Zoë", "Joël", "Anaïs", "Maël", "Chloé", "Jürgen", "Łukasz",
    "Željko", "Siân", "Bjørn", "Inès", "Loïc", "Femke", "Wout", "Lotte", "Pieter-Jan",
    "Marie-Hélène", "Thijs", "Sanne", "Ömer", "Ayşe", "Nikos", "Αλέξης", "Олена", "美咲", "伟", "수진",
    "José", "Ana", "Dirk", "Kaat", "Bram", "Hanne", "Jef", "Elise", "Mathis", "Eline", "Gilles",
    "Amélie", "Daan", "Sofie", "Ruben", "Margaux", "Tibo", "Charlotte", "Ikram", "Yusuf",
];

#[rustfmt::skip]
pub(super) const LAST_NAMES: &[&str] = &[
    "Bachman", "De Smet", "Van den Broeck", "D'Hondt", "'t Jolle", "Peeters", "Janssens", "Maes",
    "Jacobs", "Mertens", "Willems", "Claes", "Goossens", "Wouters", "De Clercq", "Dupont",
    "Lefèvre", "Müller", "Großmann", "Kowalski", "Şahin", "Yılmaz", "O'Brien", "Núñez",
    "García-Márquez", "Ångström", "Østergård", "Dvořák", "Nguyễn", "渡辺", "王", "김", "Παπαδόπουλος",
    "Шевченко", "Vanhoutte", "Vandenberghe", "De Backer", "Lemmens", "Bogaert", "Stevens",
    "Delacroix", "Rousseau", "Verstraete", "Van Damme", "Cools", "Segers", "Pauwels", "Aerts",
    "Hermans", "Michiels",
];

#[rustfmt::skip]
pub(super) const COMPANY_NAMES: &[&str] = &[
    "Pied Piper", "Hooli", "Brasserie de l'Étoile", "Bäckerei Schön", "De Rode Duivels",
    "Zonnepanelen Maes", "Café Zuid", "Garage Vanhoutte", "L'Atelier Numérique", "東京デザイン",
    "Østerbro Møbler", "Kærlighed & Co", "Fiets \"De Trapper\"", "Drukkerij Mertens",
    "Bouwwerken Claes", "Ateliers Lefèvre", "Studio Łódź", "Data\\Works", "Nordic Light",
    "Advocaten Wouters", "Tandartsen Ledeberg", "Boulangerie Amélie", "Kaas & Wijn", "Green Rivers",
    "Sint-Amandus Vzw", "Transport Goossens", "Software Gent", "Bureau Méridien", "Hotel Belfort",
    "Apotheek Noord",
];

pub(super) const LEGAL_FORMS: &[&str] = &["NV", "BV", "SA", "SRL", "GmbH", "VZW", "CommV", "株式会社"];

#[rustfmt::skip]
pub(super) const FUNCTIONS: &[&str] = &[
    "Sales", "Zaakvoerder", "Gérante", "Boekhouder", "Developer", "Project manager",
    "Office manager", "Ingénieur", "Geschäftsführer", "Consultant", "設計者", "Support",
];

#[rustfmt::skip]
pub(super) const TAGS: &[&str] = &[
    "prospect", "expo", "klant", "vip ⭐", "nieuwsbrief", "à rappeler", "partner", "leverancier",
    "2025", "été", "日本", "don't call",
];

#[rustfmt::skip]
pub(super) const SUBJECTS: &[&str] = &[
    "New company website", "Nieuwe webshop", "Refonte du site", "Onderhoud 2025",
    "Opleiding boekhouding", "Migratie ERP", "Campagne printemps", "Audit sécurité",
    "Renovatie kantoor", "Lancering app 🚀", "Jahresbericht", "研修",
];

#[rustfmt::skip]
pub(super) const SENTENCES: &[&str] = &[
    "First contact at expo.", "Belt liever na 16 uur.", "Préfère le courriel.",
    "Offerte \"zomer\" opnieuw sturen.", "Bitte nicht vor Montag anrufen.",
    "Pad: C:\\klanten\\2025\\", "Regel één\nRegel twee", "Très content de la démo 🎉", "次回は東京で。",
    "Wacht op goedkeuring van de raad.", "50% korting beloofd <niet vergeten>", "Ça va 👨‍👩‍👧‍👦 !",
];

#[rustfmt::skip]
pub(super) const PRODUCTS: &[&str] = &[
    "Uurtarief senior", "Hosting 12 mois", "Licentie", "Déplacement", "Workshop",
    "Onderhoudscontract", "Support 24/7", "Ontwerp huisstijl", "Domeinnaam",
];

/// City, postal code, country.
#[rustfmt::skip]
const PLACES: &[(&str, &str, &str)] = &[
    ("Gent", "9000", "BE"), ("Liège", "4000", "BE"), ("Brussel", "1000", "BE"),
    ("Antwerpen", "2018", "BE"), ("Sint-Niklaas", "9100", "BE"),
    ("'s-Hertogenbosch", "5211 AA", "NL"), ("Amsterdam", "1011 AB", "NL"), ("Paris", "75011", "FR"),
    ("Besançon", "25000", "FR"), ("Köln", "50667", "DE"), ("Łódź", "90-001", "PL"),
    ("København", "1050", "DK"), ("Málaga", "29001", "ES"), ("東京", "100-0001", "JP"),
];

#[rustfmt::skip]
const STREETS: &[&str] = &[
    "Dok Noord", "Kerkstraat", "Rue de l'Église", "Stationsplein", "Chaussée de Namur",
    "Hauptstraße", "Calle Mayor", "Ødegårdsvej", "ul. Piękna", "Prinsengracht",
    "Avenue Général-Leclerc", "千代田",
];

/// A postal address.
#[derive(Clone)]
pub(super) struct Address {
    line: Option<String>,
    place: Option<&'static (&'static str, &'static str, &'static str)>,
    country: &'static str,
    area: bool,
}

impl Address {
    /// An address of which any part but the country may be missing.
    pub(super) fn roll(dice: &mut Dice) -> Self {
        let place = &PLACES[dice.below(PLACES.len() as u64) as usize];
        let line = format!("{} {}{}", dice.pick(STREETS), dice.below(280) + 1, dice.pick(&["", "A", " bus 3", "/2"]));
        Self {
            line: dice.chance(94).then_some(line),
            place: dice.chance(95).then_some(place),
            country: place.2,
            area: dice.chance(35),
        }
    }

    /// The members of the API's `AddressResponse`.
    pub(super) fn write(&self, json: &mut Json) {
        json.maybe("line_1", self.line.as_deref());
        json.maybe("postal_code", self.place.map(|place| place.1));
        json.maybe("city", self.place.map(|place| place.0));
        json.text("country", self.country);
        json.maybe_reference("area_level_two", "area_level_two", self.area.then(|| area_id(self.country)));
    }
}

/// Adds what breaks naive readers, to a fixed share of the records: in any account of twelve records or more there is
/// each of them, whatever the seed.
pub(super) fn spice(ordinal: u64, mut text: String) -> String {
    match ordinal {
        n if n % 200 == 11 => text.push(LONE_SURROGATE),
        n if n % 40 == 3 => text.push_str("\0 ltd"),
        n if n % 10 == 5 => text.push_str(" 🦄"),
        n if n % 10 == 6 => text.push_str(" 株式会社"),
        _ => {}
    }
    text
}

/// Digits as in a telephone number of the country.
pub(super) fn telephone(dice: &mut Dice) -> String {
    let prefix = dice.pick(&["09", "02", "+32 4", "+33 6", "0"]);
    format!("{prefix}{:08}", dice.below(100_000_000))
}

/// A Belgian VAT number; its check digits are not right.
pub(super) fn vat_number(dice: &mut Dice) -> String {
    format!("BE{:010}", dice.below(1_000_000_000))
}

/// A Belgian IBAN; its check digits are not right.
pub(super) fn iban(dice: &mut Dice) -> String {
    format!("BE{:02}{:012}", dice.below(97), dice.below(1_000_000_000_000))
}

/// A structured payment reference, `+++084/2613/66074+++`.
pub(super) fn payment_reference(dice: &mut Dice) -> String {
    format!("+++{:03}/{:04}/{:05}+++", dice.below(1000), dice.below(10_000), dice.below(100_000))
}

/// `PaymentTerm`: type and days.
pub(super) fn write_payment_term(json: &mut Json, dice: &mut Dice) {
    json.text("type", dice.pick(&["cash", "end_of_month", "after_invoice_date"]));
    json.number("days", dice.below(3) * 15);
}
