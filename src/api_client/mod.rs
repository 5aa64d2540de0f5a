//! The Teamleader Focus API: requests, tokens and the budget. Knows nothing of the database.

pub mod answer;
pub mod asked;
pub mod auth;
pub mod client;
pub mod clock;
mod heard;
pub mod in_flight;
mod members;
pub mod oauth;
pub mod rate_limit;
mod refusal;
mod request_body;
mod storable;
pub mod token_store;
pub mod version;
pub mod webhooks;

/// How the worker names itself to the API.
const USER_AGENT: &str = concat!("teamleader2db/", env!("CARGO_PKG_VERSION"));
