//! HTTP: the OAuth callback, requests for a sync, the dashboard, health and metrics.

mod access;
mod connections;
mod cookies;
mod dashboard;
mod docs;
mod guard;
mod guesses;
mod health;
mod oauth;
mod origin;
mod paths;
mod problem;
mod queue;
mod router;
mod security;
mod server;
mod state;
mod sync;
mod webhooks;

pub use access::Guard;
pub use dashboard::memory::Memory;
pub use queue::QueueLook;
pub use router::serve;
pub use state::HttpState;
pub use webhooks::intake;
