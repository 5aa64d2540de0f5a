//! The command line: what can be asked of the program, and the exit codes.

use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use secrecy::SecretString;
use uuid::Uuid;

use crate::api_client::oauth::OAuth;
use crate::app::{Application, WorkerConfig};
use crate::authorization_flow::{self, Callback};
use crate::broker::link::AmqpError;
use crate::broker::request_publisher::{self, Order};
use crate::commands::compat::{Compat, CompatError};
use crate::commands::doctor::{self, DoctorArgs};
use crate::commands::export::{ExportArgs, ExportError};
use crate::commands::healthcheck::{self, HealthcheckArgs};
use crate::commands::wait::{self, Ended};
use crate::commands::{audit_report, events, status, terminal};
use crate::config::{
    AccountArgs, AmqpArgs, ConfigError, DatabaseArgs, HttpArgs, IntegrationArgs, KeyArgs, ReplyArgs, SyncArgs,
};
use crate::ids::TraceParent;
use crate::messages::{Mode, RunStatus, SyncRequest};
use crate::process::lifecycle::{self, Signals};
use crate::process::panics;
use crate::process::telemetry::{self, LogFormat};
use crate::store::pool::{self, StoreError};
use crate::store::retention::Retention;
use crate::store::tokens::Tokens;
use crate::store::tokens::authorization::StartedBy;
use crate::sync::slice::Settings;
use crate::views;

/// Keeps a PostgreSQL copy of a Teamleader Focus account, driven by RabbitMQ.
#[derive(Parser, Debug)]
#[command(name = "teamleader2db", version, about, propagate_version = true)]
pub struct Cli {
    /// How log lines look
    #[arg(long, global = true, env = "LOG_FORMAT", default_value = "pretty", value_name = "FORMAT")]
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
    /// Print each event of the account as it comes, until Ctrl-C
    Events(EventsArgs),
    /// Compare the rows with the API, all or a random sample, and report what is missing, stale or wrong
    Audit(AuditArgs),
    /// Show each resource's rows, last success, watermark, stale details and deletions
    Status(StatusArgs),
    /// Write a view's rows as CSV or as lines of JSON
    Export(ExportArgs),
    /// Print the link that authorizes the account, or store what came of it
    Authorize(AuthorizeArgs),
    /// Check each dependency, and say how to mend what is wrong
    Doctor(DoctorArgs),
    /// Ask the worker that listens at HTTP_LISTEN whether it lives: exit code 0 if so, else 1
    Healthcheck(HealthcheckArgs),
    /// Move from the Python service that this program replaces
    #[command(subcommand)]
    Compat(Compat),
    /// Print what makes a shell complete commands and settings
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Args, Debug)]
struct WorkerArgs {
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
    #[command(flatten)]
    replies: ReplyArgs,
    #[command(flatten)]
    integration: IntegrationArgs,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    sync: SyncArgs,
}

#[derive(Args, Debug)]
struct RequestArgs {
    /// What to sync; everything unless named
    #[arg(value_name = "RESOURCE")]
    resources: Vec<String>,
    /// A complete pass with deletion detection, instead of what changed
    #[arg(long)]
    full: bool,
    /// Fetch every detail again
    #[arg(long)]
    refetch: bool,
    /// Mark deletions although they are more than a tenth of a resource
    #[arg(long)]
    allow_deletions: bool,
    /// Wait for the end: exit code 0 completed, 1 failed, 3 partial, 4 not authorized (noticed at once only with DATABASE_URL)
    #[arg(long)]
    wait: bool,
    /// The request's id; the same id again joins the run
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
    #[command(flatten)]
    sender: SenderArgs,
}

#[derive(Args, Debug)]
struct AuditArgs {
    /// What to compare; everything unless named
    #[arg(value_name = "RESOURCE")]
    resources: Vec<String>,
    /// Compare so many records of each resource, chosen at random, instead of all
    #[arg(long, value_name = "NUMBER")]
    sample: Option<u32>,
    /// Mend the rows that differ
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

/// What publishing a request takes.
#[derive(Args, Debug)]
struct SenderArgs {
    /// The place in a trace (W3C Trace Context) that the request's events and log lines are to have; ignored if it is none
    #[arg(long, env = "TRACEPARENT", value_name = "TRACEPARENT")]
    traceparent: Option<String>,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args, Debug)]
