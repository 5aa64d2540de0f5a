//! Stores the log lines of runs, for their pages. The log itself is complete: what cannot be stored here is lost here
//! alone.

use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::ids::Account;
use crate::process::run_lines::{self, RunLine};
use crate::store::pool;
use crate::store::runs::log;

/// How long lines are gathered.
const GATHERED_FOR: Duration = Duration::from_millis(500);

/// How long lines wait for a database that is away.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Lines that are stored at once.
const AT_ONCE: usize = 500;

/// How long the last lines may take when the process ends.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Stores the log lines of runs.
#[derive(Debug)]
pub(super) struct RunLog {
    /// The database.
    pub(super) pool: PgPool,
    /// Whose runs they are of.
    pub(super) account: Account,
}

impl RunLog {
    /// Stores what comes, until stopped.
    pub(super) async fn follow(self, stop: CancellationToken) {
        let Some(mut lines) = run_lines::take() else { return stop.cancelled().await };
        let mut gathered = Vec::new();
        while stop.run_until_cancelled(receive(&mut lines, &mut gathered)).await.is_some() {
            stop.run_until_cancelled(tokio::time::sleep(GATHERED_FOR)).await;
            while let (true, Ok(line)) = (gathered.len() < AT_ONCE, lines.try_recv()) {
                gathered.push(line);
            }
            match pool::with_deadline(log::store(&self.pool, &self.account, &gathered)).await {
                Ok(()) => gathered.clear(),
                // Other parts report why.
                Err(_) => _ = stop.run_until_cancelled(tokio::time::sleep(AGAIN_AFTER)).await,
            }
            match run_lines::lost() {
                0 => {}
                lost => warn!(lost, "{lost} log lines are missing from the pages of their runs"),
            }
        }
        while let Ok(line) = lines.try_recv() {
            gathered.push(line);
        }
        let last = log::store(&self.pool, &self.account, &gathered);
        let _ = pool::with_deadline_of(LAST_LINES, last).await;
    }
}

/// Waits for a line, unless some are there.
async fn receive(lines: &mut mpsc::Receiver<RunLine>, gathered: &mut Vec<RunLine>) {
    if gathered.is_empty() {
        match lines.recv().await {
            Some(line) => gathered.push(line),
            None => std::future::pending().await,
        }
    }
}
