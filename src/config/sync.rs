//! How the worker syncs: what, how fast, how far back, and how long it retains.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use secrecy::SecretString;
use tracing::warn;

use super::completion;
use super::error::ConfigError;
use super::secret::{refresh_token, secret};
use super::time::{Range, TimeOrNone};
use crate::catalog::{self, RESOURCES, Resource};

/// How the worker syncs.
#[derive(Args, Debug)]
#[command(next_help_heading = "Syncing")]
pub struct SyncArgs {
    /// First refresh token for a new database, 16 to 4096 visible characters; ignored once one is stored
    #[arg(long, env = "TEAMLEADER_REFRESH_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    teamleader_refresh_token: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "TEAMLEADER_REFRESH_TOKEN_FILE", value_name = "FILE")]
    teamleader_refresh_token_file: Option<PathBuf>,
    /// What a request without resources syncs; `all` are those that do not take a call for each parent record
    #[arg(
        long,
        env = "TEAMLEADER_RESOURCES",
        default_value = "all",
        value_delimiter = ',',
        value_name = "NAMES",
        add = ArgValueCompleter::new(completion::resources)
    )]
    teamleader_resources: Vec<String>,
    /// Bring the schema up to date at the start; false: refuse to start on an old one
    #[arg(long, env = "MIGRATE_ON_START", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub migrate_on_start: bool,
    /// How long one delivery is worked on before it goes back to the end of the queue
    #[arg(long, env = "SYNC_SLICE", default_value = "30s", value_parser = parse_slice, value_name = "TIME")]
    pub sync_slice: Duration,
    /// API requests in flight: auto, as many as the budget needs at the latency of answers; a number caps them
    #[arg(
        long,
        env = "SYNC_CONCURRENCY",
        default_value = "auto",
        value_parser = parse_concurrency,
        value_name = "NUMBER"
    )]
    pub sync_concurrency: usize,
    /// Requests of each minute that are left to other users of the integration
    #[arg(long, env = "RATE_RESERVE", default_value = "0", value_parser = parse_reserve, value_name = "NUMBER")]
    pub rate_reserve: u32,
    /// How far watermarks stay behind the API's clock
    #[arg(long, env = "SYNC_LOOKBACK", default_value = "5m", value_parser = parse_lookback, value_name = "TIME")]
    pub sync_lookback: Duration,
    /// Age at which details are fetched again that can change without their list showing it
    #[arg(long, env = "DETAIL_MAX_AGE", default_value = "7d", value_parser = parse_age, value_name = "TIME")]
    pub detail_max_age: Duration,
    /// How far back an incremental pass reads lists that have dates and do not show changes: a time, or off
    #[arg(long, env = "INCREMENTAL_WINDOW", default_value = "60d", value_parser = parse_window, value_name = "TIME")]
    incremental_window: TimeOrNone,
    /// Whether each changed version of a record is retained
    #[arg(long, env = "HISTORY", default_value = "off", value_name = "HOW")]
    history: Switch,
    /// Runs, sent events and history older than this are deleted: a time, or never
    #[arg(long, env = "RETENTION", default_value = "90d", value_parser = parse_retention, value_name = "TIME")]
    retention: TimeOrNone,
    /// The content of rows that are deleted for so long is erased: a time, or never
    #[arg(long, env = "ERASE_DELETED_AFTER", default_value = "never", value_parser = parse_erase, value_name = "TIME")]
    erase_deleted_after: TimeOrNone,
}

/// `on` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// The bound of `SYNC_CONCURRENCY=auto`: enough for the API's 200 requests a minute where an answer takes almost 5 s;
/// from 2.3 s on all of them are in use.
const AUTO_CONCURRENCY: usize = 16;

/// The API allows 200 requests a minute: at least a quarter of them is left to the worker.
const LARGEST_RESERVE: u32 = 150;

/// A worker deletes runs that are younger than this only where that is meant: a repeated request finds its run no more.
const USUAL_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// Shorter than RabbitMQ's 30 minutes for an acknowledgement, with room for the page in hand.
const SLICES: Range = Range {
    from: "1s",
    to: "15m",
    none: None,
    why: "RabbitMQ closes the channel of a delivery that is not acknowledged for 30 minutes",
};

const LOOKBACKS: Range =
    Range { from: "0s", to: "30d", none: None, why: "each incremental sync reads again what has changed within it" };

const AGES: Range =
    Range { from: "1h", to: "3650d", none: None, why: "each detail that is older takes a request of each sync" };

const WINDOWS: Range = Range {
    from: "1d",
    to: "3650d",
    none: Some("off"),
    why: "an incremental sync reads no dates before it, and off reads all",
};

const RETENTIONS: Range = Range {
    from: "1s",
    to: "36500d",
    none: Some("never"),
    why: "0 would delete each run and each event as soon as it is over, and never deletes none",
};

