//! Memory and processor: a full sync of a thousand records beside one of a million.

use std::time::Duration;

use serde_json::json;
use teamleader_simulator::Config;

use crate::stage::{Stage, Worker};
use crate::{Rows, Size};

/// Clock ticks a second in /proc/PID/stat, on every Linux that there is.
const TICKS: f64 = 100.0;

/// A resource without details, so that a million records are some ten thousand requests.
const RESOURCE: &str = "timeTracking";

struct Used {
    /// The most memory that was resident, in MB.
    peak: f64,
    /// Of the worker, in all.
    cpu_seconds: f64,
}

/// One round of each size: each has a worker of its own.
pub async fn measure(size: Size) -> Rows {
    let many = if size.quick { 100_000 } else { 1_000_000 };
    let (few, much) = (sync(1_000).await, sync(many).await);
    vec![
        format!(
            "| memory, full sync of {many} time entries | {:.1} MB at most | of 1000: {:.1} MB | {:.1} MB more |",
            much.peak,
            few.peak,
            much.peak - few.peak,
        ),
        format!("| processor, full sync of {many} time entries | {:.1} s of the worker | | |", much.cpu_seconds),
    ]
}

async fn sync(records: usize) -> Used {
    let counts = [(RESOURCE.to_owned(), records)].into();
    let mut stage = Stage::with(Config { counts, ..Config::default() }).await;
    stage.set("RUST_LOG", "info");
    let worker = stage.worker().await;
    stage.request(json!({ "mode": "full", "resources": [RESOURCE] })).await;
    let done = "select count(*) from teamleader2db.sync_run where status = 'completed'";
    while stage.database.value::<i64>(done).await == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(stage.database.rows(RESOURCE).await, records as i64);
    used(&worker)
}

/// What a process used, as Linux reports it.
fn used(worker: &Worker) -> Used {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", worker.pid())).unwrap();
    let status = read("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: f64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    let stat = read("stat");
    // After the name, which may hold anything: fields 14 and 15 are the ticks in user and kernel mode, the third comes
    // first.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = |field: usize| fields[field - 3].parse::<f64>().unwrap();
    Used { peak: peak * 1024.0 / 1e6, cpu_seconds: (ticks(14) + ticks(15)) / TICKS }
}
