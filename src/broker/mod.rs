//! The broker: names, connections, publishing and consuming. Knows nothing of syncs.

pub mod consumer;
pub mod dead_letters;
mod described;
pub mod escrow;
pub mod link;
pub mod listener;
mod message;
pub mod publisher;
pub mod queues;
pub mod reply_address;
pub mod request_publisher;
mod screen;
pub mod server;
pub mod topology;
pub mod wake;
