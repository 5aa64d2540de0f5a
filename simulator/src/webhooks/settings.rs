//! How webhooks are delivered, and what goes wrong with them: one switch each.

use clap::{Args, ValueEnum};
use hyper::Uri;
use serde::{Deserialize, Serialize};

/// How webhooks are delivered. The default loses, repeats and forges nothing; the seed decides what the shares hit.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhooks {
    /// An http address that takes the calls to https addresses, as a reverse proxy does.
    #[arg(long = "deliver-webhooks-to", env = "SIMULATOR_DELIVER_WEBHOOKS_TO", value_name = "URL")]
    pub deliver_to: Option<String>,
    /// The share of the calls that are never made.
    #[arg(long = "webhook-loss", env = "SIMULATOR_WEBHOOK_LOSS", default_value_t = 0.0, value_name = "SHARE")]
    pub loss: f64,
    /// The share of the calls that are made twice.
    #[arg(long = "webhook-duplicates", env = "SIMULATOR_WEBHOOK_DUPLICATES", default_value_t = 0.0)]
    #[arg(value_name = "SHARE")]
    pub duplicates: f64,
    /// The shortest and the longest time in milliseconds that a call comes after its change.
    #[arg(
        long = "webhook-delay-ms",
        env = "SIMULATOR_WEBHOOK_DELAY_MS",
        default_value = "0-0",
        value_name = "FROM-TO"
    )]
    #[arg(value_parser = span)]
    pub delay_ms: (u64, u64),
    /// The share of the calls that are delayed once more, and let later ones of their record go first.
    #[arg(long = "webhook-reorder", env = "SIMULATOR_WEBHOOK_REORDER", default_value_t = 0.0, value_name = "SHARE")]
    pub reorder: f64,
    /// The shortest and the longest of these second delays, in milliseconds.
    #[arg(long = "webhook-reorder-ms", env = "SIMULATOR_WEBHOOK_REORDER_MS", default_value = "50-500")]
    #[arg(value_parser = span, value_name = "FROM-TO")]
    pub reorder_ms: (u64, u64),
    /// The share of the calls that are followed by one that somebody forged.
    #[arg(long = "webhook-forged", env = "SIMULATOR_WEBHOOK_FORGED", default_value_t = 0.0, value_name = "SHARE")]
    pub forged: f64,
    /// The share of the calls that name another account.
    #[arg(long = "webhook-wrong-account", env = "SIMULATOR_WEBHOOK_WRONG_ACCOUNT", default_value_t = 0.0)]
    #[arg(value_name = "SHARE")]
    pub wrong_account: f64,
    /// Where the id of the record stands.
    #[arg(long = "webhook-payload", env = "SIMULATOR_WEBHOOK_PAYLOAD", default_value = "subject")]
    pub payload: Payload,
    /// What `ticketMessage.added` names.
    #[arg(long = "webhook-message-subject", env = "SIMULATOR_WEBHOOK_MESSAGE_SUBJECT", default_value = "either")]
    pub message_subject: MessageSubject,
    /// The same seed has the same things go wrong.
    #[arg(id = "webhook_seed", long = "webhook-seed", env = "SIMULATOR_WEBHOOK_SEED", default_value_t = 1)]
    pub seed: u64,
}

/// Where the id of the record stands in the body of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Payload {
    /// Under `subject`, as documented.
    Subject,
    /// Under `data`, as other documents show.
    Data,
}

/// What a call of `ticketMessage.added` names, which no document says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum MessageSubject {
    /// The ticket, with type `ticket`.
    Ticket,
    /// The message, with type `ticketMessage`.
    Message,
    /// One of both, which the seed chooses for each message.
    Either,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self {
            deliver_to: None,
            loss: 0.0,
            duplicates: 0.0,
            delay_ms: (0, 0),
            reorder: 0.0,
            reorder_ms: (50, 500),
            forged: 0.0,
            wrong_account: 0.0,
            payload: Payload::Subject,
            message_subject: MessageSubject::Either,
            seed: 1,
        }
    }
}

impl Webhooks {
    /// These settings with some members of a JSON object in their places.
    ///
    /// # Errors
    ///
    /// The fault of the members.
    pub(crate) fn with(&self, members: serde_json::Map<String, serde_json::Value>) -> Result<Self, String> {
        let mut all = serde_json::to_value(self).map_err(|error| error.to_string())?;
        if let Some(all) = all.as_object_mut() {
            all.extend(members);
        }
        let settings: Self = serde_json::from_value(all).map_err(|error| format!("The body does not fit: {error}."))?;
        settings.checked()
    }

    /// The settings, if they make sense.
    ///
    /// # Errors
    ///
    /// If a share is none, a span ends before it begins, or `deliver_to` is no http address.
    pub fn checked(self) -> Result<Self, String> {
        let shares = [
            ("loss", self.loss),
            ("duplicates", self.duplicates),
            ("reorder", self.reorder),
            ("forged", self.forged),
            ("wrong_account", self.wrong_account),
        ];
        if let Some((name, share)) = shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(format!("{name} is a share from 0 to 1, and not {share}."));
        }
        for (name, (from, to)) in [("delay_ms", self.delay_ms), ("reorder_ms", self.reorder_ms)] {
            if from > to {
                return Err(format!("{name} goes from the shorter time to the longer, and not from {from} to {to}."));
            }
        }
        match &self.deliver_to {
            Some(url) if !is_http(url) => Err(format!("deliver_to is an http address, and not {url}.")),
            _ => Ok(self),
        }
    }
}

fn is_http(url: &str) -> bool {
    url.parse::<Uri>()
        .is_ok_and(|url| url.scheme_str() == Some("http") && url.host().is_some_and(|host| !host.is_empty()))
}

/// Two numbers with a hyphen between.
fn span(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once('-').ok_or("is not of the form FROM-TO")?;
    let number = |text: &str| text.trim().parse().map_err(|error| format!("{text}: {error}"));
    Ok((number(from)?, number(to)?))
}
