//! The command line: what can be asked of the program, and the exit codes.

mod completion;
#[cfg(test)]
mod tables;
mod usage;

use std::process::ExitCode;

use clap::{Command as ClapCommand, CommandFactory, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::broker::link::AmqpError;
use crate::commands::audit::AuditArgs;
use crate::commands::authorize::AuthorizeArgs;
use crate::commands::cancel::CancelArgs;
#[cfg(feature = "compat")]
use crate::commands::compat::{Compat, CompatError};
use crate::commands::dead_letters::DeadLetters;
use crate::commands::doctor::DoctorArgs;
use crate::commands::events::EventsArgs;
use crate::commands::export::{ExportArgs, ExportError};
use crate::commands::healthcheck::HealthcheckArgs;
use crate::commands::outcome::Outcome;
use crate::commands::request::RequestArgs;
use crate::commands::runs::{RunArgs, RunsArgs};
use crate::commands::status::StatusArgs;
use crate::commands::webhooks::WebhooksArgs;
use crate::commands::worker::WorkerArgs;
use crate::commands::{migrate, terminal};
use crate::config::{ConfigError, DatabaseArgs};
use crate::process::lifecycle::{self, Signals};
use crate::process::panics;
use crate::process::telemetry::{self, LogFormat};
use crate::process::version;
use crate::store::accounts::UnknownAccount;
use crate::store::pool::StoreError;

/// Keeps a PostgreSQL copy of a Teamleader Focus account, driven by RabbitMQ.
#[derive(Parser, Debug)]
#[command(name = "teamleader2db", version = version::BUILD, about, propagate_version = true)]
pub struct Cli {
    /// How log lines look
    #[arg(
        long,
        global = true,
        env = "LOG_FORMAT",
        default_value = "pretty",
        value_name = "FORMAT",
        help_heading = "Logging"
    )]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Consume requests, sync, publish events, serve HTTP
    Worker(Box<WorkerArgs>),
    /// Bring the database's schema up to date
    Migrate(DatabaseArgs),
    /// Publish a sync request
    Request(RequestArgs),
    /// Cancel a running or queued sync; rows that it has written stay
    Cancel(CancelArgs),
    /// Print each event of the account as it comes, until Ctrl-C
    Events(EventsArgs),
    /// Compare the rows with the API, all or a random sample, and report rows that are missing, stale or wrong
    Audit(AuditArgs),
    /// Show each resource's rows, last success, watermark, stale details and deletions
    Status(StatusArgs),
    /// List the latest runs, with what was asked for and how each ended
    Runs(RunsArgs),
    /// Show a run: what was asked for, its times, and each resource with its counts
    Run(RunArgs),
    /// List the requests that could not be processed, show one, send it again or drop it
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Show what is registered for webhooks, which calls came and what was missed; register or remove by hand
    Webhooks(WebhooksArgs),
    /// Write a view's rows as CSV or as lines of JSON
    Export(ExportArgs),
    /// Print the link that authorizes the account, or store the resulting tokens
    Authorize(AuthorizeArgs),
    /// Check each dependency, and say how to fix each problem
    Doctor(DoctorArgs),
    /// Ask the worker that listens at HTTP_LISTEN whether it is alive: exit code 0 if so, else 1
    Healthcheck(HealthcheckArgs),
    /// Move from the Python service that this program replaces
    #[cfg(feature = "compat")]
    #[command(subcommand)]
    Compat(Compat),
    /// Print what makes a shell complete commands, settings, and names of resources, accounts and runs
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// The exit codes.
fn exit_code(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::Failed => 1.into(),
        Outcome::Usage => 2.into(),
        Outcome::Partial => 3.into(),
        Outcome::NotAuthorized => 4.into(),
        Outcome::Cancelled => 5.into(),
    }
}

/// Answers a shell that completes a line; else does what the arguments say.
pub fn main() -> ExitCode {
    completion::answer_a_shell();
    let parsed = command().try_get_matches().and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
    match parsed {
        Ok(cli) => cli.run(),
        Err(error) => match usage::explained(&error, command()) {
            Some(why) => {
                terminal::complain(&why);
                exit_code(Outcome::Usage)
            }
            None => error.exit(),
        },
    }
}

