//! Waiting for a condition: the only place where a test lets time pass.

use std::time::Duration;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);

/// When a condition is given up. Far longer than anything here takes, since several tests share few cores; no test is
/// judged by how long it takes.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until `look` gives a value, and gives it. Panics with `what` when it never does.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    match found_within(DEADLINE, POLL, look).await {
        Some(value) => value,
        None => panic!("waited {} s in vain until {what}", DEADLINE.as_secs()),
    }
}

/// What `look` gives, which is asked again and again; `None` when it gives nothing in time.
pub async fn found_within<T>(
    deadline: Duration,
    every: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> Option<T> {
    let poll = async {
        let mut ticks = tokio::time::interval(every);
        loop {
            ticks.tick().await;
            if let Some(value) = look().await {
                return value;
            }
        }
    };
    tokio::time::timeout(deadline, poll).await.ok()
}
