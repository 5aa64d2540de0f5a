//! contacts.

use uuid::Uuid;

use super::addresses::Address;
use super::custom_fields;
use super::dice::{Dice, fingerprint};
use super::draft::{Draft, SortKey, id_facet};
use super::facts::{Facts, Rolls};
use super::json::{Json, day};
use super::names::{
    FIRST_NAMES, FUNCTIONS, LAST_NAMES, TAGS, company_name, email, iban, prose, slug, spice, telephone, vat_number,
    write_payment_term,
};
use super::world::World;

struct Contact {
    first_name: String,
    last_name: String,
    status: &'static str,
    email: Option<String>,
    page: String,
    tags: Vec<&'static str>,
    address: Address,
    companies: Vec<Uuid>,
    consent: bool,
    rolls: Rolls,
}

impl Contact {
    fn roll(world: &World, facts: &Facts) -> Self {
        let mut rolls = world.rolls("contacts", facts);
        let (first_name, last_name) = called(&mut rolls, facts);
        let mut tags: Vec<_> = (0..rolls.list.below(4)).map(|_| rolls.list.pick(TAGS)).collect();
        tags.sort_unstable();
        tags.dedup();
        let first_name = if rolls.base.chance(3) { String::new() } else { first_name.to_owned() };
        let at = company_name(&mut rolls.base);
        Self {
            email: rolls.base.chance(88).then(|| email(&first_name, last_name, &at)),
            page: format!("{}-{}", slug(&format!("{first_name} {last_name}")), rolls.list.below(1_000_000_000)),
            first_name,
            last_name: spice(facts.ordinal, last_name.to_owned()),
            status: if rolls.base.chance(8) { "deactivated" } else { "active" },
            tags,
            address: Address::roll(world, &mut rolls.base),
            consent: rolls.list.chance(50),
            companies: (0..rolls.base.below(3)).map(|_| world.some("companies", &mut rolls.base)).collect(),
            rolls,
        }
    }

    /// The fields that list and info share.
    fn write(&mut self, json: &mut Json, world: &World, facts: &Facts) {
        let dice = &mut self.rolls.base;
        let edits = &mut self.rolls.list;
        json.id("id", facts.id);
        json.text("first_name", &self.first_name);
        json.text("last_name", &self.last_name);
        json.text("status", self.status);
        json.text("salutation", dice.pick(&["Mr", "Mevr.", "Mme", "Dr.", ""]));
        json.list("emails", |json| {
            if let Some(email) = &self.email {
                json.item(|json| {
                    json.text("type", "primary");
                    json.text("email", email);
                });
            }
        });
        json.list("telephones", |json| {
            for kind in ["phone", "mobile", "fax"] {
                if edits.chance(50) {
                    json.item(|json| {
                        json.text("type", kind);
                        json.text("number", &telephone(edits));
                    });
                }
            }
        });
        json.text("website", &format!("https://people.example/in/{}", self.page));
        match dice.below(6) {
            0 => json.raw("gender", "null"),
            gender => json
                .text("gender", ["female", "male", "non_binary", "prefers_not_to_say", "unknown"][gender as usize - 1]),
        }
        json.text("birthdate", &day(dice.between(-1_000_000_000, 1_100_000_000)));
        let account = iban(dice);
        json.text("iban", if dice.chance(40) { &account } else { "" });
        json.text("bic", dice.pick(&["GEBABEBB", "KREDBEBB", ""]));
        json.text(
            "national_identification_number",
            &format!("{:08}-{}", dice.below(100_000_000), dice.pick(&["A", "L"])),
        );
        json.text("language", dice.pick(&["nl", "nl", "nl", "fr", "fr", "en", "de"]));
        match dice.chance(30) {
            true => json.raw("payment_term", "null"),
            false => json.nested("payment_term", |json| write_payment_term(json, dice)),
        }
        json.nested("invoicing_preferences", |json| {
            let address = format!("0208:{:010}", dice.below(1_000_000_000));
            json.maybe("electronic_invoicing_address", dice.chance(30).then_some(address.as_str()));
        });
        json.list("tags", |json| {
            for tag in &self.tags {
                json.value(tag);
            }
        });
        json.flag("marketing_mails_consent", self.consent);
        json.maybe_reference("price_list", "priceList", dice.chance(20).then(|| world.some("priceLists", dice)));
        json.moment("added_at", facts.created_at);
        json.moment("updated_at", facts.updated_at);
        json.text("web_url", &format!("https://focus.teamleader.eu/contact_detail.php?id={}", facts.id));
    }

