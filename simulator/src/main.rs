//! The simulator as a program: parses its flags, says where it listens, and runs until a signal stops it.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Parser};
use teamleader_simulator::{Config, Quirks, Simulator, Webhooks};
use tokio::signal::unix::{SignalKind, signal};

/// A stand-in for the Teamleader Focus API.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// The address to serve on; port 0 takes any free one.
    #[arg(long, env = "SIMULATOR_LISTEN", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The size of the account: this many contacts, and everything else in proportion. Without it the account is small.
    #[arg(long, env = "SIMULATOR_CONTACTS")]
    contacts: Option<usize>,
    /// The number of records of one resource, as in `--count events=500`; may be repeated.
    #[arg(long, env = "SIMULATOR_COUNT", value_name = "RESOURCE=N", value_parser = count, value_delimiter = ',')]
    count: Vec<(String, usize)>,
    /// Resources whose list comes in pages although the blueprint shows none, as in `--paged products`.
    #[arg(long, env = "SIMULATOR_PAGED", value_name = "RESOURCE", value_delimiter = ',')]
    paged: Vec<String>,
    /// The account has the new projects, as `accounts.projects-v2-status` reports.
    #[arg(long, env = "SIMULATOR_PROJECTS_V2", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    projects_v2: bool,
    /// The same seed gives the same records.
    #[arg(long, env = "SIMULATOR_SEED", default_value_t = 1)]
    seed: u64,
    /// How many requests a client may make in any window.
    #[arg(long, env = "SIMULATOR_RATE_LIMIT", default_value_t = 200)]
    rate_limit: u32,
    /// The length of the window in seconds.
    #[arg(long, env = "SIMULATOR_RATE_WINDOW", default_value = "60", value_parser = seconds)]
    rate_window: Duration,
    /// How many seconds an access token works.
    #[arg(long, env = "SIMULATOR_ACCESS_TOKEN_TTL", default_value = "3600", value_parser = seconds)]
    access_token_ttl: Duration,
    /// The integration's client id.
    #[arg(long, env = "SIMULATOR_CLIENT_ID", default_value = "client")]
    client_id: String,
    /// The integration's client secret.
    #[arg(long, env = "SIMULATOR_CLIENT_SECRET", default_value = "secret", hide_env_values = true)]
    client_secret: String,
    /// The integration's redirect URI; without it any is accepted.
    #[arg(long, env = "SIMULATOR_REDIRECT_URI")]
    redirect_uri: Option<String>,
    #[command(flatten)]
    quirks: Quirks,
    #[command(flatten)]
    webhooks: Webhooks,
}

impl Flags {
    fn config(&self) -> anyhow::Result<Config> {
        let mut config = self.contacts.map_or_else(Config::default, Config::scaled);
        for (resource, count) in &self.count {
            let known = config.counts.get_mut(resource);
            *known.with_context(|| format!("there is no resource {resource}"))? = *count;
        }
        for resource in &self.paged {
            anyhow::ensure!(config.counts.contains_key(resource), "there is no resource {resource}");
        }
        Ok(Config {
            paged: self.paged.iter().cloned().collect(),
            projects_v2: self.projects_v2,
            seed: self.seed,
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            redirect_uri: self.redirect_uri.clone(),
            access_token_ttl: self.access_token_ttl,
            rate_limit: self.rate_limit,
            rate_window: self.rate_window,
            quirks: self.quirks.clone().checked().map_err(anyhow::Error::msg)?,
            webhooks: self.webhooks.clone().checked().map_err(anyhow::Error::msg)?,
            ..config
        })
    }
}

fn count(text: &str) -> Result<(String, usize), String> {
    let (resource, count) = text.split_once('=').ok_or("is not of the form RESOURCE=N")?;
    Ok((resource.to_owned(), count.parse().map_err(|error| format!("{count}: {error}"))?))
}

/// Seconds as a number, with an `s` behind it or without.
fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    let number: f64 = number.parse().map_err(|_| "is not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

async fn run(flags: Flags) -> anyhow::Result<()> {
    // Before anything else: a signal that comes while the records are made must not be lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let simulator = tokio::select! {
        started = Simulator::start(flags.config()?, flags.listen) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", simulator.url())?;
    stdout.flush()?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
    }
    simulator.stop().await;
    Ok(())
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let result = tokio::runtime::Runtime::new().context("cannot start the runtime").and_then(|runtime| {
        let result = runtime.block_on(run(flags));
        // Records may still be in the making after an early signal; nobody waits for them.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
