//! The database: records, the journal of runs, tokens and the outbox. Knows nothing of the broker.

pub mod comparison;
pub mod doubts;
pub mod lease;
pub mod logins;
pub mod outbox;
pub mod parents;
pub mod pool;
pub mod progress;
pub mod records;
pub mod rejected;
pub mod report;
pub mod requirements;
pub mod retention;
pub mod runs;
#[cfg(test)]
mod scratch;
pub mod seen_ids;
pub mod sqlstate;
pub mod tables;
pub mod tokens;

/// Lets a future go on until it was polled so often, and drops it. Whether it was ready by then.
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
