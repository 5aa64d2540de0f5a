//! A message that wakes the consumer for hints: they are served for a slice.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::settlement::{SessionError, Settlement};
use super::{GRACE, Worker};
use crate::broker::consumer::Consumer;
use crate::broker::link::AmqpError;
use crate::process::failpoints::{self, Point};
use crate::store::hints::wake;
use crate::store::lease;
use crate::sync::hints::Ended;

impl Worker {
    /// The consumer was woken: serves the hints that wait, for a slice at most, and wakes the next if some are left.
    pub(super) async fn serve_hints(&self, consumer: &mut Consumer, stop: &CancellationToken) -> Settlement {
        failpoints::reached(Point::WakeTaken);
        match self.leaves_to_a_run(consumer).await {
            Ok(true) => return Settlement::Ack,
            Ok(false) => {}
            Err(failure) => return Settlement::Leave(failure),
        }
        let epoch = match lease::acquire(&self.pool, self.names.account(), &self.holder).await {
            Ok(epoch) => epoch,
            Err(error) => return Settlement::Leave(error.into()),
        };
        Span::current().record("epoch", epoch.0);
        let mut serving = Box::pin(self.engine.serve_hints(epoch, stop));
        let out_of_time = async {
            stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let served = tokio::select! {
            served = &mut serving => served,
            next = consumer.next() => {
                return Settlement::Leave(next.err().unwrap_or(AmqpError::Ended).into());
            }
            () = out_of_time => Ok(Ended::InOrder),
        };
        // What it was in the midst of is rolled back.
        drop(serving);
        let (rests, settlement) = match served {
            Ok(Ended::InOrder) if stop.is_cancelled() => (Duration::ZERO, Settlement::AckAndRest),
            Ok(Ended::InOrder) => (Duration::ZERO, Settlement::Ack),
            Ok(Ended::Rests(rests)) => (rests, Settlement::Ack),
            Ok(Ended::Unauthorized) => (Duration::ZERO, Settlement::AckAndRest),
            Err(error) => return Settlement::Leave(error.into()),
        };
        self.engine.end_serving_hints(rests).await;
        self.wake_up.wake().await;
        settlement
    }

    /// Whether a run is under way whose next slice waits in the queue: it serves hints beside its steps, within half of
    /// the budget. Served here, between two of its slices, they would take all of it, and a slice's time. Nobody is
    /// woken again at once, or two such messages could leave it to each other for ever: the next who looks for hints
    /// does.
    async fn leaves_to_a_run(&self, consumer: &Consumer) -> Result<bool, SessionError> {
        if !wake::a_run_is_under_way(&self.pool, self.names.account()).await?
            || consumer.waiting_in(&self.names.requests_queue()).await? == 0
        {
            return Ok(false);
        }
        wake::give_back(&self.pool, self.names.account()).await?;
        Ok(true)
    }
}
