//! `cancel`: ends a sync that goes on or waits in the queue. Rows that it has written stay.

use clap::Args;
use clap_complete::ArgValueCompleter;
use uuid::Uuid;

use super::outcome::Outcome;
use super::terminal;
use crate::config::{CopyArgs, completion};
use crate::ids::RunId;
use crate::messages::RunStatus;
use crate::store::runs::cancel::{self, Asked};
use crate::store::{accounts, pool, schema};

/// The arguments of `cancel`.
#[derive(Args, Debug)]
pub struct CancelArgs {
    /// The request's id, as `request` printed it
    #[arg(value_name = "REQUEST_ID", add = ArgValueCompleter::new(completion::run_ids))]
    request_id: Uuid,
    #[command(flatten)]
    copy: CopyArgs,
}

impl CancelArgs {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<Outcome> {
        let pool = pool::open(&self.copy.database_url()?).await?;
        schema::check(&pool).await?;
        if let Some(unknown) = accounts::unknown(&pool, self.copy.account()).await? {
            return Err(unknown.into());
        }
        let (account, id) = (self.copy.account(), RunId(self.request_id));
        if cancel::status(&pool, account, id).await?.is_none()
            && let [other, ..] = cancel::accounts_with(&pool, account, id).await?.as_slice()
        {
            terminal::complain(&format!("request {id} is of the account {other}: add --account {other}"));
            return Ok(Outcome::Usage);
        }
        let ended = match cancel::ask(&pool, account, id).await? {
            Asked::WasUnknown => {
                terminal::print(&format!(
                    "request {id} is cancelled before a worker knows it: its message is dropped when it comes"
                ));
                return Ok(Outcome::Done);
            }
            Asked::HasEnded(status) => status,
            Asked::IsRunning => cancel::settle(&pool, account, id).await?,
        };
        Ok(match ended {
            RunStatus::Cancelled => {
                terminal::print(&format!("request {id} is cancelled; rows that it has written stay"));
                Outcome::Done
            }
            other => {
                terminal::complain(&format!(
                    "request {id} has ended before, as {}: nothing was cancelled",
                    other.as_str()
                ));
                Outcome::Failed
            }
        })
    }
}
