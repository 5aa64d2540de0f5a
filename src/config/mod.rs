//! The configuration: every setting is a flag and an environment variable.
//!
//! | variable | default | |
//! | --- | --- | --- |
//! | `DATABASE_URL` | required | `postgres://…` |
//! | `AMQP_URL` | required | `amqp://…` or `amqps://…` |
//! | `TEAMLEADER_ACCOUNT` | `default` | the account that this worker serves |
//! | `TEAMLEADER_CLIENT_ID`, `TEAMLEADER_CLIENT_SECRET`, `TEAMLEADER_REDIRECT_URI` | required by `worker` | of the integration |
//! | `TEAMLEADER_API_URI` | `https://api.focus.teamleader.eu` | |
//! | `TEAMLEADER_AUTH_URI` | `https://focus.teamleader.eu` | |
//! | `TEAMLEADER_API_VERSION` | `2023-09-26` | the dated version of the API that requests ask for |
//! | `TEAMLEADER_REFRESH_TOKEN` | none | first token for a new database; ignored once one is stored |
//! | `TEAMLEADER_RESOURCES` | `all` | comma-separated; `all`: those that do not take a call for each parent record |
//! | `TOKEN_ENCRYPTION_KEY` | required by `worker` | 32 bytes, base64; a comma-separated list: the first encrypts, all decrypt |
//! | `HTTP_LISTEN` | `127.0.0.1:8080` | beyond loopback a token is required |
//! | `HTTP_API_TOKEN` | none | beyond loopback at least 16 characters |
//! | `AMQP_PREFIX` | `teamleader` | of the names of exchanges and queues |
//! | `AMQP_DECLARE` | `create` | `check`: never declare, only check |
//! | `REPLY_TO_ALLOWED` | not set | which queues of others a reply may go to, a regular expression |
//! | `MIGRATE_ON_START` | `true` | `false`: refuse to start on an old schema |
//! | `SYNC_SLICE` | `30s` | how long one delivery is worked on |
//! | `SYNC_CONCURRENCY` | `auto` | API requests in flight; a number caps them |
//! | `RATE_RESERVE` | `0` | requests of each minute left to others |
//! | `SYNC_LOOKBACK` | `5m` | how far watermarks stay behind the API's clock |
//! | `DETAIL_MAX_AGE` | `7d` | when details that no list vouches for are fetched again |
//! | `INCREMENTAL_WINDOW` | `60d` | how far back an incremental pass reads by date; `off`: all |
//! | `HISTORY` | `off` | `on`: each changed version of a record is kept |
//! | `RETENTION` | `90d` | runs, sent events and history older than it go |
//! | `ERASE_DELETED_AFTER` | `never` | content of rows that are deleted for so long is erased |
//! | `COMPAT_DATABASE_URL` | that of `DATABASE_URL` | of `compat`: the database of the Python service |
//! | `TRACEPARENT` | none | of `request` and `audit`: the request's place in a trace |
//! | `LOG_FORMAT` | `pretty` | `json` for machines |
//! | `RUST_LOG` | `info,lapin=off,sqlx=warn` | |
//!
//! Each variable `X` that may hold a secret has a twin `X_FILE`, the name of a file that holds it.

pub mod endpoint;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use regex::Regex;
use secrecy::SecretString;
use tracing::warn;

use crate::api_client::oauth::Integration;
use crate::api_client::version;
use crate::broker::reply_address::ReplyAddresses;
use crate::broker::topology::{Declare, Names};
use crate::catalog::{self, RESOURCES, Resource};
use crate::ids::Account;
use crate::store::tokens::cipher::{Cipher, CipherError};

/// The shortest token of HTTP that is taken beyond loopback, in characters.
const SHORTEST_TOKEN: usize = 16;

