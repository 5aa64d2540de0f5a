//! Asking for a sync: a message in the account's queue.

use lapin::BasicProperties;
use secrecy::SecretString;
use uuid::Uuid;

use crate::amqp::link::{self, AmqpError, REPLY_TIMEOUT};
use crate::amqp::publisher::{Publisher, Reach};
use crate::amqp::topology::{Declare, Names};
use crate::message::SyncRequest;

/// Publishes a request to the account's queue; it is there when this returns.
pub async fn publish(publisher: &Publisher, names: &Names, request: &SyncRequest, id: Uuid) -> Result<(), AmqpError> {
    let body = body_of(request);
    let properties = BasicProperties::default()
        .with_message_id(id.to_string().into())
        .with_content_type("application/json".into())
        .with_app_id("teamleader2db".into());
    let (exchange, key) = (names.requests_exchange(), names.account().as_str());
    publisher.publish(&exchange, key, &body, properties, Reach::AQueue).await.map(drop)
}

/// The body of the message.
pub fn body_of(request: &SyncRequest) -> Vec<u8> {
    // Strings, booleans and a UUID: it cannot fail.
    serde_json::to_vec(request).unwrap_or_default()
}

/// Publishes a request without waiting for its end. Declares the queues, so that it works before the first worker runs.
pub async fn send(
    url: &SecretString,
    names: &Names,
    declare: Declare,
    request: &SyncRequest,
    id: Uuid,
) -> Result<(), AmqpError> {
    let publisher = Publisher::new(url.clone(), "teamleader2db request");
    let connection = link::connect(url, "teamleader2db request").await?;
    names.declare(&connection, declare).await?;
    let published = publish(&publisher, names, request, id).await;
    publisher.close().await;
    // Everything is confirmed; the goodbye does not matter.
    let _ = link::within(REPLY_TIMEOUT, connection.close(200, "done".into())).await;
    published
}
