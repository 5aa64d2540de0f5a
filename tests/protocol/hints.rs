//! Hints for one record, the messages that wake a consumer for them, and slices of a run that serve them beside its
//! steps: what there is, and what can happen.
//!
//! Reduced to what is written where, and in which order, by `src/store/hints/`, `src/wake_up.rs`, `src/app/hints.rs`,
//! `src/sync/hints.rs` and `src/worker/mod.rs`, against a source that changes.

use stateright::{Model, Property};

use super::hints_tests::properties;
use super::rules::HintRules;

/// A time in the row of the wake-up messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stamp {
    Never,
    /// Within the last 10 s.
    Fresh,
    /// Longer ago.
    Old,
}

/// What a call left. Without one the generation is 0, and it counts as served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hint {
    pub generation: u8,
    pub served: bool,
    /// A look that found nothing new makes the next one wait.
    pub put_off: bool,
    /// It was put off since it began to wait, so nobody need notice at once when it may be looked at.
    pub was_put_off: bool,
}

/// The row of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    pub content: u8,
    /// When the answer was asked for from which it was written.
    pub asked: u8,
}

/// A request to the API, and its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Answer {
    /// When it was asked for: only which came first is known.
    pub asked: u8,
    pub content: u8,
}

/// Where a request for the record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Says that it serves hints; only these have it.
    Say,
    /// Reads which hints wait; only these have it.
    Choose,
    Ask,
    /// The API makes its answer.
    Answer,
    /// Rows, and whether the hint is served.
    Commit,
    /// The rows after the mark; only without the rule.
    Merge,
    /// Nothing is done any more.
    Over,
}

/// What a message is for, and what is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    TakeLease,
    Work,
    /// Looks whether hints are left, and claims the next message.
    WakeNext,
    Publish,
    Ack,
}

/// A worker with a message in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Job {
    /// It is a slice of a run; else it was woken.
    pub is_run: bool,
    pub stage: Stage,
    /// Its epoch is that of the lease.
    pub newest: bool,
    /// Its connection is lost, the message is back in the queue, and it does not know.
    pub lost: bool,
    /// The look at hints.
    pub look: Step,
    pub looked: Answer,
    /// The generation that the look read, and the one there was as it asked.
    pub generation: u8,
    pub called: u8,
    /// It has looked at a hint at least once.
    pub has_looked: bool,
    /// The list that the run reads.
    pub page: Step,
    pub listed: Answer,
    /// When the answer was asked for that equalled the row while another request was on its way.
    pub remembered: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// What the record is, as a count of its changes.
    pub source: u8,
    /// What it was as the newest call came.
    pub announced: u8,
    pub hint: Hint,
    pub row: Row,
    /// The row of the wake-up messages.
    pub asked: Stamp,
    pub serving: Stamp,
    /// A notice that no process has looked after yet.
    pub notified: bool,
    /// A process has seen that hints wait.
    pub wanted: bool,
    /// Messages that were claimed and are not published.
    pub claims: u8,
    /// The queue, in any order.
    pub wake_ups: u8,
    pub runs: u8,
    pub workers: [Option<Job>; 2],
    pub changes_left: u8,
    pub calls_left: u8,
    pub faults_left: u8,
    pub delays_left: u8,
    /// When the newest answer was asked for that was merged, whether it was written or equal.
    pub shown: u8,
    pub went_back: bool,
    pub stale_write: bool,
    /// A hint was marked as served for which a call came after the request.
    pub overserved: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The record changes.
    Change,
    /// A call comes, for the last change or for none.
    Call,
    /// A process sees after a notice whether hints wait.
    Heed,
    /// Or by itself.
    LookAround,
    /// The process that has seen some claims the message.
    Claim,
    Publish,
    Wake(usize),
    BeginSlice(usize),
    /// The next step of a worker, of its look at hints, of the list that it reads.
    Go(usize),
    Look(usize),
    Read(usize),
    /// It says again that it serves hints.
    SayAgain(usize),
    /// Its time is up.
    EndInTime(usize),
    /// A worker finds that its connection is gone.
    Notice(usize),
    /// A hint that was put off may be looked at.
    RestPasses,
    /// A look lasts longer than ten seconds, in which its process says nothing; only without the rule.
    LookLasts(usize),
    /// Ten seconds have passed since a message was asked for, or since somebody said that hints are served.
    AskedAges,
    ServingAges,
    Crash(usize),
    LoseConnection(usize),
    /// A process dies between its claim and the message, or the message is lost on its way.
    LoseClaim,
    /// The broker loses a message, or gives it up.
    LoseWakeUp,
    /// A confirm is lost, and the message published again.
    Duplicate,
    /// Nobody listens as the notice comes.
    LoseNotice,
}

