//! The screen before the AMQP library.
//!
//! lapin ends the connection at a frame that it cannot read, and overflows its stack at headers that are nested deep
//! enough; the broker then delivers the same message again. Whatever a sender can put into a message is therefore
//! rewritten before lapin sees it, so that it costs that message alone: names and ids that are not UTF-8, headers that
//! are nested too deep or broken off, bodies of any length. A rewritten message carries a mark, a header of its own, so
//! that it is refused with its reason.
//!
//! The screen knows frames (`stream`), the short strings of a few methods (`methods`), and content headers
//! (`properties`, `table`). What lapin can read passes byte for byte.

mod bounds;
mod methods;
mod properties;
mod reader;
mod stream;
mod table;
mod transport;

#[cfg(test)]
mod tests;

pub use bounds::{BODY_BYTES, UNREADABLE};
pub use transport::connect;
