//! A place for one process of the worker at a time, with cables of its own to the three servers, and what was done to
//! it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::plan::{Link, Way};
use crate::stage::{Cable, Settings, Stalled, Worker, found_within, free_port};

/// How long an orderly end may take: the worker's own limit is 28 s.
const LONGEST_END: Duration = Duration::from_secs(35);

/// The place.
pub struct Slot {
    number: usize,
    settings: Settings,
    broker: Cable,
    database: Cable,
    /// The API and the token endpoint.
    pub api: Cable,
    database_name: String,
    process: Option<Worker>,
    frozen_since: Option<DateTime<Utc>>,
    api_stalled_since: Option<DateTime<Utc>>,
    /// Where all processes of this place have logged.
    pub logs: Vec<PathBuf>,
    /// What was done to it that can cost it an answer.
    pub harms: Vec<Harm>,
    /// How often a process ended that nobody had ended.
    pub ended_by_itself: u32,
}

/// What can cost a worker an answer of the token endpoint, and from when to when.
#[derive(Clone, Copy, Debug)]
pub struct Harm {
    /// What.
    pub kind: HarmKind,
    /// Since when.
    pub from: DateTime<Utc>,
    /// Until when.
    pub to: DateTime<Utc>,
}

/// What can cost a worker an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HarmKind {
    /// Its process ended.
    Ended,
    /// Its process was paused.
    Paused,
    /// Its cable to the API was cut or stalled.
    Api,
}

/// Where the servers are.
pub struct Places<'a> {
    /// Host and port of RabbitMQ.
    pub broker: &'a str,
    /// Host and port of PostgreSQL.
    pub database: &'a str,
    /// Host and port of the simulator.
    pub api: &'a str,
    /// The name of the database.
    pub database_name: &'a str,
}

impl Slot {
    /// Lays the cables. `settings` are those that all processes of the seed share.
    pub async fn new(number: usize, settings: &Settings, places: &Places<'_>) -> Self {
        let (broker, database) = (Cable::to(places.broker).await, Cable::to(places.database).await);
        let api = Cable::to(places.api).await;
        let mut settings = settings.clone();
        let http = format!("127.0.0.1:{}", free_port());
        // A short heartbeat, so that the broker notices within seconds that a worker is frozen.
        settings.insert("AMQP_URL", format!("amqp://guest:guest@{}/%2f?heartbeat=2", broker.address));
        settings.insert("TEAMLEADER_API_URI", format!("http://{}", api.address));
        settings.insert("TEAMLEADER_AUTH_URI", format!("http://{}", api.address));
        settings.insert("TEAMLEADER_REDIRECT_URI", format!("http://{http}/sync/oauth"));
        settings.insert("HTTP_LISTEN", http);
        Self {
            number,
            settings,
            broker,
            database,
            api,
            database_name: places.database_name.to_owned(),
            process: None,
            frozen_since: None,
            api_stalled_since: None,
            logs: Vec::new(),
            harms: Vec::new(),
            ended_by_itself: 0,
        }
    }

    /// Where its processes listen for HTTP.
    pub fn http(&self) -> String {
        format!("http://{}", self.settings["HTTP_LISTEN"])
    }

    /// Starts a process as this user of the database.
    pub fn start(&mut self, user: &str, dir: &Path) {
        assert!(self.process.is_none(), "the place is taken");
        let url = format!("postgres://{user}@{}/{}", self.database.address, self.database_name);
        self.settings.insert("DATABASE_URL", url);
        let log = dir.join(format!("{}-{user}.log", self.number));
        self.process = Some(Worker::spawn(&self.settings, log.clone()).keeping_log());
        self.logs.push(log);
    }

    /// Whether a process is there. One that has ended by itself is noted, and is not.
    pub fn is_alive(&mut self) -> bool {
        let ended = self.process.as_mut().is_some_and(|process| process.ended().is_some());
        if ended {
            self.process = None;
            self.frozen_since = None;
            self.ended_by_itself += 1;
            self.harm(HarmKind::Ended, Utc::now() - TimeDelta::seconds(1));
        }
        self.process.is_some()
    }

