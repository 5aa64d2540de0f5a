//! What the process takes of its machine, and how busy its runtime is: read when metrics are asked for.
//!
//! From `/proc`: the crates that read it have far more in them than these five numbers.

use std::path::Path;
use std::time::Duration;

use super::telemetry::{self, Taken};

/// The ticks of a second in `/proc`, on all machines that Linux is compiled for here.
const TICKS: u64 = 100;

/// Reads what the process takes. Where there is no `/proc` it has no numbers.
pub fn read() {
    telemetry::process(&taken(Path::new("/proc/self")));
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        let metrics = runtime.metrics();
        let workers = metrics.num_workers();
        telemetry::runtime(workers, metrics.num_alive_tasks(), metrics.global_queue_depth());
        #[cfg(target_has_atomic = "64")]
        telemetry::runtime_busy((0..workers).map(|worker| metrics.worker_total_busy_duration(worker)).sum());
    }
}

fn taken(process: &Path) -> Taken {
    let text = |file: &str| std::fs::read_to_string(process.join(file)).unwrap_or_default();
    // One of them is that of the folder itself.
    let descriptors = std::fs::read_dir(process.join("fd")).ok().map(|open| open.count().saturating_sub(1));
    Taken {
        processor: processor(&text("stat")),
        resident: resident(&text("status")),
        descriptors: descriptors.and_then(|open| u32::try_from(open).ok()),
        most_descriptors: most_descriptors(&text("limits")),
    }
}

/// Of `stat`: the fields 14 and 15, where the second is the name of the program, in brackets, with whatever is in it.
fn processor(stat: &str) -> Option<Duration> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = fields.next()?.ok()?.checked_add(fields.next()?.ok()?)?;
    Some(Duration::from_millis(ticks.checked_mul(1000 / TICKS)?))
}

/// Of `status`, in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Of `limits`: the one that holds; `None` where there is none.
fn most_descriptors(limits: &str) -> Option<u32> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_proc_are_found() {
        let stat = "42 (a name) S 9) S 1 42 42 0 -1 4194560 1043 0 3 0 1234 66 0 0 20 0 9 0 71 1000 250 18446744";
        assert_eq!(processor(stat), Some(Duration::from_secs(13)));
        assert_eq!(resident("Name:\tx\nVmRSS:\t   20480 kB\nRssAnon: 1 kB\n"), Some(20_480 * 1024));
        let limits = |soft: &str| format!("Limit  Soft  Hard  Units\nMax open files      {soft}   524288   files\n");
        assert_eq!(most_descriptors(&limits("1024")), Some(1024));
        assert_eq!(most_descriptors(&limits("unlimited")), None);
        assert_eq!((processor(""), resident(""), most_descriptors("")), (None, None, None));
    }

    #[test]
    fn this_process_takes_something() {
        let taken = taken(Path::new("/proc/self"));
        assert!(taken.processor.is_some(), "{taken:?}");
        assert!(taken.resident > Some(1 << 20) && taken.descriptors > Some(2), "{taken:?}");
        assert!(taken.most_descriptors.is_none_or(|most| most > 2), "{taken:?}");
    }
}
