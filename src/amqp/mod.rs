//! The broker: names, connections, publishing and consuming. Knows nothing of what a sync is.

pub mod consumer;
pub mod link;
pub mod listener;
pub mod parking;
pub mod publisher;
pub mod reply_address;
mod screen;
pub mod topology;
