//! A message in hand: what its sender wrote, and the copies that are made of it.

use std::collections::BTreeMap;

use chrono::{SecondsFormat, Utc};
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use uuid::Uuid;

use super::link::{self, AmqpError, BODY_BOUND, REPLY_TIMEOUT};
use super::publisher::TRACEPARENT;
use super::screen::{BODY_BYTES, UNREADABLE};
use crate::ids::TraceParent;

/// The header that numbers the deliveries of one request.
const SLICE: &str = "slice";

/// Headers that the broker sets, or sends a message to other queues for, and that a copy must not carry on.
const BROKER_HEADERS: [&str; 5] = ["x-delivery-count", "x-acquired-count", "x-death", "CC", "BCC"];

/// Those of them in which it counts deliveries.
pub(super) const DELIVERY_COUNTS: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// The beginnings of more of them.
const BROKER_HEADER_PREFIXES: [&str; 2] = ["x-first-death-", "x-last-death-"];

/// Headers over this many bytes are not copied: all properties of a message have to fit a frame, of 128 KiB by
/// RabbitMQ's default, and a copy has more of them.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Why a message is among the dead letters; when it came there; and a number of its own, by which a second copy of the
/// same dead letter is known.
const REASON: &str = "x-reason";
const DEAD_SINCE: &str = "x-dead-lettered-at";
const DEAD_LETTER_ID: &str = "x-dead-letter-id";

/// What a request does not have when it is sent again.
const DEAD_LETTER_HEADERS: [&str; 5] = [REASON, DEAD_SINCE, DEAD_LETTER_ID, UNREADABLE, BODY_BYTES];

/// At most this much of a mark is repeated: it may be a header of the sender's and not the screen's.
const MAX_MARK_BYTES: usize = 200;

/// Sets in some properties those of others that they have.
macro_rules! set_properties {
    ($to:expr, $from:expr, $($read:ident => $write:ident),*) => {{
        let mut to = $to;
        $(if let Some(value) = $from.$read().clone() { to = to.$write(value); })*
        to
    }};
}

pub(super) use set_properties;

/// A message in hand.
#[derive(Debug)]
pub struct Message {
    delivery: Delivery,
}

impl Message {
    /// From what lapin has received.
    pub(super) fn new(delivery: Delivery) -> Self {
        Self { delivery }
    }

    /// With other properties.
    pub(super) fn with(mut self, change: impl FnOnce(BasicProperties) -> BasicProperties) -> Self {
        self.delivery.properties = change(std::mem::take(&mut self.delivery.properties));
        self
    }

    /// Whether it was delivered before, and not acknowledged.
    pub fn again(&self) -> bool {
        self.delivery.redelivered
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.delivery.data
    }

    /// Why the message is not worked on whatever it asks for: it is not as its sender sent it, or could not be copied
    /// with its headers.
    pub fn out_of_bounds(&self) -> Option<String> {
        let mut reasons = Vec::new();
        if let Some(why) = self.header(UNREADABLE).and_then(text_of) {
            let why = &why[..why.floor_char_boundary(MAX_MARK_BYTES)];
            reasons.push(format!("the message's properties cannot be read: {why}; this copy has what could be read"));
        }
        if let Some(bytes) = self.header(BODY_BYTES).and_then(number_of) {
            reasons.push(format!(
                "the message's body has {bytes} bytes; at most {BODY_BOUND} are taken, and only these are in this copy"
            ));
        }
        let bytes = self.header_bytes();
        if bytes > MAX_HEADER_BYTES {
            reasons.push(format!(
                "the message's headers have {bytes} bytes; at most {MAX_HEADER_BYTES} are taken, and these are left \
                 out of this copy"
            ));
        }
        (!reasons.is_empty()).then(|| reasons.join(". "))
    }

    /// About how many bytes the headers are on the wire.
    fn header_bytes(&self) -> usize {
        self.delivery.properties.headers().as_ref().map_or(0, bytes_of_table)
    }

    fn header(&self, name: &str) -> Option<&AMQPValue> {
        self.delivery.properties.headers().as_ref()?.inner().get(name)
    }

    /// The AMQP `message_id`.
    pub fn message_id(&self) -> Option<&str> {
        self.delivery.properties.message_id().as_ref().map(ShortString::as_str)
    }

    /// Where the sender wants the final event.
    pub fn reply_to(&self) -> Option<&str> {
        self.delivery.properties.reply_to().as_ref().map(ShortString::as_str).filter(|queue| !queue.is_empty())
    }

    /// The sender's `correlation_id`.
    pub fn correlation_id(&self) -> Option<&str> {
        self.delivery.properties.correlation_id().as_ref().map(ShortString::as_str)
    }

