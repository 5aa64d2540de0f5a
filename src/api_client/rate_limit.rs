//! The budget: the API's own sliding window, tracked here from its headers, so that it is used fully and never overrun.
//!
//! The API allows 200 requests in any 60 s for each pair of integration and account, and reports in every answer how
//! many remain and when the oldest one leaves the window. Three kinds of requests fill the window: those in flight,
//! those answered (each counted until 60 s after its *answer*, which is never too early), and those of others: programs
//! of the same integration, or this worker before a restart.
//!
//! No answer says exactly how many others there are while requests are in flight: the API may or may not have counted
//! those. Each answer gives a lower and an upper bound, and the estimate moves only as far as they force it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::process::telemetry;

/// The length of the API's window.
pub const WINDOW: Duration = Duration::from_secs(60);

/// The API's limit until its first answer names another.
const FIRST_LIMIT: u32 = 200;

/// The clocks are compared by the `Date` header, which has whole seconds; this covers its rounding.
const CLOCK_SLACK: Duration = Duration::from_secs(2);

/// No longer time is forecast: more requests than those of ten years are a number that somebody made up.
const LONGEST_FORECAST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// How long an audit's request waits before it looks again whether anything else is left of the window.
const AUDIT_LOOKS_EVERY: Duration = Duration::from_secs(1);

/// After a 429 nothing is sent for at least this long, whatever the reset says.
const SHORTEST_BLOCK: Duration = Duration::from_secs(1);

/// What an answer reports about the window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// `X-RateLimit-Limit`.
    pub limit: u32,
    /// `X-RateLimit-Remaining`.
    pub remaining: u32,
    /// The time from now to `X-RateLimit-Reset`: when the oldest request that counts leaves the window.
    pub reset_in: Duration,
}

/// Who asks for the right to send a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A run.
    Run,
    /// A hint: it goes before those of a run.
    Hint(Share),
    /// The always-on audit: it goes after all others, and leaves half of each window to them.
    Audit,
}

/// How much of each window hints may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// All: no run works.
    All,
    /// Half, beside a run.
    Half,
}

/// Gives out the budget of one integration and account.
#[derive(Clone, Debug)]
pub struct Limiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
    reserve: u32,
}

#[derive(Debug)]
struct State {
    limit: u32,
    /// False until an answer has reported the window: until then one request at a time is sent, since a worker
    /// that was just restarted does not know what the window holds.
    observed: bool,
    in_flight: u32,
    /// Those of hints among them.
    hints_in_flight: u32,
    /// Hints that wait for the right to send a request, and their share.
    hints_waiting: u32,
    hints_share: Share,
    /// In the order of the answers.
    answered: VecDeque<Answered>,
    others: u32,
    /// When the oldest of `others` leaves, where known.
    others_leave_at: Option<Instant>,
    /// When all of them have left: a window's length after an answer last proved them.
    all_others_left_at: Option<Instant>,
    /// After a 429 nothing is sent before this.
    blocked_until: Option<Instant>,
    remaining: u32,
    /// Those who wait for the right to send one, but for audits: for these nobody has to make room.
    waiting: u32,
    /// Until when the time was counted in which somebody waits.
    waited_until: Instant,
}

/// Somebody who waits for the right to send a request, until dropped.
struct Waiting<'a>(&'a Limiter, Turn);

impl Turn {
    fn is_hint(self) -> bool {
        matches!(self, Self::Hint(_))
    }
}

impl<'a> Waiting<'a> {
    fn new(limiter: &'a Limiter, turn: Turn) -> Self {
        let mut state = limiter.lock();
        if turn == Turn::Audit {
            drop(state);
            return Self(limiter, turn);
        }
        if state.waiting == 0 {
            state.waited_until = Instant::now();
        }
        state.waiting += 1;
        if let Turn::Hint(share) = turn {
            state.hints_waiting += 1;
            state.hints_share = share;
        }
        drop(state);
        Self(limiter, turn)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.1 == Turn::Audit {
            return;
        }
        let mut state = self.0.lock();
        state.waiting -= 1;
        if let Turn::Hint(_) = self.1 {
            state.hints_waiting -= 1;
            // Runs have let it go first.
            self.0.0.changed.notify_waiters();
        }
        let now = Instant::now();
        let waited = now.saturating_duration_since(std::mem::replace(&mut state.waited_until, now));
        drop(state);
        telemetry::waited_for_budget(waited);
    }
}

/// A request that the API has counted at some time between these two.
#[derive(Clone, Copy, Debug)]
struct Answered {
    sent: Instant,
    at: Instant,
    hint: bool,
}

