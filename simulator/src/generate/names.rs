//! The lists that names, places and texts are drawn from: those of customers of a small Belgian company, in Dutch,
//! French and some German.

use super::dice::Dice;
use super::json::{Json, LONE_SURROGATE};

#[rustfmt::skip]
pub(super) const FIRST_NAMES: &[&str] = &[
    "Noor", "Sören", "Zoë", "Joël", "Anaïs", "Maël", "Chloé", "Jürgen", "Łukasz", "Siân", "Inès", "Loïc", "Femke",
    "Wout", "Lotte", "Pieter-Jan", "Marie-Hélène", "Thijs", "Sanne", "Ömer", "Ayşe", "Nikos", "José", "Ana", "Dirk",
    "Kaat", "Bram", "Hanne", "Jef", "Elise", "Mathis", "Eline", "Gilles", "Amélie", "Daan", "Sofie", "Ruben",
    "Margaux", "Tibo", "Charlotte", "Ikram", "Yusuf", "Jan", "Els", "Tom", "An", "Koen", "Griet", "Stijn", "Ilse",
    "Luc", "Karen", "Bart", "Nele", "Fatima", "Mohamed",
];

#[rustfmt::skip]
pub(super) const LAST_NAMES: &[&str] = &[
    "De Smet", "Van den Broeck", "D'Hondt", "'t Jolle", "Peeters", "Janssens", "Maes", "Jacobs", "Mertens", "Willems",
    "Claes", "Goossens", "Wouters", "De Clercq", "Dupont", "Lefèvre", "Müller", "Kowalski", "Yılmaz", "El Amrani",
    "García-Márquez", "Dvořák", "Nguyễn", "Vanhoutte", "Vandenberghe", "De Backer", "Lemmens", "Bogaert", "Stevens",
    "Delacroix", "Rousseau", "Verstraete", "Van Damme", "Cools", "Segers", "Pauwels", "Aerts", "Hermans", "Michiels",
    "Bakker", "De Vries", "Jansen", "Visser", "Declercq", "Lambert", "Renard",
];

/// What companies do. Most are called by that and by whose they are.
#[rustfmt::skip]
const TRADES: &[&str] = &[
    "Bouwwerken", "Garage", "Drukkerij", "Bakkerij", "Tandartspraktijk", "Advocaten", "Boekhoudkantoor", "Transport",
    "Tuinen", "Schilderwerken", "Elektro", "Studio", "Apotheek", "Optiek", "Kinepraktijk", "Interieur", "Dakwerken",
    "Immo", "Slagerij", "Ateliers", "Menuiserie", "Traiteur", "Fiduciaire", "Zonnepanelen", "Hoveniersbedrijf",
];

/// The others.
#[rustfmt::skip]
const COMPANY_NAMES: &[&str] = &[
    "Brasserie de l'Étoile", "Bäckerei Schön", "Café Zuid", "L'Atelier Numérique", "Kaas & Wijn", "Green Rivers",
    "Sint-Amandus", "Software Gent", "Bureau Méridien", "Hotel Belfort", "Apotheek Noord", "Fietsen De Trapper",
    "Nordic Light", "Tandartsen Ledeberg",
];

pub(super) const LEGAL_FORMS: &[&str] = &["NV", "BV", "BV", "BV", "SA", "SRL", "VZW", "CommV"];

#[rustfmt::skip]
pub(super) const FUNCTIONS: &[&str] = &[
    "Sales", "Zaakvoerder", "Gérante", "Boekhouder", "Developer", "Project manager", "Office manager", "Ingénieur",
    "Aankoper", "Consultant", "Support", "Bestuurder",
];

#[rustfmt::skip]
pub(super) const TAGS: &[&str] = &[
    "prospect", "expo", "klant", "vip ⭐", "nieuwsbrief", "à rappeler", "partner", "leverancier",
    "2025", "été", "pers", "don't call",
];

/// What deals, projects, meetings and tasks are about.
#[rustfmt::skip]
pub(super) const SUBJECTS: &[&str] = &[
    "Nieuwe website", "Nieuwe webshop", "Refonte du site", "Onderhoud 2026", "Opleiding boekhouding", "Migratie ERP",
    "Campagne printemps", "Audit sécurité", "Renovatie kantoor", "Lancering app", "Jaarverslag", "Huisstijl",
    "Uitbreiding netwerk",
];

#[rustfmt::skip]
pub(super) const SENTENCES: &[&str] = &[
    "Eerste contact op de beurs.", "Belt liever na 16 uur.", "Préfère le courriel.",
    "Offerte \"zomer\" opnieuw sturen.", "Bitte nicht vor Montag anrufen.",
    "Pad: C:\\klanten\\2026\\", "Regel één\nRegel twee", "Très content de la démo 🎉",
    "Wacht op goedkeuring van de raad.", "50% korting beloofd <niet vergeten>", "Contract loopt af in maart.",
    "Graag één factuur per kwartaal.", "À recontacter après les vacances.",
];

#[rustfmt::skip]
pub(super) const PRODUCTS: &[&str] = &[
    "Uurtarief senior", "Hosting 12 maanden", "Licentie", "Verplaatsing", "Workshop",
    "Onderhoudscontract", "Support 24/7", "Ontwerp huisstijl", "Domeinnaam",
];

/// The countries of levelTwoAreas, by turns.
pub(super) const AREA_COUNTRIES: [&str; 4] = ["BE", "NL", "FR", "DE"];

/// Adds what breaks naive readers, to a small fixed share of the records: in any account of twelve records or more
/// there is each of them, whatever the seed.
pub(super) fn spice(ordinal: u64, mut text: String) -> String {
    match ordinal {
        n if n % 1000 == 11 => text.push(LONE_SURROGATE),
        n if n % 400 == 3 => text.push_str("\0 ltd"),
        _ => return season(ordinal, text),
    }
    text
}

