//! Points at which a test lets the process die, freeze or panic: around the commits, publishes, confirms and acks of a
//! request, and the steps of a refresh and of an authorization.
//!
//! Without the cargo feature `fault-points`, which no build but the tests' has, [`reached`] is empty. With it, the
//! variable `FAULT_POINT` names what happens, where, and at which time of getting there: `die page_committed 2`,
//! `freeze intent_committed 1`, `panic page_written 1`; `panic-always slice_begun 1` does so each time from then on.
//! The variable `FAULT_ONE_PASS` takes the proof of lists away, to see that the tests miss it.

/// A place between two steps of the protocol, each of which leaves something behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Point {
    /// The lease has the next epoch; nothing is claimed.
    LeaseTaken,
    /// The claim of a run is written, not committed.
    ClaimWritten,
    /// The claim is committed; no work was done.
    ClaimCommitted,
    /// A slice has started; nothing was asked.
    SliceBegun,
    /// New rows are sent to PostgreSQL by `COPY`, which has not ended.
    RowsSent,
    /// Rows and checkpoint are written, not committed.
    PageWritten,
    /// Rows and checkpoint are committed.
    PageCommitted,
    /// A slice is over; no copy of the request is published.
    CopyWanted,
    /// The copy is confirmed; the run does not know of it.
    CopyConfirmed,
    /// The run's slice is raised in a transaction that is not committed.
    HandBackWritten,
    /// The run's slice is that of the copy; the delivery in hand is not acknowledged.
    HandBackCommitted,
    /// A view of custom fields is changed in a transaction that is not committed.
    ViewWritten,
    /// The views of custom fields are those of the definitions; the run has not ended.
    ViewsKept,
    /// The end of the run and its event are written, not committed.
    FinishWritten,
    /// The end of the run and its event are committed; the event is not sent.
    FinishCommitted,
    /// A run is asked to end, if it is running.
    CancelAsked,
    /// The process that cancels a run has written its end and its event, which is not committed.
    CancelWritten,
    /// An event is about to be published.
    EventWanted,
    /// A message of any kind is on its way to the broker; its confirm is not awaited yet.
    MessagePublished,
    /// An event is confirmed, and not marked as sent.
    EventConfirmed,
    /// An event is marked as sent.
    EventMarked,
    /// A reply is confirmed, and not marked as sent.
    ReplyConfirmed,
    /// The relay looks at the outbox, for what nobody waits for.
    RelayDue,
    /// Metrics are about to be brought up to date.
    UpkeepDue,
    /// The HTTP server has taken a connection.
    HttpServed,
    /// Hints are stored, not committed.
    HintsStored,
    /// A message that wakes the consumer for hints is about to be published.
    WakeWanted,
    /// The consumer has taken a message that wakes it for hints.
    WakeTaken,
    /// Hints are chosen; nothing was asked.
    HintsChosen,
    /// What hints have led to is written, not committed.
    HintsWritten,
    /// What hints have led to is committed.
    HintsServed,
    /// All is done; the delivery is not acknowledged.
    AckWanted,
    /// The delivery is acknowledged.
    Acked,
    /// The event of a refusal is written, not committed.
    RefusalWritten,
    /// The event of a refusal is committed.
    RefusalCommitted,
    /// The sender has its answer; the message is not among the dead letters yet.
    DeadLetterWanted,
    /// The message is among the dead letters, and still in the queue.
    DeadLetterConfirmed,
    /// A request without an id is about to be published again with one.
    StampWanted,
    /// The request with an id is confirmed; the one without is not acknowledged.
    StampConfirmed,
    /// The intent to refresh is written, not committed.
    IntentWritten,
    /// The intent is committed; no request was sent.
    IntentCommitted,
    /// The new pair has come, and is nowhere but in this process.
    PairReceived,
    /// The new pair is stored.
    PairStored,
    /// The database did not take the pair; it is about to be escrowed.
    ParkingWanted,
    /// The new pair is escrowed on the broker.
    PairParked,
    /// An escrowed pair is stored, and still escrowed.
    ParkedPairStored,
    /// That the refresh token was refused is written, not committed.
    TokenRefusedWritten,
    /// That the refresh token was refused is committed, with its event.
    TokenRefusedCommitted,
    /// A code was traded for a pair, which is nowhere but in this process.
    CodeTraded,
    /// The pair of a new authorization is stored; the browser has no answer.
    AuthorizationCommitted,
}

/// Says that the process has come to a point. Nothing happens, unless a test wants it to.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn reached(_: Point) {}

/// Whether one pass over a list without `matches` is believed, as it must not be.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn one_pass_is_believed() -> bool {
    false
}

#[cfg(feature = "fault-points")]
pub use armed::{name, one_pass_is_believed, reached};

#[cfg(feature = "fault-points")]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Point;

    /// What happens at a point.
    #[derive(Clone, Copy, Debug)]
    enum Kind {
        Die,
        Freeze,
        Panic,
    }

    /// What `FAULT_POINT` says.
    struct Fault {
        kind: Kind,
        always: bool,
        point: String,
        at_time: u32,
        times: AtomicU32,
    }

    static FAULT: LazyLock<Option<Fault>> = LazyLock::new(|| {
        let text = std::env::var("FAULT_POINT").ok()?;
        let mut words = text.split_whitespace();
        let word = words.next()?;
        let kind = match word.trim_end_matches("-always") {
            "die" => Kind::Die,
            "freeze" => Kind::Freeze,
            "panic" => Kind::Panic,
            other => panic!("FAULT_POINT: {other} is neither die, nor freeze, nor panic"),
        };
        let always = word.ends_with("-always");
        let point = words.next().expect("FAULT_POINT names a point").to_owned();
        let at_time = words.next().map_or(1, |n| n.parse().expect("FAULT_POINT ends with a number"));
        Some(Fault { kind, always, point, at_time, times: AtomicU32::new(0) })
    });

    /// Whether one pass over a list without `matches` is believed: `FAULT_ONE_PASS` is set.
    pub fn one_pass_is_believed() -> bool {
        static BELIEVED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("FAULT_ONE_PASS").is_some());
        *BELIEVED
    }

    /// The point's name in `FAULT_POINT`: `page_committed`.
    pub fn name(point: Point) -> String {
        let mut name = String::new();
        for letter in format!("{point:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.extend(letter.to_lowercase());
        }
        name
    }

    /// Ends the process without a goodbye, stops it until SIGCONT, or panics, if `FAULT_POINT` says so.
    pub fn reached(point: Point) {
        let Some(fault) = FAULT.as_ref().filter(|fault| fault.point == name(point)) else { return };
        let time = fault.times.fetch_add(1, Ordering::SeqCst) + 1;
        if time < fault.at_time || time > fault.at_time && !fault.always {
            return;
        }
        tracing::warn!(point = fault.point, kind = ?fault.kind, "A fault point is reached");
        match fault.kind {
            Kind::Freeze => {
                let process = std::process::id().to_string();
                std::process::Command::new("kill").args(["-STOP", &process]).status().expect("kill is there");
                // The signal may arrive at this thread a moment later.
                std::thread::sleep(std::time::Duration::from_secs(1));
            }
            Kind::Die => std::process::abort(),
            Kind::Panic => panic!("at the point {}", fault.point),
        }
    }
}
