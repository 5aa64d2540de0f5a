//! teamleader2db keeps a PostgreSQL copy of a Teamleader Focus account, driven by requests on RabbitMQ.
//!
//! ARCHITECTURE.md has the map. Imports run down: `cli → app → {worker, relay, http} → {amqp, sync} → {store, teamleader} →
//! {message, catalog, retry}`.

mod amqp;
mod app;
mod authorize;
mod catalog;
pub mod cli;
mod compat;
mod config;
mod consuming;
mod dead_letters;
mod delivery;
mod doctor;
mod endpoint;
mod events;
mod export;
pub mod fault;
mod findings;
mod follow;
mod healthcheck;
#[cfg(feature = "benchmarks")]
pub mod hot;
mod http;
mod ids;
mod lifecycle;
mod message;
mod panics;
mod relay;
mod replies;
mod retry;
mod settlement;
mod status;
mod store;
mod submit;
mod sync;
mod teamleader;
mod telemetry;
mod terminal;
mod views;
mod wording;
mod worker;
