//! What belongs to one account: its queue, lease, tokens, budget, engine and state.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::Notify;
use uuid::Uuid;

use super::process::ProcessServices;
use crate::api_client::auth::Auth;
use crate::api_client::client::Client;
use crate::api_client::oauth::{Integration, OAuth};
use crate::api_client::rate_limit::Limiter;
use crate::api_client::webhooks::Webhooks;
use crate::broker::escrow::TokenQueue;
use crate::broker::reply_address::ReplyAddresses;
use crate::broker::topology::{Declare, Names};
use crate::ids::Account;
use crate::process::consumer_state::ConsumerState;
use crate::store::records::elsewhere::Elsewhere;
use crate::store::retention::Retention;
use crate::store::tokens::Tokens;
use crate::store::tokens::cipher::{Cipher, CipherError};
use crate::sync::engine::Engine;
use crate::sync::slice::Settings;
use crate::wake_up::WakeUp;
use crate::worker::Worker;
use crate::worker::dead_letters::DeadLetters;
use crate::worker::relay::Relay;
use crate::worker::replies::Replies;

/// What an account is set to.
#[derive(Debug)]
pub struct AccountConfig {
    /// Exchanges and queues.
    pub names: Names,
    /// Where replies may go.
    pub addresses: ReplyAddresses,
    /// Whether to make exchanges and queues.
    pub declare: Declare,
    /// The integration.
    pub integration: Integration,
    /// Seals tokens.
    pub cipher: Cipher,
    /// First refresh token of a new database.
    pub first_refresh_token: Option<SecretString>,
    /// Requests of each minute left to others.
    pub rate_reserve: u32,
    /// The bound of requests in flight.
    pub most_in_flight: usize,
    /// How runs are worked on.
    pub settings: Settings,
    /// How long rows are retained.
    pub retention: Retention,
    /// Where Teamleader reaches this server for webhooks, if they are wanted.
    pub webhook_url: Option<String>,
    /// How long after a change was found its call is late and not missed.
    pub webhook_patience: Duration,
}

impl AccountConfig {
    /// The addresses for webhooks. Their secrets follow from the keys that seal tokens, and from the account.
    fn webhooks(&self, account: &Account) -> Result<Option<Webhooks>, CipherError> {
        let Some(base) = &self.webhook_url else { return Ok(None) };
        let secrets = self.cipher.derived_secrets(&[b"webhook\0", account.as_str().as_bytes()])?;
        Ok(Some(Webhooks::new(base, account.clone(), secrets)))
    }
}

/// The parts that serve an account.
#[derive(Debug)]
pub(super) struct AccountServices {
    /// The account.
    pub(super) name: Account,
    /// Its tokens.
    pub(super) tokens: Tokens,
    /// The OAuth endpoints, with its integration.
    pub(super) oauth: OAuth,
    /// The API, with its token and budget.
    pub(super) client: Client,
    /// Whether this process consumes its queue.
    pub(super) consuming: ConsumerState,
    /// Works on its requests.
    pub(super) worker: Worker,
    /// Sends its events.
    pub(super) relay: Relay,
    /// Sends its replies.
    pub(super) replies: Replies,
    /// The addresses for webhooks, where they are wanted.
    pub(super) webhooks: Option<Arc<Webhooks>>,
    /// Notified when hints may have come.
    pub(super) hints_came: Arc<Notify>,
}

impl AccountServices {
    /// Makes them. Needs neither the database nor the broker.
    pub(super) fn new(config: &AccountConfig, process: &ProcessServices) -> anyhow::Result<Self> {
        let (pool, publisher, amqp_url) = (&process.pool, &process.publisher, &process.amqp_url);
        let name = config.settings.account.clone();
        let escrow = Arc::new(TokenQueue::new(amqp_url.clone(), publisher.clone(), &config.names));
        let tokens = Tokens::new(pool.clone(), name.clone(), config.cipher.clone(), Some(escrow));
        let oauth = OAuth::new(config.integration.clone())?;
        let auth = Auth::new(Arc::new(tokens.clone()), oauth.clone());
        let limiter = Limiter::new(config.rate_reserve);
        let client = Client::new(&config.integration, auth, limiter, config.most_in_flight)?;
        let replies_due = Arc::new(Notify::new());
        let relay = Relay::new(pool.clone(), publisher.clone(), config.names.clone(), replies_due.clone());
        let replier = process.replier.clone();
        let replies = Replies::new(pool.clone(), name.clone(), replier, config.addresses.clone(), replies_due);
        let consuming = ConsumerState::default();
        consuming.set_active(false);
        let holder = holder();
        let dead_letters = DeadLetters {
            amqp_url: amqp_url.clone(),
            names: config.names.clone(),
            pool: pool.clone(),
            publisher: publisher.clone(),
            relay: relay.clone(),
            addresses: config.addresses.clone(),
            holder: holder.clone(),
        };
        let webhooks = config.webhooks(&name)?.map(Arc::new);
        let hints_came = Arc::new(Notify::new());
        let engine = Engine {
            settings: config.settings.clone(),
            pool: pool.clone(),
            client: client.clone(),
            tokens: tokens.clone(),
            run_finished: process.run_finished.clone(),
            hints_came: hints_came.clone(),
            elsewhere: Elsewhere::default(),
            webhooks: webhooks.clone(),
        };
        let worker = Worker {
            dead_letters,
            amqp_url: amqp_url.clone(),
            names: config.names.clone(),
            declare: config.declare,
            pool: pool.clone(),
            tokens: tokens.clone(),
            publisher: publisher.clone(),
            relay: relay.clone(),
            addresses: config.addresses.clone(),
            engine,
            wake_up: WakeUp {
                pool: pool.clone(),
                publisher: publisher.clone(),
                names: config.names.clone(),
                audit_rate: config.settings.audit.map_or(0, |audit| audit.rate),
            },
            holder,
            consuming: consuming.clone(),
            panicked: Arc::default(),
        };
        Ok(Self { name, tokens, oauth, client, consuming, worker, relay, replies, webhooks, hints_came })
    }
}

/// Who holds the lease: host and process, for an operator who looks at it, and a number that no other process has,
/// since hosts and processes of several containers can have the same names.
fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} {} {}", host.trim(), std::process::id(), Uuid::new_v4().simple())
}
