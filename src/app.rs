//! The composition root: everything is made and wired here, runs until a signal, and is drained.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::api_client::auth::Auth;
use crate::api_client::client::Client;
use crate::api_client::oauth::{Integration, OAuth};
use crate::api_client::rate_limit::Limiter;
use crate::authorization_flow;
use crate::broker::escrow::TokenQueue;
use crate::broker::publisher::Publisher;
use crate::broker::reply_address::ReplyAddresses;
use crate::broker::topology::{Declare, Names};
use crate::catalog::{RESOURCES, Resource};
use crate::http::{self, Guard, HttpState};
use crate::ids::Account;
use crate::process::consuming::Consuming;
use crate::process::failpoints::{self, Point};
use crate::process::lifecycle::{Ended, Parts, Signals};
use crate::process::telemetry;
use crate::store::pool::{self, StoreError};
use crate::store::rejected;
use crate::store::report;
use crate::store::requirements;
use crate::store::retention::Retention;
use crate::store::tokens::Tokens;
use crate::store::tokens::cipher::Cipher;
use crate::sync::engine::Engine;
use crate::sync::slice::Settings;
use crate::views;
use crate::worker::Worker;
use crate::worker::dead_letters::DeadLetters;
use crate::worker::relay::Relay;
use crate::worker::replies::Replies;

/// How long the parts may take to end in order after a signal. Only a refresh of the token or an authorization under
/// way is waited for longer.
const DRAIN: Duration = Duration::from_secs(9);

/// What the deadlines themselves take.
const LATE: Duration = Duration::from_millis(500);

/// After such a wait, how long the answer to the browser and the last events may still take.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// The end of all patience after a signal. An authorization takes longest; a refresh is stored or parked within 28 s.
const LONGEST_DRAIN: Duration = Duration::from_secs(38);

const _: () = assert!(authorization_flow::LONGEST.as_secs() + 2 < LONGEST_DRAIN.as_secs());

/// How often histograms are compacted; how long after the start old rows are looked for.
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
    /// Where replies may go.
    pub addresses: ReplyAddresses,
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
    start: Start,
    worker: Worker,
    relay: Relay,
    replies: Replies,
    http: HttpState,
    listener: tokio::net::TcpListener,
    upkeep: Upkeep,
}

/// What has to be done in the database before anything else uses it.
#[derive(Debug)]
struct Start {
    pool: PgPool,
    migrate: bool,
    tokens: Tokens,
    first_refresh_token: Option<SecretString>,
    account: Account,
    resources: Vec<&'static Resource>,
}

impl Application {
    /// Makes all parts. Needs neither the database nor the broker.
    pub async fn build(config: WorkerConfig) -> anyhow::Result<Self> {
        let WorkerConfig { integration, settings, names, .. } = config;
        let account = settings.account.clone();
        let metrics = telemetry::start_metrics(RESOURCES.iter().map(|resource| resource.name));
        let pool = pool::connect_keeping(&config.database_url, config.history)?;
        let publisher = Publisher::new(config.amqp_url.clone(), &format!("teamleader2db {account} publisher"));
        let parking = Arc::new(TokenQueue::new(config.amqp_url.clone(), publisher.clone(), &names));
        let tokens = Tokens::new(pool.clone(), account.clone(), config.cipher.clone(), Some(parking));
        let oauth = OAuth::new(integration.clone())?;
        let auth = Auth::new(Arc::new(tokens.clone()), oauth.clone());
        let limiter = Limiter::new(config.rate_reserve);
        let client = Client::new(&integration, auth, limiter, config.most_in_flight)?;
        let replies_due = Arc::new(Notify::new());
        let relay = Relay::new(pool.clone(), publisher.clone(), names.clone(), replies_due.clone());
        let replier = Publisher::new(config.amqp_url.clone(), &format!("teamleader2db {account} replies"));
        let replies = Replies::new(pool.clone(), account.clone(), replier, config.addresses.clone(), replies_due);
        let consuming = Consuming::default();
        consuming.set_active(false);
        let holder = holder();
        let dead_letters = DeadLetters {
            amqp_url: config.amqp_url.clone(),
            names: names.clone(),
            pool: pool.clone(),
            publisher: publisher.clone(),
            relay: relay.clone(),
            addresses: config.addresses.clone(),
            holder: holder.clone(),
        };
        let start = Start {
            pool: pool.clone(),
            migrate: config.migrate,
            tokens: tokens.clone(),
            first_refresh_token: config.first_refresh_token,
            account: account.clone(),
            resources: settings.resources.clone(),
        };
        let memory: Arc<http::Memory> = Arc::default();
        let upkeep = Upkeep {
            pool: pool.clone(),
            account: account.clone(),
            metrics: metrics.clone(),
            retention: config.retention,
            client: client.clone(),
            served: settings.resources.clone(),
            memory: memory.clone(),
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
            addresses: config.addresses,
            engine: Engine { settings, pool: pool.clone(), client: client.clone(), tokens: tokens.clone() },
            holder,
            consuming: consuming.clone(),
            panicked: Arc::default(),
        };
        let guard = Guard::new(config.api_token, &config.cipher, &account, &integration.redirect_uri)?;
        let (prepared, authorizing) = (CancellationToken::new(), TaskTracker::new());
        let http = HttpState {
            pool,
            tokens,
            oauth,
            publisher,
            names,
            metrics,
            consuming,
            guard,
            client,
            memory,
            prepared,
            authorizing,
        };
        let listener = tokio::net::TcpListener::bind(config.listen)
            .await
            .map_err(|error| anyhow::anyhow!("HTTP_LISTEN: {} cannot be listened on: {error}", config.listen))?;
        Ok(Self { start, worker, relay, replies, http, listener, upkeep })
    }

