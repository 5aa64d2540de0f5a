//! Exchanges and queues: their names, and how they are declared.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ExchangeKind};

use super::link::{self, AmqpError, REPLY_TIMEOUT, Refusal};
use crate::ids::Account;
use crate::retry::DELAY_STEPS;

/// Deliveries of one message after which the broker itself gives it up. A backstop only: every lost connection counts.
const DELIVERY_LIMIT: i64 = 1000;

/// The highest that every version takes.
const NO_LIMIT: i64 = i32::MAX as i64;

/// Whether the worker makes what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Declare {
    /// Declare everything; what is there must have the same settings.
    Create,
    /// Never declare, only check that everything is there.
    Check,
}

/// The names, made from `AMQP_PREFIX` and the account.
#[derive(Clone, Debug)]
pub struct Names {
    prefix: String,
    account: Account,
}

impl Names {
    /// For an account.
    pub fn new(prefix: &str, account: Account) -> Self {
        Self { prefix: prefix.to_owned(), account }
    }

    /// The direct exchange that requests are published to, with the account as routing key.
    pub fn requests_exchange(&self) -> String {
        format!("{}.requests", self.prefix)
    }

    /// The queue of this account's requests.
    pub fn requests_queue(&self) -> String {
        format!("{}.requests.{}", self.prefix, self.account)
    }

    /// The queue in which a request waits for this long.
    pub fn delay_queue(&self, seconds: u32) -> String {
        format!("{}.requests.{}.delay.{seconds}s", self.prefix, self.account)
    }

    /// Where the broker puts requests that it gives up, until the worker has told whoever waits for them.
    pub fn undelivered_queue(&self) -> String {
        format!("{}.requests.{}.undelivered", self.prefix, self.account)
    }

    /// The fanout exchange, and the queue bound to it, for what cannot be processed.
    pub fn dead(&self) -> String {
        format!("{}.dead", self.prefix)
    }

    /// The topic exchange of events.
    pub fn events_exchange(&self) -> String {
        format!("{}.events", self.prefix)
    }

    /// What the routing keys of this account's events fit: `sync.<account>.completed`.
    pub fn events_pattern(&self) -> String {
        format!("*.{}.#", self.account)
    }

    /// The queue of token pairs that could not be stored.
    pub fn tokens_queue(&self) -> String {
        format!("{}.tokens.{}", self.prefix, self.account)
    }

    /// The queue that exists while a process takes parked pairs.
    pub fn tokens_lock(&self) -> String {
        format!("{}.lock", self.tokens_queue())
    }

    /// The account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    fn queues(&self) -> Vec<(String, FieldTable)> {
        let quorum = || table([("x-queue-type", text("quorum"))]);
        // At-least-once: the broker keeps the message until the next queue has confirmed it. That needs reject-publish.
        let dead_lettered_to = |queue: &str, more: Vec<(&str, AMQPValue)>| {
            let mut arguments = table([
                ("x-queue-type", text("quorum")),
                ("x-dead-letter-exchange", text("")),
                ("x-dead-letter-routing-key", text(queue)),
                ("x-dead-letter-strategy", text("at-least-once")),
                ("x-overflow", text("reject-publish")),
            ]);
            for (key, value) in more {
                arguments.insert(key.into(), value);
            }
            arguments
        };
        let requests = dead_lettered_to(
            &self.undelivered_queue(),
            vec![
                ("x-single-active-consumer", AMQPValue::Boolean(true)),
                ("x-delivery-limit", AMQPValue::LongLongInt(DELIVERY_LIMIT)),
            ],
        );
        let delay = |seconds: &u32| {
            let ttl = AMQPValue::LongLongInt(i64::from(*seconds) * 1000);
            (self.delay_queue(*seconds), dead_lettered_to(&self.requests_queue(), vec![("x-message-ttl", ttl)]))
        };
        // What cannot be told of is put back again and again; without a limit of its own RabbitMQ 4 drops it after 20 times.
        let mut undelivered = quorum();
        undelivered.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(NO_LIMIT));
        let mut queues = vec![
            (self.dead(), quorum()),
            (self.undelivered_queue(), undelivered),
            (self.tokens_queue(), quorum()),
            (self.requests_queue(), requests),
        ];
        queues.extend(DELAY_STEPS.iter().map(delay));
        queues
    }

    /// Declares or checks everything. A queue that stands with other settings is named, with the way out.
    pub async fn declare(&self, connection: &Connection, how: Declare) -> Result<(), AmqpError> {
        let passive = how == Declare::Check;
        let exchanges = [
            (self.requests_exchange(), ExchangeKind::Direct),
            (self.events_exchange(), ExchangeKind::Topic),
            (self.dead(), ExchangeKind::Fanout),
        ];
        let channel = link::within(REPLY_TIMEOUT, connection.create_channel()).await?;
        for (exchange, kind) in exchanges {
            let options = ExchangeDeclareOptions { passive, durable: true, ..Default::default() };
            let declared = channel.exchange_declare(exchange.as_str().into(), kind, options, FieldTable::default());
            link::within(REPLY_TIMEOUT, declared).await.map_err(|error| explain(error, "exchange", &exchange, how))?;
        }
        for (queue, arguments) in self.queues() {
            let options = QueueDeclareOptions { passive, durable: true, ..Default::default() };
            let declared = channel.queue_declare(queue.as_str().into(), options, arguments);
            link::within(REPLY_TIMEOUT, declared).await.map_err(|error| explain(error, "queue", &queue, how))?;
        }
        if how == Declare::Create {
            let account = self.account.as_str();
            for (queue, exchange, key) in
                [(self.dead(), self.dead(), ""), (self.requests_queue(), self.requests_exchange(), account)]
            {
                let bound = channel.queue_bind(
                    queue.as_str().into(),
                    exchange.as_str().into(),
                    key.into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                );
                link::within(REPLY_TIMEOUT, bound).await.map_err(|error| explain(error, "queue", &queue, how))?;
            }
        }
        link::within(REPLY_TIMEOUT, channel.close(200, "done".into())).await
    }
}

fn explain(error: AmqpError, kind: &str, name: &str, how: Declare) -> AmqpError {
    let AmqpError::Broker(error) = error else {
        return error;
    };
    let Some(refusal) = link::refusal(&error).filter(|_| error.is_amqp_soft_error()) else {
        return AmqpError::Broker(error);
    };
    let mend = match (refusal, how) {
        (Refusal::Access, Declare::Create) => format!(
            "The user may not declare it: grant configure on {name}, or let another user declare everything and set AMQP_DECLARE=check"
        ),
        (Refusal::Access, Declare::Check) => format!("The user may not use it: grant read and write on {name}"),
        (Refusal::Missing, _) => {
            format!("AMQP_DECLARE=check only checks: declare the {kind} first, or set AMQP_DECLARE=create once")
        }
        (Refusal::Vhost | Refusal::Other, _) => format!(
            "It was declared with other settings: stop the workers, empty it (move its messages with a shovel), delete the {kind}, \
             and start again"
        ),
    };
    AmqpError::Topology { what: format!("the {kind} {name}"), why: error.to_string(), mend }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert(key.into(), value);
    }
    table
}
