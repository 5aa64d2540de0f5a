//! `events`: the event stream of an account, a line an event.

use std::io::{ErrorKind, Write};
use std::pin::pin;

use clap::Args;
use secrecy::SecretString;
use serde::de::IgnoredAny;
use tracing::{info, warn};

use super::outcome::Outcome;
use super::{event_text, sender, terminal};
use crate::broker::link::AmqpError;
use crate::broker::listener::Listener;
use crate::broker::topology::{Declare, Names};
use crate::config::{AmqpArgs, CopyArgs};
use crate::process::lifecycle::Signals;
use crate::process::log_lines::{self, Seldom};
use crate::retry;

/// The arguments of `events`.
#[derive(Args, Debug)]
pub struct EventsArgs {
    /// Each event as it came, a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    copy: CopyArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
}

impl EventsArgs {
    /// Prints each event to standard output until a signal, or until nobody reads.
    pub async fn run(self, signals: &mut Signals) -> anyhow::Result<Outcome> {
        let (url, names) = (self.amqp.url()?, self.amqp.names(self.copy.account())?);
        sender::database(&self.copy).await?;
        print(&url, &names, self.amqp.amqp_declare, self.json, &mut std::io::stdout(), signals).await?;
        Ok(Outcome::Done)
    }
}

/// Prints each event to `out` until SIGTERM or SIGINT, or until nobody reads. `as_json`: as it came, else as text.
///
/// An error only if there was no connection at all: one that breaks is opened again, for ever. Events published
/// meanwhile are missed.
async fn print(
    url: &SecretString,
    names: &Names,
    declare: Declare,
    as_json: bool,
    out: &mut impl Write,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let mut stopped = pin!(async { _ = signals.next().await });
    let mut listener = tokio::select! {
        opened = open(url, names, declare) => opened?,
        () = &mut stopped => return Ok(()),
    };
    info!(exchange = names.events_exchange(), "Listening for events");
    loop {
        let next = tokio::select! {
            next = listener.next() => next,
            () = &mut stopped => break,
        };
        match next {
            Ok(payload) => {
                let line = if as_json { one_line_of_json(&payload) } else { event_text::event(&payload) };
                // What somebody else publishes there is none of ours.
                let Some(line) = line else { continue };
                if !is_read(writeln!(out, "{line}").and_then(|()| out.flush()))? {
                    break;
                }
            }
            Err(error) => {
                warn!(%error, "The connection broke: events are missed until it is there again");
                listener = tokio::select! {
                    opened = reopen(url, names, declare) => opened?,
                    () = &mut stopped => return Ok(()),
                };
            }
        }
    }
    listener.close().await;
    Ok(())
}

async fn open(url: &SecretString, names: &Names, declare: Declare) -> Result<Listener, AmqpError> {
    Listener::open(url, names, declare, "teamleader2db events").await
}

/// Tries until the broker is there. Queues that do not fit any more are an error.
async fn reopen(url: &SecretString, names: &Names, declare: Declare) -> Result<Listener, AmqpError> {
    let (mut delays, mut seldom) = (retry::RECONNECT.begin(), Seldom::default());
    loop {
        match open(url, names, declare).await {
            Err(error @ AmqpError::Topology { .. }) => return Err(error),
            Err(error) => {
                let delay = delays.next_delay().unwrap_or(retry::RECONNECT.longest);
                if seldom.lets_through(&error.to_string()) {
                    warn!(%error, delay = log_lines::seconds(delay), "No connection yet; trying again");
                }
                tokio::time::sleep(delay).await;
            }
            opened => {
                info!("Connected again");
                return opened;
            }
        }
    }
}

/// The JSON as it is; line ends can only stand between its parts, where they mean nothing.
fn one_line_of_json(payload: &str) -> Option<String> {
    serde_json::from_str::<IgnoredAny>(payload).ok()?;
    Some(terminal::one_line(payload))
}

/// False when the reader closed the pipe.
fn is_read(written: std::io::Result<()>) -> std::io::Result<bool> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}
