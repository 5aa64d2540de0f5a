//! companies.

use super::addresses::Address;
use super::contacts::write_addresses;
use super::custom_fields;
use super::dice::fingerprint;
use super::draft::{Draft, SortKey};
use super::facts::{Facts, Rolls};
use super::json::Json;
use super::names::{
    FUNCTIONS, LEGAL_FORMS, TAGS, company_name, iban, prose, slug, spice, telephone, vat_number, write_payment_term,
};
use super::world::World;

struct Company {
    name: String,
    status: &'static str,
    vat_number: String,
    emails: Vec<(&'static str, String)>,
    tags: Vec<&'static str>,
    national_number: String,
    consent: bool,
    address: Address,
    domain: String,
    rolls: Rolls,
}

impl Company {
    fn roll(world: &World, facts: &Facts) -> Self {
        let mut rolls = world.rolls("companies", facts);
        let name = called(&mut rolls);
        let mut tags: Vec<_> = (0..rolls.list.below(4)).map(|_| rolls.list.pick(TAGS)).collect();
        tags.sort_unstable();
        tags.dedup();
        let domain = slug(&name);
        let emails = [("primary", "info"), ("invoicing", "boekhouding")]
            .into_iter()
            .filter(|_| rolls.base.chance(70))
            .map(|(kind, mailbox)| (kind, format!("{mailbox}@{domain}.example")));
        Self {
            name: spice(facts.ordinal, name),
            emails: emails.collect(),
            status: if rolls.base.chance(8) { "deactivated" } else { "active" },
            vat_number: if rolls.base.chance(85) { vat_number(&mut rolls.base) } else { String::new() },
            tags,
            national_number: format!("{:08}", rolls.base.below(100_000_000)),
            consent: rolls.list.chance(50),
            address: Address::roll(world, &mut rolls.base),
            domain,
            rolls,
        }
    }

    /// The fields that list and info share.
    fn write(&mut self, json: &mut Json, world: &World, facts: &Facts) {
        let dice = &mut self.rolls.base;
        let edits = &mut self.rolls.list;
        json.id("id", facts.id);
        json.text("name", &self.name);
        json.text("status", self.status);
        json.reference("business_type", "businessType", world.some("businessTypes", dice));
        json.text("vat_number", &self.vat_number);
        json.text("national_identification_number", &self.national_number);
        json.list("emails", |json| {
            for (kind, email) in &self.emails {
                json.item(|json| {
                    json.text("type", kind);
                    json.text("email", email);
                });
            }
        });
        json.list("telephones", |json| {
            for kind in ["phone", "fax"] {
                if edits.chance(60) {
                    json.item(|json| {
                        json.text("type", kind);
                        json.text("number", &telephone(edits));
                    });
                }
            }
        });
        json.text("website", &format!("https://www.{}.example/?ref={}", self.domain, edits.below(1_000_000_000)));
        let account = iban(dice);
        json.text("iban", if dice.chance(60) { &account } else { "" });
        json.text("bic", dice.pick(&["GEBABEBB", "KREDBEBB", ""]));
        json.text("language", dice.pick(&["nl", "nl", "nl", "fr", "fr", "en", "de"]));
        json.maybe(
            "preferred_currency",
            dice.chance(50).then(|| dice.pick(&["EUR", "EUR", "EUR", "EUR", "USD", "GBP"])),
        );
        match dice.chance(30) {
            true => json.raw("payment_term", "null"),
            false => json.nested("payment_term", |json| write_payment_term(json, dice)),
        }
        json.nested("invoicing_preferences", |json| {
            let address = format!("0208:{:010}", dice.below(1_000_000_000));
            json.maybe("electronic_invoicing_address", dice.chance(50).then_some(address.as_str()));
        });
        json.reference("responsible_user", "user", world.some("users", dice));
        json.flag("marketing_mails_consent", self.consent);
        json.maybe_reference("price_list", "priceList", dice.chance(20).then(|| world.some("priceLists", dice)));
        json.moment("added_at", facts.created_at);
        json.moment("updated_at", facts.updated_at);
        json.text("web_url", &format!("https://focus.teamleader.eu/company_detail.php?id={}", facts.id));
        json.list("tags", |json| {
            for tag in &self.tags {
                json.value(tag);
            }
        });
    }

    fn custom_fields(&mut self, json: &mut Json, world: &World) {
        custom_fields::write(json, world, "company", &mut self.rolls.base, &mut self.rolls.list);
    }
}

/// What the company is called, with its legal form.
fn called(rolls: &mut Rolls) -> String {
    format!("{} {}", company_name(&mut rolls.list), rolls.list.pick(LEGAL_FORMS))
}

/// The name at the start of the company with this number.
pub(super) fn initial_name(world: &World, ordinal: u64) -> String {
    called(&mut world.rolls("companies", &world.initial_facts("companies", ordinal)))
}

pub(super) fn list(world: &World, facts: &Facts) -> Draft {
    let mut company = Company::roll(world, facts);
    let mut json = Json::object(1400);
    company.write(&mut json, world, facts);
    json.nested("primary_address", |json| company.address.write(json));
    let mut extra = Json::members();
    company.custom_fields(&mut extra, world);

    let mut facets = vec![fingerprint(&["status", company.status])];
    // The filter knows no other type than primary.
    let primary = company.emails.iter().filter(|(kind, _)| *kind == "primary");
    facets.extend(primary.map(|(kind, email)| fingerprint(&["email", kind, email])));
    facets.extend(company.tags.iter().map(|tag| fingerprint(&["tags", tag])));
    facets.push(fingerprint(&["vat_number", &company.vat_number]));
    facets.push(fingerprint(&["marketing_mails_consent", &company.consent.to_string()]));
    facets.push(fingerprint(&["national_identification_number", &company.national_number]));
    Draft {
        list: json.finish(),
        keys: vec![SortKey::text(&company.name), SortKey::Number(facts.created_at), SortKey::Number(facts.updated_at)],
        facets,
        ..Draft::default()
    }
    .with_optional("custom_fields", 1, extra.finish_members())
}

pub(super) fn info(world: &World, facts: &Facts, includes: &[&str]) -> String {
    let mut company = Company::roll(world, facts);
    let mut json = Json::object(2600);
    company.write(&mut json, world, facts);
    company.custom_fields(&mut json, world);
    let dice = &mut company.rolls.info;
    write_addresses(&mut json, world, &company.address, dice);
    json.text("remarks", &spice(facts.ordinal, prose(37 * facts.ordinal + 5 + u64::from(facts.info_edits))));
    if includes.contains(&"related_companies") {
        json.list("related_companies", |json| {
            for _ in 0..dice.below(3) {
                json.item(|json| json.identity("company", world.some("companies", dice)));
            }
        });
    }
    if includes.contains(&"related_contacts") {
        // Rolls of their own: what one include shows must not depend on whether the other was asked for.
        let mut dice = world.rolls("companies", facts).base;
        json.list("related_contacts", |json| {
            for _ in 0..dice.below(4) {
                json.item(|json| {
                    json.identity("contact", world.some("contacts", &mut dice));
                    json.maybe("position", dice.chance(70).then(|| dice.pick(FUNCTIONS)));
                    json.maybe("secondary_position", dice.chance(20).then_some("Technical lead"));
                    json.maybe("division", dice.chance(20).then_some("Engineering"));
                    json.flag("is_decision_maker", dice.chance(30));
                });
            }
        });
    }
    json.finish()
}
