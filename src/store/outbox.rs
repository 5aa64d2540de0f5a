//! Events to be sent, written in the transaction of what they tell, and sent in order.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::pool::StoreError;
use crate::ids::{Account, TraceParent};
use crate::message::Event;

/// An event that the broker has not confirmed.
#[derive(Debug)]
pub struct Pending {
    /// The order of sending.
    pub id: i64,
    /// The event's id.
    pub event_id: Uuid,
    /// The routing key on the events exchange.
    pub routing_key: String,
    /// The queue that it goes to instead, for replies.
    pub reply_to: Option<String>,
    /// The AMQP `correlation_id`.
    pub correlation_id: Option<String>,
    /// The AMQP header `traceparent`.
    pub traceparent: Option<String>,
    /// The JSON text.
    pub payload: String,
}

/// Where else a final event goes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reply {
    /// The queue.
    pub reply_to: Option<String>,
    /// The request's `correlation_id`.
    pub correlation_id: Option<String>,
    /// The request's place in a trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
}

impl Reply {
    /// Whether both mean the same event to the same sender: a request that was sent again may be in another trace.
    pub fn is_as(&self, other: &Self) -> bool {
        (&self.reply_to, &self.correlation_id) == (&other.reply_to, &other.correlation_id)
    }
}

/// Puts an event into the outbox: once for the exchange, and once for each reply queue and correlation id. What is there unsent is
/// not added again.
///
/// The event on the exchange carries the first reply's correlation id, or the subject, and the first one's place in a trace.
pub async fn put(
    connection: &mut PgConnection,
    account: &Account,
    event: &Event,
    replies: &[Reply],
) -> Result<(), StoreError> {
    let correlation =
        replies.iter().find_map(|reply| reply.correlation_id.clone()).unwrap_or_else(|| event.subject.clone());
    let traceparent = replies.iter().find_map(|reply| reply.traceparent.as_ref());
    put_one(connection, account, event, None, &correlation, traceparent).await?;
    put_replies(connection, account, event, replies).await
}

/// The same for the reply queues alone.
pub async fn put_replies(
    connection: &mut PgConnection,
    account: &Account,
    event: &Event,
    replies: &[Reply],
) -> Result<(), StoreError> {
    for reply in replies {
        if let Some(queue) = &reply.reply_to {
            let correlation = reply.correlation_id.as_ref().unwrap_or(&event.subject);
            put_one(connection, account, event, Some(queue), correlation, reply.traceparent.as_ref()).await?;
        }
    }
    Ok(())
}

async fn put_one(
    connection: &mut PgConnection,
    account: &Account,
    event: &Event,
    reply_to: Option<&str>,
    correlation: &str,
    traceparent: Option<&TraceParent>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into teamleader2db.event_outbox (account, event_id, subject, routing_key, reply_to, correlation_id, payload, traceparent)
         select $1, $2, $3, $4, $5, $6, $7, $8
         where not exists (
             select from teamleader2db.event_outbox
             where account = $1 and event_id = $2 and reply_to is not distinct from $5 and sent_at is null
               and ($5::text is null or correlation_id is not distinct from $6))",
        account.as_str(),
        event.id,
        event.subject,
        event.kind.routing_key(account),
        reply_to,
        correlation,
        event.payload,
        traceparent.map(TraceParent::as_str),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The oldest events that are not confirmed, at most `limit`.
pub async fn pending(pool: &PgPool, account: &Account, limit: i64) -> Result<Vec<Pending>, StoreError> {
    let pending = sqlx::query_as!(
        Pending,
        "select id, event_id, routing_key, reply_to, correlation_id, traceparent, payload
         from teamleader2db.event_outbox where account = $1 and sent_at is null order by id limit $2",
        account.as_str(),
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(pending)
}

/// How many events are not confirmed.
pub async fn count_pending(pool: &PgPool, account: &Account) -> Result<i64, StoreError> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from teamleader2db.event_outbox where account = $1 and sent_at is null"#,
        account.as_str()
    )
    .fetch_one(pool)
    .await?;
    Ok(count)
}

/// The broker has confirmed it.
pub async fn sent(pool: &PgPool, id: i64) -> Result<(), StoreError> {
    sqlx::query!("update teamleader2db.event_outbox set sent_at = now() where id = $1", id).execute(pool).await?;
    Ok(())
}