struct EventsArgs {
    /// Each event as it came, a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
}

#[derive(Args, Debug)]
struct StatusArgs {
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args, Debug)]
struct AuthorizeArgs {
    /// The code of the address that Teamleader sent the browser to
    #[arg(long, requires = "state", value_name = "CODE", conflicts_with = "refresh_token")]
    code: Option<SecretString>,
    /// The state of the same address
    #[arg(long, requires = "code", value_name = "STATE")]
    state: Option<String>,
    /// Store a refresh token that nobody else uses; `-` reads it from standard input
    #[arg(long, value_name = "TOKEN")]
    refresh_token: Option<SecretString>,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    integration: IntegrationArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// All was well.
const OK: u8 = 0;
/// The sync, or the command, failed.
const FAILED: u8 = 1;
/// The command or the configuration cannot be used.
const USAGE: u8 = 2;
/// Some resources failed.
const PARTIAL: u8 = 3;
/// A person has to authorize the account.
const NOT_AUTHORIZED: u8 = 4;

impl Cli {
    /// Runs the command. Errors go to standard error, with what to do about them.
    pub fn run(self) -> ExitCode {
        telemetry::start_logging(self.log_format);
        panics::log_them();
        lifecycle::leave_no_core_dump();
        // Another provider can only have been set by a test in the same process; it serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                return complain(&anyhow::anyhow!("the runtime cannot start: {error}"), FAILED);
            }
        };
        let code = runtime.block_on(self.command.run());
        // A refresh under way was waited for; what still runs now may not hold the exit up.
        runtime.shutdown_timeout(std::time::Duration::from_millis(500));
        match code {
            Ok(code) => code,
            Err(error) => complain(&error, if is_usage(&error) { USAGE } else { FAILED }),
        }
    }
}

/// Whether the settings are at fault, and not what they lead to.
fn is_usage(error: &anyhow::Error) -> bool {
    error.is::<ConfigError>()
        || matches!(error.downcast_ref(), Some(AmqpError::Url))
        || matches!(error.downcast_ref(), Some(StoreError::Url(_)))
        || error.downcast_ref().is_some_and(CompatError::is_usage)
        || error.downcast_ref().is_some_and(ExportError::is_usage)
}

fn complain(error: &anyhow::Error, code: u8) -> ExitCode {
    // Whoever closed standard error does not want to know.
    let error = error.to_string();
    let shown = terminal::visible(&error);
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("teamleader2db: {shown}\n"));
    ExitCode::from(code)
}

/// Writes to standard output; a reader that has gone is no error.
fn print(text: &str) {
    let shown = terminal::visible(text);
    let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{shown}\n"));
}

impl Command {
    /// Runs it. Signals are listened to before anything else is done.
    async fn run(self) -> anyhow::Result<ExitCode> {
        let mut signals =
            Signals::listen().map_err(|error| anyhow::anyhow!("signals cannot be listened to: {error}"))?;
        match self {
            Self::Worker(args) => {
                Application::build(args.config()?).await?.run_until_stopped(&mut signals).await?;
                Ok(OK.into())
            }
            Self::Events(args) => {
                let (url, names) = (args.amqp.url()?, args.amqp.names(&args.account.account)?);
                let out = &mut std::io::stdout();
                events::print(&url, &names, args.amqp.amqp_declare, args.json, out, &mut signals).await?;
                Ok(OK.into())
            }
            Self::Export(args) => match signals.unless_one_comes(args.run()).await? {
                Ok(done) => done.map(|()| OK.into()).map_err(Into::into),
                Err(_) => anyhow::bail!("stopped before the end"),
            },
            // A code that was traded would be used up without its tokens.
            Self::Authorize(args) if args.code.is_some() => match signals.unless_two_come(args.run()).await {
                Ok(done) => done.map(ExitCode::from),
                Err(signal) => Ok(signal.exit_code().into()),
            },
            command => match signals.unless_one_comes(command.run_to_its_end()).await? {
                Ok(done) => done.map(ExitCode::from),
                Err(signal) => {
                    complain(&anyhow::anyhow!("stopped by {}", signal.name()), FAILED);
                    Ok(signal.exit_code().into())
                }
            },
        }
    }

