//! Connections to RabbitMQ.

use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, ErrorKind};
use secrecy::{ExposeSecret, SecretString};

use super::screen;
use super::server::Server;

/// Heartbeats, unless the URL says otherwise: a dead peer is noticed after about two of them.
const HEARTBEAT_SECONDS: u16 = 10;

/// Connecting, with login, takes at most this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Any answer of the broker is waited for at most this long: confirms, declarations, acks.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// Closing a connection waits for the broker's goodbye at most this long, since it does not matter.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// At most this many bytes of a message's body are taken. A request may have no more, and a token pair has some
/// hundreds.
pub const BODY_BOUND: u64 = 64 * 1024;

/// What can go wrong with the broker.
#[derive(Debug, thiserror::Error)]
pub enum AmqpError {
    /// The URL cannot be read. It may hold a password, so it is not shown.
    #[error("AMQP_URL: {0}")]
    Url(&'static str),
    /// There is no connection: where to, what happened, and what to do. Names neither user nor password.
    #[error("RabbitMQ at {address}: {cause}: {advice}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What happened.
        cause: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// The broker, or the way to it.
    #[error("RabbitMQ: {0}")]
    Broker(#[from] lapin::Error),
    /// No answer in time; the broker may be blocked (memory or disk alarm) or away.
    #[error("RabbitMQ did not answer within {} s: is it blocked by a memory or disk alarm?", .0.as_secs())]
    NoAnswer(Duration),
    /// A message that must not be lost found no queue.
    #[error("no queue takes messages for {0}: was it deleted?")]
    Unroutable(String),
    /// The broker refused a message.
    #[error("RabbitMQ refused a message for {0}: the queue may be full")]
    Refused(String),
    /// An escrowed token pair is still needed and cannot be read.
    #[error("an escrowed token pair cannot be stored: {0}")]
    Escrowed(String),
    /// Another process is at the escrowed token pairs, or died at it a moment ago.
    #[error("another process is taking the escrowed token pairs")]
    EscrowedElsewhere,
    /// A queue or exchange is not as it has to be.
    #[error("{what} cannot be used as it stands: {why}. {fix}")]
    Topology {
        /// The queue or exchange.
        what: String,
        /// The broker's words.
        why: String,
        /// The way out.
        fix: String,
    },
    /// The connection or the consumer ended.
    #[error("RabbitMQ ended the delivery of messages")]
    Ended,
}

/// Why the broker does not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 403: the login, or a permission.
    Access,
    /// 404: there is no such queue or exchange.
    Missing,
    /// 530: there is no such vhost, or the user has no permissions in it.
    Vhost,
    /// Anything else, such as 406: other settings.
    Other,
}

/// Why the broker refused, if it is the broker's refusal.
pub fn refusal(error: &lapin::Error) -> Option<Refusal> {
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    Some(match error.get_id() {
        403 => Refusal::Access,
        404 => Refusal::Missing,
        530 => Refusal::Vhost,
        _ => Refusal::Other,
    })
}

/// Opens a connection that does not recover by itself: after a recovery lapin's stream neither ends nor errs, and an
/// old ack does nothing. Its user opens a new one. Of a message's body it takes the first [`BODY_BOUND`] bytes.
pub async fn connect(url: &SecretString, name: &str) -> Result<Connection, AmqpError> {
    connect_for_bodies_of(BODY_BOUND, url, name).await
}

/// The same with another bound for the bodies of messages.
pub async fn connect_for_bodies_of(bytes: u64, url: &SecretString, name: &str) -> Result<Connection, AmqpError> {
    connect_and_ask(bytes, url, name).await.map(|(connection, _)| connection)
}

/// The same, and what the broker says it is.
pub async fn connect_and_ask(bytes: u64, url: &SecretString, name: &str) -> Result<(Connection, Server), AmqpError> {
    let mut uri = parse(url).map_err(AmqpError::Url)?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let (address, vhost) = (format!("{}:{}", uri.authority.host, uri.authority.port), uri.vhost.clone());
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, screen::connect(uri, properties, bytes)).await;
    let (cause, advice) = match connected {
        Ok(Ok(connected)) => return Ok(connected),
        Ok(Err(error)) => why_not(&error, &vhost),
        Err(_) => (format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()), WRONG_PLACE),
    };
    Err(AmqpError::Unreachable { address, cause, advice })
}

/// Whether a broker may be reached by this URL, whatever comes of trying; else why not.
pub fn check_url(url: &SecretString) -> Result<(), &'static str> {
    parse(url).map(drop)
}

