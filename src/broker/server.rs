//! What the broker says it is when a client connects, and what is known of that version.

/// The oldest version that can do what the queues are declared with: dead-lettering at least once.
const OLDEST: Version = Version(3, 10, 0);

/// The version since which quorum queues have a delivery limit of their own, and messages are bounded more tightly.
const FOUR: Version = Version(4, 0, 0);

/// The version since which a quorum queue itself looks for deliveries that are not acknowledged, and the first one that
/// is not known to stop delivering to a single active consumer after that (rabbitmq-server#17317).
const TIMEOUTS_IN_QUEUES: Version = Version(4, 3, 0);
const NOT_KNOWN_TO_STOP: Version = Version(4, 3, 6);

/// A broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// `RabbitMQ`.
    pub product: String,
    /// `4.0.5`.
    pub version: String,
}

/// Major, minor and patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

impl Server {
    /// Whether the version is too old for the queues; `None`: it is not known.
    pub fn is_too_old(&self) -> Option<bool> {
        self.rabbitmq().map(|version| version < OLDEST)
    }

    /// The oldest version that is not too old.
    pub fn oldest() -> String {
        format!("{}.{}", OLDEST.0, OLDEST.1)
    }

    /// What it bounds unless it is configured otherwise, which AMQP does not show. Empty: that is not known.
    pub fn limits(&self) -> Vec<&'static str> {
        let Some(version) = self.rabbitmq() else { return Vec::new() };
        vec![
            if version >= FOUR { "messages of at most 16 MiB" } else { "messages of at most 128 MiB" },
            if version >= TIMEOUTS_IN_QUEUES {
                "an acknowledgement within 30 minutes, else the queue cancels the consumer"
            } else {
                "an acknowledgement within 30 minutes, else the channel is closed"
            },
            if version >= FOUR {
                "20 returns of a message to a quorum queue that names no delivery limit; this program's queues name one"
            } else {
                "any number of returns of a message to a quorum queue that names no delivery limit"
            },
        ]
    }

    /// Whether this version is known to stop delivering once each consumer of a queue has held a message for too long.
    pub fn may_stop_delivering(&self) -> bool {
        self.rabbitmq().is_some_and(|version| (TIMEOUTS_IN_QUEUES..NOT_KNOWN_TO_STOP).contains(&version))
    }

    /// The version, of RabbitMQ itself.
    fn rabbitmq(&self) -> Option<Version> {
        if self.product != "RabbitMQ" {
            return None;
        }
        // `4.0.0-rc.1` and `3.13.7+4.g123` are of the version that they lead to, or come from.
        let mut numbers = self.version.split(['.', '-', '+']).map(|number| number.parse().ok());
        Some(Version(numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(version: &str) -> Server {
        Server { product: "RabbitMQ".to_owned(), version: version.to_owned() }
    }

    #[test]
    fn what_is_known_goes_by_the_version() {
        assert_eq!(server("3.9.29").is_too_old(), Some(true));
        for (version, bound, returns, stops) in [
            ("3.10.8", "128 MiB", "any number", false),
            ("4.0.0-rc.1", "16 MiB", "20 returns", false),
            ("4.2.9", "16 MiB", "20 returns", false),
            ("4.3.2", "16 MiB", "20 returns", true),
            ("4.3.6", "16 MiB", "20 returns", false),
            ("10.0", "16 MiB", "20 returns", false),
        ] {
            let server = server(version);
            assert_eq!((server.is_too_old(), server.may_stop_delivering()), (Some(false), stops), "{version}");
            let limits = server.limits().join("; ");
            assert!(limits.contains(bound) && limits.contains(returns), "{version}: {limits}");
        }
    }

    #[test]
    fn of_another_broker_nothing_is_known() {
        let other = Server { product: "LavinMQ".to_owned(), version: "2.1.0".to_owned() };
        assert_eq!((other.is_too_old(), other.limits().len(), other.may_stop_delivering()), (None, 0, false));
        assert_eq!(server("unknown").is_too_old(), None);
        assert_eq!(Server::default().is_too_old(), None);
    }
}
