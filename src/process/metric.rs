//! The metrics: their names, kinds and labels, and what they count. `make tables` makes docs/metrics.md of them.

/// How Prometheus is to take a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only rises, from 0 at the start of the process.
    Counter,
    /// It rises and falls.
    Gauge,
    /// Observations by their size.
    Histogram,
}

/// The labels of a metric, each with its values where these are few and known.
pub type Labels = &'static [(&'static str, &'static [&'static str])];

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, with its unit.
    pub name: &'static str,
    /// How it is to be taken.
    pub kind: Kind,
    /// Its labels.
    pub labels: Labels,
    /// What it says, in a sentence.
    pub help: &'static str,
}

const fn counter(name: &'static str, labels: Labels, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: Labels, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

/// Runs that ended.
pub const RUNS: Metric = counter(
    "teamleader2db_runs_total",
    &[("status", &["completed", "partial", "failed", "cancelled"])],
    "Runs that ended while this worker was at them; not those that were cancelled or given up in a queue.",
);
/// Records that were merged.
pub const RECORDS: Metric = counter(
    "teamleader2db_records_total",
    &[("resource", &[]), ("change", &["created", "updated", "unchanged", "deleted", "detailed"])],
    "Records that were merged.",
);
/// Requests to the API; the status is that of HTTP.
pub const API_REQUESTS: Metric = counter(
    "teamleader2db_api_requests_total",
    &[("endpoint", &[]), ("status", &[])],
    "Requests to the API, by endpoint and HTTP status; none: without an answer.",
);
/// How long the API takes.
pub const API_LATENCY: Metric = Metric {
    name: "teamleader2db_api_request_duration_seconds",
    kind: Kind::Histogram,
    labels: &[("endpoint", &[])],
    help: "Time from a request to the end of its answer.",
};
/// Requests that the API refused, although the worker stays within the budget.
pub const RATE_LIMITED: Metric = counter(
    "teamleader2db_rate_limited_total",
    &[],
    "Requests that the API refused with 429: other programs use up the budget.",
);
/// What the budget still allows.
pub const RATE_LIMIT_REMAINING: Metric = gauge(
    "teamleader2db_rate_limit_remaining",
    &[],
    "Requests that the API's window still allowed at the last answer.",
);
/// The clocks; negative where the API's is behind.
pub const API_CLOCK_SKEW: Metric = gauge(
    "teamleader2db_api_clock_skew_seconds",
    &[],
    "By how much the API's clock was ahead of the database's at the last answer.",
);
/// Requests for a token pair.
pub const TOKEN_REFRESHES: Metric = counter(
    "teamleader2db_token_refreshes_total",
    &[("outcome", &["refreshed", "refused", "client_rejected", "not_sent", "unknown"])],
    "Requests for a token pair.",
);
/// Whether the account is authorized.
pub const AUTHORIZED: Metric = gauge("teamleader2db_authorized", &[], "1 while the account is authorized.");
/// When a resource last completed.
pub const LAST_SUCCESS: Metric = gauge(
    "teamleader2db_last_success_timestamp_seconds",
    &[("resource", &[])],
    "When a run last ended with the resource completed, in Unix seconds.",
);
/// Whether this process consumes.
pub const CONSUMER_ACTIVE: Metric =
    gauge("teamleader2db_queue_consumer_active", &[], "1 while this process holds a consumer on the queue.");
/// Events that wait.
pub const OUTBOX_PENDING: Metric =
    gauge("teamleader2db_outbox_pending", &[], "Events that the broker has not confirmed yet.");
/// Messages that cannot be processed.
pub const DEAD_LETTERS: Metric = counter(
    "teamleader2db_dead_letters_total",
    &[("reason", &["bad_request", "conflict", "crowded", "given_up", "undelivered", "token_pair", "panicked"])],
    "Messages sent to the dead letter exchange.",
);
/// Differences from the documents.
pub const DRIFT: Metric = counter(
    "teamleader2db_drift_total",
    &[("resource", &[])],
    "Ways in which the API's answers differed from the documentation.",
);
/// The guard on deletions has stopped.
pub const DELETIONS_HELD: Metric =
    counter("teamleader2db_deletions_held_total", &[("resource", &[])], "Times that the guard held deletions back.");
/// What the guard holds back at this time.
pub const DELETIONS_HELD_NOW: Metric = gauge(
    "teamleader2db_deletions_held",
    &[("account", &[]), ("resource", &[])],
    "Rows that the guard keeps from being marked deleted, until a full sync has settled it.",
);
/// What the account is doing.
pub const STATE: Metric = gauge(
    "teamleader2db_state",
    &[
        ("account", &[]),
        ("state", &["waiting_for_authorization", "waiting_for_api", "waiting_for_budget", "running", "idle"]),
    ],
    "1 for what the account is doing, 0 for all else.",
);
/// When it goes on.
pub const WAITING_UNTIL: Metric = gauge(
    "teamleader2db_waiting_until_timestamp_seconds",
    &[("account", &[])],
    "When the account continues by itself, in Unix seconds; 0: it does not wait for a time.",
);
/// Details that are missing or stale.
pub const STALE_DETAILS: Metric = gauge(
    "teamleader2db_stale_details",
    &[("resource", &[])],
    "Rows whose detail is missing or older than their list item, counted every minute.",
);
/// Records that could not be read or stored.
pub const REJECTED_RECORDS: Metric = gauge(
    "teamleader2db_rejected_records",
    &[("resource", &[])],
    "Records that could not be read or stored, and are asked for again, counted every minute.",
);
/// What audits found.
pub const AUDIT_FINDINGS: Metric = counter(
    "teamleader2db_audit_findings_total",
    &[("resource", &[]), ("finding", &["missing", "stale", "wrong"])],
    "Rows that audits found to differ from the API.",
);
/// Events that nobody is bound for.
pub const UNROUTED: Metric =
    counter("teamleader2db_unrouted_events_total", &[], "Published events that no queue was bound for.");
/// Events that a full queue refused.
pub const NACKED: Metric = counter(
    "teamleader2db_nacked_events_total",
    &[],
    "Times that a queue bound for an event did not take it, because it was full.",
);
/// Replies to senders.
pub const REPLIES: Metric = counter(
    "teamleader2db_replies_total",
    &[("outcome", &["sent", "unrouted", "given_up", "not_allowed"])],
    "Replies to senders.",
);

/// All of them, in the order of the documentation.
pub const ALL: [Metric; 24] = [
    AUTHORIZED,
    STATE,
    WAITING_UNTIL,
    LAST_SUCCESS,
    CONSUMER_ACTIVE,
    RUNS,
    RECORDS,
    STALE_DETAILS,
    REJECTED_RECORDS,
    DELETIONS_HELD_NOW,
    DELETIONS_HELD,
    DRIFT,
    AUDIT_FINDINGS,
    API_REQUESTS,
    API_LATENCY,
    RATE_LIMITED,
    RATE_LIMIT_REMAINING,
    API_CLOCK_SKEW,
    TOKEN_REFRESHES,
    OUTBOX_PENDING,
    UNROUTED,
    NACKED,
    REPLIES,
    DEAD_LETTERS,
];