/// The right to send one request. Dropping it counts the request as sent, since it may have been.
#[derive(Debug)]
pub struct Permit {
    limiter: Limiter,
    sent: Instant,
    hint: bool,
    settled: bool,
}

impl Limiter {
    /// `reserve` requests of each window are left to other users of the integration.
    pub fn new(reserve: u32) -> Self {
        let state = State {
            limit: FIRST_LIMIT,
            observed: false,
            in_flight: 0,
            hints_in_flight: 0,
            hints_waiting: 0,
            hints_share: Share::All,
            answered: VecDeque::new(),
            others: 0,
            others_leave_at: None,
            all_others_left_at: None,
            blocked_until: None,
            remaining: FIRST_LIMIT,
            waiting: 0,
            waited_until: Instant::now(),
        };
        Self(Arc::new(Inner { state: Mutex::new(state), changed: Notify::new(), reserve }))
    }

    /// Waits for the right to send one request of a run. Cancel-safe.
    #[cfg(test)]
    pub async fn acquire(&self) -> Permit {
        self.acquire_as(Turn::Run).await
    }

    /// Waits for the right to send one request. Cancel-safe.
    pub async fn acquire_as(&self, turn: Turn) -> Permit {
        let _waiting = Waiting::new(self, turn);
        loop {
            let changed = self.0.changed.notified();
            let wait = self.lock().try_take(Instant::now(), self.0.reserve, turn);
            match wait {
                Ok(()) => {
                    let hint = turn.is_hint();
                    return Permit { limiter: self.clone(), sent: Instant::now(), hint, settled: false };
                }
                Err(Some(until)) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(until) => {}
                        () = changed => {}
                    }
                }
                Err(None) => changed.await,
            }
        }
    }

    /// How long it takes to send this number of requests, if nobody else sends any.
    pub fn time_for(&self, requests: i64) -> Duration {
        let mut state = self.lock();
        state.forget_the_old(Instant::now());
        let allowed = state.allowed(self.0.reserve);
        let later = requests.max(0).unsigned_abs().saturating_sub(u64::from(allowed.saturating_sub(state.used())));
        Duration::try_from_secs_f64(WINDOW.as_secs_f64() * later as f64 / f64::from(allowed))
            .map_or(LONGEST_FORECAST, |time| time.min(LONGEST_FORECAST))
    }

    /// How long those who wait to send a request wait at least; `None` where nobody waits, or only for an answer.
    pub fn waits_for(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.lock();
        state.forget_the_old(now);
        let until = state.is_free(now, self.0.reserve).err().flatten().filter(|_| state.waiting > 0)?;
        Some(until.saturating_duration_since(now))
    }

    /// Requests that any window of 60 s may hold.
    pub fn allowed(&self) -> u32 {
        self.lock().allowed(self.0.reserve)
    }

    /// Requests that the last 60 s hold, of this process and of others.
    pub fn used(&self) -> u32 {
        let mut state = self.lock();
        state.forget_the_old(Instant::now());
        state.used()
    }

    /// Requests that may still be sent now, as the API last reported.
    pub fn remaining(&self) -> u32 {
        self.lock().remaining
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is plain numbers, whole after any panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, (sent, hint): (Instant, bool), seen: Option<Observation>, counted: bool) {
        self.lock().settle(Answered { sent, at: Instant::now(), hint }, seen, counted);
        self.0.changed.notify_waiters();
    }

    fn block(&self, until: Instant) {
        self.lock().blocked_until = Some(until);
    }
}

impl Permit {
    /// The request was answered.
    pub fn answered(mut self, seen: Option<Observation>) {
        self.limiter.settle((self.sent, self.hint), seen, true);
        self.settled = true;
    }

    /// The request was not sent after all.
    pub fn unused(mut self) {
        self.limiter.settle((self.sent, self.hint), None, false);
        self.settled = true;
    }

    /// The request was refused with 429, which does not fill the window; nothing is sent for this long. Without headers
    /// the limit stays as it was last learned.
    pub fn refused(mut self, seen: Option<Observation>, retry_in: Duration) {
        self.limiter.block(Instant::now() + retry_in.max(SHORTEST_BLOCK));
        self.limiter.settle((self.sent, self.hint), seen, false);
        self.settled = true;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.settled {
            self.limiter.settle((self.sent, self.hint), None, true);
        }
    }
}

