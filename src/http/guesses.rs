//! The rate limit of tries to log in.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Tries that need not wait.
const BURST: u32 = 10;

/// After these, one try each.
const EVERY: Duration = Duration::from_millis(500);

/// No try waits longer than this, so at most eight wait at a time; others are rejected.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// A bucket of tries, filled at a steady rate.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    /// When the bucket is full again; none: it is.
    full_at: Mutex<Option<Instant>>,
}

impl Guesses {
    /// Waits for its turn, and takes a try. False: too many wait.
    pub(super) async fn take(&self) -> bool {
        let Some(wait) = self.wait(Instant::now()) else { return false };
        tokio::time::sleep(wait).await;
        true
    }

    fn wait(&self, now: Instant) -> Option<Duration> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let next = full_at.map_or(now, |full_at| full_at.max(now)) + EVERY;
        let wait = next.duration_since(now).saturating_sub(EVERY * BURST);
        if wait > LONGEST_WAIT {
            return None;
        }
        *full_at = Some(next);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_slowed_and_nobody_is_locked_out_for_long() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let waits: Vec<Option<Duration>> = (0..100).map(|_| guesses.wait(now)).collect();
        assert!(waits[..10].iter().all(|wait| *wait == Some(Duration::ZERO)));
        assert_eq!(waits[10..13], [1, 2, 3].map(|waiting| Some(EVERY * waiting)));
        assert_eq!(waits.iter().flatten().count(), 18, "ten at once, and eight that wait");
        let soon = now + LONGEST_WAIT;
        assert_eq!(guesses.wait(soon), Some(EVERY), "those who were rejected have taken nothing");
        assert_eq!(guesses.wait(soon + EVERY * BURST * 2), Some(Duration::ZERO));
    }
}
