//! The upkeep every few seconds: metrics, and rows that are old.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::api_client::client::Client;
use crate::catalog::{RESOURCES, Resource};
use crate::http;
use crate::ids::Account;
use crate::messages::StateName;
use crate::process::consumer_state::ConsumerState;
use crate::process::failpoints::{self, Point};
use crate::process::{telemetry, version};
use crate::store::retention::Retention;
use crate::store::runs::cancel;
use crate::store::{pool, progress, rejected, report, state, workers};
use crate::views::findings;
use crate::worker::relay::Relay;

/// How often histograms are compacted; how long after the start old rows are looked for.
const UPKEEP: Duration = Duration::from_secs(5);

/// How often stale details are counted.
const COUNT_STALE_EVERY: Duration = Duration::from_secs(60);

/// How often it is looked for runs that are to end.
const CANCELLED_EVERY: Duration = Duration::from_secs(1);

/// How often a process says that it is there; others take it for ended after a few times.
const SEEN_EVERY: Duration = Duration::from_secs(15);

/// How often it is looked whether it consumes, to say so at once.
const CONSUMING_EVERY: Duration = Duration::from_secs(1);

/// How long a process that ends may take to say so.
const LEAVING: Duration = Duration::from_millis(500);

/// How often old rows are deleted.
const RETENTION_EVERY: Duration = Duration::from_secs(3600);

/// The upkeep every few seconds.
#[derive(Clone, Debug)]
pub(super) struct Upkeep {
    pub(super) pool: PgPool,
    pub(super) account: Account,
    pub(super) metrics: Option<PrometheusHandle>,
    pub(super) retention: Retention,
    pub(super) client: Client,
    pub(super) served: Vec<&'static Resource>,
    pub(super) memory: Arc<http::Memory>,
    pub(super) queue: http::QueueLook,
    pub(super) holder: String,
    pub(super) consuming: ConsumerState,
}

impl Upkeep {
    pub(super) async fn keep_metrics(self, stop: CancellationToken) {
        let mut counted: Option<tokio::time::Instant> = None;
        while stop.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
            failpoints::reached(Point::UpkeepDue);
            if let Some(metrics) = &self.metrics {
                metrics.run_upkeep();
            }
            self.memory.note_budget(self.client.budget());
            let looks = async { tokio::join!(self.show_state(), self.wait_for_connection()) };
            stop.run_until_cancelled(looks).await;
            if counted.is_none_or(|at| at.elapsed() >= COUNT_STALE_EVERY) {
                counted = Some(tokio::time::Instant::now());
                stop.run_until_cancelled(self.count()).await;
            }
        }
    }

    /// Says now and then that this process is there, and that it ends.
    pub(super) async fn keep_seen(self, stop: CancellationToken) {
        let started_at = Utc::now();
        let (pool, account, holder) = (&self.pool, &self.account, self.holder.as_str());
        loop {
            let (process, consuming) = ((holder, version::BUILD, started_at), self.consuming.is_active());
            let noted = workers::note(pool, account, process, consuming);
            // A database that is away is reported by the parts that need it.
            stop.run_until_cancelled(pool::with_deadline(noted)).await;
            let other = async {
                while self.consuming.is_active() == consuming {
                    tokio::time::sleep(CONSUMING_EVERY).await;
                }
            };
            let due = tokio::time::timeout(SEEN_EVERY, other);
            if stop.run_until_cancelled(due).await.is_none() {
                break;
            }
        }
        let _ = pool::with_deadline_of(LEAVING, workers::leave(pool, account, holder)).await;
    }

    /// What the account is doing, and the deletions that are held. While the database is away they stay as they were.
    async fn show_state(&self) {
        let pool = &self.pool;
        if let Ok(state) = pool::with_deadline(state::of(pool, &self.account)).await {
            let states = StateName::ALL.map(|name| (name.as_str(), name == state.name));
            telemetry::state(&states, state.since, state.until);
        }
        if let Ok(held) = pool::with_deadline(progress::held_deletions(pool, &self.account)).await {
            for resource in RESOURCES.iter() {
                let rows = held.iter().find(|held| held.resource == resource.name).map_or(0, |held| held.missing);
                telemetry::deletions_held_now(resource.name, rows);
            }
        }
    }

    /// How long a connection of the pool is waited for.
    async fn wait_for_connection(&self) {
        let asked = tokio::time::Instant::now();
        let acquired = self.pool.acquire().await;
        telemetry::database_acquired(acquired.ok().map(|_| asked.elapsed()));
    }

    /// A database that is away is reported by the parts that need it.
    async fn count(&self) {
        let _ = pool::with_deadline(report::fold_counts(&self.pool)).await;
        if let Ok(stale) = pool::with_deadline(report::stale_details(&self.pool, &self.account)).await {
            self.memory.note_stale_details(&stale);
            stale.iter().for_each(|(resource, rows)| telemetry::stale_details(resource, *rows));
        }
        let names: Vec<String> = RESOURCES.iter().map(|resource| resource.name.to_owned()).collect();
        let rejected = pool::with_deadline(rejected::counts(&self.pool, &self.account, &names));
        for (resource, records) in rejected.await.unwrap_or_default() {
            telemetry::rejected_records(&resource, records);
        }
        let queued = self.queue.depths().await.unwrap_or_default();
        telemetry::queued(queued.requests, queued.delayed);
        // Those of another worker of the account, too.
        let successes = pool::with_deadline(report::last_successes(&self.pool, &self.account, &self.served));
        for (resource, at) in successes.await.unwrap_or_default() {
            telemetry::last_success(&resource, at);
        }
    }

    /// Ends runs that were cancelled while no slice is at work on them, and sends their events.
    pub(super) async fn end_cancelled(self, relay: Relay, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(CANCELLED_EVERY)).await.is_some() {
            // What goes wrong is tried again, and other parts report it.
            if let Ok(true) = pool::with_deadline(cancel::end_forgotten(&self.pool, &self.account)).await {
                let _ = relay.flush().await;
            }
        }
    }

    /// Counts what does not add up, once after each full sync of the documents: it reads all of them.
    pub(super) async fn count_findings(self, stop: CancellationToken) {
        let mut counted = None;
        while stop.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
            let Ok(read) = pool::with_deadline(findings::last_read(&self.pool, &self.account)).await else { continue };
            if read.is_none() || read == counted {
                continue;
            }
            counted = read;
            match stop.run_until_cancelled(findings::count(&self.pool, &self.account)).await {
                Some(Ok(found)) => {
                    found.iter().for_each(|(check, findings)| telemetry::reconciliation_findings(check, *findings));
                }
                Some(Err(error)) => {
                    let error = pool::explained(&self.pool, error).await;
                    warn!(%error, "It could not be counted what does not add up; the next full sync tries again");
                }
                None => break,
            }
        }
    }

    /// Deletes old rows now and then. Those that were deleted before a stop stay deleted.
    pub(super) async fn delete_old_rows(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
            let deleted = self.retention.apply(&self.pool, &self.account);
            if let Some(Err(error)) = stop.run_until_cancelled(deleted).await {
                let error = pool::explained(&self.pool, error).await;
                warn!(%error, "Old rows could not be deleted");
            }
            stop.run_until_cancelled(tokio::time::sleep(RETENTION_EVERY)).await;
        }
    }
}
