//! `doctor`: checks each dependency, and says how to fix it. Changes nothing, and uses no token up.

mod postgresql;
mod rabbitmq;
mod teamleader;

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;

use super::outcome::Outcome;
use super::terminal::{self, one_line};
use crate::config::{AmqpArgs, CopyArgs, HttpArgs, IntegrationArgs, KeyArgs};

/// The longest wait for an answer of Teamleader, or for a connection to PostgreSQL.
const PATIENCE: Duration = Duration::from_secs(10);

/// Clocks that differ by less are as good as equal: `Date` has whole seconds, and answers take their time.
const CLOCKS_MAY_DIFFER: i64 = 30;

/// What there is to check.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    #[command(flatten)]
    copy: CopyArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
    #[command(flatten)]
    integration: IntegrationArgs,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    http: HttpArgs,
}

/// One finding.
enum Finding {
    Well(String),
    /// It works as it is; `fix` says what could be better.
    Note {
        what: String,
        fix: String,
    },
    Wrong {
        what: String,
        fix: String,
    },
}

impl DoctorArgs {
    /// Prints the findings.
    pub async fn run(self) -> Outcome {
        let (well, findings) = examine(&self).await;
        terminal::print(&findings);
        if well { Outcome::Done } else { Outcome::Failed }
    }
}

/// Whether all is well, and a line for each check.
async fn examine(args: &DoctorArgs) -> (bool, String) {
    let (database, tokens, database_clock) = postgresql::examine(args).await;
    let checks = [
        ("configuration", configuration(args)),
        ("PostgreSQL", database),
        ("RabbitMQ", rabbitmq::examine(args).await),
        ("Teamleader", teamleader::examine(args, tokens, &database_clock).await),
    ];
    let (mut well, mut lines) = (true, Vec::new());
    for (name, findings) in checks {
        for finding in findings {
            match finding {
                Finding::Well(what) => lines.push(format!("ok     {name}: {}", one_line(&what))),
                Finding::Note { what, fix } => {
                    lines.push(format!("note   {name}: {}\n       {}", one_line(&what), one_line(&fix)));
                }
                Finding::Wrong { what, fix } => {
                    well = false;
                    lines.push(format!("WRONG  {name}: {}\n       {}", one_line(&what), one_line(&fix)));
                }
            }
        }
    }
    (well, lines.join("\n"))
}

fn wrong(what: impl ToString, fix: impl Into<String>) -> Finding {
    Finding::Wrong { what: what.to_string(), fix: fix.into() }
}

/// Whether a server's certificate is not believed: rustls reports it as invalid data.
fn is_untrusted(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::InvalidData
}

fn configuration(args: &DoctorArgs) -> Vec<Finding> {
    let integration = match args.integration.integration() {
        Ok(integration) => Finding::Well(format!("integration with the callback {}", integration.redirect_uri)),
        Err(error) => wrong(error, "`worker` needs the integration as it is registered in Teamleader's marketplace"),
    };
    let key = match args.key.cipher() {
        Ok(_) => Finding::Well("TOKEN_ENCRYPTION_KEY can be used".to_owned()),
        Err(error) => wrong(
            error,
            "make one with `head -c 32 /dev/urandom | base64` and keep it: without it stored tokens are lost",
        ),
    };
    let http = match args.http.listen() {
        Ok((address, _)) => Finding::Well(format!("HTTP_LISTEN is {address}")),
        Err(error) => wrong(error, "make one with `head -c 32 /dev/urandom | base64`, or listen at 127.0.0.1"),
    };
    vec![integration, key, http]
}

/// The error of somebody else's clock, or with this machine's; `whose` is like `Teamleader's`.
fn clock(whose: &str, theirs: DateTime<Utc>) -> Option<Finding> {
    let behind = (theirs - Utc::now()).num_seconds();
    if behind.abs() <= CLOCKS_MAY_DIFFER {
        return None;
    }
    let side = if behind > 0 { "behind" } else { "ahead of" };
    let what = format!("this machine's clock is {} s {side} {whose}", behind.abs());
    Some(wrong(what, "set the clock that is wrong by the network, on each of the machines: `timedatectl set-ntp true`"))
}
