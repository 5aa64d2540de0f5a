//! What the scenarios share.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::stage::Database;

/// A time in seconds.
pub type Seconds = f64;

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Plays rounds one after the other, each with a seed of its own.
pub async fn rounds<R>(count: u64, round: impl AsyncFn(u64) -> R) -> Vec<R> {
    let mut measured = Vec::new();
    for seed in 1..=count {
        measured.push(round(seed).await);
    }
    measured
}

/// How long something takes.
pub async fn seconds_of(work: impl Future<Output = ()>) -> Seconds {
    let started = Instant::now();
    work.await;
    started.elapsed().as_secs_f64()
}

/// Waits until the only step of a run has left a phase. However long that takes.
pub async fn await_end_of(database: &Database, run: Uuid, phase: &str) {
    let left = "select count(*) > 0 from teamleader2db.sync_step where run_id = $1 and phase <> $2";
    until(async || sqlx::query_scalar(left).bind(run).bind(phase).fetch_one(&database.pool).await.unwrap()).await;
}

/// Waits until a run is finished.
pub async fn await_end_of_run(database: &Database, run: Uuid) {
    let finished = "select count(*) > 0 from teamleader2db.sync_run where id = $1 and status <> 'running'";
    until(async || sqlx::query_scalar(finished).bind(run).fetch_one(&database.pool).await.unwrap()).await;
}

async fn until(condition: impl AsyncFn() -> bool) {
    while !condition().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The value that so many percent of these are not above.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
