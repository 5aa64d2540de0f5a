//! `dead-letters`: requests that could not be processed are listed, shown, sent again or dropped.

mod letter;
mod resend;
mod which;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::outcome::Outcome;
use super::terminal::{self, one_line};
use crate::broker::dead_letters::letter::{Letter, all};
use crate::broker::dead_letters::{DeadLetterQueue, Verdict};
use crate::broker::topology::Names;
use crate::config::{AccountArgs, AmqpArgs};
use crate::ids::RunId;
use letter::in_a_line;
use resend::ResendArgs;
use which::{Which, meant, missing};

/// The commands about dead letters. The ids are those of `list`; that of the message or the request serves as well.
#[derive(Subcommand, Debug)]
pub enum DeadLetters {
    /// List the account's dead letters, the oldest first; listing does not increase the delivery count
    List(ListArgs),
    /// Print a dead letter with its properties and its body
    Show(ShowArgs),
    /// Send dead letters to the account's queue again, as requests, and drop them once that is confirmed
    Resend(ResendArgs),
    /// Drop dead letters, and print which
    Drop(DropArgs),
}

/// The account and the broker.
#[derive(Args, Debug)]
struct QueueArgs {
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
}

/// The arguments of `dead-letters list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Those of all accounts under AMQP_PREFIX, which share the queue
    #[arg(long)]
    all_accounts: bool,
    #[command(flatten)]
    queue: QueueArgs,
}

/// The arguments of `dead-letters show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// Which one
    id: String,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    queue: QueueArgs,
}

/// The arguments of `dead-letters drop`.
#[derive(Args, Debug)]
pub struct DropArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    queue: QueueArgs,
}

impl DeadLetters {
    /// Does it.
    pub async fn run(self) -> anyhow::Result<Outcome> {
        match self {
            Self::List(args) => args.run().await,
            Self::Show(args) => args.run().await,
            Self::Resend(args) => args.run().await,
            Self::Drop(args) => args.run().await,
        }
    }
}

impl QueueArgs {
    fn names(&self) -> anyhow::Result<Names> {
        Ok(self.amqp.names(&self.account.account)?)
    }

    async fn open(&self, names: &Names) -> anyhow::Result<DeadLetterQueue> {
        Ok(DeadLetterQueue::open(&self.amqp.url()?, names).await?)
    }
}

impl ListArgs {
    async fn run(self) -> anyhow::Result<Outcome> {
        let names = self.queue.names()?;
        let mut queue = self.queue.open(&names).await?;
        let mut letters = all(&mut queue, &names).await?;
        queue.close().await;
        let others = letters.iter().filter(|letter| !letter.is_of(names.account())).count();
        if !self.all_accounts {
            letters.retain(|letter| letter.is_of(names.account()));
        }
        if self.json {
            terminal::print(&json!(letters).to_string());
            return Ok(Outcome::Done);
        }
        let account = names.account();
        terminal::print(&match letters.is_empty() {
            true if self.all_accounts => format!("no dead letters in {}", names.dead()),
            true => format!("account {account} has no dead letters"),
            false => letter::table(&letters, self.all_accounts).to_string(),
        });
        if others > 0 && !self.all_accounts {
            terminal::print(&format!("{others} of other accounts: teamleader2db dead-letters list --all-accounts"));
        }
        Ok(Outcome::Done)
    }
}

impl ShowArgs {
    async fn run(self) -> anyhow::Result<Outcome> {
        let names = self.queue.names()?;
        let mut queue = self.queue.open(&names).await?;
        let mut found = Vec::new();
        let round = queue.go_through(|message| {
            let letter = Letter::of(message, &names);
            if letter.fits(&self.id) {
                let body = String::from_utf8_lossy(message.body()).into_owned();
                found.push((letter, message.described(), body));
            }
            Verdict::Stays
        });
        round.await?;
        queue.close().await;
        // One of another account is meant only where none of this one is, as for the other commands.
        if found.iter().any(|(letter, ..)| letter.is_of(names.account())) {
            found.retain(|(letter, ..)| letter.is_of(names.account()));
        }
        let Some(meant) = meant(found.iter().map(|(letter, ..)| letter), &self.id) else {
            return Ok(Outcome::Usage);
        };
        found.retain(|(letter, ..)| meant.contains(&letter.id));
        if found.is_empty() {
            return Ok(missing(&self.id));
        }
        for (letter, properties, body) in &found {
            terminal::print(&if self.json {
                as_json(letter, properties, body)?
            } else {
                shown(letter, properties, body)
            });
        }
        Ok(Outcome::Done)
    }
}

impl DropArgs {
    async fn run(self) -> anyhow::Result<Outcome> {
        let names = self.queue.names()?;
        let mut queue = self.queue.open(&names).await?;
        let (chosen, outcome) = self.which.choose(all(&mut queue, &names).await?, &names);
        let round = queue.go_through(|message| {
            let letter = Letter::of(message, &names);
            if chosen.iter().any(|chosen| chosen.id == letter.id) { Verdict::Dropped } else { Verdict::Stays }
        });
        round.await?;
        queue.close().await;
        for letter in &chosen {
            terminal::print(&format!("dropped {}", in_a_line(letter)));
        }
        Ok(outcome)
    }
}

fn as_json(letter: &Letter, properties: &Value, body: &str) -> anyhow::Result<String> {
    let mut shown = serde_json::to_value(letter)?;
    shown["properties"] = properties.clone();
    shown["body"] = json!(body);
    Ok(shown.to_string())
}

fn shown(letter: &Letter, properties: &Value, body: &str) -> String {
    let mut lines = vec![format!("dead letter {}", letter.id)];
    if let Some(RunId(id)) = letter.request_id {
        lines.push(format!("  request: {id}"));
    }
    // Most are dead letters for just that.
    if let Some(invalid) = letter.invalid.as_ref().filter(|invalid| letter.reason.as_ref() != Some(invalid)) {
        lines.push(format!("  it would be refused: {}", one_line(invalid)));
    }
    let headers = properties.get("headers").and_then(Value::as_object);
    let plain = properties.as_object().into_iter().flatten().filter(|(name, _)| *name != "headers");
    lines.extend(plain.map(|(name, value)| property(name, value)));
    lines.extend(headers.into_iter().flatten().map(|(name, value)| property(&format!("header {name}"), value)));
    lines.push(format!("body, {} bytes:", letter.bytes));
    lines.push(body.to_owned());
    lines.join("\n")
}

fn property(name: &str, value: &Value) -> String {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("  {}: {}", one_line(name), one_line(&value))
}
