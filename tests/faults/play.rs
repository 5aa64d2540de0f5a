//! A seed is played: the stage is set, and after its faults everything is mended, and the world is let settle.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use lapin::BasicProperties;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use teamleader_simulator::{Config, Fault, FaultKind, Quirks, Simulator, Webhooks};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::inject::Ending;
use crate::plan::Plan;
use crate::report::dir_of;
use crate::servers::{CANCELLER, Servers, USERS};
use crate::slot::{Places, Slot};
use crate::stage::{ACCOUNT, Database, KEY, RESOURCES, Settings, found_within, program};
use crate::watch::Watch;

/// How long a request may take once nothing goes wrong any more. Two attempts to refresh (24 s each), a delay queue (10 s), the tries
/// of a request to the API (25 s) and reconnecting can add up; a request that is lost never ends.
const SETTLES_WITHIN: Duration = Duration::from_secs(150);

/// The integration's secret, which no log may hold.
pub const CLIENT_SECRET: &str = "the-secret-of-the-integration";

/// What happened, with the time: outlives the play, also when that ends in a panic.
pub type Story = Arc<Mutex<Vec<String>>>;

/// A request that was published.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its id.
    pub id: Uuid,
    /// What was sent.
    pub body: Value,
    /// Whether a reply was asked for.
    pub replies: bool,
    /// Whether a worker can understand it.
    pub well_formed: bool,
}

/// A seed that is played.
pub struct Play {
    /// What was drawn.
    pub plan: Plan,
    /// The Teamleader account.
    pub simulator: Simulator,
    /// The copy.
    pub database: Database,
    /// Requests and events.
    pub watch: Watch,
    /// Where the processes are.
    pub slots: Vec<Slot>,
    /// What was asked for.
    pub published: Vec<Published>,
    /// Those that somebody has asked to end.
    pub cancelled: Vec<Uuid>,
    /// When the account last changed.
    pub last_change: DateTime<Utc>,
    /// Whether refresh tokens were revoked.
    pub revoked: bool,
    /// What happened, with the time.
    pub story: Story,
    /// Whether something was violated.
    pub failed: bool,
    /// Where the logs are.
    pub dir: PathBuf,
    pub(crate) servers: Servers,
    begun: DateTime<Utc>,
    ids: Vec<Uuid>,
    users: u32,
    pub(crate) endings: Vec<(DateTime<Utc>, Ending)>,
    pub(crate) restarting: Option<JoinHandle<()>>,
    cancelling: Vec<JoinHandle<()>>,
}

impl Play {
    /// Sets the stage of a plan, with workers that wait for requests.
    pub async fn set(name: &str, plan: Plan, servers: &Servers, story: Story) -> Self {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/faults").join(dir_of(name));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let config = Config {
            rate_limit: 1_000_000,
            client_secret: CLIENT_SECRET.to_owned(),
            seed: plan.contacts as u64,
            quirks: plan.quirks.clone(),
            ..Config::scaled(plan.contacts)
        };
        let simulator = Simulator::start(config, ([127, 0, 0, 1], 0).into()).await.unwrap();
        let (database, watch) = (Database::create_on(&servers.database).await, Watch::begin(&servers.broker).await);
        let settings = Settings::from([
            ("AMQP_PREFIX", watch.prefix.clone()),
            ("TEAMLEADER_ACCOUNT", ACCOUNT.to_owned()),
            ("TEAMLEADER_CLIENT_ID", "client".to_owned()),
            ("TEAMLEADER_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
            ("TEAMLEADER_REFRESH_TOKEN", simulator.grant().refresh_token),
            ("TEAMLEADER_RESOURCES", RESOURCES.join(",")),
            ("INCREMENTAL_WINDOW", "off".to_owned()),
            ("TOKEN_ENCRYPTION_KEY", KEY.to_owned()),
            ("SYNC_SLICE", "1s".to_owned()),
            // Hardly more than the grain of the API's clock: what a watermark passes over is not read again by chance.
            ("SYNC_LOOKBACK", format!("{}s", 2 + plan.quirks.list_lag_seconds)),
            ("SYNC_CONCURRENCY", plan.concurrency.to_string()),
            ("WEBHOOK_URL", "https://hooks.example.com".to_owned()),
            ("NO_PROXY", "127.0.0.1".to_owned()),
            ("RUST_LOG", "info,teamleader2db=debug,lapin=off,sqlx=warn".to_owned()),
        ]);
        let api = simulator.url();
        let places = Places {
            broker: authority(&servers.broker),
            database: authority(&servers.database),
            api: authority(&api),
            database_name: database.name(),
        };
        let mut slots = Vec::new();
        for number in 0..plan.workers {
            slots.push(Slot::new(number, &settings, &places).await);
        }
        let deliver_to = slots.first().map(Slot::http);
        simulator.set_webhooks(Webhooks { deliver_to, ..plan.webhooks.clone() });
        let ids = plan.requests.iter().map(|_| Uuid::new_v4()).collect();
        let mut play = Self {
            plan,
            simulator,
            database,
            watch,
            slots,
            published: Vec::new(),
            cancelled: Vec::new(),
            cancelling: Vec::new(),
            last_change: DateTime::UNIX_EPOCH,
            revoked: false,
            failed: false,
            story,
            dir,
            servers: servers.clone(),
            begun: Utc::now(),
            ids,
            users: 0,
            endings: Vec::new(),
            restarting: None,
        };
        play.start(0);
        assert!(play.slots[0].answers().await, "the first worker does not come up");
        // After the first has made the schema, and before anybody writes.
        sqlx::raw_sql(include_str!("fence.sql")).execute(&play.database.pool).await.unwrap();
        (1..play.slots.len()).for_each(|number| play.start(number));
        play
    }

