//! How a letter goes to the end of its queue.
//!
//! From RabbitMQ 4 on a quorum queue delivers by priority, and keeps the order only among messages of the same: a copy
//! with a high priority would come again at once, and letters below it never. So the copy has the lowest priority, and
//! a header with the sender's; all that is read of a letter is as it was sent.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use crate::broker::message::set_properties;

/// The header with the priority of the letter as it was sent: a number, or [`NONE`].
const PRIORITY: &str = "x-teamleader2db-priority";

/// It had none, which is not the lowest.
const NONE: &str = "none";

/// The properties of the copy.
pub fn behind_all(sent: BasicProperties) -> BasicProperties {
    let priority = sent.priority().map_or_else(|| NONE.to_owned(), |priority| priority.to_string());
    let mut headers = sent.headers().clone().unwrap_or_default();
    headers.insert(PRIORITY.into(), AMQPValue::LongString(priority.into()));
    sent.with_headers(headers).with_priority(0)
}

/// The properties of the letter as it was sent.
pub fn as_sent(properties: BasicProperties) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default().inner().clone();
    let Some(AMQPValue::LongString(priority)) = headers.remove(PRIORITY) else { return properties };
    let from = &properties;
    let sent = set_properties!(BasicProperties::default(), from,
        message_id => with_message_id, correlation_id => with_correlation_id, reply_to => with_reply_to,
        content_type => with_content_type, content_encoding => with_content_encoding, kind => with_type,
        app_id => with_app_id, timestamp => with_timestamp, expiration => with_expiration, user_id => with_user_id,
        delivery_mode => with_delivery_mode, cluster_id => with_cluster_id);
    let sent = if headers.is_empty() { sent } else { sent.with_headers(FieldTable::from(headers)) };
    match str::from_utf8(priority.as_bytes()).ok().and_then(|text| text.parse().ok()) {
        Some(priority) => sent.with_priority(priority),
        None => sent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_read_as_it_was_sent() {
        let bare = BasicProperties::default().with_message_id("m".into()).with_user_id("u".into());
        let mut headers = FieldTable::default();
        headers.insert("traceparent".into(), AMQPValue::LongString("t".into()));
        for sent in [
            BasicProperties::default(),
            bare.clone(),
            bare.clone().with_priority(7).with_delivery_mode(2),
            bare.clone().with_priority(0).with_headers(headers.clone()),
            bare.with_headers(headers),
        ] {
            let copy = behind_all(sent.clone());
            assert_eq!(copy.priority(), &Some(0));
            assert_eq!(as_sent(copy.clone()), sent, "{copy:?}");
            assert_eq!(as_sent(sent.clone()), sent);
        }
    }
}
