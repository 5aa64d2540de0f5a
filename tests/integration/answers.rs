//! What the account itself says to the questions of docs/questions.md, computed from its records alone.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, Days, NaiveDate, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::money_answers;

/// What the account holds, by resource.
pub struct Account {
    /// The records.
    pub records: BTreeMap<&'static str, Vec<Value>>,
    /// The day on which it is asked.
    pub today: NaiveDate,
}

impl Account {
    pub fn all(&self, resource: &str) -> impl Iterator<Item = &Value> {
        self.records[resource].iter()
    }

    /// The record that a reference names.
    pub fn find(&self, resource: &str, id: &Value) -> Option<&Value> {
        self.all(resource).find(|record| !id.is_null() && record["id"] == *id)
    }

    /// The name of a company or a contact.
    pub fn customer(&self, id: &Value) -> Option<String> {
        let company = self.find("companies", id).map(|company| text(&company["name"]).unwrap_or_default());
        company.or_else(|| self.find("contacts", id).map(full_name))
    }
}

pub fn at<'a>(record: &'a Value, path: &str) -> &'a Value {
    record.pointer(&format!("/{path}")).unwrap_or(&Value::Null)
}

pub fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub fn full_name(person: &Value) -> String {
    [&person["first_name"], &person["last_name"]].into_iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

/// What `concat_ws` makes of nobody is an empty text.
pub fn name_of(person: Option<&Value>) -> String {
    person.map(full_name).unwrap_or_default()
}

pub fn day(value: &Value) -> Option<NaiveDate> {
    value.as_str()?.parse().ok()
}

pub fn moment(value: &Value) -> Option<DateTime<Utc>> {
    Some(DateTime::parse_from_rfc3339(value.as_str()?).ok()?.to_utc())
}

pub fn date(year: i32, month: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, month, 1).unwrap()
}

/// The day in Brussels: an hour ahead, two from the last Sunday of March, 01:00 UTC, to that of October.
pub fn day_in_brussels(moment: DateTime<Utc>) -> NaiveDate {
    let turn = |month| {
        let last = NaiveDate::from_ymd_opt(moment.year(), month, 31).unwrap();
        let sunday = last - Days::new(last.weekday().num_days_from_sunday().into());
        sunday.and_hms_opt(1, 0, 0).unwrap().and_utc()
    };
    let hours = if (turn(3)..turn(10)).contains(&moment) { 2 } else { 1 };
    (moment + TimeDelta::hours(hours)).date_naive()
}

/// As PostgreSQL rounds, half away from zero.
pub fn rounded(number: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    ((number.abs() * scale + 1e-7).round() / scale).copysign(number)
}

/// What `sum` gives: null for no number at all.
#[derive(Clone, Copy, Default)]
pub struct Sum(pub Option<f64>);

impl Sum {
    pub fn add(&mut self, number: Option<f64>) {
        if let Some(number) = number {
            self.0 = Some(self.0.unwrap_or(0.0) + number);
        }
    }

    pub fn round(self, digits: i32) -> Option<f64> {
        self.0.map(|number| rounded(number, digits))
    }
}

/// Groups records by a key that is JSON, in the order of their first.
pub fn grouped<T>(records: impl Iterator<Item = T>, key: impl Fn(&T) -> Value) -> Vec<(Value, Vec<T>)> {
    let mut groups: BTreeMap<String, (Value, Vec<T>)> = BTreeMap::new();
    for record in records {
        let key = key(&record);
        groups.entry(key.to_string()).or_insert_with(|| (key, Vec::new())).1.push(record);
    }
    groups.into_values().collect()
}

pub fn total<'a>(records: impl IntoIterator<Item = &'a Value>, path: &str) -> Option<f64> {
    let mut sum = Sum::default();
    records.into_iter().for_each(|record| sum.add(at(record, path).as_f64()));
    sum.0
}

pub const EXCLUSIVE: &str = "total/tax_exclusive/amount";

