//! A worker that was woken, or works on a slice, step by step, as `src/worker/mod.rs` and `src/sync/hints.rs` have it.

use super::hints::{Answer, Hints, Job, Row, Stage, Stamp, State, Step, content};

impl Job {
    pub fn begin(is_run: bool) -> Self {
        Self {
            is_run,
            stage: Stage::TakeLease,
            newest: false,
            lost: false,
            look: Step::Say,
            looked: Answer::default(),
            generation: 0,
            called: 0,
            has_looked: false,
            page: if is_run { Step::Ask } else { Step::Over },
            listed: Answer::default(),
            remembered: 0,
        }
    }

    pub fn name(&self) -> &'static str {
        match (self.is_run, self.stage == Stage::Work && !self.newest) {
            (true, false) => "slice",
            (true, true) => "overtaken slice",
            (false, false) => "woken",
            (false, true) => "overtaken woken",
        }
    }

    /// It has said that it serves hints.
    pub fn serves(&self) -> bool {
        self.stage == Stage::Work && !matches!(self.look, Step::Say | Step::Over)
    }
}

impl Hints {
    /// What a worker is in the midst of is dropped, and it says that nobody serves hints any more. Between the two
    /// nothing else can happen than before.
    pub fn end(&self, s: &mut State, job: Job) -> Job {
        if self.rules.clears_serving {
            s.serving = Stamp::Never;
        }
        let stage = if job.is_run || !self.rules.wakes_again { Stage::Ack } else { Stage::WakeNext };
        Job { stage, lost: job.lost, look: Step::Over, page: Step::Over, ..Job::begin(job.is_run) }
    }

    /// The next step, but for what is read and looked at.
    pub fn go(&self, s: &mut State, w: usize) {
        let Some(mut job) = s.workers[w] else { return };
        match job.stage {
            Stage::TakeLease => {
                s.workers.iter_mut().flatten().for_each(|other| other.newest = false);
                (job.newest, job.stage) = (true, Stage::Work);
            }
            Stage::Work => {}
            Stage::WakeNext => {
                job.stage = Stage::Ack;
                if s.is_due() && self.is_free(s) {
                    (s.asked, job.stage) = (Stamp::Fresh, Stage::Publish);
                }
            }
            Stage::Publish => {
                s.wake_ups += 1;
                job.stage = Stage::Ack;
            }
            Stage::Ack => {
                s.workers[w] = None;
                return;
            }
        }
        s.workers[w] = Some(job);
    }

    /// Not fenced: a worker that was overtaken says so, too.
    pub fn say(&self, s: &mut State) {
        s.serving = Stamp::Fresh;
        if self.rules.clears_asked {
            s.asked = Stamp::Never;
        }
    }

    /// The next step of the look at hints.
    pub fn look(&self, s: &mut State, w: usize) {
        let Some(mut job) = s.workers[w] else { return };
        match job.look {
            Step::Say => {
                self.say(s);
                job.look = Step::Choose;
            }
            Step::Choose if s.is_due() => (job.generation, job.look) = (s.hint.generation, Step::Ask),
            Step::Choose | Step::Over => job = self.end(s, job),
            Step::Ask => {
                job.looked.asked = s.now();
                (job.called, job.look) = (s.hint.generation, Step::Answer);
            }
            Step::Answer => {
                job.looked.content = content(s.source);
                if !self.rules.reads_generation_first {
                    job.generation = s.hint.generation;
                }
                job.look = Step::Commit;
            }
            Step::Commit => {
                if self.rules.fence && !job.newest {
                    if !job.is_run {
                        return s.leave(w);
                    }
                    // It will be so each time; the run comes to it by itself.
                    (job.look, job.looked) = (Step::Over, Answer::default());
                    s.workers[w] = Some(job);
                    return;
                }
                s.stale_write |= !job.newest;
                let changed = if self.rules.rows_with_mark {
                    let is_beside = matches!(job.page, Step::Answer | Step::Commit);
                    self.merge(s, &mut job.remembered, job.looked, is_beside)
                } else {
                    job.looked.content != s.row.content
                };
                self.settle(s, &job, changed);
                job.look = if self.rules.rows_with_mark { Step::Choose } else { Step::Merge };
            }
            Step::Merge => {
                self.merge(s, &mut job.remembered, job.looked, false);
                job.look = Step::Choose;
            }
        }
        if job.look == Step::Choose {
            job.has_looked |= job.looked.asked > 0;
            (job.looked, job.generation, job.called) = (Answer::default(), 0, 0);
        }
        s.workers[w] = Some(job);
    }

    /// The next step of the list that a run reads.
    pub fn read(&self, s: &mut State, w: usize) {
        let Some(mut job) = s.workers[w] else { return };
        match job.page {
            Step::Ask => (job.listed.asked, job.page) = (s.now(), Step::Answer),
            Step::Answer => (job.listed.content, job.page) = (content(s.source), Step::Commit),
            Step::Commit => {
                if self.rules.fence && !job.newest {
                    // Its message is back in the queue. It says all the same that it serves no hints.
                    s.workers[w] = Some(self.end(s, job));
                    return;
                }
                s.stale_write |= !job.newest;
                let is_beside = matches!(job.look, Step::Answer | Step::Commit);
                self.merge(s, &mut job.remembered, job.listed, is_beside);
                (job.listed, job.page) = (Answer::default(), Step::Over);
            }
            Step::Say | Step::Choose | Step::Merge | Step::Over => {}
        }
        if !matches!(job.page, Step::Answer | Step::Commit) && !matches!(job.look, Step::Answer | Step::Commit) {
            job.remembered = 0;
        }
        s.workers[w] = Some(job);
    }

    /// The newest answer counts, by when it was asked for. True if the row changes. `is_beside`: another request of the
    /// process is on its way.
    fn merge(&self, s: &mut State, remembered: &mut u8, answer: Answer, is_beside: bool) -> bool {
        let is_newer = s.row.asked < answer.asked && *remembered < answer.asked;
        if self.rules.newest_counts && !is_newer {
            return false;
        }
        let is_equal = s.row.content == answer.content;
        if !is_equal {
            s.went_back |= answer.asked <= s.shown;
            s.row = Row { content: answer.content, asked: answer.asked };
        } else if is_beside && self.rules.remembers_equal {
            *remembered = (*remembered).max(answer.asked);
        }
        s.shown = s.shown.max(answer.asked);
        !is_equal
    }

    /// In the same transaction. A hint for which a call came meanwhile waits on.
    fn settle(&self, s: &mut State, job: &Job, changed: bool) {
        s.hint.served = s.hint.generation == job.generation || !self.rules.compares_generation;
        s.hint.put_off = !changed;
        s.hint.was_put_off = !s.hint.served && s.hint.put_off;
        s.overserved |= s.hint.served && s.hint.generation > job.called;
    }
}
