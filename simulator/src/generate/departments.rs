//! departments.

use super::addresses::Address;
use super::dice::fingerprint;
use super::draft::{Draft, SortKey};
use super::facts::{Facts, Rolls};
use super::json::Json;
use super::names::{iban, spice, telephone};
use super::world::World;

/// Where the departments are.
const OFFICES: [&str; 6] = ["Gent", "Antwerpen", "Liège", "Brussel", "Utrecht", "Lille"];

struct Department {
    name: String,
    status: &'static str,
    rolls: Rolls,
}

impl Department {
    fn roll(world: &World, facts: &Facts) -> Self {
        let rolls = world.rolls("departments", facts);
        let place = (facts.ordinal + u64::from(facts.list_edits)) % OFFICES.len() as u64;
        let name = format!("Studio Noord {}", OFFICES[place as usize]);
        Self {
            name: spice(facts.ordinal, name),
            // The second one is archived, so that even a small account has one.
            status: if facts.ordinal % 4 == 1 { "archived" } else { "active" },
            rolls,
        }
    }

    /// The fields that list and info share.
    fn write(&mut self, json: &mut Json, facts: &Facts) {
        let dice = &mut self.rolls.base;
        let edits = &mut self.rolls.list;
        json.id("id", facts.id);
        json.text("name", &self.name);
        json.text("vat_number", &super::names::vat_number(dice));
        json.text("currency", dice.pick(&["EUR", "EUR", "EUR", "EUR", "USD"]));
        json.list("emails", |json| {
            for kind in ["primary", "invoicing"] {
                json.item(|json| {
                    json.text("type", kind);
                    json.text("email", &format!("{kind}{}@studionoord.example", edits.below(1_000_000)));
                });
            }
        });
        json.text("status", self.status);
    }
}

pub(super) fn list(world: &World, facts: &Facts) -> Draft {
    let mut department = Department::roll(world, facts);
    let mut json = Json::object(400);
    department.write(&mut json, facts);
    Draft {
        list: json.finish(),
        keys: vec![
            // The default department comes first.
            SortKey::Number(i64::from(facts.ordinal != 0)),
            SortKey::text(&department.name),
            SortKey::Number(facts.created_at),
        ],
        facets: vec![fingerprint(&["status", department.status])],
        ..Draft::default()
    }
}

pub(super) fn info(world: &World, facts: &Facts, _includes: &[&str]) -> String {
    let mut department = Department::roll(world, facts);
    let mut json = Json::object(900);
    department.write(&mut json, facts);
    let dice = &mut department.rolls.info;
    json.nested("address", |json| Address::roll(world, dice).write(json));
    json.list("telephones", |json| {
        for kind in ["phone", "mobile", "fax"] {
            if dice.chance(60) {
                json.item(|json| {
                    json.text("type", kind);
                    json.text("number", &telephone(dice));
                });
            }
        }
    });
    json.text("website", &format!("https://www.studionoord.example/?office={}", dice.below(1_000_000_000)));
    json.text("iban", &iban(dice));
    json.text("bic", dice.pick(&["GEBABEBB", "KREDBEBB"]));
    json.maybe("fiscal_regime", dice.chance(40).then_some("RF01"));
    json.finish()
}
