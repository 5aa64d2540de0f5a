//! The dated versions of the API, and the shapes in which older ones answer.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The dates of the versions, oldest first. Of the first it is only known that it is older than the second.
const DATES: [&str; 10] = [
    "2018-06-30",
    "2018-10-30",
    "2019-01-24",
    "2019-03-13",
    "2019-07-03",
    "2020-01-01",
    "2020-05-01",
    "2021-09-01",
    "2022-09-15",
    "2023-09-26",
];

/// The resources whose records any version has otherwise.
const RESHAPED: [&str; 14] = [
    "companies",
    "contacts",
    "creditNotes",
    "customFieldDefinitions",
    "deals",
    "events",
    "invoices",
    "meetings",
    "orders",
    "products",
    "quotations",
    "subscriptions",
    "tags",
    "tasks",
];

/// A dated version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Version(usize);

impl Version {
    /// The version of an integration that was created before any other.
    pub const OLDEST: Self = Self(0);
    /// The version that the documentation describes.
    pub const NEWEST: Self = Self(DATES.len() - 1);

    /// Every version, oldest first.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..DATES.len()).map(Self)
    }

    /// Whether answers are older than what changed on this date.
    fn is_before(self, date: &str) -> bool {
        DATES[self.0] < date
    }

    /// Whether records of this resource look otherwise in this version than in the newest.
    pub(crate) fn reshapes(self, resource: &str) -> bool {
        self != Self::NEWEST && RESHAPED.contains(&resource)
    }

    /// Gives a record the shape that it has in this version.
    pub(crate) fn reshape(self, resource: &str, record: &mut Value) {
        if let Some(record) = record.as_object_mut() {
            self.of_2023(resource, record);
            self.of_2022(resource, record);
            self.of_2020(resource, record);
            self.of_2019(resource, record);
            if self.is_before("2018-10-30") {
                rename(record, "primary_address", "address");
                if resource == "deals"
                    && let Some(customer) = record.get("lead").and_then(|lead| lead.get("customer")).cloned()
                {
                    record.insert("customer".to_owned(), customer);
                    record.remove("lead");
                }
            }
        }
    }

    fn of_2023(self, resource: &str, record: &mut Map<String, Value>) {
        if !self.is_before("2023-09-26") {
            return;
        }
        match resource {
            "meetings" => {
                rename(record, "title", "name");
                if let Some(location) = record.get_mut("location") {
                    // One text; nothing says which.
                    let place = location.pointer("/address/line_1").or_else(|| location.get("type"));
                    *location = place.cloned().unwrap_or(Value::Null);
                }
            }
            "customFieldDefinitions" => {
                let options = record.get_mut("configuration").and_then(|all| all.get_mut("options"));
                for option in options.and_then(Value::as_array_mut).into_iter().flatten() {
                    *option = option.get("value").cloned().unwrap_or(Value::Null);
                }
            }
            _ => each_line(record, &mut |line| {
                if let Some(price) = line.get_mut("unit_price").and_then(Value::as_object_mut) {
                    price.entry("currency").or_insert_with(|| json!("EUR"));
                }
            }),
        }
    }

    fn of_2022(self, resource: &str, record: &mut Map<String, Value>) {
        if self.is_before("2022-09-15") {
            match resource {
                "subscriptions" => {
                    rename(record, "note", "remark");
                    if let Some(mut cycle) = record.remove("billing_cycle") {
                        record.insert("periodicity".to_owned(), cycle["periodicity"].take());
                    }
                }
                "companies" | "contacts" => {
                    let tags = record.get_mut("tags").and_then(Value::as_array_mut);
                    tags.into_iter().flatten().for_each(lower);
                }
                "tags" => record.get_mut("tag").into_iter().for_each(lower),
                _ => {}
            }
        }
        if self.is_before("2021-09-01")
            && resource == "products"
            && let Some(Value::String(description)) = record.get_mut("description")
        {
            *description = format!("<p>{description}</p>");
        }
    }

    fn of_2020(self, resource: &str, record: &mut Map<String, Value>) {
        if resource != "tasks" {
            return;
        }
        if self.is_before("2020-05-01") {
            record.remove("title");
        }
        if self.is_before("2020-01-01")
            && let Some(assignee) = record.get_mut("assignee").filter(|assignee| assignee.is_null())
        {
            *assignee = json!({ "type": "user", "id": null });
        }
        if self.is_before("2019-07-03")
            && let Some(due) = record.remove("due_on")
        {
            let moment = due.as_str().map(|day| json!(format!("{day}T00:00:00+00:00")));
            record.insert("due_at".to_owned(), moment.unwrap_or(Value::Null));
        }
    }

    fn of_2019(self, resource: &str, record: &mut Map<String, Value>) {
        if self.is_before("2019-07-03") && resource == "events" {
            rename(record, "task", "todo");
            if let Some(kind) = record.get_mut("todo").and_then(|todo| todo.get_mut("type")) {
                *kind = json!("todo");
            }
        }
        if self.is_before("2019-03-13") {
            each_line(record, &mut |line| {
                if line.contains_key("tax") {
                    line.insert("tax".to_owned(), json!(0.21));
                }
            });
            if resource == "invoices" {
                let status = record.get_mut("status").filter(|status| **status != "draft");
                status.into_iter().for_each(|status| *status = json!("booked"));
                if let Some(Value::String(number)) = record.get_mut("invoice_number")
                    && let Some((_, alone)) = number.split_once(" / ")
                {
                    *number = alone.to_owned();
                }
            }
        }
        if self.is_before("2019-01-24") {
            rename(record, "national_identification_number", "local_business_number");
            if resource == "products"
                && let Some(name) = record.remove("name")
            {
                record.insert("translations".to_owned(), json!({ "nl": { "name": name } }));
            }
        }
    }
}

fn rename(record: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = record.remove(from) {
        record.insert(to.to_owned(), value);
    }
}

fn lower(value: &mut Value) {
    if let Value::String(text) = value {
        *text = text.to_lowercase();
    }
}

/// Each line of an invoice, a quotation, an order and the like.
fn each_line(record: &mut Map<String, Value>, change: &mut dyn FnMut(&mut Map<String, Value>)) {
    let groups = record.get_mut("grouped_lines").and_then(Value::as_array_mut);
    for group in groups.into_iter().flatten() {
        let lines = group.get_mut("line_items").and_then(Value::as_array_mut);
        lines.into_iter().flatten().filter_map(Value::as_object_mut).for_each(&mut *change);
    }
}

impl Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DATES[self.0])
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = DATES.iter().position(|date| *date == text);
        place.map(Self).ok_or_else(|| format!("The API has no version {text}."))
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl TryFrom<String> for Version {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
