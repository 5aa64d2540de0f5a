//! Requests, slices, the lease and the outbox: what there is, and what can happen to it.
//!
//! Reduced to what is written where, and in which order, by `src/worker.rs`, `src/relay.rs` and `src/store/{journal,lease,outbox}.rs`.

use stateright::{Model, Property};

use super::request_tests::properties;
use super::rules::{Fence, RequestRules};

/// Pages that a run reads.
pub const PAGES: u8 = 2;
/// How many delays an outage of the API lasts.
pub const OUTAGE: u8 = 2;

/// A delivery of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Message {
    pub request: u8,
    pub slice: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Unknown,
    Running,
    Completed,
    Failed,
}

/// What the database and the listeners know of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    pub status: Status,
    pub slice: u8,
    pub attempts: u8,
    pub waits: u8,
    /// The checkpoint: the next page.
    pub position: u8,
    /// The pages whose rows are in the tables, as bits.
    pub rows: u8,
    /// The final event is in the outbox, and not marked as sent.
    pub pending: Option<Status>,
    /// The final events that were told, as bits of `Status`.
    pub told: u8,
}

/// What the broker thinks of the delivery in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grip {
    /// Unacknowledged, and its consumer is the active one.
    Holds,
    /// Unacknowledged, of a consumer that was cancelled: another one may be active.
    Cancelled,
    /// Acknowledged, while the work goes on; only without the rule.
    Acked,
    /// The connection is gone, the message is back in the queue, and the worker does not know.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    TakeLease,
    Claim,
    Work,
    /// The rows of the page before the position; only without the rule.
    Merge,
    Copy,
    CommitSlice,
    Flush,
    Bury,
    Ack,
}

/// A worker with a message in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Job {
    pub message: Message,
    pub step: Step,
    pub grip: Grip,
    /// Its epoch is that of the lease.
    pub newest: bool,
    /// A transaction is open, its fence passed.
    pub open: bool,
    /// What it has in memory: its position, the waits, and whether the slice has done anything.
    pub position: u8,
    pub waits: u8,
    pub begun: bool,
    /// It hands back because the API is down.
    pub waiting: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// In any order: priorities, requeueing and copies at the tail give all of them.
    pub queue: Vec<Message>,
    pub delayed: Vec<Message>,
    pub runs: Vec<Run>,
    pub workers: [Option<Job>; 2],
    /// Delays for which the API is still away.
    pub outage: u8,
    pub outages_left: u8,
    pub faults_left: u8,
    pub dead: bool,
    pub stale_write: bool,
    pub moved_back: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Deliver(usize, Message),
    /// The next step of a worker goes well.
    Step(usize),
    /// The slice is over.
    HandBack(usize),
    /// The consumer is cancelled before the ack, since the process stops.
    Cancel(usize),
    /// A worker finds that its connection is gone.
    Notice(usize),
    /// The relay of any process sends what is in the outbox.
    Relay,
    /// A delay is over.
    DelayPasses,
    ApiGoesDown,
    Crash(usize),
    LoseConnection(usize),
    /// A copy or an event goes out, its confirm is lost.
    LoseConfirm(usize),
    /// A copy or an event is lost on its way.
    LoseMessage(usize),
}

/// The protocol within bounds.
pub struct Requests {
    pub rules: RequestRules,
    pub requests: u8,
    /// The first request is in the queue twice: its sender lost a confirm.
    pub sent_twice: bool,
    pub faults: u8,
    pub outages: u8,
}

const NEW: Run =
    Run { status: Status::Unknown, slice: 0, attempts: 0, waits: 0, position: 0, rows: 0, pending: None, told: 0 };

impl Run {
    /// Final events that were told.
    pub fn events(&self) -> u32 {
        self.told.count_ones()
    }

    pub fn finished(&self) -> bool {
        matches!(self.status, Status::Completed | Status::Failed)
    }

    pub fn finish(&mut self, status: Status) {
        (self.status, self.pending) = (status, Some(status));
    }
}

impl State {
    pub fn run(&mut self, job: &Job) -> &mut Run {
        &mut self.runs[usize::from(job.message.request)]
    }

    fn enqueue(&mut self, message: Message) {
        self.queue.push(message);
        self.queue.sort();
    }

    /// The broker has nothing of this request any more.
    pub fn is_settled_with_broker(&self, request: u8) -> bool {
        let held = self.workers.iter().flatten().filter(|job| matches!(job.grip, Grip::Holds | Grip::Cancelled));
        let mut messages = self.queue.iter().chain(&self.delayed).copied().chain(held.map(|job| job.message));
        !messages.any(|message| message.request == request)
    }

    /// The worker drops what it does; what it holds goes back to the queue.
    pub fn leave(&mut self, worker: usize) {
        let Some(job) = self.workers[worker].take() else { return };
        if matches!(job.grip, Grip::Holds | Grip::Cancelled) {
            self.enqueue(job.message);
        }
    }

    pub fn publish(&mut self, job: &Job) {
        match job.step {
            Step::Copy => {
                let copy = Message { slice: job.message.slice + 1, ..job.message };
                let queue = if job.waiting { &mut self.delayed } else { &mut self.queue };
                queue.push(copy);
                queue.sort();
            }
            _ => self.runs.iter_mut().for_each(|run| run.told |= run.pending.map_or(0, |event| 1 << event as u8)),
        }
    }

