//! Logs and metrics.

use std::io::IsTerminal;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::JsonFields;

use super::json_lines::JsonLines;

/// Runs that ended, by `status`.
const RUNS: &str = "teamleader2db_runs_total";
/// Records merged, by `resource` and `change` (created, updated, unchanged, deleted, detailed).
const RECORDS: &str = "teamleader2db_records_total";
/// Requests to the API, by `endpoint` and `status` (an HTTP status, or `none` without an answer).
const API_REQUESTS: &str = "teamleader2db_api_requests_total";
/// Seconds from a request to the end of its answer, by `endpoint`.
const API_LATENCY: &str = "teamleader2db_api_request_duration_seconds";
/// Requests that the API refused with 429, although the worker keeps within the budget: others use it, too.
const RATE_LIMITED: &str = "teamleader2db_rate_limited_total";
/// Requests that the API's window still allows, as it last reported.
const RATE_LIMIT_REMAINING: &str = "teamleader2db_rate_limit_remaining";
/// Seconds by which the API's clock (`Date`) is ahead of the database's; negative where it is behind.
const API_CLOCK_SKEW: &str = "teamleader2db_api_clock_skew_seconds";
/// Requests for a token pair, by `outcome`.
const TOKEN_REFRESHES: &str = "teamleader2db_token_refreshes_total";
/// 1 while the account is authorized.
const AUTHORIZED: &str = "teamleader2db_authorized";
/// When a run last ended with the resource completed, in Unix seconds, by `resource`.
const LAST_SUCCESS: &str = "teamleader2db_last_success_timestamp_seconds";
/// 1 while this process consumes requests.
const CONSUMER_ACTIVE: &str = "teamleader2db_queue_consumer_active";
/// Events that the broker has not confirmed yet.
const OUTBOX_PENDING: &str = "teamleader2db_outbox_pending";
/// Messages sent to the dead letter exchange, by `reason`.
const DEAD_LETTERS: &str = "teamleader2db_dead_letters_total";
/// Ways in which the API's answers differed from the documentation, by `resource`.
const DRIFT: &str = "teamleader2db_drift_total";
/// Times that the guard held deletions back, by `resource`.
const DELETIONS_HELD: &str = "teamleader2db_deletions_held_total";
/// Rows that the guard keeps from being marked deleted, by `account` and `resource`: until a full sync has settled it.
const DELETIONS_HELD_NOW: &str = "teamleader2db_deletions_held";
/// 1 for what the account is doing, 0 for all else, by `account` and `state` (waiting_for_authorization,
/// waiting_for_api, waiting_for_budget, running, idle).
const STATE: &str = "teamleader2db_state";
/// When the account goes on by itself, in Unix seconds, by `account`; 0: it does not wait for a time.
const WAITING_UNTIL: &str = "teamleader2db_waiting_until_timestamp_seconds";
/// Rows whose detail is missing or older than their list item, by `resource`.
const STALE_DETAILS: &str = "teamleader2db_stale_details";
/// Records that could not be read or stored, and are asked for again, by `resource`.
const REJECTED_RECORDS: &str = "teamleader2db_rejected_records";
/// Rows that audits found to differ from the API, by `resource` and `finding` (missing, stale, wrong).
const AUDIT_FINDINGS: &str = "teamleader2db_audit_findings_total";
/// Published events that no queue was bound for.
const UNROUTED: &str = "teamleader2db_unrouted_events_total";
/// Times that a queue which is bound for an event did not take it, because it was full.
const NACKED: &str = "teamleader2db_nacked_events_total";
/// Replies to senders, by `outcome` (sent, unrouted, given_up, not_allowed).
const REPLIES: &str = "teamleader2db_replies_total";

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
        .set_buckets_for_metric(Matcher::Full(API_LATENCY.to_owned()), &LATENCY_BUCKETS)
        .ok()?;
    let handle = builder.install_recorder().ok()?;
    describe_counter!(RUNS, "Runs that ended, by status.");
    describe_counter!(RECORDS, "Records merged, by resource and change.");
    describe_counter!(API_REQUESTS, "Requests to the API, by endpoint and HTTP status.");
    describe_histogram!(API_LATENCY, Unit::Seconds, "Time from a request to the end of its answer.");
    describe_counter!(RATE_LIMITED, "Requests that the API refused with 429: somebody else uses up the budget.");
    describe_gauge!(RATE_LIMIT_REMAINING, "Requests that the API's window still allows, as it last reported.");
    describe_gauge!(API_CLOCK_SKEW, Unit::Seconds, "By how much the API's clock is ahead of the database's.");
    describe_counter!(TOKEN_REFRESHES, "Requests for a token pair, by outcome.");
    describe_gauge!(AUTHORIZED, "1 while the account is authorized.");
    describe_gauge!(LAST_SUCCESS, "When a run last ended with the resource completed, in Unix seconds.");
    describe_gauge!(CONSUMER_ACTIVE, "1 while this process consumes requests.");
    describe_gauge!(OUTBOX_PENDING, "Events that the broker has not confirmed yet.");
    describe_counter!(DEAD_LETTERS, "Messages sent to the dead letter exchange, by reason.");
    describe_counter!(DRIFT, "Ways in which the API's answers differed from the documentation, by resource.");
    describe_counter!(DELETIONS_HELD, "Times that the guard held deletions back, by resource.");
    describe_gauge!(
        DELETIONS_HELD_NOW,
        "Rows that the guard keeps from being marked deleted, until a full sync has settled it."
    );
    describe_gauge!(STATE, "1 for what the account is doing, 0 for all else, by account and state.");
    describe_gauge!(
        WAITING_UNTIL,
        Unit::Seconds,
        "When the account goes on by itself, in Unix seconds; 0: it does not wait for a time."
    );
    describe_gauge!(STALE_DETAILS, "Rows whose detail is missing or older than their list item, by resource.");
    describe_gauge!(
        REJECTED_RECORDS,
        "Records that could not be read or stored, and are asked for again, by resource."
    );
    describe_counter!(AUDIT_FINDINGS, "Rows that audits found to differ from the API, by resource and finding.");
    describe_counter!(UNROUTED, "Published events that no queue was bound for.");
    describe_counter!(NACKED, "Times that a queue bound for an event did not take it, because it was full.");
    describe_counter!(REPLIES, "Replies to senders, by outcome.");
    // Counters begin at nothing, not at their first event: a rate over them would miss that one.
    for status in ["completed", "partial", "failed", "cancelled"] {
        counter!(RUNS, "status" => status).increment(0);
    }
    for outcome in ["refreshed", "refused", "client_rejected", "not_sent", "unknown"] {
        counter!(TOKEN_REFRESHES, "outcome" => outcome).increment(0);
    }
    for reason in ["bad_request", "conflict", "crowded", "given_up", "undelivered", "token_pair", "panicked"] {
        counter!(DEAD_LETTERS, "reason" => reason).increment(0);
    }
    for resource in resources {
        counter!(DRIFT, "resource" => resource).increment(0);
        counter!(DELETIONS_HELD, "resource" => resource).increment(0);
    }
    counter!(RATE_LIMITED).increment(0);
    for outcome in ["sent", "unrouted", "given_up", "not_allowed"] {
        counter!(REPLIES, "outcome" => outcome).increment(0);
    }
    counter!(UNROUTED).increment(0);
    counter!(NACKED).increment(0);
    Some(handle)
}

