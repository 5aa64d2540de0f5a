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
        let (mut gathered, mut is_reported) = (Vec::new(), false);
        while stop.run_until_cancelled(receive(&mut lines, &mut gathered)).await.is_some() {
            stop.run_until_cancelled(tokio::time::sleep(GATHERED_FOR)).await;
            gather(&mut lines, &mut gathered);
            match pool::with_deadline(log::store(&self.pool, &self.account, &gathered)).await {
                Ok(()) => (gathered, is_reported) = (Vec::new(), false),
                // A database that is away is reported by the parts that need it.
                Err(error) if error.is_transient() => {
                    _ = stop.run_until_cancelled(tokio::time::sleep(AGAIN_AFTER)).await
                }
                // To try again is of no use, and would hold up the lines to come.
                Err(error) => {
                    if !std::mem::replace(&mut is_reported, true) {
                        warn!(%error, "Log lines are missing from the pages of their runs, as they cannot be stored");
                    }
                    gathered.clear();
                }
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

/// Takes the lines that wait, as far as they are stored at once; the others stay where they are.
fn gather(lines: &mut mpsc::Receiver<RunLine>, gathered: &mut Vec<RunLine>) {
    while gathered.len() < AT_ONCE
        && let Ok(line) = lines.try_recv()
    {
        gathered.push(line);
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

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_full_batch_leaves_every_other_line_for_the_next() {
        let (sender, mut lines) = mpsc::channel(2 * AT_ONCE);
        for number in 0..AT_ONCE + 2 {
            let (run, at, message) = (Uuid::nil(), Utc::now(), number.to_string());
            sender.try_send(RunLine { run, at, level: "INFO", message, fields: serde_json::Map::new() }).expect("room");
        }
        let mut gathered = Vec::new();
        gather(&mut lines, &mut gathered);
        // While they are not stored, nothing is taken.
        gather(&mut lines, &mut gathered);
        let mut next = Vec::new();
        gather(&mut lines, &mut next);
        assert_eq!((gathered.len(), next.len()), (AT_ONCE, 2));
    }
}
