//! Consuming: one message in hand at a time, on a connection of its own.

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicQosOptions, QueueDeclareOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ErrorKind};
use secrecy::SecretString;
use tracing::warn;

use super::link::{self, AmqpError, BODY_BOUND, REPLY_TIMEOUT};
use super::publisher::TRACEPARENT;
use super::screen::{BODY_BYTES, UNREADABLE};
use super::topology::{Declare, Differing, Names};
use crate::ids::TraceParent;

/// The header that numbers the deliveries of one request.
const SLICE: &str = "slice";

/// Headers that the broker sets, or sends a message to other queues for, and that a copy must not carry on.
const BROKER_HEADERS: [&str; 5] = ["x-delivery-count", "x-acquired-count", "x-death", "CC", "BCC"];

/// The beginnings of more of them.
const BROKER_HEADER_PREFIXES: [&str; 2] = ["x-first-death-", "x-last-death-"];

/// Headers over this many bytes are not copied: all properties of a message have to fit a frame, of 128 KiB by
/// RabbitMQ's default, and a copy has more of them.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// At most this much of a mark is repeated: it may be a header of the sender's and not the screen's.
const MAX_MARK_BYTES: usize = 200;

const TAG: &str = "teamleader2db";

/// A message in hand.
#[derive(Debug)]
pub struct Message {
    delivery: Delivery,
}

/// Consumes the requests of an account. The queue lets only one consumer be active.
#[derive(Debug)]
pub struct Consumer {
    connection: Connection,
    channel: Channel,
    stream: lapin::Consumer,
}

impl Consumer {
    /// Makes sure that all queues are there, without consuming.
    pub async fn prepare(url: &SecretString, names: &Names, declare: Declare) -> Result<(), AmqpError> {
        let connection = link::connect(url, &format!("teamleader2db {} start", names.account())).await?;
        names.declare(&connection, declare).await?;
        link::with_deadline(REPLY_TIMEOUT, connection.close(200, "done".into())).await
    }

    /// Connects, makes sure that all queues are there, and consumes. The connection ends with the value.
    pub async fn open(url: &SecretString, names: &Names, declare: Declare) -> Result<Self, AmqpError> {
        let connection = link::connect(url, &format!("teamleader2db {} consumer", names.account())).await?;
        for Differing { queue, argument } in names.declare(&connection, declare).await? {
            warn!(
                queue,
                argument, "A queue has another setting than it is declared with, and is used as it is: see `doctor`"
            );
        }
        let channel = link::with_deadline(REPLY_TIMEOUT, connection.create_channel()).await?;
        link::with_deadline(REPLY_TIMEOUT, channel.basic_qos(1, BasicQosOptions::default())).await?;
        let queue = names.requests_queue();
        let consumed = channel.basic_consume(
            queue.as_str().into(),
            TAG.into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let stream = link::with_deadline(REPLY_TIMEOUT, consumed).await?;
        Ok(Self { connection, channel, stream })
    }

    /// The next message. An error means that nothing more comes, and that a message in hand will be delivered again.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Result<Message, AmqpError> {
        match self.stream.next().await {
            Some(Ok(delivery)) => Ok(Message { delivery }),
            Some(Err(error)) => Err(error.into()),
            None => Err(AmqpError::Ended),
        }
    }

    /// Asks for no more messages; the one in hand stays in hand. Another consumer becomes active.
    pub async fn cancel(&mut self) -> Result<(), AmqpError> {
        link::with_deadline(REPLY_TIMEOUT, self.channel.basic_cancel(TAG.into(), BasicCancelOptions::default())).await
    }

    /// How many messages wait in a queue.
    pub async fn waiting_in(&self, queue: &str) -> Result<u32, AmqpError> {
        let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
        let declared = self.channel.queue_declare(queue.into(), options, FieldTable::default());
        Ok(link::with_deadline(REPLY_TIMEOUT, declared).await?.message_count())
    }

    /// Closes the connection; a message in hand goes back to the queue.
    pub async fn close(self) {
        link::close(&self.connection).await;
    }
}

/// Takes single messages, on a connection of its own.
#[derive(Debug)]
pub struct PullConsumer {
    connection: Connection,
    channel: Channel,
    /// Open for as long as the lock is held.
    lock: Option<Channel>,
}

/// What came of wanting a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// It is held until the connection ends.
    Taken,
    /// Another connection holds it.
    Elsewhere,
    /// This user may not declare it.
    Forbidden,
}

impl PullConsumer {
    /// Connects. The connection ends with the value.
    pub async fn open(url: &SecretString) -> Result<Self, AmqpError> {
        let connection = link::connect(url, "teamleader2db consumer").await?;
        let channel = link::with_deadline(REPLY_TIMEOUT, connection.create_channel()).await?;
        Ok(Self { connection, channel, lock: None })
    }

    /// Declares a queue that no other connection may use: a lock that goes with this one, however it ends.
    pub async fn lock(&mut self, queue: &str) -> Result<Lock, AmqpError> {
        // The broker closes a channel that it refuses something on.
        let channel = link::with_deadline(REPLY_TIMEOUT, self.connection.create_channel()).await?;
        let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
        match link::with_deadline(REPLY_TIMEOUT, declared).await {
            Ok(_) => {
                self.lock = Some(channel);
                Ok(Lock::Taken)
            }
            Err(AmqpError::Broker(error)) if is_soft(&error, &AMQPSoftError::RESOURCELOCKED) => Ok(Lock::Elsewhere),
            Err(AmqpError::Broker(error)) if is_soft(&error, &AMQPSoftError::ACCESSREFUSED) => Ok(Lock::Forbidden),
            Err(error) => Err(error),
        }
    }

    /// Takes a message from a queue, if there is one.
    pub async fn take(&self, queue: &str) -> Result<Option<Message>, AmqpError> {
        let got = link::with_deadline(REPLY_TIMEOUT, self.channel.basic_get(queue.into(), BasicGetOptions::default()))
            .await?;
        Ok(got.map(|got| Message { delivery: got.delivery }))
    }

    /// Closes the connection.
    pub async fn close(self) {
        link::close(&self.connection).await;
    }
}

impl Message {
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
        self.copy(vec![("x-reason", AMQPValue::LongString(reason.into()))])
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
        let mut to = BasicProperties::default().with_headers(headers);
        macro_rules! keep {
            ($($read:ident => $write:ident),*) => {
                $(if let Some(value) = from.$read().clone() { to = to.$write(value); })*
            };
        }
        keep!(message_id => with_message_id, correlation_id => with_correlation_id, reply_to => with_reply_to,
              content_type => with_content_type, content_encoding => with_content_encoding, kind => with_type,
              app_id => with_app_id, timestamp => with_timestamp, priority => with_priority);
        to
    }

    /// Acknowledges. Anything but success means that the message is, or will be, delivered again.
    pub async fn ack(&self) -> Result<(), AmqpError> {
        match link::with_deadline(REPLY_TIMEOUT, self.delivery.acker.ack(BasicAckOptions::default())).await? {
            true => Ok(()),
            false => Err(AmqpError::Ended),
        }
    }
}

fn is_soft(error: &lapin::Error, kind: &AMQPSoftError) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if *error.kind() == AMQPErrorKind::Soft(kind.clone()))
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
        assert_eq!(headers, ["x-reason"]);
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
        assert_eq!(headers, ["x-reason", BODY_BYTES, UNREADABLE]);
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
