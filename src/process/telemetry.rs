//! Logs and metrics.

use std::collections::{BTreeMap, HashSet};
use std::io::IsTerminal;
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, TimeDelta, Utc};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::json_lines::JsonLines;
use super::metric::{self, Kind, Metric};
use super::run_lines::RunLines;
use super::version::{COMMIT, VERSION};

/// The upper bounds of the API's latency, in seconds: its deadlines are 20, 30 and 60 s.
const LATENCY_BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];

/// The upper bounds of the length of runs, in seconds: 1 s to a day.
const RUN_BUCKETS: [f64; 11] = [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0];

/// No more ways of drift are known apart, and counted, in the life of a process.
const MAX_WAYS: usize = 10_000;

/// The account that this process serves.
static ACCOUNT: OnceLock<String> = OnceLock::new();

/// Time that counters of seconds have not counted yet: they take whole seconds.
static RESTS: Mutex<BTreeMap<(&str, &str), Duration>> = Mutex::new(BTreeMap::new());

/// The ways of drift that were counted, by resource.
static WAYS: LazyLock<Mutex<HashSet<(&'static str, String)>>> = LazyLock::new(Mutex::default);

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Writes logs to standard error, filtered by `RUST_LOG` (default `info`). A second call does nothing.
pub fn start_logging(format: LogFormat) {
    let asked = std::env::var("RUST_LOG").ok().filter(|asked| !asked.is_empty()).unwrap_or_else(|| "info".to_owned());
    // What lapin logs of a lost connection, the worker says too; RUST_LOG can ask for it by name.
    let quiet = [("lapin", "off"), ("sqlx", "warn")].into_iter().filter(|(name, _)| !asked.contains(name));
    let filter = EnvFilter::new(quiet.fold(asked.clone(), |all, (name, level)| format!("{all},{name}={level}")));
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let registry = tracing_subscriber::registry().with(filter).with(RunLines);
    // An error means that logging was set up before, as tests do.
    let _ = match format {
        LogFormat::Pretty => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.fmt_fields(JsonFields::new()).event_format(JsonLines)).try_init(),
    };
}

/// Starts collecting metrics of this account and these resources. The handle renders them; `None` when they are
/// collected already.
pub fn start_metrics(account: &str, resources: impl IntoIterator<Item = &'static str>) -> Option<PrometheusHandle> {
    let buckets = |metric: Metric| Matcher::Full(metric.name.to_owned());
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(buckets(metric::API_LATENCY), &LATENCY_BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(buckets(metric::HINT_LATENCY), &LATENCY_BUCKETS))
        .and_then(|builder| builder.set_buckets_for_metric(buckets(metric::RUN_DURATION), &RUN_BUCKETS))
        .ok()?;
    let handle = builder.install_recorder().ok()?;
    let _ = ACCOUNT.set(account.to_owned());
    for metric in metric::ALL {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metric.help),
        }
        start_at_zero(&metric);
    }
    for resource in resources {
        counter!(metric::DRIFT.name, "account" => self::account(), "resource" => resource).increment(0);
        counter!(metric::DELETIONS_HELD.name, "account" => self::account(), "resource" => resource).increment(0);
    }
    gauge!(metric::BUILD_INFO.name, "version" => VERSION, "commit" => COMMIT.unwrap_or("unknown")).set(1.0);
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    gauge!(metric::PROCESS_START.name).set(started.as_secs_f64());
    Some(handle)
}

/// The label of what is of the account.
fn account() -> &'static str {
    ACCOUNT.get().map_or("", String::as_str)
}

/// Counters whose labels have few values start at 0, not at their first event: a rate over them would miss that one.
fn start_at_zero(metric: &Metric) {
    match (metric.kind, metric.labels) {
        (Kind::Counter, []) => counter!(metric.name).increment(0),
        (Kind::Counter, [metric::ACCOUNT]) => counter!(metric.name, "account" => account()).increment(0),
        (Kind::Counter, [metric::ACCOUNT, (label, values)]) => {
            for value in *values {
                counter!(metric.name, "account" => account(), *label => *value).increment(0);
            }
        }
        _ => {}
    }
}

/// The whole seconds of this time and of what is left of those before; the rest is left for those to come.
fn whole_seconds(of: (&'static str, &'static str), time: Duration) -> u64 {
    let mut rests = RESTS.lock().unwrap_or_else(PoisonError::into_inner);
    let rest = rests.entry(of).or_default();
    *rest += time;
    let whole = rest.as_secs();
    *rest -= Duration::from_secs(whole);
    whole
}

/// A number as a gauge takes it: beyond 2^31 it does not matter any more.
fn level(number: i64) -> f64 {
    f64::from(i32::try_from(number).unwrap_or(i32::MAX))
}

