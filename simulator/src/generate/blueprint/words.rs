//! What texts and numbers look like, from their names and the blueprint's examples.

use uuid::Uuid;

use crate::generate::dice::Dice;
use crate::generate::facts::Facts;
use crate::generate::json::hundredths;
use crate::generate::names::{
    AREA_COUNTRIES, FIRST_NAMES, LAST_NAMES, SUBJECTS, TAGS, email, prose, season, vat_number,
};
use crate::generate::titles::Titles;

/// The sources of one field's value.
pub(super) struct Rolls {
    /// Never changes.
    pub(super) base: Dice,
    /// Changes with every edit that the field follows.
    pub(super) edited: Dice,
    /// How many of these there were.
    pub(super) edits: u32,
}

impl Rolls {
    /// A number below the bound that goes to the next with every edit: a roll among few could leave it as it was.
    pub(super) fn step(&mut self, bound: u64) -> u64 {
        (self.base.below(bound) + u64::from(self.edits)) % bound.max(1)
    }
}

/// What a text looks like.
pub(super) enum Words {
    /// What records are called.
    Title(Titles),
    /// The name of a file.
    File,
    /// A sentence or two.
    Sentence,
    /// The name of a record that has no id, and which no other has.
    Key,
    /// A tag; the first ones are those that contacts and companies have.
    Tag,
    /// Digits.
    Code,
    Email,
    Vat,
    /// An address on the web, with the record's id after this.
    Link(&'static str),
    /// An id that is made of the text's number.
    Id,
    /// What the example says: the blueprint says no more.
    Example(&'static str),
}

/// How a moment is written.
#[derive(Clone, Copy)]
pub(super) enum Clock {
    /// `2016-02-04T16:44:33+00:00`.
    Utc,
    /// `2023-10-01T09:00:00+01:00`.
    Brussels,
    /// `2017-05-01 12:00:00`.
    Plain,
}

/// What a number looks like.
pub(super) enum Figure {
    /// The record's own, counted from 1.
    Ordinal,
    /// With two decimals, in hundredths between these.
    Amount(i64, i64),
    /// Of 0 to 1.
    Share,
    /// The share that is tax.
    Tax,
    /// Of a currency, with four decimals.
    Exchange,
    /// Whole, below this.
    Whole(u64),
}

/// Most is paid in euros.
pub(super) const CURRENCIES: &[&str] = &["EUR", "EUR", "EUR", "EUR", "EUR", "EUR", "EUR", "EUR", "USD", "GBP"];

/// Names of texts that are one of a few, and these.
#[rustfmt::skip]
const NAMED: &[(&str, &[&str])] = &[
    ("Currency", CURRENCIES), ("country", &AREA_COUNTRIES), ("currency", CURRENCIES),
    ("from", &["USD", "GBP"]), ("to", &["EUR"]), ("language", &["nl", "fr", "en", "de"]),
    ("mime_type", &["application/pdf", "image/png", "text/plain"]),
    ("folder", &["Documents", "Contracten", "Général", ""]), ("city", &["Gent", "Liège", "Utrecht"]),
    ("line_1", &["Dok Noord 3A", "Rue de l'Église 7"]), ("postal_code", &["9000", "4000"]),
    ("priority", &["A", "B", "C", "D"]),
];

/// Whether a value of this name never changes.
pub(super) fn stays(key: &str) -> bool {
    matches!(key, "country" | "currency" | "from" | "to")
}

/// The texts of which a value of this name is one, where the blueprint draws no enumeration.
pub(super) fn choices(key: &str) -> Option<&'static [&'static str]> {
    NAMED.iter().find(|(name, _)| *name == key).map(|(_, choices)| *choices)
}

impl Words {
    /// What the texts of a field look like.
    pub(super) fn of(resource: &str, key: &str, example: &'static str) -> Self {
        match key {
            "tag" => Self::Tag,
            "name" if resource == "commercialDiscounts" => Self::Key,
            "web_url" => Self::Link(example.split_once('=').map_or(example, |(link, _)| link)),
            "email" | "email_address" => Self::Email,
            "vat_number" => Self::Vat,
            "type" | "unit" => Self::Example(example),
            // The id of what has no list.
            "id" if example.len() == 36 => Self::Id,
            "reference"
            | "code"
            | "product_code"
            | "ledger_account_number"
            | "purchase_order_number"
            | "credit_note_number"
            | "document_number"
            | "iban_number"
            | "payment_reference"
            | "national_identification_number" => Self::Code,
            "name" if resource == "files" => Self::File,
            "title" | "name" | "label" | "subject" => Self::Title(Titles::of(resource)),
            _ => Self::Sentence,
        }
    }

