//! The fault suite: from a seed it draws what goes wrong and when, plays it against real workers, servers and a simulated account,
//! lets the world settle, and checks what has to be true whatever went wrong (see [`judge`]).
//!
//! Without any setting it plays eight fixed seeds, as a part of the tests. `make faults SEEDS=200` plays the seeds 1 to 200, `make
//! faults SEED=17` one, and `make soak REFRESHES=2000` does nothing but refresh tokens and kill workers. Servers are its own, below
//! target/faults, and several seeds are played at a time, each with servers of its own, since it restarts them.
//!
//! | variable | |
//! | --- | --- |
//! | `FAULT_SEEDS` | play the seeds from 1 to this |
//! | `FAULT_SEED` | play this seed, and keep what it leaves behind |
//! | `FAULT_SOAK` | refresh tokens so often |
//! | `FAULT_LANES` | how many seeds are played at a time |

#![expect(clippy::too_many_lines, reason = "a test says in one piece what happens")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod dice;
mod inject;
mod judge;
mod plan;
mod play;
mod refreshes;
mod report;
mod servers;
mod slot;
mod soak;
#[path = "../stage/mod.rs"]
mod stage;
mod watch;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use chrono::Utc;

use crate::judge::Verdict;
use crate::plan::Plan;
use crate::play::{Play, Story};
use crate::report::{Played, Report};
use crate::servers::Servers;

/// What is played as a part of the tests.
const FIXED: [u64; 8] = [1, 2, 3, 4, 6, 7, 8, 12];

/// Seeds at a time: most of their time is waiting, for reconnects and deadlines of the worker.
const LANES: usize = 4;

fn main() -> ExitCode {
    let number = |name: &str| {
        std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text}")))
    };
    if !is_wanted(std::env::args().skip(1)) {
        return ExitCode::SUCCESS;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (seeds, seed, soak) = (number("FAULT_SEEDS"), number("FAULT_SEED"), number("FAULT_SOAK"));
    let lanes = number("FAULT_LANES").map_or(LANES, |lanes| lanes as usize);
    if let Some(refreshes) = soak {
        return soak::run(refreshes);
    }
    let seeds: VecDeque<u64> = match (seed, seeds) {
        (Some(seed), _) => [seed].into(),
        (None, Some(last)) => (1..=last).collect(),
        (None, None) => FIXED.into(),
    };
    play_all(seeds, lanes)
}

/// Whether the arguments that cargo passes on name this suite: `cargo test some_test` asks for that test alone.
fn is_wanted(arguments: impl Iterator<Item = String>) -> bool {
    let arguments: Vec<String> = arguments.collect();
    let mut names = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    !arguments.iter().any(|argument| argument == "--list")
        && (names.peek().is_none() || names.any(|name| "faults".contains(name.as_str())))
}

fn play_all(seeds: VecDeque<u64>, lanes: usize) -> ExitCode {
    let begun = Utc::now();
    let lanes = lanes.min(seeds.len());
    let _alone = servers::alone();
    let keep = seeds.len() == 1;
    let (seeds, report) = (Mutex::new(seeds), Mutex::new(Report::default()));
    std::thread::scope(|scope| {
        for lane in 1..=lanes {
            let (seeds, report) = (&seeds, &report);
            scope.spawn(move || {
                let servers = block_on(Servers::up(&lane.to_string()));
                while let Some(seed) = next(seeds) {
                    // Whatever the last seed has left.
                    block_on(servers.mend());
                    let played = play(seed, &servers, keep);
                    played.print();
                    report.lock().unwrap().add(played);
                }
                block_on(servers.down());
            });
        }
    });
    report.into_inner().unwrap().end(begun)
}

fn next(seeds: &Mutex<VecDeque<u64>>) -> Option<u64> {
    seeds.lock().unwrap().pop_front()
}

/// On a runtime of its own, which ends all that it has begun.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Plays one seed.
fn play(seed: u64, servers: &Servers, keep: bool) -> Played {
    let (name, again) = (format!("seed {seed}"), format!("make faults SEED={seed}"));
    let faults = Plan::of(seed).steps.iter().filter_map(|step| step.act.kind()).collect();
    watched(name.clone(), again, |story| async move {
        let mut play = Play::set(&name, Plan::of(seed), servers, story).await;
        play.inject_all().await;
        let verdict = judge::settle(&mut play).await;
        Outcome { verdict, faults, ended_by_themselves: play.strike(keep).await }
    })
}

/// What is known at the end of a play.
struct Outcome {
    verdict: Verdict,
    faults: Vec<&'static str>,
    ended_by_themselves: u32,
}

/// Plays on a thread of its own: a panic is a violation as well, of what the suite took for granted.
fn watched<F: Future<Output = Outcome>>(name: String, again: String, play: impl FnOnce(Story) -> F + Send) -> Played {
    let (story, begun) = (Story::default(), Utc::now());
    let played = std::thread::scope(|scope| {
        let story = Arc::clone(&story);
        scope.spawn(|| block_on(play(story))).join()
    });
    let Outcome { verdict, faults, ended_by_themselves } = played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
        let verdict = Verdict { violations: vec![format!("panic: {text}")], ..Verdict::default() };
        Outcome { verdict, faults: Vec::new(), ended_by_themselves: 0 }
    });
    let (story, seconds) = (story.lock().unwrap().clone(), (Utc::now() - begun).as_seconds_f64());
    Played { name, again, seconds, faults, verdict, ended_by_themselves, story }
}
