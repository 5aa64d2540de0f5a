//! The broker as an orchestrator uses it that outlives it: requests are published until they are confirmed, and no event is missed
//! though the broker is killed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};
use serde_json::Value;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::stage::{ACCOUNT, Broker, Event, found_within};

/// How long the broker may be away: a restart takes some 10 s, on a busy machine far more.
const PATIENCE: Duration = Duration::from_secs(200);

/// How long an answer of it is waited for.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Between two tries to reach it.
const PAUSE: Duration = Duration::from_millis(250);

/// A client of the broker that comes back.
pub struct Watch {
    /// What all names begin with.
    pub prefix: String,
    url: String,
    events: Inbox,
    replies: Inbox,
    listening: Vec<JoinHandle<()>>,
}

type Inbox = Arc<Mutex<Vec<Event>>>;

/// A message that was given up.
#[derive(Debug)]
pub struct DeadLetter {
    /// Its body.
    pub body: Vec<u8>,
    /// Why, in the worker's words.
    pub reason: Option<String>,
}

impl Watch {
    /// Makes its queues, and listens.
    pub async fn begin(url: &str) -> Self {
        let prefix = format!("f-{}", Uuid::new_v4().simple());
        let (events, replies) = (Inbox::default(), Inbox::default());
        let mut watch = Self { prefix, url: url.to_owned(), events, replies, listening: Vec::new() };
        let channel = open(url).await.expect("the broker is up");
        let exchange = format!("{}.events", watch.prefix);
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let none = FieldTable::default;
        channel.exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, durable, none()).await.unwrap();
        for queue in [watch.events_queue(), watch.reply_queue()] {
            // What the broker has confirmed to the worker must outlive a kill -9 of the broker.
            let mut quorum = FieldTable::default();
            quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
            let options = QueueDeclareOptions { durable: true, ..Default::default() };
            channel.queue_declare(queue.as_str().into(), options, quorum).await.unwrap();
        }
        let (queue, options) = (watch.events_queue(), QueueBindOptions::default());
        channel.queue_bind(queue.as_str().into(), exchange.as_str().into(), "#".into(), options, none()).await.unwrap();
        for (queue, inbox) in [(watch.events_queue(), &watch.events), (watch.reply_queue(), &watch.replies)] {
            watch.listening.push(tokio::spawn(listen(url.to_owned(), queue, Arc::clone(inbox))));
        }
        watch
    }

    fn events_queue(&self) -> String {
        format!("{}.watch.events", self.prefix)
    }

    /// Where replies are asked for.
    pub fn reply_queue(&self) -> String {
        format!("watch.{}.replies", self.prefix)
    }

    /// The queue of requests.
    pub fn requests_queue(&self) -> String {
        format!("{}.requests.{ACCOUNT}", self.prefix)
    }

    /// All events that came to the exchange; one may have come twice.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// All replies.
    pub fn replies(&self) -> Vec<Event> {
        self.replies.lock().unwrap().clone()
    }

    /// Whether a request has its final event, and its reply where there has to be one.
    pub fn is_answered(&self, id: Uuid, replies: bool) -> bool {
        let id = id.to_string();
        // The newest first: this is asked again and again, and events become many.
        let ends =
            |inbox: &Inbox| inbox.lock().unwrap().iter().rev().any(|event| event.is_final() && event.subject() == id);
        ends(&self.events) && (!replies || ends(&self.replies))
    }

    /// The final events of a request among these.
    pub fn final_events_of(id: Uuid, events: Vec<Event>) -> Vec<Event> {
        let id = id.to_string();
        events.into_iter().filter(|event| event.is_final() && event.subject() == id).collect()
    }

    /// Publishes a request until the broker has confirmed it; that may leave it there twice.
    pub async fn publish(&self, body: &Value, properties: BasicProperties) {
        let (exchange, body) = (format!("{}.requests", self.prefix), body.to_string());
        let properties = properties.with_delivery_mode(2);
        let try_once = async || {
            let channel = open(&self.url).await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await.ok()?;
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            let (exchange, properties) = (exchange.as_str().into(), properties.clone());
            let sent = channel.basic_publish(exchange, ACCOUNT.into(), options, body.as_bytes(), properties).await;
            matches!(sent.ok()?.await, Ok(Confirmation::Ack(None))).then_some(())
        };
        // A broker that is killed meanwhile may never answer.
        let published =
            found_within(PATIENCE, PAUSE, async || tokio::time::timeout(ANSWERS_WITHIN, try_once()).await.ok()?);
        published.await.expect("the broker takes a request");
    }

    /// How many messages of a queue are ready.
    pub async fn ready(&self, queue: &str) -> Option<u32> {
        let asked = async {
            let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
            let channel = open(&self.url).await?;
            Some(channel.queue_declare(queue.into(), options, FieldTable::default()).await.ok()?.message_count())
        };
        tokio::time::timeout(ANSWERS_WITHIN, asked).await.ok()?
    }

    /// How many token pairs wait for the database.
    pub async fn escrowed_pairs(&self) -> Option<u32> {
        self.ready(&format!("{}.tokens.{ACCOUNT}", self.prefix)).await
    }

    /// Takes all that the worker has given up.
    pub async fn dead_letters(&self) -> Vec<DeadLetter> {
        let queue = format!("{}.dead", self.prefix);
        let channel = open(&self.url).await.expect("the broker is up");
        let mut letters = Vec::new();
        while let Some(got) = channel.basic_get(queue.as_str().into(), BasicGetOptions::default()).await.unwrap() {
            let headers = got.delivery.properties.headers().clone().unwrap_or_default();
            let reason = match headers.inner().get("x-reason") {
                Some(AMQPValue::LongString(reason)) => Some(reason.to_string()),
                _ => None,
            };
            letters.push(DeadLetter { body: got.delivery.data.clone(), reason });
        }
        letters
    }

    /// How many requests the broker itself has given up, and nobody has told of.
    pub async fn undelivered(&self) -> Option<u32> {
        self.ready(&format!("{}.undelivered", self.requests_queue())).await
    }

    /// Deletes all that was made for the seed.
    pub async fn sweep(&self) {
        self.listening.iter().for_each(JoinHandle::abort);
        if let Some(channel) = open(&self.url).await {
            for queue in [self.events_queue(), self.reply_queue()] {
                let _ = channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await;
            }
        }
        Broker::sweep(&self.url, &self.prefix).await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.listening.iter().for_each(JoinHandle::abort);
    }
}

/// A channel on a connection of its own, which ends with it.
async fn open(url: &str) -> Option<Channel> {
    let opened = async { Connection::connect(url, ConnectionProperties::default()).await?.create_channel().await };
    tokio::time::timeout(ANSWERS_WITHIN, opened).await.ok()?.ok()
}

async fn listen(url: String, queue: String, inbox: Inbox) {
    let mut pauses = tokio::time::interval(PAUSE);
    loop {
        pauses.tick().await;
        // Ends with the connection; what was not acknowledged comes again.
        let _ = consume(&url, &queue, &inbox).await;
    }
}

async fn consume(url: &str, queue: &str, inbox: &Inbox) -> Option<()> {
    let channel = open(url).await?;
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut stream = channel.basic_consume(queue.into(), "".into(), options, none).await.ok()?;
    while let Some(Ok(delivery)) = stream.next().await {
        let body = serde_json::from_slice(&delivery.data).expect("an event is JSON");
        let routing_key = delivery.routing_key.to_string();
        inbox.lock().unwrap().push(Event { routing_key, properties: delivery.properties, body });
        delivery.acker.ack(BasicAckOptions::default()).await.ok()?;
    }
    None
}
