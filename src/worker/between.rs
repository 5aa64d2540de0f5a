//! What a worker looks at between two messages.

use std::time::Duration;

use super::Worker;
use super::settlement::SessionError;
use crate::broker::consumer::Consumer;
use crate::store::pool::{self, StoreError};
use crate::store::schema;

/// How long the worker may be at what the broker gave up before it reconnects, and goes on with it.
const DEAD_LETTER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long after the length of a slice another worker's is over, if the API answers.
const ANOTHERS_SLICE_ENDS: Duration = Duration::from_secs(15);

impl Worker {
    /// What is looked at between messages.
    pub(super) async fn look_around(&self, consumer: &Consumer, active: bool) -> Result<(), SessionError> {
        self.check_schema().await?;
        self.dead_letter_undelivered(consumer, active).await
    }

    /// `active`: whether the broker has given this consumer a message. It gives them to one as long as that one is
    /// there.
    pub(super) async fn dead_letter_undelivered(&self, consumer: &Consumer, active: bool) -> Result<(), SessionError> {
        let anothers = (!active).then(|| self.engine.settings.slice + ANOTHERS_SLICE_ENDS);
        let dead_lettered =
            tokio::time::timeout(DEAD_LETTER_TIMEOUT, self.dead_letters.dead_letter_undelivered(consumer, anothers));
        Ok(dead_lettered.await.map_err(|_| SessionError::Overdue)??)
    }

    /// A newer version of the program may have migrated the database: its worker takes the requests then.
    pub(super) async fn check_schema(&self) -> Result<(), StoreError> {
        pool::with_deadline(schema::check_not_newer(&self.pool)).await
    }
}
