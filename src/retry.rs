//! When to try again: verdicts and delays. A leaf, used by all.
//!
//! The only file that names the `backoff` crate.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// Why a request to the API did not bring what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, or one that broke before the whole answer had come.
    Network,
    /// No answer in time.
    Timeout,
    /// 5xx: their side.
    Server,
    /// A 2xx answer that is not the JSON it should be: cut short, or of another shape.
    Malformed,
    /// A 2xx answer that is no JSON at all: a page that a proxy has put in its place, which is an outage.
    Page,
    /// A 2xx answer that is whole, with a record that cannot be read: it stays so.
    Unreadable,
    /// 429, with the time until the earliest moment at which a request can succeed.
    RateLimited(Duration),
    /// 401: the access token is missing, expired or revoked.
    Unauthorized,
    /// 403: a scope is missing, or the module is not in the customer's plan.
    Forbidden,
    /// 404 of the API itself: deleted.
    NotFound,
    /// Any other 4xx, 400 and 422 alike: the request itself is wrong, and stays wrong.
    Rejected,
    /// The answer is longer than is read: a smaller page may do.
    TooLong,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after the next delay of the policy, within its time budget.
    Backoff,
    /// Try again after this time; it does not count against the budget.
    After(Duration),
    /// Try once more with another access token.
    NewToken,
    /// Trying again cannot help.
    Never,
}

impl Failure {
    /// The verdict on this failure (rule: transient ones only are tried again).
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Network | Self::Timeout | Self::Server | Self::Malformed | Self::Page => Verdict::Backoff,
            Self::RateLimited(wait) => Verdict::After(wait),
            Self::Unauthorized => Verdict::NewToken,
            Self::Forbidden | Self::NotFound | Self::Rejected | Self::TooLong | Self::Unreadable => Verdict::Never,
        }
    }

    /// What an operator can do about it, where there is something: to be put after the reason.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Forbidden => " (does the integration lack a scope, or the user who authorized it a right?)",
            Self::Network | Self::Timeout | Self::Server | Self::Malformed | Self::Page => "",
            Self::RateLimited(_) | Self::Unauthorized | Self::NotFound => "",
            Self::Rejected | Self::TooLong | Self::Unreadable => "",
        }
    }
}

/// Exponential delays with jitter, and the time after which to give up.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The first delay; each is then twice the last.
    pub initial: Duration,
    /// No delay is longer.
    pub longest: Duration,
    /// No try begins later than this after the first; `None`: for ever.
    pub budget: Option<Duration>,
}

/// Requests to the API: 0.5, 1, 2, 4, 8, 8 s, each ± 50 %, for 25 s in all.
///
/// Shorter than a slice, so that an API that is down is handed to a delay queue and not slept out with a message in
/// hand.
pub const API: Policy = Policy {
    initial: Duration::from_millis(500),
    longest: Duration::from_secs(8),
    budget: Some(Duration::from_secs(25)),
};

/// Connecting to the broker or the database: 0.25, 0.5, 1, 2, 4, 5, 5 … s, each ± 50 %, for ever.
pub const RECONNECT: Policy =
    Policy { initial: Duration::from_millis(250), longest: Duration::from_secs(5), budget: None };

/// Storing or escrowing a fresh token pair: 0.1, 0.2, 0.4 … 2 s, each ± 50 %, for ever.
pub const STORE_TOKEN: Policy =
    Policy { initial: Duration::from_millis(100), longest: Duration::from_secs(2), budget: None };

/// The delay queues, in seconds, one for each further wait of a run: the API stays down, the run waits longer.
pub const DELAY_STEPS: [u32; 5] = [10, 60, 300, 900, 3600];

/// How often in a row a run waits in a delay queue before it gives up: about 9 hours with [`DELAY_STEPS`].
pub const MAX_WAITS: i32 = 13;

/// The delay in seconds for the given number of earlier waits in a row.
pub fn delay_step(earlier_waits: i32) -> u32 {
    let last = DELAY_STEPS.len() - 1;
    DELAY_STEPS[usize::try_from(earlier_waits).unwrap_or(0).min(last)]
}

/// How often a reply is published at most.
pub const REPLY_TRIES: i32 = 6;

/// When a reply that the broker did not take is published again: after 1, 2, 4, 8 and 16 s; `None`: not any more.
pub fn reply_delay(tries: i32) -> Option<Duration> {
    doubled(tries, REPLY_TRIES)
}

/// When an event that the broker did not take is published again: after 1, 2, 4 … s, 17 tries over 18 hours in all;
/// `None`: not any more.
///
/// The delays double without a bound, since each try is one more copy for the queues that are not full.
pub fn refused_event_delay(tries: i32) -> Option<Duration> {
    doubled(tries, 17)
}

fn doubled(tries: i32, most: i32) -> Option<Duration> {
    let before = u32::try_from(tries).ok()?.checked_sub(1)?;
    (tries < most).then(|| Duration::from_secs(1 << before))
}

/// The delays of one operation that is tried again and again.
#[derive(Debug)]
pub struct Delays(ExponentialBackoff);

impl Policy {
    /// Begins: the budget counts from now.
    pub fn begin(&self) -> Delays {
        let mut delays = ExponentialBackoff {
            initial_interval: self.initial,
            current_interval: self.initial,
            max_interval: self.longest,
            multiplier: 2.0,
            randomization_factor: 0.5,
            max_elapsed_time: self.budget,
            ..ExponentialBackoff::default()
        };
        delays.reset();
        Delays(delays)
    }
}

impl Delays {
    /// The next delay, or `None` when the budget is spent.
    pub fn next_delay(&mut self) -> Option<Duration> {
        self.0.next_backoff()
    }

    /// Begins again with the first delay, after a success.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_transient_failures_are_tried_again() {
        for transient in [Failure::Network, Failure::Timeout, Failure::Server, Failure::Malformed, Failure::Page] {
            assert_eq!(transient.verdict(), Verdict::Backoff);
        }
        for lasting in [Failure::Forbidden, Failure::NotFound, Failure::Rejected, Failure::TooLong, Failure::Unreadable]
        {
            assert_eq!(lasting.verdict(), Verdict::Never);
        }
        let wait = Duration::from_secs(7);
        assert_eq!(Failure::RateLimited(wait).verdict(), Verdict::After(wait));
    }

    #[test]
    fn delays_double_with_jitter_and_stay_below_the_longest() {
        let mut delays = RECONNECT.begin();
        let mut expected = 0.25;
        for _ in 0..8 {
            let delay = delays.next_delay().expect("no budget").as_secs_f64();
            assert!((expected * 0.49..=expected * 1.51).contains(&delay), "{delay} for {expected}");
            expected = f64::min(expected * 2.0, 5.0);
        }
    }

    #[test]
    fn what_the_broker_does_not_take_is_tried_a_bounded_number_of_times() {
        let seconds =
            |delay: fn(i32) -> Option<Duration>| (1..).map_while(delay).map(|d| d.as_secs()).collect::<Vec<_>>();
        assert_eq!(seconds(reply_delay), [1, 2, 4, 8, 16]);
        assert_eq!(seconds(refused_event_delay).iter().sum::<u64>(), 65_535);
        for odd in [i32::MIN, -1, 0, i32::MAX] {
            assert_eq!(refused_event_delay(odd), None);
        }
    }

    #[test]
    fn waits_grow_and_then_stay() {
        let steps: Vec<u32> = (0..7).map(delay_step).collect();
        assert_eq!(steps, [10, 60, 300, 900, 3600, 3600, 3600]);
    }
}