/// A run ended.
pub fn run_ended(status: &'static str) {
    counter!(RUNS, "status" => status).increment(1);
}

/// Records of a resource changed in the copy; a `count` of 0 is not recorded.
pub fn records(resource: &'static str, change: &'static str, count: i64) {
    if let Ok(count) = u64::try_from(count)
        && count > 0
    {
        counter!(RECORDS, "resource" => resource, "change" => change).increment(count);
    }
}

/// A request to the API was answered, or given up (`status` `none`).
pub fn api_answered(endpoint: &str, status: &str, after: Duration) {
    counter!(API_REQUESTS, "endpoint" => endpoint.to_owned(), "status" => status.to_owned()).increment(1);
    if status == "429" {
        counter!(RATE_LIMITED).increment(1);
    }
    histogram!(API_LATENCY, "endpoint" => endpoint.to_owned()).record(after.as_secs_f64());
}

/// The API reported what its window still allows.
pub fn rate_limit_remaining(requests: u32) {
    gauge!(RATE_LIMIT_REMAINING).set(f64::from(requests));
}

/// By how much the `Date` of an answer is ahead of the database's clock.
pub fn api_clock_skew(ahead: TimeDelta) {
    gauge!(API_CLOCK_SKEW).set(ahead.as_seconds_f64());
}

