//! A message that wakes the consumer for hints: they are served for a slice.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::settlement::Settlement;
use super::{GRACE, Worker};
use crate::broker::consumer::Consumer;
use crate::broker::link::AmqpError;
use crate::process::failpoints::{self, Point};
use crate::store::lease;
use crate::sync::hints::Ended;

impl Worker {
    /// The consumer was woken: serves the hints that wait, for a slice at most, and wakes the next if some are left.
    pub(super) async fn serve_hints(&self, consumer: &mut Consumer, stop: &CancellationToken) -> Settlement {
        failpoints::reached(Point::WakeTaken);
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
}
