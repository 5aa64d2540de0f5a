//! A message as the store knows it: who sent it, and what to.

use tracing::warn;

use crate::broker::consumer::Message;
use crate::broker::reply_address::ReplyAddresses;
use crate::ids::RunId;
use crate::messages::{BadRequest, Parameters, Request};
use crate::process::log_lines;
use crate::process::telemetry;
use crate::store::outbox::Reply;
use crate::store::runs::{Delivered, NO_SLICE};

/// The request in a message. An error where the message is not as its sender sent it, or could not be requeued as it
/// is.
pub fn request_of(message: &Message) -> Result<Request, BadRequest> {
    let request = Request::parse(message.body(), message.message_id());
    let Some(reason) = message.out_of_bounds() else { return request };
    let id = request.map_or_else(|bad| bad.id, |request| request.id);
    Err(BadRequest { reason, id })
}

/// A message in hand, and where its sender gets the final event.
#[derive(Debug)]
pub struct Received<'a> {
    /// The message.
    pub message: &'a Message,
    /// Where the final event goes, besides the exchange.
    pub reply: Reply,
    /// The address that the sender wants, where no reply is sent to it.
    refused: Option<&'a str>,
}

impl<'a> Received<'a> {
    /// Looks at what the sender wants. An address to which replies are not sent is left out: the request is worked on
    /// all the same.
    pub fn new(message: &'a Message, addresses: &ReplyAddresses) -> Self {
        // AMQP allows U+0000, PostgreSQL does not. By one byte: there may be 255.
        let correlation_id = message.correlation_id().map(|id| id.replace('\0', "?"));
        let wanted = message.reply_to();
        let reply_to = wanted.filter(|queue| addresses.takes(queue)).map(str::to_owned);
        let refused = wanted.filter(|_| reply_to.is_none());
        Self { message, reply: Reply { reply_to, correlation_id, traceparent: message.traceparent() }, refused }
    }

    /// Counts and logs that no reply is sent to the address that the sender wants: once, with the first delivery.
    pub fn note_refused_reply(&self) {
        let is_first = self.message.slice() == NO_SLICE && !self.message.again();
        if let Some(address) = self.refused.filter(|_| is_first) {
            telemetry::reply("not_allowed");
            warn!(
                reply_to = log_lines::foreign(Some(address)),
                message_id = log_lines::foreign(self.message.message_id()),
                correlation_id = log_lines::foreign(self.message.correlation_id()),
                app_id = log_lines::foreign(self.message.app_id()),
                "No reply is sent to this address: see REPLY_TO_ALLOWED. The event on the exchange holds the same"
            );
        }
    }

    /// A delivery of the request with this id.
    pub fn delivered<'p>(&self, id: RunId, parameters: &'p Parameters) -> Delivered<'p> {
        let message = self.message;
        Delivered { id, parameters, slice: message.slice(), again: message.again(), reply: self.reply.clone() }
    }
}
