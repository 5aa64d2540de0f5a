//! What a test plays on: a simulated account, a database, exchanges and queues, and workers, all of the test's own.
//!
//! Shared by the integration tests, the fault suite and the hostile suite.

// Each of them uses a part of it.
#![allow(dead_code, unused_imports)]

mod broker;
mod cable;
mod database;
mod own_broker;
mod own_postgres;
mod prometheus;
mod proxy;
mod raw_amqp;
mod recorder;
mod schemas;
mod waiting;
mod worker;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use lapin::BasicProperties;
use serde_json::Value;
use teamleader_simulator::{Config, Fault, FaultKind, Simulator, contract};
use uuid::Uuid;

pub use broker::{ACCOUNT, Broker, Event};
pub use cable::{Cable, Stalled};
pub use database::{Database, storable};
pub use own_broker::OwnBroker;
pub use own_postgres::{OwnPostgres, PgBouncer};
pub use prometheus::Prometheus;
pub use proxy::{Asked, Fields, proxy, proxy_of_answers, with_records};
pub use raw_amqp::{Property, RawProperties, RawPublisher, entry, long_string, nested_arrays, short_string};
pub use recorder::Recorder;
pub use waiting::{found_within, until};
pub use worker::{Ended, Measured, Settings, Watcher, Worker, path, program, run};

/// The resources that most tests sync; those of `whole_api` sync all.
pub const RESOURCES: [&str; 8] =
    ["companies", "contacts", "customFieldDefinitions", "departments", "events", "invoices", "projects", "users"];

/// Resources that take a list for each parent record.
pub const CHILDREN: [&str; 10] = [
    "users.daysOff",
    "tickets.messages",
    "projects-v2/projectLines",
    "notes",
    "emailTracking",
    "files",
    "incomingInvoices.payments",
    "incomingCreditNotes.payments",
    "receipts.payments",
    "bookkeepingSubmissions",
];

/// What has no list: expenses name these.
pub const INCOMING: [&str; 3] = ["incomingInvoices", "incomingCreditNotes", "receipts"];

/// Every resource that there is: what the blueprint lists, but for webhooks.
pub fn all_resources() -> Vec<String> {
    let lists = contract::endpoints().keys().filter(|endpoint| *endpoint != "webhooks.list").filter_map(|endpoint| {
        let (of, what) = endpoint.split_once(".list")?;
        let (first, rest) = what.split_at_checked(1).unwrap_or_default();
        Some(if what.is_empty() { of.to_owned() } else { format!("{of}.{}{rest}", first.to_lowercase()) })
    });
    lists.chain(INCOMING.map(str::to_owned)).collect()
}

/// The resources whose `.info` is asked for.
pub const DETAILED: [&str; 6] = ["companies", "contacts", "departments", "invoices", "projects", "users"];

/// 32 bytes of zeros: there is nothing to protect here.
pub const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// What a test plays on. On success its database and queues are deleted.
pub struct Stage {
    /// The Teamleader account.
    pub simulator: Simulator,
    /// The copy of it.
    pub database: Database,
    /// Requests and events.
    pub broker: Broker,
    settings: Settings,
    workers: Mutex<u32>,
}

impl Stage {
    /// An account of a few records of everything, authorized.
    pub async fn small() -> Self {
        Self::with(Config::default()).await
    }

    /// An account of `contacts` contacts, and of everything else in proportion, authorized.
    pub async fn of(contacts: usize) -> Self {
        Self::with(Config::scaled(contacts)).await
    }

    /// Another account, authorized. Its rate limit is out of the way.
    pub async fn with(config: Config) -> Self {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = Config { rate_limit: 1_000_000, ..config };
        let (client_id, client_secret) = (config.client_id.clone(), config.client_secret.clone());
        let simulator = Simulator::start(config, ([127, 0, 0, 1], 0).into()).await.unwrap();
        let (database, broker) = (Database::migrated().await, Broker::at(&from_make("AMQP_URL")).await);
        let settings = Settings::from([
            ("DATABASE_URL", database.url.clone()),
            ("AMQP_URL", broker.url.clone()),
            ("AMQP_PREFIX", broker.prefix.clone()),
            ("TEAMLEADER_ACCOUNT", ACCOUNT.to_owned()),
            ("TEAMLEADER_CLIENT_ID", client_id),
            ("TEAMLEADER_CLIENT_SECRET", client_secret),
            ("TEAMLEADER_API_URI", simulator.url()),
            ("TEAMLEADER_AUTH_URI", simulator.url()),
            ("TEAMLEADER_REFRESH_TOKEN", simulator.grant().refresh_token),
            ("TEAMLEADER_RESOURCES", RESOURCES.join(",")),
            ("INCREMENTAL_WINDOW", "off".to_owned()),
            ("TOKEN_ENCRYPTION_KEY", KEY.to_owned()),
            ("NO_PROXY", "127.0.0.1".to_owned()),
            ("RUST_LOG", "info,teamleader2db=debug,lapin=off,sqlx=warn".to_owned()),
        ]);
        Self { simulator, database, broker, settings, workers: Mutex::new(0) }
    }

