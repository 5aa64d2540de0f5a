//! What is reported: all about a case that failed, and tables at the end.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// Bytes that a worker may have resident. A debug build took 116 MiB at most in 3,000 cases.
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
    /// How long it took.
    pub seconds: f64,
}

/// All of them.
#[derive(Default)]
pub struct Report {
    kinds: BTreeMap<&'static str, Count>,
    violated: Vec<u64>,
    lanes: Vec<String>,
    cases: usize,
    peak: u64,
}

#[derive(Default)]
struct Count {
    cases: u64,
    refused: u64,
    missed: u64,
    violated: u64,
    seconds: f64,
    longest: f64,
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
        self.cases += 1;
        count.refused += u64::from(played.refused_by_broker);
        count.missed += u64::from(played.missed);
        count.seconds += played.seconds;
        count.longest = count.longest.max(played.seconds);
        self.peak = self.peak.max(played.peak);
        if !played.violations.is_empty() {
            count.violated += 1;
            self.violated.push(played.case);
        }
        if self.cases.is_multiple_of(1_000) {
            println!("{} cases, {} violations, peak memory {} MiB", self.cases, self.violated.len(), self.peak >> 20);
        }
    }

    /// What was wrong with a lane as such, after these cases.
    pub fn add_end(&mut self, cases: &[u64], wrong: Vec<String>) {
        let last = &cases[cases.len().saturating_sub(20)..];
        for why in wrong {
            println!("a lane, after {} cases, {last:?} the last of them: FAILED\n    violated  {why}", cases.len());
            self.lanes.push(why);
        }
    }

    /// Prints the tables, and gives how the process ends.
    pub fn end(&self, seconds: f64) -> ExitCode {
        println!(
            "\n{:36} {:>7} {:>10} {:>7} {:>11} {:>7}  longest",
            "kind", "cases", "not taken", "missed", "violations", "seconds"
        );
        for (kind, count) in &self.kinds {
            let Count { cases, refused, missed, violated, seconds, longest } = count;
            println!("{kind:36} {cases:7} {refused:10} {missed:7} {violated:11} {seconds:7.0} {longest:8.1}");
        }
        let sum = |of: fn(&Count) -> u64| self.kinds.values().map(of).sum::<u64>();
        let (cases, refused, missed) = (sum(|c| c.cases), sum(|c| c.refused), sum(|c| c.missed));
        println!("{:36} {cases:7} {refused:10} {missed:7} {:11}", "all", self.violated.len() + self.lanes.len());
        println!("not taken: RabbitMQ refused the message; missed: the run ended before that answer");
        println!("peak memory of a worker: {} MiB, bound {} MiB", self.peak >> 20, memory_bound() >> 20);
        println!("seconds: {seconds:.0}");
        for case in &self.violated {
            println!("  make hostile SEED={case}");
        }
        if self.violated.is_empty() && self.lanes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
