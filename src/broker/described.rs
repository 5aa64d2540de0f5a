//! The properties of a message as JSON, for an operator.

use chrono::{DateTime, SecondsFormat};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde_json::{Map, Value, json};

use super::message::{DELIVERY_COUNTS, Message};

impl Message {
    /// All properties that the message has, headers among them, under their names in AMQP.
    pub fn described(&self) -> Value {
        let from = self.properties();
        let text = |value: &Option<ShortString>| value.as_ref().map(|text| json!(text.as_str()));
        let number = |value: &Option<u8>| value.map(|number| json!(number));
        let all = [
            ("app_id", text(from.app_id())),
            ("content_encoding", text(from.content_encoding())),
            ("content_type", text(from.content_type())),
            ("correlation_id", text(from.correlation_id())),
            ("delivery_mode", number(from.delivery_mode())),
            ("expiration", text(from.expiration())),
            ("headers", from.headers().as_ref().map(sent_headers)),
            ("message_id", text(from.message_id())),
            ("priority", number(from.priority())),
            ("reply_to", text(from.reply_to())),
            ("timestamp", from.timestamp().map(time)),
            ("type", text(from.kind())),
            ("user_id", text(from.user_id())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>().into()
    }
}

/// Without the count that RabbitMQ adds to each message that is taken by itself.
fn sent_headers(table: &FieldTable) -> Value {
    let mut headers = object(table);
    if let Some(headers) = headers.as_object_mut() {
        headers.retain(|name, _| !DELIVERY_COUNTS.contains(&name.as_str()));
    }
    headers
}

// The screen bounds how deep tables and arrays are nested, so these two may call each other.
fn object(table: &FieldTable) -> Value {
    let entries = table.inner().iter().map(|(name, value)| (name.as_str().to_owned(), described(value)));
    entries.collect::<Map<_, _>>().into()
}

fn described(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::ShortShortInt(number) => json!(number),
        AMQPValue::ShortShortUInt(number) => json!(number),
        AMQPValue::ShortInt(number) => json!(number),
        AMQPValue::ShortUInt(number) => json!(number),
        AMQPValue::LongInt(number) => json!(number),
        AMQPValue::LongUInt(number) => json!(number),
        AMQPValue::LongLongInt(number) => json!(number),
        AMQPValue::Float(number) => json!(number),
        AMQPValue::Double(number) => json!(number),
        AMQPValue::DecimalValue(decimal) => json!(format!("{decimal:?}")),
        AMQPValue::ShortString(text) => json!(text.as_str()),
        AMQPValue::LongString(text) => json!(String::from_utf8_lossy(text.as_bytes())),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(described).collect(),
        AMQPValue::Timestamp(seconds) => time(*seconds),
        AMQPValue::FieldTable(table) => object(table),
        AMQPValue::ByteArray(bytes) => json!(String::from_utf8_lossy(bytes.as_slice())),
        AMQPValue::Void => Value::Null,
    }
}

/// In AMQP a time is seconds since 1970; what lies beyond the calendar stays a number.
fn time(seconds: u64) -> Value {
    let at = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    at.map_or_else(|| json!(seconds), |at| json!(at.to_rfc3339_opts(SecondsFormat::Secs, true)))
}
