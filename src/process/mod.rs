//! The process, whatever account it serves: how it starts, what it reports, and how it ends.
//!
//! - [`lifecycle`]: signals, the tasks that run until the process ends, and the order in which they end.
//! - [`panics`]: a panic is logged with its place, and ends no more than the work it happened in.
//! - [`telemetry`]: how log lines look, and what is counted; [`json_lines`], [`log_lines`]: what is in a line.
//! - [`metric`]: the metrics, with their labels; [`measures`]: what the process takes.
//! - [`run_lines`]: the lines of a run, for its page.
//! - [`consumer_state`]: whether this process consumes requests, and what keeps it from doing so.
//! - [`version`]: which build it is.
//! - [`failpoints`]: the places at which a test lets the process end or fail.

pub mod consumer_state;
pub mod failpoints;
pub mod json_lines;
pub mod lifecycle;
pub mod log_lines;
pub mod measures;
pub mod metric;
pub mod panics;
pub mod run_lines;
pub mod telemetry;
pub mod version;
