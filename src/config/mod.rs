//! The configuration: every setting is a flag and an environment variable.
//!
//! docs/configuration.md has all of them, in tables that are made from the arguments here (`make tables`).
//!
//! Each variable `X` that may hold a secret has a twin `X_FILE`, the name of a file that holds it.

mod audit;
mod broker;
#[cfg(feature = "compat")]
mod compat;
pub mod completion;
mod database;
pub mod endpoint;
mod error;
mod http;
mod integration;
mod secret;
mod sync;
mod time;
mod webhooks;

pub use audit::AuditArgs;
pub use broker::{AmqpArgs, ReplyArgs};
#[cfg(feature = "compat")]
pub use compat::CompatArgs;
pub use database::{AccountArgs, CopyArgs, DatabaseArgs};
pub use error::ConfigError;
pub use http::{HttpArgs, parse_listen};
pub use integration::{IntegrationArgs, KeyArgs};
pub use secret::refresh_token;
pub use sync::SyncArgs;
pub use webhooks::WebhookArgs;
