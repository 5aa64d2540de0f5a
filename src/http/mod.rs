//! HTTP: the OAuth callback, requests for a sync, health and metrics.

mod health;
mod oauth;
mod problem;
mod router;
mod state;
mod sync;

pub use router::serve;
pub use state::HttpState;