/// Adds what needs more than a byte or two for a character, to a small fixed share of the records.
pub(super) fn season(ordinal: u64, mut text: String) -> String {
    match ordinal {
        n if n % 100 == 5 => text.push_str(" 🦄"),
        n if n % 100 == 6 => text.push_str(" 株式会社"),
        n if n % 100 == 15 => text.push_str(" 👨‍👩‍👧‍👦"),
        _ => {}
    }
    text
}

/// `Bouwwerken Claes`.
pub(super) fn company_name(dice: &mut Dice) -> String {
    match dice.chance(85) {
        true => format!("{} {}", dice.pick(TRADES), dice.pick(LAST_NAMES)),
        false => dice.pick(COMPANY_NAMES).to_owned(),
    }
}

/// One sentence or two: others for the next number.
pub(super) fn prose(number: u64) -> String {
    let places = SENTENCES.len() as u64;
    let (first, second) = (number % places, number / places % (2 * places));
    let first = SENTENCES[first as usize];
    match SENTENCES.get(second as usize) {
        Some(second) if *second != first => format!("{first} {second}"),
        _ => first.to_owned(),
    }
}

/// The text as it stands in addresses: small letters, digits and hyphens.
pub(super) fn slug(text: &str) -> String {
    let mut slug = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.to_ascii_lowercase() {
            plain if plain.is_ascii_alphanumeric() => slug.push(plain),
            ' ' | '-' if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            'à' | 'á' | 'ä' => slug.push('a'),
            'ç' => slug.push('c'),
            'è' | 'é' | 'ë' | 'É' | 'ễ' => slug.push('e'),
            'ï' | 'í' | 'ı' => slug.push('i'),
            'ł' | 'Ł' => slug.push('l'),
            'ö' | 'ó' | 'Ö' => slug.push('o'),
            'ř' => slug.push('r'),
            'ş' => slug.push('s'),
            'ü' => slug.push('u'),
            _ => {}
        }
    }
    slug.trim_end_matches('-').to_owned()
}

/// An e-mail address. Addresses under `.example` reach nobody.
pub(super) fn email(first_name: &str, last_name: &str, at: &str) -> String {
    let (first, last) = (slug(first_name), slug(last_name).replace('-', ""));
    let name = if first.is_empty() { last } else { format!("{first}.{last}") };
    format!("{name}@{}.example", slug(at))
}

/// A telephone number, as people write it.
pub(super) fn telephone(dice: &mut Dice) -> String {
    let (area, pairs) = (dice.below(100), [dice.below(100), dice.below(100), dice.below(100)]);
    let [first, second, third] = pairs;
    match dice.below(8) {
        0 => format!("+31 6 {area:02} {first:02} {second:02} {third:02}"),
        1 | 2 => format!("09 2{area:02} {first:02} {second:02}"),
        3 => format!("+32 2 5{area:02} {first:02} {second:02}"),
        _ => format!("+32 4{area:02} {first:02} {second:02} {third:02}"),
    }
}

/// A Belgian VAT number.
pub(super) fn vat_number(dice: &mut Dice) -> String {
    let number = 4_000_000 + dice.below(3_999_999);
    format!("BE{number:08}{:02}", 97 - number % 97)
}

/// A Belgian IBAN.
pub(super) fn iban(dice: &mut Dice) -> String {
    let account = with_check(dice.below(10_000_000_000));
    // Behind it stand `BE` as numbers, and two zeros for the check.
    let check = 98 - (u128::from(account) * 1_000_000 + 111_400) % 97;
    format!("BE{check:02}{account:012}")
}

/// A structured payment reference, `+++084/2613/66074+++`.
pub(super) fn payment_reference(dice: &mut Dice) -> String {
    let digits = format!("{:012}", with_check(dice.below(10_000_000_000)));
    format!("+++{}/{}/{}+++", &digits[..3], &digits[3..7], &digits[7..])
}

/// Ten digits, and the two that check them.
fn with_check(number: u64) -> u64 {
    let check = if number.is_multiple_of(97) { 97 } else { number % 97 };
    number * 100 + check
}

/// `PaymentTerm`: type and days.
pub(super) fn write_payment_term(json: &mut Json, dice: &mut Dice) {
    json.text("type", dice.pick(&["cash", "end_of_month", "after_invoice_date"]));
    json.number("days", dice.below(3) * 15);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_check_them() {
        for number in 0..50 {
            let mut dice = Dice::new(&[number]);
            let vat: u64 = vat_number(&mut dice)[2..].parse().unwrap();
            assert_eq!((vat / 100 + vat % 100) % 97, 0, "{vat}");
            let iban = iban(&mut dice);
            let (check, account) = (&iban[2..4], &iban[4..]);
            assert_eq!(format!("{account}1114{check}").parse::<u128>().unwrap() % 97, 1, "{iban}");
            let reference: u64 = payment_reference(&mut dice).replace(['+', '/'], "").parse().unwrap();
            assert!(
                [reference % 100, (reference % 100).wrapping_sub(97)].contains(&(reference / 100 % 97)),
                "{reference}"
            );
        }
    }

    #[test]
    fn an_email_address_has_no_accents() {
        assert_eq!(
            email("Zoë", "Van den Broeck", "L'Atelier Numérique"),
            "zoe.vandenbroeck@latelier-numerique.example"
        );
        for name in FIRST_NAMES.iter().chain(LAST_NAMES) {
            assert!(slug(name).len() + 3 > name.chars().count(), "{name}: {}", slug(name));
        }
    }

    #[test]
    fn the_next_number_gives_another_text() {
        assert!((0..1000).all(|number| prose(number) != prose(number + 1)));
    }
}
