//! What requests are promised, and which rule each promise needs.

use std::collections::HashMap;

use stateright::{Model, Property};

use super::request::{OUTAGE, PAGES, Requests};
use super::rules::{AckWhen, Fence, REQUEST_RULES, RequestRules};
use super::world::{Grip, Job, Message, Run, State, Status, Step};
use super::{breaks, holds};

const TABLES: &str = "the tables equal the truth once all is settled";
const ONE_EVENT: &str = "every request has one final event once all is settled";
const ACKED_LAST: &str = "what the broker has no more was told";
const NO_FAILURE: &str = "no run fails, and nothing is dead-lettered, but what the broker gave up before it ran";
const FENCED: &str = "no write with a stale epoch";
const FORWARD: &str = "progress never moves back";
const ENDED: &str = "nothing is written to a run that has ended";
const CANCELLED: &str = "a run that was asked to end has ended once all is settled";

/// In every state, and the states without which the check would be of little worth.
pub fn properties(model: &Requests) -> Vec<Property<Requests>> {
    fn always(name: &'static str, holds: fn(&Requests, &State) -> bool) -> Property<Requests> {
        Property::always(name, holds)
    }
    fn sometimes(name: &'static str, holds: fn(&Requests, &State) -> bool) -> Property<Requests> {
        Property::sometimes(name, holds)
    }
    let mut properties = vec![
        always(TABLES, |m, s| {
            let may_lack = |run: &Run| m.gives_up && never_ran(run) || run.status == Status::Cancelled;
            !m.settled(s) || s.runs.iter().all(|run| run.rows == (1 << PAGES) - 1 || may_lack(run))
        }),
        always(ONE_EVENT, |m, s| s.runs.iter().all(|run| run.events() == 1 || run.events() == 0 && !m.settled(s))),
        always(ACKED_LAST, |_, s| {
            (0..).zip(&s.runs).all(|(request, run)| run.events() > 0 || !s.is_settled_with_broker(request))
        }),
        always(NO_FAILURE, |m, s| {
            (m.gives_up || !s.dead)
                && s.runs.iter().all(|run| run.status != Status::Failed || m.gives_up && never_ran(run))
        }),
        always(FENCED, |_, s| !s.stale_write),
        always(FORWARD, |_, s| !s.moved_back),
        always(ENDED, |_, s| !s.written_after_end),
        always(CANCELLED, |m, s| {
            !m.settled(s) || s.runs.iter().all(|run| !run.cancel_asked || run.status != Status::Running)
        }),
        sometimes("all is settled after every fault", |m, s| s.faults_left == 0 && m.settled(s)),
        sometimes("a run goes on from its checkpoint after a fault", |m, s| {
            let resumed = |job: &Job| job.step == Step::Work && !job.begun && job.position > 0;
            s.faults_left < m.faults && s.workers.iter().flatten().any(resumed)
        }),
        sometimes("an old delivery is dropped", |_, s| claims(s, |run, message| message.slice < run)),
        sometimes("two workers work on one run", |_, s| {
            s.workers.iter().all(|worker| worker.is_some_and(|job| job.step == Step::Work))
        }),
        sometimes("a worker that was overtaken wants to write", |_, s| {
            s.workers.iter().flatten().any(|job| !job.newest && job.step == Step::CommitSlice)
        }),
        sometimes("a worker that lost its message acknowledges it", |_, s| {
            s.workers.iter().flatten().any(|job| job.grip == Grip::Lost && job.step == Step::Ack)
        }),
        sometimes("a finished request is delivered again", |_, s| {
            let done = |message: &Message| s.runs[usize::from(message.request)].status == Status::Completed;
            s.queue.iter().any(done)
        }),
    ];
    if model.outages > 0 {
        properties.push(sometimes("a run waits out an outage", |_, s| {
            s.outage == 0 && s.outages_left == 0 && s.runs.iter().any(|run| run.waits == OUTAGE)
        }));
    }
    if model.cancels > 0 {
        properties.push(sometimes("a run is cancelled that is worked on", |_, s| {
            let is_cancelled = |job: &Job| s.runs[usize::from(job.message.request)].status == Status::Cancelled;
            s.workers.iter().flatten().any(|job| job.step == Step::Work && is_cancelled(job))
        }));
        properties.push(sometimes("an id is cancelled before a worker knows it", |_, s| {
            s.runs.iter().any(|run| run.status == Status::Cancelled && run.attempts == 0 && !run.cancel_asked)
        }));
        properties.push(sometimes("a run completes that was asked to end", |_, s| {
            s.runs.iter().any(|run| run.status == Status::Completed && run.cancel_asked)
        }));
    }
    properties
}

/// The broker gave it up before anybody had claimed it.
fn never_ran(run: &Run) -> bool {
    run.status == Status::Failed && run.attempts == 0 && run.slice == 0 && run.rows == 0
}

/// Somebody claims a running run of this slice number with this delivery.
fn claims(s: &State, fits: fn(u8, Message) -> bool) -> bool {
    s.workers.iter().flatten().any(|job| {
        let run = &s.runs[usize::from(job.message.request)];
        job.step == Step::Claim && run.status == Status::Running && fits(run.slice, job.message)
    })
}

/// One request, and one fault.
fn small(rules: RequestRules) -> Requests {
    Requests { rules, requests: 1, sent_twice: false, faults: 1, outages: 0, gives_up: false, cancels: 0 }
}

#[test]
fn two_faults_with_one_request_sent_twice_break_no_promise() {
    holds("one request, sent twice, two faults", Requests { sent_twice: true, faults: 2, ..small(REQUEST_RULES) });
}

#[test]
fn a_fault_with_two_requests_breaks_no_promise() {
    holds("two requests, one fault", Requests { requests: 2, ..small(REQUEST_RULES) });
}

