//! `dead-letters resend`: dead letters become requests again.

use std::collections::HashMap;

use clap::Args;
use secrecy::SecretString;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::letter::Letter;
use super::which::{Which, all};
use crate::broker::consumer::Message;
use crate::broker::dead_letters::{DeadLetterQueue, Verdict};
use crate::broker::topology::Names;
use crate::commands::outcome::Outcome;
use crate::commands::terminal;
use crate::config::{AmqpArgs, CopyArgs};
use crate::ids::RunId;
use crate::store::{pool, report};

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
                    terminal::complain(&format!("not resent: {}\n  {why}", letter.in_a_line()));
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
            terminal::print(&format!("resent{id}: {}", letter.in_a_line()));
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
        if let Some(invalid) = &letter.invalid {
            let invalid = terminal::one_line(invalid);
            return Ok(Some(format!("it would be refused again: {invalid}; --force sends it all the same")));
        }
        let (Some(pool), Some(RunId(id)), false) = (pool, letter.request_id, self.new_id) else { return Ok(None) };
        let run = report::runs(pool, names.account(), Some(RunId(id)), 1).await?.pop();
        Ok(run.filter(|run| run.finished_at.is_some()).map(|run| {
            format!(
                "the run of the request {id} has ended as {}, and under this id nothing runs again: --new-id makes it \
                 a new request",
                run.status
            )
        }))
    }
}

/// The letter as a request. In a body that is no JSON object there is no place for an id; the message's serves.
fn revived(message: &Message, new_id: Option<Uuid>) -> Verdict {
    let text = new_id.map(|id| id.to_string());
    let properties = message.revived_properties(text.as_deref());
    let mut body = message.body().to_vec();
    if let (Some(text), Ok(Value::Object(mut request))) = (text, serde_json::from_slice(&body))
        && request.contains_key("request_id")
    {
        request.insert("request_id".to_owned(), text.into());
        body = Value::Object(request).to_string().into_bytes();
    }
    Verdict::Resent(Box::new(properties), body)
}