    /// The workers to come sync every resource that there is.
    pub fn of_everything(mut self) -> Self {
        self.set("TEAMLEADER_RESOURCES", &format!("all,{}", CHILDREN.join(",")));
        self
    }

    /// The database is as its owner made it: nothing has migrated it.
    pub async fn on_an_empty_database(mut self) -> Self {
        let migrated = std::mem::replace(&mut self.database, Database::create().await);
        Database::drop(&from_make("DATABASE_URL"), migrated.name()).await;
        self.settings.insert("DATABASE_URL", self.database.url.clone());
        self
    }

    /// Requests and events go through another broker than that of `make test`.
    pub async fn at_broker(mut self, url: &str) -> Self {
        self.broker = Broker::at(url).await;
        self.settings.insert("AMQP_URL", self.broker.url.clone());
        self.settings.insert("AMQP_PREFIX", self.broker.prefix.clone());
        self
    }

    /// The account was never authorized.
    pub fn unauthorized(mut self) -> Self {
        self.settings.remove("TEAMLEADER_REFRESH_TOKEN");
        self
    }

    /// Another setting for the workers and commands to come; gives the one that it takes the place of.
    pub fn set(&mut self, name: &'static str, value: &str) -> Option<String> {
        self.settings.insert(name, value.to_owned())
    }

    /// Puts a setting back as it was.
    pub fn restore(&mut self, name: &'static str, earlier: Option<String>) {
        match earlier {
            Some(value) => self.settings.insert(name, value),
            None => self.settings.remove(name),
        };
    }

    /// A setting of the workers and commands.
    pub fn setting(&self, name: &str) -> &str {
        &self.settings[name]
    }

    /// The workers to come reach the broker through a cable that can be cut.
    pub async fn cable_to_broker(&mut self) -> Cable {
        let cable = Cable::to(&self.broker.authority()).await;
        let url = self.broker.url.replacen(&self.broker.authority(), &cable.address, 1);
        self.set("AMQP_URL", &url);
        cable
    }

    /// Starts a worker, and waits until its HTTP server answers.
    pub async fn worker(&self) -> Worker {
        Worker::start(&self.worker_settings(), self.log()).await
    }

    /// Starts a worker that may die as soon as it begins, and waits until its HTTP server answers or it is dead.
    pub async fn mortal_worker(&self) -> Worker {
        Worker::start_mortal(&self.worker_settings(), self.log()).await
    }

    /// Starts a worker whose database is away, and waits until its HTTP server answers.
    pub async fn worker_without_database(&self) -> Worker {
        Worker::start_without_database(&self.worker_settings(), self.log()).await
    }

    /// Starts a worker with another address for its HTTP server; it may as well refuse to start.
    pub fn worker_that_listens_at(&self, address: &str) -> Worker {
        let mut settings = self.worker_settings();
        settings.insert("HTTP_LISTEN", address.to_owned());
        Worker::spawn(&settings, self.log())
    }

    fn worker_settings(&self) -> Settings {
        let mut settings = self.settings.clone();
        // An address of its own, unless the test wants the same for all.
        let address = self.settings.get("HTTP_LISTEN").cloned();
        let address = address.unwrap_or_else(|| format!("127.0.0.1:{}", free_port()));
        settings.insert("TEAMLEADER_REDIRECT_URI", format!("http://{address}/sync/oauth"));
        settings.insert("HTTP_LISTEN", address);
        settings
    }

    fn log(&self) -> PathBuf {
        let mut workers = self.workers.lock().unwrap();
        *workers += 1;
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{workers}.log", self.broker.prefix))
    }

