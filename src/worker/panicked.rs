//! A message whose handling panicked: how often it may.

use std::sync::PoisonError;
use std::time::Duration;

use tracing::error;
use uuid::Uuid;

use super::Worker;
use super::delivery::{Received, request_of};
use super::settlement::{SessionError, Settlement};
use crate::broker::consumer::Message;
use crate::broker::wake;
use crate::messages;
use crate::process::panics::{self, Panicked};
use crate::store::pool;
use crate::store::runs::{checkpoint, claim};

/// How long nobody is woken for hints after their serving has panicked.
const PANIC_RESTS: Duration = Duration::from_secs(30);

impl Worker {
    /// A panic is one failed attempt of the request's run, which is given up after a few. A request that panics before
    /// it has a run is rejected after as many.
    pub(super) async fn count_panic(&self, message: &Message, panicked: Panicked) -> Settlement {
        if wake::is_wake_up(message) {
            // Nobody waits for an answer to it, and the hints are in the database. They wait a while, so that the same
            // one does not panic at once.
            error!(%panicked, "Serving hints panicked");
            self.engine.end_serving_hints(PANIC_RESTS).await;
            return Settlement::Ack;
        }
        let reason = panicked.to_string();
        let counted = panics::caught(async {
            let account = self.names.account();
            let id = request_of(message).ok().and_then(|request| request.id);
            if let Some(id) = id
                && pool::with_deadline(checkpoint::panicked(&self.pool, account, id, &panicked.at)).await?
            {
                return Err(SessionError::Panicked(panicked));
            }
            if self.panics_in_a_row(messages::id_of_message(account, message.body())) < claim::MAX_ATTEMPTS {
                return Err(SessionError::Panicked(panicked));
            }
            let received = Received::new(message, &self.addresses);
            Ok(self.dead_letters.reject(&received, id, &reason, "panicked").await?)
        });
        match counted.await {
            Ok(Ok(())) => Settlement::Ack,
            Ok(Err(error)) => Settlement::Leave(error),
            Err(panicked) => Settlement::Leave(panicked.into()),
        }
    }

    fn panics_in_a_row(&self, message: Uuid) -> i32 {
        let mut last = self.panicked.lock().unwrap_or_else(PoisonError::into_inner);
        let times = last.filter(|(other, _)| *other == message).map_or(1, |(_, times)| times.saturating_add(1));
        *last = Some((message, times));
        times
    }
}
