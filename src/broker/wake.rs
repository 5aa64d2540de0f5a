//! The message that wakes the consumer for hints. It is no request: it has neither id nor run nor event, and its type
//! says so.

use lapin::BasicProperties;

use super::link::AmqpError;
use super::message::Message;
use super::publisher::Publisher;
use super::topology::Names;

/// The AMQP type by which it is known.
const KIND: &str = "teamleader2db.hints";

/// All that its body says.
const BODY: &[u8] = b"{\"hints\":true}";

/// After so many milliseconds the broker gives it up: others were published since, and they would pile up before the
/// requests that come later while nobody consumes.
const EXPIRES_MS: &str = "60000";

/// Whether a message is one. Its type is looked at before anything else.
pub fn is_wake_up(message: &Message) -> bool {
    message.kind() == Some(KIND)
}

/// Publishes one to the account's queue.
pub async fn publish(publisher: &Publisher, names: &Names) -> Result<(), AmqpError> {
    let properties = BasicProperties::default()
        .with_type(KIND.into())
        .with_content_type("application/json".into())
        .with_expiration(EXPIRES_MS.into())
        .with_app_id("teamleader2db".into());
    publisher.publish(&names.requests_exchange(), names.account().as_str(), BODY, properties).await
}
