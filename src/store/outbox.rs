//! Events to be sent, written in the transaction of what they report, and sent in order; and replies, each for itself.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::pool::StoreError;
use crate::ids::{Account, TraceParent};
use crate::messages::Event;

/// An event that the broker has not confirmed.
#[derive(Debug)]
pub struct Pending {
    /// The order of sending.
    pub id: i64,
    /// The event's id.
    pub event_id: Uuid,
    /// The routing key on the events exchange; of a reply the queue.
    pub routing_key: String,
    /// The AMQP `correlation_id`.
    pub correlation_id: Option<String>,
    /// The AMQP header `traceparent`.
    pub traceparent: Option<String>,
    /// The JSON text.
    pub payload: String,
    /// How often the broker did not take it; of a reply, how often it was published, this time included.
    pub tries: i32,
    /// The broker did not take it at first, and a later event of its run went out meanwhile.
    pub superseded: bool,
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

/// Puts an event into the outbox: once for the exchange, and once for each reply queue and correlation id. An event
/// that is there and unsent is not added again.
///
/// The event on the exchange carries the first reply's correlation id, or the subject, and the first one's place in a
/// trace.
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

/// The event as it was written before, where one of the same id was: only its time can differ.
pub async fn as_before(connection: &mut PgConnection, account: &Account, event: Event) -> Result<Event, StoreError> {
    let before = sqlx::query_scalar!(
        "select payload from teamleader2db.event_outbox where account = $1 and event_id = $2 order by id limit 1",
        account.as_str(),
        event.id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(match before {
        Some(payload) => Event { payload, ..event },
        None => event,
    })
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
        "insert into teamleader2db.event_outbox (account, event_id, subject, routing_key, reply_to, correlation_id,
             payload, traceparent)
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

/// The oldest events that are due to be published, at most `limit`.
pub async fn pending(pool: &PgPool, account: &Account, limit: i64) -> Result<Vec<Pending>, StoreError> {
    let pending = sqlx::query_as!(
        Pending,
        r#"select id, event_id, routing_key, correlation_id, traceparent, payload, tries,
             tries > 0 and event.routing_key like 'sync.%' and exists (
                 select from teamleader2db.event_outbox later
         where later.account = $1 and later.subject = event.subject and later.id > event.id
                     and later.reply_to is null
                   and (later.sent_at is not null or later.tries > 0)) as "superseded!"
         from teamleader2db.event_outbox event
         where account = $1 and reply_to is null and sent_at is null and (next_try_at is null or next_try_at <= now())
         order by id limit $2"#,
        account.as_str(),
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(pending)
}

/// How many events are not confirmed. Replies are not among them.
pub async fn count_pending(pool: &PgPool, account: &Account) -> Result<i64, StoreError> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from teamleader2db.event_outbox
         where account = $1 and reply_to is null and sent_at is null"#,
        account.as_str()
    )
    .fetch_one(pool)
    .await?;
    Ok(count)
}

/// Takes the reply that was tried least often, of those that are due, for one try. The try counts from now on, so that
/// a reply that ends the process counts it as well; no other process takes it for the time of `lasts`.
pub async fn take_reply(pool: &PgPool, account: &Account, lasts: Duration) -> Result<Option<Pending>, StoreError> {
    let taken = sqlx::query_as!(
        Pending,
        r#"update teamleader2db.event_outbox
         set tries = tries + 1, next_try_at = now() + make_interval(secs => $2)
         where id = (
             select id from teamleader2db.event_outbox
             where account = $1 and reply_to is not null and sent_at is null and (next_try_at is null
             or next_try_at <= now())
             order by tries, id limit 1 for update skip locked)
         returning id, event_id, reply_to as "routing_key!", correlation_id, traceparent, payload, tries, false
             as "superseded!""#,
        account.as_str(),
        lasts.as_secs_f64(),
    )
    .fetch_optional(pool)
    .await?;
    Ok(taken)
}

/// The broker has confirmed it.
pub async fn sent(pool: &PgPool, id: i64) -> Result<(), StoreError> {
    sqlx::query!("update teamleader2db.event_outbox set sent_at = now() where id = $1", id).execute(pool).await?;
    Ok(())
}

/// It is published again after `delay`, having been tried `tries` times.
pub async fn defer(pool: &PgPool, id: i64, tries: i32, delay: Duration) -> Result<(), StoreError> {
    sqlx::query!(
        "update teamleader2db.event_outbox set tries = $2, next_try_at = now() + make_interval(secs => $3)
         where id = $1",
        id,
        tries,
        delay.as_secs_f64(),
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// It is not published any more.
pub async fn give_up(pool: &PgPool, id: i64, why: &str) -> Result<(), StoreError> {
    sqlx::query!("update teamleader2db.event_outbox set sent_at = now(), given_up = $2 where id = $1", id, why)
        .execute(pool)
        .await?;
    Ok(())
}