const ERASURES: Range = Range {
    from: "1s",
    to: "36500d",
    none: Some("never"),
    why: "0 would erase a record as soon as a sync marks it deleted, and never erases none",
};

fn parse_slice(text: &str) -> Result<Duration, String> {
    SLICES.time(text)
}

fn parse_lookback(text: &str) -> Result<Duration, String> {
    LOOKBACKS.time(text)
}

fn parse_age(text: &str) -> Result<Duration, String> {
    AGES.time(text)
}

fn parse_window(text: &str) -> Result<TimeOrNone, String> {
    WINDOWS.parse(text)
}

fn parse_retention(text: &str) -> Result<TimeOrNone, String> {
    RETENTIONS.parse(text)
}

fn parse_erase(text: &str) -> Result<TimeOrNone, String> {
    ERASURES.parse(text)
}

fn parse_reserve(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|reserve| *reserve <= LARGEST_RESERVE).ok_or_else(|| {
        format!(
            "it is a number from 0 to {LARGEST_RESERVE}: the API allows 200 requests a minute, and the worker needs \
             some of them"
        )
    })
}

fn parse_concurrency(text: &str) -> Result<usize, String> {
    match text {
        "auto" => Ok(AUTO_CONCURRENCY),
        number => number
            .parse()
            .ok()
            .filter(|n| (1..=64).contains(n))
            .ok_or_else(|| "it is auto, or a number from 1 to 64".to_owned()),
    }
}

impl SyncArgs {
    /// The resources that a request without any syncs.
    pub fn resources(&self) -> Result<Vec<&'static Resource>, ConfigError> {
        let names = self.teamleader_resources.iter().map(|name| name.trim()).filter(|name| !name.is_empty());
        let (words, names): (Vec<&str>, Vec<&str>) = names.partition(|name| catalog::is_all(name));
        let named: Result<Vec<&Resource>, _> = names.into_iter().map(catalog::resolve).collect();
        let named = named.map_err(|unknown| ConfigError::Invalid("TEAMLEADER_RESOURCES", unknown.to_string()))?;
        let all = named.is_empty() || !words.is_empty();
        let wanted = |resource: &&Resource| all && resource.stands_alone() || named.contains(resource);
        Ok(RESOURCES.iter().filter(wanted).collect())
    }

    /// How far back an incremental pass reads by date; `None`: all.
    pub fn incremental_window(&self) -> Option<Duration> {
        self.incremental_window.0
    }

    /// Whether changed versions are retained.
    pub fn history(&self) -> bool {
        self.history == Switch::On
    }

    /// How long runs, sent events and history are stored; `None`: for ever. A warning in the log where it is so short
    /// that a mistake is likely.
    pub fn retention_of_worker(&self) -> Option<Duration> {
        let TimeOrNone(retention) = self.retention;
        if let Some(time) = retention.filter(|time| *time < USUAL_RETENTION) {
            let retention = humantime::format_duration(time).to_string();
            warn!(
                retention,
                "RETENTION is {retention}: runs, sent events and history are deleted when they are older, and a \
                 request that is repeated later makes a second sync"
            );
        }
        retention
    }

    /// After how long the content of deleted rows is erased; `None`: never.
    pub fn erase_deleted_after(&self) -> Option<Duration> {
        self.erase_deleted_after.0
    }

    /// The first refresh token, if one is given.
    pub fn first_refresh_token(&self) -> Result<Option<SecretString>, ConfigError> {
        let (value, file) = (self.teamleader_refresh_token.as_ref(), self.teamleader_refresh_token_file.as_deref());
        let given = secret("TEAMLEADER_REFRESH_TOKEN", value, file)?;
        given.map(|token| refresh_token("TEAMLEADER_REFRESH_TOKEN", &token)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        sync: SyncArgs,
    }

    fn with(setting: &str) -> SyncArgs {
        Cli::try_parse_from(["worker", setting]).expect(setting).sync
    }

    #[test]
    fn the_resources_of_a_worker_are_named_in_either_spelling() {
        let names = |list: &str| {
            let resources = with(&format!("--teamleader-resources={list}")).resources();
            resources.map(|resources| resources.iter().map(|resource| resource.name).collect::<Vec<_>>())
        };
        assert_eq!(names("time_tracking, Contacts").expect("known"), ["contacts", "timeTracking"]);
        let alone = RESOURCES.iter().filter(|resource| resource.stands_alone()).count();
        assert_eq!(names("").expect("all").len(), alone);
        assert_eq!(names("all").expect("all").len(), alone);
        assert_eq!(names("All,notes").expect("all").len(), alone + 1);
        let refused = names("contacts,contact").expect_err("unknown").to_string();
        assert!(refused.starts_with("TEAMLEADER_RESOURCES: there is no resource \"contact\": did you"), "{refused}");
    }
}
