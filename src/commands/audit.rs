//! `audit`: compares the rows with the API, through a worker.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::outcome::Outcome;
use super::sender::{self, SenderArgs};
use super::wait::Ended;
use super::{audit_report, help, terminal};
use crate::broker::request_publisher::OutgoingRequest;
use crate::config::completion;
use crate::messages::{Mode, RunStatus, SyncRequest};

/// What the help shows of it.
const EXAMPLES: &str = "\
Examples:
  teamleader2db audit --sample 100               100 records of each resource, chosen at random
  teamleader2db audit contacts                   all contacts, with a call for each
  teamleader2db audit contacts --repair          and correct the rows that differ";

/// The arguments of `audit`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = help::with_resources(EXAMPLES))]
pub struct AuditArgs {
    /// What to compare, such as contacts or time_tracking; everything unless named
    #[arg(value_name = "RESOURCE", value_delimiter = ',', add = ArgValueCompleter::new(completion::resources))]
    resources: Vec<String>,
    /// Compare this many records of each resource, chosen at random, instead of all
    #[arg(long, value_name = "NUMBER")]
    sample: Option<u32>,
    /// Correct the rows that differ
    #[arg(long)]
    repair: bool,
    /// Mark deletions although they are more than a tenth of a resource; with --repair
    #[arg(long, requires = "repair")]
    allow_deletions: bool,
    /// The final event instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sender: SenderArgs,
}

impl AuditArgs {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<Outcome> {
        let request = SyncRequest {
            resources: (!self.resources.is_empty()).then_some(self.resources),
            mode: Mode::Audit,
            repair: self.repair,
            sample: self.sample,
            allow_deletions: self.allow_deletions,
            ..SyncRequest::default()
        };
        let outgoing = OutgoingRequest::new(request, self.sender.traceparent());
        if let Some(rejected) = sender::rejected(&outgoing) {
            return Ok(rejected);
        }
        match self.sender.send_and_wait(&outgoing).await? {
            Ended::Event { payload, status, report } => {
                terminal::print(&if self.json { payload } else { audit_report::show(&report) });
                let left = !self.repair && audit_report::needs_repair(&report);
                Ok(if status == RunStatus::Completed && left { Outcome::Partial } else { status.into() })
            }
            Ended::NotAuthorized => Ok(sender::not_authorized()),
        }
    }
}
