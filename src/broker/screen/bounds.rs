//! What passes the screen, and what the marks of a rewritten message are.

/// The header that says why a message is not as its sender sent it: properties that could not be read.
pub const UNREADABLE: &str = "x-teamleader2db-unreadable";

/// The header that holds the size of a body of which only the beginning was taken.
pub const BODY_BYTES: &str = "x-teamleader2db-body-bytes";

/// The largest frame that the broker is asked for, in bytes, with the 8 around its payload. It is RabbitMQ's default.
/// lapin keeps two buffers of 32 such frames for each connection, and without a bound of its own takes the broker's:
/// none, if that has none.
pub const FRAME_MAX: u32 = 128 * 1024;

/// Each peer has to take frames of this size, and lapin asks for no smaller ones.
pub(super) const FRAME_MIN: u32 = 4096;

/// What surrounds a payload: type, channel and size before it, one byte after it.
pub(super) const FRAME_OVERHEAD: usize = 8;

/// How many tables and arrays may be open at once in headers, the table of all headers included.
pub(super) const MAX_DEPTH: usize = 16;

/// Why properties cannot be passed as they came. Of several, the first one found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the exchange or the routing key is not UTF-8")]
    Method,
    #[error("{0} is not UTF-8")]
    Property(&'static str),
    #[error("the name of a header is not UTF-8")]
    HeaderName,
    #[error("the headers are nested deeper than {MAX_DEPTH}")]
    Nested,
    #[error("a header has a type that AMQP 0-9-1 does not have")]
    HeaderType,
    #[error("the headers end in the middle of a value")]
    HeadersCutOff,
    #[error("the properties end in the middle of a value")]
    CutOff,
    #[error("there are properties that AMQP 0-9-1 does not have")]
    Unknown,
    #[error("the properties have more bytes than a frame may have")]
    TooLarge,
}
