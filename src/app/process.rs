//! What belongs to the process, whatever accounts it serves: database pool, connections to the broker, metrics and the
//! address of HTTP.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::broker::publisher::Publisher;
use crate::catalog::RESOURCES;
use crate::ids::Account;
use crate::process::telemetry;
use crate::store::pool;

/// What the process is set to.
#[derive(Debug)]
pub struct ProcessConfig {
    /// PostgreSQL.
    pub database_url: SecretString,
    /// Whether to bring the schema up to date.
    pub migrate: bool,
    /// Whether each changed version of a record is stored.
    pub history: bool,
    /// RabbitMQ.
    pub amqp_url: SecretString,
    /// Where HTTP listens.
    pub listen: std::net::SocketAddr,
    /// The token that HTTP callers send.
    pub api_token: Option<SecretString>,
}

/// What the parts of all accounts share.
#[derive(Debug)]
pub(super) struct ProcessServices {
    /// The database.
    pub(super) pool: PgPool,
    /// RabbitMQ, for connections of their own.
    pub(super) amqp_url: SecretString,
    /// The connection over which everything but replies is published.
    pub(super) publisher: Publisher,
    /// The connection of replies, which a sender's address may cost.
    pub(super) replier: Publisher,
    /// Notified when a run is finished, of whatever account.
    pub(super) run_finished: Arc<Notify>,
    /// Renders metrics.
    pub(super) metrics: Option<PrometheusHandle>,
    /// Where HTTP listens.
    pub(super) listener: TcpListener,
}

impl ProcessServices {
    /// Makes them. Needs neither the database nor the broker: connections are opened when they are used. They are named
    /// after `account`, for the broker's operator.
    pub(super) async fn new(config: &ProcessConfig, account: &Account) -> anyhow::Result<Self> {
        let publisher = |of: &str| Publisher::new(config.amqp_url.clone(), &format!("teamleader2db {account} {of}"));
        Ok(Self {
            metrics: telemetry::start_metrics(account.as_str(), RESOURCES.iter().map(|resource| resource.name)),
            pool: pool::connect_keeping(&config.database_url, config.history)?,
            amqp_url: config.amqp_url.clone(),
            publisher: publisher("publisher"),
            replier: publisher("replies"),
            run_finished: Arc::default(),
            listener: TcpListener::bind(config.listen)
                .await
                .map_err(|error| anyhow::anyhow!("HTTP_LISTEN: {} cannot be listened on: {error}", config.listen))?,
        })
    }
}