/// A time as a gauge takes it: whole seconds are exact in an f64 for the next hundred million years.
#[allow(clippy::cast_precision_loss)]
fn unix_seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp() as f64
}

/// A run ended; how long it took, where that is known.
pub fn run_ended(status: &'static str, took: Option<(&'static str, TimeDelta)>) {
    if let Some((mode, took)) = took {
        let duration =
            histogram!(metric::RUN_DURATION.name, "account" => account(), "mode" => mode, "status" => status);
        duration.record(took.as_seconds_f64().max(0.0));
    }
    counter!(metric::RUNS.name, "account" => account(), "status" => status).increment(1);
}

/// A run ended with the resource being so.
pub fn resource_ended(resource: &str, status: &'static str) {
    let resource = resource.to_owned();
    counter!(metric::RESOURCE_RUNS.name, "account" => account(), "resource" => resource, "status" => status)
        .increment(1);
}

/// A run has worked on a resource for this long.
pub fn worked_on(resource: &'static str, time: Duration) {
    let seconds = whole_seconds((metric::RESOURCE_SECONDS.name, resource), time);
    counter!(metric::RESOURCE_SECONDS.name, "account" => account(), "resource" => resource).increment(seconds);
}

/// Somebody waited for the API's budget in this time.
pub fn waited_for_budget(time: Duration) {
    let seconds = whole_seconds((metric::BUDGET_WAIT.name, ""), time);
    counter!(metric::BUDGET_WAIT.name, "account" => account()).increment(seconds);
}

/// Records of a resource changed in the copy; a `count` of 0 is not recorded.
pub fn records(resource: &'static str, change: &'static str, count: i64) {
    if let Ok(count) = u64::try_from(count)
        && count > 0
    {
        let records =
            counter!(metric::RECORDS.name, "account" => account(), "resource" => resource, "change" => change);
        records.increment(count);
    }
}

/// A request to the API was answered, or given up (`status` `none`).
pub fn api_answered(endpoint: &str, status: &str, after: Duration) {
    let (of, came) = (endpoint.to_owned(), status.to_owned());
    counter!(metric::API_REQUESTS.name, "account" => account(), "endpoint" => of, "status" => came).increment(1);
    if status == "429" {
        counter!(metric::RATE_LIMITED.name, "account" => account()).increment(1);
    }
    histogram!(metric::API_LATENCY.name, "endpoint" => endpoint.to_owned()).record(after.as_secs_f64());
}

/// The API reported what its window still allows.
pub fn rate_limit_remaining(requests: u32) {
    gauge!(metric::RATE_LIMIT_REMAINING.name, "account" => account()).set(f64::from(requests));
}

/// By how much the `Date` of an answer is ahead of the database's clock.
pub fn api_clock_skew(ahead: TimeDelta) {
    gauge!(metric::API_CLOCK_SKEW.name, "account" => account()).set(ahead.as_seconds_f64());
}

/// A request for a token pair came to this.
pub fn token_refreshed(outcome: &'static str) {
    counter!(metric::TOKEN_REFRESHES.name, "account" => account(), "outcome" => outcome).increment(1);
}

/// Whether the account is authorized.
pub fn authorized(yes: bool) {
    gauge!(metric::AUTHORIZED.name, "account" => account()).set(if yes { 1.0 } else { 0.0 });
}

/// A run ended with the resource completed at that time.
pub fn last_success(resource: &str, at: DateTime<Utc>) {
    gauge!(metric::LAST_SUCCESS.name, "account" => account(), "resource" => resource.to_owned()).set(unix_seconds(at));
}

/// Whether this process consumes requests.
pub fn consumer_active(yes: bool) {
    gauge!(metric::CONSUMER_ACTIVE.name, "account" => account()).set(if yes { 1.0 } else { 0.0 });
}

/// How many events wait for the broker.
pub fn outbox_pending(events: i64) {
    gauge!(metric::OUTBOX_PENDING.name, "account" => account()).set(level(events));
}

/// A message went to the dead letter exchange.
pub fn dead_lettered(reason: &'static str) {
    counter!(metric::DEAD_LETTERS.name, "account" => account(), "reason" => reason).increment(1);
}

/// The API's answers differed from the documentation in this way. Each way is counted once in the life of the process:
/// every run sees it again, and nothing follows from that.
pub fn drift(resource: &'static str, way: &str) {
    let mut ways = WAYS.lock().unwrap_or_else(PoisonError::into_inner);
    if ways.len() < MAX_WAYS && ways.insert((resource, way.to_owned())) {
        counter!(metric::DRIFT.name, "account" => account(), "resource" => resource).increment(1);
    }
}

/// The guard held deletions of a resource back.
pub fn deletions_held(resource: &'static str) {
    counter!(metric::DELETIONS_HELD.name, "account" => account(), "resource" => resource).increment(1);
}