    /// Whether any change of it is a change that a user would make.
    pub(super) fn is_prose(&self) -> bool {
        matches!(self, Self::Title(_) | Self::File | Self::Sentence | Self::Key | Self::Tag)
    }

    /// The text. Every edit changes it, for its number goes from one to the next; `spiced` puts in what breaks naive
    /// readers.
    pub(super) fn write(&self, rolls: &mut Rolls, facts: &Facts, spiced: bool) -> String {
        let (own, number) = (facts.ordinal, rolls.step(100_000));
        let text = match self {
            Self::Title(titles) => titles.write(own, rolls.edits, number, &mut rolls.base),
            Self::File => {
                let word = ["offerte", "contract", "verslag", "factuur", "plan"][(number % 5) as usize];
                format!("{word}-{number}.pdf")
            }
            Self::Sentence if !spiced && rolls.edited.chance(15) => String::new(),
            Self::Sentence => prose(number),
            Self::Key | Self::Tag => return self.key(own, rolls.edits),
            Self::Code => format!("{number:06}"),
            Self::Email => {
                let first_name = FIRST_NAMES[(number % FIRST_NAMES.len() as u64) as usize];
                email(first_name, rolls.base.pick(LAST_NAMES), "boekhoudpakket")
            }
            Self::Vat => vat_number(&mut rolls.edited),
            Self::Link(link) => format!("{link}={}", facts.id),
            Self::Id => Uuid::from_u128(0x4000_8000_0000_0000_0000 | u128::from(number)).to_string(),
            Self::Example(example) => (*example).to_owned(),
        };
        if spiced { season(own, text) } else { text }
    }

    /// A text that no other record of the resource has or will have. Without what breaks naive readers but emoji: a key
    /// that half of the readers change would not be one.
    fn key(&self, ordinal: u64, edits: u32) -> String {
        let places = TAGS.len() as u64;
        let word = match self {
            Self::Tag => TAGS[(ordinal % places) as usize],
            _ => SUBJECTS[(ordinal % SUBJECTS.len() as u64) as usize],
        };
        match (ordinal, edits) {
            (0..12, 0) => word.to_owned(),
            (_, 0) => format!("{word} #{ordinal}"),
            _ => format!("{word} #{ordinal}.{edits}"),
        }
    }
}

impl Figure {
    /// What the numbers of a field look like.
    pub(super) fn of(key: &str, path: &str, example: Option<&str>) -> Self {
        let example = example.unwrap_or("100");
        let value = example.parse::<f64>().unwrap_or_default();
        match key {
            _ if matches!(path, "project_key" | "reference") => Self::Ordinal,
            "rate" if example.len() > 5 => Self::Exchange,
            _ if !example.contains('.') => Self::Whole(value as u64 * 10 + 10),
            "rate" => Self::Tax,
            // By the hour, and of discounts in percent.
            "amount" if path.ends_with("_rate.amount") => Self::Amount(6_500, 14_500),
            "value" if path.contains("discount") => Self::Amount(500, 2_500),
            _ if value < 1.0 => Self::Share,
            _ if value < 100.0 => Self::Amount(0, 10_000),
            _ => Self::Amount(2_500, 900_000),
        }
    }

    /// The number as JSON, and ten thousand times the number to sort by.
    pub(super) fn write(&self, rolls: &mut Rolls, facts: &Facts) -> (String, i64) {
        match self {
            Self::Ordinal => ((facts.ordinal + 1).to_string(), (facts.ordinal as i64 + 1) * 10_000),
            Self::Amount(lowest, highest) => {
                let cents = rolls.edited.between(*lowest, *highest);
                (hundredths(cents), cents * 100)
            }
            Self::Share => {
                let share = rolls.step(101);
                (hundredths(share as i64), share as i64 * 100)
            }
            Self::Tax => {
                let (text, share) = [("0.21", 21), ("0.21", 21), ("0.06", 6), ("0.12", 12)][rolls.step(4) as usize];
                (text.to_owned(), share * 100)
            }
            Self::Exchange => {
                let rate = rolls.edited.between(5_000, 15_000);
                (format!("{}.{:04}", rate / 10_000, rate % 10_000), rate)
            }
            Self::Whole(bound) => {
                let number = rolls.step(*bound);
                (number.to_string(), number as i64 * 10_000)
            }
        }
    }
}
