//! HTTP: the OAuth callback, requests for a sync, health and metrics.

mod health;
mod oauth;
mod problem;
mod router;
mod sync;

pub use router::{HttpState, serve};
