//! What the account itself says to the questions of a controller.

use chrono::{Datelike, Days, NaiveDate, TimeDelta};
use serde_json::{Value, json};

use crate::answers::{
    Account, EXCLUSIVE, Sum, at, date, day, day_in_brussels, full_name, grouped, list, moment, rounded, total,
};
use crate::money_answers::{in_euro, quarter, sum};
use crate::whose::{documents, noted_of, of_deal, worked_for};

/// The answers, in the questions' order.
pub fn answers(account: &Account) -> Vec<Vec<Value>> {
    vec![
        by_user(account),
        soon_won(account),
        silent(account),
        stays(account),
        waiting_hours(account),
        margins(account),
        ordered(account),
        owed(account),
        vat_to_pay(account),
        cash(account),
    ]
}

fn by_user(account: &Account) -> Vec<Value> {
    let since = in_euro(account).filter(|(day, _)| *day >= date(2022, 1));
    let by_both = grouped(since, |(day, document)| {
        let deal = account.find("deals", at(document.invoice, "deal/id"));
        json!([quarter(*day), deal.map(|deal| at(deal, "responsible_user/id"))])
    });
    let rows = by_both.into_iter().map(|(key, all)| {
        let seller = account.find("users", &key[1]).map_or_else(|| "(no deal)".to_owned(), full_name);
        json!({ "quarter": key[0], "seller": seller, "revenue": sum(all.iter().map(|(_, document)| document)) })
    });
    rows.collect()
}

fn soon_won(account: &Account) -> Vec<Value> {
    let created = account.all("deals").filter_map(|deal| Some((moment(&deal["created_at"])?, deal)));
    let rows =
        grouped(created, |(created, _)| json!(day_in_brussels(*created).year())).into_iter().map(|(year, deals)| {
            let won: Vec<_> = deals.iter().filter(|(_, deal)| deal["status"] == "won").collect();
            let soon = won.iter().filter(|(created, deal)| {
                let took = moment(&deal["closed_at"]).map(|closed| closed - *created);
                took.is_some_and(|took| (TimeDelta::zero()..=TimeDelta::days(30)).contains(&took))
            });
            json!({ "year": year, "deals": deals.len(), "won": won.len(), "within_30_days": soon.count() })
        });
    rows.collect()
}

/// Whether a contact was seen in 2023: as a customer, as a customer's contact, or at a meeting.
fn was_seen(account: &Account, contact: &Value) -> bool {
    let is_customer = |customer: (Value, Value)| customer.0 == "contact" && customer.1 == *contact;
    let named = |reference: &Value| (reference["type"].clone(), reference["id"].clone());
    let in_year = |day: Option<NaiveDate>| day.is_some_and(|day| day.year() == 2023);
    let on = |value: &Value| in_year(moment(value).map(|at| at.date_naive()));
    let calls = account.all("calls").any(|call| {
        let taking_part = at(call, "participant/contact/id") == contact;
        on(&call["scheduled_at"]) && (is_customer(named(at(call, "participant/customer"))) || taking_part)
    });
    let meetings = account.all("meetings").any(|meeting| {
        let attends = list(&meeting["attendees"]).any(|one| one["type"] == "contact" && one["id"] == *contact);
        let there = attends && in_year(moment(&meeting["scheduled_at"]).map(day_in_brussels));
        there || on(&meeting["scheduled_at"]) && is_customer(named(&meeting["customer"]))
    });
    let tasks = account.all("tasks").any(|task| {
        let done = moment(&task["completed_at"]).map(|at| at.date_naive());
        in_year(done.or_else(|| day(&task["due_on"]))) && is_customer(named(&task["customer"]))
    });
    let tickets = account.all("tickets").any(|ticket| {
        let last = if ticket["last_message_at"].is_null() { &ticket["created_at"] } else { &ticket["last_message_at"] };
        on(last) && (is_customer(named(&ticket["customer"])) || is_customer(named(at(ticket, "participant/customer"))))
    });
    let time = account
        .all("timeTracking")
        .any(|entry| in_year(day(&entry["started_on"])) && is_customer(worked_for(account, entry)));
    let contact_of =
        |deal: &Value| account.find("deals", deal).is_some_and(|deal| at(deal, "lead/contact_person/id") == contact);
    let notes = account.all("notes").any(|note| {
        let id = at(note, "subject/id");
        let with = match at(note, "subject/type").as_str() {
            Some("deal") => contact_of(id),
            Some("quotation") => {
                account.find("quotations", id).is_some_and(|quotation| contact_of(at(quotation, "deal/id")))
            }
            Some("invoice") => account
                .find("invoices", id)
                .is_some_and(|invoice| at(invoice, "invoicee/for_attention_of/contact/id") == contact),
            _ => false,
        };
        on(&note["added_at"]) && (with || is_customer(noted_of(account, note)))
    });
    let quotations = account.all("quotations").any(|quotation| {
        let deal = at(quotation, "deal/id");
        on(&quotation["created_at"]) && (contact_of(deal) || is_customer(of_deal(account, deal)))
    });
    let invoices = documents(account).filter(|document| document.sign > 0.0).any(|document| {
        let invoicee = &document.record["invoicee"];
        in_year(day(document.dated))
            && (at(invoicee, "for_attention_of/contact/id") == contact || is_customer(named(&invoicee["customer"])))
    });
    calls || meetings || tasks || tickets || time || notes || quotations || invoices
}

