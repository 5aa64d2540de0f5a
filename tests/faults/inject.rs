//! Injects what was drawn: each act at its moment, and the end of what lasts.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use lapin::BasicProperties;
use serde_json::json;
use teamleader_simulator::{ChangeKind, Fault, FaultKind, RefreshOutcome};
use uuid::Uuid;

use crate::plan::{Act, Blow, Link, Step};
use crate::play::{Play, Published};
use crate::stage::found_within;

/// How often the world is looked at.
const TICK: Duration = Duration::from_millis(10);

/// How long the answer of the token endpoint takes that somebody is hit in.
const ANSWER_TAKES_MS: u64 = 600;

/// How long a refresh is waited for. Nobody refreshes where nobody works.
const REFRESHES_WITHIN: Duration = Duration::from_secs(2);

/// How long it is waited for that a pair is escrowed: the worker tries the database first.
const PARKS_WITHIN: Duration = Duration::from_secs(5);

/// The lists that change while they are read: one that is read by seeking, and two by page number.
const CHANGING: [&str; 3] = ["contacts", "invoices", "events"];
/// What ends a fault that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A process is started.
    Start(usize),
    /// It goes on.
    Thaw(usize),
    /// A cable carries everything again.
    GoOn(usize, Link),
}

impl Play {
    /// Injects one fault after the other, each at its moment.
    pub async fn inject_all(&mut self) {
        self.slow_down();
        let steps = std::mem::take(&mut self.plan.steps);
        for step in &steps {
            self.await_moment(step).await;
            self.act(&step.act).await;
        }
        self.plan.steps = steps;
    }