/// What is wrong with the configuration, and how to mend it. Never shows a value that may be secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A setting is missing.
    #[error("{0} is not set: set it, or {0}_FILE to the name of a file that holds it")]
    Missing(&'static str),
    /// Both the variable and its twin are set.
    #[error("{0} and {0}_FILE are both set: keep one")]
    Both(&'static str),
    /// A file cannot be read.
    #[error("{0}_FILE: {1} cannot be read: {2}")]
    File(&'static str, PathBuf, std::io::Error),
    /// A setting cannot be used.
    #[error("{0}: {1}")]
    Invalid(&'static str, String),
    /// The keys.
    #[error(transparent)]
    Key(#[from] CipherError),
}

/// Which account.
#[derive(Args, Debug)]
pub struct AccountArgs {
    /// The account that is served: 1 to 64 of A-Z a-z 0-9 _ -
    #[arg(long = "account", env = "TEAMLEADER_ACCOUNT", default_value = "default", value_name = "NAME")]
    pub account: Account,
}

/// PostgreSQL.
#[derive(Args, Debug)]
pub struct DatabaseArgs {
    /// PostgreSQL, as postgres://user:password@host:5432/database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    database_url_file: Option<PathBuf>,
}

/// The database of the Python service that this program replaces.
#[derive(Args, Debug)]
pub struct CompatArgs {
    /// The Python service's database, if it is another one than this program's
    #[arg(long, env = "COMPAT_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    compat_database_url: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "COMPAT_DATABASE_URL_FILE", value_name = "FILE")]
    compat_database_url_file: Option<PathBuf>,
}

/// RabbitMQ.
#[derive(Args, Debug)]
pub struct AmqpArgs {
    /// RabbitMQ, as amqp://user:password@host:5672/vhost
    #[arg(long, env = "AMQP_URL", hide_env_values = true, value_name = "URL")]
    amqp_url: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "AMQP_URL_FILE", value_name = "FILE")]
    amqp_url_file: Option<PathBuf>,
    /// The beginning of the names of all exchanges and queues
    #[arg(long, env = "AMQP_PREFIX", default_value = "teamleader", value_name = "NAME")]
    amqp_prefix: String,
    /// Whether to declare exchanges and queues, or only check that they are there
    #[arg(long, env = "AMQP_DECLARE", default_value = "create", value_name = "HOW")]
    pub amqp_declare: Declare,
}

/// Replies to senders.
#[derive(Args, Debug)]
pub struct ReplyArgs {
    /// Which queues of others a reply may go to: a regular expression, found anywhere in a name; without it any queue
    /// that has neither the prefix nor a name of RabbitMQ's own, and no `.tokens.` or `.requests.` in it
    #[arg(long, env = "REPLY_TO_ALLOWED", value_name = "PATTERN")]
    reply_to_allowed: Option<String>,
}

/// The integration, as registered in Teamleader's marketplace.
#[derive(Args, Debug)]
pub struct IntegrationArgs {
    /// Client id of the integration
    #[arg(long, env = "TEAMLEADER_CLIENT_ID", hide_env_values = true, value_name = "ID")]
    teamleader_client_id: Option<String>,
    /// A file that holds it
    #[arg(long, env = "TEAMLEADER_CLIENT_ID_FILE", value_name = "FILE")]
    teamleader_client_id_file: Option<PathBuf>,
    /// Client secret of the integration
    #[arg(long, env = "TEAMLEADER_CLIENT_SECRET", hide_env_values = true, value_name = "SECRET")]
    teamleader_client_secret: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "TEAMLEADER_CLIENT_SECRET_FILE", value_name = "FILE")]
    teamleader_client_secret_file: Option<PathBuf>,
    /// Where Teamleader sends the user back to: this worker's /sync/oauth, as the browser reaches it
    #[arg(long, env = "TEAMLEADER_REDIRECT_URI", value_name = "URL")]
    teamleader_redirect_uri: Option<String>,
    /// The API
    #[arg(long, env = "TEAMLEADER_API_URI", default_value = "https://api.focus.teamleader.eu", value_name = "URL")]
    teamleader_api_uri: String,
    /// The authorization server
    #[arg(long, env = "TEAMLEADER_AUTH_URI", default_value = "https://focus.teamleader.eu", value_name = "URL")]
    teamleader_auth_uri: String,
    /// The dated version of the API that requests ask for: answers have its shape
    #[arg(long, env = "TEAMLEADER_API_VERSION", default_value = version::NEWEST, value_name = "DATE")]
    teamleader_api_version: String,
}

