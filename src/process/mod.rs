//! The process: how it starts, reports and ends, whatever account it serves.

pub mod consuming;
pub mod failpoints;
pub mod lifecycle;
pub mod panics;
pub mod telemetry;
