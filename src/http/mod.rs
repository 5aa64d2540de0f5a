//! HTTP: the OAuth callback, requests for a sync, the dashboard, health and metrics.

mod connections;
mod cookies;
mod dashboard;
mod docs;
mod guard;
mod guesses;
mod health;
mod oauth;
mod problem;
mod router;
mod security;
mod server;
mod state;
mod sync;

pub use dashboard::Memory;
pub use guard::Guard;
pub use router::serve;
pub use state::HttpState;