/// The protocol of hints within bounds.
pub struct Hints {
    pub rules: HintRules,
    pub changes: u8,
    pub calls: u8,
    /// Slices of runs.
    pub runs: u8,
    pub faults: u8,
    /// How often something takes longer than 10 s.
    pub delays: u8,
}

/// A record that has changed twice is what it was.
pub fn content(version: u8) -> u8 {
    version % 2
}

impl State {
    pub fn waits(&self) -> bool {
        !self.hint.served
    }

    /// A hint waits that may be looked at now.
    pub fn is_due(&self) -> bool {
        self.waits() && !self.hint.put_off
    }

    /// The worker drops what it does; what it holds goes back to the queue.
    pub fn leave(&mut self, w: usize) {
        if let Some(job) = self.workers[w].take().filter(|job| !job.lost) {
            self.give_back(&job);
        }
    }

    fn give_back(&mut self, job: &Job) {
        *(if job.is_run { &mut self.runs } else { &mut self.wake_ups }) += 1;
    }

    /// When the requests that are on their way were sent; 0 is none.
    fn under_way(&self) -> [u8; 4] {
        let [first, second] = self.workers.map(|job| job.map_or([0; 2], |job| [job.looked.asked, job.listed.asked]));
        [first[0], first[1], second[0], second[1]]
    }

    /// A request is sent now.
    pub fn now(&self) -> u8 {
        let [a, b, c, d] = self.under_way();
        a.max(b).max(c).max(d).max(self.row.asked).max(self.shown) + 1
    }

    /// States between which nothing to come makes a difference become one. Of times it matters only which requests that
    /// are on their way were sent before.
    fn simplify(&mut self) {
        let [a, b, c, d] = self.under_way();
        let earlier = |sent: u8, time: u8| u8::from(sent > 0 && sent <= time);
        let simpler = |time: u8| earlier(a, time) + earlier(b, time) + earlier(c, time) + earlier(d, time);
        (self.row.asked, self.shown) = (simpler(self.row.asked), simpler(self.shown));
        for job in self.workers.iter_mut().flatten() {
            job.looked.asked = simpler(job.looked.asked);
            job.listed.asked = simpler(job.listed.asked);
            job.remembered = simpler(job.remembered);
        }
        for worker in &mut self.workers {
            // The ack of a message that is back in the queue does nothing.
            *worker = worker.filter(|job| !(job.lost && job.stage == Stage::Ack));
        }
        if self.workers[0] > self.workers[1] {
            self.workers.swap(0, 1);
        }
        self.hint.put_off &= self.waits() || self.calls_left > 0;
        self.hint.was_put_off &= self.waits();
    }
}

impl Hints {
    /// Whether a message may be asked for now.
    pub fn is_free(&self, s: &State) -> bool {
        let asked = match s.asked {
            Stamp::Never => false,
            Stamp::Fresh => self.rules.asks_once,
            Stamp::Old => !self.rules.asked_expires,
        };
        let serving = match s.serving {
            Stamp::Never => false,
            Stamp::Fresh => self.rules.spares_who_serves,
            Stamp::Old => self.rules.spares_who_serves && !self.rules.serving_expires,
        };
        !asked && !serving
    }

