//! A worker with a delivery in hand, step by step, as `src/worker/mod.rs` and `src/store/runs/claim.rs` have it.

use super::request::{OUTAGE, PAGES, Requests};
use super::rules::{AckWhen, Fence};
use super::world::{Grip, Job, State, Status, Step};

/// Claims without progress after which a run is given up, as in `journal.rs`.
const MAX_ATTEMPTS: u8 = 5;

impl Requests {
    /// The next step goes well. A step that writes is two: its transaction begins with the fence, and commits.
    pub fn step(&self, s: &mut State, w: usize) {
        let Some(mut job) = s.workers[w] else { return };
        let writes = matches!(job.step, Step::Claim | Step::Abandon | Step::CommitSlice | Step::EndCancelled)
            || job.step == Step::Work && !self.waits(s, &job);
        if writes && !job.open {
            if self.rules.fence != Fence::Absent && !job.newest {
                return self.leave_in_order(s, w);
            }
            job.open = true;
            s.workers[w] = Some(job);
            return;
        }
        s.stale_write |= writes && !job.newest;
        job.open = false;
        let of_run = writes && matches!(job.step, Step::Work | Step::CommitSlice | Step::EndCancelled);
        if of_run && s.run(&job).status != Status::Running {
            if self.rules.ends_once {
                // Somebody has ended it: the message is acknowledged once its event is out.
                job.step = Step::Flush;
                s.workers[w] = Some(job);
                return;
            }
            s.written_after_end = true;
        }
        match job.step {
            Step::TakeLease => {
                s.workers.iter_mut().flatten().for_each(|other| other.newest = false);
                (job.newest, job.step) = (true, if job.undelivered { Step::Abandon } else { Step::Claim });
            }
            Step::Claim => self.claim(s, &mut job),
            Step::Abandon => self.abandon(s, &mut job),
            Step::Work => self.work(s, &mut job),
            Step::Merge => {
                s.run(&job).rows |= 1 << (job.position - 1);
                job.step = Step::Work;
            }
            Step::EndCancelled => {
                s.run(&job).finish(Status::Cancelled);
                job.step = Step::Flush;
            }
            Step::Copy => {
                s.publish(&job);
                job.step = if self.rules.copy_first { Step::CommitSlice } else { Step::Ack };
            }
            Step::CommitSlice => {
                let run = s.run(&job);
                run.slice = job.message.slice + 1;
                run.attempts = if self.rules.progress_forgives { 0 } else { run.attempts };
                run.waits += u8::from(job.waiting);
                job.handed_back = true;
                job.step = if self.rules.copy_first { Step::Ack } else { Step::Copy };
            }
            Step::DeliverAgain => {
                s.publish(&job);
                job.step = Step::Ack;
            }
            Step::Flush | Step::Bury => {
                s.relay();
                s.dead |= job.step == Step::Bury;
                job.step = Step::Ack;
            }
            Step::Ack => {
                s.workers[w] = None;
                return;
            }
        }
        s.workers[w] = Some(job);
    }

    /// The process lives, and takes back its claim, if it has one.
    pub fn leave_in_order(&self, s: &mut State, w: usize) {
        let claimed = |job: &Job| {
            matches!(job.step, Step::Work | Step::Merge | Step::EndCancelled | Step::Copy | Step::CommitSlice)
        };
        if let Some(job) = s.workers[w].filter(claimed)
            && self.rules.orderly_ends_forgiven
            && s.run(&job).status == Status::Running
        {
            let run = s.run(&job);
            run.attempts = run.attempts.saturating_sub(1);
        }
        s.leave(w);
    }

    fn claim(&self, s: &mut State, job: &mut Job) {
        let run = s.run(job);
        if run.finished() {
            // The same event again.
            run.tell(run.status);
            job.step = Step::Flush;
        } else if self.rules.slice_number && job.message.slice < run.slice {
            job.step = Step::Ack;
        } else if run.cancel_asked {
            run.finish(Status::Cancelled);
            job.step = Step::Flush;
        } else if run.attempts >= MAX_ATTEMPTS {
            run.finish(Status::Failed);
            job.step = Step::Bury;
        } else {
            (run.status, run.slice, run.attempts) = (Status::Running, job.message.slice, run.attempts + 1);
            (job.step, job.position, job.waits) = (Step::Work, run.position, run.waits);
        }
        if self.rules.ack == AckWhen::BeforeTheWork && job.grip == Grip::Holds {
            job.grip = Grip::Acked;
        }
    }

    /// What the broker gave up is told, and buried; but the request of a run that has begun is delivered again.
    fn abandon(&self, s: &mut State, job: &mut Job) {
        let run = s.run(job);
        job.step = Step::Bury;
        match run.status {
            _ if !self.rules.given_up_as_a_run => match run.status {
                Status::Running => run.finish(Status::Failed),
                _ => run.tell(Status::Refused),
            },
            Status::Unknown => run.finish(Status::Failed),
            Status::Running if job.message.slice < run.slice => {}
            Status::Running if self.rules.begun_never_expires => job.step = Step::DeliverAgain,
            Status::Running => run.finish(Status::Failed),
            finished => run.tell(finished),
        }
    }

    /// A zombie's copy has the number of its successor's, so a fault can make a run wait once more than there were delays.
    fn max_waits(&self) -> u8 {
        OUTAGE + self.faults
    }

    fn waits(&self, s: &State, job: &Job) -> bool {
        !job.open && s.outage > 0 && job.position < PAGES && job.waits < self.max_waits()
    }

    /// A page, the end of the run, or a wait.
    fn work(&self, s: &mut State, job: &mut Job) {
        let down = s.outage > 0;
        let run = &mut s.runs[usize::from(job.message.request)];
        let finished = match job.position {
            PAGES => Some(Status::Completed),
            _ if down && job.waits >= self.max_waits() => Some(Status::Failed),
            _ => None,
        };
        if let Some(status) = finished {
            run.finish(status);
            job.step = if self.rules.ack == AckWhen::Last { Step::Flush } else { Step::Ack };
        } else if down {
            job.waiting = true;
            job.step = if self.rules.copy_first { Step::Copy } else { Step::CommitSlice };
        } else {
            s.moved_back |= job.position < run.position;
            if self.rules.rows_with_checkpoint {
                run.rows |= 1 << job.position;
            } else {
                job.step = Step::Merge;
            }
            (job.position, job.waits, job.begun) = (job.position + 1, 0, true);
            (run.position, run.waits) = (job.position, 0);
            run.attempts = if self.rules.progress_forgives { 0 } else { run.attempts };
        }
    }
}
