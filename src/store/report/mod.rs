//! Reports on runs, tables and records, for events, commands and pages.
//!
//! No query of a page reads a table from end to end: rows are counted by `teamleader2db.table_count`, what runs wrote
//! is added up in their rows, and the newest are found by an index. A test holds them to that.

mod counts;
#[allow(dead_code, reason = "for the pages that show them")]
mod days;
#[allow(dead_code, reason = "for the pages that show them")]
mod found;
mod of_run;
#[allow(dead_code, reason = "for the pages that show them")]
mod resources;
mod runs;
mod tables;
#[cfg(test)]
mod tests;

pub use counts::fold_counts;
#[allow(unused_imports, reason = "for the pages that show them")]
pub use days::{Day, days};
#[allow(unused_imports, reason = "for the pages that show them")]
pub use found::{FoundRecord, Version, find_records};
pub use of_run::of_run;
#[allow(unused_imports, reason = "for the pages that show them")]
pub use resources::{
    ResourceRun, Shortfall, emptied, last_successes, resource_runs, shortfalls, stale_details, watermarks_ahead,
};
#[allow(unused_imports, reason = "for the pages that show them")]
pub use runs::{Before, RunStatusRow, RunSummary, Which, run_summaries, runs, runs_that, usual_requests};
pub use tables::{TableStatus, tables};
