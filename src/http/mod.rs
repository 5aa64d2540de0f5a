//! HTTP: the OAuth callback, requests for a sync, the dashboard, health and metrics.

mod dashboard;
mod docs;
mod guard;
mod health;
mod oauth;
mod problem;
mod router;
mod server;
mod state;
mod sync;

pub use dashboard::Memory;
pub use guard::Guard;
pub use router::serve;
pub use state::HttpState;