/// The answers, in the questions' order.
pub fn answers(account: &Account) -> Vec<Vec<Value>> {
    vec![
        money_answers::revenue(account),
        unpaid(account),
        days_to_pay(account),
        money_answers::net_revenue(account),
        money_answers::vat(account),
        money_answers::lines(account),
        recurring(account),
        money_answers::dormant(account),
        phases(account),
        won(account),
        lost(account),
        time_to_sale(account),
        projects(account),
        invoiceable(account),
        not_invoiced(account),
        work(account),
        consent(account),
        unreachable(account),
        choices(account),
        money_answers::tags(account),
    ]
}

fn unpaid(account: &Account) -> Vec<Value> {
    let open = account.all("invoices").filter(|invoice| {
        invoice["status"] == "outstanding" && invoice["paid"] == false && at(invoice, "total/due/currency") == "EUR"
    });
    let by_customer = grouped(open, |invoice| {
        let customer = at(invoice, "invoicee/customer/id");
        let name = account.customer(customer).map_or_else(|| at(invoice, "invoicee/name").clone(), |name| json!(name));
        json!([customer, name])
    });
    let rows = by_customer.into_iter().map(|(key, invoices)| {
        let customer = &key[1];
        let of_age = |from: i64, to: i64| {
            let aged = invoices.iter().filter(|invoice| {
                day(&invoice["due_on"]).is_some_and(|due| (from..=to).contains(&(account.today - due).num_days()))
            });
            total(aged.copied(), "total/due/amount")
        };
        json!({
            "customer": customer, "not_due": of_age(i64::MIN, 0), "to_30_days": of_age(1, 30), "to_90_days": of_age(31, 90),
            "older": of_age(91, i64::MAX), "due": total(invoices.iter().copied(), "total/due/amount"),
        })
    });
    rows.collect()
}

fn days_to_pay(account: &Account) -> Vec<Value> {
    let paid = account
        .all("invoices")
        .filter(|invoice| invoice["paid"] == true)
        .filter_map(|invoice| Some((day(&invoice["invoice_date"])?, moment(&invoice["paid_at"])?)));
    let rows = grouped(paid, |(invoiced, _)| json!(invoiced.year())).into_iter().map(|(year, invoices)| {
        let days: i64 = invoices.iter().map(|(invoiced, paid)| (day_in_brussels(*paid) - *invoiced).num_days()).sum();
        json!({ "year": year, "invoices": invoices.len(), "days": rounded(days as f64 / invoices.len() as f64, 2) })
    });
    rows.collect()
}

fn recurring(account: &Account) -> Vec<Value> {
    let running = account.all("subscriptions").filter(|subscription| {
        subscription["status"] == "active"
            && at(subscription, "total/tax_exclusive/currency") == "EUR"
            && at(subscription, "billing_cycle/periodicity/period").as_f64().is_some_and(|period| period > 0.0)
    });
    let (mut count, mut sum) = (0, Sum::default());
    for subscription in running {
        count += 1;
        let months = match at(subscription, "billing_cycle/periodicity/unit").as_str() {
            Some("year") => 12.0,
            Some("week") => 12.0 / 52.0,
            _ => 1.0,
        };
        let period = at(subscription, "billing_cycle/periodicity/period").as_f64().unwrap();
        sum.add(at(subscription, EXCLUSIVE).as_f64().map(|amount| amount / period / months));
    }
    vec![json!({ "subscriptions": count, "a_month": sum.round(2) })]
}

fn phases(account: &Account) -> Vec<Value> {
    let open = account.all("deals").filter(|deal| deal["status"] == "open" || deal["status"] == "new");
    let rows = grouped(open, |deal| at(deal, "current_phase/id").clone()).into_iter().map(|(phase, deals)| {
        let phase = account.find("dealPhases", &phase).map(|phase| &phase["name"]);
        let mut weighted = Sum::default();
        for deal in deals.iter().filter(|deal| in_euro(deal)) {
            let amount = at(deal, "estimated_value/amount").as_f64();
            weighted.add(
                amount.zip(deal["estimated_probability"].as_f64()).map(|(amount, probability)| amount * probability),
            );
        }
        json!({ "phase": phase, "deals": deals.len(), "value": worth(&deals), "weighted": weighted.0 })
    });
    rows.collect()
}

