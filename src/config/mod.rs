//! The configuration: every setting is a flag and an environment variable.
//!
//! | variable | default | |
//! | --- | --- | --- |
//! | `DATABASE_URL` | required | `postgres://…` |
//! | `AMQP_URL` | required | `amqp://…` or `amqps://…` |
//! | `TEAMLEADER_ACCOUNT` | `default` | the account that this worker serves |
//! | `TEAMLEADER_CLIENT_ID`, `TEAMLEADER_CLIENT_SECRET` | required by `worker` | of the integration |
//! | `TEAMLEADER_REDIRECT_URI` | required by `worker` | where Teamleader sends the user back to |
//! | `TEAMLEADER_API_URI` | `https://api.focus.teamleader.eu` | |
//! | `TEAMLEADER_AUTH_URI` | `https://focus.teamleader.eu` | |
//! | `TEAMLEADER_API_VERSION` | `2023-09-26` | the dated version of the API that requests ask for |
//! | `TEAMLEADER_REFRESH_TOKEN` | none | first token for a new database; ignored once one is stored |
//! | `TEAMLEADER_RESOURCES` | `all` | comma-separated; `all`: those that do not take a call for each parent record |
//! | `TOKEN_ENCRYPTION_KEY` | required by `worker` | 32 bytes, base64; of a list the first encrypts, all decrypt |
//! | `HTTP_LISTEN` | `127.0.0.1:8080` | beyond loopback a token is required |
//! | `HTTP_API_TOKEN` | none | beyond loopback at least 16 characters |
//! | `AMQP_PREFIX` | `teamleader` | of the names of exchanges and queues |
//! | `AMQP_DECLARE` | `create` | `check`: never declare, only check |
//! | `REPLY_TO_ALLOWED` | not set | which queues of others a reply may go to, a regular expression |
//! | `MIGRATE_ON_START` | `true` | `false`: refuse to start on an old schema |
//! | `SYNC_SLICE` | `30s` | how long one delivery is worked on |
//! | `SYNC_CONCURRENCY` | `auto` | API requests in flight; a number caps them |
//! | `RATE_RESERVE` | `0` | requests of each minute left to others, at most 150 |
//! | `SYNC_LOOKBACK` | `5m` | how far watermarks stay behind the API's clock |
//! | `DETAIL_MAX_AGE` | `7d` | when details that no list vouches for are fetched again |
//! | `INCREMENTAL_WINDOW` | `60d` | how far back an incremental pass reads by date; `off`: all |
//! | `HISTORY` | `off` | `on`: each changed version of a record is retained |
//! | `RETENTION` | `90d` | runs, sent events and history older than it are deleted; `never`: none |
//! | `ERASE_DELETED_AFTER` | `never` | content of rows that are deleted for so long is erased |
//! | `COMPAT_DATABASE_URL` | that of `DATABASE_URL` | of `compat`: the database of the Python service |
//! | `TRACEPARENT` | none | of `request` and `audit`: the request's place in a trace |
//! | `LOG_FORMAT` | `pretty` | `json` for machines |
//! | `RUST_LOG` | `info,lapin=off,sqlx=warn` | |
//!
//! Each variable `X` that may hold a secret has a twin `X_FILE`, the name of a file that holds it.

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

pub use broker::{AmqpArgs, ReplyArgs};
#[cfg(feature = "compat")]
pub use compat::CompatArgs;
pub use database::{AccountArgs, CopyArgs, DatabaseArgs};
pub use error::ConfigError;
pub use http::{HttpArgs, parse_listen};
pub use integration::{IntegrationArgs, KeyArgs};
pub use secret::refresh_token;
pub use sync::SyncArgs;
