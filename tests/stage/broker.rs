//! The broker as an orchestrator uses it: requests go in, events come out. Each test has exchanges and queues of its
//! own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};
use serde_json::Value;
use uuid::Uuid;

use super::schemas;
use super::waiting::{DEADLINE, until};

/// The delay queues, in seconds.
const DELAYS: [u32; 5] = [10, 60, 300, 900, 3600];

/// The account that the tests' workers serve.
pub const ACCOUNT: &str = "acme";

/// A connection to the broker, and the names of one test.
pub struct Broker {
    /// Its URL, for the worker.
    pub url: String,
    /// What all names of exchanges and queues begin with.
    pub prefix: String,
    connection: Connection,
    events: Inbox,
    replies: Mutex<Vec<Inbox>>,
    requests: Mutex<Vec<Value>>,
}

/// An event as it came.
#[derive(Clone, Debug)]
pub struct Event {
    /// The key that it was published with; a reply's is the queue's name.
    pub routing_key: String,
    /// The properties of the message.
    pub properties: BasicProperties,
    /// The CloudEvent.
    pub body: Value,
}

/// What has come to a queue, oldest first.
#[derive(Clone, Default)]
pub struct Inbox(Arc<Mutex<Vec<Event>>>);

impl Broker {
    /// Connects, and binds a queue to the events exchange: no event is missed.
    pub async fn at(url: &str) -> Self {
        let prefix = format!("t-{}", Uuid::new_v4().simple());
        let connection = connect(url).await;
        let channel = connection.create_channel().await.unwrap();
        let exchange = format!("{prefix}.events");
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        channel
            .exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, options, FieldTable::default())
            .await
            .unwrap();
        let events = Inbox::default();
        let queue = consume(&channel, &events).await;
        let (queue, exchange) = (queue.as_str().into(), exchange.as_str().into());
        channel
            .queue_bind(queue, exchange, "#".into(), QueueBindOptions::default(), FieldTable::default())
            .await
            .unwrap();
        Self { url: url.to_owned(), prefix, connection, events, replies: Mutex::default(), requests: Mutex::default() }
    }

    /// All events of the exchange.
    pub fn events(&self) -> Vec<Event> {
        self.events.all()
    }

    /// The events of the exchange that fit.
    pub fn events_that(&self, fit: impl Fn(&Event) -> bool) -> Vec<Event> {
        self.events.those_that(fit)
    }

    /// The events of the exchange but the `first` ones.
    pub fn events_after(&self, first: usize) -> Vec<Event> {
        self.events.0.lock().unwrap().get(first..).unwrap_or_default().to_vec()
    }

    /// The user that the URL names.
    pub fn user(&self) -> String {
        let uri: lapin::uri::AMQPUri = self.url.parse().unwrap();
        uri.authority.userinfo.username
    }

    /// Host and port of the URL.
    pub fn authority(&self) -> String {
        let rest = self.url.split_once("://").expect("a URL").1.split('/').next().unwrap();
        let address = rest.rsplit_once('@').map_or(rest, |(_, address)| address);
        assert!(address.contains(':'), "the URL names the port: {address}");
        address.to_owned()
    }

    /// The queue of requests.
    pub fn requests_queue(&self) -> String {
        format!("{}.requests.{ACCOUNT}", self.prefix)
    }

    /// The queue in which a request waits this many seconds.
    pub fn delay_queue(&self, seconds: u32) -> String {
        format!("{}.requests.{ACCOUNT}.delay.{seconds}s", self.prefix)
    }

    /// The queue of what cannot be processed.
    pub fn dead_queue(&self) -> String {
        format!("{}.dead", self.prefix)
    }

    /// The queue of token pairs that could not be stored.
    pub fn tokens_queue(&self) -> String {
        format!("{}.tokens.{ACCOUNT}", self.prefix)
    }

    /// A new channel. With the id of one that the broker had closed, 2,047 channels ago, lapin gives that one's error.
    async fn channel(&self) -> Channel {
        until("a channel is open", async || self.connection.create_channel().await.ok()).await
    }

    /// A queue of the test's own for replies: its name, and what comes to it.
    pub async fn reply_queue(&self) -> (String, Inbox) {
        let inbox = Inbox::default();
        let channel = self.channel().await;
        let queue = consume(&channel, &inbox).await;
        self.replies.lock().unwrap().push(inbox.clone());
        (queue, inbox)
    }

    /// A queue of the test's own that is bound to a fanout exchange: what comes to it, which has to be JSON.
    pub async fn bound_queue(&self, exchange: &str) -> Inbox {
        let (name, inbox) = self.reply_queue().await;
        let options = QueueBindOptions::default();
        let (queue, exchange) = (name.as_str().into(), exchange.into());
        self.channel().await.queue_bind(queue, exchange, "".into(), options, FieldTable::default()).await.unwrap();
        inbox
    }

    /// Publishes a request, as soon as a worker has made the exchange and the queue, and waits for the broker's
    /// confirmation.
    pub async fn publish(&self, body: &[u8], properties: BasicProperties) {
        if let Ok(request) = serde_json::from_slice(body) {
            self.requests.lock().unwrap().push(request);
        }
        let exchange = format!("{}.requests", self.prefix);
        until("the queue of requests takes a message", async || {
            // The broker closes the channel when the exchange is missing.
            let channel = self.channel().await;
            channel.confirm_select(ConfirmSelectOptions::default()).await.ok()?;
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            let (exchange, key, properties) = (exchange.as_str().into(), ACCOUNT.into(), properties.clone());
            let confirmation = channel.basic_publish(exchange, key, options, body, properties).await.ok()?.await;
            let taken = matches!(confirmation, Ok(Confirmation::Ack(None)));
            // Closed already where the exchange was missing.
            let _ = channel.close(200, "done".into()).await;
            taken.then_some(())
        })
        .await;
    }

    /// Asserts that the messages so far are as docs/schemas says, and returns how many they are.
    pub fn assert_messages_fit(&self) -> usize {
        let mut events = self.events();
        events.extend(self.replies.lock().unwrap().iter().flat_map(Inbox::all));
        schemas::assert_all_fit(&self.requests.lock().unwrap(), &events)
    }

    /// How many messages of a queue are ready: not in the hands of a consumer. `None` when there is no such queue.
    pub async fn ready(&self, queue: &str) -> Option<u32> {
        let channel = self.channel().await;
        let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
        let counted = channel.queue_declare(queue.into(), options, FieldTable::default()).await.ok()?.message_count();
        channel.close(200, "done".into()).await.unwrap();
        Some(counted)
    }

    /// Waits until `count` messages of a queue are ready.
    pub async fn await_ready(&self, queue: &str, count: u32) {
        until(&format!("{count} messages are ready in {queue}"), async || {
            (self.ready(queue).await == Some(count)).then_some(())
        })
        .await;
    }

    /// Takes the next message of a queue away, once there is one.
    pub async fn take(&self, queue: &str) -> Delivery {
        let channel = self.channel().await;
        // A queue with a single active consumer cannot be asked for one message, only consumed.
        channel.basic_qos(1, BasicQosOptions::default()).await.unwrap();
        let options = BasicConsumeOptions::default();
        let mut stream = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.unwrap();
        let next = tokio::time::timeout(DEADLINE, stream.next()).await;
        let delivery = next.unwrap_or_else(|_| panic!("no message came to {queue}")).unwrap().unwrap();
        assert!(delivery.acker.ack(BasicAckOptions::default()).await.unwrap());
        channel.close(200, "done".into()).await.unwrap();
        delivery
    }

    /// Takes a message of a queue away, and touches no other.
    pub async fn get(&self, queue: &str) -> Option<Delivery> {
        let channel = self.channel().await;
        let got = channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap()?.delivery;
        assert!(got.acker.ack(BasicAckOptions::default()).await.unwrap());
        channel.close(200, "done".into()).await.unwrap();
        Some(got)
    }

    /// Publishes a message to an exchange that is there.
    pub async fn publish_to(&self, exchange: &str, key: &str, body: &[u8], properties: BasicProperties) {
        let channel = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let published = channel.basic_publish(exchange.into(), key.into(), options, body, properties);
        assert!(matches!(published.await.unwrap().await.unwrap(), Confirmation::Ack(None)), "{exchange} took it");
    }

    /// A durable queue of this name, that is nobody's in particular; gives the name.
    pub async fn named_queue(&self, name: &str) -> String {
        self.declare_queue(name, FieldTable::default()).await;
        name.to_owned()
    }

    /// A queue that takes all events as long as it holds none, and refuses the others; gives the name.
    pub async fn queue_of_one(&self, name: &str) -> String {
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        let channel = self.declare_queue(name, arguments).await;
        let exchange = format!("{}.events", self.prefix);
        let options = QueueBindOptions::default();
        channel
            .queue_bind(name.into(), exchange.as_str().into(), "#".into(), options, FieldTable::default())
            .await
            .unwrap();
        name.to_owned()
    }

    /// Declares a durable queue with these arguments; gives the channel.
    pub async fn declare_queue(&self, name: &str, arguments: FieldTable) -> Channel {
        let channel = self.channel().await;
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(name.into(), options, arguments).await.unwrap();
        channel
    }

    /// Puts a message straight into a queue.
    pub async fn put(&self, queue: &str, body: &[u8]) {
        let channel = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let published = channel.basic_publish("".into(), queue.into(), options, body, BasicProperties::default());
        assert!(matches!(published.await.unwrap().await.unwrap(), Confirmation::Ack(None)), "{queue} took it");
    }

    /// Takes the binding of the queue of requests away: the queue stays, and nothing that is published reaches it.
    pub async fn unbind_requests(&self) {
        let exchange = format!("{}.requests", self.prefix);
        let (queue, none) = (self.requests_queue(), FieldTable::default());
        let channel = self.channel().await;
        channel.queue_unbind(queue.into(), exchange.into(), ACCOUNT.into(), none).await.unwrap();
    }

    /// Deletes the exchange of requests, as in a broker that no worker has come to yet.
    pub async fn delete_requests_exchange(&self) {
        let exchange = format!("{}.requests", self.prefix);
        let channel = self.channel().await;
        channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.unwrap();
    }

    /// Deletes queues that a test made.
    pub async fn delete_queues(&self, names: &[&str]) {
        let channel = self.channel().await;
        for name in names {
            channel.queue_delete((*name).into(), QueueDeleteOptions::default()).await.unwrap();
        }
    }

    /// Declares a queue that only the connection that it gives may use.
    #[cfg(feature = "fault-points")]
    pub async fn own_queue(&self, queue: &str) -> Connection {
        let connection = connect(&self.url).await;
        let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let channel = connection.create_channel().await.unwrap();
        channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap();
        connection
    }

    /// Takes all messages of a queue away, as they come, once there is the queue. What it gives fills up.
    pub async fn take_all(&self, queue: &str) -> Arc<Mutex<Vec<Delivery>>> {
        until(&format!("there is the queue {queue}"), async || self.ready(queue).await).await;
        // RabbitMQ may fail to consume from a quorum queue that is just being made, and closes the connection then.
        let (connection, channel, mut stream) = until(&format!("{queue} can be consumed from"), async || {
            let connection = connect(&self.url).await;
            let channel = connection.create_channel().await.ok()?;
            let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
            let consumed = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
            let stream = consumed.await.ok()?;
            Some((connection, channel, stream))
        })
        .await;
        let taken = Arc::<Mutex<Vec<Delivery>>>::default();
        let filled = Arc::clone(&taken);
        tokio::spawn(async move {
            // They live as long as somebody listens.
            let (_connection, _channel) = (connection, channel);
            while let Some(Ok(delivery)) = stream.next().await {
                filled.lock().unwrap().push(delivery);
            }
        });
        taken
    }

    /// Puts a message back that was taken, as it was.
    pub async fn put_back(&self, message: &Delivery) {
        self.publish(&message.data, message.properties.clone()).await;
    }

    /// Deletes all that a worker has declared at the broker of this URL. On a connection of its own, for `Drop`.
    pub async fn sweep(url: &str, prefix: &str) {
        let connection = connect(url).await;
        let Ok(channel) = connection.create_channel().await else { return };
        let requests = format!("{prefix}.requests.{ACCOUNT}");
        let mut queues = vec![
            requests.clone(),
            format!("{requests}.undelivered"),
            format!("{prefix}.tokens.{ACCOUNT}"),
            format!("{prefix}.dead"),
        ];
        queues.extend(DELAYS.iter().map(|seconds| format!("{requests}.delay.{seconds}s")));
        settle(&connection, &queues).await;
        // To delete a queue that is not there is no error to RabbitMQ.
        for queue in queues {
            let _ = channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await;
        }
        for exchange in ["requests", "events", "dead"] {
            let name = format!("{prefix}.{exchange}");
            let _ = channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await;
        }
        let _ = connection.close(200, "done".into()).await;
    }
}