fn in_euro(deal: &Value) -> bool {
    at(deal, "estimated_value/currency") == "EUR"
}

fn worth(deals: &[&Value]) -> Option<f64> {
    total(deals.iter().copied().filter(|deal| in_euro(deal)), "estimated_value/amount")
}

fn won(account: &Account) -> Vec<Value> {
    let closed = account.all("deals").filter(|deal| deal["status"] == "won" || deal["status"] == "lost");
    let rows = grouped(closed, |deal| at(deal, "responsible_user/id").clone()).into_iter().map(|(user, deals)| {
        let user = account.find("users", &user);
        let won = deals.iter().filter(|deal| deal["status"] == "won").count();
        let percent = rounded(100.0 * won as f64 / deals.len() as f64, 1);
        json!({ "seller": name_of(user), "closed": deals.len(), "won": won, "won_percent": percent })
    });
    rows.collect()
}

fn lost(account: &Account) -> Vec<Value> {
    let lost = account.all("deals").filter(|deal| deal["status"] == "lost");
    let reason = |deal: &&Value| {
        let reason = account.find("lostReasons", at(deal, "lost_reason/reason/id"));
        reason.map_or_else(|| json!("(no reason)"), |reason| reason["name"].clone())
    };
    let rows = grouped(lost, reason)
        .into_iter()
        .map(|(reason, deals)| json!({ "reason": reason, "deals": deals.len(), "value": worth(&deals) }));
    rows.collect()
}

fn time_to_sale(account: &Account) -> Vec<Value> {
    let won = account.all("deals").filter(|deal| deal["status"] == "won").filter_map(|deal| {
        let (closed, created) = (moment(&deal["closed_at"])?, moment(&deal["created_at"])?);
        (closed > created).then_some((deal, (closed - created).num_seconds()))
    });
    let source = |(deal, _): &(&Value, i64)| {
        account
            .find("dealSources", at(deal, "source/id"))
            .map_or_else(|| json!("(unknown)"), |source| source["name"].clone())
    };
    let rows = grouped(won, source).into_iter().map(|(source, deals)| {
        let days = deals.iter().map(|(_, seconds)| *seconds as f64).sum::<f64>() / deals.len() as f64 / 86_400.0;
        json!({ "source": source, "won": deals.len(), "days": rounded(days, 1) })
    });
    rows.collect()
}

fn projects(account: &Account) -> Vec<Value> {
    let none = Value::Null;
    let entries = account.all("timeTracking").filter(|entry| at(entry, "subject/type") == "milestone").map(|entry| {
        let milestone = account.find("milestones", at(entry, "subject/id"));
        let project = milestone.and_then(|milestone| account.find("projects", at(milestone, "project/id")));
        (entry, project.unwrap_or(&none), account.find("users", at(entry, "user/id")))
    });
    let both =
        |(_, project, user): &(&Value, &Value, Option<&Value>)| json!([project["id"], user.map(|user| &user["id"])]);
    let rows = grouped(entries, both).into_iter().map(|(_, entries)| {
        let (_, project, user) = entries[0];
        let (mut hours, mut value, mut of_budget) = (Sum::default(), Sum::default(), Sum::default());
        let currency = at(project, "budget/provided/currency");
        for (entry, ..) in &entries {
            let worked = entry["duration"].as_f64().map(|seconds| seconds / 3600.0);
            hours.add(worked);
            let worth = worked.zip(at(entry, "hourly_rate/amount").as_f64()).map(|(hours, rate)| hours * rate);
            let of = at(entry, "hourly_rate/currency");
            value.add(worth.filter(|_| of == "EUR"));
            of_budget.add(worth.filter(|_| !of.is_null() && of == currency));
        }
        let budget = at(project, "budget/provided/amount").as_f64().filter(|budget| *budget != 0.0);
        let percent = of_budget.0.zip(budget).map(|(value, budget)| rounded(100.0 * value / budget, 1));
        json!({
            "project": project["title"], "worker": name_of(user), "hours": hours.round(2), "value": value.round(2),
            "budget_percent": percent,
        })
    });
    rows.collect()
}

