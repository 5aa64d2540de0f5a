//! Values that no reader can make sense of, in one record of an answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How deep the value of [`Oddity::Deep`] is nested. `serde_json` refuses 128.
const DEPTH: usize = 200;

/// A text that stands for a number which no `Value` can hold.
const HUGE: &str = "\u{f8fe}huge";
/// A text that stands for a value which is nested too deep to be read.
const DEEP: &str = "\u{f8fe}deep";

/// The fault of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Oddity {
    /// The moment of its last change is null.
    MomentNull,
    /// The moment of its last change is an empty text.
    MomentEmpty,
    /// The moment of its last change is `0000-00-00 00:00:00`.
    MomentZero,
    /// The moment of its last change is in the year 9999.
    MomentFar,
    /// It has no id.
    NoId,
    /// A number is `1e200000`.
    Huge,
    /// A value is nested two hundred deep, which `serde_json` refuses with all that stands around it.
    Deep,
}

impl Oddity {
    /// Every kind of odd record.
    pub const ALL: [Self; 7] =
        [Self::MomentNull, Self::MomentEmpty, Self::MomentZero, Self::MomentFar, Self::NoId, Self::Huge, Self::Deep];

    /// Breaks a record. What it should hold and does not have it gets.
    pub(crate) fn spoil(self, record: &mut Value) {
        let Some(members) = record.as_object_mut() else { return };
        let moment = ["updated_at", "created_at", "added_at"].into_iter().find(|key| members.contains_key(*key));
        let moment = moment.unwrap_or("updated_at").to_owned();
        match self {
            Self::MomentNull => drop(members.insert(moment, Value::Null)),
            Self::MomentEmpty => drop(members.insert(moment, Value::from(""))),
            Self::MomentZero => drop(members.insert(moment, Value::from("0000-00-00 00:00:00"))),
            Self::MomentFar => drop(members.insert(moment, Value::from("9999-12-31T23:59:59+00:00"))),
            Self::NoId => {
                for key in ["id", "message_id", "line", "source", "tag", "user"] {
                    if members.remove(key).is_some() {
                        break;
                    }
                }
            }
            Self::Huge => {
                let number = members.values_mut().find_map(first_number);
                match number {
                    Some(number) => *number = Value::from(HUGE),
                    None => drop(members.insert("odd".to_owned(), Value::from(HUGE))),
                }
            }
            Self::Deep => drop(members.insert("odd".to_owned(), Value::from(DEEP))),
        }
    }

    /// Puts what no `Value` can hold into the text of the record.
    pub(crate) fn finish(self, text: String) -> String {
        match self {
            Self::Huge => text.replace(&format!("\"{HUGE}\""), "1e200000"),
            Self::Deep => {
                let deep = format!("{}1{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
                text.replace(&format!("\"{DEEP}\""), &deep)
            }
            _ => text,
        }
    }
}

fn first_number(value: &mut Value) -> Option<&mut Value> {
    match value {
        Value::Number(_) => Some(value),
        Value::Array(items) => items.iter_mut().find_map(first_number),
        Value::Object(members) => members.values_mut().find_map(first_number),
        _ => None,
    }
}
