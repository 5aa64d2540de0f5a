//! A message as the store knows it.

use crate::amqp::consumer::Message;
use crate::ids::RunId;
use crate::message::Parameters;
use crate::store::outbox::Reply;
use crate::store::run::Delivered;

/// Where the sender wants the final event.
pub fn reply_of(message: &Message) -> Reply {
    // AMQP allows U+0000 in these, PostgreSQL does not.
    let text = |value: Option<&str>| value.map(|text| text.replace('\0', "\u{fffd}"));
    Reply { reply_to: text(message.reply_to()), correlation_id: text(message.correlation_id()) }
}

/// A delivery of the request with this id.
pub fn delivered<'a>(message: &Message, id: RunId, parameters: &'a Parameters) -> Delivered<'a> {
    Delivered { id, parameters, slice: message.slice(), again: message.again(), reply: reply_of(message) }
}