    /// The name that the sender gives itself.
    pub fn app_id(&self) -> Option<&str> {
        self.delivery.properties.app_id().as_ref().map(ShortString::as_str)
    }

    /// Its AMQP type.
    pub fn kind(&self) -> Option<&str> {
        self.delivery.properties.kind().as_ref().map(ShortString::as_str)
    }

    /// The key that it was published with.
    pub fn routing_key(&self) -> &str {
        self.delivery.routing_key.as_str()
    }

    /// All properties, as they came.
    pub(super) fn properties(&self) -> &BasicProperties {
        &self.delivery.properties
    }

    /// Why it is among the dead letters, if the worker has put it there.
    pub fn reason(&self) -> Option<&str> {
        text_of(self.header(REASON)?)
    }

    /// When it came among the dead letters, as the worker wrote it.
    pub fn dead_since(&self) -> Option<&str> {
        text_of(self.header(DEAD_SINCE)?)
    }

    /// The number that the worker gave the dead letter.
    pub fn dead_letter_id(&self) -> Option<&str> {
        text_of(self.header(DEAD_LETTER_ID)?)
    }

    /// The sender's place in a trace; one that cannot be read counts as none, as the specification has it.
    pub fn traceparent(&self) -> Option<TraceParent> {
        text_of(self.header(TRACEPARENT)?)?.parse().ok()
    }

    /// The number of this delivery of the request; 0 unless the worker requeued it.
    pub fn slice(&self) -> i32 {
        let number = self.header(SLICE).and_then(number_of).unwrap_or(0);
        i32::try_from(number).unwrap_or(0).max(0)
    }

    /// Why the broker gave the message up, in its own word: `delivery_limit`, `expired`, `maxlen`, `rejected`.
    pub fn why_given_up(&self) -> Option<&str> {
        let headers = self.delivery.properties.headers().as_ref()?.inner();
        let Some(AMQPValue::FieldArray(deaths)) = headers.get("x-death") else { return None };
        // The latest comes first.
        let Some(AMQPValue::FieldTable(latest)) = deaths.as_slice().first() else { return None };
        match latest.inner().get("reason") {
            Some(AMQPValue::LongString(reason)) => std::str::from_utf8(reason.as_bytes()).ok(),
            _ => None,
        }
    }

    /// The properties of a copy that carries the request on as delivery number `slice`.
    pub fn copy_properties(&self, slice: i32) -> BasicProperties {
        self.copy(vec![(SLICE, AMQPValue::LongInt(slice))])
    }

    /// The properties of a copy with this message id.
    pub fn properties_with_id(&self, message_id: &str) -> BasicProperties {
        self.copy(Vec::new()).with_message_id(message_id.into())
    }

    /// The properties of a copy for the dead letter exchange, with the reason.
    pub fn dead_properties(&self, reason: &str) -> BasicProperties {
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
        let texts = [(REASON, reason), (DEAD_SINCE, &now), (DEAD_LETTER_ID, &Uuid::new_v4().to_string())];
        self.copy(texts.map(|(name, text)| (name, AMQPValue::LongString(text.into()))).to_vec())
    }

    /// The properties of a dead letter that is a request again: with the id that it had, or as the first delivery of
    /// another one.
    pub fn revived_properties(&self, new_id: Option<&str>) -> BasicProperties {
        let copied = self.copy(Vec::new());
        let is_left_out = |name: &str| DEAD_LETTER_HEADERS.contains(&name) || name == SLICE && new_id.is_some();
        let headers = copied.headers().iter().flatten().filter(|(name, _)| !is_left_out(name.as_str()));
        let headers: BTreeMap<_, _> = headers.map(|(name, value)| (name.clone(), value.clone())).collect();
        let revived = copied.with_headers(headers.into());
        match new_id {
            Some(id) => revived.with_message_id(id.into()),
            None => revived,
        }
    }