/// How tokens are sealed.
#[derive(Args, Debug)]
pub struct KeyArgs {
    /// Keys of 32 bytes in base64, comma-separated: the first encrypts tokens, all decrypt
    #[arg(long, env = "TOKEN_ENCRYPTION_KEY", hide_env_values = true, value_name = "KEYS")]
    token_encryption_key: Option<SecretString>,
    /// A file that holds them
    #[arg(long, env = "TOKEN_ENCRYPTION_KEY_FILE", value_name = "FILE")]
    token_encryption_key_file: Option<PathBuf>,
}

/// The HTTP server.
#[derive(Args, Debug)]
pub struct HttpArgs {
    /// Where the HTTP server listens; beyond loopback a token is required
    #[arg(long, env = "HTTP_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    http_listen: SocketAddr,
    /// The token that callers send as `Authorization: Bearer …`
    #[arg(long, env = "HTTP_API_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    http_api_token: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "HTTP_API_TOKEN_FILE", value_name = "FILE")]
    http_api_token_file: Option<PathBuf>,
}

/// How the worker syncs.
#[derive(Args, Debug)]
pub struct SyncArgs {
    /// First refresh token for a new database; ignored once one is stored
    #[arg(long, env = "TEAMLEADER_REFRESH_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    teamleader_refresh_token: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "TEAMLEADER_REFRESH_TOKEN_FILE", value_name = "FILE")]
    teamleader_refresh_token_file: Option<PathBuf>,
    /// What a request without resources syncs; `all` are those that do not take a call for each parent record
    #[arg(long, env = "TEAMLEADER_RESOURCES", value_delimiter = ',', value_name = "NAMES")]
    teamleader_resources: Vec<String>,
    /// Bring the schema up to date at the start; false: refuse to start on an old one
    #[arg(long, env = "MIGRATE_ON_START", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub migrate_on_start: bool,
    /// How long one delivery is worked on before it is handed back to the queue
    #[arg(long, env = "SYNC_SLICE", default_value = "30s", value_parser = parse_slice, value_name = "TIME")]
    pub sync_slice: Duration,
    /// API requests in flight: auto, as many as the budget needs at the latency of answers; a number caps them
    #[arg(long, env = "SYNC_CONCURRENCY", default_value = "auto", value_parser = parse_concurrency, value_name = "NUMBER")]
    pub sync_concurrency: usize,
    /// Requests of each minute that are left to other users of the integration
    #[arg(long, env = "RATE_RESERVE", default_value_t = 0, value_name = "NUMBER")]
    pub rate_reserve: u32,
    /// How far watermarks stay behind the API's clock
    #[arg(long, env = "SYNC_LOOKBACK", default_value = "5m", value_parser = humantime::parse_duration, value_name = "TIME")]
    pub sync_lookback: Duration,
    /// When details that no list vouches for are fetched again
    #[arg(long, env = "DETAIL_MAX_AGE", default_value = "7d", value_parser = humantime::parse_duration, value_name = "TIME")]
    pub detail_max_age: Duration,
    /// How far back an incremental pass reads lists that tell dates and no changes: a time, or off
    #[arg(long, env = "INCREMENTAL_WINDOW", default_value = "60d", value_parser = parse_window, value_name = "TIME")]
    incremental_window: TimeOrNone,
    /// Whether each changed version of a record is kept
    #[arg(long, env = "HISTORY", default_value = "off", value_name = "HOW")]
    history: Switch,
    /// Runs, sent events and history older than this are deleted
    #[arg(long, env = "RETENTION", default_value = "90d", value_parser = humantime::parse_duration, value_name = "TIME")]
    pub retention: Duration,
    /// The content of rows that are deleted for so long is erased: a time, or never
    #[arg(long, env = "ERASE_DELETED_AFTER", default_value = "never", value_parser = parse_erase, value_name = "TIME")]
    erase_deleted_after: TimeOrNone,
}

