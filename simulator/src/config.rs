//! What a simulator starts with.

use std::collections::BTreeMap;
use std::time::Duration;

/// What a simulator starts with. The default is a small account for tests.
#[derive(Clone, Debug)]
pub struct Config {
    /// The same seed gives the same records, byte for byte.
    pub seed: u64,
    /// How many records of each resource; a resource that is missing has none.
    pub counts: BTreeMap<String, usize>,
    /// The integration's client id.
    pub client_id: String,
    /// The integration's client secret.
    pub client_secret: String,
    /// The redirect URI that the integration is registered with. Without one any URI is accepted.
    pub redirect_uri: Option<String>,
    /// How long an access token works. The real one works for an hour.
    pub access_token_ttl: Duration,
    /// How many requests a client may make in any window. The real limit is 200.
    pub rate_limit: u32,
    /// The length of the window. The real one is 60 seconds.
    pub rate_window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let counts = [
            ("companies", 10),
            ("contacts", 20),
            ("customFieldDefinitions", 40),
            ("departments", 3),
            ("events", 8),
            ("invoices", 10),
            ("projects", 6),
            ("users", 5),
        ];
        Self {
            seed: 1,
            counts: counts.map(|(resource, count)| (resource.to_owned(), count)).into(),
            client_id: "client".to_owned(),
            client_secret: "secret".to_owned(),
            redirect_uri: None,
            access_token_ttl: Duration::from_secs(3600),
            rate_limit: 200,
            rate_window: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// An account of the given number of contacts, and of everything else in proportion.
    pub fn scaled(contacts: usize) -> Self {
        let counts = [
            ("companies", contacts / 2),
            ("contacts", contacts),
            ("customFieldDefinitions", 40),
            ("departments", 4),
            ("events", contacts / 4),
            ("invoices", contacts / 2),
            ("projects", contacts / 10),
            ("users", contacts.clamp(1, 25)),
        ];
        Self { counts: counts.map(|(resource, count)| (resource.to_owned(), count)).into(), ..Self::default() }
    }
}
