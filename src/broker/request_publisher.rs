//! Asking for a sync: a message in the account's queue.

use secrecy::SecretString;
use uuid::Uuid;

use super::link::{self, AmqpError, REPLY_TIMEOUT};
use super::publisher::{self, Publisher};
use super::topology::{Declare, Names};
use crate::ids::TraceParent;
use crate::messages::SyncRequest;

/// A request to be published.
#[derive(Clone, Debug)]
pub struct OutgoingRequest {
    /// Its id, which stands in `request` as well.
    pub id: Uuid,
    /// The sync that is asked for.
    pub request: SyncRequest,
    /// The caller's place in a trace.
    pub traceparent: Option<TraceParent>,
}

impl OutgoingRequest {
    /// With the request's id, or a new one.
    pub fn new(request: SyncRequest, traceparent: Option<TraceParent>) -> Self {
        let id = request.request_id.unwrap_or_else(Uuid::new_v4);
        Self { id, request: SyncRequest { request_id: Some(id), ..request }, traceparent }
    }

    /// The body of the message.
    pub fn body(&self) -> Vec<u8> {
        // Strings, booleans and a UUID: it cannot fail.
        serde_json::to_vec(&self.request).unwrap_or_default()
    }
}

/// Publishes a request to the account's queue; it is there when this returns.
pub async fn publish(publisher: &Publisher, names: &Names, outgoing: &OutgoingRequest) -> Result<(), AmqpError> {
    let properties = publisher::traced(outgoing.traceparent.as_ref().map(TraceParent::as_str))
        .with_message_id(outgoing.id.to_string().into())
        .with_correlation_id(outgoing.id.to_string().into())
        .with_content_type("application/json".into())
        .with_app_id("teamleader2db".into());
    let (exchange, key) = (names.requests_exchange(), names.account().as_str());
    publisher.publish(&exchange, key, &outgoing.body(), properties).await
}

/// Publishes a request without waiting for its end. Declares the queues, so that it works before the first worker runs.
pub async fn send(
    url: &SecretString,
    names: &Names,
    declare: Declare,
    outgoing: &OutgoingRequest,
) -> Result<(), AmqpError> {
    let publisher = Publisher::new(url.clone(), "teamleader2db request");
    let connection = link::connect(url, "teamleader2db request").await?;
    names.declare(&connection, declare).await?;
    let published = publish(&publisher, names, outgoing).await;
    publisher.close().await;
    // Everything is confirmed; the goodbye does not matter.
    let _ = link::with_deadline(REPLY_TIMEOUT, connection.close(200, "done".into())).await;
    published
}