    /// A command that a signal ends wherever it is.
    async fn run_to_its_end(self) -> anyhow::Result<u8> {
        match self {
            Self::Worker(_) | Self::Events(_) | Self::Export(_) => anyhow::bail!("it listens to signals itself"),
            Self::Migrate(args) => {
                let problems = views::migrate(&pool::connect(&args.url()?)?).await?;
                print("the schema is up to date");
                for found in &problems {
                    print(&format!("the view {} is not as it should be: {}", found.view, found.problem));
                }
                Ok(if problems.is_empty() { OK } else { PARTIAL })
            }
            Self::Request(args) => args.run().await,
            Self::Audit(args) => args.run().await,
            Self::Status(args) => {
                let pool = pool::connect(&args.database.url()?)?;
                print(&status::show(&pool, &args.account.account, args.json).await?);
                Ok(OK)
            }
            Self::Authorize(args) => args.run().await,
            Self::Doctor(args) => {
                let (well, findings) = doctor::examine(&args).await;
                print(&findings);
                Ok(if well { OK } else { FAILED })
            }
            Self::Healthcheck(args) => {
                healthcheck::check(&args).await?;
                print("alive");
                Ok(OK)
            }
            Self::Compat(compat) => {
                let outcome = compat.run().await?;
                print(&outcome.text);
                Ok(if outcome.is_open { PARTIAL } else { OK })
            }
            Self::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "teamleader2db", &mut script);
                let _ = std::io::Write::write_all(&mut std::io::stdout(), &script);
                Ok(OK)
            }
        }
    }
}

impl WorkerArgs {
    fn config(self) -> Result<WorkerConfig, ConfigError> {
        let (listen, api_token) = self.http.listen()?;
        let names = self.amqp.names(&self.account.account)?;
        let sync = self.sync;
        Ok(WorkerConfig {
            database_url: self.database.url()?,
            migrate: sync.migrate_on_start,
            amqp_url: self.amqp.url()?,
            addresses: self.replies.addresses(names.clone())?,
            names,
            declare: self.amqp.amqp_declare,
            integration: self.integration.integration_of_worker()?,
            cipher: self.key.cipher()?,
            first_refresh_token: sync.first_refresh_token()?,
            listen,
            api_token,
            rate_reserve: sync.rate_reserve,
            most_in_flight: sync.sync_concurrency,
            history: sync.history(),
            retention: Retention { keep: sync.retention, erase_deleted_after: sync.erase_deleted_after() },
            settings: Settings {
                resources: sync.resources()?,
                account: self.account.account,
                slice: sync.sync_slice,
                lookback: sync.sync_lookback,
                detail_max_age: sync.detail_max_age,
                incremental_window: sync.incremental_window(),
            },
        })
    }
}

impl RequestArgs {
    async fn run(self) -> anyhow::Result<u8> {
        let request = SyncRequest {
            request_id: self.request_id,
            resources: (!self.resources.is_empty()).then_some(self.resources),
            mode: if self.full { Mode::Full } else { Mode::Incremental },
            refetch: self.refetch,
            allow_deletions: self.allow_deletions,
            ..SyncRequest::default()
        };
        let order = Order::new(request, self.sender.traceparent());
        if let Some(refused) = refused(&order) {
            return Ok(refused);
        }
        if !self.wait {
            let (amqp, account) = (&self.sender.amqp, &self.sender.account.account);
            request_publisher::send(&amqp.url()?, &amqp.names(account)?, amqp.amqp_declare, &order).await?;
            print(&order.id.to_string());
            return Ok(OK);
        }
        match self.sender.send_and_wait(&order).await? {
            Ended::Event { payload, status, .. } => {
                print(&payload);
                Ok(exit_code(status))
            }
            Ended::NotAuthorized => Ok(not_authorized()),
        }
    }
}

