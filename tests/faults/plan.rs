//! What a seed stands for: an account, requests, and what goes wrong when. Drawn before anything is started.

use std::fmt;

use teamleader_simulator::{FaultKind, Oddity, Quirks, Version, Webhooks};

use crate::dice::Dice;
use crate::servers::Server;

/// All that is drawn from a seed.
#[derive(Debug)]
pub struct Plan {
    /// How many contacts the account has; the rest is in proportion.
    pub contacts: usize,
    /// How late every answer of the API is.
    pub latency_ms: u64,
    /// How the API answers where that is uncertain.
    pub quirks: Quirks,
    /// Requests to the API in flight.
    pub concurrency: u64,
    /// How many processes of the worker there are at a time.
    pub workers: usize,
    /// The requests; the acts publish them.
    pub requests: Vec<Asked>,
    /// What happens, in this order.
    pub steps: Vec<Step>,
    /// What goes wrong with webhooks, which are always there.
    pub webhooks: Webhooks,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `full` instead of `incremental`.
    pub full: bool,
    /// Every detail is fetched again.
    pub refetch: bool,
    /// Asks for the final event in a queue, too.
    pub replies: bool,
}

/// An act and its moment.
#[derive(Debug)]
pub struct Step {
    /// So many requests to the API after the last step …
    pub requests: u64,
    /// … or so much later, whichever comes first: nobody asks the API while nobody can.
    pub patience_ms: u64,
    /// What happens.
    pub act: Act,
}

/// Where a cable of a worker leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// RabbitMQ.
    Broker,
    /// PostgreSQL.
    Database,
    /// The API and the token endpoint.
    Api,
}

/// Which way a stalled cable carries nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the server.
    There,
    /// To the worker.
    Back,
    /// Either.
    Both,
}

/// What hits a worker while it waits for a token pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// kill -9.
    Kill,
    /// SIGTERM.
    Terminate,
    /// Its connections to the broker end, and with them the slice that needs the pair.
    CutBroker,
    /// Its connections to the database end.
    CutDatabase,
    /// It cannot reach the database until the pair is escrowed; then kill -9.
    DatabaseAway,
}

/// What happens. `worker` counts from 0.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// A request is published, by its number.
    Publish(usize),
    /// The same request is published once more.
    PublishAgain(usize),
    /// Somebody cancels a request, by its number, published or not; `dies_ms`: and is killed after so long.
    Cancel { request: usize, dies_ms: Option<u64> },
    /// A message that no worker can understand.
    PublishMalformed,
    /// kill -9, and a new process after a while.
    Kill { worker: usize, down_ms: u64 },
    /// SIGTERM, and a new process after the old one has ended.
    Terminate { worker: usize },
    /// SIGSTOP, and SIGCONT after a while.
    Freeze { worker: usize, ms: u64 },
    /// SIGSTOP, and its connections to the broker end, so that another worker goes on with what it has in hand; SIGCONT after a while.
    CutOff { worker: usize, ms: u64 },
    /// Its connections to the broker end for the broker alone: another worker goes on, and this one does not know.
    Deafen { worker: usize },
    /// Access tokens are expired, the next answer of the token endpoint comes slowly, and while it comes its receiver is hit.
    AtRefresh { blow: Blow },
    /// A server is restarted; `now`: without an orderly stop.
    Restart { server: Server, now: bool },
    /// All connections over a cable end.
    Cut { worker: usize, link: Link },
    /// A cable carries nothing for a while.
    Stall { worker: usize, link: Link, way: Way, ms: u64 },
    /// The API answers so many requests to an endpoint or a resource wrongly.
    Api { kind: FaultKind, at: &'static str, times: u32 },
    /// The token endpoint does its work, but its answer is lost; all access tokens are expired, so that it is asked.
    LoseTokenAnswer,
    /// The token endpoint fails so often, and is asked.
    TokenFault { kind: FaultKind },
    /// Access tokens live so long from now on, and those that are there are expired.
    ShortTokens { seconds: u64 },
    /// All access tokens are expired.
    ExpireTokens,
    /// All refresh tokens are revoked; `expire`: the access tokens as well.
    Revoke { expire: bool },
    /// After every so many pages of these lists a record changes.
    ChangeWhilePaging { every: u32 },
    /// Records change.
    Change { count: usize },
    /// Calls come for so many records that have not changed.
    Storm { count: usize },
}

