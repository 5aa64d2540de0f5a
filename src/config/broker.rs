//! RabbitMQ: where it is, the names of exchanges and queues, and where replies may go.

use std::path::PathBuf;

use clap::Args;
use regex::Regex;
use secrecy::SecretString;

use super::error::ConfigError;
use super::secret::secret;
use crate::broker::link;
use crate::broker::reply_address::ReplyAddresses;
use crate::broker::topology::{Declare, Names};
use crate::ids::Account;

/// RabbitMQ.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connections")]
pub struct AmqpArgs {
    /// RabbitMQ, as amqp://user:password@host:5672/vhost
    #[arg(long, env = "AMQP_URL", hide_env_values = true, value_name = "URL")]
    amqp_url: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "AMQP_URL_FILE", value_name = "FILE")]
    amqp_url_file: Option<PathBuf>,
    /// The beginning of the names of all exchanges and queues: 1 to 100 of A-Z a-z 0-9 . _ -
    #[arg(long, env = "AMQP_PREFIX", default_value = "teamleader", value_name = "NAME")]
    amqp_prefix: String,
    /// Whether to declare exchanges and queues, or only check that they are there
    #[arg(long, env = "AMQP_DECLARE", default_value = "create", value_name = "HOW")]
    pub amqp_declare: Declare,
}

impl AmqpArgs {
    /// `AMQP_URL`.
    pub fn url(&self) -> Result<SecretString, ConfigError> {
        self.url_if_set()?.ok_or(ConfigError::Missing("AMQP_URL"))
    }

    /// `AMQP_URL`, where the command can do without.
    pub fn url_if_set(&self) -> Result<Option<SecretString>, ConfigError> {
        let url = secret("AMQP_URL", self.amqp_url.as_ref(), self.amqp_url_file.as_deref())?;
        if let Some(url) = &url {
            link::check_url(url).map_err(|why| ConfigError::Invalid("AMQP_URL", why.to_owned()))?;
        }
        Ok(url)
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

/// Replies to senders.
#[derive(Args, Debug)]
#[command(next_help_heading = "Replies")]
pub struct ReplyArgs {
    /// Which queues of others a reply may go to: a regular expression, found anywhere in a name; without it any queue
    /// that has neither the prefix nor a name of RabbitMQ's own, and no `.tokens.` or `.requests.` in it
    #[arg(long, env = "REPLY_TO_ALLOWED", value_name = "PATTERN")]
    reply_to_allowed: Option<String>,
}

impl ReplyArgs {
    /// Where replies may go.
    pub fn addresses(&self, names: Names) -> Result<ReplyAddresses, ConfigError> {
        // As everywhere, an empty variable is one that is not set.
        let pattern = self.reply_to_allowed.as_deref().filter(|pattern| !pattern.is_empty()).map(Regex::new);
        let pattern = pattern.transpose().map_err(|error| {
            // Of its lines the last has the reason; those before it draw where.
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            ConfigError::Invalid("REPLY_TO_ALLOWED", format!("it is a regular expression, and this one is none: {why}"))
        })?;
        Ok(ReplyAddresses::new(names, pattern))
    }
}