impl Inbox {
    /// All that has come.
    pub fn all(&self) -> Vec<Event> {
        self.those_that(|_| true)
    }

    /// What has come and fits. Only that is copied: the simulator has to answer beside a test that asks again and
    /// again.
    fn those_that(&self, fit: impl Fn(&Event) -> bool) -> Vec<Event> {
        self.0.lock().unwrap().iter().filter(|event| fit(event)).cloned().collect()
    }

    /// Waits for the first that fits.
    pub async fn first(&self, what: &str, fits: impl Fn(&Event) -> bool) -> Event {
        until(what, async || self.those_that(&fits).into_iter().next()).await
    }
}

impl Event {
    /// The CloudEvents type without the program's name: `sync.completed`.
    pub fn kind(&self) -> &str {
        self.body["type"].as_str().and_then(|kind| kind.strip_prefix("teamleader2db.")).expect("a type of ours")
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.body["id"].as_str().expect("an id")
    }

    /// What it is about: a request's id, or the account.
    pub fn subject(&self) -> &str {
        self.body["subject"].as_str().expect("a subject")
    }

    /// Whether it is the last event of a request.
    pub fn is_final(&self) -> bool {
        matches!(self.kind(), "sync.completed" | "sync.partial" | "sync.failed" | "sync.cancelled")
    }