fn parse(url: &SecretString) -> Result<AMQPUri, &'static str> {
    let text = url.expose_secret();
    if !(text.starts_with("amqp://") || text.starts_with("amqps://")) {
        return Err("it is a URL that begins with amqp:// or amqps://, like amqp://user:password@host:5672/vhost");
    }
    let form = "it is a URL like amqp://user:password@host:5672/vhost, and this one cannot be read; a character of a \
                password that is no letter or digit is written like %40";
    let uri: AMQPUri = text.parse().map_err(|_: String| form)?;
    match uri.authority.port {
        0 => Err("it is a URL like amqp://user:password@host:5672/vhost, and no broker has the port 0"),
        _ => Ok(uri),
    }
}

/// What to do where nothing answers.
const WRONG_PLACE: &str = "is the broker up, and are host and port in AMQP_URL right?";

/// What to do where something else answers than is expected.
const WRONG_PORT: &str = "amqps:// in AMQP_URL needs the broker's TLS port, mostly 5671, and amqp:// the other one, \
    mostly 5672";

/// Why there is no connection, and what to do. The broker's own words may name the user.
fn why_not(error: &lapin::Error, vhost: &str) -> (String, &'static str) {
    match (refusal(error), error.kind()) {
        (Some(Refusal::Access), _) => (
            "the login is refused".to_owned(),
            "fix user and password in AMQP_URL (guest may only log in from the broker's own machine): `rabbitmqctl \
             authenticate_user …`",
        ),
        (Some(Refusal::Vhost), _) => (
            format!("the vhost {vhost:?} is not there, or closed to this user"),
            "fix the vhost at the end of AMQP_URL (%2f is /), or let the user in: `rabbitmqctl set_permissions \
             --vhost …`",
        ),
        (Some(Refusal::Missing | Refusal::Other), _) => (error.to_string(), "see the broker's log"),
        (None, ErrorKind::IOError(error)) => match error.kind() {
            std::io::ErrorKind::InvalidData if error.to_string().contains("certificate") => (
                error.to_string(),
                "with a certificate authority of your own: SSL_CERT_FILE; and the host in AMQP_URL has to be the \
                 certificate's",
            ),
            // What rustls makes of bytes that are no TLS.
            std::io::ErrorKind::InvalidData => (format!("it does not speak TLS there ({error})"), WRONG_PORT),
            // What a TLS port, or another server, does to a client that does not speak its language.
            std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::ConnectionAborted
            | std::io::ErrorKind::UnexpectedEof => (lower_first(&error.to_string()), WRONG_PORT),
            _ => (lower_first(&error.to_string()), WRONG_PLACE),
        },
        (None, _) => (lower_first(&error.to_string()), WRONG_PORT),
    }
}

/// "Connection refused" begins no sentence here.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Closes a connection; messages in hand on it go back to their queue, with or without the broker's goodbye.
pub async fn close(connection: &Connection) {
    let _ = with_deadline(GOODBYE_TIMEOUT, connection.close(200, "done".into())).await;
}

/// Bounds the wait for an answer of the broker.
pub async fn with_deadline<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, AmqpError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(AmqpError::NoAnswer(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn why(url: &str) -> String {
        connect(&url.to_owned().into(), "test").await.expect_err("no broker").to_string()
    }

    #[tokio::test]
    async fn a_refused_connection_names_address_cause_and_advice_and_no_password() {
        assert_eq!(
            why("amqp://anna:hunter2@127.0.0.1:9/%2f").await,
            "RabbitMQ at 127.0.0.1:9: connection refused (os error 111): is the broker up, and are host and port in \
             AMQP_URL right?"
        );
    }

    #[tokio::test]
    async fn another_server_than_a_broker_is_not_taken_for_none() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            }
        });
        for scheme in ["amqp", "amqps"] {
            let said = why(&format!("{scheme}://anna:hunter2@{address}/%2f")).await;
            assert!(said.starts_with(&format!("RabbitMQ at {address}: ")) && said.contains("TLS port"), "{said}");
            assert!(!said.contains("hunter2") && !said.contains("anna"), "{said}");
        }
    }

    #[test]
    fn a_url_that_no_try_can_make_work_is_refused_and_not_shown() {
        for bad in [
            "",
            "http://hunter2",
            "amqp:/hunter2",
            "amqp:hunter2",
            "AMQP_URL",
            "amqp://a:hunter2@host:99999/%2f",
            "amqp://a:hunter2@host:0/%2f",
            "amqp://a:hunter2@host/%2f?heartbeat=soon",
        ] {
            let refused = check_url(&bad.to_owned().into()).expect_err(bad);
            assert!(refused.contains("amqp://user:password@host:5672/vhost") && !refused.contains("hunter2"));
        }
        for good in ["amqp://host", "amqps://a:b@host:5671/%2f?heartbeat=2", "amqp://a:p%40ss@host:5672/vhost"] {
            assert_eq!(check_url(&good.to_owned().into()), Ok(()), "{good}");
        }
    }
}
