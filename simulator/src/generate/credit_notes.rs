//! credit notes. Most credit an invoice, wholly or in part, in its currency and to its customer.

use uuid::Uuid;

use super::amounts::{before, discount, tax_of, write_exchange_rate};
use super::dice::fingerprint;
use super::draft::{Draft, id_facet};
use super::facts::{Facts, Rolls};
use super::invoice_lines::{Lines, write_lines};
use super::invoices::{self, Invoice};
use super::json::{Json, day, hundredths};
use super::names::{email, vat_number};
use super::world::World;

const DAY: i64 = 86_400;

struct CreditNote {
    department: Uuid,
    invoice: Option<Uuid>,
    customer: (&'static str, Uuid),
    name: String,
    currency: &'static str,
    /// Cents without tax.
    net: i64,
    paid: bool,
    rolls: Rolls,
}

impl CreditNote {
    fn roll(world: &World, facts: &Facts) -> Self {
        let mut rolls = world.rolls("creditNotes", facts);
        let dice = &mut rolls.base;
        // Each invoice is credited once: what is credited is never more than it.
        let invoices = world.count("invoices").max(1);
        let of = invoices::initial(world, facts.ordinal % invoices);
        let credits = facts.ordinal < world.count("invoices") && of.is_booked();
        let Invoice { id, department, customer, name, currency, net, .. } = of;
        let net = match dice.below(10) {
            0..3 => net,
            _ => net * dice.between(10, 60) / 100,
        };
        // A flag goes from one value to the other with every edit.
        let paid = dice.chance(50) ^ (facts.list_edits % 2 == 1);
        Self { department, invoice: credits.then_some(id), customer, name, currency, net: net.max(1), paid, rolls }
    }

    fn tax(&self) -> i64 {
        tax_of(self.net)
    }

    /// The fields that list and info share, but for `invoicee` and `total`, which have more in info.
    fn write(&self, json: &mut Json, facts: &Facts) {
        json.id("id", facts.id);
        json.reference("department", "department", self.department);
        json.text("credit_note_number", &format!("{} / {}", &day(facts.created_at)[..4], facts.ordinal + 1));
        json.text("credit_note_date", &day(facts.created_at));
        json.text("status", "booked");
        json.maybe_reference("invoice", "invoice", self.invoice);
        json.flag("paid", self.paid);
        match self.paid {
            true => json.moment("paid_at", facts.created_at + 10 * DAY),
            false => json.raw("paid_at", "null"),
        }
        json.moment("created_at", facts.created_at);
        json.moment("updated_at", facts.updated_at);
    }

    /// The fields of `invoicee` that list and info share.
    fn write_invoicee(&mut self, json: &mut Json) {
        let dice = &mut self.rolls.base;
        json.text("name", &self.name);
        json.maybe("vat_number", dice.chance(70).then(|| vat_number(dice)).as_deref());
        json.reference("customer", self.customer.0, self.customer.1);
    }

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
    }
}

pub(super) fn list(world: &World, facts: &Facts) -> Draft {
    let mut note = CreditNote::roll(world, facts);
    let mut json = Json::object(1200);
    note.write(&mut json, facts);
    json.nested("invoicee", |json| note.write_invoicee(json));
    json.nested("total", |json| note.write_total(json));
    let customer = note.customer.1.to_string();
    let mut facets =
        vec![id_facet("department_id", note.department), fingerprint(&["customer", note.customer.0, &customer])];
    facets.extend(note.invoice.map(|invoice| id_facet("invoice_id", invoice)));
    let dated = facts.created_at / DAY * DAY;
    Draft { list: json.finish(), facets, bounded: vec![Some(dated)], ..Draft::default() }
}

pub(super) fn info(world: &World, facts: &Facts, _includes: &[&str]) -> String {
    let mut note = CreditNote::roll(world, facts);
    let mut json = Json::object(3000);
    note.write(&mut json, facts);
    json.nested("invoicee", |json| {
        note.write_invoicee(json);
        let dice = &mut note.rolls.base;
        json.maybe("email", dice.chance(60).then(|| email("", "boekhouding", &note.name)).as_deref());
        json.maybe("national_identification_number", dice.chance(30).then_some("63326426"));
    });
    json.nested("total", |json| note.write_total(json));
    let (net, currency) = (note.net, note.currency);
    let info = &mut note.rolls.info;
    let discounted = discount(info);
    let lines = Lines { sum: before(net, discounted), currency, of_credit_note: true };
    write_lines(&mut json, world, info, lines);
    json.list("discounts", |json| {
        if discounted > 0 {
            json.item(|json| {
                json.text("type", "percentage");
                json.raw("value", &hundredths(discounted));
                json.text("description", "Winterkorting");
            });
        }
    });
    json.text("currency", currency);
    write_exchange_rate(&mut json, currency);
    json.reference("document_template", "documentTemplate", world.some("documentTemplates", info));
    json.maybe("peppol_status", info.chance(50).then(|| info.pick(&["sending", "sending_failed", "sent"])));
    json.finish()
}
