//! A minimal AMQP 0-9-1 publisher: it sends what a client library refuses to build.

use std::collections::BTreeMap;
use std::{fmt, io};

use lapin::uri::AMQPUri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::waiting::DEADLINE;

/// RabbitMQ's default.
const FRAME_MAX: usize = 131_072;

/// Type, channel, size and the byte at the end.
const FRAME_OVERHEAD: usize = 8;

/// A property of a message, by the place of its flag from the highest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    ContentType,
    ContentEncoding,
    Headers,
    DeliveryMode,
    Priority,
    CorrelationId,
    ReplyTo,
    Expiration,
    MessageId,
    Timestamp,
    Type,
    UserId,
    AppId,
    ClusterId,
}

/// The properties of a message as they are on the wire, whatever they hold.
#[derive(Clone, Default)]
pub struct RawProperties(BTreeMap<Property, Vec<u8>>);

impl fmt::Debug for RawProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(property, bytes)| (property, bytes.escape_ascii().to_string())))
            .finish()
    }
}

/// A connection with one channel, in confirm mode.
pub struct RawPublisher {
    stream: TcpStream,
}

/// A method: class and number.
type Method = (u16, u16);

/// A length of one byte and a text, which is at most 255 bytes long.
pub fn short_string(text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short string");
    [&[length], text].concat()
}

/// A length of four bytes and a content.
pub fn long_string(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("a long string");
    [&length.to_be_bytes(), content].concat()
}

/// An entry of a table; `kind` is the letter of the value's type.
pub fn entry(name: &[u8], kind: u8, value: &[u8]) -> Vec<u8> {
    [&short_string(name), &[kind][..], value].concat()
}

/// An entry of a table that holds `depth` arrays in each other.
pub fn nested_arrays(name: &[u8], depth: usize) -> Vec<u8> {
    // From the outside in: each array is the one within it and five bytes more.
    let mut value = Vec::with_capacity(5 * depth);
    for within in (0..depth).rev() {
        value.push(b'A');
        value.extend_from_slice(&u32::try_from(5 * within).expect("it fits a frame").to_be_bytes());
    }
    [short_string(name), value].concat()
}

impl RawProperties {
    /// With this property as it is on the wire.
    pub fn raw(mut self, property: Property, bytes: Vec<u8>) -> Self {
        self.0.insert(property, bytes);
        self
    }

    /// With a property that is a short string.
    pub fn short(self, property: Property, text: &[u8]) -> Self {
        self.raw(property, short_string(text))
    }

    /// With these entries as headers.
    pub fn headers(self, entries: &[u8]) -> Self {
        self.raw(Property::Headers, long_string(entries))
    }

    fn encoded(&self) -> Vec<u8> {
        let flags = self.0.keys().fold(0_u16, |flags, property| flags | (1 << (15 - *property as u16)));
        let mut bytes = flags.to_be_bytes().to_vec();
        bytes.extend(self.0.values().flatten());
        bytes
    }
}

impl RawPublisher {
    /// Connects with user, password and vhost of a URL without TLS.
    pub async fn to(url: &str) -> Self {
        let uri: AMQPUri = url.parse().unwrap();
        let stream = TcpStream::connect((uri.authority.host.as_str(), uri.authority.port)).await.unwrap();
        let mut this = Self { stream };
        this.stream.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
        this.expect((10, 10)).await;
        let user = uri.authority.userinfo;
        let login = [b"\0", user.username.as_bytes(), b"\0", user.password.as_bytes()].concat();
        let login = [long_string(b""), short_string(b"PLAIN"), long_string(&login), short_string(b"en_US")].concat();
        this.call(0, (10, 11), &login, (10, 30)).await;
        // One channel, frames of the default, no heartbeats.
        let tune = [&[0, 1][..], &u32::try_from(FRAME_MAX).unwrap().to_be_bytes(), &[0, 0]].concat();
        this.method(0, (10, 31), &tune).await.unwrap();
        this.call(0, (10, 40), &[short_string(uri.vhost.as_bytes()), vec![0, 0]].concat(), (10, 41)).await;
        this.call(1, (20, 10), &[0], (20, 11)).await;
        this.call(1, (85, 10), &[0], (85, 11)).await;
        this
    }

    /// Publishes a message, and waits for what the broker makes of it: confirmed, or the method with which it refuses.
    pub async fn publish(
        &mut self,
        exchange: &str,
        routing_key: &[u8],
        properties: &RawProperties,
        body: &[u8],
    ) -> Result<(), Method> {
        self.try_publish(exchange, routing_key, properties, body).await.expect("the connection stays open")
    }

    /// The same with a message for which the broker may close the connection.
    pub async fn try_publish(
        &mut self,
        exchange: &str,
        routing_key: &[u8],
        properties: &RawProperties,
        body: &[u8],
    ) -> io::Result<Result<(), Method>> {
        let target = [vec![0, 0], short_string(exchange.as_bytes()), short_string(routing_key), vec![0]].concat();
        self.method(1, (60, 40), &target).await?;
        let size = u64::try_from(body.len()).unwrap().to_be_bytes();
        let header = [&[0, 60, 0, 0], &size[..], &properties.encoded()].concat();
        assert!(header.len() + FRAME_OVERHEAD <= FRAME_MAX, "the properties do not fit a frame: {}", header.len());
        self.frame(2, 1, &header).await?;
        for part in body.chunks(FRAME_MAX - FRAME_OVERHEAD) {
            self.frame(3, 1, part).await?;
        }
        Ok(match self.receive().await? {
            (60, 80) => Ok(()),
            refused => Err(refused),
        })
    }

    async fn call(&mut self, channel: u16, method: Method, arguments: &[u8], answer: Method) {
        self.method(channel, method, arguments).await.unwrap();
        self.expect(answer).await;
    }

    async fn method(&mut self, channel: u16, (class, number): Method, arguments: &[u8]) -> io::Result<()> {
        let payload = [&class.to_be_bytes(), &number.to_be_bytes()[..], arguments].concat();
        self.frame(1, channel, &payload).await
    }

    async fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) -> io::Result<()> {
        let frame = [&[kind], &channel.to_be_bytes()[..], &long_string(payload), &[0xCE]].concat();
        self.stream.write_all(&frame).await
    }

    async fn expect(&mut self, wanted: Method) {
        assert_eq!(self.receive().await.unwrap(), wanted);
    }

    /// The next method that the broker sends.
    async fn receive(&mut self) -> io::Result<Method> {
        let receiving = async {
            loop {
                let (kind, _channel) = (self.stream.read_u8().await?, self.stream.read_u16().await?);
                let size = usize::try_from(self.stream.read_u32().await?).unwrap();
                let mut payload = vec![0; size + 1];
                self.stream.read_exact(&mut payload).await?;
                if kind == 1 {
                    let number = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
                    return Ok((number(0), number(2)));
                }
            }
        };
        tokio::time::timeout(DEADLINE, receiving).await.expect("the broker answers")
    }
}
