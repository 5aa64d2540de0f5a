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
    /// Those who wait for the right to send one.
    waiting: u32,
    /// Until when the time was counted in which somebody waits.
    waited_until: Instant,
}

/// Somebody who waits for the right to send a request, until dropped.
struct Waiting<'a>(&'a Limiter);

impl<'a> Waiting<'a> {
    fn new(limiter: &'a Limiter) -> Self {
        let mut state = limiter.lock();
        if state.waiting == 0 {
            state.waited_until = Instant::now();
        }
        state.waiting += 1;
        drop(state);
        Self(limiter)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting -= 1;
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
}

/// The right to send one request. Dropping it counts the request as sent, since it may have been.
#[derive(Debug)]
pub struct Permit {
    limiter: Limiter,
    sent: Instant,
    settled: bool,
}

impl Limiter {
    /// `reserve` requests of each window are left to other users of the integration.
    pub fn new(reserve: u32) -> Self {
        let state = State {
            limit: FIRST_LIMIT,
            observed: false,
            in_flight: 0,
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

    /// Waits for the right to send one request. Cancel-safe.
    pub async fn acquire(&self) -> Permit {
        let _waiting = Waiting::new(self);
        loop {
            let changed = self.0.changed.notified();
            let wait = self.lock().try_take(Instant::now(), self.0.reserve);
            match wait {
                Ok(()) => {
                    return Permit { limiter: self.clone(), sent: Instant::now(), settled: false };
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

    fn settle(&self, sent: Instant, seen: Option<Observation>, counted: bool) {
        self.lock().settle(Answered { sent, at: Instant::now() }, seen, counted);
        self.0.changed.notify_waiters();
    }

    fn block(&self, until: Instant) {
        self.lock().blocked_until = Some(until);
    }
}

impl Permit {
    /// The request was answered.
    pub fn answered(mut self, seen: Option<Observation>) {
        self.limiter.settle(self.sent, seen, true);
        self.settled = true;
    }

    /// The request was not sent after all.
    pub fn unused(mut self) {
        self.limiter.settle(self.sent, None, false);
        self.settled = true;
    }

    /// The request was refused with 429, which does not fill the window; nothing is sent for this long. Without headers
    /// the limit stays as it was last learned.
    pub fn refused(mut self, seen: Option<Observation>, retry_in: Duration) {
        self.limiter.block(Instant::now() + retry_in.max(SHORTEST_BLOCK));
        self.limiter.settle(self.sent, seen, false);
        self.settled = true;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.settled {
            self.limiter.settle(self.sent, None, true);
        }
    }
}

impl State {
    /// Takes one place in the window, or returns until when none can be free (`None`: until an answer comes).
    fn try_take(&mut self, now: Instant, reserve: u32) -> Result<(), Option<Instant>> {
        self.forget_the_old(now);
        self.is_free(now, reserve)?;
        self.in_flight += 1;
        Ok(())
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
mod tests {
    use super::*;

    fn seen(remaining: u32, reset_in: u64) -> Option<Observation> {
        Some(Observation { limit: 200, remaining, reset_in: Duration::from_secs(reset_in) })
    }

    #[tokio::test(start_paused = true)]
    async fn the_whole_window_is_used_and_then_waited_for() {
        let limiter = Limiter::new(0);
        let started = Instant::now();
        for sent in 0..400u32 {
            let permit = limiter.acquire().await;
            let waited = started.elapsed();
            assert_eq!(waited >= WINDOW, sent >= 200, "request {sent} went out after {waited:?}");
            permit.answered(seen(199 - sent % 200, 60));
        }
        assert!(started.elapsed() < WINDOW + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn before_the_first_answer_one_request_is_in_flight() {
        let limiter = Limiter::new(0);
        let first = limiter.acquire().await;
        assert!(tokio::time::timeout(WINDOW * 3, limiter.acquire()).await.is_err());
        first.answered(seen(199, 60));
        let _both = (limiter.acquire().await, limiter.acquire().await);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_of_others_are_left_room() {
        let limiter = Limiter::new(0);
        // After a restart: 198 requests of ours from before fill the window.
        limiter.acquire().await.answered(seen(1, 40));
        let started = Instant::now();
        limiter.acquire().await.answered(seen(0, 40));
        assert!(started.elapsed() < Duration::from_secs(1));
        let _third = limiter.acquire().await;
        assert_eq!(started.elapsed().as_secs(), 40);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_overtake_each_other_hide_no_request_of_others() {
        let limiter = Limiter::new(0);
        // One request of another program; ours go out in pairs, and the second of each pair is answered first.
        limiter.acquire().await.answered(seen(198, 60));
        for pair in 0..99u32 {
            let (first, second) = (limiter.acquire().await, limiter.acquire().await);
            tokio::time::advance(Duration::from_millis(10)).await;
            let remaining = 198 - 2 * pair;
            second.answered(seen(remaining.saturating_sub(2), 60));
            first.answered(seen(remaining.saturating_sub(1), 60));
        }
        // 199 of ours and 1 of the other's: the window is full.
        assert!(tokio::time::timeout(Duration::from_secs(59), limiter.acquire()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_sent_is_forgotten_when_it_has_left_the_window() {
        let limiter = Limiter::new(0);
        limiter.acquire().await.answered(seen(149, 60));
        tokio::time::advance(WINDOW).await;
        let all: Vec<Permit> = futures_util::future::join_all((0..200).map(|_| limiter.acquire())).await;
        assert_eq!(all.len(), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_for_requests_is_computed_from_the_window() {
        let limiter = Limiter::new(50);
        assert_eq!(limiter.time_for(150), Duration::ZERO);
        assert_eq!(limiter.time_for(150 + 300), 2 * WINDOW);
        for sent in 0..75u32 {
            limiter.acquire().await.answered(seen(199 - sent, 60));
        }
        assert_eq!(limiter.time_for(150), WINDOW / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_429_nothing_is_sent_before_the_reset() {
        let limiter = Limiter::new(0);
        let started = Instant::now();
        limiter.acquire().await.refused(seen(0, 13), Duration::from_secs(13));
        let _next = limiter.acquire().await;
        assert_eq!(started.elapsed().as_secs(), 13);
    }

    #[tokio::test(start_paused = true)]
    async fn a_429_without_headers_leaves_the_limit_that_was_learned() {
        let limiter = Limiter::new(0);
        limiter.acquire().await.answered(Some(Observation { limit: 1_000, remaining: 999, reset_in: WINDOW }));
        let started = Instant::now();
        limiter.acquire().await.refused(None, Duration::from_secs(7));
        assert_eq!(limiter.allowed(), 1_000);
        let _next = limiter.acquire().await;
        assert_eq!(started.elapsed().as_secs(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_request_among_quick_ones_hides_no_request_of_others() {
        let limiter = Limiter::new(0);
        limiter.acquire().await.answered(seen(199, 60));
        // Sent first and answered last, 30 s later, after two that are sent and answered at the end.
        let slow = limiter.acquire().await;
        tokio::time::advance(Duration::from_secs(30)).await;
        // One request of another program is in the window as well.
        limiter.acquire().await.answered(seen(196, 30));
        limiter.acquire().await.answered(seen(195, 30));
        slow.answered(seen(195, 30));
        // 31 s later the slow one has left the API's window for certain, the quick ones not.
        tokio::time::advance(Duration::from_secs(31)).await;
        // The window holds the quick ones, this one, and the other program's.
        limiter.acquire().await.answered(seen(196, 60));
        assert_eq!(limiter.0.state.lock().expect("whole").others, 1);
    }

    #[test]
    fn no_number_of_requests_takes_for_ever() {
        let limiter = Limiter::new(u32::MAX);
        for requests in [i64::MIN, -1, 0, 1, i64::MAX] {
            assert!(limiter.time_for(requests) <= LONGEST_FORECAST, "{requests}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_reserve_stays_free() {
        let limiter = Limiter::new(50);
        let started = Instant::now();
        for sent in 0..150u32 {
            limiter.acquire().await.answered(seen(199 - sent, 60));
        }
        assert!(started.elapsed() < Duration::from_secs(1));
        let _next = limiter.acquire().await;
        assert_eq!(started.elapsed().as_secs(), 60);
    }
}
