//! What waits in the account's queues, asked of the broker now and then.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::broker::queues::{self, Depths};
use crate::broker::topology::Names;

/// How long an answer serves: each takes a connection.
const SERVES: Duration = Duration::from_secs(5);

/// A broker that does not answer within this could not be asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks at the queues.
#[derive(Clone, Debug)]
pub struct QueueLook {
    url: SecretString,
    names: Names,
    last: Arc<Mutex<Option<Look>>>,
}

/// An answer of the broker, if it gave one, and when.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    depths: Option<Depths>,
}

impl QueueLook {
    /// Of the broker at `url`.
    pub fn new(url: SecretString, names: Names) -> Self {
        Self { url, names, last: Arc::default() }
    }

    /// The broker.
    pub(super) fn url(&self) -> &SecretString {
        &self.url
    }

    /// How much waits, as of a few seconds ago; `None`: the broker could not be asked.
    pub async fn depths(&self) -> Option<Depths> {
        let mut last = self.last.lock().await;
        if let Some(look) = last.filter(|look| look.at.elapsed() < SERVES) {
            return look.depths;
        }
        let looked = tokio::time::timeout(PATIENCE, queues::depths(&self.url, &self.names)).await;
        let depths = looked.ok().and_then(Result::ok);
        *last = Some(Look { at: Instant::now(), depths });
        depths
    }
}
