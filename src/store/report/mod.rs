//! Reports on runs, tables and records, for events, commands and pages.
//!
//! No query of a page reads a table from end to end: rows are counted by `teamleader2db.table_count`, what runs wrote
//! is added up in their rows, and the newest are found by an index. A test holds them to that.

mod audit;
mod counts;
mod days;
mod found;
mod of_run;
mod resources;
mod runs;
mod tables;
#[cfg(test)]
mod tests;
mod webhooks;

pub use audit::{AuditState, AuditedResource, audit, audited_resources, percent, unknown_share};
pub use counts::fold_counts;
pub use days::{Day, days};
pub use found::{FoundRecord, find_records};
pub use of_run::of_run;
pub use resources::{
    ResourceRun, Shortfall, emptied, last_successes, resource_runs, shortfalls, stale_details, watermarks_ahead,
};
pub use runs::{RunStatusRow, RunSummary, Which, run_summaries, runs, runs_that, usual_requests};
pub use tables::{TableStatus, tables};
pub use webhooks::{ResourceWebhooks, WebhookProblem, WebhookState, webhooks, webhooks_of};
