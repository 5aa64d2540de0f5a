//! Whether this process consumes requests: written by the worker, read by `/health/ready`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::telemetry;

/// Shared by the worker and the HTTP server.
#[derive(Clone, Debug, Default)]
pub struct ConsumerState(Arc<State>);

#[derive(Debug, Default)]
struct State {
    active: AtomicBool,
    obstacle: Mutex<Option<&'static str>>,
}

impl ConsumerState {
    /// Whether it consumes, or stands by to.
    pub fn is_active(&self) -> bool {
        self.0.active.load(Ordering::Relaxed)
    }

    /// What keeps it from consuming until an operator does something, in a fixed sentence.
    pub fn obstacle(&self) -> Option<&'static str> {
        *self.0.obstacle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It consumes from now on, or does not.
    pub fn set_active(&self, active: bool) {
        self.0.active.store(active, Ordering::Relaxed);
        telemetry::consumer_active(active);
    }

    /// There is an obstacle, or none any more.
    pub fn set_obstacle(&self, obstacle: Option<&'static str>) {
        *self.0.obstacle.lock().unwrap_or_else(PoisonError::into_inner) = obstacle;
    }
}