impl Plan {
    /// What this seed stands for.
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::of(seed);
        let workers = if dice.one_in(3) { 1 } else { 2 };
        let count = dice.from(2..=4) as usize;
        let requests: Vec<Asked> = (0..count)
            .map(|number| Asked {
                full: number > 0 && dice.one_in(2),
                refetch: dice.one_in(2),
                replies: dice.one_in(2),
            })
            .collect();
        let mut acts: Vec<Act> = (0..dice.from(3..=8)).map(|_| draw(&mut dice, workers)).collect();
        if dice.one_in(4) {
            acts.push(Act::PublishMalformed);
        }
        if dice.one_in(2) {
            let dies_ms = if dice.one_in(3) { Some(dice.from(0..=2_500)) } else { None };
            acts.push(Act::Cancel { request: dice.from(0..=count as u64 - 1) as usize, dies_ms });
        }
        acts.push(Act::PublishAgain(dice.from(0..=count as u64 - 1) as usize));
        shuffle(&mut acts, &mut dice);
        for number in (1..count).rev() {
            acts.insert(dice.from(0..=acts.len() as u64) as usize, Act::Publish(number));
        }
        acts.insert(0, Act::Publish(0));
        let mut steps: Vec<Step> = acts
            .into_iter()
            .map(|act| Step { requests: dice.from(0..=45), patience_ms: dice.from(100..=1_200), act })
            .collect();
        let contacts = dice.from(20..=130) as usize;
        let latency_ms = dice.from(15..=70);
        let quirks = if dice.one_in(3) { Quirks::default() } else { Quirks::random(seed) };
        let concurrency = dice.from(2..=8);
        // What webhooks announce: in every seed something changes.
        for _ in 0..dice.from(1..=3) {
            let act = if dice.one_in(3) {
                Act::Storm { count: dice.from(5..=60) as usize }
            } else {
                Act::Change { count: dice.from(1..=6) as usize }
            };
            let step = Step { requests: dice.from(0..=45), patience_ms: dice.from(100..=1_200), act };
            steps.insert(dice.from(1..=steps.len() as u64) as usize, step);
        }
        let webhooks = webhooks(&mut dice, seed);
        Self { contacts, latency_ms, quirks, concurrency, workers, requests, steps, webhooks }
    }

    /// An account and a worker, and nothing that goes wrong by itself.
    pub fn of_soak() -> Self {
        let (quirks, requests, steps) = (Quirks::default(), Vec::new(), Vec::new());
        let webhooks = Webhooks::default();
        Self { contacts: 100, latency_ms: 40, quirks, concurrency: 4, workers: 1, requests, steps, webhooks }
    }

    /// Whether the API has said of this resource, in an answer that looks like any other, what is not so. Nothing
    /// can see it then; the next syncs put it right, the last of which is a full one.
    pub fn is_lied_about(&self, resource: &str) -> bool {
        self.steps.iter().any(|step| match &step.act {
            Act::Api { kind, at, .. } => is_lie(kind) && at.split('.').next() == Some(resource),
            _ => false,
        })
    }

    /// Whether nothing keeps a run from completing but what it must get over by itself.
    pub fn must_complete(&self) -> bool {
        !self.steps.iter().any(|step| match &step.act {
            Act::Api { .. } | Act::ChangeWhilePaging { .. } | Act::TokenFault { .. } => true,
            Act::Stall { link, .. } => *link == Link::Api,
            _ => false,
        })
    }
}

#[derive(Clone, Copy)]
enum Draw {
    Kill,
    Freeze,
    CutOff,
    Deafen,
    Terminate,
    Broker,
    Database,
    Cut,
    Stall,
    Api,
    LoseTokenAnswer,
    TokenFault,
    AtRefresh,
    ShortTokens,
    ExpireTokens,
    Revoke,
    ChangeWhilePaging,
    Change,
}

/// How often each is drawn. What takes long is drawn seldom: restarts of the broker, and what ends in an attempt of 24 s to refresh.
const WEIGHTS: [(u64, Draw); 18] = [
    (6, Draw::Kill),
    (3, Draw::Freeze),
    (5, Draw::CutOff),
    (4, Draw::Deafen),
    (2, Draw::Terminate),
    (2, Draw::Broker),
    (3, Draw::Database),
    (4, Draw::Cut),
    (4, Draw::Stall),
    (5, Draw::Api),
    (1, Draw::LoseTokenAnswer),
    (1, Draw::TokenFault),
    (4, Draw::AtRefresh),
    (2, Draw::ShortTokens),
    (2, Draw::ExpireTokens),
    (1, Draw::Revoke),
    (3, Draw::ChangeWhilePaging),
    (3, Draw::Change),
];