    /// All that can happen at once without a new fault, and without that a process looks by itself.
    pub fn at_once(&self, s: &State, actions: &mut Vec<Action>) {
        for (w, worker) in s.workers.iter().enumerate() {
            let Some(job) = worker else {
                // Two idle workers are alike: one of them will do.
                if s.workers[..w].contains(&None) || s.workers.iter().flatten().any(|job| !job.lost) {
                    continue;
                }
                actions.extend((s.wake_ups > 0).then_some(Action::Wake(w)));
                actions.extend((s.runs > 0).then_some(Action::BeginSlice(w)));
                continue;
            };
            if job.lost {
                actions.push(Action::Notice(w));
            }
            if job.stage != Stage::Work {
                actions.push(Action::Go(w));
                continue;
            }
            if job.is_run && job.page != Step::Over {
                actions.push(Action::Read(w));
            }
            let between = job.look == Step::Choose;
            if if job.is_run && between { s.is_due() } else { job.look != Step::Over } {
                actions.push(Action::Look(w));
            }
            let is_said = s.serving == Stamp::Fresh && (s.asked == Stamp::Never || !self.rules.clears_asked);
            if !is_said && (between || self.rules.says_so && job.serves()) {
                actions.push(Action::SayAgain(w));
            }
            if job.serves() && !between && !self.rules.says_so && [s.asked, s.serving].contains(&Stamp::Fresh) {
                actions.push(Action::LookLasts(w));
            }
            if if job.is_run { job.page == Step::Over } else { between && job.has_looked } {
                actions.push(Action::EndInTime(w));
            }
        }
        actions.extend(s.notified.then_some(Action::Heed));
        actions.extend(s.wanted.then_some(Action::Claim));
        actions.extend((s.claims > 0).then_some(Action::Publish));
    }

    /// All that can happen without a new fault, but for what waits for 10 s to pass.
    pub fn soon(&self, s: &State, actions: &mut Vec<Action>) {
        self.at_once(s, actions);
        if self.rules.looks && s.is_due() && !s.wanted && self.is_free(s) {
            actions.push(Action::LookAround);
        }
        actions.extend(s.hint.put_off.then_some(Action::RestPasses));
    }

    /// All that can happen without a new fault.
    pub fn progress(&self, s: &State, actions: &mut Vec<Action>) {
        self.soon(s, actions);
        if actions.is_empty() && s.waits() {
            self.age(s, actions);
        }
    }

    /// A process that stops for so long has lost its connection.
    fn age(&self, s: &State, actions: &mut Vec<Action>) {
        let says_so = s.workers.iter().flatten().any(|job| job.serves() && !job.lost && self.rules.says_so);
        actions.extend((s.asked == Stamp::Fresh && !says_so).then_some(Action::AskedAges));
        actions.extend((s.serving == Stamp::Fresh && !says_so).then_some(Action::ServingAges));
    }

    /// Nothing has gone wrong yet, and nothing has taken long.
    pub fn is_undisturbed(&self, s: &State) -> bool {
        s.faults_left == self.faults && s.delays_left == self.delays
    }

    /// A hint waits for no process that looks by itself, unless it was put off.
    pub fn is_noticed(&self, s: &State) -> bool {
        self.runs == 0 && self.is_undisturbed(s)
    }

    /// Whether nothing of these can happen.
    pub fn is_still(&self, s: &State, what: fn(&Self, &State, &mut Vec<Action>)) -> bool {
        // A worker with a message in hand has always something to do.
        if s.workers != [None; 2] {
            return false;
        }
        let mut actions = Vec::new();
        what(self, s, &mut actions);
        actions.is_empty()
    }
}