/// The command line. Help shows the names of variables, and never what they are set to.
fn command() -> ClapCommand {
    fn without_values(command: ClapCommand) -> ClapCommand {
        command.mut_args(|argument| argument.hide_env_values(true)).mut_subcommands(without_values)
    }
    without_values(Cli::command())
}

impl Cli {
    /// Runs the command. Errors go to standard error, with what to do about them.
    fn run(self) -> ExitCode {
        telemetry::start_logging(self.log_format);
        panics::log_them();
        lifecycle::leave_no_core_dump();
        // Another provider can only have been set by a test in the same process; it serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                terminal::complain(&format!("the runtime cannot start: {error}"));
                return exit_code(Outcome::Failed);
            }
        };
        let code = runtime.block_on(self.command.run());
        // A refresh under way was waited for; what still runs now may not hold the exit up.
        runtime.shutdown_timeout(std::time::Duration::from_millis(500));
        code.unwrap_or_else(|error| {
            terminal::complain(&error.to_string());
            exit_code(if is_usage(&error) { Outcome::Usage } else { Outcome::Failed })
        })
    }
}

/// Whether the settings are at fault, and not what they lead to.
fn is_usage(error: &anyhow::Error) -> bool {
    #[cfg(feature = "compat")]
    if error.downcast_ref().is_some_and(CompatError::is_usage) {
        return true;
    }
    error.is::<ConfigError>()
        || matches!(error.downcast_ref(), Some(AmqpError::Url(_)))
        || matches!(error.downcast_ref(), Some(StoreError::Url(_)))
        || error.is::<UnknownAccount>()
        || error.downcast_ref().is_some_and(ExportError::is_usage)
}

impl Command {
    /// Runs it. Signals are listened to before anything else is done.
    async fn run(self) -> anyhow::Result<ExitCode> {
        let mut signals =
            Signals::listen().map_err(|error| anyhow::anyhow!("signals cannot be listened to: {error}"))?;
        match self {
            Self::Worker(args) => args.run(&mut signals).await.map(exit_code),
            Self::Events(args) => args.run(&mut signals).await.map(exit_code),
            Self::Export(args) => match signals.unless_one_comes(args.run()).await? {
                Ok(done) => Ok(exit_code(done?)),
                Err(_) => anyhow::bail!("stopped before the end"),
            },
            Self::Authorize(args) if args.trades() => match signals.unless_two_come(args.run()).await {
                Ok(done) => done.map(exit_code),
                Err(signal) => Ok(signal.exit_code().into()),
            },
            command => match signals.unless_one_comes(command.run_to_its_end()).await? {
                Ok(done) => done.map(exit_code),
                Err(signal) => {
                    terminal::complain(&format!("stopped by {}", signal.name()));
                    Ok(signal.exit_code().into())
                }
            },
        }
    }

    /// A command that a signal ends wherever it is.
    async fn run_to_its_end(self) -> anyhow::Result<Outcome> {
        match self {
            Self::Worker(_) | Self::Events(_) | Self::Export(_) => anyhow::bail!("it listens to signals itself"),
            Self::Migrate(args) => migrate::run(&args).await,
            Self::Request(args) => args.run().await,
            Self::Cancel(args) => args.run().await,
            Self::Audit(args) => args.run().await,
            Self::Status(args) => args.run().await,
            Self::Runs(args) => args.run().await,
            Self::Run(args) => args.run().await,
            Self::DeadLetters(command) => command.run().await,
            Self::Webhooks(args) => args.run().await,
            Self::Authorize(args) => args.run().await,
            Self::Doctor(args) => Ok(args.run().await),
            Self::Healthcheck(args) => Ok(args.run().await?),
            #[cfg(feature = "compat")]
            Self::Compat(compat) => Ok(compat.run().await?),
            Self::Completions { shell } => {
                terminal::print(completion::script(shell)?.trim_end());
                Ok(Outcome::Done)
            }
        }
    }
}