fn draw(dice: &mut Dice, workers: usize) -> Act {
    let worker = dice.from(0..=workers as u64 - 1) as usize;
    let link = dice.pick(&[Link::Broker, Link::Database, Link::Api]);
    match dice.weighted(&WEIGHTS) {
        Draw::Kill => Act::Kill { worker, down_ms: dice.from(0..=1_500) },
        Draw::Freeze => Act::Freeze { worker, ms: dice.from(300..=6_000) },
        Draw::CutOff => Act::CutOff { worker, ms: dice.from(1_000..=4_000) },
        Draw::Deafen => Act::Deafen { worker },
        Draw::Terminate => Act::Terminate { worker },
        Draw::Broker => Act::Restart { server: Server::Rabbitmq, now: dice.one_in(2) },
        Draw::Database => Act::Restart { server: Server::Postgres, now: dice.one_in(2) },
        Draw::Cut => Act::Cut { worker, link },
        Draw::Stall => {
            Act::Stall { worker, link, way: dice.pick(&[Way::There, Way::Back, Way::Both]), ms: dice.from(300..=6_000) }
        }
        Draw::Api => api_fault(dice),
        Draw::LoseTokenAnswer => Act::LoseTokenAnswer,
        Draw::TokenFault => Act::TokenFault {
            kind: match dice.from(0..=3) {
                0 => FaultKind::ServerError { status: 503 },
                1 => FaultKind::ServerErrorHtml { status: 502 },
                2 => FaultKind::CutBeforeAnswer,
                _ => FaultKind::SlowBody { milliseconds: dice.from(500..=4_000) },
            },
        },
        Draw::AtRefresh => Act::AtRefresh {
            blow: dice.pick(&[Blow::Kill, Blow::Terminate, Blow::CutBroker, Blow::CutDatabase, Blow::DatabaseAway]),
        },
        Draw::ShortTokens => Act::ShortTokens { seconds: dice.from(1..=3) },
        Draw::ExpireTokens => Act::ExpireTokens,
        Draw::Revoke => Act::Revoke { expire: dice.one_in(2) },
        Draw::ChangeWhilePaging => Act::ChangeWhilePaging { every: dice.from(1..=2) as u32 },
        Draw::Change => Act::Change { count: dice.from(1..=8) as usize },
    }
}

/// How webhooks come: some are lost, late, repeated, out of order or forged.
fn webhooks(dice: &mut Dice, seed: u64) -> Webhooks {
    let share = |dice: &mut Dice| if dice.one_in(2) { 0.0 } else { dice.from(1..=30) as f64 / 100.0 };
    let (loss, duplicates, reorder, forged) = (share(dice), share(dice), share(dice), share(dice));
    let delay_ms = (0, dice.from(0..=800));
    Webhooks { loss, duplicates, reorder, forged, delay_ms, seed, ..Webhooks::default() }
}

fn api_fault(dice: &mut Dice) -> Act {
    let kind = match dice.from(0..=21) {
        0 => FaultKind::ServerError { status: dice.pick(&[500, 502, 503, 504]) },
        1 => FaultKind::ServerErrorHtml { status: dice.pick(&[502, 503]) },
        2 => FaultKind::CutBeforeAnswer,
        3 => FaultKind::TruncatedJson,
        4 => FaultKind::CutMidBody,
        5 => FaultKind::SlowBody { milliseconds: dice.from(200..=2_000) },
        6 | 7 => FaultKind::RateLimited { reset_in_ms: Some(dice.from(200..=1_500)) },
        8 => FaultKind::Latency { milliseconds: dice.from(200..=1_000) },
        9 => FaultKind::ResetInThePast { seconds: dice.from(1..=600) as u32 },
        10 => FaultKind::Edge404,
        11 => FaultKind::Html200,
        12 => FaultKind::Date { seconds: dice.pick(&[-31_536_000, -86_400, -600, 5, 600, 86_400, 2_300_000_000]) },
        13 => FaultKind::PageSizeIgnored,
        14 => FaultKind::IncludesIgnored,
        15 => FaultKind::EmptyList,
        16 => FaultKind::Capped { records: dice.from(1..=40) as usize },
        17 => FaultKind::Lagging { changes: dice.from(1..=5) as usize },
        18 => FaultKind::WrongMatches { matches: dice.pick(&[0, 7, 1_000, u64::MAX]) },
        19 => FaultKind::OddRecord { odd: dice.pick(&Oddity::ALL), id: None },
        20 => FaultKind::BrokenInfo { status: 500, id: None },
        // Takes as long as the worker waits for an answer, 20 s: seldom.
        _ if dice.one_in(4) => FaultKind::Hang,
        _ => FaultKind::OtherVersion { version: Version::OLDEST },
    };
    let times = match kind {
        FaultKind::Hang => 1,
        // Most requests are for other records.
        FaultKind::OddRecord { .. } | FaultKind::BrokenInfo { .. } => dice.from(1..=60) as u32,
        _ => dice.from(1..=5) as u32,
    };
    let at = dice.pick(&["contacts.list", "contacts.info", "contacts", "companies", "invoices", "events", "users"]);
    Act::Api { kind, at, times }
}

