//! The commands other than the worker: each reads its arguments, does its work and says how it ended.

pub mod audit_report;
pub mod compat;
pub mod doctor;
pub mod event_text;
pub mod events;
pub mod export;
pub mod healthcheck;
pub mod status;
pub mod terminal;
pub mod wait;
