//! Logs and metrics.

use std::io::IsTerminal;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::JsonFields;

use super::json_lines::JsonLines;
use super::metric::{
    self, API_CLOCK_SKEW, API_LATENCY, API_REQUESTS, AUDIT_FINDINGS, AUTHORIZED, CONSUMER_ACTIVE, DEAD_LETTERS,
    DELETIONS_HELD, DELETIONS_HELD_NOW, DRIFT, Kind, LAST_SUCCESS, Metric, NACKED, OUTBOX_PENDING,
    RATE_LIMIT_REMAINING, RATE_LIMITED, RECORDS, REJECTED_RECORDS, REPLIES, RUNS, STALE_DETAILS, STATE,
    TOKEN_REFRESHES, UNROUTED, WAITING_UNTIL,
};

/// The upper bounds of the latency histogram, in seconds.
const LATENCY_BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

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
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    // An error means that logging was set up before, as tests do.
    let _ = match format {
        LogFormat::Pretty => base.with_target(false).try_init(),
        LogFormat::Json => base.fmt_fields(JsonFields::new()).event_format(JsonLines).try_init(),
    };
}

/// Starts collecting metrics of these resources. The handle renders them; `None` when they are collected already.
pub fn start_metrics(resources: impl IntoIterator<Item = &'static str>) -> Option<PrometheusHandle> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(API_LATENCY.name.to_owned()), &LATENCY_BUCKETS)
        .ok()?;
    let handle = builder.install_recorder().ok()?;
    for metric in metric::ALL {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metric.help),
        }
        start_at_zero(&metric);
    }
    for resource in resources {
        counter!(DRIFT.name, "resource" => resource).increment(0);
        counter!(DELETIONS_HELD.name, "resource" => resource).increment(0);
    }
    Some(handle)
}

/// Counters whose labels have few values start at 0, not at their first event: a rate over them would miss that one.
fn start_at_zero(metric: &Metric) {
    match (metric.kind, metric.labels) {
        (Kind::Counter, []) => counter!(metric.name).increment(0),
        (Kind::Counter, [(label, values)]) => {
            for value in *values {
                counter!(metric.name, *label => *value).increment(0);
            }
        }
        _ => {}
    }
}

/// A run ended.
pub fn run_ended(status: &'static str) {
    counter!(RUNS.name, "status" => status).increment(1);
}

/// Records of a resource changed in the copy; a `count` of 0 is not recorded.
pub fn records(resource: &'static str, change: &'static str, count: i64) {
    if let Ok(count) = u64::try_from(count)
        && count > 0
    {
        counter!(RECORDS.name, "resource" => resource, "change" => change).increment(count);
    }
}

/// A request to the API was answered, or given up (`status` `none`).
pub fn api_answered(endpoint: &str, status: &str, after: Duration) {
    counter!(API_REQUESTS.name, "endpoint" => endpoint.to_owned(), "status" => status.to_owned()).increment(1);
    if status == "429" {
        counter!(RATE_LIMITED.name).increment(1);
    }
    histogram!(API_LATENCY.name, "endpoint" => endpoint.to_owned()).record(after.as_secs_f64());
}

/// The API reported what its window still allows.
pub fn rate_limit_remaining(requests: u32) {
    gauge!(RATE_LIMIT_REMAINING.name).set(f64::from(requests));
}

/// By how much the `Date` of an answer is ahead of the database's clock.
pub fn api_clock_skew(ahead: TimeDelta) {
    gauge!(API_CLOCK_SKEW.name).set(ahead.as_seconds_f64());
}

/// A request for a token pair came to this.
pub fn token_refreshed(outcome: &'static str) {
    counter!(TOKEN_REFRESHES.name, "outcome" => outcome).increment(1);
}

/// Whether the account is authorized.
pub fn authorized(yes: bool) {
    gauge!(AUTHORIZED.name).set(if yes { 1.0 } else { 0.0 });
}

/// A run ended with the resource completed at that time.
pub fn last_success(resource: &str, at: DateTime<Utc>) {
    // Whole seconds are exact in an f64 for the next hundred million years.
    #[allow(clippy::cast_precision_loss)]
    gauge!(LAST_SUCCESS.name, "resource" => resource.to_owned()).set(at.timestamp() as f64);
}

/// Whether this process consumes requests.
pub fn consumer_active(yes: bool) {
    gauge!(CONSUMER_ACTIVE.name).set(if yes { 1.0 } else { 0.0 });
}

/// How many events wait for the broker.
pub fn outbox_pending(events: i64) {
    gauge!(OUTBOX_PENDING.name).set(f64::from(i32::try_from(events).unwrap_or(i32::MAX)));
}

/// A message went to the dead letter exchange.
pub fn dead_lettered(reason: &'static str) {
    counter!(DEAD_LETTERS.name, "reason" => reason).increment(1);
}

/// The API's answers differed from the documentation, in one way more.
pub fn drift(resource: &'static str) {
    counter!(DRIFT.name, "resource" => resource).increment(1);
}

/// The guard held deletions of a resource back.
pub fn deletions_held(resource: &'static str) {
    counter!(DELETIONS_HELD.name, "resource" => resource).increment(1);
}

/// How many rows of a resource of an account the guard keeps from being marked deleted at this time.
pub fn deletions_held_now(account: &str, resource: &str, rows: i64) {
    let rows = f64::from(i32::try_from(rows).unwrap_or(i32::MAX));
    gauge!(DELETIONS_HELD_NOW.name, "account" => account.to_owned(), "resource" => resource.to_owned()).set(rows);
}

/// What an account is doing, of all that it can do, and until when it waits.
pub fn state(account: &str, states: &[(&'static str, bool)], waits_until: Option<DateTime<Utc>>) {
    for (state, holds) in states {
        gauge!(STATE.name, "account" => account.to_owned(), "state" => *state).set(if *holds { 1.0 } else { 0.0 });
    }
    #[allow(clippy::cast_precision_loss)]
    let until = waits_until.map_or(0.0, |at| at.timestamp() as f64);
    gauge!(WAITING_UNTIL.name, "account" => account.to_owned()).set(until);
}

/// How many rows of a resource have no detail, or an old one.
pub fn stale_details(resource: &str, rows: i64) {
    gauge!(STALE_DETAILS.name, "resource" => resource.to_owned())
        .set(f64::from(i32::try_from(rows).unwrap_or(i32::MAX)));
}

/// How many records of a resource could not be read or stored.
pub fn rejected_records(resource: &str, records: i64) {
    let records = f64::from(i32::try_from(records).unwrap_or(i32::MAX));
    gauge!(REJECTED_RECORDS.name, "resource" => resource.to_owned()).set(records);
}

/// An audit found this number of rows of a resource to differ; 0 is recorded, too.
pub fn audited(resource: &str, finding: &'static str, rows: i64) {
    let found = counter!(AUDIT_FINDINGS.name, "resource" => resource.to_owned(), "finding" => finding);
    found.increment(u64::try_from(rows).unwrap_or(0));
}

/// A queue that is bound for an event was full.
pub fn event_nacked() {
    counter!(NACKED.name).increment(1);
}

/// A reply came to this.
pub fn reply(outcome: &'static str) {
    counter!(REPLIES.name, "outcome" => outcome).increment(1);
}

/// An event found no queue.
pub fn unrouted() {
    counter!(UNROUTED.name).increment(1);
}
