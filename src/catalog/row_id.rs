//! The ids of rows: a record's own, or one made from its key.

use serde_json::Value;
use uuid::Uuid;

use super::resource::{AskAgain, Key, Resource};
use super::resources::FORMERLY_IN_LOWER_CASE;

/// Namespace of the row ids that are made from a record's key where it has no id.
const NAMESPACE: Uuid = Uuid::from_u128(0x0b5c_7f52_88a4_5f6e_a0d1_2c94_71e3_d86b);

impl Resource {
    /// The id of a record's row: the record's own, or one made from its key. `id` is the JSON of its field `id`,
    /// `record` that of all of it. The error shows nothing of it.
    pub fn row_id(&self, record: &str, id: Option<&str>) -> Result<Uuid, String> {
        let own = || id.and_then(|id| serde_json::from_str::<&str>(id).ok()?.parse().ok());
        // Nearly all are plain.
        if !matches!(self.key, Key::Fields(_))
            && let Some(id) = own()
        {
            return Ok(id);
        }
        match self.key {
            Key::Fields(pointers) | Key::IdOr(pointers) => self.id_of_fields(record, pointers, |part| part),
            Key::Id => {
                let id: Value = id.and_then(|id| serde_json::from_str(id).ok()).unwrap_or_default();
                self.made_id(&[&id]).ok_or_else(|| "a record without an id that is a UUID".to_owned())
            }
        }
    }

    /// The id that the row of this record had before its list gave it one, or gave its key in its
    /// present spelling; `None` where it always did.
    pub fn former_id(&self, record: &str) -> Option<Uuid> {
        match self.key {
            Key::IdOr(pointers) => self.id_of_fields(record, pointers, |part| part).ok(),
            Key::Fields(pointers) if FORMERLY_IN_LOWER_CASE.contains(&self.name) => {
                self.id_of_fields(record, pointers, in_lower_case).ok()
            }
            Key::Id | Key::Fields(_) => None,
        }
    }

    fn id_of_fields(&self, record: &str, pointers: &[&str], spelled: fn(Value) -> Value) -> Result<Uuid, String> {
        let record: Value = serde_json::from_str(record).map_err(|_| "a record is not JSON".to_owned())?;
        let part = |pointer: &&str| spelled(record.pointer(pointer).cloned().unwrap_or_default());
        let parts: Vec<Value> = pointers.iter().map(part).collect();
        self.made_id(&parts.iter().collect::<Vec<_>>())
            .ok_or_else(|| format!("a record without {}, which identify it", pointers.join(" and ")))
    }

    fn made_id(&self, parts: &[&Value]) -> Option<Uuid> {
        let texts = parts.iter().map(|part| match part {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null if parts.len() > 1 => Some(String::new()),
            _ => None,
        });
        let texts: Vec<String> = texts.collect::<Option<_>>()?;
        match &texts[..] {
            [one] if one.parse::<Uuid>().is_ok() => one.parse().ok(),
            // A record that is asked for by its id later needs the API's id.
            _ if self.key == Key::Id && self.ask_again() != AskAgain::List => None,
            texts => Some(Uuid::new_v5(&NAMESPACE, [&[self.name.to_owned()], texts].concat().join("\n").as_bytes())),
        }
    }
}

fn in_lower_case(part: Value) -> Value {
    match part {
        Value::String(text) => Value::String(text.to_lowercase()),
        other => other,
    }
}