/// A time, or a word that says none. Not an `Option`, which clap takes for an argument that may be missing.
#[derive(Clone, Copy, Debug)]
struct TimeOrNone(Option<Duration>);

/// `on` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// The word of `TEAMLEADER_RESOURCES` for all that do not take a call for each parent record.
const ALL: &str = "all";

/// The bound of `SYNC_CONCURRENCY=auto`: enough for the API's 200 requests a minute where an answer takes almost 5 s; from 2.3 s on there are so many.
const AUTO_CONCURRENCY: usize = 16;

/// Shorter than RabbitMQ's 30 minutes for an acknowledgement, with room for the page in hand.
const LONGEST_SLICE: Duration = Duration::from_secs(15 * 60);

fn parse_slice(text: &str) -> Result<Duration, String> {
    let slice = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_secs(1)..=LONGEST_SLICE).contains(&slice) {
        Ok(slice)
    } else {
        Err("from 1s to 15m: RabbitMQ closes the channel of a delivery that is not acknowledged for 30 minutes"
            .to_owned())
    }
}

fn parse_window(text: &str) -> Result<TimeOrNone, String> {
    parse_time_or("off", text)
}

fn parse_erase(text: &str) -> Result<TimeOrNone, String> {
    parse_time_or("never", text)
}

fn parse_time_or(none: &str, text: &str) -> Result<TimeOrNone, String> {
    if text == none {
        return Ok(TimeOrNone(None));
    }
    let time = humantime::parse_duration(text).map_err(|error| format!("{error}; a time like 60d, or {none}"))?;
    Ok(TimeOrNone(Some(time)))
}

fn parse_concurrency(text: &str) -> Result<usize, String> {
    match text {
        "auto" => Ok(AUTO_CONCURRENCY),
        number => number
            .parse()
            .ok()
            .filter(|n| (1..=64).contains(n))
            .ok_or_else(|| "auto, or a number from 1 to 64".to_owned()),
    }
}

impl DatabaseArgs {
    /// `DATABASE_URL`.
    pub fn url(&self) -> Result<SecretString, ConfigError> {
        self.url_if_set()?.ok_or(ConfigError::Missing("DATABASE_URL"))
    }

    /// `DATABASE_URL`, where the command can do without.
    pub fn url_if_set(&self) -> Result<Option<SecretString>, ConfigError> {
        secret("DATABASE_URL", self.database_url.as_ref(), self.database_url_file.as_deref())
    }
}

impl CompatArgs {
    /// The variable's name.
    pub const NAME: &str = "COMPAT_DATABASE_URL";

    /// The URL, if it is another database.
    pub fn url(&self) -> Result<Option<SecretString>, ConfigError> {
        secret(Self::NAME, self.compat_database_url.as_ref(), self.compat_database_url_file.as_deref())
    }
}

impl AmqpArgs {
    /// `AMQP_URL`.
    pub fn url(&self) -> Result<SecretString, ConfigError> {
        secret("AMQP_URL", self.amqp_url.as_ref(), self.amqp_url_file.as_deref())?
            .ok_or(ConfigError::Missing("AMQP_URL"))
    }

    /// The names of exchanges and queues.
    pub fn names(&self, account: &Account) -> Result<Names, ConfigError> {
        let prefix = &self.amqp_prefix;
        let fits = (1..=100).contains(&prefix.len())
            && prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            && !prefix.starts_with("amq.");
        if !fits {
            return Err(ConfigError::Invalid("AMQP_PREFIX", "1 to 100 of A-Z a-z 0-9 . _ -, and not amq.".to_owned()));
        }
        Ok(Names::new(prefix, account.clone()))
    }
}

