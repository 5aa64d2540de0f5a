//! Which queues a reply may go to: the sender names one, and the worker may write to more queues than the sender.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use regex::Regex;

use super::topology::Names;

/// How RabbitMQ begins the names that mean no queue.
const INTERNAL: &str = "amq.rabbitmq.";

/// How it goes on in the address of a client that waits for replies on its own channel (direct reply-to).
const DIRECT: &str = "reply-to.";

/// How RabbitMQ begins the names of queues that it names itself.
const GENERATED: &str = "amq.gen-";

/// The first byte of Erlang's external term format: the address holds the process that waits.
const ERLANG_TERM: u8 = 131;

/// Addresses are in base64; whether with padding depends on RabbitMQ's version.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The addresses to which replies are sent.
#[derive(Clone, Debug)]
pub struct ReplyAddresses {
    names: Names,
    allowed: Option<Regex>,
}

impl ReplyAddresses {
    /// `allowed`: `REPLY_TO_ALLOWED`, which is found anywhere in a name, as in the permissions of RabbitMQ's users.
    /// Without it, names that are neither RabbitMQ's own nor look like a queue of this program are taken.
    pub fn new(names: Names, allowed: Option<Regex>) -> Self {
        Self { names, allowed }
    }

    /// Whether a reply may go to this queue.
    ///
    /// Direct replies have to be well-formed: RabbitMQ 3 closes a connection that publishes to any other one.
    pub fn takes(&self, queue: &str) -> bool {
        if let Some(internal) = queue.strip_prefix(INTERNAL) {
            return internal.strip_prefix(DIRECT).is_some_and(is_direct_address);
        }
        if queue.is_empty() || queue.contains('\0') || self.names.is_own_queue(queue) {
            return false;
        }
        if queue.starts_with(GENERATED) || queue.starts_with(&self.names.airflow_prefix()) {
            return true;
        }
        match &self.allowed {
            Some(pattern) => pattern.is_match(queue),
            None => {
                let foreign = !queue.starts_with("amq.") && !self.names.is_in_namespace(queue);
                // Another installation on the same broker may have another prefix.
                foreign && !queue.contains(".tokens.") && !queue.contains(".requests.")
            }
        }
    }
}

/// The process that waits, and in AMQP 0-9-1 the key of its channel: `g1h2AA5yZXBs…ABNJg==.xLqPKs4J…==`.
fn is_direct_address(address: &str) -> bool {
    let (process, key) = match address.split_once('.') {
        Some((process, key)) => (process, Some(key)),
        None => (address, None),
    };
    let decoded = |part: &str| BASE64.decode(part).ok().filter(|bytes| !bytes.is_empty());
    decoded(process).is_some_and(|term| term[0] == ERLANG_TERM) && key.is_none_or(|key| decoded(key).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(allowed: Option<&str>) -> ReplyAddresses {
        let names = Names::new("teamleader", "default".parse().expect("an account"));
        ReplyAddresses::new(names, allowed.map(|pattern| Regex::new(pattern).expect("a pattern")))
    }

    const TAKEN: [&str; 6] = [
        "amq.rabbitmq.reply-to.g1h3AA5yZXBseUAyODEyMTU0NgAAChkAAAAAYhq93w==.nJvoqd2GvfmEp/E5xZ9gVQ==",
        "amq.rabbitmq.reply-to.g1h2AA5yZXBseUA2ODc4MTMzNAAAcEoAAAAAaS8eQg==",
        "amq.gen-JzTY20BRgKO-HjmUJj0wLg",
        "teamleader.airflow.4adde384-0d0b-4b8a-8ab4-1a6a6c04fc5f",
        "replies",
        "orchestrator.replies",
    ];

    const REFUSED: [&str; 14] = [
        "",
        "with\0zero",
        "amq.rabbitmq.reply-to",
        "amq.rabbitmq.reply-to.",
        "amq.rabbitmq.reply-to.x.y",
        "amq.rabbitmq.reply-to.AAAA.AAAA",
        "amq.rabbitmq.reply-to.g1h3AA5yZXBseUAyODEyMTU0NgAAChkAAAAAYhq93w==.",
        "amq.rabbitmq.trace",
        "teamleader.tokens.default",
        "teamleader.requests.another.undelivered",
        "teamleader.dead",
        "teamleader.anything",
        "other.tokens.default",
        "other.requests.default",
    ];

    #[test]
    fn a_sender_cannot_choose_a_queue_of_the_broker_or_of_this_program() {
        let addresses = addresses(None);
        for queue in TAKEN {
            assert!(addresses.takes(queue), "{queue}");
        }
        for queue in REFUSED {
            assert!(!addresses.takes(queue), "{queue:?}");
        }
    }

    #[test]
    fn a_pattern_takes_the_place_of_the_default_but_never_names_queues_of_this_program() {
        let strict = addresses(Some(r"^replies\."));
        assert!(strict.takes("replies.nightly"));
        assert!(!strict.takes("orchestrator.replies"));
        assert!(strict.takes(TAKEN[0]) && strict.takes(TAKEN[2]) && strict.takes(TAKEN[3]), "always taken");
        let wide = addresses(Some(""));
        assert!(wide.takes("teamleader.replies"), "the operator says so");
        for queue in &REFUSED[..11] {
            assert!(!wide.takes(queue), "{queue:?}");
        }
    }
}