    /// Runs until a signal, or until a part ends by itself, which is an error. Then it hands back what is in hand and
    /// ends within 10 s; a refresh of the token and an authorization under way are waited for longer. A second signal
    /// aborts.
    pub async fn run_until_stopped(self, signals: &mut Signals) -> anyhow::Result<()> {
        info!(address = %self.listener.local_addr()?, "Listening for HTTP");
        let Self { start, worker, relay, replies, http, listener, upkeep } = self;
        let (client, publisher, pool) = (worker.engine.client.clone(), worker.publisher.clone(), worker.pool.clone());
        let (stop, late) = (CancellationToken::new(), CancellationToken::new());
        let (prepared, authorizing) = (http.prepared.clone(), http.authorizing.clone());
        let mut parts = Parts::default();
        // HTTP and metrics are there from the first moment on, whatever the database does.
        parts.spawn("the HTTP server", serve(listener, http, late.child_token()));
        let mut failure = tokio::select! {
            prepared = start.prepare() => prepared.err().map(Failure::from),
            end = first_end(&mut parts, signals) => Some(end),
        };
        if failure.is_none() {
            prepared.cancel();
            parts.spawn(WORKER, endless(worker.run(stop.clone())));
            // These outlive the worker: its last events are sent, and health shows that it is ending.
            parts.spawn("the relay of events", endless(relay.run(late.child_token())));
            parts.spawn("the relay of replies", endless(replies.run(late.child_token())));
            parts.spawn("the upkeep of metrics", endless(upkeep.clone().keep_metrics(late.child_token())));
            parts.spawn("retention", endless(upkeep.delete_what_is_old(late.child_token())));
            failure = Some(first_end(&mut parts, signals).await);
        }
        let failure = failure.and_then(|Failure(failure)| failure);
        if let Some(failure) = &failure {
            error!(error = %failure, "A part of the process ended, so the process ends: handing back what is in hand");
        }
        client.close();
        authorizing.close();
        stop.cancel();
        let traded = async || {
            client.settled().await;
            authorizing.wait().await;
        };
        let drained = drain(&mut parts, late, traded, &publisher, &pool);
        tokio::select! {
            ended = tokio::time::timeout(LONGEST_DRAIN, drained) => {
                if ended.is_err() {
                    warn!("Not everything ended in order within {} s", LONGEST_DRAIN.as_secs());
                }
                failure.map_or(Ok(()), Err)
            }
            signal = signals.next() => anyhow::bail!("aborted by a second {}", signal.name()),
        }
    }
}

/// The name of the part that is waited for first.
const WORKER: &str = "the worker";

/// Why the process ends; `None`: a signal came.
struct Failure(Option<anyhow::Error>);

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self(Some(error))
    }
}

/// Waits for the first thing that ends the process.
async fn first_end(parts: &mut Parts, signals: &mut Signals) -> Failure {
    tokio::select! {
        signal = signals.next() => {
            info!("{}: handing back what is in hand; a second signal aborts", signal.name());
            Failure(None)
        }
        ended = parts.next() => match ended {
            Some(Ended { name, outcome: Err(error) }) => anyhow::anyhow!("{name} ended: {error}").into(),
            Some(Ended { name, outcome: Ok(()) }) => anyhow::anyhow!("{name} ended by itself, which is a bug").into(),
            None => anyhow::anyhow!("nothing runs any more, which is a bug").into(),
        },
    }
}

/// A part that knows of no error but a panic.
async fn endless(part: impl Future<Output = ()>) -> anyhow::Result<()> {
    part.await;
    Ok(())
}

