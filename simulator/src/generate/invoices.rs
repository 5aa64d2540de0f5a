//! invoices.

use uuid::Uuid;

use super::amounts::{before, discount, tax_of, write_exchange_rate};
use super::dice::fingerprint;
use super::draft::{Draft, SortKey, id_facet};
use super::facts::{Facts, Rolls};
use super::invoice_lines::{Lines, write_lines};
use super::json::{Json, day, hundredths};
use super::names::{FIRST_NAMES, LAST_NAMES, email, payment_reference, prose, spice, vat_number, write_payment_term};
use super::world::World;
use super::{companies, contacts, custom_fields};

const DAY: i64 = 86_400;

pub(super) struct Invoice {
    pub(super) id: Uuid,
    pub(super) department: Uuid,
    /// Year and number within it; a draft has none.
    number: Option<(i64, u64)>,
    status: &'static str,
    dated: i64,
    order_number: Option<String>,
    reference: Option<String>,
    pub(super) customer: (&'static str, Uuid),
    pub(super) name: String,
    pub(super) currency: &'static str,
    /// Cents without tax.
    pub(super) net: i64,
    deal: Option<Uuid>,
    project: Option<Uuid>,
    subscription: Option<Uuid>,
    rolls: Rolls,
}

impl Invoice {
    fn roll(world: &World, facts: &Facts) -> Self {
        let mut rolls = world.rolls("invoices", facts);
        let dice = &mut rolls.base;
        let edits = &mut rolls.list;
        let status = dice.pick(&["draft", "outstanding", "outstanding", "matched", "matched", "matched"]);
        let year = 2015 + dice.between(0, 10);
        let (kind, resource) = if dice.chance(70) { ("company", "companies") } else { ("contact", "contacts") };
        let customer = dice.below(world.count(resource).max(1));
        let name = match kind {
            "company" => companies::initial_name(world, customer),
            _ => contacts::initial_name(world, customer),
        };
        let order_number = format!("{:06}", edits.below(1_000_000));
        // Of a draft every edit changes it; what is booked stays.
        let (drafted, booked) = (edits.between(100, 9_000_000), dice.between(100, 9_000_000));
        Self {
            id: facts.id,
            department: world.some("departments", dice),
            number: (status != "draft").then_some((year, facts.ordinal + 1)),
            status,
            dated: facts.created_at,
            order_number: (edits.chance(60) || facts.list_edits > 0).then(|| spice(facts.ordinal, order_number)),
            reference: dice.chance(80).then(|| payment_reference(dice)),
            customer: (kind, world.id(resource, customer)),
            name,
            currency: dice.pick(&["EUR", "EUR", "EUR", "EUR", "EUR", "EUR", "EUR", "EUR", "USD", "GBP"]),
            net: if status == "draft" { drafted } else { booked },
            deal: if dice.chance(40) { world.any("deals", dice) } else { None },
            project: if dice.chance(30) { world.any("projects", dice) } else { None },
            subscription: if dice.chance(15) { world.any("subscriptions", dice) } else { None },
            rolls,
        }
    }

    fn tax(&self) -> i64 {
        tax_of(self.net)
    }

    /// Whether it is more than a draft.
    pub(super) fn is_booked(&self) -> bool {
        self.status != "draft"
    }

    fn number(&self) -> Option<String> {
        self.number.map(|(year, number)| format!("{year} / {number}"))
    }

    /// The fields that list and info share, but for `invoicee` and `total`, which have more in info.
    fn write(&mut self, json: &mut Json, world: &World, facts: &Facts) {
        let final_day = |offset: i64| (self.status != "draft").then(|| day(self.dated + offset * DAY));
        json.id("id", facts.id);
        json.reference("department", "department", self.department);
        json.maybe("invoice_number", self.number().as_deref());
        json.maybe("invoice_date", final_day(0).as_deref());
        json.text("status", self.status);
        json.maybe("due_on", final_day(30).as_deref());
        json.flag("paid", self.status == "matched");
        match self.status {
            "matched" => json.moment("paid_at", self.dated + 20 * DAY),
            _ => json.raw("paid_at", "null"),
        }
        json.flag("sent", self.status != "draft");
        json.maybe("purchase_order_number", self.order_number.as_deref());
        json.maybe("payment_reference", self.reference.as_deref());
        write_exchange_rate(json, self.currency);
        json.moment("created_at", facts.created_at);
        json.moment("updated_at", facts.updated_at);
        let file = world.any("files", &mut self.rolls.base);
        json.maybe_reference("file", "file", file.filter(|_| self.status != "draft"));
        json.maybe_reference("deal", "deal", self.deal);
        json.maybe_reference("project", "project", self.project);
        let dice = &mut self.rolls.base;
        json.maybe("delivery_date", dice.chance(50).then(|| day(facts.created_at + DAY)).as_deref());
    }