    async fn await_moment(&mut self, step: &Step) {
        let asked = self.simulator.counters().total() + step.requests;
        let until = Utc::now() + TimeDelta::milliseconds(step.patience_ms as i64);
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            self.end_what_is_over();
            if self.simulator.counters().total() >= asked || Utc::now() >= until {
                return;
            }
        }
    }

    fn end_what_is_over(&mut self) {
        let now = Utc::now();
        let (over, lasting) = std::mem::take(&mut self.endings).into_iter().partition(|(at, _)| *at <= now);
        self.endings = lasting;
        let over: Vec<(DateTime<Utc>, Ending)> = over;
        for (_, ending) in over {
            self.end(ending);
        }
    }

    fn end(&mut self, ending: Ending) {
        match ending {
            Ending::Start(worker) => self.start(worker),
            Ending::Thaw(worker) => self.slots[worker].thaw(),
            Ending::GoOn(worker, link) => self.slots[worker].go_on(link),
        }
        self.note(format!("{ending:?}"));
    }

    /// Ends a fault in so many milliseconds.
    fn later(&mut self, ms: u64, ending: Ending) {
        self.endings.push((Utc::now() + TimeDelta::milliseconds(ms as i64), ending));
    }

    /// Whoever was killed and not started yet, or has ended by itself, is started.
    fn revive(&mut self, worker: usize) {
        self.endings.retain(|(_, ending)| *ending != Ending::Start(worker));
        self.start(worker);
    }

    async fn act(&mut self, act: &Act) {
        self.note(format!("{act:?}"));
        match act.clone() {
            Act::Publish(number) | Act::PublishAgain(number) => self.publish(number).await,
            Act::Cancel { request, dies_ms } => self.cancel(request, dies_ms),
            Act::PublishMalformed => {
                let id = Uuid::new_v4();
                let body = json!({ "request_id": id, "mode": "sideways" });
                self.watch.publish(&body, BasicProperties::default()).await;
                self.published.push(Published { id, body, replies: false, well_formed: false });
            }
            Act::Kill { worker, down_ms } => {
                self.revive(worker);
                self.slots[worker].kill();
                self.later(down_ms, Ending::Start(worker));
            }
            Act::Terminate { worker } => {
                self.revive(worker);
                if !self.slots[worker].terminate().await {
                    self.note("it did not end and was killed".to_owned());
                }
                self.start(worker);
            }
            Act::Freeze { worker, ms } => {
                self.revive(worker);
                self.slots[worker].freeze();
                self.later(ms, Ending::Thaw(worker));
            }
            Act::CutOff { worker, ms } => {
                self.revive(worker);
                self.slots[worker].freeze();
                self.slots[worker].cut(Link::Broker);
                self.later(ms, Ending::Thaw(worker));
            }
            Act::Deafen { worker } => {
                let cut = self.slots[worker].deafen();
                self.note(format!("{cut} connections were ended for the broker alone"));
            }
            Act::AtRefresh { blow } => self.at_refresh(blow).await,
            Act::Restart { server, now } => {
                self.await_restart().await;
                let servers = self.servers.clone();
                self.restarting = Some(tokio::spawn(async move { servers.restart(server, now).await }));
            }
            Act::Cut { worker, link } => {
                let cut = self.slots[worker].cut(link);
                self.note(format!("{cut} connections were cut"));
            }
            Act::Stall { worker, link, way, ms } => {
                self.slots[worker].stall(link, way);
                self.later(ms, Ending::GoOn(worker, link));
            }
            Act::Api { kind, at, times } => self.simulator.inject(Fault::new(kind).at(at).times(times)),
            Act::LoseTokenAnswer => {
                self.simulator.inject(Fault::new(FaultKind::LoseTokenAnswer).times(1));
                self.simulator.expire_access_tokens();
            }
            Act::TokenFault { kind } => {
                self.simulator.inject(Fault::new(kind).at("oauth2/access_token").times(1));
                self.simulator.expire_access_tokens();
            }
            Act::ShortTokens { seconds } => {
                self.simulator.set_access_token_ttl(Duration::from_secs(seconds));
                self.simulator.expire_access_tokens();
            }
            Act::ExpireTokens => self.simulator.expire_access_tokens(),
            Act::Revoke { expire } => {
                self.revoked = true;
                self.simulator.revoke_refresh_tokens();
                if expire {
                    self.simulator.expire_access_tokens();
                }
            }
            Act::ChangeWhilePaging { every } => {
                let kinds = [ChangeKind::Delete, ChangeKind::Update, ChangeKind::Add, ChangeKind::UpdateInfo];
                CHANGING.iter().for_each(|list| self.simulator.change_while_paging(list, every, &kinds));
                self.last_change = DateTime::<Utc>::MAX_UTC;
            }
            Act::Storm { count } => {
                let stormed = self.simulator.storm_of("contact.updated", count);
                assert!(stormed.is_some(), "a type");
            }
            Act::Change { count } => {
                for list in CHANGING {
                    self.simulator.update(list, count);
                    self.simulator.add(list, 1);
                    self.simulator.delete(list, 1);
                }
                self.last_change = self.last_change.max(Utc::now());
            }
        }
    }

    /// Hits whoever waits for the answer of the token endpoint.
    async fn at_refresh(&mut self, blow: Blow) {
        let before = self.simulator.refreshes().len();
        let milliseconds = ANSWER_TAKES_MS;
        self.simulator.inject(Fault::new(FaultKind::SlowBody { milliseconds }).at("oauth2/access_token").times(1));
        self.simulator.expire_access_tokens();
        let traded = async || {
            let log = self.simulator.refreshes();
            let traded = log[before..].iter().find(|refresh| matches!(refresh.outcome, RefreshOutcome::Traded(_)))?;
            self.slots.iter().position(|slot| slot.api.has_used(traded.from.port()))
        };
        let Some(worker) = found_within(REFRESHES_WITHIN, Duration::from_millis(3), traded).await else {
            self.note("nobody refreshed".to_owned());
            return;
        };
        self.note(format!("worker {worker} waits for a pair"));
        match blow {
            Blow::Kill => {
                self.slots[worker].kill();
                self.later(200, Ending::Start(worker));
            }
            Blow::Terminate => {
                self.slots[worker].terminate().await;
                self.start(worker);
            }
            Blow::CutBroker => drop(self.slots[worker].cut(Link::Broker)),
            Blow::CutDatabase => drop(self.slots[worker].cut(Link::Database)),
            Blow::DatabaseAway => {
                self.slots[worker].set_database_away(true);
                let escrowed = async || self.watch.escrowed_pairs().await.filter(|pairs| *pairs > 0);
                let escrowed = found_within(PARKS_WITHIN, TICK, escrowed).await.is_some();
                self.note(format!("the pair is escrowed: {escrowed}"));
                self.slots[worker].kill();
                self.slots[worker].set_database_away(false);
                self.start(worker);
            }
        }
    }
}