    pub fn relay(&mut self) {
        self.runs.iter_mut().for_each(|run| run.told |= run.pending.take().map_or(0, |event| 1 << event as u8));
    }
}

impl Requests {
    /// All that can happen without a new fault.
    pub fn progress(&self, s: &State, actions: &mut Vec<Action>) {
        let active = s.workers.iter().flatten().any(|job| matches!(job.grip, Grip::Holds | Grip::Acked));
        for (w, worker) in s.workers.iter().enumerate() {
            let Some(job) = worker else {
                if !active {
                    let mut next = s.queue.clone();
                    next.dedup();
                    actions.extend(next.into_iter().map(|message| Action::Deliver(w, message)));
                }
                continue;
            };
            if job.grip == Grip::Lost {
                actions.push(Action::Notice(w));
            }
            let others_open = s.workers.iter().flatten().any(|other| other.open);
            if job.step != Step::TakeLease || self.rules.fence != Fence::Share || !others_open {
                actions.push(Action::Step(w));
            }
            if job.step == Step::Work && !job.open && job.begun && job.position < PAGES && s.outage == 0 {
                actions.push(Action::HandBack(w));
            }
            if job.step == Step::Ack && job.grip == Grip::Holds {
                actions.push(Action::Cancel(w));
            }
        }
        if s.runs.iter().any(|run| run.pending.is_some()) {
            actions.push(Action::Relay);
        }
        if !s.delayed.is_empty() {
            actions.push(Action::DelayPasses);
        }
    }

    /// Nothing moves any more, unless there is a new fault.
    pub fn settled(&self, s: &State) -> bool {
        let mut actions = Vec::new();
        self.progress(s, &mut actions);
        actions.is_empty()
    }
}

impl Model for Requests {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut queue: Vec<Message> = (0..self.requests).map(|request| Message { request, slice: 0 }).collect();
        if self.sent_twice {
            queue.insert(0, queue[0]);
        }
        vec![State {
            queue,
            delayed: Vec::new(),
            runs: vec![NEW; usize::from(self.requests)],
            workers: [None; 2],
            outage: 0,
            outages_left: self.outages,
            faults_left: self.faults,
            dead: false,
            stale_write: false,
            moved_back: false,
        }]
    }

    fn actions(&self, s: &State, actions: &mut Vec<Action>) {
        self.progress(s, actions);
        if self.settled(s) {
            return;
        }
        if s.outages_left > 0 {
            actions.push(Action::ApiGoesDown);
        }
        if s.faults_left == 0 {
            return;
        }
        for (w, job) in s.workers.iter().enumerate().filter_map(|(w, job)| Some((w, (*job)?))) {
            actions.push(Action::Crash(w));
            if job.grip != Grip::Lost {
                actions.push(Action::LoseConnection(w));
            }
            if matches!(job.step, Step::Copy | Step::Flush) {
                actions.extend([Action::LoseConfirm(w), Action::LoseMessage(w)]);
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut s = last.clone();
        if matches!(
            action,
            Action::Crash(_) | Action::LoseConnection(_) | Action::LoseConfirm(_) | Action::LoseMessage(_)
        ) {
            s.faults_left -= 1;
        }
        match action {
            Action::Deliver(w, message) => {
                let at = s.queue.iter().position(|queued| *queued == message)?;
                s.queue.remove(at);
                s.workers[w] = Some(Job {
                    message,
                    step: Step::TakeLease,
                    grip: Grip::Holds,
                    newest: false,
                    open: false,
                    position: 0,
                    waits: 0,
                    begun: false,
                    waiting: false,
                });
            }
            Action::Step(w) => self.step(&mut s, w),
            Action::HandBack(w) => {
                s.workers[w].as_mut()?.step = if self.rules.copy_first { Step::Copy } else { Step::CommitSlice };
            }
            Action::Cancel(w) => s.workers[w].as_mut()?.grip = Grip::Cancelled,
            Action::Notice(w) | Action::Crash(w) | Action::LoseMessage(w) => s.leave(w),
            Action::LoseConnection(w) => {
                let job = s.workers[w].as_mut()?;
                let (message, held) = (job.message, job.grip != Grip::Acked);
                job.grip = Grip::Lost;
                if held {
                    s.enqueue(message);
                }
            }
            Action::LoseConfirm(w) => {
                let job = s.workers[w]?;
                s.publish(&job);
                s.leave(w);
            }
            Action::Relay => s.relay(),
            Action::DelayPasses => {
                let delayed = std::mem::take(&mut s.delayed);
                delayed.into_iter().for_each(|message| s.enqueue(message));
                s.outage = s.outage.saturating_sub(1);
            }
            Action::ApiGoesDown => (s.outage, s.outages_left) = (OUTAGE, s.outages_left - 1),
        }
        Some(s)
    }

    fn format_step(&self, s: &State, action: Action) -> Option<String> {
        match action {
            Action::Step(w) => s.workers[w].map(|job| format!("{w} {:?}", job.step)),
            action => Some(format!("{action:?}")),
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties(self)
    }
}