    /// All properties but what the broker counts in, for a copy that takes the message's place in its queue; why there
    /// is none.
    pub fn exact_copy(&self) -> Result<BasicProperties, &'static str> {
        let from = &self.delivery.properties;
        let has = |name: &str| self.header(name).is_some();
        if has("CC") || has("BCC") {
            return Err("a copy with the headers CC and BCC would go to other queues as well");
        }
        if from.user_id().is_some() {
            return Err("only the user that it names can publish a copy");
        }
        if from.expiration().is_some() {
            return Err("the expiration of a copy would start again");
        }
        // The worker's copies have these marks, too, and all that they say is in the copy.
        if self.reason().is_none() && (has(UNREADABLE) || has(BODY_BYTES)) {
            return Err("it cannot be read whole");
        }
        let headers = from.headers().iter().flatten().filter(|(name, _)| !DELIVERY_COUNTS.contains(&name.as_str()));
        let headers: BTreeMap<_, _> = headers.map(|(name, value)| (name.clone(), value.clone())).collect();
        let copy = set_properties!(BasicProperties::default(), from,
            message_id => with_message_id, correlation_id => with_correlation_id, reply_to => with_reply_to,
            content_type => with_content_type, content_encoding => with_content_encoding, kind => with_type,
            app_id => with_app_id, timestamp => with_timestamp, priority => with_priority,
            delivery_mode => with_delivery_mode, cluster_id => with_cluster_id);
        Ok(if headers.is_empty() { copy } else { copy.with_headers(headers.into()) })
    }

    /// All properties that the sender set, but headers beyond [`MAX_HEADER_BYTES`], and those that would change what
    /// the broker does with the copy: `user_id` (it must be the publisher's), `expiration`, and the headers that the
    /// broker counts in.
    fn copy(&self, more: Vec<(&str, AMQPValue)>) -> BasicProperties {
        let from = &self.delivery.properties;
        let mut headers = FieldTable::default();
        let all = self.header_bytes() <= MAX_HEADER_BYTES;
        for (key, value) in from.headers().iter().flatten().filter(|(key, _)| all || is_mark(key)) {
            let name = key.as_str();
            if !BROKER_HEADERS.contains(&name) && !BROKER_HEADER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            {
                headers.insert(key.clone(), value.clone());
            }
        }
        for (key, value) in more {
            headers.insert(key.into(), value);
        }
        set_properties!(BasicProperties::default().with_headers(headers), from,
            message_id => with_message_id, correlation_id => with_correlation_id, reply_to => with_reply_to,
            content_type => with_content_type, content_encoding => with_content_encoding, kind => with_type,
            app_id => with_app_id, timestamp => with_timestamp, priority => with_priority)
    }

    /// Acknowledges. Anything but success means that the message is, or will be, delivered again.
    pub async fn ack(&self) -> Result<(), AmqpError> {
        match link::with_deadline(REPLY_TIMEOUT, self.delivery.acker.ack(BasicAckOptions::default())).await? {
            true => Ok(()),
            false => Err(AmqpError::Ended),
        }
    }
}

fn is_mark(name: &ShortString) -> bool {
    [UNREADABLE, BODY_BYTES].contains(&name.as_str())
}

fn text_of(value: &AMQPValue) -> Option<&str> {
    match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str()),
        _ => None,
    }
}

fn number_of(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::LongInt(n) => Some((*n).into()),
        AMQPValue::LongLongInt(n) => Some(*n),
        AMQPValue::ShortInt(n) => Some((*n).into()),
        AMQPValue::ShortShortInt(n) => Some((*n).into()),
        AMQPValue::LongUInt(n) => Some((*n).into()),
        _ => None,
    }
}

// The screen bounds how deep tables and arrays are nested, so these two may call each other.
fn bytes_of_table(table: &FieldTable) -> usize {
    table.inner().iter().map(|(key, value)| key.as_str().len() + 1 + bytes_of(value)).sum()
}

