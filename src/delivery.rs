//! A message as the store knows it.

use crate::amqp::consumer::Message;
use crate::ids::RunId;
use crate::message::Parameters;
use crate::store::outbox::Reply;
use crate::store::run::Delivered;

/// Where the sender wants the final event.
pub fn reply_of(message: &Message) -> Reply {
    // AMQP allows U+0000 in these, PostgreSQL does not. No queue that is worth a reply has one in its name.
    let reply_to = message.reply_to().filter(|queue| !queue.contains('\0')).map(str::to_owned);
    // By one byte: there may be 255.
    let correlation_id = message.correlation_id().map(|id| id.replace('\0', "?"));
    Reply { reply_to, correlation_id, traceparent: message.traceparent() }
}

/// A delivery of the request with this id.
pub fn delivered<'a>(message: &Message, id: RunId, parameters: &'a Parameters) -> Delivered<'a> {
    Delivered { id, parameters, slice: message.slice(), again: message.again(), reply: reply_of(message) }
}
