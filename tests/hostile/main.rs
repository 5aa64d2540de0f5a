//! The hostile suite: from a seed it draws one attack on one border of the worker (an AMQP message, a stream of bytes
//! to its HTTP server, an answer of the API), plays it, and asks whether anybody but the attacker has noticed (see
//! [`judge`]).
//!
//! Without any setting it plays the cases 1 to 300, as a part of the tests. `make hostile CASES=10000` plays the
//! cases 1 to 10,000, and `make hostile SEED=17` one. One worker serves many cases: each lane has a stage of its own,
//! and gets another after a violation.
//!
//! | variable | |
//! | --- | --- |
//! | `HOSTILE_CASES` | play the cases from 1 to this |
//! | `HOSTILE_SEED` | play this case |
//! | `HOSTILE_LANES` | how many cases are played at a time |
//! | `HOSTILE_MEMORY` | how many MiB of a worker may be resident |
//! | `TEST_PROGRAM` | the program to test, in the place of the debug build |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod amqp;
mod api;
#[path = "../faults/dice.rs"]
mod dice;
mod http;
mod json;
mod judge;
mod lane;
mod meddler;
mod report;
#[path = "../stage/mod.rs"]
mod stage;
mod table;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use crate::lane::Lane;
use crate::report::{Played, Report};

/// What is played as a part of the tests: within a minute.
const CASES: u64 = 300;

/// Cases at a time: most of their time is waiting, for tries and for the broker.
const LANES: usize = 4;

/// After this a case has failed, whatever it waits for.
const LONGEST: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    if !is_wanted(std::env::args().skip(1)) {
        return ExitCode::SUCCESS;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cases: VecDeque<u64> = match (number("HOSTILE_SEED"), number("HOSTILE_CASES")) {
        (Some(seed), _) => [seed].into(),
        (None, cases) => (1..=cases.unwrap_or(CASES)).collect(),
    };
    let started = Instant::now();
    let lanes = number("HOSTILE_LANES").map_or(LANES, |lanes| lanes as usize).min(cases.len());
    let (cases, report) = (Mutex::new(cases), Mutex::new(Report::default()));
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| block_on(play_all(&cases, &report)));
        }
    });
    report.into_inner().unwrap().end(started.elapsed().as_secs_f64())
}

/// Whether the arguments that cargo passes on name this suite: `cargo test some_test` asks for that test alone.
fn is_wanted(arguments: impl Iterator<Item = String>) -> bool {
    let arguments: Vec<String> = arguments.collect();
    let mut names = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    !arguments.iter().any(|argument| argument == "--list")
        && (names.peek().is_none() || names.any(|name| "hostile".contains(name.as_str())))
}

/// A number that the environment gives.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// On a runtime of its own, which ends all that it has started.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Plays cases in one lane until none is left.
async fn play_all(cases: &Mutex<VecDeque<u64>>, report: &Mutex<Report>) {
    let next = || cases.lock().unwrap().pop_front();
    let mut case = next();
    while case.is_some() {
        let mut lane = match caught(Lane::start()).await {
            Ok(lane) => lane,
            Err(panic) => return report.lock().unwrap().add_end(&[], vec![panic]),
        };
        let (mut played_here, mut is_sound) = (Vec::new(), true);
        while let Some(number) = case.filter(|_| is_sound) {
            played_here.push(number);
            let started = Instant::now();
            let mut played = play(&mut lane, number).await;
            played.seconds = started.elapsed().as_secs_f64();
            is_sound = played.violations.is_empty();
            played.print();
            report.lock().unwrap().add(&played);
            if !is_sound {
                keep_log(&lane, number);
            }
            case = next();
        }
        if is_sound {
            let wrong = caught(lane.end()).await.unwrap_or_else(|panic| vec![panic]);
            report.lock().unwrap().add_end(&played_here, wrong);
        } else {
            // The messages that it has left may fit no schema, which is asked when it goes.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(|| drop(lane)));
        }
    }
}

async fn play(lane: &mut Lane, case: u64) -> Played {
    let ended = match tokio::time::timeout(LONGEST, caught(lane.play(case))).await {
        Ok(Ok(played)) => return played,
        Ok(Err(panic)) => panic,
        Err(_) => format!("it was not over after {} s", LONGEST.as_secs()),
    };
    let (kind, sent) = lane.attack.clone();
    Played { violations: vec![ended], sent, ..Played::of(case, kind) }
}

/// A panic is a violation as well, of what the suite takes for granted.
async fn caught<T>(play: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(play).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
        format!("panic: {text}")
    })
}

fn keep_log(lane: &Lane, case: u64) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/hostile");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(format!("case-{case}.log")), lane.worker.log_after(0)).unwrap();
}