/// Lets the worker hand back, then all end that trades tokens, which may not be cut short, then everything else.
async fn drain(
    parts: &mut Parts,
    late: CancellationToken,
    traded: impl AsyncFnOnce(),
    publisher: &Publisher,
    pool: &PgPool,
) {
    let in_order_by = tokio::time::Instant::now() + DRAIN;
    if tokio::time::timeout_at(in_order_by, parts.wait_for(WORKER)).await.is_err() {
        warn!("The worker did not end within {} s; a request in hand will be delivered again", DRAIN.as_secs());
    }
    late.cancel();
    traded().await;
    let in_order_by = in_order_by.max(tokio::time::Instant::now() + LAST_ANSWERS);
    // Neither a broker that takes nothing nor a caller over HTTP that takes its time is waited for: what is not
    // confirmed is in the outbox.
    let _ = tokio::time::timeout_at(in_order_by, async {
        publisher.close().await;
        parts.wait().await;
        pool.close().await;
    })
    .await;
    if tokio::time::Instant::now() > in_order_by + LATE {
        warn!("The end took longer than {} s", DRAIN.as_secs());
    }
}

async fn serve(listener: tokio::net::TcpListener, state: HttpState, stop: CancellationToken) -> anyhow::Result<()> {
    Ok(http::serve(listener, state, stop).await?)
}

impl Start {
    /// Waits for the database, brings it up to date or refuses an old one, and makes sure that the account's tokens can
    /// be used.
    async fn prepare(self) -> anyhow::Result<()> {
        let mut delays = crate::retry::RECONNECT.begin();
        // The database may be starting, too, or start again. A schema or a key that does not fit is an error at once.
        let successes = loop {
            let error = match self.try_to_prepare().await {
                Ok(successes) => break successes,
                Err(error) if error.may_pass() => error,
                Err(error) => return Err(error.into()),
            };
            let delay = delays.next_delay().unwrap_or(crate::retry::RECONNECT.longest);
            error!(%error, ?delay, "The database cannot be used yet; trying again");
            tokio::time::sleep(delay).await;
        };
        info!("The database is ready");
        for (resource, at) in successes {
            telemetry::last_success(&resource, at);
        }
        Ok(())
    }

    async fn try_to_prepare(&self) -> Result<Vec<(String, DateTime<Utc>)>, StoreError> {
        if self.migrate {
            views::migrate(&self.pool).await?;
        } else {
            requirements::check(&self.pool).await?;
            pool::check_schema(&self.pool).await?;
        }
        self.tokens.introduce(self.first_refresh_token.as_ref()).await?;
        // A key that does not open what is stored is found now, not by the first request.
        self.tokens.check_key().await?;
        report::last_successes(&self.pool, &self.account, &self.resources).await
    }
}

/// What is looked after every few seconds.
#[derive(Clone, Debug)]
struct Upkeep {
    pool: PgPool,
    account: Account,
    metrics: Option<PrometheusHandle>,
    retention: Retention,
    client: Client,
    served: Vec<&'static Resource>,
    memory: Arc<http::Memory>,
}

impl Upkeep {
    async fn keep_metrics(self, stop: CancellationToken) {
        let mut counted: Option<tokio::time::Instant> = None;
        while stop.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
            failpoints::reached(Point::UpkeepDue);
            if let Some(metrics) = &self.metrics {
                metrics.run_upkeep();
            }
            self.memory.note_budget(self.client.budget());
            if counted.is_none_or(|at| at.elapsed() >= COUNT_STALE_EVERY) {
                counted = Some(tokio::time::Instant::now());
                stop.run_until_cancelled(self.count()).await;
            }
        }
    }

    /// A database that is away is reported by the parts that need it.
    async fn count(&self) {
        let stale = pool::answered(report::stale_details(&self.pool, &self.account));
        for (resource, rows) in stale.await.unwrap_or_default() {
            telemetry::stale_details(&resource, rows);
        }
        let names: Vec<String> = RESOURCES.iter().map(|resource| resource.name.to_owned()).collect();
        let rejected = pool::answered(rejected::counts(&self.pool, &self.account, &names));
        for (resource, records) in rejected.await.unwrap_or_default() {
            telemetry::rejected_records(&resource, records);
        }
        // Those of another worker of the account, too.
        let successes = pool::answered(report::last_successes(&self.pool, &self.account, &self.served));
        for (resource, at) in successes.await.unwrap_or_default() {
            telemetry::last_success(&resource, at);
        }
    }

    /// Deletes what is old now and then. What has been deleted by the time of a stop stays deleted.
    async fn delete_what_is_old(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
            let deleted = self.retention.apply(&self.pool, &self.account);
            if let Some(Err(error)) = stop.run_until_cancelled(deleted).await {
                warn!(%error, "What is old could not be deleted");
            }
            stop.run_until_cancelled(tokio::time::sleep(RETENTION_EVERY)).await;
        }
    }
}

/// Who holds the lease: host and process, for an operator who looks at it, and a number that no other process has,
/// since hosts and processes of several containers can have the same names.
fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} {} {}", host.trim(), std::process::id(), Uuid::new_v4().simple())
}
