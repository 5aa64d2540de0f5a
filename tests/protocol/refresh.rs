//! The refresh token, which works once: what there is, and what can happen to it.
//!
//! Reduced from `src/api_client/auth.rs`, `src/store/tokens/` and `src/broker/escrow.rs`, against an API that
//! remembers which tokens work.

use stateright::{Model, Property};

use super::refresh_tests::properties;
use super::rules::RefreshRules;

/// Tokens that the API gives out in all.
const TOKENS: u8 = 4;

/// A set of tokens or generations, as bits.
pub type Set = u16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    Authorized,
    Refreshing { by: usize, over: bool },
    Required,
}

/// The row of the account's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    pub generation: u8,
    pub token: u8,
    pub standing: Standing,
}

/// A pair, and what it was bought with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    pub made_from: u8,
    pub bought_with: u8,
    pub token: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Idle,
    /// Drains the parking queue as its session begins.
    Start,
    /// Drains it before the intent.
    Look,
    Intend,
    Check,
    Send,
    Store,
    Park,
    /// The pair is parked, and tried for a while.
    StoreParked,
    LookAgain,
    Refuse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    pub step: Step,
    /// Its epoch is that of the lease.
    pub newest: bool,
    /// What it read at first, and the token that its intent gave it.
    pub generation: u8,
    pub token: u8,
    /// By its own clock the attempt took too long.
    pub late: bool,
    /// As its token was refused, a pair lay parked that would have served.
    pub parked_before: bool,
    pub pair: Option<Pair>,
    /// A parked pair in its hand: not acknowledged, and seen by nobody else.
    pub drained: Option<Pair>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub row: Row,
    pub workers: [Worker; 2],
    pub parked: Vec<Pair>,
    /// A request that its sender gave up, and that may arrive yet.
    pub wire: Option<u8>,
    /// What the API knows: the tokens that work, and how many it gave out.
    pub live: Set,
    pub given: u8,
    pub faults_left: u8,
    /// Tokens whose refusal no client can prevent.
    pub excused: Set,
    pub refused: Set,
    /// Generations for which a person was asked to authorize.
    pub asked: Set,
    pub asked_twice: bool,
    pub asked_in_vain: bool,
    pub stale_intent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Start(usize),
    TakeLease(usize),
    /// The access token is old: a worker begins an attempt.
    Begin(usize),
    Step(usize),
    GiveUpStoring(usize),
    DeadlinePasses,
    /// A person authorizes, on any worker.
    Authorize,
    Arrives,
    Crash(usize),
    LoseAnswer(usize),
    /// The request certainly did not go out.
    NotSent(usize),
    /// The request is so slow that its sender gives up.
    Delay(usize),
    /// A process is paused from before it sends, or with the pair in hand, until the deadline has passed.
    Pause,
    StoreFails(usize),
}

pub struct Refresh {
    pub rules: RefreshRules,
    pub faults: u8,
}

const IDLE: Worker = Worker {
    step: Step::Idle,
    newest: false,
    generation: 0,
    token: 0,
    late: false,
    parked_before: false,
    pair: None,
    drained: None,
};

impl State {
    fn issue(&mut self) -> u8 {
        self.live |= 1 << self.given;
        self.given += 1;
        self.given - 1
    }

    /// The API uses up a token; `None`: it refuses.
    pub fn spend(&mut self, token: u8) -> Option<u8> {
        if !self.works(token) {
            self.refused |= 1 << token;
            return None;
        }
        self.live &= !(1 << token);
        Some(self.issue())
    }

    /// The process ends or gives up. What it took from the parking queue goes back there.
    pub fn rest(&mut self, w: usize) {
        let worker = self.workers[w];
        self.parked.extend(worker.drained);
        self.parked.sort();
        self.workers[w] = Worker { newest: worker.newest, ..IDLE };
    }

    pub fn withdraw(&mut self, w: usize) {
        if matches!(self.row.standing, Standing::Refreshing { by, .. } if by == w) {
            self.row.standing = Standing::Authorized;
        }
    }

    /// The attempt whose request or pair the deadline would overtake.
    pub fn overtaken(&self) -> Option<&Worker> {
        let Standing::Refreshing { by, over: false } = self.row.standing else { return None };
        let sent = [Step::Send, Step::Store, Step::Park];
        Some(&self.workers[by]).filter(|worker| sent.contains(&worker.step))
    }