    /// Whether it is stopped.
    pub fn is_frozen(&self) -> bool {
        self.frozen_since.is_some()
    }

    /// Waits until the process answers over HTTP, and its database is ready.
    pub async fn answers(&mut self) -> bool {
        let process = self.process.as_ref().expect("a process");
        found_within(Duration::from_secs(60), Duration::from_millis(50), async || {
            let asked = process.request(reqwest::Method::GET, "/health/live").timeout(Duration::from_secs(2)).send();
            let answers = asked.await.ok()?.status().is_success();
            (answers && process.log().contains("The database is ready")).then_some(())
        })
        .await
        .is_some()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let from = Utc::now();
        if let Some(mut process) = self.process.take() {
            process.kill();
            self.frozen_since = None;
            self.harm(HarmKind::Ended, from);
        }
    }

    /// SIGTERM, and kill -9 if that does not help. False: it did not.
    pub async fn terminate(&mut self) -> bool {
        self.thaw();
        let from = Utc::now();
        let Some(mut process) = self.process.take() else { return true };
        process.ask_to_end();
        let ended = found_within(LONGEST_END, Duration::from_millis(20), async || process.ended()).await;
        process.kill();
        self.harm(HarmKind::Ended, from);
        ended.is_some()
    }

    /// SIGSTOP.
    pub fn freeze(&mut self) {
        if let (true, Some(process)) = (!self.is_frozen(), &self.process) {
            process.freeze();
            self.frozen_since = Some(Utc::now());
        }
    }

    /// SIGCONT.
    pub fn thaw(&mut self) {
        if let (Some(since), Some(process)) = (self.frozen_since.take(), &self.process) {
            process.thaw();
            self.harm(HarmKind::Paused, since);
        }
    }

    /// Ends all connections of a cable.
    pub fn cut(&mut self, link: Link) -> usize {
        if link == Link::Api {
            self.harm(HarmKind::Api, Utc::now());
        }
        self.cable(link).cut()
    }

    /// Ends all connections to the broker, for the broker alone.
    pub fn deafen(&mut self) -> usize {
        self.cable(Link::Broker).cut_far_end()
    }

    /// Lets a cable carry nothing one way, or either.
    pub fn stall(&mut self, link: Link, way: Way) {
        let stalled = Stalled { there: way != Way::Back, back: way != Way::There };
        if link == Link::Api {
            self.api_stalled_since.get_or_insert_with(Utc::now);
        }
        self.cable(link).stall(stalled);
    }

    /// Lets it carry everything again.
    pub fn go_on(&mut self, link: Link) {
        self.cable(link).stall(Stalled::default());
        if link == Link::Api
            && let Some(since) = self.api_stalled_since.take()
        {
            self.harm(HarmKind::Api, since);
        }
    }

    /// Whether the database can be reached.
    pub fn set_database_away(&self, away: bool) {
        self.database.set_away(away);
    }

    /// Everything flows, and whoever is there runs.
    pub fn heal(&mut self) {
        for link in [Link::Broker, Link::Database, Link::Api] {
            self.go_on(link);
        }
        self.set_database_away(false);
        self.thaw();
    }

    /// Authorizes as a person does in the browser. False: it did not come to a good end.
    pub async fn authorize(&self) -> bool {
        let Some(process) = &self.process else { return false };
        let asked = process.request(reqwest::Method::GET, "/sync/authorize").timeout(Duration::from_secs(20));
        let Ok(answer) = asked.send().await else { return false };
        answer.text().await.is_ok_and(|text| text.trim() == "code accepted")
    }

    fn cable(&self, link: Link) -> &Cable {
        match link {
            Link::Broker => &self.broker,
            Link::Database => &self.database,
            Link::Api => &self.api,
        }
    }

    fn harm(&mut self, kind: HarmKind, from: DateTime<Utc>) {
        self.harms.push(Harm { kind, from, to: Utc::now() });
    }
}