fn silent(account: &Account) -> Vec<Value> {
    let active = account.all("contacts").filter(|contact| contact["status"] == "active");
    let rows = grouped(active, |contact| contact["language"].clone()).into_iter().map(|(language, contacts)| {
        let silent = contacts.iter().filter(|contact| !was_seen(account, &contact["id"])).count();
        json!({ "language": language, "contacts": contacts.len(), "silent": silent })
    });
    rows.collect()
}

fn stays(account: &Account) -> Vec<Value> {
    let mut stays = Vec::new();
    for deal in account.all("deals") {
        let started = |phase: &Value| {
            chrono::NaiveDateTime::parse_from_str(phase["started_at"].as_str()?, "%Y-%m-%d %H:%M:%S").ok()
        };
        let mut history: Vec<_> =
            list(&deal["phase_history"]).filter_map(|one| Some((started(one)?, at(one, "phase/id")))).collect();
        history.sort_by_key(|(at, _)| *at);
        for pair in history.windows(2) {
            stays.push((pair[0].1, (pair[1].0 - pair[0].0).num_seconds()));
        }
    }
    let rows = grouped(stays.into_iter(), |(phase, _)| (*phase).clone()).into_iter().map(|(phase, stays)| {
        let name = account.find("dealPhases", &phase).map(|phase| &phase["name"]);
        let seconds: i64 = stays.iter().map(|(_, seconds)| seconds).sum();
        let days = seconds as f64 / stays.len() as f64 / 86_400.0;
        json!({ "phase": name, "stays": stays.len(), "days": rounded(days, 1) })
    });
    rows.collect()
}

fn waiting_hours(account: &Account) -> Vec<Value> {
    let waiting = account
        .all("timeTracking")
        .filter(|entry| entry["invoiceable"] == true && at(entry, "billing_info/type").is_null());
    let rows = grouped(waiting, |entry| worked_for(account, entry).1).into_iter().map(|(customer, entries)| {
        let hours = total(entries.iter().copied(), "duration").map(|all| rounded(all / 3600.0, 2));
        let mut value = Sum::default();
        for entry in entries.iter().filter(|entry| at(entry, "hourly_rate/currency") == "EUR") {
            let rate = at(entry, "hourly_rate/amount").as_f64();
            value.add(entry["duration"].as_f64().zip(rate).map(|(seconds, rate)| seconds * rate));
        }
        let value = Sum(value.0.map(|value| value / 3600.0)).round(2);
        let name = account.customer(&customer);
        json!({ "customer": name, "entries": entries.len(), "hours": hours, "value": value })
    });
    rows.collect()
}

fn margins(account: &Account) -> Vec<Value> {
    let of = |resource, revenue: &'static str, costs: &'static str| {
        account.all(resource).filter_map(move |project| {
            let euro = |path: &str| Some(at(project, path)).filter(|money| money["currency"] == "EUR");
            let (revenue, costs) = (euro(revenue)?["amount"].as_f64()?, euro(costs)?["amount"].as_f64()?);
            let margin = revenue - costs;
            let percent = (revenue != 0.0).then(|| rounded(100.0 * margin / revenue, 1));
            let title = &project["title"];
            Some(json!({
                "project": title, "revenue": revenue, "costs": costs, "margin": margin, "percent": percent,
            }))
        })
    };
    of("projects", "actuals/billable_amount", "actuals/costs")
        .chain(of("projects-v2/projects", "price", "cost"))
        .collect()
}

