//! The composition root: everything is made and wired here, runs until a signal, and is drained.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;
use sqlx::PgPool;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::amqp::parking::TokenQueue;
use crate::amqp::publisher::Publisher;
use crate::amqp::topology::{Declare, Names};
use crate::catalog::{RESOURCES, Resource};
use crate::dead_letters::DeadLetters;
use crate::http::{self, Guard, HttpState};
use crate::ids::Account;
use crate::relay::Relay;
use crate::store::cipher::Cipher;
use crate::store::pool::{self, StoreError};
use crate::store::report;
use crate::store::retention::Retention;
use crate::store::tokens::Tokens;
use crate::sync::engine::Engine;
use crate::sync::slice::Settings;
use crate::teamleader::auth::Auth;
use crate::teamleader::client::Client;
use crate::teamleader::oauth::{Integration, OAuth};
use crate::teamleader::rate_limit::Limiter;
use crate::telemetry;
use crate::views;
use crate::worker::Worker;

/// How long the parts may take to end in order after a signal. Only a refresh of the token under way is waited for longer.
const DRAIN: Duration = Duration::from_secs(9);

/// What the deadlines themselves take.
const LATE: Duration = Duration::from_millis(500);

/// The end of all patience after a signal: what a refresh may take, and storing what came of it.
const LONGEST_DRAIN: Duration = Duration::from_secs(28);

/// How often histograms are compacted and old rows looked for.
const UPKEEP: Duration = Duration::from_secs(5);

/// How often stale details are counted.
const COUNT_STALE_EVERY: Duration = Duration::from_secs(60);

/// How often old rows are deleted.
const RETENTION_EVERY: Duration = Duration::from_secs(3600);

/// Everything that a worker process is set to.
#[derive(Debug)]
pub struct WorkerConfig {
    /// PostgreSQL.
    pub database_url: SecretString,
    /// Whether to bring the schema up to date.
    pub migrate: bool,
    /// RabbitMQ.
    pub amqp_url: SecretString,
    /// Exchanges and queues.
    pub names: Names,
    /// Whether to make them.
    pub declare: Declare,
    /// The integration.
    pub integration: Integration,
    /// Seals tokens.
    pub cipher: Cipher,
    /// First refresh token of a new database.
    pub first_refresh_token: Option<SecretString>,
    /// Where HTTP listens.
    pub listen: std::net::SocketAddr,
    /// The token that HTTP callers send.
    pub api_token: Option<SecretString>,
    /// Requests of each minute left to others.
    pub rate_reserve: u32,
    /// The bound of requests in flight.
    pub most_in_flight: usize,
    /// How runs are worked on.
    pub settings: Settings,
    /// Whether each changed version of a record is kept.
    pub history: bool,
    /// What goes when it is old.
    pub retention: Retention,
}

/// A worker process, made but not running.
#[derive(Debug)]
pub struct Application {
    worker: Worker,
    relay: Relay,
    http: HttpState,
    listener: tokio::net::TcpListener,
    metrics: Option<PrometheusHandle>,
    pool: PgPool,
    account: Account,
    retention: Retention,
}