    /// Every answer of the API comes late, so that there is time for something to go wrong.
    pub fn slow_down(&self) {
        let milliseconds = self.plan.latency_ms;
        self.simulator.inject(Fault::new(FaultKind::Latency { milliseconds }));
    }

    /// Starts a process where none is.
    pub fn start(&mut self, worker: usize) {
        if !self.slots[worker].is_alive() {
            self.users += 1;
            assert!(self.users <= USERS, "no seed needs so many processes");
            self.slots[worker].start(&format!("worker_{}", self.users), &self.dir);
        }
    }

    /// Publishes a request of the plan.
    pub async fn publish(&mut self, number: usize) {
        let asked = &self.plan.requests[number];
        let id = self.ids[number];
        let mode = if asked.full { "full" } else { "incremental" };
        let body = json!({ "request_id": id, "mode": mode, "refetch": asked.refetch });
        let replies = asked.replies;
        self.ask(id, body, replies).await;
    }

    /// Publishes a request.
    pub async fn ask(&mut self, id: Uuid, body: Value, replies: bool) {
        let mut properties = BasicProperties::default().with_correlation_id(id.to_string().into());
        if replies {
            properties = properties.with_reply_to(self.watch.reply_queue().into());
        }
        self.watch.publish(&body, properties).await;
        if !self.published.iter().any(|earlier| earlier.id == id) {
            self.published.push(Published { id, body, replies, well_formed: true });
        }
    }

