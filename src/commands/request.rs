//! `request`: publishes a sync request, and waits for its end if it is to.

use std::io::IsTerminal as _;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use uuid::Uuid;

use super::outcome::Outcome;
use super::sender::{self, SenderArgs};
use super::wait::Ended;
use super::{help, run_table, terminal};
use crate::broker::request_publisher::OutgoingRequest;
use crate::config::completion;
use crate::messages::{Mode, SyncRequest};

/// What the help shows of it.
const EXAMPLES: &str = "\
Examples:
  teamleader2db request                                   what has changed since the last sync
  teamleader2db request contacts,companies --wait         of two resources; wait, and show how it ended
  teamleader2db request --full                            everything, and what was deleted
  teamleader2db request contacts --full --allow-deletions although many contacts were deleted
  teamleader2db request all,notes --full                  with the notes of each record
  teamleader2db request invoices --id ID --id ID          exactly these records";

/// The arguments of `request`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = help::with_resources(EXAMPLES))]
pub struct RequestArgs {
    /// What to sync, such as contacts or time_tracking; everything unless named
    #[arg(value_name = "RESOURCE", value_delimiter = ',', add = ArgValueCompleter::new(completion::resources))]
    resources: Vec<String>,
    /// A complete pass with deletion detection, instead of what changed
    #[arg(long)]
    full: bool,
    /// Fetch every detail again
    #[arg(long)]
    refetch: bool,
    /// Mark deletions although they are more than a tenth of a resource; with --full
    #[arg(long)]
    allow_deletions: bool,
    /// Exactly this record of the one resource that is named; may be given up to 1,000 times
    #[arg(long = "id", value_name = "UUID", value_parser = parse_id)]
    ids: Vec<Uuid>,
    /// Wait for the end: exit code 0 completed, 1 failed, 3 partial, 4 not authorized (noticed at once only with
    /// DATABASE_URL), 5 cancelled
    #[arg(long)]
    wait: bool,
    /// The request's id; the same id again joins the run
    #[arg(
        long,
        value_name = "UUID",
        value_parser = parse_id,
        add = ArgValueCompleter::new(completion::run_ids)
    )]
    request_id: Option<Uuid>,
    /// With --wait, the final event instead of a table, also at a terminal
    #[arg(long, requires = "wait")]
    json: bool,
    #[command(flatten)]
    sender: SenderArgs,
}

impl RequestArgs {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<Outcome> {
        if self.allow_deletions && !self.full && self.ids.is_empty() {
            terminal::complain("--allow-deletions goes with --full or --id: an incremental sync marks no deletions");
            return Ok(Outcome::Usage);
        }
        let as_json = self.json || !std::io::stdout().is_terminal();
        let request = SyncRequest {
            request_id: self.request_id,
            resources: (!self.resources.is_empty()).then_some(self.resources),
            mode: if self.full { Mode::Full } else { Mode::Incremental },
            refetch: self.refetch,
            allow_deletions: self.allow_deletions,
            ids: (!self.ids.is_empty()).then_some(self.ids),
            ..SyncRequest::default()
        };
        let outgoing = OutgoingRequest::new(request, self.sender.traceparent());
        if let Some(rejected) = sender::rejected(&outgoing) {
            return Ok(rejected);
        }
        if !self.wait {
            self.sender.send(&outgoing).await?;
            terminal::print(&outgoing.id.to_string());
            return Ok(Outcome::Done);
        }
        match self.sender.send_and_wait(&outgoing).await? {
            Ended::Event { payload, status, report } => {
                terminal::print(&if as_json { payload } else { run_table::show(&report) });
                Ok(status.into())
            }
            Ended::NotAuthorized => Ok(sender::not_authorized()),
        }
    }
}

fn parse_id(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| "it is a UUID, such as 9d3ecbd9-ebed-448c-a8d7-af8efb49cd8d".to_owned())
}
