//! What the account itself says to those of the questions that are about invoices and credit notes.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use chrono::{Datelike, NaiveDate};
use serde_json::{Value, json};

use crate::answers::{Account, EXCLUSIVE, Sum, at, date, day, grouped, list, text, total};
use crate::whose::{Document, documents};

/// The first day of the quarter.
pub fn quarter(day: NaiveDate) -> NaiveDate {
    date(day.year(), day.month0() / 3 * 3 + 1)
}

/// What was invoiced and credited in euro, with its day.
pub fn in_euro(account: &Account) -> impl Iterator<Item = (NaiveDate, Document<'_>)> {
    documents(account).filter(Document::in_euro).filter_map(|document| Some((day(document.dated)?, document)))
}

pub fn sum<'a, 'b: 'a>(documents: impl IntoIterator<Item = &'a Document<'b>>) -> Option<f64> {
    let mut sum = Sum::default();
    documents.into_iter().for_each(|document| sum.add(document.amount()));
    sum.0
}

pub fn revenue(account: &Account) -> Vec<Value> {
    let since = in_euro(account).filter(|(day, _)| *day >= date(2020, 1));
    let by_month =
        grouped(since, |(day, document)| json!([date(day.year(), day.month()), at(document.record, "department/id")]));
    let rows = by_month.into_iter().map(|(key, all)| {
        let department = account.find("departments", &key[1]).map(|department| &department["name"]);
        let of = |sign: f64| sum(all.iter().map(|(_, document)| document).filter(|document| document.sign == sign));
        json!({
            "month": key[0], "department": department, "invoiced": of(1.0), "credited": of(-1.0),
            "revenue": sum(all.iter().map(|(_, document)| document)),
        })
    });
    rows.collect()
}

pub fn net_revenue(account: &Account) -> Vec<Value> {
    let rows = grouped(in_euro(account), |(day, _)| json!(day.year()))
        .into_iter()
        .map(|(year, all)| json!({ "year": year, "revenue": sum(all.iter().map(|(_, document)| document)) }));
    rows.collect()
}

pub fn vat(account: &Account) -> Vec<Value> {
    let of_years = documents(account).filter_map(|document| Some((day(document.dated)?, document)));
    let of_years = of_years.filter(|(day, _)| (2022..=2023).contains(&day.year()));
    let taxes = of_years.flat_map(|(day, document)| {
        list(at(document.record, "total/taxes")).map(move |tax| (quarter(day), tax, document.sign))
    });
    let taxes = taxes.filter(|(_, tax, _)| at(tax, "tax/currency") == "EUR");
    let rows = grouped(taxes, |(quarter, tax, _)| json!([quarter, tax["rate"]])).into_iter().map(|(key, taxes)| {
        let of = |path: &str| -> f64 {
            taxes.iter().map(|(_, tax, sign)| at(tax, path).as_f64().unwrap_or(0.0) * sign).sum()
        };
        json!({ "quarter": key[0], "rate": key[1], "taxable": of("taxable/amount"), "tax": of("tax/amount") })
    });
    rows.collect()
}

pub fn lines(account: &Account) -> Vec<Value> {
    let invoices = account.all("invoices").filter(|invoice| invoice["status"] != "draft");
    let lines =
        invoices.flat_map(|invoice| list(&invoice["grouped_lines"])).flat_map(|group| list(&group["line_items"]));
    let lines = lines.filter(|line| at(line, "total/tax_exclusive/currency") == "EUR");
    let mut rows: Vec<Value> = grouped(lines, |line| line["description"].clone())
        .into_iter()
        .map(|(description, lines)| {
            json!({
                "description": description, "lines": lines.len(), "quantity": total(lines.iter().copied(), "quantity"),
                "amount": total(lines.iter().copied(), EXCLUSIVE),
            })
        })
        .collect();
    rows.sort_by_key(|row| {
        (Reverse((row["amount"].as_f64().unwrap_or(f64::MAX) * 100.0).round() as i64), text(&row["description"]))
    });
    rows.truncate(10);
    rows
}

/// What a company was invoiced and credited.
fn of_company<'a>(account: &'a Account, company: &'a Value) -> Vec<Document<'a>> {
    let theirs = documents(account).filter(|document| {
        let customer = at(document.record, "invoicee/customer");
        customer["id"] == *company && customer["type"] == "company"
    });
    theirs.collect()
}

pub fn dormant(account: &Account) -> Vec<Value> {
    let companies = account.all("companies").filter(|company| company["status"] == "active");
    let rows = companies.filter_map(|company| {
        let theirs = of_company(account, &company["id"]);
        let invoices = theirs.iter().filter(|document| document.sign > 0.0);
        let last = invoices.filter_map(|document| day(document.dated)).max()?;
        let revenue = sum(theirs.iter().filter(|document| document.in_euro()));
        (last < date(2023, 1)).then(|| json!({ "name": company["name"], "last_invoice": last, "revenue": revenue }))
    });
    rows.collect()
}

pub fn tags(account: &Account) -> Vec<Value> {
    let tagged = account.all("companies").flat_map(|company| {
        let tags: BTreeSet<&str> = list(&company["tags"]).filter_map(Value::as_str).collect();
        tags.into_iter().map(move |tag| (tag, &company["id"]))
    });
    let rows = grouped(tagged, |(tag, _)| json!(tag)).into_iter().map(|(tag, companies)| {
        let revenue: f64 = companies
            .iter()
            .filter_map(|(_, company)| sum(of_company(account, company).iter().filter(|document| document.in_euro())))
            .sum();
        json!({ "tag": tag, "companies": companies.len(), "revenue": revenue })
    });
    rows.collect()
}
