//! A stateful stand-in for the Teamleader Focus API, for demos, tests and benchmarks.
//!
//! It serves every read endpoint of the API's blueprint, webhooks, and the OAuth 2 endpoints, over real HTTP, obeys
//! that blueprint (`data/endpoints.json`) and not any client, breaks on demand, and knows the truth that a copy has to
//! match. The README beside this crate describes the routes under `/_simulator/` that steer it from other processes.

mod answer;
mod api;
mod changes;
mod clock;
mod collection;
mod config;
pub mod contract;
mod control;
mod counters;
mod faults;
mod filter;
mod generate;
mod guise;
mod gzip;
mod oauth;
mod oddity;
mod query;
mod quirks;
mod rate_limit;
mod refreshes;
mod refusal;
mod server;
mod simulator;
mod sparse;
mod state;
mod store;
mod version;
mod webhooks;

pub use changes::ChangeKind;
pub use config::Config;
pub use counters::Counters;
pub use faults::{Fault, FaultKind};
pub use oauth::TokenPair;
pub use oddity::Oddity;
pub use quirks::{Contexts, ErrorItems, Matches, Quirks, RefusalForm, ResetForm, WrongOrder};
pub use refreshes::{Refresh, RefreshOutcome};
pub use simulator::Simulator;
pub use store::TruthRecord;
pub use version::Version;
pub use webhooks::{
    Forgery, LossCounts, Losses, MessageSubject, Payload, RecordsByResource, WebhookCounts, WebhookDelivery, Webhooks,
    webhook_types,
};
