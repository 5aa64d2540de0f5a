//! Connections to RabbitMQ.

use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, ErrorKind};
use secrecy::{ExposeSecret, SecretString};

use super::screen;

/// Heartbeats, unless the URL says otherwise: a dead peer is noticed after about two of them.
const HEARTBEAT_SECONDS: u16 = 10;

/// Connecting, with login, takes at most this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Any answer of the broker is waited for at most this long: confirms, declarations, acks.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// Closing a connection waits for the broker's goodbye at most this long, since it does not matter.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// At most this many bytes of a message's body are taken. A request may have no more, and a token pair has some
/// hundreds.
pub const BODY_BOUND: u64 = 64 * 1024;

/// What can go wrong with the broker.
#[derive(Debug, thiserror::Error)]
pub enum AmqpError {
    /// The URL cannot be read. It may hold a password, so it is not shown.
    #[error("AMQP_URL is not a URL like amqp://user:password@host:5672/vhost")]
    Url,
    /// The broker, or the way to it.
    #[error("RabbitMQ: {0}")]
    Broker(#[from] lapin::Error),
    /// No answer in time; the broker may be blocked (memory or disk alarm) or away.
    #[error("RabbitMQ did not answer within {} s: is it blocked by a memory or disk alarm?", .0.as_secs())]
    NoAnswer(Duration),
    /// A message that must not be lost found no queue.
    #[error("no queue takes messages for {0}: was it deleted?")]
    Unroutable(String),
    /// The broker refused a message.
    #[error("RabbitMQ refused a message for {0}: the queue may be full")]
    Refused(String),
    /// An escrowed token pair is still needed and cannot be read.
    #[error("an escrowed token pair cannot be stored: {0}")]
    Escrowed(String),
    /// Another process is at the escrowed token pairs, or died at it a moment ago.
    #[error("another process is taking the escrowed token pairs")]
    EscrowedElsewhere,
    /// A queue or exchange is not as it has to be.
    #[error("{what} cannot be used as it stands: {why}. {fix}")]
    Topology {
        /// The queue or exchange.
        what: String,
        /// The broker's words.
        why: String,
        /// The way out.
        fix: String,
    },
    /// The connection or the consumer ended.
    #[error("RabbitMQ ended the delivery of messages")]
    Ended,
}

/// Why the broker does not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 403: the login, or a permission.
    Access,
    /// 404: there is no such queue or exchange.
    Missing,
    /// 530: there is no such vhost, or the user has no permissions in it.
    Vhost,
    /// Anything else, such as 406: other settings.
    Other,
}

/// Why the broker refused, if it is the broker's refusal.
pub fn refusal(error: &lapin::Error) -> Option<Refusal> {
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    Some(match error.get_id() {
        403 => Refusal::Access,
        404 => Refusal::Missing,
        530 => Refusal::Vhost,
        _ => Refusal::Other,
    })
}

/// Opens a connection that does not recover by itself: after a recovery lapin's stream neither ends nor errs, and an
/// old ack does nothing. Its user opens a new one. Of a message's body it takes the first [`BODY_BOUND`] bytes.
pub async fn connect(url: &SecretString, name: &str) -> Result<Connection, AmqpError> {
    connect_for_bodies_of(BODY_BOUND, url, name).await
}

/// The same with another bound for the bodies of messages.
pub async fn connect_for_bodies_of(bytes: u64, url: &SecretString, name: &str) -> Result<Connection, AmqpError> {
    let mut uri: AMQPUri = url.expose_secret().parse().map_err(|_: String| AmqpError::Url)?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    with_deadline(CONNECT_TIMEOUT, screen::connect(uri, properties, bytes)).await
}

/// Closes a connection; messages in hand on it go back to their queue, with or without the broker's goodbye.
pub async fn close(connection: &Connection) {
    let _ = with_deadline(GOODBYE_TIMEOUT, connection.close(200, "done".into())).await;
}

/// Bounds the wait for an answer of the broker.
pub async fn with_deadline<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, AmqpError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(AmqpError::NoAnswer(limit)),
    }
}
