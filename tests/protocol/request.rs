//! Requests, slices, the lease and the outbox: what can happen.
//!
//! Reduced to what is written where, and in which order, by `src/worker/mod.rs`, `src/worker/relay.rs` and
//! `src/store/{runs/claim,runs/cancel,lease,outbox}.rs`.

use stateright::{Model, Property};

use super::request_tests::properties;
use super::rules::{Fence, RequestRules};
use super::world::{Grip, Job, Message, NEW, State, Status, Step};

/// Pages that a run reads.
pub const PAGES: u8 = 2;
/// How many delays an outage of the API lasts.
pub const OUTAGE: u8 = 2;

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
    /// A worker takes a message that the broker gave up, between two others.
    TakeUndelivered(usize),
    GiveUp(Message),
    /// Somebody asks a request to end.
    AskToCancel(u8),
    /// A worker sees that its run was asked to end.
    SeeCancel(usize),
    /// Who asked ends the run.
    EndByCaller(u8),
    /// Who asked dies before.
    LoseCaller(u8),
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
    /// Whether the broker may give a request up, for a limit or an expiry.
    pub gives_up: bool,
    /// How often somebody asks a request to end.
    pub cancels: u8,
}

impl Requests {
    /// All that can happen without a new fault.
    pub fn progress(&self, s: &State, actions: &mut Vec<Action>) {
        let active = s.workers.iter().flatten().any(|job| matches!(job.grip, Grip::Holds | Grip::Acked));
        for (w, worker) in s.workers.iter().enumerate() {
            let Some(job) = worker else {
                // Two idle workers are alike: one of them will do.
                if s.workers[..w].contains(&None) {
                    continue;
                }
                actions.extend(s.undelivered.first().map(|_| Action::TakeUndelivered(w)));
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
            let run = &s.runs[usize::from(job.message.request)];
            if job.step == Step::Work && !job.open && run.cancel_asked {
                actions.push(Action::SeeCancel(w));
            }
            if job.step == Step::Ack && job.grip == Grip::Holds && job.handed_back {
                actions.push(Action::Cancel(w));
            }
        }
        if s.runs.iter().any(|run| run.pending != 0) {
            actions.push(Action::Relay);
        }
        if !s.delayed.is_empty() {
            actions.push(Action::DelayPasses);
        }
        // It locks the row of the lease, which each writer holds.
        if !s.workers.iter().flatten().any(|job| job.open) {
            actions.extend(s.callers.iter().map(|request| Action::EndByCaller(*request)));
        }
    }

    /// Nothing moves any more, unless there is a new fault.
    pub fn settled(&self, s: &State) -> bool {
        // A worker with a message in hand has something to do, or waits for one that has.
        if s.workers != [None; 2] {
            return false;
        }
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
            undelivered: Vec::new(),
            runs: vec![NEW; usize::from(self.requests)],
            workers: [None; 2],
            outage: 0,
            outages_left: self.outages,
            faults_left: self.faults,
            dead: false,
            stale_write: false,
            moved_back: false,
            written_after_end: false,
            cancels_left: self.cancels,
            callers: Vec::new(),
        }]
    }

    fn actions(&self, s: &State, actions: &mut Vec<Action>) {
        self.progress(s, actions);
        if self.settled(s) {
            return;
        }
        if s.cancels_left > 0 {
            actions.extend((0..self.requests).map(Action::AskToCancel));
        }
        if s.outages_left > 0 {
            actions.push(Action::ApiGoesDown);
        }
        if s.faults_left == 0 {
            return;
        }
        if self.gives_up {
            actions.extend(s.queue.iter().map(|message| Action::GiveUp(*message)));
        }
        actions.extend(s.callers.iter().map(|request| Action::LoseCaller(*request)));
        for (w, job) in s.workers.iter().enumerate().filter_map(|(w, job)| Some((w, (*job)?))) {
            actions.push(Action::Crash(w));
            if job.grip != Grip::Lost && !job.undelivered {
                actions.push(Action::LoseConnection(w));
            }
            if matches!(job.step, Step::Copy | Step::Flush | Step::DeliverAgain)
                || job.step == Step::Bury && job.undelivered
            {
                actions.extend([Action::LoseConfirm(w), Action::LoseMessage(w)]);
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut s = last.clone();
        if matches!(
            action,
            Action::GiveUp(_)
                | Action::LoseCaller(_)
                | Action::Crash(_)
                | Action::LoseConnection(_)
                | Action::LoseConfirm(_)
                | Action::LoseMessage(_)
        ) {
            s.faults_left -= 1;
        }
        match action {
            Action::Deliver(w, message) => {
                let at = s.queue.iter().position(|queued| *queued == message)?;
                s.queue.remove(at);
                s.workers[w] = Some(Job::begin(message));
            }
            Action::GiveUp(message) => {
                let at = s.queue.iter().position(|queued| *queued == message)?;
                s.queue.remove(at);
                s.undelivered.push(message);
            }
            Action::AskToCancel(request) => {
                s.cancels_left -= 1;
                let run = &mut s.runs[usize::from(request)];
                match run.status {
                    Status::Unknown => run.finish(Status::Cancelled),
                    Status::Running => {
                        run.cancel_asked = true;
                        s.callers.push(request);
                    }
                    _ => {}
                }
            }
            Action::SeeCancel(w) => s.workers[w].as_mut()?.step = Step::EndCancelled,
            Action::EndByCaller(request) => {
                s.callers.retain(|other| *other != request);
                let run = &mut s.runs[usize::from(request)];
                if run.status == Status::Running || !self.rules.ends_once {
                    run.finish(Status::Cancelled);
                }
            }
            Action::LoseCaller(request) => s.callers.retain(|other| *other != request),
            Action::TakeUndelivered(w) => {
                let message = s.undelivered.pop()?;
                s.workers[w] = Some(Job { grip: Grip::Cancelled, undelivered: true, ..Job::begin(message) });
            }
            Action::Step(w) => self.step(&mut s, w),
            Action::HandBack(w) => {
                s.workers[w].as_mut()?.step = if self.rules.copy_first { Step::Copy } else { Step::CommitSlice };
            }
            Action::Cancel(w) => s.workers[w].as_mut()?.grip = Grip::Cancelled,
            Action::Notice(w) | Action::LoseMessage(w) => self.leave_in_order(&mut s, w),
            Action::Crash(w) => s.leave(w),
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
                self.leave_in_order(&mut s, w);
            }
            Action::Relay => s.relay(),
            Action::DelayPasses => {
                let delayed = std::mem::take(&mut s.delayed);
                delayed.into_iter().for_each(|message| s.enqueue(message));
                s.outage = s.outage.saturating_sub(1);
            }
            Action::ApiGoesDown => (s.outage, s.outages_left) = (OUTAGE, s.outages_left - 1),
        }
        // Which of the two does what makes no difference.
        s.workers.sort_unstable();
        Some(s)
    }

    fn format_step(&self, s: &State, action: Action) -> Option<String> {
        match action {
            Action::Step(w) => s.workers[w].map(|job| job.name()),
            Action::Crash(w) => s.workers[w].map(|job| format!("crash before {}", job.name())),
            Action::LoseConnection(w) => s.workers[w].map(|job| format!("lost connection before {}", job.name())),
            action => Some(format!("{action:?}")),
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties(self)
    }
}
