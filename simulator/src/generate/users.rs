//! users and `users.me`.

use super::dice::fingerprint;
use super::draft::{Draft, SortKey};
use super::facts::{Facts, Rolls};
use super::json::Json;
use super::names::{FIRST_NAMES, FUNCTIONS, LAST_NAMES, email, spice, telephone};
use super::world::World;

/// The languages of `users.info`. The list shows no region.
const LOCALES: &[&str] = &["da", "de", "en", "es", "fi", "fr", "it", "nb", "nl-BE", "nl", "pl", "pt", "sv", "tr"];

const ZONES: [&str; 4] = ["Europe/Brussels", "Europe/Paris", "Europe/Amsterdam", "Asia/Tokyo"];

struct User {
    first_name: &'static str,
    last_name: &'static str,
    email: String,
    function: String,
    locale: &'static str,
    status: &'static str,
    rolls: Rolls,
}

impl User {
    fn roll(world: &World, facts: &Facts) -> Self {
        let mut rolls = world.rolls("users", facts);
        let (first_name, last_name) = (rolls.base.pick(FIRST_NAMES), rolls.base.pick(LAST_NAMES));
        Self {
            first_name,
            last_name,
            email: email(first_name, last_name, "studionoord"),
            function: spice(facts.ordinal, rolls.list.pick(FUNCTIONS).to_owned()),
            locale: rolls.base.pick(LOCALES),
            // The first user is the one who authorizes; the third has left the company.
            status: if facts.ordinal % 7 == 2 { "deactivated" } else { "active" },
            rolls,
        }
    }

    /// The fields that the list, `.info` and `.me` share, but for the language.
    fn write(&mut self, json: &mut Json, world: &World, facts: &Facts) {
        let edits = &mut self.rolls.list;
        json.id("id", facts.id);
        json.reference("account", "account", world.account());
        json.text("first_name", self.first_name);
        json.text("last_name", self.last_name);
        json.text("email", &self.email);
        json.list("telephones", |json| {
            for kind in ["phone", "mobile", "fax"] {
                if kind == "phone" || edits.chance(40) {
                    json.item(|json| {
                        json.text("type", kind);
                        json.text("number", &telephone(edits));
                    });
                }
            }
        });
        json.text("function", &self.function);
    }

    fn write_teams(&mut self, json: &mut Json, world: &World) {
        let dice = &mut self.rolls.base;
        json.list("teams", |json| {
            for _ in 0..dice.below(3) {
                json.item(|json| json.identity("team", world.some("teams", dice)));
            }
        });
    }

    fn write_zone(&mut self, json: &mut Json, facts: &Facts) {
        json.text("language", self.locale);
        // Stepped and not rolled: a roll among four could leave an edited record as it was.
        let zone = (facts.ordinal + u64::from(facts.info_edits)) as usize % ZONES.len();
        json.text("time_zone", ZONES[zone]);
    }
}

pub(super) fn list(world: &World, facts: &Facts) -> Draft {
    let mut user = User::roll(world, facts);
    let mut json = Json::object(700);
    user.write(&mut json, world, facts);
    json.text("language", &user.locale[..2]);
    json.text("status", user.status);
    user.write_teams(&mut json, world);
    let names = [user.first_name, user.last_name, &user.email, &user.function];
    Draft {
        list: json.finish(),
        keys: names.map(SortKey::text).to_vec(),
        facets: vec![fingerprint(&["status", user.status])],
        ..Draft::default()
    }
}

pub(super) fn info(world: &World, facts: &Facts, includes: &[&str]) -> String {
    let mut user = User::roll(world, facts);
    let mut json = Json::object(900);
    user.write(&mut json, world, facts);
    json.text("status", user.status);
    user.write_teams(&mut json, world);
    user.write_zone(&mut json, facts);
    if includes.contains(&"external_rate") {
        match user.rolls.base.chance(50) {
            true => json.raw("external_rate", "null"),
            false => json.money("external_rate", user.rolls.info.between(4_000, 20_000), "EUR"),
        }
    }
    json.finish()
}

/// What `users.me` says of a user.
pub(crate) fn me(world: &World, facts: &Facts) -> String {
    let mut user = User::roll(world, facts);
    let mut json = Json::object(700);
    user.write(&mut json, world, facts);
    user.write_teams(&mut json, world);
    user.write_zone(&mut json, facts);
    json.text("email_verification_status", "confirmed");
    json.nested("preferences", |json| {
        json.flag("invoiceable", true);
        json.raw("historic_time_tracking_limit", "null");
        json.flag("whitelabeling", false);
    });
    json.finish()
}
