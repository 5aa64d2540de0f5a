//! The table of limits in docs/limits.md. Their values are read from the source of the constants, most of which are
//! private to their module.

use super::{counted, hold, root, table};

/// How a value is shown.
#[derive(Clone, Copy)]
enum In {
    Bytes,
    Time,
    /// A number of these.
    Of(&'static str),
}
use In::{Bytes, Of, Time};

/// A limit: what it is of, the file below src/, the constant, and how its value is shown.
type Limit = (&'static str, &'static str, &'static str, In);

const LIMITS: [(&str, &[Limit]); 8] = [
    (
        "Messages",
        &[
            ("a request's body; of a longer one this much is dead-lettered", "broker/link.rs", "BODY_BOUND", Bytes),
            ("a request's headers", "broker/message.rs", "MAX_HEADER_BYTES", Bytes),
            ("tables and arrays in each other, in headers", "broker/screen/bounds.rs", "MAX_DEPTH", Of("levels")),
            ("an event that `events` and `--wait` take", "broker/listener.rs", "EVENT_BOUND", Bytes),
            ("an error in an event", "messages/text.rs", "MAX_ERROR", Of("characters")),
            ("drift that an event names, of a resource", "store/runs/mod.rs", "MAX_DRIFT", Of("differences")),
            ("one of them", "store/report/of_run.rs", "MAX_DIFFERENCE", Of("characters")),
            ("reply addresses of a request", "store/runs/mod.rs", "MAX_REPLIES", Of("addresses")),
            ("tries of a reply", "retry.rs", "REPLY_TRIES", Of("tries")),
            ("progress events, at most one each", "sync/watch.rs", "PROGRESS_EVERY", Time),
            ("a look at the outbox each", "worker/relay.rs", "LOOK_EVERY", Time),
            ("events that are read from it at a time", "worker/relay.rs", "BATCH", Of("events")),
        ],
    ),
    (
        "Runs",
        &[
            ("starts without progress, or ends by a bug", "store/runs/claim.rs", "MAX_ATTEMPTS", Of("starts")),
            ("deliveries, after which the broker gives up", "broker/topology.rs", "DELIVERY_LIMIT", Of("deliveries")),
            ("waits in a row because the API is down", "retry.rs", "MAX_WAITS", Of("waits")),
            ("a delivery, after the end of its slice", "worker/mod.rs", "OVERDUE", Time),
            ("a run that is cancelled is looked for each", "sync/watch.rs", "LOOK_EVERY", Time),
            ("a look whether an operator has authorized each", "worker/obstacle.rs", "LOOK_AT_AUTHORIZATION", Time),
            ("after SIGTERM, the page in hand", "worker/mod.rs", "GRACE", Time),
            ("after SIGTERM, everything", "app/mod.rs", "DRAIN", Time),
            ("the same with an authorization under way", "app/mod.rs", "LONGEST_DRAIN", Time),
        ],
    ),
    (
        "Webhooks",
        &[
            ("the body of a call", "http/webhooks/mod.rs", "MAX_BODY", Bytes),
            ("calls that are stored together", "http/webhooks/intake.rs", "GATHERS", Time),
            ("calls that wait to be stored", "http/webhooks/intake.rs", "QUEUED", Of("calls")),
            ("until a call is stored, or refused", "http/webhooks/intake.rs", "PATIENCE", Time),
            ("hints that wait to be served", "http/webhooks/intake.rs", "MOST_WAITING", Of("hints")),
            ("ids of a request", "messages/request.rs", "MAX_IDS", Of("ids")),
            ("requests of hints in flight", "api_client/client.rs", "HINTS_IN_FLIGHT", Of("requests")),
            ("pages of the list of one parent that a hint reads", "sync/look.rs", "MOST_PAGES", Of("pages")),
        ],
    ),
    (
        "The always-on audit",
        &[
            ("requests of a turn", "store/draws/pace.rs", "MOST_REQUESTS", Of("requests")),
            ("a turn", "store/draws/pace.rs", "LASTS", Time),
            ("rows of a turn, with their details", "sync/draws.rs", "WITH_DETAILS", Of("rows")),
            ("requests in flight", "api_client/client.rs", "AUDITS_IN_FLIGHT", Of("requests")),
            ("nothing is asked after a failure for", "sync/draws.rs", "RESTS", Time),
        ],
    ),
    (
        "Lists and details",
        &[
            ("records a page", "catalog/mod.rs", "PAGE_SIZE", Of("records")),
            ("lists that are read at a time", "sync/slice.rs", "LISTS_AT_ONCE", Of("lists")),
            ("pages of a pass over a list", "sync/pager.rs", "MAX_PAGES", Of("pages")),
            ("passes over a list by page number", "sync/offset.rs", "MAX_PASSES", Of("passes")),
            ("passes over a list by seeking", "sync/pager.rs", "MAX_SEEK_PASSES", Of("passes")),
            ("readings of records of the same second", "sync/pager.rs", "MAX_TIE_READINGS", Of("readings")),
            (
                "lists of a country, a type or a parent that fail in a row, before the rest is given up",
                "sync/list_progress.rs",
                "MAX_FAILED_PARTITIONS",
                Of("lists"),
            ),
            ("bytes of pages in a transaction", "sync/list.rs", "STORED_AT_ONCE", Bytes),
            ("rows whose ids and hashes are read at once", "store/records/load.rs", "KNOWN_ROWS", Of("rows")),
            ("parents between two checkpoints", "sync/child_lists.rs", "BATCH", Of("parents")),
            ("details between two checkpoints", "sync/details.rs", "BATCH", Of("details")),
            ("or this much of them", "sync/slice.rs", "BATCH_BYTES", Bytes),
            ("or this long", "sync/slice.rs", "BATCH_LASTS", Time),
            ("details that fail in a row", "sync/details.rs", "MAX_FAILURES_IN_A_ROW", Of("details")),
            ("details that are fetched only for their age", "sync/details.rs", "MAX_AGED", Of("a run")),
            ("rows that are marked deleted without the guard", "sync/look.rs", "GUARD_ROWS", Of("rows")),
            ("the share of a resource, beyond them", "sync/look.rs", "GUARD_PERCENT", Of("%")),
            ("deleted rows that are erased at once", "store/retention.rs", "ERASED_AT_ONCE", Of("rows")),
        ],
    ),
    (
        "Answers of the API",
        &[
            ("an answer, after decompression", "api_client/client.rs", "MAX_BODY", Bytes),
            ("records of an answer", "api_client/members.rs", "MAX_RECORDS", Of("records")),
            ("of these, without an id", "api_client/answer.rs", "MAX_NAMELESS", Of("records")),
            ("a record", "api_client/answer.rs", "MAX_RECORD", Bytes),
            ("its objects and arrays in each other", "api_client/answer.rs", "MAX_NESTING", Of("levels")),
            ("its fields", "api_client/members.rs", "MAX_FIELDS", Of("fields")),
            ("a number in it, before it becomes a text", "api_client/storable.rs", "MAX_DIGITS", Of("digits")),
            ("an answer of the authorization server", "api_client/oauth.rs", "MAX_BODY", Bytes),
            ("`matches`; a larger one is ignored", "api_client/answer.rs", "MAX_MATCHES", Of("records")),
            ("a rate limit; a larger one is ignored", "api_client/heard.rs", "MAX_LIMIT", Of("requests")),
            ("`Date` beside the database's clock", "api_client/clock.rs", "MAX_SKEW", Time),
        ],
    ),
    (
        "Time of a request, and of tokens",
        &[
            ("connecting to the API", "api_client/client.rs", "CONNECT_TIMEOUT", Time),
            ("silence of the API", "api_client/client.rs", "READ_TIMEOUT", Time),
            ("a request to the API", "api_client/client.rs", "TOTAL_TIMEOUT", Time),
            ("a request for a token pair", "api_client/oauth.rs", "TOKEN_TIMEOUT", Time),
            ("its intent holds for", "api_client/auth.rs", "ATTEMPT_LASTS", Time),
            ("storing a pair, before it is escrowed", "api_client/auth.rs", "STORE_TIMEOUT", Time),
            ("storing a pair that is escrowed", "api_client/auth.rs", "STORE_ESCROWED_TIME", Time),
            ("an answer of the database about tokens", "api_client/auth.rs", "ANSWER_TIMEOUT", Time),
            ("an authorization: its state", "authorization_flow.rs", "STATE_TIMEOUT", Time),
            ("an authorization: `users.me`", "authorization_flow.rs", "IDENTITY_TIMEOUT", Time),
            ("an authorization: storing the pair", "authorization_flow.rs", "STORE_TIMEOUT", Time),
            ("a link to authorize can be used for", "http/cookies.rs", "STATE_LASTS", Time),
            ("such links at a time, of each kind", "store/tokens/authorization.rs", "MOST_STATES", Of("links")),
            ("a login of the dashboard", "http/cookies.rs", "LOGIN_LASTS", Time),
            ("logins of an account", "store/logins.rs", "MOST", Of("logins")),
        ],
    ),
    (
        "Servers",
        &[
            ("connections to the database", "store/pool.rs", "MAX_CONNECTIONS", Of("connections")),
            ("waiting for one of them", "store/server_error.rs", "ACQUIRE_TIMEOUT", Time),
            ("an answer of the database", "store/pool.rs", "ANSWER_TIMEOUT", Time),
            ("transactions of an older worker", "store/lease.rs", "WAITS_FOR_OLDER", Time),
            ("connecting to the broker", "broker/link.rs", "CONNECT_TIMEOUT", Time),
            ("an answer of the broker", "broker/link.rs", "REPLY_TIMEOUT", Time),
            ("the heartbeat, in seconds", "broker/link.rs", "HEARTBEAT_SECONDS", Of("s")),
            ("an answer over HTTP", "http/router.rs", "TIMEOUT", Time),
            ("runs of a page over HTTP", "http/sync/runs.rs", "MOST", Of("runs")),
            ("log lines of a run on its page", "store/runs/log.rs", "MOST", Of("lines")),
            ("log lines that wait to be stored for it", "process/run_lines.rs", "WAITING", Of("lines")),
            ("the dashboard's round through the dead letters", "http/dashboard/queue.rs", "PATIENCE", Time),
            ("dead letters that it lists", "http/dashboard/queue.rs", "LISTED", Of("letters")),
            ("a look at the database for readiness", "http/health.rs", "PATIENCE", Time),
            ("connections over HTTP", "http/server.rs", "MOST_CONNECTIONS", Of("connections")),
            ("the head of an HTTP request", "http/server.rs", "MAX_HEAD_BYTES", Bytes),
            ("tries to log in at once", "http/guesses.rs", "BURST", Of("tries")),
            ("then one each", "http/guesses.rs", "EVERY", Time),
        ],
    ),
];

/// What the source says after `const NAME: … =`.
fn initializer(file: &str, name: &str) -> String {
    let source = std::fs::read_to_string(root().join("src").join(file)).expect(file);
    let (_, rest) = source.split_once(&format!("const {name}:")).unwrap_or_else(|| panic!("{file} has no {name}"));
    let (_, value) = rest.split_once('=').expect("a value");
    value.split(';').next().expect("an end").trim().to_owned()
}

/// A product of numbers.
fn product(text: &str) -> u64 {
    let factor = |factor: &str| factor.trim().replace('_', "").parse::<u64>().unwrap_or_else(|_| panic!("{text}"));
    text.split('*').map(factor).product()
}

/// The value as it is shown.
fn value(text: &str, shown: In) -> String {
    let within = |name: &str| text.strip_prefix(name)?.strip_suffix(')').map(product);
    match shown {
        Of(unit) => format!("{} {unit}", grouped(product(text))),
        Bytes => match product(text) {
            bytes if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
            bytes => format!("{} KiB", bytes >> 10),
        },
        Time => {
            let seconds = within("Duration::from_secs(")
                .or_else(|| within("TimeDelta::minutes(").map(|minutes| minutes * 60))
                .map(std::time::Duration::from_secs);
            let time = seconds.or_else(|| within("Duration::from_millis(").map(std::time::Duration::from_millis));
            humantime::format_duration(time.unwrap_or_else(|| panic!("{text} is no time"))).to_string()
        }
    }
}

/// With a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let places = digits.char_indices().map(|(place, digit)| {
        let comma = place > 0 && (digits.len() - place).is_multiple_of(3);
        if comma { format!(",{digit}") } else { digit.to_string() }
    });
    places.collect()
}

#[test]
fn the_documented_limits_are_those_of_the_code() {
    let mut made = String::new();
    for (title, limits) in LIMITS {
        let rows = limits.iter().map(|(what, file, name, shown)| {
            vec![(*what).to_owned(), value(&initializer(file, name), *shown), format!("`{name}` in `src/{file}`")]
        });
        made.push_str(&format!("## {title}\n\n{}\n", table(&["of", "at most", "where"], rows)));
    }
    counted(LIMITS.iter().map(|(_, limits)| limits.len()).sum::<usize>(), "limits");
    hold("limits.md", "tables of limits", &made);
}