impl State {
    /// Takes one place in the window, or returns until when none can be free (`None`: until an answer comes).
    fn try_take(&mut self, now: Instant, reserve: u32, turn: Turn) -> Result<(), Option<Instant>> {
        self.forget_the_old(now);
        match turn {
            // The next place is a hint's, if it may take one: it says so when it has.
            Turn::Run if self.hints_waiting > 0 && self.has_share(self.hints_share, reserve).is_ok() => {
                return Err(None);
            }
            Turn::Run => {}
            Turn::Hint(share) => self.has_share(share, reserve)?,
            Turn::Audit if self.waiting > 0 || self.used() >= self.allowed(reserve) / 2 => {
                return Err(Some(now + AUDIT_LOOKS_EVERY));
            }
            Turn::Audit => {}
        }
        self.is_free(now, reserve)?;
        self.in_flight += 1;
        self.hints_in_flight += u32::from(turn.is_hint());
        Ok(())
    }

    /// Whether hints may take another place of the window, or until when none of theirs can be free.
    fn has_share(&self, share: Share, reserve: u32) -> Result<(), Option<Instant>> {
        if share == Share::All {
            return Ok(());
        }
        let mut theirs = self.answered.iter().filter(|request| request.hint);
        let first = theirs.next().map(|request| request.at + WINDOW);
        let answered = u32::try_from(theirs.count()).unwrap_or(u32::MAX) + u32::from(first.is_some());
        if answered + self.hints_in_flight < (self.allowed(reserve) / 2).max(1) { Ok(()) } else { Err(first) }
    }

    /// Whether there is a place in the window, or until when none can be free.
    fn is_free(&self, now: Instant, reserve: u32) -> Result<(), Option<Instant>> {
        if let Some(until) = self.blocked_until.filter(|until| *until > now) {
            return Err(Some(until));
        }
        if !self.observed && self.in_flight > 0 {
            return Err(None);
        }
        if self.used() < self.allowed(reserve) {
            return Ok(());
        }
        let own_leaves = self.answered.front().map(|request| request.at + WINDOW);
        Err([own_leaves, self.others_leave_at].into_iter().flatten().min())
    }

    /// Requests that any window may hold.
    fn allowed(&self, reserve: u32) -> u32 {
        self.limit.saturating_sub(reserve).max(1)
    }

    /// Requests that the window holds.
    fn used(&self) -> u32 {
        self.in_flight + u32::try_from(self.answered.len()).unwrap_or(u32::MAX) + self.others
    }

    fn forget_the_old(&mut self, now: Instant) {
        while self.answered.front().is_some_and(|request| request.at + WINDOW <= now) {
            self.answered.pop_front();
        }
        if self.all_others_left_at.is_some_and(|at| at <= now) {
            self.others = 0;
        } else if self.others_leave_at.is_some_and(|at| at <= now) {
            // One of them has left for certain; how many more, the answer to the request it lets through shows.
            self.others = self.others.saturating_sub(1);
            self.others_leave_at = self.all_others_left_at;
        }
        if self.others == 0 {
            (self.others_leave_at, self.all_others_left_at) = (None, None);
        }
    }

    fn settle(&mut self, request: Answered, seen: Option<Observation>, counted: bool) {
        let now = request.at;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.hints_in_flight = self.hints_in_flight.saturating_sub(u32::from(request.hint));
        self.forget_the_old(now);
        if let Some(seen) = seen {
            self.observed = true;
            self.limit = seen.limit.max(1);
            self.remaining = seen.remaining;
            self.bound_others(request, self.limit.saturating_sub(seen.remaining), u32::from(counted));
            let reset = now + seen.reset_in;
            let ours_is_oldest = self.answered.front().is_some_and(|first| first.at + WINDOW <= reset + CLOCK_SLACK);
            self.others_leave_at = if ours_is_oldest { self.all_others_left_at } else { Some(reset) };
        }
        if counted {
            self.answered.push_back(request);
        }
    }

    /// Corrects the estimate of others by an answer that counts `used` requests in the window, `itself` among them or
    /// not.
    fn bound_others(&mut self, request: Answered, used: u32, itself: u32) {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        // Surely counted: what was answered before this was sent, and was sent within the window.
        let before = self.answered.iter().take_while(|other| other.at < request.sent);
        let surely = number(before.filter(|other| other.sent + WINDOW > request.at).count()) + itself;
        // Possibly counted: all that was ever sent and has not left for certain.
        let possibly = number(self.answered.len()) + self.in_flight + itself;
        let (least, most) = (used.saturating_sub(possibly), used.saturating_sub(surely));
        self.others = self.others.clamp(least, most);
        if least >= self.others {
            self.all_others_left_at = Some(request.at + WINDOW);
        }
    }
}

#[cfg(test)]
#[path = "rate_limit_tests.rs"]
mod tests;