impl ReplyArgs {
    /// Where replies may go.
    pub fn addresses(&self, names: Names) -> Result<ReplyAddresses, ConfigError> {
        // As everywhere, an empty variable is one that is not set.
        let pattern = self.reply_to_allowed.as_deref().filter(|pattern| !pattern.is_empty()).map(Regex::new);
        let pattern =
            pattern.transpose().map_err(|error| ConfigError::Invalid("REPLY_TO_ALLOWED", error.to_string()))?;
        Ok(ReplyAddresses::new(names, pattern))
    }
}

impl IntegrationArgs {
    /// The integration, with a warning in the log where tokens and records can be read on their way.
    pub fn integration_of_worker(&self) -> Result<Integration, ConfigError> {
        let integration = self.integration()?;
        for url in [&integration.api_uri, &integration.auth_uri] {
            if endpoint::can_be_overheard(url) {
                warn!(url, "What goes to Teamleader is not encrypted: set an address that begins with https://");
            }
        }
        Ok(integration)
    }

    /// The integration, all of it.
    pub fn integration(&self) -> Result<Integration, ConfigError> {
        let client_id = match (&self.teamleader_client_id, &self.teamleader_client_id_file) {
            (Some(_), Some(_)) => return Err(ConfigError::Both("TEAMLEADER_CLIENT_ID")),
            (Some(id), None) => id.clone(),
            (None, Some(file)) => read_file("TEAMLEADER_CLIENT_ID", file)?,
            (None, None) => return Err(ConfigError::Missing("TEAMLEADER_CLIENT_ID")),
        };
        let client_secret = secret(
            "TEAMLEADER_CLIENT_SECRET",
            self.teamleader_client_secret.as_ref(),
            self.teamleader_client_secret_file.as_deref(),
        )?
        .ok_or(ConfigError::Missing("TEAMLEADER_CLIENT_SECRET"))?;
        let redirect_uri = self.teamleader_redirect_uri.as_deref().ok_or_else(|| {
            let how = "not set: the address of this worker's /sync/oauth as the browser reaches it, as registered in the marketplace";
            ConfigError::Invalid("TEAMLEADER_REDIRECT_URI", how.to_owned())
        })?;
        endpoint::http_url(redirect_uri).map_err(|why| ConfigError::Invalid("TEAMLEADER_REDIRECT_URI", why))?;
        Ok(Integration {
            client_id,
            client_secret,
            redirect_uri: redirect_uri.to_owned(),
            auth_uri: base_url("TEAMLEADER_AUTH_URI", &self.teamleader_auth_uri)?,
            api_uri: base_url("TEAMLEADER_API_URI", &self.teamleader_api_uri)?,
            api_version: self
                .teamleader_api_version
                .parse()
                .map_err(|why| ConfigError::Invalid("TEAMLEADER_API_VERSION", why))?,
        })
    }
}

impl KeyArgs {
    /// The keys.
    pub fn cipher(&self) -> Result<Cipher, ConfigError> {
        let keys = secret(
            "TOKEN_ENCRYPTION_KEY",
            self.token_encryption_key.as_ref(),
            self.token_encryption_key_file.as_deref(),
        )?
        .ok_or(ConfigError::Missing("TOKEN_ENCRYPTION_KEY"))?;
        Ok(Cipher::new(&keys)?)
    }
}

impl HttpArgs {
    /// Where to listen, and the token, which is required beyond loopback.
    pub fn listen(&self) -> Result<(SocketAddr, Option<SecretString>), ConfigError> {
        let token = secret("HTTP_API_TOKEN", self.http_api_token.as_ref(), self.http_api_token_file.as_deref())?;
        let is_loopback = self.http_listen.ip().is_loopback();
        if token.is_none() && !is_loopback {
            let how = format!("{} can be reached from other machines: set HTTP_API_TOKEN too", self.http_listen);
            return Err(ConfigError::Invalid("HTTP_LISTEN", how));
        }
        if let Some(token) = &token {
            check_token(token, is_loopback)?;
        }
        Ok((self.http_listen, token))
    }
}

