//! What is told: a line a play, all about one that failed, and tables at the end.

use std::collections::BTreeMap;
use std::process::ExitCode;

use chrono::{DateTime, Utc};

use crate::judge::Verdict;

/// A seed, or an account of the soak, that was played.
pub struct Played {
    /// `seed 17`.
    pub name: String,
    /// How to play it again.
    pub again: String,
    /// How long it took.
    pub seconds: f64,
    /// The kinds of its faults.
    pub faults: Vec<&'static str>,
    /// What it has shown.
    pub verdict: Verdict,
    /// How many processes ended that nobody had ended.
    pub ended_by_themselves: u32,
    /// What happened.
    pub story: Vec<String>,
}

/// All of them.
#[derive(Default)]
pub struct Report(Vec<Played>);

/// The directory below target/faults of what has this name.
pub fn dir_of(name: &str) -> String {
    name.replace(' ', "-")
}

impl Played {
    /// A line, or all that is known when it has failed.
    pub fn print(&self) {
        let Self { name, seconds, faults, verdict, .. } = self;
        let outcome = if verdict.violations.is_empty() { "ok" } else { "FAILED" };
        let mut text = format!("{name:10}  {outcome:6} {seconds:6.1} s  {:2} faults\n", faults.len());
        if !verdict.violations.is_empty() {
            for violation in &verdict.violations {
                text += &format!("    violated  {violation}\n");
            }
            for line in &self.story {
                text += &format!("    {line}\n");
            }
            text += &format!("    the workers' logs are in target/faults/{}\n", dir_of(name));
            text += &format!("    to play it again:  {}\n", self.again);
        }
        // At once: others print, too.
        print!("{text}");
    }
}

impl Report {
    /// One more.
    pub fn add(&mut self, played: Played) {
        self.0.push(played);
    }

    /// Prints it, and gives how the process ends.
    pub fn end(&self, begun: DateTime<Utc>) -> ExitCode {
        self.print((Utc::now() - begun).as_seconds_f64());
        if self.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Whether nothing was violated.
    fn is_clean(&self) -> bool {
        self.0.iter().all(|played| played.verdict.violations.is_empty())
    }

    fn sum(&self, count: fn(&Verdict) -> u64) -> u64 {
        self.0.iter().map(|played| count(&played.verdict)).sum()
    }

    /// The tables; `seconds` is what all of it took.
    fn print(&self, seconds: f64) {
        let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
        for kind in self.0.iter().flat_map(|played| &played.faults) {
            *kinds.entry(kind).or_default() += 1;
        }
        println!("\nfaults injected");
        for (kind, count) in &kinds {
            println!("  {kind:42} {count:6}");
        }
        println!("  {:42} {:6}", "all", kinds.values().sum::<u32>());

        let mut each: Vec<f64> = self.0.iter().map(|played| played.seconds).collect();
        each.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let number = ((each.len() as f64 * share).ceil() as usize).max(1);
            each.get(number - 1).copied().unwrap_or(0.0)
        };
        let ended: u32 = self.0.iter().map(|played| played.ended_by_themselves).sum();
        println!("\nplayed                                        {:6}", each.len());
        println!("seconds, all together                         {seconds:6.0}");
        println!("seconds each: median, p95, longest            {:6.1} {:6.1} {:6.1}", at(0.5), at(0.95), at(1.0));
        println!("requests, each with one final event           {:6}", self.sum(|verdict| verdict.requests));
        println!("refresh tokens traded                         {:6}", self.sum(|verdict| verdict.refreshes));
        println!("used ones that came again and could not help  {:6}", self.sum(|verdict| verdict.excused_reuses));
        println!("times a person had to authorize               {:6}", self.sum(|verdict| verdict.authorizations));
        println!("workers that ended by themselves, and anew    {ended:6}");
        println!("violations                                    {:6}", self.sum(|v| v.violations.len() as u64));
        for failed in self.0.iter().filter(|played| !played.verdict.violations.is_empty()) {
            println!("  {}", failed.again);
        }
    }
}
