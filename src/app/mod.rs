//! The composition root: everything is made and wired here, runs until a signal, and is drained.

mod account;
mod audit;
mod hints;
mod process;
mod run_log;
mod start;
mod upkeep;
mod wide_views;

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

pub use account::AccountConfig;
pub use process::ProcessConfig;

use crate::authorization_flow;
use crate::broker::publisher::Publisher;
use crate::http::intake::Gatherer;
use crate::http::{self, Guard, HttpState, QueueLook};
use crate::process::lifecycle::{Ended, Parts, Signals};
use crate::worker::Worker;
use crate::worker::relay::Relay;
use crate::worker::replies::Replies;
use account::AccountServices;
use audit::AuditKeeper;
use hints::HintKeeper;
use process::ProcessServices;
use run_log::RunLog;
use start::Start;
use upkeep::Upkeep;
use wide_views::WideViews;

/// How long the parts may take to end in order after a signal. Only a refresh of the token or an authorization under
/// way is waited for longer.
const DRAIN: Duration = Duration::from_secs(9);

/// What the deadlines themselves take.
const LATE: Duration = Duration::from_millis(500);

/// After such a wait, how long the answer to the browser and the last events may still take.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// The end of all patience after a signal. An authorization takes longest; a refresh is stored or escrowed within 28 s.
const LONGEST_DRAIN: Duration = Duration::from_secs(38);

const _: () = assert!(authorization_flow::LONGEST.as_secs() + 2 < LONGEST_DRAIN.as_secs());

/// Everything that a worker process is set to.
#[derive(Debug)]
pub struct WorkerConfig {
    /// The process.
    pub process: ProcessConfig,
    /// The account that it serves.
    pub account: AccountConfig,
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
    wide_views: WideViews,
    run_log: RunLog,
    hints: Option<(HintKeeper, Gatherer)>,
    audit: Option<AuditKeeper>,
}

impl Application {
    /// Makes all parts. Needs neither the database nor the broker.
    pub async fn build(config: WorkerConfig) -> anyhow::Result<Self> {
        let WorkerConfig { process: of_process, account: of_account } = config;
        let process = ProcessServices::new(&of_process, &of_account.settings.account).await?;
        let account = AccountServices::new(&of_account, &process)?;
        let (receiver, hints) = hints::parts(&of_account, of_process.database_url, &account, &process.pool).unzip();
        let audit = AuditKeeper::of(&account, &process.pool);
        let memory: Arc<http::Memory> = Arc::default();
        let start = Start {
            pool: process.pool.clone(),
            migrate: of_process.migrate,
            tokens: account.tokens.clone(),
            first_refresh_token: of_account.first_refresh_token,
            account: account.name.clone(),
            resources: of_account.settings.resources.clone(),
        };
        let queue = QueueLook::new(process.amqp_url.clone(), of_account.names.clone());
        let upkeep = Upkeep {
            pool: process.pool.clone(),
            account: account.name.clone(),
            metrics: process.metrics.clone(),
            retention: of_account.retention,
            client: account.client.clone(),
            served: of_account.settings.resources.clone(),
            memory: memory.clone(),
            queue: queue.clone(),
            holder: account.worker.holder.clone(),
            consuming: account.consuming.clone(),
        };
        let wide_views = WideViews { pool: process.pool.clone(), run_finished: process.run_finished };
        let run_log = RunLog { pool: process.pool.clone(), account: account.name.clone() };
        let redirect_uri = &of_account.integration.redirect_uri;
        let guard = Guard::new(of_process.api_token, &of_account.cipher, &account.name, redirect_uri)?;
        let http = HttpState {
            queue,
            pool: process.pool,
            tokens: account.tokens,
            oauth: account.oauth,
            publisher: process.publisher,
            names: of_account.names,
            declare: of_account.declare,
            metrics: process.metrics,
            consuming: account.consuming,
            guard,
            client: account.client,
            memory,
            webhooks: receiver,
            prepared: CancellationToken::new(),
            authorizing: TaskTracker::new(),
        };
        let AccountServices { worker, relay, replies, .. } = account;
        let listener = process.listener;
        Ok(Self { start, worker, relay, replies, http, listener, upkeep, wide_views, run_log, hints, audit })
    }

    /// Runs until a signal, or until a part ends by itself, which is an error. Then it requeues the request in hand and
    /// ends within 10 s; a refresh of the token and an authorization under way are waited for longer. A second signal
    /// aborts.
    pub async fn run_until_stopped(self, signals: &mut Signals) -> anyhow::Result<()> {
        info!(address = %self.listener.local_addr()?, "Listening for HTTP");
        let Self { start, worker, relay, replies, http, listener, upkeep, wide_views, run_log, hints, audit } = self;
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
            parts.spawn(
                "the end of cancelled runs",
                endless(upkeep.clone().end_cancelled(relay.clone(), late.child_token())),
            );
            parts.spawn("the relay of events", endless(relay.run(late.child_token())));
            parts.spawn("the relay of replies", endless(replies.run(late.child_token())));
            parts.spawn("the upkeep of metrics", endless(upkeep.clone().keep_metrics(late.child_token())));
            parts.spawn("the row of this process", endless(upkeep.clone().keep_seen(late.child_token())));
            parts.spawn("the views of custom fields", endless(wide_views.follow_runs(late.child_token())));
            parts.spawn("the log of runs", endless(run_log.follow(late.child_token())));
            parts.spawn("reconciliation", endless(upkeep.clone().count_findings(late.child_token())));
            keep_waking(&mut parts, hints, audit, &late);
            parts.spawn("retention", endless(upkeep.delete_old_rows(late.child_token())));
            failure = Some(first_end(&mut parts, signals).await);
        }
        let failure = failure.and_then(|Failure(failure)| failure);
        if let Some(failure) = &failure {
            error!(
                error = %failure,
                "A part of the process ended, so the process ends: requeueing the request in hand"
            );
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

/// Spawns what takes calls of webhooks, and what wakes the consumer for hints and for the audit.
fn keep_waking(
    parts: &mut Parts,
    hints: Option<(HintKeeper, Gatherer)>,
    audit: Option<AuditKeeper>,
    late: &CancellationToken,
) {
    if let Some((keeper, gatherer)) = hints {
        parts.spawn("the intake of webhooks", endless(gatherer.run(late.child_token())));
        parts.spawn("the notices of hints", endless(keeper.clone().listen(late.child_token())));
        parts.spawn("the waking for hints", endless(keeper.wake(late.child_token())));
    }
    if let Some(keeper) = audit {
        parts.spawn("the waking for the audit", endless(keeper.keep(late.child_token())));
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
            info!("{}: requeueing the request in hand; a second signal aborts", signal.name());
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

/// Lets the worker requeue, then all end that trades tokens, which may not be cut short, then everything else.
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
    // Neither a broker that takes nothing nor a caller over HTTP that takes its time is waited for: events that are
    // not confirmed are in the outbox.
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
