//! The database: records, the journal of runs, tokens and the outbox. Knows nothing of the broker.

pub mod authorization;
pub mod cipher;
pub mod comparison;
pub mod details;
pub mod doubts;
pub mod ending;
pub mod journal;
pub mod lease;
pub mod load;
pub mod logins;
pub mod newest;
pub mod outbox;
pub mod parents;
pub mod passes;
pub mod pool;
pub mod records;
pub mod rejected;
pub mod rekey;
pub mod report;
pub mod requirements;
pub mod retention;
pub mod run;
#[cfg(test)]
mod scratch;
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
