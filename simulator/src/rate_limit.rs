//! The sliding window: a limit for the requests of one client in any stretch of time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};

use crate::quirks::ResetForm;

/// The limit and the requests that count.
pub(crate) struct RateLimit(Mutex<Windows>);

struct Windows {
    limit: u32,
    length_ms: i64,
    /// The moments of each client's requests in milliseconds since 1970, oldest first.
    requests: HashMap<String, VecDeque<i64>>,
}

/// Where a client stands; every answer of the API reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Whether the request is within the limit.
    pub(crate) granted: bool,
    /// `X-RateLimit-Limit`.
    pub(crate) limit: u32,
    /// `X-RateLimit-Remaining`.
    pub(crate) remaining: u32,
    /// When the oldest request that counts leaves the window; over the limit, the earliest moment at which a request
    /// can succeed. Milliseconds since 1970.
    pub(crate) reset_ms: i64,
}

impl RateLimit {
    pub(crate) fn new(limit: u32, window: Duration) -> Self {
        let windows = Windows { limit, length_ms: millis(window), requests: HashMap::new() };
        Self(Mutex::new(windows))
    }

    /// Another limit, from now on and for the requests that were made already.
    pub(crate) fn set(&self, limit: u32, window: Duration) {
        let mut windows = self.lock();
        windows.limit = limit;
        windows.length_ms = millis(window);
    }

    /// Counts a request if it is within the limit. One that is refused does not count.
    pub(crate) fn take(&self, client: &str, now_ms: i64) -> Quota {
        self.lock().stand(client, now_ms, Action::Take)
    }

    /// Where a client stands, without a request.
    pub(crate) fn peek(&self, client: &str, now_ms: i64) -> Quota {
        self.lock().stand(client, now_ms, Action::Peek)
    }

    /// Counts requests as if another program of the same integration had made them.
    pub(crate) fn spend(&self, client: &str, now_ms: i64, requests: u32) {
        let mut windows = self.lock();
        for _ in 0..requests {
            windows.stand(client, now_ms, Action::Take);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Windows> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Whether a request counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Take,
    Peek,
}

impl Windows {
    fn stand(&mut self, client: &str, now_ms: i64, action: Action) -> Quota {
        if !self.requests.contains_key(client) {
            self.requests.insert(client.to_owned(), VecDeque::new());
        }
        let Some(requests) = self.requests.get_mut(client) else { unreachable!("inserted above") };
        while requests.front().is_some_and(|moment| moment + self.length_ms <= now_ms) {
            requests.pop_front();
        }
        let limit = self.limit as usize;
        let granted = requests.len() < limit;
        if granted && action == Action::Take {
            requests.push_back(now_ms);
        }
        // Over the limit (which may have been lowered meanwhile) as many must leave as leave one place free.
        let next = if granted { 0 } else { (requests.len() - limit).min(requests.len().saturating_sub(1)) };
        let reset_ms = requests.get(next).map_or(now_ms, |moment| moment + self.length_ms);
        let remaining = limit.saturating_sub(requests.len()) as u32;
        Quota { granted, limit: self.limit, remaining, reset_ms }
    }
}

impl Quota {
    /// `X-RateLimit-Reset` as the API writes it: whole seconds, or as it was once, in Belgian time with milliseconds
    /// and an offset without a colon.
    pub(crate) fn reset(&self, form: ResetForm) -> String {
        let belgium = FixedOffset::east_opt(3600);
        let reset = DateTime::from_timestamp_millis(self.reset_ms).unwrap_or_default();
        if form == ResetForm::Seconds {
            return crate::generate::moment(reset.timestamp());
        }
        let format = "%Y-%m-%dT%H:%M:%S%.3f%z";
        match belgium {
            Some(belgium) => reset.with_timezone(&belgium).format(format).to_string(),
            None => reset.format(format).to_string(),
        }
    }

    /// The quota with a reset that lies in the past.
    pub(crate) fn overdue(mut self, now: DateTime<Utc>, seconds: u32) -> Self {
        self.reset_ms = now.timestamp_millis() - i64::from(seconds) * 1000;
        self
    }

    /// The quota of a client that has to wait although it is within its limit.
    pub(crate) fn exhausted(mut self, now: DateTime<Utc>, reset_in_ms: Option<u64>) -> Self {
        self.granted = false;
        self.remaining = 0;
        if let Some(wait) = reset_in_ms {
            self.reset_ms = (now + TimeDelta::milliseconds(wait as i64)).timestamp_millis();
        }
        self
    }
}

fn millis(window: Duration) -> i64 {
    i64::try_from(window.as_millis()).unwrap_or(i64::MAX / 4)
}
