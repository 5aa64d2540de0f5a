//! teamleader2db keeps a PostgreSQL copy of a Teamleader Focus account, driven by requests on RabbitMQ.
//!
//! ARCHITECTURE.md has the map. Imports run down: `cli → commands → app → {worker, http} → {broker, sync} →
//! {views, store} → api_client → {messages, catalog, process} → {ids, retry}`.

mod api_client;
mod app;
mod authorization_flow;
#[cfg(feature = "benchmarks")]
pub mod bench_api;
mod broker;
mod catalog;
pub mod cli;
mod commands;
mod config;
mod http;
mod ids;
mod messages;
pub mod process;
mod retry;
mod store;
mod sync;
mod views;
mod wake_up;
mod worker;
