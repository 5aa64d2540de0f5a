//! The commands: each has its arguments, does its work and returns how it ended.

pub mod audit;
mod audit_report;
pub mod authorize;
pub mod cancel;
#[cfg(feature = "compat")]
pub mod compat;
pub mod dead_letters;
pub mod doctor;
mod event_text;
pub mod events;
pub mod export;
pub mod healthcheck;
mod help;
pub mod migrate;
pub mod outcome;
pub mod request;
mod run_table;
pub mod runs;
mod sender;
pub mod status;
pub mod terminal;
mod wait;
pub mod webhooks;
pub mod worker;