    /// The fields of `invoicee` that list and info share.
    fn write_invoicee(&mut self, json: &mut Json, world: &World) {
        let dice = &mut self.rolls.base;
        json.text("name", &self.name);
        json.maybe("vat_number", dice.chance(70).then(|| vat_number(dice)).as_deref());
        json.reference("customer", self.customer.0, self.customer.1);
        match dice.below(3) {
            0 => json.raw("for_attention_of", "null"),
            1 => json.nested("for_attention_of", |json| {
                json.text("name", &format!("{} {}", dice.pick(FIRST_NAMES), dice.pick(LAST_NAMES)));
                json.raw("contact", "null");
            }),
            _ => json.nested("for_attention_of", |json| {
                json.raw("name", "null");
                json.reference("contact", "contact", world.some("contacts", dice));
            }),
        }
    }

    /// The fields of `total` that list and info share.
    fn write_total(&self, json: &mut Json) {
        let gross = self.net + self.tax();
        json.money("tax_exclusive", self.net, self.currency);
        json.money("tax_inclusive", gross, self.currency);
        json.money("payable", gross, self.currency);
        json.list("taxes", |json| {
            json.item(|json| {
                json.raw("rate", "0.21");
                json.money("taxable", self.net, self.currency);
                json.money("tax", self.tax(), self.currency);
            });
        });
        json.money("due", self.due(), self.currency);
    }

    fn due(&self) -> i64 {
        if self.status == "matched" { 0 } else { self.net + self.tax() }
    }