impl SyncArgs {
    /// The resources that a request without any syncs.
    pub fn resources(&self) -> Result<Vec<&'static Resource>, ConfigError> {
        let named: Vec<&str> =
            self.teamleader_resources.iter().map(|name| name.trim()).filter(|name| !name.is_empty()).collect();
        let unknown = named.iter().find(|name| **name != ALL && catalog::find(name).is_none());
        if let Some(name) = unknown {
            let how = format!("there is no resource {name:?}; there are {ALL}, {}", catalog::names());
            return Err(ConfigError::Invalid("TEAMLEADER_RESOURCES", how));
        }
        let all = named.is_empty() || named.contains(&ALL);
        let wanted = |resource: &&Resource| all && resource.stands_alone() || named.contains(&resource.name);
        Ok(RESOURCES.iter().filter(wanted).collect())
    }

    /// How far back an incremental pass reads by date; `None`: all.
    pub fn incremental_window(&self) -> Option<Duration> {
        self.incremental_window.0
    }

    /// Whether changed versions are kept.
    pub fn history(&self) -> bool {
        self.history == Switch::On
    }

    /// After how long the content of deleted rows is erased; `None`: never.
    pub fn erase_deleted_after(&self) -> Option<Duration> {
        self.erase_deleted_after.0
    }

    /// The first refresh token, if one is given.
    pub fn first_refresh_token(&self) -> Result<Option<SecretString>, ConfigError> {
        let (value, file) = (self.teamleader_refresh_token.as_ref(), self.teamleader_refresh_token_file.as_deref());
        secret("TEAMLEADER_REFRESH_TOKEN", value, file)
    }
}

/// A token that can be sent in a header, and that other machines cannot guess.
fn check_token(token: &SecretString, is_loopback: bool) -> Result<(), ConfigError> {
    use secrecy::ExposeSecret as _;
    let token = token.expose_secret();
    let how = "make one with `head -c 24 /dev/urandom | base64`";
    if token.trim() != token || !token.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        let why = "only visible ASCII characters, and no space at its ends";
        return Err(ConfigError::Invalid("HTTP_API_TOKEN", format!("{why}: {how}")));
    }
    if token.len() < SHORTEST_TOKEN && !is_loopback {
        let why = format!("shorter than {SHORTEST_TOKEN} characters, and other machines can try to guess it");
        return Err(ConfigError::Invalid("HTTP_API_TOKEN", format!("{why}: {how}")));
    }
    Ok(())
}

/// A secret from the variable or from the file that its twin names. An empty one counts as not set.
fn secret(
    name: &'static str,
    value: Option<&SecretString>,
    file: Option<&Path>,
) -> Result<Option<SecretString>, ConfigError> {
    use secrecy::ExposeSecret as _;
    let value = value.filter(|value| !value.expose_secret().is_empty());
    match (value, file) {
        (Some(_), Some(_)) => Err(ConfigError::Both(name)),
        (Some(value), None) => Ok(Some(value.clone())),
        (None, Some(file)) => match read_file(name, file)? {
            text if text.is_empty() => Err(ConfigError::Invalid(name, format!("{} is empty", file.display()))),
            text => Ok(Some(text.into())),
        },
        (None, None) => Ok(None),
    }
}

/// The text of a file, without the line end that editors add.
fn read_file(name: &'static str, file: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|error| ConfigError::File(name, file.to_owned(), error))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn base_url(name: &'static str, text: &str) -> Result<String, ConfigError> {
    endpoint::base_url(text).map_err(|why| ConfigError::Invalid(name, why))
}