impl Model for Hints {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            source: 0,
            announced: 0,
            hint: Hint { generation: 0, served: true, put_off: false, was_put_off: false },
            row: Row { content: 0, asked: 0 },
            asked: Stamp::Never,
            serving: Stamp::Never,
            notified: false,
            wanted: false,
            claims: 0,
            wake_ups: 0,
            runs: self.runs,
            workers: [None; 2],
            changes_left: self.changes,
            calls_left: self.calls,
            faults_left: self.faults,
            delays_left: self.delays,
            shown: 0,
            went_back: false,
            stale_write: false,
            overserved: false,
        }]
    }

    fn actions(&self, s: &State, actions: &mut Vec<Action>) {
        self.progress(s, actions);
        actions.extend((s.changes_left > 0).then_some(Action::Change));
        actions.extend((s.calls_left > 0).then_some(Action::Call));
        if s.delays_left > 0 && !actions.iter().any(|action| matches!(action, Action::AskedAges | Action::ServingAges))
        {
            self.age(s, actions);
        }
        if s.faults_left == 0 {
            return;
        }
        for (w, job) in s.workers.iter().enumerate().filter_map(|(w, job)| Some((w, (*job)?))) {
            actions.push(Action::Crash(w));
            actions.extend((!job.lost).then_some(Action::LoseConnection(w)));
        }
        actions.extend((s.claims > 0).then_some(Action::LoseClaim));
        actions.extend((s.wake_ups > 0).then_some(Action::LoseWakeUp));
        actions.extend((s.wake_ups > 0).then_some(Action::Duplicate));
        actions.extend(s.notified.then_some(Action::LoseNotice));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut s = last.clone();
        match action {
            Action::Crash(_)
            | Action::LoseConnection(_)
            | Action::LoseClaim
            | Action::LoseWakeUp
            | Action::Duplicate
            | Action::LoseNotice => s.faults_left -= 1,
            Action::AskedAges | Action::ServingAges if !self.is_still(last, Self::soon) || !last.waits() => {
                s.delays_left -= 1;
            }
            _ => {}
        }
        match action {
            Action::Change => (s.source, s.changes_left) = (s.source + 1, s.changes_left - 1),
            Action::Call => {
                s.calls_left -= 1;
                s.announced = s.source;
                s.hint.was_put_off |= s.hint.put_off;
                (s.hint.generation, s.hint.served) = (s.hint.generation + 1, false);
                s.notified |= self.rules.notifies;
            }
            Action::Heed => (s.notified, s.wanted) = (false, s.wanted || s.is_due()),
            Action::LookAround => s.wanted = true,
            Action::Claim => {
                s.wanted = false;
                if self.is_free(&s) {
                    (s.asked, s.claims) = (Stamp::Fresh, s.claims + 1);
                }
            }
            Action::Publish => (s.claims, s.wake_ups) = (s.claims - 1, s.wake_ups + 1),
            Action::Wake(w) => {
                s.wake_ups -= 1;
                s.workers[w] = Some(Job::begin(false));
            }
            Action::BeginSlice(w) => {
                s.runs -= 1;
                s.workers[w] = Some(Job::begin(true));
            }
            Action::Go(w) => self.go(&mut s, w),
            Action::Look(w) => self.look(&mut s, w),
            Action::Read(w) => self.read(&mut s, w),
            Action::SayAgain(_) => self.say(&mut s),
            Action::EndInTime(w) => s.workers[w] = Some(self.end(&mut s, last.workers[w]?)),
            Action::Notice(w) | Action::Crash(w) => s.leave(w),
            Action::RestPasses => s.hint.put_off = false,
            Action::LookLasts(_) => {
                for stamp in [&mut s.asked, &mut s.serving].into_iter().filter(|stamp| **stamp == Stamp::Fresh) {
                    *stamp = Stamp::Old;
                }
            }
            Action::AskedAges => s.asked = Stamp::Old,
            Action::ServingAges => s.serving = Stamp::Old,
            Action::LoseConnection(w) => {
                let job = s.workers[w].as_mut()?;
                job.lost = true;
                let job = *job;
                s.give_back(&job);
            }
            Action::LoseClaim => s.claims -= 1,
            Action::LoseWakeUp => s.wake_ups -= 1,
            Action::Duplicate => s.wake_ups += 1,
            Action::LoseNotice => s.notified = false,
        }
        s.hint.was_put_off &= self.is_noticed(&s);
        s.simplify();
        Some(s)
    }

    fn format_step(&self, s: &State, action: Action) -> Option<String> {
        match action {
            Action::Go(w) => s.workers[w].map(|job| format!("{}: {:?}", job.name(), job.stage)),
            Action::Look(w) => s.workers[w].map(|job| format!("{}: {:?} of hints", job.name(), job.look)),
            Action::Read(w) => s.workers[w].map(|job| format!("{}: {:?} of a list", job.name(), job.page)),
            Action::SayAgain(w) => s.workers[w].map(|job| format!("{}: says so again", job.name())),
            Action::EndInTime(w) => s.workers[w].map(|job| format!("{}: time is up", job.name())),
            Action::Notice(w) => s.workers[w].map(|job| format!("{}: sees that its connection is lost", job.name())),
            Action::LookLasts(w) => s.workers[w].map(|job| format!("{}: looks for ten seconds", job.name())),
            Action::Crash(w) => s.workers[w].map(|job| format!("{}: crash", job.name())),
            Action::LoseConnection(w) => s.workers[w].map(|job| format!("{}: lost connection", job.name())),
            action => Some(format!("{action:?}")),
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties(self)
    }
}
