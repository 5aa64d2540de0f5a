//! What the broker, the database and the workers hold of requests, reduced to what the protocol is about.

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
    /// It never became a run; only as an event, which has another id than that of a run.
    Refused,
    /// Somebody ended it, or its id before it became a run.
    Cancelled,
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
    /// Somebody has asked it to end.
    pub cancel_asked: bool,
    /// The final events in the outbox that are not marked as sent, as bits of `Status`.
    pub pending: u8,
    /// Those that were told.
    pub told: u8,
}

/// What the broker thinks of the delivery in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    TakeLease,
    Claim,
    /// Instead of a claim, where the broker gave the request up.
    Abandon,
    Work,
    /// The rows of the page before the position; only without the rule.
    Merge,
    /// The end of a run that is cancelled.
    EndCancelled,
    Copy,
    CommitSlice,
    Flush,
    Bury,
    /// Instead of burying it.
    DeliverAgain,
    Ack,
}

/// A worker with a message in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// The message is one that the broker gave up.
    pub undelivered: bool,
    /// The copy is out and counts: only then a consumer is cancelled with the message in hand.
    pub handed_back: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// In any order: priorities, requeueing and copies at the tail give all of them.
    pub queue: Vec<Message>,
    pub delayed: Vec<Message>,
    pub undelivered: Vec<Message>,
    pub runs: Vec<Run>,
    pub workers: [Option<Job>; 2],
    /// Delays for which the API is still away.
    pub outage: u8,
    pub outages_left: u8,
    pub faults_left: u8,
    pub dead: bool,
    pub stale_write: bool,
    pub moved_back: bool,
    /// Something was written to a run that had ended.
    pub written_after_end: bool,
    pub cancels_left: u8,
    /// Those who have asked a run to end, and end it themselves if no worker does.
    pub callers: Vec<u8>,
}

pub const NEW: Run = Run {
    status: Status::Unknown,
    slice: 0,
    attempts: 0,
    waits: 0,
    position: 0,
    rows: 0,
    cancel_asked: false,
    pending: 0,
    told: 0,
};

impl Run {
    /// Final events that were told.
    pub fn events(&self) -> u32 {
        self.told.count_ones()
    }

    pub fn finished(&self) -> bool {
        matches!(self.status, Status::Completed | Status::Failed | Status::Cancelled)
    }

    pub fn tell(&mut self, event: Status) {
        self.pending |= 1 << event as u8;
    }

    pub fn finish(&mut self, status: Status) {
        self.status = status;
        self.tell(status);
    }
}

impl Job {
    pub fn begin(message: Message) -> Self {
        Self {
            message,
            step: Step::TakeLease,
            grip: Grip::Holds,
            newest: false,
            open: false,
            position: 0,
            waits: 0,
            begun: false,
            waiting: false,
            undelivered: false,
            handed_back: false,
        }
    }
}

impl Job {
    /// The next step.
    pub fn name(&self) -> String {
        let Self { message: Message { request, slice }, step, newest, .. } = self;
        let overtaken = if *newest || *step == Step::TakeLease { "" } else { " of one that was overtaken" };
        format!("{step:?} of {request}, slice {slice}{overtaken}")
    }
}

impl State {
    pub fn run(&mut self, job: &Job) -> &mut Run {
        &mut self.runs[usize::from(job.message.request)]
    }

    pub fn enqueue(&mut self, message: Message) {
        self.queue.push(message);
        self.queue.sort();
    }

    /// The broker has nothing of this request any more.
    pub fn is_settled_with_broker(&self, request: u8) -> bool {
        let held = self.workers.iter().flatten().filter(|job| matches!(job.grip, Grip::Holds | Grip::Cancelled));
        let mut messages =
            self.queue.iter().chain(&self.delayed).chain(&self.undelivered).copied().chain(held.map(|job| job.message));
        !messages.any(|message| message.request == request)
    }

    /// The worker drops what it does; what it holds goes back to the queue.
    pub fn leave(&mut self, worker: usize) {
        let Some(job) = self.workers[worker].take() else { return };
        if job.undelivered {
            self.undelivered.push(job.message);
        } else if matches!(job.grip, Grip::Holds | Grip::Cancelled) {
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
            Step::DeliverAgain => self.enqueue(job.message),
            _ => self.runs.iter_mut().for_each(|run| run.told |= run.pending),
        }
    }

    pub fn relay(&mut self) {
        self.runs.iter_mut().for_each(|run| run.told |= std::mem::take(&mut run.pending));
    }
}