fn ordered(account: &Account) -> Vec<Value> {
    let orders = account
        .all("orders")
        .filter(|order| !at(order, "deal/id").is_null() && at(order, "total/tax_exclusive/currency") == "EUR");
    let rows = grouped(orders, |order| at(order, "deal/id").clone()).into_iter().map(|(deal, orders)| {
        let ordered = total(orders.iter().copied(), EXCLUSIVE).unwrap_or_default();
        let theirs = documents(account).filter(|document| at(document.invoice, "deal/id") == &deal);
        let invoiced: f64 = theirs.filter(|document| document.in_euro()).filter_map(|document| document.amount()).sum();
        let title = account.find("deals", &deal).map(|deal| &deal["title"]);
        json!({
            "deal": title, "orders": orders.len(), "ordered": ordered, "invoiced": invoiced, "open": ordered - invoiced,
        })
    });
    rows.collect()
}

/// 1; -1 of an incoming credit note.
fn sign(expense: &Value) -> f64 {
    if at(expense, "source/type") == "incomingCreditNote" { -1.0 } else { 1.0 }
}

fn expenses(account: &Account) -> impl Iterator<Item = &Value> {
    account.all("expenses").filter(|expense| at(expense, "currency/code") == "EUR")
}

fn owed(account: &Account) -> Vec<Value> {
    let by_status = grouped(expenses(account), |expense| {
        json!([at(expense, "supplier/id"), expense["review_status"], expense["payment_status"]])
    });
    let rows = by_status.into_iter().map(|(key, documents)| {
        let of = |path: &str| {
            let mut sum = Sum::default();
            documents.iter().for_each(|one| sum.add(at(one, path).as_f64().map(|amount| sign(one) * amount)));
            sum.0
        };
        json!({
            "supplier": account.customer(&key[0]), "review_status": key[1], "payment_status": key[2],
            "documents": documents.len(), "amount": of("total/tax_inclusive/amount"), "paid": of("paid_amount"),
        })
    });
    rows.collect()
}

/// Adds up two sums by a day, as a row each: what comes, what goes, and what is left.
fn balance(
    entries: impl Iterator<Item = (NaiveDate, Option<f64>, Option<f64>)>,
    names: [&'static str; 4],
) -> Vec<Value> {
    let rows = grouped(entries, |(day, ..)| json!(day)).into_iter().map(|(day, entries)| {
        let (mut comes, mut goes) = (Sum::default(), Sum::default());
        for (_, coming, going) in entries {
            comes.add(coming);
            goes.add(going);
        }
        let left = comes.0.unwrap_or_default() - goes.0.unwrap_or_default();
        let [period, came, went, rest] = names;
        json!({ period: day, came: comes.0, went: goes.0, rest: left })
    });
    rows.collect()
}

fn vat_to_pay(account: &Account) -> Vec<Value> {
    let sales = in_euro(account).map(|(day, document)| {
        (day, document.of("tax_inclusive").zip(document.amount()).map(|(with, without)| with - without), None)
    });
    let purchases = expenses(account).filter(|expense| expense["review_status"] != "refused").filter_map(|expense| {
        let of = |what: &str| at(expense, &format!("total/{what}/amount")).as_f64();
        let vat = of("tax_inclusive").zip(of("tax_exclusive")).map(|(with, without)| sign(expense) * (with - without));
        Some((day(&expense["document_date"])?, None, vat))
    });
    let of_years = sales.chain(purchases).filter(|(day, ..)| (2022..=2023).contains(&day.year()));
    let by_quarter = of_years.map(|(day, comes, goes)| (quarter(day), comes, goes));
    balance(by_quarter, ["quarter", "on_sales", "on_purchases", "to_pay"])
}

fn cash(account: &Account) -> Vec<Value> {
    let open = account.all("invoices").filter(|invoice| {
        invoice["status"] == "outstanding" && invoice["paid"] == false && at(invoice, "total/due/currency") == "EUR"
    });
    let comes =
        open.filter_map(|invoice| Some((day(&invoice["due_on"])?, at(invoice, "total/due/amount").as_f64(), None)));
    let unpaid = expenses(account).filter(|expense| {
        (expense["payment_status"] == "not_paid" || expense["payment_status"] == "partially_paid")
            && expense["review_status"] != "refused"
    });
    let goes = unpaid.filter_map(|expense| {
        let amount = at(expense, "total/tax_inclusive/amount").as_f64();
        let left = amount.map(|amount| sign(expense) * (amount - expense["paid_amount"].as_f64().unwrap_or(0.0)));
        Some((day(&expense["due_date"])?, None, left))
    });
    let since = comes.chain(goes).filter(|(day, ..)| day.year() >= 2022);
    let by_week =
        since.map(|(day, comes, goes)| (day - Days::new(day.weekday().num_days_from_monday().into()), comes, goes));
    balance(by_week, ["week", "comes", "goes", "net"])
}