/// A request for a token pair came to this.
pub fn token_refreshed(outcome: &'static str) {
    counter!(TOKEN_REFRESHES, "outcome" => outcome).increment(1);
}

/// Whether the account is authorized.
pub fn authorized(yes: bool) {
    gauge!(AUTHORIZED).set(if yes { 1.0 } else { 0.0 });
}

/// A run ended with the resource completed at that time.
pub fn last_success(resource: &str, at: DateTime<Utc>) {
    // Whole seconds are exact in an f64 for the next hundred million years.
    #[allow(clippy::cast_precision_loss)]
    gauge!(LAST_SUCCESS, "resource" => resource.to_owned()).set(at.timestamp() as f64);
}

/// Whether this process consumes requests.
pub fn consumer_active(yes: bool) {
    gauge!(CONSUMER_ACTIVE).set(if yes { 1.0 } else { 0.0 });
}

/// How many events wait for the broker.
pub fn outbox_pending(events: i64) {
    gauge!(OUTBOX_PENDING).set(f64::from(i32::try_from(events).unwrap_or(i32::MAX)));
}

/// A message went to the dead letter exchange.
pub fn dead_lettered(reason: &'static str) {
    counter!(DEAD_LETTERS, "reason" => reason).increment(1);
}

/// The API's answers differed from the documentation, in one way more.
pub fn drift(resource: &'static str) {
    counter!(DRIFT, "resource" => resource).increment(1);
}

/// The guard held deletions of a resource back.
pub fn deletions_held(resource: &'static str) {
    counter!(DELETIONS_HELD, "resource" => resource).increment(1);
}

/// How many rows of a resource of an account the guard keeps from being marked deleted at this time.
pub fn deletions_held_now(account: &str, resource: &str, rows: i64) {
    let rows = f64::from(i32::try_from(rows).unwrap_or(i32::MAX));
    gauge!(DELETIONS_HELD_NOW, "account" => account.to_owned(), "resource" => resource.to_owned()).set(rows);
}

/// What an account is doing, of all that it can do, and until when it waits.
pub fn state(account: &str, states: &[(&'static str, bool)], waits_until: Option<DateTime<Utc>>) {
    for (state, holds) in states {
        gauge!(STATE, "account" => account.to_owned(), "state" => *state).set(if *holds { 1.0 } else { 0.0 });
    }
    #[allow(clippy::cast_precision_loss)]
    let until = waits_until.map_or(0.0, |at| at.timestamp() as f64);
    gauge!(WAITING_UNTIL, "account" => account.to_owned()).set(until);
}

/// How many rows of a resource have no detail, or an old one.
pub fn stale_details(resource: &str, rows: i64) {
    gauge!(STALE_DETAILS, "resource" => resource.to_owned()).set(f64::from(i32::try_from(rows).unwrap_or(i32::MAX)));
}

/// How many records of a resource could not be read or stored.
pub fn rejected_records(resource: &str, records: i64) {
    let records = f64::from(i32::try_from(records).unwrap_or(i32::MAX));
    gauge!(REJECTED_RECORDS, "resource" => resource.to_owned()).set(records);
}

/// An audit found this number of rows of a resource to differ; 0 is recorded, too.
pub fn audited(resource: &str, finding: &'static str, rows: i64) {
    let found = counter!(AUDIT_FINDINGS, "resource" => resource.to_owned(), "finding" => finding);
    found.increment(u64::try_from(rows).unwrap_or(0));
}

/// A queue that is bound for an event was full.
pub fn event_nacked() {
    counter!(NACKED).increment(1);
}

/// A reply came to this.
pub fn reply(outcome: &'static str) {
    counter!(REPLIES, "outcome" => outcome).increment(1);
}

/// An event found no queue.
pub fn unrouted() {
    counter!(UNROUTED).increment(1);
}
