//! The database: records, runs, tokens and the outbox. Knows nothing of the broker.
//!
//! The terms of the field, as they are used here:
//!
//! - The epoch of the [`lease`] is a *fencing token*: each transaction of a slice compares it with the stored one, so a
//!   worker that lost the lease writes nothing more, however late it wakes up.
//! - To merge list items into [`records`] is an *upsert*: an insert where there is no row, else an update.
//! - `deleted_at` of a row is a *soft delete*: the row stays. [`retention`] may erase its content later.
//! - The *idempotency key* of a run, and *at-least-once* delivery: see [`runs`].

pub mod accounts;
pub mod comparison;
pub mod doubts;
pub mod draws;
pub mod hints;
pub mod lease;
pub mod logins;
pub mod outbox;
pub mod parents;
pub mod pool;
pub mod pooler;
pub mod progress;
pub mod reach;
pub mod records;
pub mod rejected;
pub mod report;
pub mod requirements;
pub mod retention;
pub mod runs;
pub mod schema;
#[cfg(test)]
mod scratch;
pub mod seen_ids;
mod server_error;
pub mod sqlstate;
pub mod state;
pub mod tables;
pub mod tokens;
pub mod workers;

/// Polls a future this many times at most, and drops it. Returns whether it was ready by then.
#[cfg(test)]
async fn polled(times: u32, future: impl Future) -> bool {
    use std::task::Poll;

    let mut future = Box::pin(future);
    let mut polls = 0;
    std::future::poll_fn(|context| {
        polls += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if polls == times => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
