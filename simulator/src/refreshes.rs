//! A log of the refresh tokens that came to the token endpoint.

use std::net::SocketAddr;
use std::sync::Mutex;

use chrono::{DateTime, Utc};
use serde::Serialize;

/// A refresh token that came to the token endpoint, with the right client id and secret, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refresh {
    /// When the request had been read, by the simulator's clock.
    pub at: DateTime<Utc>,
    /// The other end of the connection that it came on.
    pub from: SocketAddr,
    /// The number of the refresh token, counted from 1 in the order of issue. None: it was never issued.
    pub token: Option<u64>,
    /// What became of it.
    pub outcome: RefreshOutcome,
    /// Whether the answer, or a part of it, was not sent because of a fault.
    pub answer_lost: bool,
}

/// What became of a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshOutcome {
    /// It was traded for a new pair, whose refresh token has this number.
    Traded(u64),
    /// Refused: it was traded before.
    Reused,
    /// Refused: it was revoked, and never traded.
    Revoked,
    /// Refused: it was never issued.
    Unknown,
}

/// The log.
#[derive(Default)]
pub(crate) struct Refreshes(Mutex<Vec<Refresh>>);

impl Refreshes {
    pub(crate) fn add(&self, refresh: Refresh) {
        self.lock().push(refresh);
    }

    pub(crate) fn list(&self) -> Vec<Refresh> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Refresh>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
