//! The database's clock as this process knows it, and what an answer's `Date` is beside it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use crate::process::telemetry;

/// A `Date` that is further than this from the database's clock is not believed. Both clocks are set by the network,
/// which keeps them within seconds; an answer may take a minute, and `Date` has whole seconds.
pub const MAX_SKEW: TimeDelta = TimeDelta::minutes(2);

/// What an answer says of its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dated {
    /// By the API's clock, and never later than by the database's.
    At(DateTime<Utc>),
    /// Not believed: so far is it from the database's clock.
    Apart(TimeDelta),
}

/// The database's clock, read now and then and continued with this machine's monotonic one. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct DatabaseClock(Arc<Mutex<Option<Read>>>);

/// What the database said, and when.
#[derive(Clone, Copy, Debug)]
struct Read {
    now: DateTime<Utc>,
    at: Instant,
    /// By how much the API's clock is behind, as the last `Date` said that was believed.
    behind: TimeDelta,
}

impl DatabaseClock {
    /// What the database has just said.
    pub fn set(&self, now: DateTime<Utc>) {
        let mut read = self.lock();
        let behind = read.map(|read| read.behind).unwrap_or_default();
        *read = Some(Read { now, at: Instant::now(), behind });
    }

    /// What it would say now; `None` before it was read.
    pub fn now(&self) -> Option<DateTime<Utc>> {
        let read = (*self.lock())?;
        read.now.checked_add_signed(TimeDelta::from_std(read.at.elapsed()).ok()?)
    }

    /// What the API's clock says now, as far as it is believed: never later than the database's.
    pub fn api_now(&self) -> Option<DateTime<Utc>> {
        let behind = (*self.lock())?.behind;
        self.now()?.checked_sub_signed(behind)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Read>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds the `Date` of an answer that has just come against it.
    pub fn judge(&self, date: DateTime<Utc>) -> Dated {
        let Some(now) = self.now() else { return Dated::At(date) };
        let skew = date - now;
        telemetry::api_clock_skew(skew);
        if skew.abs() > MAX_SKEW {
            return Dated::Apart(skew);
        }
        if let Some(read) = self.lock().as_mut() {
            read.behind = (now - date).max(TimeDelta::zero());
        }
        Dated::At(date.min(now))
    }
}

/// How far a clock is from the database's, as people say it.
pub fn described(skew: TimeDelta) -> String {
    let seconds = skew.num_seconds();
    format!("{} s {} the database's clock", seconds.unsigned_abs(), if seconds < 0 { "behind" } else { "ahead of" })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_date_is_believed_within_two_minutes_of_the_database_and_never_later() {
        let clock = DatabaseClock::default();
        let read: DateTime<Utc> = "2026-03-01T12:00:00Z".parse().expect("a time");
        let date = |seconds| read + TimeDelta::seconds(seconds);
        assert_eq!(clock.judge(date(86_400)), Dated::At(date(86_400)), "nothing is known to hold it against");
        clock.set(read);
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(clock.now(), Some(date(600)));
        assert_eq!(clock.judge(date(481)), Dated::At(date(481)));
        assert_eq!(clock.api_now(), Some(date(481)), "it is behind");
        assert_eq!(clock.judge(date(720)), Dated::At(date(600)));
        assert_eq!(clock.judge(date(721)), Dated::Apart(TimeDelta::seconds(121)));
        assert_eq!(clock.judge(date(479)), Dated::Apart(TimeDelta::seconds(-121)));
        assert_eq!(clock.api_now(), Some(date(600)), "the last that was believed counts");
    }

    #[test]
    fn no_date_is_too_far() {
        let clock = DatabaseClock::default();
        clock.set(Utc::now());
        for date in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            let Dated::Apart(skew) = clock.judge(date) else { panic!("{date} is believed") };
            assert!(described(skew).ends_with("the database's clock"));
        }
    }
}