impl AuditArgs {
    async fn run(self) -> anyhow::Result<u8> {
        let request = SyncRequest {
            resources: (!self.resources.is_empty()).then_some(self.resources),
            mode: Mode::Audit,
            repair: self.repair,
            sample: self.sample,
            allow_deletions: self.allow_deletions,
            ..SyncRequest::default()
        };
        let order = Order::new(request, self.sender.traceparent());
        if let Some(refused) = refused(&order) {
            return Ok(refused);
        }
        match self.sender.send_and_wait(&order).await? {
            Ended::Event { payload, status, report } => {
                print(&if self.json { payload } else { audit_report::show(&report) });
                let left = !self.repair && audit_report::needs_repair(&report);
                Ok(if status == RunStatus::Completed && left { PARTIAL } else { exit_code(status) })
            }
            Ended::NotAuthorized => Ok(not_authorized()),
        }
    }
}

impl SenderArgs {
    /// One that cannot be read counts as none, as the specification has it: whatever set it, the sync is what was asked for.
    fn traceparent(&self) -> Option<TraceParent> {
        let traceparent = self.traceparent.as_ref().filter(|text| !text.is_empty())?;
        traceparent.parse().inspect_err(|error| tracing::warn!("TRACEPARENT is ignored: {error}")).ok()
    }

    async fn send_and_wait(&self, order: &Order) -> anyhow::Result<Ended> {
        let (url, names) = (self.amqp.url()?, self.amqp.names(&self.account.account)?);
        let pool = self.database.url_if_set()?.map(|url| pool::connect(&url)).transpose()?;
        Ok(wait::send_and_wait(&url, &names, self.amqp.amqp_declare, pool.as_ref(), order).await?)
    }
}

/// What the worker would refuse is refused here, before it is published.
fn refused(order: &Order) -> Option<u8> {
    let bad = crate::messages::Request::parse(&order.body(), None).err()?;
    complain(&anyhow::anyhow!("{bad}"), USAGE);
    Some(USAGE)
}

fn exit_code(status: RunStatus) -> u8 {
    match status {
        RunStatus::Completed => OK,
        RunStatus::Partial => PARTIAL,
        RunStatus::Failed | RunStatus::Running => FAILED,
    }
}

fn not_authorized() -> u8 {
    let why = "the account is not authorized: open the worker's /sync/authorize in a browser; the request waits in the queue and \
               runs then";
    complain(&anyhow::anyhow!(why), NOT_AUTHORIZED);
    NOT_AUTHORIZED
}

impl AuthorizeArgs {
    async fn run(self) -> anyhow::Result<u8> {
        let pool = pool::connect(&self.database.url()?)?;
        pool::check_schema(&pool).await?;
        let tokens = Tokens::new(pool, self.account.account, self.key.cipher()?, None);
        if let Some(token) = self.refresh_token {
            tokens.authorize_with_refresh_token(&read_if_dash(token)?).await?;
            print("refresh token stored: the worker uses it when it next needs an access token");
            return Ok(OK);
        }
        let oauth = OAuth::new(self.integration.integration()?)?;
        let (Some(code), Some(state)) = (self.code, self.state) else {
            print(&authorization_flow::link(&tokens, &oauth, StartedBy::Command).await?.url);
            return Ok(OK);
        };
        // Who has the database's password and the keys needs no cookie.
        match authorization_flow::accept(&tokens, &oauth, Callback { code, state, has_cookie: true }).await {
            Ok(()) => {
                print("code accepted");
                Ok(OK)
            }
            Err(rejected) => {
                print(&format!("code rejected: {rejected}"));
                Ok(FAILED)
            }
        }
    }
}

/// The token, or the first line of standard input for `-`: arguments can be seen by other users of the machine.
fn read_if_dash(token: SecretString) -> anyhow::Result<SecretString> {
    use secrecy::ExposeSecret as _;
    if token.expose_secret() != "-" {
        return Ok(token);
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned().into())
}