    /// Runs a command of the program to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        let mut settings = self.settings.clone();
        if arguments.first() == Some(&"worker") {
            // Beside the workers of other tests.
            settings.entry("HTTP_LISTEN").or_insert_with(|| format!("127.0.0.1:{}", free_port()));
        }
        worker::run(&settings, arguments).await
    }

    /// Runs a command until it has written a line to standard output, and then closes that.
    pub async fn run_for_a_line(&self, arguments: &[&str]) -> Ended {
        worker::run_for_a_line(&self.settings, arguments).await
    }

    /// Runs a command to its end, and measures it; what it writes is not stored.
    pub async fn run_measured(&self, arguments: &[&str]) -> Measured {
        worker::run_measured(&self.settings, arguments).await
    }

    /// Starts a command that goes on until a signal ends it.
    pub fn watch(&self, arguments: &[&str]) -> Watcher {
        Watcher::start(&self.settings, arguments, &self.log())
    }

    /// Publishes a request with a new id, and gives the id.
    pub async fn request(&self, body: Value) -> Uuid {
        let id = Uuid::new_v4();
        self.request_again(id, body, BasicProperties::default()).await;
        id
    }

    /// Publishes a request with this id.
    pub async fn request_again(&self, id: Uuid, mut body: Value, properties: BasicProperties) {
        body["request_id"] = id.to_string().into();
        self.broker.publish(body.to_string().as_bytes(), properties).await;
    }

    /// The final event of a request, once it comes.
    pub async fn final_event(&self, id: Uuid) -> Event {
        until(&format!("the request {id} has its final event"), async || self.final_events(id).into_iter().next()).await
    }

    /// The same of a request that takes long, as long as it takes; its test has no deadline but that of the run of the
    /// tests.
    pub async fn ended(&self, id: Uuid) -> Event {
        let hours = Duration::from_secs(6 * 3600);
        let event = found_within(hours, Duration::from_millis(200), async || self.final_events(id).into_iter().next());
        event.await.unwrap_or_else(|| panic!("the request {id} has no final event"))
    }

    /// The final event of this kind of a request, once it comes.
    pub async fn final_event_of_kind(&self, id: Uuid, kind: &str) -> Event {
        let find = async || self.final_events(id).into_iter().find(|event| event.kind() == kind);
        until(&format!("the request {id} has its event {kind}"), find).await
    }

    /// The final events of a request that have come so far to the events exchange, each once: two workers may both send
    /// the events of the outbox.
    pub fn final_events(&self, id: Uuid) -> Vec<Event> {
        let id = id.to_string();
        let mut events = self.broker.events_that(|event| event.is_final() && event.subject() == id);
        events.sort_by(|one, other| one.id().cmp(other.id()));
        events.dedup_by(|one, other| one.id() == other.id());
        events
    }

    /// Publishes a request, waits for its end, and asserts that it is `completed`.
    pub async fn complete(&self, body: Value) -> Event {
        let id = self.request(body).await;
        self.completed(id).await
    }

    /// Waits for the end of a request, and asserts that it is `completed`.
    pub async fn completed(&self, id: Uuid) -> Event {
        let event = self.final_event(id).await;
        assert_eq!(event.kind(), "sync.completed", "{}", event.body);
        event
    }

    /// The events of this kind that have come so far.
    pub fn events_of_kind(&self, kind: &str) -> Vec<Event> {
        self.broker.events_that(|event| event.kind() == kind)
    }

    /// Makes every answer of an endpoint late, so that a run takes long enough to meddle with it.
    pub fn slow_down(&self, endpoint: &str, milliseconds: u64) {
        self.simulator.inject(Fault::new(FaultKind::Latency { milliseconds }).at(endpoint));
    }

    /// How often an endpoint was asked.
    pub fn asked(&self, endpoint: &str) -> u64 {
        self.simulator.counters().requests.get(endpoint).copied().unwrap_or(0)
    }

    /// Waits until an endpoint was asked so often.
    pub async fn await_asked(&self, endpoint: &str, times: u64) {
        until(&format!("{endpoint} was asked {times} times"), async || (self.asked(endpoint) >= times).then_some(()))
            .await;
    }

    /// How often all lists together were asked.
    pub fn lists_asked(&self) -> u64 {
        RESOURCES.iter().map(|resource| self.asked(&format!("{resource}.list"))).sum()
    }

    /// How often all details together were asked.
    pub fn details_asked(&self) -> u64 {
        RESOURCES.iter().map(|resource| self.asked(&format!("{resource}.info"))).sum()
    }

    /// How many records have details.
    pub fn details(&self) -> u64 {
        DETAILED.iter().map(|resource| self.simulator.count(resource) as u64).sum()
    }

    /// Asserts that the tables hold what the account holds.
    pub async fn assert_copy_is_equal(&self) {
        self.database.assert_equals(&self.simulator).await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let (name, prefix) = (self.database.name().to_owned(), self.broker.prefix.clone());
        let (server, broker) = (from_make("DATABASE_URL"), self.broker.url.clone());
        if std::thread::panicking() {
            eprintln!("--- the database {name} and the queues {prefix}.* are left, to be looked into");
            return;
        }
        eprintln!("messages that are as docs/schemas says: {}", self.broker.assert_messages_fit());
        // The test's own runtime cannot wait any more.
        let sweeping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let sweep = async { tokio::join!(Database::drop(&server, &name), Broker::sweep(&broker, &prefix)) };
            let _ = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), sweep).await });
        });
        let _ = sweeping.join();
    }
}

/// A variable that `make test` sets.
pub fn from_make(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `make test`, which starts a private PostgreSQL and RabbitMQ for the tests")
    })
}

/// A port that nobody listens on, below the range from which the kernel takes the ports of outgoing connections.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap();
    loop {
        let port = 20_000 + u16::try_from(Uuid::new_v4().as_u128() % 12_000).unwrap();
        if !given.contains(&port) && std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
}