fn invoiceable(account: &Account) -> Vec<Value> {
    let dated = account.all("timeTracking").filter_map(|entry| Some((day(&entry["started_on"])?, entry)));
    let since = dated.filter(|(day, _)| *day >= date(2020, 1));
    let rows = grouped(since, |(day, _)| json!(date(day.year(), day.month()))).into_iter().map(|(month, entries)| {
        let all = total(entries.iter().map(|(_, entry)| *entry), "duration");
        let some = entries.iter().map(|(_, entry)| *entry).filter(|entry| entry["invoiceable"] == true);
        let percent = total(some, "duration")
            .zip(all.filter(|all| *all != 0.0))
            .map(|(some, all)| rounded(100.0 * some / all, 1));
        json!({ "month": month, "hours": all.map(|all| rounded(all / 3600.0, 2)), "invoiceable_percent": percent })
    });
    rows.collect()
}

fn not_invoiced(account: &Account) -> Vec<Value> {
    let waiting = account.all("timeTracking").filter(|entry| {
        let kind = at(entry, "subject/type");
        (kind == "company" || kind == "contact")
            && entry["invoiceable"] == true
            && at(entry, "billing_info/type").is_null()
    });
    let rows =
        grouped(waiting, |entry| at(entry, "subject/id").clone()).into_iter().filter_map(|(customer, entries)| {
            let hours = total(entries.iter().copied(), "duration").map(|all| rounded(all / 3600.0, 2));
            Some(json!({ "customer": account.customer(&customer)?, "entries": entries.len(), "hours": hours }))
        });
    rows.collect()
}

fn work(account: &Account) -> Vec<Value> {
    let month = account
        .all("timeTracking")
        .filter(|entry| day(&entry["started_on"]).is_some_and(|day| date(day.year(), day.month()) == date(2022, 6)));
    let both = |entry: &&Value| {
        let (user, work) =
            (account.find("users", at(entry, "user/id")), account.find("workTypes", at(entry, "work_type/id")));
        json!([user.map(|user| &user["id"]), work.map(|work| &work["id"])])
    };
    let rows = grouped(month, both).into_iter().map(|(key, entries)| {
        let (user, work) = (account.find("users", &key[0]), account.find("workTypes", &key[1]));
        let hours = total(entries, "duration").map(|all| rounded(all / 3600.0, 2));
        json!({ "worker": name_of(user), "work": work.map(|work| &work["name"]), "hours": hours })
    });
    rows.collect()
}

fn consent(account: &Account) -> Vec<Value> {
    let active = account.all("contacts").filter(|contact| contact["status"] == "active");
    let rows = grouped(active, |contact| contact["language"].clone()).into_iter().map(|(language, contacts)| {
        let without = contacts.iter().filter(|contact| contact["marketing_mails_consent"] == false).count();
        json!({ "language": language, "contacts": contacts.len(), "without_consent": without, "unknown": 0 })
    });
    rows.collect()
}

fn unreachable(account: &Account) -> Vec<Value> {
    let silent = account
        .all("contacts")
        .filter(|contact| list(&contact["emails"]).count() + list(&contact["telephones"]).count() == 0);
    let rows = silent.flat_map(|contact| {
        list(&contact["companies"]).filter_map(move |link| {
            let company = account.find("companies", at(link, "company/id"))?;
            Some(json!({ "company": company["name"], "contact": full_name(contact), "job": link["position"] }))
        })
    });
    rows.collect()
}

fn choices(account: &Account) -> Vec<Value> {
    let mut chosen = Vec::new();
    for field in account.all("companies").flat_map(|company| list(&company["custom_fields"])) {
        let Some(definition) = account.find("customFieldDefinitions", at(field, "definition/id")) else { continue };
        match definition["type"].as_str() {
            Some("single_select") => chosen.push(json!([definition["label"], field["value"]])),
            Some("multi_select") => {
                chosen.extend(list(&field["value"]).map(|choice| json!([definition["label"], choice])))
            }
            _ => {}
        }
    }
    let rows = grouped(chosen.into_iter(), Value::clone);
    rows.into_iter().map(|(key, all)| json!({ "label": key[0], "choice": key[1], "companies": all.len() })).collect()
}
