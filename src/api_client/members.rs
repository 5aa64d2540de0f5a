//! JSON that is read without building a tree: the records of an answer, and the fields of a record, as they stand in
//! the text. Both are bounded, whatever an answer holds.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny};
use serde_json::value::RawValue;

/// No answer holds more records, all of which would be in memory: pages are asked to have 100, and lists that have no
/// pages are short.
pub const MAX_RECORDS: usize = 50_000;

/// A record has no more fields: the documented ones have fewer than a hundred.
pub const MAX_FIELDS: usize = 10_000;

/// The records of an answer, and whether it holds more than [`MAX_RECORDS`], which are passed over.
pub struct Records<'a> {
    /// In the order of the answer.
    pub records: Vec<&'a RawValue>,
    /// Whether there are more of them.
    pub more: bool,
}

/// The fields of a record, none of them read yet.
pub struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    match members.len() {
                        0 => members.reserve(32),
                        MAX_FIELDS => return Err(A::Error::custom("too many fields")),
                        _ => {}
                    }
                    members.push((name, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Records<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Records<'de>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an array")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut records = Vec::new();
                while records.len() < MAX_RECORDS {
                    match seq.next_element()? {
                        Some(record) => records.push(record),
                        None => return Ok(Records { records, more: false }),
                    }
                }
                let mut more = false;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    more = true;
                }
                Ok(Records { records, more })
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

/// A field's name: borrowed where it has no escapes, which a bare `Cow` never is.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl Members<'_> {
    /// The value of a field, looked for from `at` on, which then is the place after it: fields mostly come in the
    /// documented order.
    pub fn get(&self, name: &str, at: &mut usize) -> Option<&str> {
        let (before, after) = self.0.split_at(*at);
        let is_it = |(known, _): &(Cow<'_, str>, &RawValue)| known == name;
        let place = match after.iter().position(is_it) {
            Some(passed) => *at + passed,
            None => before.iter().position(is_it)?,
        };
        *at = place + 1;
        Some(self.0[place].1.get())
    }
}
