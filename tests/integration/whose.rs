//! Whose a record of the account is: the customer that it leads to, and what was invoiced and credited.

use serde_json::Value;

use crate::answers::{Account, at, list};

/// A customer: its type and its id.
pub type Customer = (Value, Value);

pub fn nobody() -> Customer {
    (Value::Null, Value::Null)
}

/// A reference, by type and id.
pub fn named(reference: &Value) -> Customer {
    (reference["type"].clone(), reference["id"].clone())
}

/// The first that names somebody.
fn first<const N: usize>(customers: [Customer; N]) -> Customer {
    customers.into_iter().find(|(_, id)| !id.is_null()).unwrap_or_else(nobody)
}

pub fn of_deal(account: &Account, id: &Value) -> Customer {
    account.find("deals", id).map_or_else(nobody, |deal| named(at(deal, "lead/customer")))
}

fn of_project(account: &Account, id: &Value) -> Customer {
    account.find("projects", id).map_or_else(nobody, |project| named(&project["customer"]))
}

fn of_new_project(account: &Account, id: &Value) -> Customer {
    let project = account.find("projects-v2/projects", id);
    project.and_then(|project| list(&project["customers"]).next()).map_or_else(nobody, named)
}

/// The project of a milestone.
fn project_of<'a>(account: &'a Account, milestone: &Value) -> &'a Value {
    account.find("milestones", milestone).map_or(&Value::Null, |milestone| at(milestone, "project/id"))
}

/// Whom time was worked for.
pub fn worked_for(account: &Account, entry: &Value) -> Customer {
    let (kind, id) = (at(entry, "subject/type"), at(entry, "subject/id"));
    if kind == "company" || kind == "contact" {
        return named(&entry["subject"]);
    }
    let related = |kind: &str| list(&entry["relates_to"]).find(|one| one["type"] == kind).map(|one| &one["id"]);
    let (task, project) = (related("nextgenTask"), related("nextgenProject"));
    if task.is_some() || project.is_some() {
        let of_task = task.and_then(|task| account.find("projects-v2/tasks", task));
        let project = project.or_else(|| of_task.map(|task| at(task, "project/id")));
        return project.map_or_else(nobody, |project| of_new_project(account, project));
    }
    match kind.as_str() {
        Some("milestone") => of_project(account, project_of(account, id)),
        Some("ticket") => account.find("tickets", id).map_or_else(nobody, |ticket| named(&ticket["customer"])),
        Some("todo") => account.find("tasks", id).map_or_else(nobody, |task| {
            let own = at(task, "project/id");
            let project = if own.is_null() { project_of(account, at(task, "milestone/id")) } else { own };
            let (deal, old) = (of_deal(account, at(task, "deal/id")), of_project(account, project));
            first([named(&task["customer"]), deal, old, of_new_project(account, own)])
        }),
        Some("event") => account.find("events", id).map_or_else(nobody, |event| {
            let link = |is_deal: bool| list(&event["links"]).find(|link| (link["type"] == "deal") == is_deal);
            let deal = link(true).map_or_else(nobody, |deal| of_deal(account, &deal["id"]));
            first([link(false).map_or_else(nobody, named), deal])
        }),
        _ => nobody(),
    }
}

/// The customer of what a note is on.
pub fn noted_of(account: &Account, note: &Value) -> Customer {
    let id = at(note, "subject/id");
    let of =
        |resource: &str, path: &str| account.find(resource, id).map_or_else(nobody, |record| named(at(record, path)));
    match at(note, "subject/type").as_str() {
        Some("company" | "contact") => named(&note["subject"]),
        Some("deal") => of_deal(account, id),
        Some("invoice") => of("invoices", "invoicee/customer"),
        Some("creditNote") => of("creditNotes", "invoicee/customer"),
        Some("subscription") => of("subscriptions", "invoicee/customer"),
        Some("meeting") => of("meetings", "customer"),
        Some("project") => of_project(account, id),
        Some("nextgenProject") => of_new_project(account, id),
        Some("quotation") => {
            let quotation = account.find("quotations", id);
            quotation.map_or_else(nobody, |quotation| of_deal(account, at(quotation, "deal/id")))
        }
        _ => nobody(),
    }
}

/// An invoice that is more than a draft, or a credit note.
pub struct Document<'a> {
    pub record: &'a Value,
    /// The invoice itself; of a credit note the one that it names.
    pub invoice: &'a Value,
    /// 1, or -1 of a credit note.
    pub sign: f64,
    /// Its date.
    pub dated: &'a Value,
}

impl Document<'_> {
    /// The amount without taxes, below zero of a credit note.
    pub fn amount(&self) -> Option<f64> {
        self.of("tax_exclusive")
    }

    /// An amount of the total, below zero of a credit note.
    pub fn of(&self, what: &str) -> Option<f64> {
        at(self.record, &format!("total/{what}/amount")).as_f64().map(|amount| amount * self.sign)
    }

    pub fn in_euro(&self) -> bool {
        at(self.record, "total/tax_exclusive/currency") == "EUR"
    }
}

/// What was invoiced and credited.
pub fn documents(account: &Account) -> impl Iterator<Item = Document<'_>> {
    const NONE: &Value = &Value::Null;
    let invoices = account.all("invoices").filter(|invoice| invoice["status"] != "draft").map(|invoice| Document {
        record: invoice,
        invoice,
        sign: 1.0,
        dated: &invoice["invoice_date"],
    });
    let credited = account.all("creditNotes").map(|note| Document {
        record: note,
        invoice: account.find("invoices", at(note, "invoice/id")).unwrap_or(NONE),
        sign: -1.0,
        dated: &note["credit_note_date"],
    });
    invoices.chain(credited)
}