    fn custom_fields(&mut self, json: &mut Json, world: &World) {
        custom_fields::write(json, world, "contact", &mut self.rolls.base, &mut self.rolls.list);
    }
}

/// First and last name; with every edit of the list comes another last name.
fn called(rolls: &mut Rolls, facts: &Facts) -> (&'static str, &'static str) {
    let first_name = rolls.base.pick(FIRST_NAMES);
    let names = LAST_NAMES.len() as u64;
    let place = (rolls.base.below(names) + u64::from(facts.list_edits)) % names;
    (first_name, LAST_NAMES[place as usize])
}

/// The name at the start of the contact with this number.
pub(super) fn initial_name(world: &World, ordinal: u64) -> String {
    let facts = world.initial_facts("contacts", ordinal);
    let (first_name, last_name) = called(&mut world.rolls("contacts", &facts), &facts);
    format!("{first_name} {last_name}")
}

pub(super) fn list(world: &World, facts: &Facts) -> Draft {
    let mut contact = Contact::roll(world, facts);
    let mut json = Json::object(1400);
    contact.write(&mut json, world, facts);
    json.nested("primary_address", |json| contact.address.write(json));
    let mut extra = Json::members();
    contact.custom_fields(&mut extra, world);

    let mut facets = vec![
        fingerprint(&["status", contact.status]),
        fingerprint(&["marketing_mails_consent", &contact.consent.to_string()]),
    ];
    if contact.companies.is_empty() {
        facets.push(fingerprint(&["company_id"]));
    }
    facets.extend(contact.email.iter().map(|email| fingerprint(&["email", "primary", email])));
    facets.extend(contact.tags.iter().map(|tag| fingerprint(&["tags", tag])));
    facets.extend(contact.companies.iter().map(|company| id_facet("company_id", *company)));
    Draft {
        list: json.finish(),
        keys: vec![
            SortKey::Number(facts.created_at),
            SortKey::text(&format!("{} {}", contact.first_name, contact.last_name)),
            SortKey::Number(facts.updated_at),
        ],
        facets,
        ..Draft::default()
    }
    .with_optional("custom_fields", 1, extra.finish_members())
}

pub(super) fn info(world: &World, facts: &Facts, _includes: &[&str]) -> String {
    let mut contact = Contact::roll(world, facts);
    let mut json = Json::object(2600);
    contact.write(&mut json, world, facts);
    contact.custom_fields(&mut json, world);
    let dice = &mut contact.rolls.info;
    json.maybe("vat_number", dice.chance(40).then(|| vat_number(dice)).as_deref());
    write_addresses(&mut json, world, &contact.address, dice);
    json.list("companies", |json| {
        for company in &contact.companies {
            json.item(|json| {
                json.text("position", dice.pick(FUNCTIONS));
                json.text("secondary_position", dice.pick(&["", "Technical lead", "Bestuurder"]));
                json.text("division", dice.pick(&["", "Engineering", "R&D"]));
                json.flag("decision_maker", dice.chance(30));
                json.reference("company", "company", *company);
            });
        }
    });
    json.text("remarks", &spice(facts.ordinal, prose(31 * facts.ordinal + u64::from(facts.info_edits))));
    json.finish()
}

/// `addresses` of a contact or a company: the primary one, which the list shows, and some others.
pub(super) fn write_addresses(json: &mut Json, world: &World, primary: &Address, dice: &mut Dice) {
    json.list("addresses", |json| {
        write_address(json, "primary", primary, dice);
        for kind in ["invoicing", "delivery", "visiting"] {
            if dice.chance(30) {
                let address = Address::roll(world, dice);
                write_address(json, kind, &address, dice);
            }
        }
    });
}

fn write_address(json: &mut Json, kind: &str, address: &Address, dice: &mut Dice) {
    json.item(|json| {
        json.text("type", kind);
        json.nested("address", |json| {
            json.text("addressee", dice.pick(&["", "Hoofdkantoor", "t.a.v. de boekhouding", "À l'attention de Zoë"]));
            address.write(json);
        });
    });
}