impl Application {
    /// Connects to the database, brings it up to date or refuses an old one, and makes all parts.
    pub async fn build(config: WorkerConfig) -> anyhow::Result<Self> {
        let WorkerConfig { integration, settings, names, .. } = config;
        let account = settings.account.clone();
        let metrics = telemetry::start_metrics(RESOURCES.iter().map(|resource| resource.name));
        let pool = pool::connect_keeping(&config.database_url, config.history)?;
        let publisher = Publisher::new(config.amqp_url.clone(), &format!("teamleader2db {account} publisher"));
        let parking = Arc::new(TokenQueue::new(config.amqp_url.clone(), publisher.clone(), &names));
        let tokens = Tokens::new(pool.clone(), account.clone(), config.cipher, Some(parking));
        let first = config.first_refresh_token.as_ref();
        let successes = once_there(async || {
            if config.migrate {
                views::migrate(&pool).await?;
            } else {
                pool::check_schema(&pool).await?;
            }
            tokens.introduce(first).await?;
            // A key that does not open what is stored is found now, not by the first request.
            tokens.check_key().await?;
            report::last_successes(&pool, &account, &settings.resources).await
        })
        .await?;
        for (resource, at) in successes {
            telemetry::last_success(&resource, at);
        }
        let oauth = OAuth::new(integration.clone())?;
        let auth = Auth::new(Arc::new(tokens.clone()), oauth.clone());
        let limiter = Limiter::new(config.rate_reserve);
        let client = Client::new(&integration.api_uri, auth, limiter, config.most_in_flight)?;
        let relay = Relay::new(pool.clone(), publisher.clone(), names.clone());
        let consuming = Arc::new(AtomicBool::new(false));
        let dead_letters = DeadLetters {
            amqp_url: config.amqp_url.clone(),
            names: names.clone(),
            pool: pool.clone(),
            publisher: publisher.clone(),
            relay: relay.clone(),
            holder: holder(),
        };
        let worker = Worker {
            dead_letters,
            amqp_url: config.amqp_url,
            names: names.clone(),
            declare: config.declare,
            pool: pool.clone(),
            tokens: tokens.clone(),
            publisher: publisher.clone(),
            relay: relay.clone(),
            engine: Engine { settings, pool: pool.clone(), client: client.clone(), tokens: tokens.clone() },
            holder: holder(),
            consuming: consuming.clone(),
        };
        let guard = Guard::new(config.api_token, &account)
            .map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
        let http = HttpState {
            pool: pool.clone(),
            tokens,
            oauth,
            publisher,
            names,
            metrics: metrics.clone(),
            consuming,
            guard,
            client,
            memory: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind(config.listen)
            .await
            .map_err(|error| anyhow::anyhow!("HTTP_LISTEN: {} cannot be listened on: {error}", config.listen))?;
        Ok(Self { worker, relay, http, listener, metrics, pool, account, retention: config.retention })
    }

    /// Runs until SIGTERM or SIGINT, then hands back what is in hand and ends within 10 s; a refresh of the token under way is
    /// waited for longer. A second signal aborts.
    pub async fn run_until_stopped(self) -> anyhow::Result<()> {
        let stop = CancellationToken::new();
        let parts = TaskTracker::new();
        info!(address = %self.listener.local_addr()?, "Listening for HTTP");
        let (client, publisher) = (self.worker.engine.client.clone(), self.worker.publisher.clone());
        let served = self.worker.engine.settings.resources.clone();
        let mut worker = parts.spawn(self.worker.run(stop.child_token()));
        // The outbox and HTTP outlive the worker: its last events are sent, and health tells that it is ending.
        let late = CancellationToken::new();
        parts.spawn(self.relay.run(late.child_token()));
        let kept = Kept {
            pool: self.pool.clone(),
            account: self.account,
            metrics: self.metrics,
            retention: self.retention,
            client: client.clone(),
            served,
            memory: self.http.memory.clone(),
        };
        parts.spawn(http::serve(self.listener, self.http, late.child_token()));
        parts.spawn(upkeep(kept, late.child_token()));
        parts.close();

        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: handing back what is in hand"),
            _ = interrupt.recv() => info!("SIGINT: handing back what is in hand; a second one aborts"),
            ended = &mut worker => anyhow::bail!("the worker ended by itself, which is a bug: {ended:?}"),
        }
        client.close();
        stop.cancel();
        let in_order_by = tokio::time::Instant::now() + DRAIN;
        let drained = async {
            // It hands back first; then a refresh, which may not be cut short, is stored or parked.
            let handed_back = tokio::time::timeout_at(in_order_by, worker).await;
            if handed_back.is_err() {
                warn!("The worker did not end within {} s; a request in hand will be delivered again", DRAIN.as_secs());
            }
            late.cancel();
            client.settled().await;
            // Neither a broker that takes nothing nor a caller over HTTP that takes its time is waited for: what is not confirmed is
            // in the outbox.
            let _ = tokio::time::timeout_at(in_order_by, async {
                publisher.close().await;
                parts.wait().await;
                self.pool.close().await;
            })
            .await;
            if tokio::time::Instant::now() > in_order_by + LATE {
                warn!("The end took longer than {} s", DRAIN.as_secs());
            }
        };
        tokio::select! {
            ended = tokio::time::timeout(LONGEST_DRAIN, drained) => {
                if ended.is_err() {
                    warn!("Not everything ended in order within {} s", LONGEST_DRAIN.as_secs());
                }
                Ok(())
            }
            _ = terminate.recv() => anyhow::bail!("aborted by a second SIGTERM"),
            _ = interrupt.recv() => anyhow::bail!("aborted by a second SIGINT"),
        }
    }
}

/// What the database does, as soon as it can: it may be starting, too, or start anew. A schema or a key that does not fit is an error
/// at once.
async fn once_there<T>(ask: impl AsyncFn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let mut delays = crate::retry::RECONNECT.begin();
    loop {
        let error = match ask().await {
            Err(error) if error.may_pass() => error,
            done => return done,
        };
        let delay = delays.next_delay().unwrap_or(crate::retry::RECONNECT.longest);
        error!(%error, ?delay, "The database cannot be used yet; trying again");
        tokio::time::sleep(delay).await;
    }
}

/// What is looked after every few seconds.
struct Kept {
    pool: PgPool,
    account: Account,
    metrics: Option<PrometheusHandle>,
    retention: Retention,
    client: Client,
    served: Vec<&'static Resource>,
    memory: Arc<http::Memory>,
}

async fn upkeep(kept: Kept, stop: CancellationToken) {
    let Kept { pool, account, metrics, retention, client, served, memory } = kept;
    let mut last: Option<tokio::time::Instant> = None;
    let mut counted: Option<tokio::time::Instant> = None;
    let is_due = |last: Option<tokio::time::Instant>, every| last.is_none_or(|at| at.elapsed() >= every);
    while stop.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
        if let Some(metrics) = &metrics {
            metrics.run_upkeep();
        }
        memory.note_budget(client.budget());
        if is_due(counted, COUNT_STALE_EVERY) {
            counted = Some(tokio::time::Instant::now());
            // The database that is away is told of by whoever needs it.
            for (resource, rows) in pool::answered(report::stale_details(&pool, &account)).await.unwrap_or_default() {
                telemetry::stale_details(&resource, rows);
            }
            // Those of another worker of the account, too.
            let successes = pool::answered(report::last_successes(&pool, &account, &served));
            for (resource, at) in successes.await.unwrap_or_default() {
                telemetry::last_success(&resource, at);
            }
        }
        if is_due(last, RETENTION_EVERY) {
            last = Some(tokio::time::Instant::now());
            if let Err(error) = pool::answered(retention.apply(&pool, &account)).await {
                warn!(%error, "What is old could not be deleted");
            }
        }
    }
}

/// Host and process, for people who look at the lease.
fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} {}", host.trim(), std::process::id())
}