/// How many rows of a resource the guard keeps from being marked deleted at this time.
pub fn deletions_held_now(resource: &'static str, rows: i64) {
    gauge!(metric::DELETIONS_HELD_NOW.name, "account" => account(), "resource" => resource).set(level(rows));
}

/// A webhook was called, and this became of it.
pub fn webhook_called(result: &'static str) {
    counter!(metric::WEBHOOK_CALLS.name, "account" => account(), "result" => result).increment(1);
}

/// When a webhook was last called, and since when it is registered.
pub fn webhook_state(last_call: Option<DateTime<Utc>>, registered: Option<DateTime<Utc>>) {
    gauge!(metric::WEBHOOK_LAST_CALL.name, "account" => account()).set(last_call.map_or(0.0, unix_seconds));
    gauge!(metric::WEBHOOK_REGISTERED.name, "account" => account()).set(registered.map_or(0.0, unix_seconds));
}

/// A call has named a record of the resource.
pub fn hint_received(resource: &'static str) {
    counter!(metric::HINTS_RECEIVED.name, "account" => account(), "resource" => resource).increment(1);
}

/// A record that a call has named was looked at, this long after the call came.
pub fn hint_served(resource: &'static str, after: TimeDelta) {
    counter!(metric::HINTS_SERVED.name, "account" => account(), "resource" => resource).increment(1);
    histogram!(metric::HINT_LATENCY.name, "account" => account()).record(after.as_seconds_f64().max(0.0));
}

/// How many hints wait, and how many seconds the oldest has.
pub fn hints_waiting(hints: i64, oldest: f64) {
    gauge!(metric::HINTS_WAITING.name, "account" => account()).set(level(hints));
    gauge!(metric::HINTS_OLDEST.name, "account" => account()).set(oldest);
}

/// How changes of a resource were announced so far, whichever process has counted them.
pub fn webhook_loss(resource: &str, shown: i64, late: i64, missed: i64) {
    for (metric, total) in
        [(metric::WEBHOOK_SHOWN, shown), (metric::WEBHOOK_LATE, late), (metric::WEBHOOK_MISSED, missed)]
    {
        counter!(metric.name, "account" => account(), "resource" => resource.to_owned())
            .absolute(total.max(0).unsigned_abs());
    }
}

