//! Webhooks: how Teamleader reaches this server.

use std::time::Duration;

use clap::Args;

use super::endpoint;
use super::error::ConfigError;
use super::time::Range;

/// How long a late call is waited for.
const PATIENCE: Range = Range {
    from: "1s",
    to: "1d",
    none: None,
    why: "a change that a sync has found is late until then, and missed if no call has come",
};

/// Webhooks.
#[derive(Args, Debug)]
#[command(next_help_heading = "Webhooks")]
pub struct WebhookArgs {
    /// The https address by which Teamleader reaches this server's /webhooks; without it there are no webhooks
    #[arg(long, env = "WEBHOOK_URL", value_name = "URL")]
    webhook_url: Option<String>,
    /// How long after a sync has found a change the call that announces it is late, and then missed
    #[arg(long, env = "WEBHOOK_PATIENCE", default_value = "15m", value_parser = parse_patience, value_name = "TIME")]
    pub webhook_patience: Duration,
}

fn parse_patience(text: &str) -> Result<Duration, String> {
    PATIENCE.time(text)
}

impl WebhookArgs {
    /// By which address Teamleader reaches this server, if webhooks are wanted.
    pub fn url(&self) -> Result<Option<String>, ConfigError> {
        // As everywhere, an empty variable is one that is not set.
        let Some(url) = self.webhook_url.as_deref().filter(|url| !url.is_empty()) else { return Ok(None) };
        check(url).map(Some).map_err(|why| ConfigError::Invalid("WEBHOOK_URL", why))
    }
}

fn check(url: &str) -> Result<String, String> {
    let is_https = url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
    let url = endpoint::base_url(url)?;
    if is_https { Ok(url) } else { Err("a URL that begins with https://: Teamleader calls no other".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_without_anything_behind_it_is_taken() {
        assert_eq!(check("https://sync.example.com/hooks/").as_deref(), Ok("https://sync.example.com/hooks/"));
        for (url, why) in [
            ("http://sync.example.com", "https://"),
            ("https://anna:hunter2@sync.example.com", "without user and password"),
            ("https://sync.example.com/?a=b", "without ? and #"),
            ("sync.example.com", "not a URL"),
        ] {
            assert!(check(url).is_err_and(|said| said.contains(why) && !said.contains("hunter2")), "{url}");
        }
    }
}