#[test]
fn two_faults_and_an_outage_break_no_promise() {
    holds("one request, two faults, an outage", Requests { faults: 2, outages: 1, ..small(REQUEST_RULES) });
}

#[test]
fn what_the_broker_gives_up_is_told_once() {
    let model = Requests { sent_twice: true, faults: 2, gives_up: true, ..small(REQUEST_RULES) };
    holds("one request, sent twice, two faults, and the broker may give up", model);
}

#[test]
fn a_run_that_is_cancelled_ends_once() {
    let model = Requests { faults: 2, cancels: 1, ..small(REQUEST_RULES) };
    holds("one request, two faults, cancelled once", model);
    let model = Requests { sent_twice: true, cancels: 1, outages: 1, ..small(REQUEST_RULES) };
    holds("one request, sent twice, one fault, an outage, cancelled once", model);
}

#[test]
fn without_a_look_at_whether_it_is_running_a_run_ends_twice() {
    let rules = RequestRules { ends_once: false, ..REQUEST_RULES };
    breaks("ends more than once", Requests { cancels: 1, ..small(rules) }, ONE_EVENT);
    breaks("ends more than once", Requests { cancels: 1, ..small(rules) }, ENDED);
}

/// A run is abandoned, with its event; the process dies before it has acknowledged the message; the next one finds the
/// run finished, and tells under another id that the request was refused. The same with a run that was completed.
#[test]
fn what_the_broker_gives_up_is_told_twice_unless_it_ends_as_a_run() {
    let rules = RequestRules { given_up_as_a_run: false, ..REQUEST_RULES };
    breaks("a refusal where there is a run", Requests { faults: 2, gives_up: true, ..small(rules) }, ONE_EVENT);
}

/// A request is sent twice; a run begins with the one, and the other expires, or the one itself does after a crash.
#[test]
fn a_run_that_has_begun_is_ended_by_a_message_that_expires_unless_that_is_delivered_again() {
    let rules = RequestRules { begun_never_expires: false, ..REQUEST_RULES };
    let model = Requests { sent_twice: true, faults: 2, gives_up: true, ..small(rules) };
    breaks("an expired message ends a run", model, NO_FAILURE);
}

/// Without this, what is promised once all is settled would say nothing of workers that go on for ever.
#[test]
fn every_way_comes_to_an_end() {
    fn ends(model: &Requests, state: State, ended: &mut HashMap<State, bool>) -> bool {
        if let Some(ended) = ended.get(&state) {
            return *ended;
        }
        ended.insert(state.clone(), false);
        let all = model.next_states(&state).into_iter().all(|next| ends(model, next, ended));
        ended.insert(state, all);
        all
    }
    let model = Requests { outages: 1, cancels: 1, ..small(REQUEST_RULES) };
    let mut ended = HashMap::new();
    assert!(model.init_states().into_iter().all(|state| ends(&model, state, &mut ended)));
}

#[test]
fn without_the_slice_number_two_copies_wait_in_turns_and_wear_out_the_patience() {
    let rules = RequestRules { slice_number: false, ..REQUEST_RULES };
    breaks("no slice number", Requests { outages: 1, ..small(rules) }, NO_FAILURE);
}

#[test]
fn without_the_fence_a_worker_that_was_overtaken_moves_progress_back() {
    let rules = RequestRules { fence: Fence::Absent, ..REQUEST_RULES };
    breaks("no fence", small(rules), FENCED);
    breaks("no fence", small(rules), FORWARD);
    breaks("no fence", Requests { outages: 1, ..small(rules) }, NO_FAILURE);
}

#[test]
fn a_plain_select_is_no_fence() {
    let rules = RequestRules { fence: Fence::PlainSelect, ..REQUEST_RULES };
    breaks("a plain select", small(rules), FENCED);
    breaks("a plain select", small(rules), FORWARD);
}

#[test]
fn an_ack_before_the_work_loses_the_run() {
    let rules = RequestRules { ack: AckWhen::BeforeTheWork, ..REQUEST_RULES };
    breaks("ack before the work", small(rules), ONE_EVENT);
    breaks("ack before the work", small(rules), TABLES);
}

#[test]
fn an_ack_before_the_event_leaves_it_to_the_relay() {
    let rules = RequestRules { ack: AckWhen::BeforeTheEvent, ..REQUEST_RULES };
    breaks("ack before the event", small(rules), ACKED_LAST);
}

#[test]
fn a_slice_number_written_before_the_copy_is_out_loses_the_request() {
    let rules = RequestRules { copy_first: false, ..REQUEST_RULES };
    breaks("number before copy", small(rules), ONE_EVENT);
    breaks("number before copy", small(rules), TABLES);
}

#[test]
fn a_checkpoint_without_its_rows_loses_a_page() {
    let rules = RequestRules { rows_with_checkpoint: false, ..REQUEST_RULES };
    breaks("rows after the checkpoint", small(rules), TABLES);
}

#[test]
fn attempts_that_progress_does_not_forgive_give_a_sound_run_up() {
    let rules = RequestRules { progress_forgives: false, ..REQUEST_RULES };
    breaks("progress forgives no attempt", Requests { faults: 4, ..small(rules) }, NO_FAILURE);
}

/// A lost connection would count twice: the worker that does not know yet claims as well.
#[test]
fn lost_connections_that_count_as_crashes_give_a_sound_run_up() {
    let rules = RequestRules { orderly_ends_forgiven: false, ..REQUEST_RULES };
    breaks("orderly ends count", Requests { faults: 3, ..small(rules) }, NO_FAILURE);
    holds("one request, three faults", Requests { faults: 3, ..small(REQUEST_RULES) });
}