    /// The fields of `total` behind the include `late_fees`.
    fn write_late_fees(&self, json: &mut Json) {
        let due = self.due();
        json.money("due_incasso_inclusive", due + due / 20, self.currency);
        json.money("fixed_late_fee", due / 50, self.currency);
        json.money("interest", due / 20 - due / 50, self.currency);
    }
}

/// The invoice with this number, as it was at the start.
pub(super) fn initial(world: &World, ordinal: u64) -> Invoice {
    Invoice::roll(world, &world.initial_facts("invoices", ordinal))
}

pub(super) fn list(world: &World, facts: &Facts) -> Draft {
    let mut invoice = Invoice::roll(world, facts);
    let mut json = Json::object(1600);
    invoice.write(&mut json, world, facts);
    json.maybe_reference("subscription", "subscription", invoice.subscription);
    json.text("web_url", &format!("https://focus.teamleader.eu/invoice_detail.php?id={}", facts.id));
    json.nested("invoicee", |json| invoice.write_invoicee(json, world));
    json.nested("total", |json| invoice.write_total(json));
    let mut extra = Json::members();
    invoice.write_late_fees(&mut extra);

    let customer = invoice.customer.1.to_string();
    let mut facets = vec![
        fingerprint(&["status", invoice.status]),
        id_facet("department_id", invoice.department),
        fingerprint(&["customer", invoice.customer.0, &customer]),
    ];
    facets.extend(invoice.number().map(|number| fingerprint(&["invoice_number", &number])));
    facets.extend(invoice.deal.map(|deal| id_facet("deal_id", deal)));
    facets.extend(invoice.project.map(|project| id_facet("project_id", project)));
    facets.extend(invoice.subscription.map(|subscription| id_facet("subscription_id", subscription)));
    facets.extend(invoice.order_number.iter().map(|number| fingerprint(&["purchase_order_number", number])));
    facets.extend(invoice.reference.iter().map(|reference| fingerprint(&["payment_reference", reference])));
    // Drafts have neither number nor date and come first.
    let (number, date) = match invoice.number {
        Some((year, number)) => (year * 100_000_000 + number as i64, invoice.dated / DAY),
        None => (0, i64::MIN),
    };
    Draft {
        list: json.finish(),
        keys: vec![SortKey::Number(number), SortKey::Number(date)],
        facets,
        bounded: vec![invoice.number.map(|_| invoice.dated / DAY * DAY)],
        ..Draft::default()
    }
    // The optional fields stand in `total`, which is therefore written last.
    .with_optional("late_fees", 2, extra.finish_members())
}

pub(super) fn info(world: &World, facts: &Facts, includes: &[&str]) -> String {
    let mut invoice = Invoice::roll(world, facts);
    let mut json = Json::object(5000);
    invoice.write(&mut json, world, facts);
    json.nested("invoicee", |json| {
        invoice.write_invoicee(json, world);
        let dice = &mut invoice.rolls.base;
        json.maybe("email", dice.chance(60).then(|| email("", "boekhouding", &invoice.name)).as_deref());
        json.maybe("national_identification_number", dice.chance(30).then_some("63326426"));
    });
    let discounted = discount(&mut invoice.rolls.info);
    let sum = before(invoice.net, discounted);
    json.nested("total", |json| {
        invoice.write_total(json);
        json.money("tax_exclusive_before_discount", sum, invoice.currency);
        json.money("tax_inclusive_before_discount", sum + tax_of(sum), invoice.currency);
        json.list("withheld_taxes", |json| {
            if facts.ordinal.is_multiple_of(5) {
                json.item(|json| {
                    json.id("id", world.some("withholdingTaxRates", &mut invoice.rolls.base));
                    json.money("taxable", invoice.net, invoice.currency);
                    json.money("withheld", invoice.net / 10, invoice.currency);
                });
            }
        });
        if includes.contains(&"late_fees") {
            invoice.write_late_fees(json);
        }
    });
    write_payment(&mut json, &mut invoice);
    let lines = Lines { sum, currency: invoice.currency, of_credit_note: false };
    write_lines(&mut json, world, &mut invoice.rolls.info, lines);
    let Rolls { base, list, info } = &mut invoice.rolls;
    custom_fields::write(&mut json, world, "invoice", base, list);
    json.list("discounts", |json| {
        if discounted > 0 {
            json.item(|json| {
                json.text("type", "percentage");
                json.raw("value", &hundredths(discounted));
                json.text("description", info.pick(&["Winterkorting", "Remise fidélité", ""]));
            });
        }
    });
    let note = prose(41 * facts.ordinal + 9 + u64::from(facts.info_edits));
    json.maybe("note", info.chance(80).then(|| spice(facts.ordinal, note)).as_deref());
    json.maybe("invoice_content", info.chance(60).then(|| info.pick(&["goods", "services", "goods_and_services"])));
    json.maybe("peppol_status", info.chance(50).then(|| info.pick(&["sending", "sending_failed", "sent"])));
    json.maybe("on_hold_since", info.chance(5).then(|| day(facts.updated_at)).as_deref());
    json.reference("document_template", "documentTemplate", world.some("documentTemplates", info));
    json.finish()
}

fn write_payment(json: &mut Json, invoice: &mut Invoice) {
    json.text("currency", invoice.currency);
    json.nested("payment_term", |json| write_payment_term(json, &mut invoice.rolls.base));
    json.list("payments", |json| {
        if invoice.status == "matched" {
            json.item(|json| {
                json.moment("paid_at", invoice.dated + 20 * DAY);
                json.money("payment", invoice.net + invoice.tax(), invoice.currency);
            });
        }
    });
    let dice = &mut invoice.rolls.base;
    match dice.chance(40) {
        true => json.raw("expected_payment_method", "null"),
        false => json.nested("expected_payment_method", |json| {
            json.text("method", dice.pick(&["cash", "cheque", "bankers_draft", "bank_transfer", "payment_card"]));
            json.maybe("reference", dice.chance(50).then_some("AB1234"));
        }),
    }
}