fn bytes_of(value: &AMQPValue) -> usize {
    // A byte for the type, four for a length.
    5 + match value {
        AMQPValue::LongString(text) => text.as_bytes().len(),
        AMQPValue::ShortString(text) => text.as_str().len(),
        AMQPValue::ByteArray(bytes) => bytes.as_slice().len(),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(bytes_of).sum(),
        AMQPValue::FieldTable(table) => bytes_of_table(table),
        // Numbers and times, of at most eight bytes.
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: &[(&str, AMQPValue)]) -> Message {
        let mut table = FieldTable::default();
        for (key, value) in headers {
            table.insert((*key).into(), value.clone());
        }
        let properties = BasicProperties::default()
            .with_headers(table)
            .with_message_id("m".into())
            .with_reply_to("replies".into())
            .with_priority(3)
            .with_user_id("somebody".into())
            .with_expiration("1000".into());
        let mut delivery = Delivery::mock(1, "".into(), "".into(), false, Vec::new());
        delivery.properties = properties;
        Message { delivery }
    }

    #[test]
    fn a_copy_keeps_what_the_sender_set_and_drops_what_the_broker_did() {
        let original = message(&[
            ("traceparent", AMQPValue::LongString("t".into())),
            ("x-death", AMQPValue::Boolean(true)),
            ("x-delivery-count", AMQPValue::LongInt(3)),
            ("x-first-death-queue", AMQPValue::LongString("q".into())),
        ]);
        let copy = original.copy_properties(7);
        let headers: Vec<&str> = copy.headers().iter().flatten().map(|(key, _)| key.as_str()).collect();
        assert_eq!(headers, ["slice", "traceparent"]);
        assert_eq!(copy.message_id(), original.delivery.properties.message_id());
        assert_eq!(copy.reply_to(), original.delivery.properties.reply_to());
        assert_eq!(copy.priority(), &Some(3));
        assert_eq!((copy.user_id(), copy.expiration()), (&None, &None));
    }

    #[test]
    fn headers_that_would_not_fit_a_frame_are_not_copied() {
        let nested = AMQPValue::FieldArray(vec![AMQPValue::LongString("x".repeat(MAX_HEADER_BYTES).into())].into());
        let original = message(&[("huge", nested), ("traceparent", AMQPValue::LongString("t".into()))]);
        assert!(original.header_bytes() > MAX_HEADER_BYTES);
        let copy = original.dead_properties("why");
        let headers: Vec<&str> = copy.headers().iter().flatten().map(|(key, _)| key.as_str()).collect();
        assert_eq!(headers, [DEAD_LETTER_ID, DEAD_SINCE, REASON]);
    }

    #[test]
    fn a_marked_message_is_out_of_bounds_and_its_copy_stays_marked() {
        assert_eq!(message(&[("traceparent", AMQPValue::LongString("t".into()))]).out_of_bounds(), None);
        let huge = AMQPValue::LongString("x".repeat(MAX_HEADER_BYTES).into());
        let marks = [
            (UNREADABLE, AMQPValue::LongString("é".repeat(MAX_MARK_BYTES).into())),
            (BODY_BYTES, AMQPValue::LongLongInt(70_000)),
        ];
        let marked = message(&[&marks[..], &[("huge", huge)]].concat());
        let reason = marked.out_of_bounds().unwrap();
        for part in ["cannot be read: éé", "has 70000 bytes; at most 65536", "headers have 6"] {
            assert!(reason.contains(part), "{reason}");
        }
        assert!(reason.len() < 3 * MAX_MARK_BYTES, "{reason}");
        let copy = marked.dead_properties("why");
        let headers: Vec<&str> = copy.headers().iter().flatten().map(|(key, _)| key.as_str()).collect();
        assert_eq!(headers, [DEAD_LETTER_ID, DEAD_SINCE, REASON, BODY_BYTES, UNREADABLE]);
    }

    fn headers(properties: &BasicProperties) -> Vec<&str> {
        properties.headers().iter().flatten().map(|(key, _)| key.as_str()).collect()
    }

    #[test]
    fn a_dead_letter_becomes_the_request_that_it_was() {
        let original = message(&[("traceparent", AMQPValue::LongString("t".into())), (SLICE, AMQPValue::LongInt(2))]);
        let mut dead = Delivery::mock(1, "".into(), "".into(), false, Vec::new());
        dead.properties = original.dead_properties("why");
        let dead = Message::new(dead);
        assert_eq!(dead.reason(), Some("why"));
        assert!(dead.dead_letter_id().is_some() && dead.dead_since().is_some());
        let revived = dead.revived_properties(None);
        assert_eq!(headers(&revived), [SLICE, "traceparent"]);
        assert_eq!(revived.message_id(), original.delivery.properties.message_id());
        let another = dead.revived_properties(Some("n"));
        assert_eq!(headers(&another), ["traceparent"], "it is the first delivery of its run");
        assert_eq!(another.message_id().as_ref().map(ShortString::as_str), Some("n"));
        assert_eq!(another.reply_to(), original.delivery.properties.reply_to());
    }

    #[test]
    fn an_exact_copy_has_all_but_the_count_of_deliveries_or_there_is_none() {
        let mut original = message(&[("x-delivery-count", AMQPValue::LongInt(3)), ("x-death", AMQPValue::Void)]);
        assert!(original.exact_copy().is_err(), "only somebody can publish it");
        original.delivery.properties = BasicProperties::default()
            .with_headers(original.delivery.properties.headers().clone().unwrap())
            .with_timestamp(1)
            .with_priority(3);
        let copy = original.exact_copy().unwrap();
        assert_eq!(headers(&copy), ["x-death"]);
        assert_eq!((copy.timestamp(), copy.priority()), (&Some(1), &Some(3)));
        for header in ["CC", "BCC", UNREADABLE, BODY_BYTES] {
            original.delivery.properties =
                BasicProperties::default().with_headers(BTreeMap::from([(header.into(), AMQPValue::Void)]).into());
            assert!(original.exact_copy().is_err(), "{header}");
        }
    }

    #[test]
    fn the_slice_is_read_from_any_kind_of_number() {
        assert_eq!(message(&[]).slice(), 0);
        assert_eq!(message(&[("slice", AMQPValue::LongInt(2))]).slice(), 2);
        assert_eq!(message(&[("slice", AMQPValue::LongLongInt(3))]).slice(), 3);
        assert_eq!(message(&[("slice", AMQPValue::LongLongInt(-3))]).slice(), 0);
        assert_eq!(message(&[("slice", AMQPValue::LongString("x".into()))]).slice(), 0);
    }
}
