//! Exchanges and queues: their names, and how they are declared.

use std::collections::BTreeMap;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use super::link::{self, AmqpError, REPLY_TIMEOUT, Refusal};
use crate::ids::Account;
use crate::retry::DELAY_STEPS;

/// Deliveries of one message after which the broker itself gives it up. A backstop only: every lost connection counts.
const DELIVERY_LIMIT: i64 = 1000;

/// The highest that every version takes.
const NO_LIMIT: i64 = i32::MAX as i64;

/// Whether the worker makes missing exchanges and queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Declare {
    /// Declare everything; those that exist must have the same settings.
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

    /// Where the broker puts requests that it gives up, until the worker has reported their end.
    pub fn undelivered_queue(&self) -> String {
        format!("{}.requests.{}.undelivered", self.prefix, self.account)
    }

    /// The fanout exchange, and the queue bound to it, for what cannot be processed.
    pub fn dead(&self) -> String {
        format!("{}.dead", self.prefix)
    }

    /// The exchange, there while a command goes through the dead letters, by which those that stay return to their
    /// queue and to no other.
    pub fn dead_again(&self) -> String {
        format!("{}.again", self.dead())
    }

    /// The queue that exists while a command goes through the dead letters.
    pub fn dead_lock(&self) -> String {
        format!("{}.lock", self.dead())
    }

    /// The topic exchange of events.
    pub fn events_exchange(&self) -> String {
        format!("{}.events", self.prefix)
    }

    /// The queue of token pairs that could not be stored.
    pub fn tokens_queue(&self) -> String {
        format!("{}.tokens.{}", self.prefix, self.account)
    }

    /// The queue that exists while a process takes escrowed pairs.
    pub fn tokens_lock(&self) -> String {
        format!("{}.lock", self.tokens_queue())
    }

    /// How the names of the queues begin that Airflow's tasks wait for replies on.
    pub fn airflow_prefix(&self) -> String {
        format!("{}.airflow.", self.prefix)
    }

    /// Whether a name begins with the prefix, so that it may be of this program.
    pub fn is_in_namespace(&self, name: &str) -> bool {
        name.strip_prefix(&self.prefix).is_some_and(|rest| rest.starts_with('.'))
    }

    /// Whether a queue of this program has this name, of any account.
    pub fn is_own_queue(&self, name: &str) -> bool {
        let within =
            |whole: &str| name.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let requests = self.requests_exchange();
        [requests, self.dead(), format!("{}.tokens", self.prefix)].iter().any(|own| within(own))
    }

    /// The account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    fn queues(&self) -> Vec<(String, Arguments)> {
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
        // What these hold is looked at and put back again and again; without a limit of its own RabbitMQ 4 drops it
        // after 20 times.
        let unlimited =
            || table([("x-queue-type", text("quorum")), ("x-delivery-limit", AMQPValue::LongLongInt(NO_LIMIT))]);
        let mut queues = vec![
            (self.dead(), unlimited()),
            (self.undelivered_queue(), unlimited()),
            (self.tokens_queue(), unlimited()),
            (self.requests_queue(), requests),
        ];
        queues.extend(DELAY_STEPS.iter().map(delay));
        queues
    }

    /// Declares or checks everything. A queue that stands with other settings goes on to be used where the worker can
    /// do with them, and is returned; one that it cannot use is an error, with the way out.
    pub async fn declare(&self, connection: &Connection, how: Declare) -> Result<Vec<Differing>, AmqpError> {
        let passive = how == Declare::Check;
        let exchanges = [
            (self.requests_exchange(), ExchangeKind::Direct),
            (self.events_exchange(), ExchangeKind::Topic),
            (self.dead(), ExchangeKind::Fanout),
        ];
        let mut channel = link::with_deadline(REPLY_TIMEOUT, connection.create_channel()).await?;
        for (exchange, kind) in exchanges {
            let options = ExchangeDeclareOptions { passive, durable: true, ..Default::default() };
            let declared = channel.exchange_declare(exchange.as_str().into(), kind, options, FieldTable::default());
            link::with_deadline(REPLY_TIMEOUT, declared)
                .await
                .map_err(|error| explain(error, "exchange", &exchange, how))?;
        }
        let mut differing = Vec::new();
        for (queue, arguments) in self.queues() {
            let mut arguments = arguments;
            let mut rounds = 0;
            // RabbitMQ names only the first argument that differs. Each that the worker can do with is declared as it
            // stands, until nothing differs any more.
            while let Err(error) = declare_queue(&channel, &queue, arguments.clone(), passive).await {
                rounds += 1;
                let Some(Difference { argument, value }) = difference(&error)
                    .filter(|found| rounds <= MAX_ROUNDS && !self.is_essential(&queue, &found.argument))
                else {
                    return Err(explain(error, "queue", &queue, how));
                };
                // The broker has closed the channel. That the queue is there is certain: its settings were compared.
                channel = link::with_deadline(REPLY_TIMEOUT, connection.create_channel()).await?;
                match value {
                    Some(value) => arguments.insert(argument.as_str().into(), value),
                    None => arguments.remove(argument.as_str()),
                };
                differing.push(Differing { queue: queue.clone(), argument });
            }
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
                link::with_deadline(REPLY_TIMEOUT, bound)
                    .await
                    .map_err(|error| explain(error, "queue", &queue, how))?;
            }
        }
        link::with_deadline(REPLY_TIMEOUT, channel.close(200, "done".into())).await?;
        Ok(differing)
    }

    /// Whether the worker cannot do with another value of an argument. An operator may want a limit of the dead
    /// letters.
    fn is_essential(&self, queue: &str, argument: &str) -> bool {
        let keeps_all = queue == self.tokens_queue() || queue == self.undelivered_queue();
        ESSENTIAL.contains(&argument) || keeps_all && LIMITS.contains(&argument)
    }

    /// A policy by which the broker drops no message of the queues that have to keep every one, whatever they were
    /// declared with.
    pub fn policy_without_limit(&self) -> String {
        let prefix = self.prefix.replace('.', "\\.");
        format!(
            "rabbitmqctl set_policy --apply-to queues {}-no-delivery-limit \
             '^{prefix}\\.(dead$|tokens\\.|requests\\..*\\.undelivered$)' '{{\"delivery-limit\": {NO_LIMIT}}}'",
            self.prefix
        )
    }
}