/// What the account is doing, of all that it can do, since when, and until when it waits.
pub fn state(states: &[(&'static str, bool)], since: Option<DateTime<Utc>>, waits_until: Option<DateTime<Utc>>) {
    for (state, holds) in states {
        let state = gauge!(metric::STATE.name, "account" => account(), "state" => *state);
        state.set(if *holds { 1.0 } else { 0.0 });
    }
    gauge!(metric::STATE_SINCE.name, "account" => account()).set(since.map_or(0.0, unix_seconds));
    gauge!(metric::WAITING_UNTIL.name, "account" => account()).set(waits_until.map_or(0.0, unix_seconds));
}

/// How many requests wait in the queue and in the delay queues; `None`: unknown.
pub fn queued(requests: Option<u32>, delayed: Option<u32>) {
    for (metric, waiting) in [(metric::QUEUED_REQUESTS, requests), (metric::DELAYED_REQUESTS, delayed)] {
        if let Some(waiting) = waiting {
            gauge!(metric.name, "account" => account()).set(f64::from(waiting));
        }
    }
}

/// What the process takes of its machine, as far as that is known.
#[derive(Debug)]
pub struct Taken {
    /// Processor time.
    pub processor: Option<Duration>,
    /// Bytes of memory.
    pub resident: Option<u64>,
    /// Open file descriptors.
    pub descriptors: Option<u32>,
    /// How many may be open.
    pub most_descriptors: Option<u32>,
}

/// What the process takes.
pub fn process(taken: &Taken) {
    if let Some(processor) = taken.processor {
        counter!(metric::PROCESS_CPU.name).absolute(processor.as_secs());
    }
    if let Some(bytes) = taken.resident {
        // Exact up to 9 petabytes.
        #[allow(clippy::cast_precision_loss)]
        gauge!(metric::PROCESS_MEMORY.name).set(bytes as f64);
    }
    let descriptors =
        [(metric::PROCESS_OPEN_FDS, taken.descriptors), (metric::PROCESS_MAX_FDS, taken.most_descriptors)];
    for (metric, number) in descriptors {
        if let Some(number) = number {
            gauge!(metric.name).set(f64::from(number));
        }
    }
}

/// How many threads the runtime has, how many tasks there are, and how many wait for any of the threads.
pub fn runtime(workers: usize, tasks: usize, queue: usize) {
    let numbers = [(metric::TOKIO_WORKERS, workers), (metric::TOKIO_TASKS, tasks), (metric::TOKIO_QUEUE, queue)];
    for (metric, number) in numbers {
        gauge!(metric.name).set(f64::from(u32::try_from(number).unwrap_or(u32::MAX)));
    }
}

/// How long the threads of the runtime have worked on tasks, all together.
pub fn runtime_busy(time: Duration) {
    counter!(metric::TOKIO_BUSY.name).absolute(time.as_secs());
}

/// How many connections of the pool are open, how many of these idle, and how many may be open.
pub fn database_connections(open: u32, idle: usize, most: u32) {
    let idle = u32::try_from(idle).unwrap_or(open).min(open);
    gauge!(metric::DATABASE_CONNECTIONS.name, "state" => "idle").set(f64::from(idle));
    gauge!(metric::DATABASE_CONNECTIONS.name, "state" => "used").set(f64::from(open - idle));
    gauge!(metric::DATABASE_CONNECTIONS_MAX.name).set(f64::from(most));
}

/// A connection of the pool was waited for; `None`: in vain.
pub fn database_acquired(after: Option<Duration>) {
    match after {
        Some(after) => gauge!(metric::DATABASE_ACQUIRE.name).set(after.as_secs_f64()),
        None => counter!(metric::DATABASE_ACQUIRE_TIMEOUTS.name).increment(1),
    }
}

/// How many rows of a resource have no detail, or an old one.
pub fn stale_details(resource: &str, rows: i64) {
    gauge!(metric::STALE_DETAILS.name, "account" => account(), "resource" => resource.to_owned()).set(level(rows));
}

/// How many records of a resource could not be read or stored.
pub fn rejected_records(resource: &str, records: i64) {
    let resource = resource.to_owned();
    gauge!(metric::REJECTED_RECORDS.name, "account" => account(), "resource" => resource).set(level(records));
}

/// How many findings a check of documents has.
pub fn reconciliation_findings(check: &'static str, findings: i64) {
    gauge!(metric::RECONCILIATION_FINDINGS.name, "account" => account(), "check" => check).set(level(findings));
}

/// An audit found this number of rows of a resource to differ; 0 is recorded, too.
pub fn audited(resource: &str, finding: &'static str, rows: i64) {
    let resource = resource.to_owned();
    let found =
        counter!(metric::AUDIT_FINDINGS.name, "account" => account(), "resource" => resource, "finding" => finding);
    found.increment(u64::try_from(rows).unwrap_or(0));
}

/// The share of a resource's records that has a finding at most, and what stands behind it: how many were drawn, and
/// how many of them have it.
pub fn audit_share(resource: &str, finding: &'static str, (at_most, drawn, found): (f64, i64, i64)) {
    for (metric, value) in
        [(metric::AUDIT_BOUND, at_most), (metric::AUDIT_DRAWN, level(drawn)), (metric::AUDIT_FOUND, level(found))]
    {
        let resource = resource.to_owned();
        gauge!(metric.name, "account" => account(), "resource" => resource, "finding" => finding).set(value);
    }
}

/// The always-on audit has drawn so many records.
pub fn audit_drew(resource: &'static str, source: &'static str, records: usize) {
    let draws = counter!(metric::AUDIT_DRAWS.name, "account" => account(), "resource" => resource, "source" => source);
    draws.increment(u64::try_from(records).unwrap_or(0));
}

/// A turn of the always-on audit has sent so many requests.
pub fn audit_asked(requests: i64) {
    counter!(metric::AUDIT_REQUESTS.name, "account" => account()).increment(u64::try_from(requests).unwrap_or(0));
}

/// A queue that is bound for an event was full.
pub fn event_nacked() {
    counter!(metric::NACKED.name, "account" => account()).increment(1);
}

/// A reply came to this.
pub fn reply(outcome: &'static str) {
    counter!(metric::REPLIES.name, "account" => account(), "outcome" => outcome).increment(1);
}

/// An event found no queue.
pub fn unrouted() {
    counter!(metric::UNROUTED.name, "account" => account()).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_seconds_are_not_lost() {
        let of = ("a counter of this test", "");
        let counted: Vec<u64> = (0..4).map(|_| whole_seconds(of, Duration::from_millis(700))).collect();
        assert_eq!(counted, [0, 1, 1, 0]);
        assert_eq!(whole_seconds(of, Duration::from_millis(200)), 1);
    }

    #[test]
    fn what_is_of_the_account_has_its_label_and_what_is_of_the_process_has_not() {
        let of_the_process = |metric: &Metric| {
            let parts = ["process_", "teamleader2db_tokio_", "teamleader2db_database_", "teamleader2db_build_info"];
            parts.iter().any(|part| metric.name.starts_with(part)) || metric.name == metric::API_LATENCY.name
        };
        for metric in metric::ALL {
            let labelled = metric.labels.first() == Some(&metric::ACCOUNT);
            assert_eq!(labelled, !of_the_process(&metric), "{}", metric.name);
        }
    }
}
