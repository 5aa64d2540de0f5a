//! What is reported: all about a case that failed, and tables at the end.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// Bytes that a worker may have resident, in a build for tests. Measured: a release build takes less.
const MEMORY: u64 = 256 << 20;

/// A case that was played.
#[derive(Default)]
pub struct Played {
    pub case: u64,
    pub kind: &'static str,
    pub violations: Vec<String>,
    /// What was sent, for people.
    pub sent: String,
    /// RabbitMQ did not take it, so no worker has seen it.
    pub refused_by_broker: bool,
    /// The run ended before it asked for the answer that was to be exchanged.
    pub missed: bool,
    /// How much longer than else the next request may take.
    pub patience: Duration,
    /// The most bytes that were resident of the worker so far.
    pub peak: u64,
}

/// All of them.
#[derive(Default)]
pub struct Report {
    kinds: BTreeMap<&'static str, Count>,
    violated: Vec<u64>,
    lanes: Vec<String>,
    peak: u64,
}

#[derive(Default)]
struct Count {
    cases: u64,
    refused: u64,
    missed: u64,
    violated: u64,
}

/// What `HOSTILE_MEMORY` says, in MiB.
pub fn memory_bound() -> u64 {
    crate::number("HOSTILE_MEMORY").map_or(MEMORY, |mebibytes| mebibytes << 20)
}

impl Played {
    /// A case that is yet to be played.
    pub fn of(case: u64, kind: &'static str) -> Self {
        Self { case, kind, ..Self::default() }
    }

    /// Prints all that is known where it has failed.
    pub fn print(&self) {
        if self.violations.is_empty() {
            return;
        }
        let mut text = format!("case {}, {}: FAILED\n", self.case, self.kind);
        for violation in &self.violations {
            text += &format!("    violated  {violation}\n");
        }
        text += &format!("    sent      {}\n", self.sent);
        text += &format!("    the worker's log is target/hostile/case-{}.log\n", self.case);
        text += &format!("    to play it again:  make hostile SEED={}\n", self.case);
        // At once: others print, too.
        print!("{text}");
    }
}

impl Report {
    /// One more case.
    pub fn add(&mut self, played: &Played) {
        let count = self.kinds.entry(played.kind).or_default();
        count.cases += 1;
        count.refused += u64::from(played.refused_by_broker);
        count.missed += u64::from(played.missed);
        self.peak = self.peak.max(played.peak);
        if !played.violations.is_empty() {
            count.violated += 1;
            self.violated.push(played.case);
        }
    }

    /// What was wrong at the end of a lane, after these cases.
    pub fn add_end(&mut self, cases: &[u64], wrong: Vec<String>) {
        for why in wrong {
            println!("at the end of a lane, after the cases {cases:?}: FAILED\n    violated  {why}");
            self.lanes.push(why);
        }
    }

    /// Prints the tables, and gives how the process ends.
    pub fn end(&self, seconds: f64) -> ExitCode {
        println!("\n{:38} {:>7} {:>12} {:>8} {:>11}", "kind", "cases", "not taken", "missed", "violations");
        for (kind, count) in &self.kinds {
            let Count { cases, refused, missed, violated } = count;
            println!("{kind:38} {cases:7} {refused:12} {missed:8} {violated:11}");
        }
        let sum = |of: fn(&Count) -> u64| self.kinds.values().map(of).sum::<u64>();
        let (cases, refused, missed) = (sum(|c| c.cases), sum(|c| c.refused), sum(|c| c.missed));
        println!("{:38} {cases:7} {refused:12} {missed:8} {:11}", "all", self.violated.len() + self.lanes.len());
        println!("not taken: RabbitMQ refused the message; missed: the run ended before that answer");
        println!("peak memory of a worker: {} MiB, bound {} MiB", self.peak >> 20, memory_bound() >> 20);
        println!("seconds: {seconds:.0}");
        for case in &self.violated {
            println!("  make hostile SEED={case}");
        }
        if self.violated.is_empty() && self.lanes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