async fn declare_queue(channel: &Channel, queue: &str, arguments: Arguments, passive: bool) -> Result<(), AmqpError> {
    let options = QueueDeclareOptions { passive, durable: true, ..Default::default() };
    link::with_deadline(REPLY_TIMEOUT, channel.queue_declare(queue.into(), options, arguments.into())).await.map(drop)
}

/// A queue that stands with another setting than the worker declares, and is used as it is. Settings of a queue never
/// change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differing {
    /// The queue.
    pub queue: String,
    /// A setting that differs, as the broker names it.
    pub argument: String,
}

/// The settings without which the worker does not work: one consumer at a time, where messages go when their time is
/// up, and that none is lost.
const ESSENTIAL: [&str; 8] = [
    "durable",
    "exclusive",
    "auto_delete",
    "x-single-active-consumer",
    "x-message-ttl",
    "x-expires",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
];

/// Of the queues that have to keep every message besides: with a limit they drop the oldest, or refuse the next.
const LIMITS: [&str; 3] = ["x-max-length", "x-max-length-bytes", "x-overflow"];

/// How often one queue is declared. Its type knows fewer arguments.
const MAX_ROUNDS: usize = 32;

/// The arguments of a queue.
type Arguments = BTreeMap<ShortString, AMQPValue>;

/// An argument of a queue that is not as declared.
#[derive(Debug, PartialEq)]
struct Difference {
    argument: String,
    /// What the queue has; `None`: nothing.
    value: Option<AMQPValue>,
}

/// The first difference of a queue that stands, if that is why the broker refused to declare it.
fn difference(error: &AmqpError) -> Option<Difference> {
    let AmqpError::Broker(error) = error else { return None };
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    if *error.kind() != AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) {
        return None;
    }
    difference_in(error.get_message().as_str())
}

/// The same in the broker's words: `inequivalent arg 'x-delivery-limit' for queue 'teamleader.dead' in vhost '/':
/// received the value '1000' of type 'signedint' but current is none`. Where both have a value, no type is named.
fn difference_in(words: &str) -> Option<Difference> {
    let (_, rest) = words.split_once("inequivalent arg '")?;
    let (argument, rest) = rest.split_once('\'')?;
    // Of a long name the broker cuts off the end. If the guess is wrong, the same argument differs again.
    let current = rest.rsplit_once(" but current is ").map_or("none", |(_, current)| current);
    let (quoted, kind) = current
        .strip_prefix("the value ")
        .unwrap_or(current)
        .split_once(" of type ")
        .map_or_else(|| (current, ""), |(quoted, kind)| (quoted, kind));
    let value = quoted.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).map(|value| match value {
        _ if kind == "'longstr'" => text(value),
        "true" | "false" => AMQPValue::Boolean(value == "true"),
        _ => value.parse().map_or_else(|_| text(value), AMQPValue::LongLongInt),
    });
    Some(Difference { argument: argument.to_owned(), value })
}

fn explain(error: AmqpError, kind: &str, name: &str, how: Declare) -> AmqpError {
    let AmqpError::Broker(error) = error else {
        return error;
    };
    let Some(refusal) = link::refusal(&error).filter(|_| error.is_amqp_soft_error()) else {
        return AmqpError::Broker(error);
    };
    let fix = match (refusal, how) {
        (Refusal::Access, Declare::Create) => format!(
            "The user may not declare it: grant configure on {name}, or let another user declare everything and set \
             AMQP_DECLARE=check"
        ),
        (Refusal::Access, Declare::Check) => format!("The user may not use it: grant read and write on {name}"),
        (Refusal::Missing, _) => {
            format!("AMQP_DECLARE=check only checks: declare the {kind} first, or set AMQP_DECLARE=create once")
        }
        (Refusal::Vhost | Refusal::Other, _) => format!(
            "It was declared with other settings: stop the workers, empty it (move its messages with a shovel), delete \
             the {kind}, and start again"
        ),
    };
    AmqpError::Topology { what: format!("the {kind} {name}"), why: error.to_string(), fix }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> Arguments {
    entries.into_iter().map(|(key, value)| (key.into(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_words_say_what_a_queue_has() {
        let int = AMQPValue::LongLongInt;
        for (current, value) in [
            ("received the value '1000' of type 'signedint' but current is none", None),
            ("received none but current is the value '5' of type 'signedint'", Some(int(5))),
            ("received none but current is the value '5' of type 'longstr'", Some(text("5"))),
            ("received '1000' but current is '5'", Some(int(5))),
            ("received 'true' but current is 'false'", Some(AMQPValue::Boolean(false))),
            ("received 'reject-publish' but current is 'drop-head'", Some(text("drop-head"))),
            ("received 'reject-publ...", None),
            ("received '1000' but current is 'dr...", None),
        ] {
            let words =
                format!("PRECONDITION_FAILED - inequivalent arg 'x-some' for queue 'a' in vhost '/': {current}");
            assert_eq!(difference_in(&words), Some(Difference { argument: "x-some".to_owned(), value }), "{current}");
        }
        assert_eq!(difference_in("RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'a'"), None);
    }
}
