//! The simulator's time: the machine's clock, which a test can move forward instead of waiting.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// A clock that runs with the machine's and can be moved forward.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    ahead_ms: AtomicI64,
}

impl Clock {
    /// The simulator's now.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::milliseconds(self.ahead_ms.load(Ordering::Relaxed))
    }

    /// The simulator's now in milliseconds since 1970.
    pub(crate) fn millis(&self) -> i64 {
        self.now().timestamp_millis()
    }

    /// Moves the clock forward for good.
    pub(crate) fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX / 2);
        self.ahead_ms.fetch_add(by, Ordering::Relaxed);
    }
}