    /// Somebody cancels a request of the plan, published or not, by the command. `dies_ms`: it is killed after so long.
    pub fn cancel(&mut self, number: usize, dies_ms: Option<u64>) {
        let id = self.ids[number];
        self.cancelled.push(id);
        let url = format!("postgres://{CANCELLER}@{}/{}", authority(&self.servers.database), self.database.name());
        let settings = Settings::from([("DATABASE_URL", url), ("TEAMLEADER_ACCOUNT", ACCOUNT.to_owned())]);
        self.cancelling.push(tokio::task::spawn_blocking(move || {
            let mut command = program(&settings);
            command.args(["cancel", &id.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
            let mut process = command.spawn().expect("the program can be run");
            if let Some(ms) = dies_ms {
                std::thread::sleep(Duration::from_millis(ms));
                let _ = process.kill();
            }
            let _ = process.wait();
        }));
    }

    /// Waits until a server that is being restarted is back.
    pub async fn await_restart(&mut self) {
        if let Some(restarting) = self.restarting.take() {
            restarting.await.expect("the server comes back");
        }
    }

    /// Mends everything, and waits until each request has its final event. What is still without one is told.
    pub async fn settle(&mut self) -> Vec<String> {
        self.await_restart().await;
        for cancelling in std::mem::take(&mut self.cancelling) {
            cancelling.await.expect("the command ends");
        }
        self.note("Nothing goes wrong any more".to_owned());
        self.endings.clear();
        self.simulator.clear_faults();
        self.simulator.stop_changing();
        // For good are only those quirks with which a copy can be equal at once, deletions included.
        let (unstable_order, list_lag_seconds, date_offset_seconds) = (false, 0, 0);
        let quirks = Quirks { unstable_order, list_lag_seconds, date_offset_seconds, ..self.plan.quirks.clone() };
        self.simulator.set_quirks(quirks);
        self.simulator.set_access_token_ttl(Duration::from_secs(3600));
        if self.last_change == DateTime::<Utc>::MAX_UTC {
            self.last_change = Utc::now();
        }
        for worker in 0..self.slots.len() {
            self.slots[worker].heal();
        }
        let unended = self.await_final_events(SETTLES_WITHIN).await;
        self.note("Every request has its final event, or none comes".to_owned());
        unended
    }

    /// Waits until each request has its final event, and does meanwhile what people and supervisors do.
    async fn await_final_events(&mut self, deadline: Duration) -> Vec<String> {
        let until = Utc::now() + deadline;
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            for worker in 0..self.slots.len() {
                self.start(worker);
            }
            let waiting = self.without_final_event();
            if waiting.is_empty() || Utc::now() >= until {
                return waiting;
            }
            self.authorize_if_asked().await;
        }
    }

    /// Waits until all webhooks have come and each record that they name was looked at, but for those whose next look
    /// is not due. Returns what is still waited for then.
    pub async fn await_hints(&mut self) -> Vec<String> {
        let due = "select count(*) from teamleader2db.hint where served_at is null and not_before <= now()";
        let waiting = async || {
            let calls = self.simulator.webhook_counts().pending;
            (calls, column::<i64>(&self.database, due).await[0], self.watch.ready(&self.watch.requests_queue()).await)
        };
        let served = async || (waiting().await == (0, 0, Some(0))).then_some(());
        if found_within(SETTLES_WITHIN, Duration::from_millis(100), served).await.is_some() {
            return Vec::new();
        }
        vec![format!("hints: calls on their way, hints that are due, messages in the queue: {:?}", waiting().await)]
    }

    /// Requests that have no final event yet, in words.
    pub fn without_final_event(&self) -> Vec<String> {
        let lacking =
            self.published.iter().filter(|published| !self.watch.is_answered(published.id, published.replies));
        lacking.map(|published| format!("the request {} has no final event", published.id)).collect()
    }

    /// Authorizes the account where the worker says that a person has to.
    pub async fn authorize_if_asked(&mut self) {
        let state = sqlx::query_scalar("select state from teamleader2db.oauth_token");
        let state: Option<String> = state.fetch_optional(&self.database.pool).await.ok().flatten();
        if state.as_deref() != Some("reauthorization_required") {
            return;
        }
        for worker in 0..self.slots.len() {
            if !self.slots[worker].is_frozen() && self.slots[worker].authorize().await {
                self.note("A person has authorized the account".to_owned());
                return;
            }
        }
    }

    /// Another sync of everything, with nothing in its way.
    pub async fn sync_once_more(&mut self, mode: &str) -> Result<(), Vec<String>> {
        let id = Uuid::new_v4();
        let body = json!({ "request_id": id, "mode": mode, "allow_deletions": true });
        self.ask(id, body, false).await;
        let unended = self.await_final_events(SETTLES_WITHIN).await;
        if !unended.is_empty() {
            return Err(unended);
        }
        let events = Watch::final_events_of(id, self.watch.events());
        match events.first() {
            Some(event) if event.kind() == "sync.completed" => Ok(()),
            event => Err(vec![format!("the last {mode} sync did not complete: {:?}", event.map(|event| &event.body))]),
        }
    }

    /// What happened now.
    pub fn note(&mut self, what: String) {
        let seconds = (Utc::now() - self.begun).as_seconds_f64();
        self.story.lock().unwrap().push(format!("{seconds:7.2} s  {what}"));
    }

    /// Ends all processes, and deletes what was made for the seed, but what tells what happened where something was violated, or where
    /// that is asked for. Gives the number of processes that had ended by themselves.
    pub async fn strike(mut self, keep: bool) -> u32 {
        let ended_by_themselves = self.slots.iter().map(|slot| slot.ended_by_itself).sum();
        self.slots.clear();
        self.simulator.stop().await;
        self.watch.sweep().await;
        self.database.pool.close().await;
        if !keep && !self.failed {
            Database::drop(&self.servers.database, self.database.name()).await;
            let _ = std::fs::remove_dir_all(&self.dir);
        }
        ended_by_themselves
    }
}

/// Host and port of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").expect("a URL").1.split('/').next().expect("a part");
    rest.rsplit_once('@').map_or(rest, |(_, address)| address)
}

/// Numbers and texts of the database that the suite asks for, with the query in the message when it fails.
pub async fn column<T>(database: &Database, sql: &str) -> Vec<T>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let rows = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&database.pool).await;
    rows.unwrap_or_else(|error| panic!("{sql}: {error}"))
}
