//! The product beside its limits, in the same run on the same servers: `make bench`.
//!
//! Names as arguments choose scenarios: `make bench ARGS=budget`. BENCH_QUICK=1 makes all of them small.

// As in tests: what fails here fails the measurement.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../../tests/stage/mod.rs"]
mod stage;

mod budget;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Size {
    /// Two minutes for everything.
    pub quick: bool,
}

/// What a scenario found: lines of a Markdown table.
pub type Rows = Vec<String>;

#[tokio::main]
async fn main() {
    // `cargo bench` passes `--bench`.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let size = Size { quick: std::env::var("BENCH_QUICK").is_ok_and(|value| value == "1") };
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    if is_wanted("budget") {
        println!("{}", budget::measure(size).await.join("\n"));
    }
}
