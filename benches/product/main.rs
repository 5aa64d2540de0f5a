//! The product beside its limits, in the same run on the same servers: `make bench`.
//!
//! Names as arguments choose scenarios: `make bench ARGS=budget`. BENCH_QUICK=1 makes all of them small.

// As in tests: what fails here fails the measurement.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../../tests/stage/mod.rs"]
mod stage;

mod budget;
mod lists;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Size {
    /// Two minutes for everything.
    pub quick: bool,
}

/// What a scenario found: lines of a Markdown table.
pub type Rows = Vec<String>;

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() {
    // `cargo bench` passes `--bench`.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let size = Size { quick: std::env::var("BENCH_QUICK").is_ok_and(|value| value == "1") };
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    println!("| what | the product | its limit | |\n| --- | --- | --- | --- |");
    if is_wanted("lists") {
        tell(lists::measure(size).await);
    }
    if is_wanted("budget") {
        tell(budget::measure(size).await);
    }
}

fn tell(rows: Rows) {
    rows.iter().for_each(|row| println!("{row}"));
}
