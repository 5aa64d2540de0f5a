//! Writes JSON text straight into a string.
//!
//! `serde_json` is no use here: a record may hold half of a surrogate pair, which JSON text can carry as an escape and
//! a Rust string cannot carry at all.

use std::fmt::{Display, Write};

use chrono::{DateTime, Datelike, Timelike};
use serde_json::Value;
use uuid::Uuid;

use super::draft::Optional;

/// Stands for half of a surrogate pair in the strings that records are made of; written as `\ud83d`.
///
/// It is a private use character, and no list of names contains it.
pub(crate) const LONE_SURROGATE: char = '\u{f8ff}';

/// One JSON object under construction.
pub(crate) struct Json {
    out: String,
}

impl Json {
    /// Starts an object.
    pub(crate) fn object(capacity: usize) -> Self {
        let mut out = String::with_capacity(capacity);
        out.push('{');
        Self { out }
    }

    /// Starts the inside of an object: members without braces, to be put into another text.
    pub(crate) fn members() -> Self {
        Self { out: String::new() }
    }

    /// Closes the object.
    pub(crate) fn finish(mut self) -> String {
        self.out.push('}');
        self.out
    }

    /// The members, for a text that was started by [`Json::members`].
    pub(crate) fn finish_members(self) -> String {
        self.out
    }

    /// How many bytes there are so far.
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    /// A member whose value is text.
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.quote(value);
    }

    /// A member whose value is text or null.
    pub(crate) fn maybe(&mut self, key: &str, value: Option<&str>) {
        match value {
            Some(value) => self.text(key, value),
            None => self.raw(key, "null"),
        }
    }

    /// A member whose value is JSON already.
    pub(crate) fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.out.push_str(json);
    }

    /// A member whose value is true or false.
    pub(crate) fn flag(&mut self, key: &str, value: bool) {
        self.raw(key, if value { "true" } else { "false" });
    }

    /// A member whose value prints as a JSON number.
    pub(crate) fn number(&mut self, key: &str, value: impl Display) {
        self.key(key);
        self.print(value);
    }

    /// A member with a moment, given in seconds since 1970, as the API writes it: `2016-02-04T16:44:33+00:00`.
    pub(crate) fn moment(&mut self, key: &str, seconds: i64) {
        self.key(key);
        self.out.push('"');
        self.out.push_str(&moment(seconds));
        self.out.push('"');
    }

    /// A member that points to another record: `{"type": …, "id": …}`.
    pub(crate) fn reference(&mut self, key: &str, kind: &str, id: Uuid) {
        self.nested(key, |json| json.identity(kind, id));
    }

    /// A member that points to another record, or null.
    pub(crate) fn maybe_reference(&mut self, key: &str, kind: &str, id: Option<Uuid>) {
        match id {
            Some(id) => self.reference(key, kind, id),
            None => self.raw(key, "null"),
        }
    }

    /// The `type` and `id` of another record, inside the object that is open.
    pub(crate) fn identity(&mut self, kind: &str, id: Uuid) {
        self.text("type", kind);
        self.id("id", id);
    }

    /// A member whose value is a UUID.
    pub(crate) fn id(&mut self, key: &str, id: Uuid) {
        self.key(key);
        let mut buffer = Uuid::encode_buffer();
        self.out.push('"');
        self.out.push_str(id.hyphenated().encode_lower(&mut buffer));
        self.out.push('"');
    }

    /// A member with an amount of money, given in cents.
    pub(crate) fn money(&mut self, key: &str, cents: i64, currency: &str) {
        self.nested(key, |json| {
            json.raw("amount", &hundredths(cents));
            json.text("currency", currency);
        });
    }

    /// A member whose value is an object.
    pub(crate) fn nested(&mut self, key: &str, fill: impl FnOnce(&mut Self)) {
        self.key(key);
        self.out.push('{');
        fill(self);
        self.out.push('}');
    }

    /// A member whose value is an array, filled by [`Json::item`] and [`Json::value`].
    pub(crate) fn list(&mut self, key: &str, fill: impl FnOnce(&mut Self)) {
        self.key(key);
        self.out.push('[');
        fill(self);
        self.out.push(']');
    }

    /// An object in the array that is open.
    pub(crate) fn item(&mut self, fill: impl FnOnce(&mut Self)) {
        self.separate();
        self.out.push('{');
        fill(self);
        self.out.push('}');
    }

    /// Text in the array that is open.
    pub(crate) fn value(&mut self, value: &str) {
        self.separate();
        self.quote(value);
    }

    fn key(&mut self, key: &str) {
        self.separate();
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
    }

    /// A comma is due after a value, and a value never ends in one of the three openers: text ends in a quote.
    fn separate(&mut self) {
        if let Some(last) = self.out.as_bytes().last()
            && !matches!(last, b'{' | b'[' | b':')
        {
            self.out.push(',');
        }
    }

    fn print(&mut self, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.out, "{value}");
    }

    fn quote(&mut self, value: &str) {
        self.out.push('"');
        for character in value.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                LONE_SURROGATE => self.out.push_str("\\ud83d"),
                control if control < ' ' => self.print(format_args!("\\u{:04x}", control as u32)),
                other => self.out.push(other),
            }
        }
        self.out.push('"');
    }
}

/// Appends a list item with its optional fields, as far as they are wanted.
pub(crate) fn write_optional(list: &str, optional: &[Optional], wanted: impl Fn(&str) -> bool, out: &mut String) {
    let mut written = 0;
    for fields in optional.iter().filter(|fields| wanted(fields.include) && !fields.members.is_empty()) {
        let at = fields.at as usize;
        out.push_str(&list[written..at]);
        if !out.ends_with('{') {
            out.push(',');
        }
        out.push_str(&fields.members);
        written = at;
    }
    out.push_str(&list[written..]);
}

/// Reads the text of a record that [`Json`] wrote; half of a surrogate pair becomes [`LONE_SURROGATE`].
pub(crate) fn read_json(text: &str) -> Option<Value> {
    serde_json::from_str(&text.replace("\\ud83d", LONE_SURROGATE.encode_utf8(&mut [0; 4]))).ok()
}

/// Writes what [`read_json`] gave.
pub(crate) fn write_json(value: &Value) -> String {
    value.to_string().replace(LONE_SURROGATE, "\\ud83d")
}

/// A moment as the API writes it, at its resolution of one second.
pub(crate) fn moment(seconds: i64) -> String {
    let at = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}+00:00",
        at.year(),
        at.month(),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// A day as the API writes it, from seconds since 1970.
pub(crate) fn day(seconds: i64) -> String {
    let at = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    format!("{:04}-{:02}-{:02}", at.year(), at.month(), at.day())
}

/// A number with two decimals, from hundredths.
pub(crate) fn hundredths(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let value = value.unsigned_abs();
    format!("{sign}{}.{:02}", value / 100, value % 100)
}
