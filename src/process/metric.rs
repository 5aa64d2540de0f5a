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

/// A label, with its values where these are few and known.
pub type Label = (&'static str, &'static [&'static str]);

/// The labels of a metric.
pub type Labels = &'static [Label];

/// Which account it is about, which this process serves. Metrics of the process do not have it, and neither has the
/// histogram by endpoint, which is large.
pub const ACCOUNT: Label = ("account", &[]);

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

const fn histogram(name: &'static str, labels: Labels, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, labels, help }
}

const fn gauge(name: &'static str, labels: Labels, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

/// Runs that ended.
pub const RUNS: Metric = counter(
    "teamleader2db_runs_total",
    &[ACCOUNT, ("status", &["completed", "partial", "failed", "cancelled"])],
    "Runs that ended while this worker was at them; not those that were cancelled or given up in a queue.",
);
/// How long runs take.
pub const RUN_DURATION: Metric = histogram(
    "teamleader2db_run_duration_seconds",
    &[ACCOUNT, ("mode", &[]), ("status", &[])],
    "Time from the start of a run to its end, its waits included.",
);
/// How resources ended.
pub const RESOURCE_RUNS: Metric = counter(
    "teamleader2db_resource_runs_total",
    &[ACCOUNT, ("resource", &[]), ("status", &["completed", "failed", "skipped"])],
    "Runs that ended while this worker was at them, by resource and how that ended.",
);
/// How long resources take.
pub const RESOURCE_SECONDS: Metric = counter(
    "teamleader2db_resource_seconds_total",
    &[ACCOUNT, ("resource", &[])],
    "Time that runs worked on a resource. Lists are read beside each other.",
);
/// Records that were merged.
pub const RECORDS: Metric = counter(
    "teamleader2db_records_total",
    &[ACCOUNT, ("resource", &[]), ("change", &["created", "updated", "unchanged", "deleted", "detailed"])],
    "Records that were merged.",
);
/// Requests to the API; the status is that of HTTP.
pub const API_REQUESTS: Metric = counter(
    "teamleader2db_api_requests_total",
    &[ACCOUNT, ("endpoint", &[]), ("status", &[])],
    "Requests to the API, by endpoint and HTTP status; none: without an answer.",
);
/// How long the API takes.
pub const API_LATENCY: Metric = histogram(
    "teamleader2db_api_request_duration_seconds",
    &[("endpoint", &[])],
    "Time from a request to the end of its answer.",
);
/// Requests that the API refused, although the worker stays within the budget.
pub const RATE_LIMITED: Metric = counter(
    "teamleader2db_rate_limited_total",
    &[ACCOUNT],
    "Requests that the API refused with 429: other programs use up the budget.",
);
/// What the budget still allows.
pub const RATE_LIMIT_REMAINING: Metric = gauge(
    "teamleader2db_rate_limit_remaining",
    &[ACCOUNT],
    "Requests that the API's window still allowed at the last answer.",
);
/// How long the budget was waited for.
pub const BUDGET_WAIT: Metric = counter(
    "teamleader2db_budget_wait_seconds_total",
    &[ACCOUNT],
    "Time in which a request or more waited for the API's budget.",
);
/// The clocks; negative where the API's is behind.
pub const API_CLOCK_SKEW: Metric = gauge(
    "teamleader2db_api_clock_skew_seconds",
    &[ACCOUNT],
    "By how much the API's clock was ahead of the database's at the last answer.",
);
/// Requests for a token pair.
pub const TOKEN_REFRESHES: Metric = counter(
    "teamleader2db_token_refreshes_total",
    &[ACCOUNT, ("outcome", &["refreshed", "refused", "client_rejected", "not_sent", "unknown"])],
    "Requests for a token pair.",
);
/// Whether the account is authorized.
pub const AUTHORIZED: Metric = gauge("teamleader2db_authorized", &[ACCOUNT], "1 while the account is authorized.");
/// When a resource last completed.
pub const LAST_SUCCESS: Metric = gauge(
    "teamleader2db_last_success_timestamp_seconds",
    &[ACCOUNT, ("resource", &[])],
    "When a run last ended with the resource completed, in Unix seconds.",
);
/// Whether this process consumes.
pub const CONSUMER_ACTIVE: Metric =
    gauge("teamleader2db_queue_consumer_active", &[ACCOUNT], "1 while this process holds a consumer on the queue.");
/// Requests in the queue.
pub const QUEUED_REQUESTS: Metric = gauge(
    "teamleader2db_queued_requests",
    &[ACCOUNT],
    "Requests that wait in the queue, but for the one in hand, counted every minute.",
);
/// Requests in delay queues.
pub const DELAYED_REQUESTS: Metric = gauge(
    "teamleader2db_delayed_requests",
    &[ACCOUNT],
    "Requests that wait in delay queues, since the API was down, counted every minute.",
);
/// Events that wait.
pub const OUTBOX_PENDING: Metric =
    gauge("teamleader2db_outbox_pending", &[ACCOUNT], "Events that the broker has not confirmed yet.");
/// Messages that cannot be processed.
pub const DEAD_LETTERS: Metric = counter(
    "teamleader2db_dead_letters_total",
    &[
        ACCOUNT,
        ("reason", &["bad_request", "conflict", "crowded", "given_up", "undelivered", "token_pair", "panicked"]),
    ],
    "Messages sent to the dead letter exchange.",
);
/// Differences from the documents.
pub const DRIFT: Metric = counter(
    "teamleader2db_drift_total",
    &[ACCOUNT, ("resource", &[])],
    "Ways in which the API's answers differed from the documentation, each once in the life of the process.",
);
/// The guard on deletions has stopped.
pub const DELETIONS_HELD: Metric = counter(
    "teamleader2db_deletions_held_total",
    &[ACCOUNT, ("resource", &[])],
    "Times that the guard held deletions back.",
);
/// What the guard holds back at this time.
pub const DELETIONS_HELD_NOW: Metric = gauge(
    "teamleader2db_deletions_held",
    &[ACCOUNT, ("resource", &[])],
    "Rows that the guard keeps from being marked deleted, until a full sync has settled it.",
);
/// What the account is doing.
pub const STATE: Metric = gauge(
    "teamleader2db_state",
    &[ACCOUNT, ("state", &["waiting_for_authorization", "waiting_for_api", "waiting_for_budget", "running", "idle"])],
    "1 for what the account is doing, 0 for all else.",
);
/// Since when.
pub const STATE_SINCE: Metric = gauge(
    "teamleader2db_state_since_timestamp_seconds",
    &[ACCOUNT],
    "Since when the account is doing that, in Unix seconds; 0: unknown.",
);
/// When it goes on.
pub const WAITING_UNTIL: Metric = gauge(
    "teamleader2db_waiting_until_timestamp_seconds",
    &[ACCOUNT],
    "When the account continues by itself, in Unix seconds; 0: it does not wait for a time.",
);
/// Details that are missing or stale.
pub const STALE_DETAILS: Metric = gauge(
    "teamleader2db_stale_details",
    &[ACCOUNT, ("resource", &[])],
    "Rows whose detail is missing or older than their list item, counted every minute.",
);
/// Records that could not be read or stored.
pub const REJECTED_RECORDS: Metric = gauge(
    "teamleader2db_rejected_records",
    &[ACCOUNT, ("resource", &[])],
    "Records that could not be read or stored, and are asked for again, counted every minute.",
);
/// Documents that do not add up.
pub const RECONCILIATION_FINDINGS: Metric = gauge(
    "teamleader2db_reconciliation_findings",
    &[ACCOUNT, ("check", &[])],
    "Findings of teamleader_views.reconciliation, counted after each full sync of invoices or credit notes.",
);
/// The bounds of the always-on audit.
pub const AUDIT_BOUND: Metric = gauge(
    "teamleader2db_audit_bound",
    &[ACCOUNT, ("resource", &[]), ("finding", &["wrong", "missing", "stale"])],
    "The share of a resource's records that is wrong, missing or stale at most, from 0 to 1, with a confidence of \
     95 %: over the newest draw of each record that AUDIT_RATE has drawn within 7 days. 1: none was drawn.",
);
/// What stands behind the bounds.
pub const AUDIT_DRAWN: Metric = gauge(
    "teamleader2db_audit_drawn",
    &[ACCOUNT, ("resource", &[]), ("finding", &["wrong", "missing", "stale"])],
    "Records behind teamleader2db_audit_bound.",
);
/// What was found of them.
pub const AUDIT_FOUND: Metric = gauge(
    "teamleader2db_audit_found",
    &[ACCOUNT, ("resource", &[]), ("finding", &["wrong", "missing", "stale"])],
    "Those of teamleader2db_audit_drawn that were found so.",
);
/// What it draws.
pub const AUDIT_DRAWS: Metric = counter(
    "teamleader2db_audit_draws_total",
    &[ACCOUNT, ("resource", &[]), ("source", &["rows", "list"])],
    "Records that AUDIT_RATE has drawn, from the rows of the copy or from the API's lists.",
);
/// What it takes.
pub const AUDIT_REQUESTS: Metric =
    counter("teamleader2db_audit_requests_total", &[ACCOUNT], "Requests to the API that AUDIT_RATE has taken.");
/// What audits found.
pub const AUDIT_FINDINGS: Metric = counter(
    "teamleader2db_audit_findings_total",
    &[ACCOUNT, ("resource", &[]), ("finding", &["missing", "stale", "wrong"])],
    "Rows that audits found to differ from the API.",
);
/// Events that nobody is bound for.
pub const UNROUTED: Metric =
    counter("teamleader2db_unrouted_events_total", &[ACCOUNT], "Published events that no queue was bound for.");
/// Events that a full queue refused.
pub const NACKED: Metric = counter(
    "teamleader2db_nacked_events_total",
    &[ACCOUNT],
    "Times that a queue bound for an event did not take it, because it was full.",
);
/// Replies to senders.
pub const REPLIES: Metric = counter(
    "teamleader2db_replies_total",
    &[ACCOUNT, ("outcome", &["sent", "unrouted", "given_up", "not_allowed"])],
    "Replies to senders.",
);

/// Which build runs.
pub const BUILD_INFO: Metric =
    gauge("teamleader2db_build_info", &[("version", &[]), ("commit", &[])], "1, with the version that runs.");
/// When the process started.
pub const PROCESS_START: Metric =
    gauge("process_start_time_seconds", &[], "When the process started, in Unix seconds.");
/// The processor.
pub const PROCESS_CPU: Metric = counter("process_cpu_seconds_total", &[], "Processor time, of user and system.");
/// The memory.
pub const PROCESS_MEMORY: Metric = gauge("process_resident_memory_bytes", &[], "Memory that is resident.");
/// The descriptors.
pub const PROCESS_OPEN_FDS: Metric = gauge("process_open_fds", &[], "File descriptors that are open.");
/// The bound of descriptors.
pub const PROCESS_MAX_FDS: Metric = gauge("process_max_fds", &[], "File descriptors that may be open.");
/// The threads of the runtime.
pub const TOKIO_WORKERS: Metric = gauge("teamleader2db_tokio_workers", &[], "Threads that work on tasks.");
/// The tasks.
pub const TOKIO_TASKS: Metric = gauge("teamleader2db_tokio_alive_tasks", &[], "Tasks that have not ended.");
/// Tasks that no thread has taken.
pub const TOKIO_QUEUE: Metric =
    gauge("teamleader2db_tokio_global_queue_depth", &[], "Tasks that wait in the queue of all threads.");
/// How busy the threads are.
pub const TOKIO_BUSY: Metric =
    counter("teamleader2db_tokio_busy_seconds_total", &[], "Time that the threads worked on tasks, all together.");
/// The pool.
pub const DATABASE_CONNECTIONS: Metric = gauge(
    "teamleader2db_database_connections",
    &[("state", &["idle", "used"])],
    "Connections to the database that are open.",
);
/// The bound of the pool.
pub const DATABASE_CONNECTIONS_MAX: Metric =
    gauge("teamleader2db_database_connections_max", &[], "Connections to the database that may be open.");
/// How long the pool is waited for.
pub const DATABASE_ACQUIRE: Metric = gauge(
    "teamleader2db_database_acquire_seconds",
    &[],
    "How long a connection of the pool was waited for at the last look, of which there is one every 5 s.",
);
/// How often the pool is waited for in vain.
pub const DATABASE_ACQUIRE_TIMEOUTS: Metric = counter(
    "teamleader2db_database_acquire_timeouts_total",
    &[],
    "Looks at which no connection of the pool was to be had within 10 s.",
);

/// Calls of webhooks.
pub const WEBHOOK_CALLS: Metric = counter(
    "teamleader2db_webhook_calls_total",
    &[ACCOUNT, ("result", &["stored", "unknown", "unreadable", "unavailable", "refused"])],
    "Calls of webhooks by what became of them: stored; of a type that is not known; that cannot be read; answered with \
     503; with a wrong secret.",
);
/// When a call last came.
pub const WEBHOOK_LAST_CALL: Metric = gauge(
    "teamleader2db_webhook_last_call_timestamp_seconds",
    &[ACCOUNT],
    "When a call of a webhook last came, by any process of the account; 0: never.",
);
/// Since when webhooks are registered.
pub const WEBHOOK_REGISTERED: Metric = gauge(
    "teamleader2db_webhook_registered_timestamp_seconds",
    &[ACCOUNT],
    "Since when the address for webhooks is registered with Teamleader; 0: it is not.",
);
/// Hints that came.
pub const HINTS_RECEIVED: Metric = counter(
    "teamleader2db_hints_received_total",
    &[ACCOUNT, ("resource", &[])],
    "Records that calls of webhooks have named, repetitions included.",
);
/// Hints that were served.
pub const HINTS_SERVED: Metric = counter(
    "teamleader2db_hints_served_total",
    &[ACCOUNT, ("resource", &[])],
    "Records that were looked at because calls of webhooks have named them. Calls that come before the look are one.",
);
/// How long hints take.
pub const HINT_LATENCY: Metric = histogram(
    "teamleader2db_hint_seconds",
    &[ACCOUNT],
    "Time from the arrival of a call to the commit of what it has led to.",
);
/// Hints that wait.
pub const HINTS_WAITING: Metric =
    gauge("teamleader2db_hints_waiting", &[ACCOUNT], "Records that calls have named and that wait for a look.");
/// How long the oldest has waited.
pub const HINTS_OLDEST: Metric = gauge(
    "teamleader2db_hints_oldest_seconds",
    &[ACCOUNT],
    "How long the record that was named first has waited for a look; 0: none waits.",
);
/// Changes by hints.
pub const WEBHOOK_SHOWN: Metric = counter(
    "teamleader2db_webhook_shown_total",
    &[ACCOUNT, ("resource", &[])],
    "Changes that calls of webhooks have led to.",
);
/// Changes before their hints.
pub const WEBHOOK_LATE: Metric = counter(
    "teamleader2db_webhook_late_total",
    &[ACCOUNT, ("resource", &[])],
    "Changes that a pass found before their call came, within the waiting time.",
);
/// Changes without hints.
pub const WEBHOOK_MISSED: Metric = counter(
    "teamleader2db_webhook_missed_total",
    &[ACCOUNT, ("resource", &[])],
    "Changes that a pass found and no call announced within the waiting time.",
);

/// All of them, in the order of the documentation.
pub const ALL: [Metric; 62] = [
    AUTHORIZED,
    STATE,
    STATE_SINCE,
    WAITING_UNTIL,
    LAST_SUCCESS,
    CONSUMER_ACTIVE,
    QUEUED_REQUESTS,
    DELAYED_REQUESTS,
    RUNS,
    RUN_DURATION,
    RESOURCE_RUNS,
    RESOURCE_SECONDS,
    RECORDS,
    STALE_DETAILS,
    REJECTED_RECORDS,
    RECONCILIATION_FINDINGS,
    DELETIONS_HELD_NOW,
    DELETIONS_HELD,
    DRIFT,
    AUDIT_FINDINGS,
    AUDIT_BOUND,
    AUDIT_DRAWN,
    AUDIT_FOUND,
    AUDIT_DRAWS,
    AUDIT_REQUESTS,
    API_REQUESTS,
    API_LATENCY,
    BUDGET_WAIT,
    RATE_LIMITED,
    RATE_LIMIT_REMAINING,
    API_CLOCK_SKEW,
    TOKEN_REFRESHES,
    OUTBOX_PENDING,
    UNROUTED,
    NACKED,
    REPLIES,
    DEAD_LETTERS,
    WEBHOOK_CALLS,
    WEBHOOK_LAST_CALL,
    WEBHOOK_REGISTERED,
    HINTS_RECEIVED,
    HINTS_SERVED,
    HINT_LATENCY,
    HINTS_WAITING,
    HINTS_OLDEST,
    WEBHOOK_SHOWN,
    WEBHOOK_LATE,
    WEBHOOK_MISSED,
    BUILD_INFO,
    PROCESS_START,
    PROCESS_CPU,
    PROCESS_MEMORY,
    PROCESS_OPEN_FDS,
    PROCESS_MAX_FDS,
    TOKIO_WORKERS,
    TOKIO_TASKS,
    TOKIO_QUEUE,
    TOKIO_BUSY,
    DATABASE_CONNECTIONS,
    DATABASE_CONNECTIONS_MAX,
    DATABASE_ACQUIRE,
    DATABASE_ACQUIRE_TIMEOUTS,
];
