//! `dead-letters resend`: dead letters become requests again.

use std::collections::HashMap;

use clap::Args;
use secrecy::SecretString;
use sqlx::PgPool;
use uuid::Uuid;

use super::letter::in_a_line;
use super::which::Which;
use crate::broker::dead_letters::letter::{Letter, Refusal, all, revived};
use crate::broker::dead_letters::{DeadLetterQueue, Verdict};
use crate::broker::topology::Names;
use crate::commands::outcome::Outcome;
use crate::commands::terminal;
use crate::config::{AmqpArgs, CopyArgs};
use crate::ids::RunId;
use crate::store::pool;

/// The arguments of `dead-letters resend`.
#[derive(Args, Debug)]
pub struct ResendArgs {
    #[command(flatten)]
    which: Which,
    /// As new requests with ids of their own: under an id whose run has ended nothing runs again
    #[arg(long)]
    new_id: bool,
    /// Also a message that is no valid request, or asks for a run that has ended
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    copy: CopyArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
}

impl ResendArgs {
    pub(super) async fn run(self) -> anyhow::Result<Outcome> {
        let (url, names) = (self.amqp.url()?, self.amqp.names(self.copy.account())?);
        let database: Option<SecretString> = self.copy.database_url_if_set()?;
        let pool = database.map(|url| pool::connect(&url)).transpose()?;
        let mut queue = DeadLetterQueue::open(&url, &names).await?;
        let (chosen, mut outcome) = self.which.choose(all(&mut queue, &names).await?, &names);
        let mut accepted = HashMap::new();
        for letter in chosen {
            match self.refusal(&letter, pool.as_ref(), &names).await? {
                None => _ = accepted.insert(letter.id, self.new_id.then(Uuid::new_v4)),
                Some(why) => {
                    outcome = Outcome::Failed;
                    terminal::complain(&format!("not resent: {}\n  {why}", in_a_line(&letter)));
                }
            }
        }
        let mut resent = Vec::new();
        let round = queue.go_through(|message| {
            let letter = Letter::of(message, &names);
            let Some(new_id) = accepted.get(&letter.id) else { return Verdict::Stays };
            let revived = revived(message, *new_id);
            resent.push((letter, *new_id));
            revived
        });
        let round = round.await;
        // What the broker has confirmed is said even if the next one failed.
        for (letter, new_id) in resent.iter().take(queue.resent()) {
            let id = new_id.map(|id| format!(" as request {id}")).unwrap_or_default();
            terminal::print(&format!("resent{id}: {}", in_a_line(letter)));
        }
        round?;
        queue.close().await;
        Ok(outcome)
    }

    /// Why a letter is not sent again.
    async fn refusal(&self, letter: &Letter, pool: Option<&PgPool>, names: &Names) -> anyhow::Result<Option<String>> {
        if self.force {
            return Ok(None);
        }
        Ok(letter.refusal(pool, names.account(), self.new_id).await?.map(|refusal| match refusal {
            Refusal::Invalid(invalid) => {
                let invalid = terminal::one_line(&invalid);
                format!("it would be refused again: {invalid}; --force sends it all the same")
            }
            Refusal::HasEnded(RunId(id), status) => format!(
                "the run of the request {id} has ended as {status}, and under this id nothing runs again: --new-id \
                 makes it a new request"
            ),
        }))
    }
}