/// Whether the answer looks like any other and is not so.
fn is_lie(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::EmptyList
            | FaultKind::Capped { .. }
            | FaultKind::Lagging { .. }
            | FaultKind::IncludesIgnored
            | FaultKind::OddRecord { odd: Oddity::MomentFar, .. }
    )
}

fn shuffle(acts: &mut [Act], dice: &mut Dice) {
    for last in (1..acts.len()).rev() {
        acts.swap(last, dice.from(0..=last as u64) as usize);
    }
}

impl Act {
    /// The kind of fault, for the table at the end; `None` for what is no fault.
    pub fn kind(&self) -> Option<&'static str> {
        Some(match self {
            Self::Publish(_) => return None,
            Self::PublishAgain(_) => "request published twice",
            Self::Cancel { dies_ms: None, .. } => "request cancelled",
            Self::Cancel { dies_ms: Some(_), .. } => "request cancelled, kill -9 of the command",
            Self::Storm { .. } => "storm of webhooks",
            Self::PublishMalformed => "malformed request",
            Self::Kill { .. } => "worker: kill -9",
            Self::Terminate { .. } => "worker: SIGTERM",
            Self::Freeze { .. } => "worker: SIGSTOP, SIGCONT",
            Self::CutOff { .. } => "worker: SIGSTOP, cut off, SIGCONT",
            Self::Deafen { .. } => "worker: believed gone by the broker",
            Self::AtRefresh { blow: Blow::Kill } => "at a refresh: kill -9",
            Self::AtRefresh { blow: Blow::Terminate } => "at a refresh: SIGTERM",
            Self::AtRefresh { blow: Blow::CutBroker } => "at a refresh: broker cut",
            Self::AtRefresh { blow: Blow::CutDatabase } => "at a refresh: database cut",
            Self::AtRefresh { blow: Blow::DatabaseAway } => "at a refresh: database away, then kill -9",
            Self::Restart { server: Server::Rabbitmq, now: false } => "broker restarted",
            Self::Restart { server: Server::Rabbitmq, now: true } => "broker killed and started",
            Self::Restart { server: Server::Postgres, now: false } => "database restarted",
            Self::Restart { server: Server::Postgres, now: true } => "database stopped at once and started",
            Self::Cut { link: Link::Broker, .. } => "connection cut: broker",
            Self::Cut { link: Link::Database, .. } => "connection cut: database",
            Self::Cut { link: Link::Api, .. } => "connection cut: API",
            Self::Stall { link: Link::Broker, .. } => "connection stalled: broker",
            Self::Stall { link: Link::Database, .. } => "connection stalled: database",
            Self::Stall { link: Link::Api, .. } => "connection stalled: API",
            Self::Api { kind, .. } => api_kind(kind),
            Self::LoseTokenAnswer => "token answer lost",
            Self::TokenFault { .. } => "token endpoint fails",
            Self::ShortTokens { .. } => "short-lived tokens",
            Self::ExpireTokens => "access tokens expired",
            Self::Revoke { .. } => "refresh tokens revoked",
            Self::ChangeWhilePaging { .. } => "changes while paging",
            Self::Change { .. } => "changes at once",
        })
    }
}

fn api_kind(kind: &FaultKind) -> &'static str {
    match kind {
        FaultKind::ServerError { .. } | FaultKind::ServerErrorHtml { .. } => "API: 5xx",
        FaultKind::CutBeforeAnswer => "API: connection closed without an answer",
        FaultKind::TruncatedJson => "API: half of the JSON",
        FaultKind::CutMidBody => "API: connection closed in the body",
        FaultKind::SlowBody { .. } | FaultKind::Latency { .. } => "API: late",
        FaultKind::RateLimited { .. } => "API: 429",
        FaultKind::Hang => "API: no answer",
        FaultKind::Date { .. } => "API: another time",
        FaultKind::Gzip | FaultKind::GzipBomb { .. } => "API: gzip",
        FaultKind::Forbidden => "API: 403",
        FaultKind::ResetInThePast { .. } => "API: a reset in the past",
        FaultKind::Edge404 | FaultKind::Html200 => "API: a gateway answers",
        FaultKind::OtherVersion { .. } => "API: another version",
        FaultKind::EmptyList
        | FaultKind::Capped { .. }
        | FaultKind::PageSizeIgnored
        | FaultKind::WrongMatches { .. }
        | FaultKind::IncludesIgnored
        | FaultKind::Lagging { .. } => "API: a list that is wrong",
        FaultKind::OddRecord { .. } | FaultKind::BrokenInfo { .. } => "API: a record that is wrong",
        FaultKind::LoseTokenAnswer => "token answer lost",
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} API requests or {} ms: {:?}", self.requests, self.patience_ms, self.act)
    }
}