    pub fn works(&self, token: u8) -> bool {
        self.live & 1 << token != 0
    }

    pub fn all_idle(&self) -> bool {
        self.workers.iter().all(|worker| worker.step == Step::Idle)
    }

    /// A parked pair that would serve.
    pub fn live_pair_is_parked(&self) -> bool {
        self.parked.iter().any(|pair| pair.made_from == self.row.generation && self.works(pair.token))
    }
}

impl Refresh {
    pub fn progress(&self, s: &State, actions: &mut Vec<Action>) {
        for (w, worker) in s.workers.iter().enumerate() {
            match worker.step {
                Step::Idle => {
                    if !worker.newest {
                        actions.push(Action::TakeLease(w));
                    }
                    let waits = matches!(s.row.standing, Standing::Refreshing { over: false, .. })
                        && self.rules.waits_for_deadline;
                    let asked = s.row.standing == Standing::Required;
                    if !asked || self.rules.drains_while_asked {
                        actions.push(Action::Start(w));
                    }
                    if !asked && !waits && s.given < TOKENS {
                        actions.push(Action::Begin(w));
                    }
                }
                Step::Start | Step::Look | Step::LookAgain
                    if self.rules.drains_alone && s.workers[1 - w].drained.is_some() => {}
                Step::StoreParked => actions.extend([Action::Step(w), Action::GiveUpStoring(w)]),
                _ => actions.push(Action::Step(w)),
            }
        }
        if matches!(s.row.standing, Standing::Refreshing { over: false, .. }) && s.overtaken().is_none() {
            actions.push(Action::DeadlinePasses);
        }
        if s.given < TOKENS {
            actions.push(Action::Authorize);
        }
        if s.wire.is_some() {
            actions.push(Action::Arrives);
        }
    }

    pub fn pass_deadline(s: &mut State) {
        if let Standing::Refreshing { by, .. } = s.row.standing {
            s.row.standing = Standing::Refreshing { by, over: true };
            s.workers[by].late |= s.workers[by].step == Step::Check;
        }
    }
}

impl Model for Refresh {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            row: Row { generation: 0, token: 0, standing: Standing::Authorized },
            workers: [Worker { newest: true, ..IDLE }, IDLE],
            parked: Vec::new(),
            wire: None,
            live: 1,
            given: 1,
            faults_left: self.faults,
            excused: 0,
            refused: 0,
            asked: 0,
            asked_twice: false,
            asked_in_vain: false,
            stale_intent: false,
        }]
    }

    fn actions(&self, s: &State, actions: &mut Vec<Action>) {
        self.progress(s, actions);
        if s.faults_left == 0 {
            return;
        }
        for (w, worker) in s.workers.iter().enumerate().filter(|(_, worker)| worker.step != Step::Idle) {
            actions.push(Action::Crash(w));
            match worker.step {
                Step::Send => actions.extend([Action::LoseAnswer(w), Action::NotSent(w), Action::Delay(w)]),
                Step::Store => actions.push(Action::StoreFails(w)),
                _ if worker.drained.is_some() => actions.push(Action::StoreFails(w)),
                _ => {}
            }
        }
        if s.overtaken().is_some() {
            actions.push(Action::Pause);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut s = last.clone();
        match action {
            Action::Start(w) => s.workers[w].step = Step::Start,
            Action::TakeLease(w) => {
                s.workers[w].newest = true;
                s.workers[1 - w].newest = false;
            }
            Action::Begin(w) => (s.workers[w].step, s.workers[w].generation) = (Step::Look, s.row.generation),
            Action::Step(w) => self.step(&mut s, w),
            Action::GiveUpStoring(w) => s.rest(w),
            Action::DeadlinePasses => Self::pass_deadline(&mut s),
            Action::Authorize => {
                let token = s.issue();
                s.row = Row { generation: s.row.generation + 1, token, standing: Standing::Authorized };
            }
            Action::Arrives => _ = s.wire.take().and_then(|token| s.spend(token)),
            fault => {
                s.faults_left -= 1;
                self.fault(&mut s, fault);
            }
        }
        Some(s)
    }

    fn format_step(&self, s: &State, action: Action) -> Option<String> {
        match action {
            Action::Step(w) => Some(format!("{w} {:?}", s.workers[w].step)),
            action => Some(format!("{action:?}")),
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties(self)
    }
}
