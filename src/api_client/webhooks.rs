//! Webhooks: the addresses that Teamleader calls, and the endpoints that register them.

use ring::digest;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq as _;

use super::client::{ApiError, Client};
use crate::ids::Account;

/// The addresses for webhooks of an account: `<base>/webhooks/<account>/<secret>`. Calls are not signed: the secret is
/// all that distinguishes Teamleader's from others.
#[derive(Clone, Debug)]
pub struct Webhooks {
    /// By which Teamleader reaches the worker: `WEBHOOK_URL`, without a slash at the end.
    base: String,
    account: Account,
    /// The first is registered, all are accepted.
    secrets: Vec<SecretString>,
}

/// An address that is registered with Teamleader for an integration and account.
#[derive(Clone, Debug, Deserialize)]
pub struct Registered {
    /// It.
    pub url: String,
    /// The types that it is called for.
    #[serde(default)]
    pub types: Vec<String>,
}

/// Whose address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The worker's, the one that is to be registered.
    Current,
    /// The worker's, of a key that is no longer the first.
    Former,
    /// Below the worker's base and account, with a secret that no key gives.
    Unknown,
    /// Somebody else's.
    Other,
}

impl Webhooks {
    /// `secrets`: the first is registered.
    pub fn new(base: &str, account: Account, secrets: Vec<SecretString>) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), account, secrets }
    }

    /// The base.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The address to be registered. It holds the secret.
    pub fn address(&self) -> String {
        let secret = self.secrets.first().map(|secret| secret.expose_secret()).unwrap_or_default();
        format!("{}{secret}", self.prefix())
    }

    /// The address as it may be stored: its base, and a hash of its secret.
    pub fn fingerprint(&self) -> String {
        let hash = digest::digest(&digest::SHA256, self.address().as_bytes());
        let hash: String = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("{}{hash}", self.prefix())
    }

    /// Whether a call was sent to one of the addresses.
    pub fn accepts(&self, account: &str, secret: &str) -> bool {
        // Each is compared, however the one before it was.
        let is = |known: &SecretString| bool::from(known.expose_secret().as_bytes().ct_eq(secret.as_bytes()));
        let found = self.secrets.iter().filter(|known| is(known)).count() > 0;
        found && account == self.account.as_str()
    }

    /// Whose address this is.
    pub fn owner(&self, url: &str) -> Owner {
        let Some(secret) = url.strip_prefix(&self.prefix()) else { return Owner::Other };
        let place = self.secrets.iter().position(|known| known.expose_secret() == secret);
        match place {
            Some(0) => Owner::Current,
            Some(_) => Owner::Former,
            None => Owner::Unknown,
        }
    }

    /// An address as it may be shown.
    pub fn masked(&self, url: &str) -> String {
        match self.owner(url) {
            // What others put into theirs is unknown: nothing but the host is shown.
            Owner::Other => match reqwest::Url::parse(url) {
                Ok(url) => format!("{}://{}/…", url.scheme(), url.host_str().unwrap_or_default()),
                Err(_) => "…".to_owned(),
            },
            Owner::Current | Owner::Former | Owner::Unknown => format!("{}…", self.prefix()),
        }
    }

    fn prefix(&self) -> String {
        format!("{}/webhooks/{}/", self.base, self.account)
    }
}

impl Client {
    /// The addresses that are registered.
    pub async fn webhooks(&self) -> Result<Vec<Registered>, ApiError> {
        #[derive(Deserialize)]
        struct Envelope {
            data: Vec<Registered>,
        }
        let read = |body: &[u8]| {
            serde_json::from_slice::<Envelope>(body)
                .map(|envelope| envelope.data)
                // Its own words may show an address.
                .map_err(|_| "the answer is no list of addresses".to_owned())
        };
        self.raw("webhooks.list", &json!({}), read).await
    }

    /// Registers an address for these types, beside those that it has.
    pub async fn register_webhook(&self, url: &str, types: &[&str]) -> Result<(), ApiError> {
        self.raw("webhooks.register", &json!({ "url": url, "types": types }), |_| Ok(())).await
    }

    /// Takes these types from an address.
    pub async fn unregister_webhook(&self, url: &str, types: &[String]) -> Result<(), ApiError> {
        self.raw("webhooks.unregister", &json!({ "url": url, "types": types }), |_| Ok(())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhooks() -> Webhooks {
        let account = "acme".parse().expect("a name");
        Webhooks::new("https://sync.example.com/base/", account, vec!["first".into(), "second".into()])
    }

    #[test]
    fn the_first_secret_is_registered_and_all_are_accepted() {
        let webhooks = webhooks();
        assert_eq!(webhooks.address(), "https://sync.example.com/base/webhooks/acme/first");
        for (account, secret, accepted) in [
            ("acme", "first", true),
            ("acme", "second", true),
            ("acme", "third", false),
            ("acme", "", false),
            ("other", "first", false),
        ] {
            assert_eq!(webhooks.accepts(account, secret), accepted, "{account} {secret}");
        }
    }

    #[test]
    fn addresses_are_told_apart_and_shown_without_their_secrets() {
        let webhooks = webhooks();
        for (url, owner, shown) in [
            (
                "https://sync.example.com/base/webhooks/acme/first",
                Owner::Current,
                "https://sync.example.com/base/webhooks/acme/…",
            ),
            (
                "https://sync.example.com/base/webhooks/acme/second",
                Owner::Former,
                "https://sync.example.com/base/webhooks/acme/…",
            ),
            (
                "https://sync.example.com/base/webhooks/acme/old",
                Owner::Unknown,
                "https://sync.example.com/base/webhooks/acme/…",
            ),
            ("https://sync.example.com/base/webhooks/acme2/first", Owner::Other, "https://sync.example.com/…"),
            ("https://zap.example.org/hooks/7?key=hunter2", Owner::Other, "https://zap.example.org/…"),
            ("nonsense", Owner::Other, "…"),
        ] {
            assert_eq!((webhooks.owner(url), webhooks.masked(url).as_str()), (owner, shown), "{url}");
        }
        assert!(!format!("{webhooks:?}").contains("first"));
    }
}
