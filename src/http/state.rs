//! What the handlers share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;
use sqlx::PgPool;

use crate::amqp::publisher::Publisher;
use crate::amqp::topology::Names;
use crate::store::tokens::Tokens;
use crate::teamleader::oauth::OAuth;

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct HttpState {
    /// The database.
    pub pool: PgPool,
    /// The account's tokens.
    pub tokens: Tokens,
    /// The OAuth endpoints.
    pub oauth: OAuth,
    /// The broker.
    pub publisher: Publisher,
    /// Exchanges and queues.
    pub names: Names,
    /// Renders metrics.
    pub metrics: Option<PrometheusHandle>,
    /// Whether this process consumes.
    pub consuming: Arc<AtomicBool>,
    /// The token that callers send; `None`: only loopback reaches this server.
    pub api_token: Option<SecretString>,
}