    /// The report on a resource.
    pub fn resource(&self, name: &str) -> &Value {
        let report = &self.body["data"]["resources"][name];
        assert!(report.is_object(), "the event says nothing of {name}: {}", self.body);
        report
    }

    /// A count of a resource.
    pub fn count(&self, resource: &str, what: &str) -> i64 {
        self.resource(resource)[what].as_i64().unwrap_or_else(|| panic!("no {what} of {resource}: {}", self.body))
    }
}

async fn connect(url: &str) -> Connection {
    Connection::connect(url, ConnectionProperties::default()).await.expect("RabbitMQ, as `make test` starts it")
}

/// Waits until the broker has made what a worker declared that was killed meanwhile: at most a second, and not at all
/// where there is nothing.
///
/// RabbitMQ 3.10 breaks when a queue that dead-letters at least once is deleted in the moment in which it is made: its
/// supervisor of that gives up at the second failure in 5 s, is not started again, and from then on no such queue can
/// be made.
async fn settle(connection: &Connection, queues: &[String]) {
    for _ in 0..10 {
        let mut there = 0;
        for queue in queues {
            // The broker closes the channel when the queue is missing.
            let Ok(channel) = connection.create_channel().await else { return };
            let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
            if channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await.is_ok() {
                there += 1;
                let _ = channel.close(200, "done".into()).await;
            }
        }
        if there == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        if there == queues.len() {
            return;
        }
    }
}

/// Makes a queue that goes with the connection, and stores what comes to it.
async fn consume(channel: &Channel, inbox: &Inbox) -> String {
    let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
    let queue = channel.queue_declare("".into(), options, FieldTable::default()).await.unwrap();
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let mut stream =
        channel.basic_consume(queue.name().clone(), "".into(), options, FieldTable::default()).await.unwrap();
    let inbox = inbox.clone();
    tokio::spawn(async move {
        while let Some(Ok(delivery)) = stream.next().await {
            let body = serde_json::from_slice(&delivery.data).expect("an event is JSON");
            let routing_key = delivery.routing_key.to_string();
            inbox.0.lock().unwrap().push(Event { routing_key, properties: delivery.properties, body });
        }
    });
    queue.name().to_string()
}
