//! How a process ends: by a signal, or because one of its parts ended.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use anyhow::anyhow;
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::signal::unix::{self, SignalKind};
use tokio::task::{Id, JoinSet};
use tracing::info;

/// How long after a signal a command that does not react ends.
const GOODBYE: Duration = Duration::from_secs(1);

/// SIGTERM and SIGINT, from the moment at which this value is made: a process that is the first of its container
/// ignores both without it.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

/// Which signal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
}

/// A process that crashes leaves no image of its memory, which holds tokens and keys in many copies. Where the system
/// does not allow to set that, it stays as it was.
pub fn leave_no_core_dump() {
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::debug!(%error, "Core dumps cannot be forbidden");
    }
}

impl Signals {
    /// Begins to listen. Within a tokio runtime.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
        })
    }

    /// The outcome of `work`, unless a signal comes before it, which drops the work. Work that blocks its thread, for a
    /// reader or for input, cannot be dropped: then the process ends a moment after the signal, with the signal's exit
    /// code.
    pub async fn unless_one_comes<T>(&mut self, work: impl Future<Output = T>) -> anyhow::Result<Result<T, Signal>> {
        let mut watching = Self::listen()?;
        tokio::spawn(async move {
            let signal = watching.next().await;
            tokio::time::sleep(GOODBYE).await;
            std::process::exit(signal.exit_code().into());
        });
        tokio::select! {
            done = work => Ok(Ok(done)),
            signal = self.next() => Ok(Err(signal)),
        }
    }

    /// The outcome of `work`, which one signal does not end and a second one does.
    pub async fn unless_two_come<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Signal> {
        let mut work = pin!(work);
        tokio::select! {
            done = &mut work => return Ok(done),
            signal = self.next() => {
                info!("{}: it ends once the work in hand is done; a second signal aborts", signal.name());
            }
        }
        tokio::select! {
            done = &mut work => Ok(done),
            signal = self.next() => Err(signal),
        }
    }

    /// The next signal. Cancel-safe.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
        }
    }
}

impl Signal {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }

    /// The exit code of a command that it ended, as shells have it: 128 and the signal's number.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Terminate => 143,
            Self::Interrupt => 130,
        }
    }
}

/// The tasks of a process, each of which is to run until the process ends.
#[derive(Debug, Default)]
pub struct Parts {
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
}

/// A part that ended.
#[derive(Debug)]
pub struct Ended {
    /// Its name.
    pub name: &'static str,
    /// How: a panic is an error, too.
    pub outcome: anyhow::Result<()>,
}

impl Parts {
    /// Starts a part.
    pub fn spawn(&mut self, name: &'static str, part: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let task = self.tasks.spawn(part);
        self.names.insert(task.id(), name);
    }

    /// The next part that ends; `None`: all have. Cancel-safe.
    pub async fn next(&mut self) -> Option<Ended> {
        let (id, outcome) = match self.tasks.join_next_with_id().await? {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(anyhow!("a bug ended it: see the log"))),
        };
        Some(Ended { name: self.names.remove(&id).unwrap_or("a part"), outcome })
    }

    /// Waits until this part has ended, and whichever ends before it.
    pub async fn wait_for(&mut self, name: &str) {
        while self.names.values().any(|running| *running == name) && self.next().await.is_some() {}
    }

    /// Waits until all have ended.
    pub async fn wait(&mut self) {
        while self.next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_part_that_ends_is_named_however_it_ended() {
        let mut parts = Parts::default();
        parts.spawn("one that goes on", std::future::pending());
        parts.spawn("one that panics", async { panic!("a bug") });
        let ended = parts.next().await.expect("one ends");
        assert_eq!((ended.name, ended.outcome.is_err()), ("one that panics", true));
        parts.spawn("one that is done", async { Ok(()) });
        parts.wait_for("one that is done").await;
        assert_eq!(parts.names.len(), 1);
    }
}
