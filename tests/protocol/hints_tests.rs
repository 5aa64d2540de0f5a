//! What hints are promised, and which rule each promise needs.

use std::collections::HashMap;

use stateright::{Model, Property};

use super::hints::{Hints, Job, Stage, State, Step, content};
use super::rules::{HINT_RULES, HintRules};
use super::{breaks, holds};

const NOT_LEFT: &str = "no hint waits for ever";
const LOOKED: &str = "the row is what the record was as the last call came, or later, once all is settled";
const COVERED: &str = "no hint is served by a request from before its call";
const FORWARD: &str = "no answer replaces one that was asked for later";
const FENCED: &str = "no write with a stale epoch";
const BOUNDED: &str = "one wake-up message waits, and one more for each slice, fault and delay";
const PROMPT: &str = "without a fault or a delay no hint waits for ten seconds to pass";
const NOTICED: &str = "nor, while nothing runs, for a process that looks by itself";

/// In every state, and the states without which the check would be of little worth.
pub fn properties(model: &Hints) -> Vec<Property<Hints>> {
    fn always(name: &'static str, holds: fn(&Hints, &State) -> bool) -> Property<Hints> {
        Property::always(name, holds)
    }
    fn sometimes(name: &'static str, holds: fn(&Hints, &State) -> bool) -> Property<Hints> {
        Property::sometimes(name, holds)
    }
    let mut properties = vec![
        always(NOT_LEFT, |m, s| !s.waits() || !m.is_still(s, Hints::progress)),
        always(LOOKED, |m, s| {
            s.waits()
                || (s.announced..=s.source).any(|version| content(version) == s.row.content)
                || !m.is_still(s, Hints::progress)
        }),
        always(COVERED, |_, s| !s.overserved),
        always(FORWARD, |_, s| !s.went_back),
        always(FENCED, |_, s| !s.stale_write),
        always(BOUNDED, |m, s| s.wake_ups <= 1 + m.runs + m.faults - s.faults_left + m.delays - s.delays_left),
        always(PROMPT, |m, s| !s.waits() || !m.is_undisturbed(s) || !m.is_still(s, Hints::soon)),
        always(NOTICED, |m, s| !s.waits() || s.hint.was_put_off || !m.is_noticed(s) || !m.is_still(s, Hints::at_once)),
        sometimes("the record changes while an answer is stored", |_, s| {
            looks(s).any(|job| job.look == Step::Commit && job.looked.content != content(s.source))
        }),
        sometimes("somebody is woken and finds nothing", |_, s| {
            looks(s).any(|job| !job.is_run && job.look == Step::Choose && !job.has_looked && !s.waits())
        }),
    ];
    if model.calls > 1 {
        properties.push(sometimes("who was woken wakes the next", |_, s| {
            s.workers.iter().flatten().any(|job| job.stage == Stage::Publish)
        }));
        properties.push(sometimes("a look finds nothing new", |_, s| s.hint.put_off && s.waits()));
        properties.push(sometimes("a call comes while the look is under way", |_, s| {
            looks(s).any(|job| job.look == Step::Commit && job.called < s.hint.generation)
        }));
    }
    if model.faults > 0 {
        properties.push(sometimes("all is settled after every fault", |m, s| {
            s.faults_left == 0 && s.calls_left == 0 && m.is_still(s, Hints::progress)
        }));
        properties.push(sometimes("a worker that was overtaken wants to store an answer", |_, s| {
            looks(s).any(|job| !job.newest && job.look == Step::Commit)
        }));
        properties.push(sometimes("two workers look at one record", |_, s| {
            looks(s).filter(|job| job.look == Step::Answer).count() == 2
        }));
    }
    if model.runs > 0 {
        properties.push(sometimes("a slice serves a hint", |_, s| {
            looks(s).any(|job| job.is_run && job.look == Step::Choose && job.has_looked && !s.waits())
        }));
        properties.push(sometimes("a slice reads a list and looks at once", |_, s| {
            looks(s).any(|job| job.look == Step::Commit && job.page == Step::Commit)
        }));
        properties.push(sometimes("a slice ends while a hint waits", |_, s| {
            s.waits() && s.workers.iter().flatten().any(|job| job.is_run && job.stage == Stage::Ack)
        }));
    }
    properties
}

/// Those who serve hints.
fn looks(s: &State) -> impl Iterator<Item = &Job> {
    s.workers.iter().flatten().filter(|job| job.stage == Stage::Work)
}

/// A change, two calls, and one fault.
fn small(rules: HintRules) -> Hints {
    Hints { rules, changes: 1, calls: 2, runs: 0, faults: 1, delays: 0 }
}

/// The same without a fault.
fn calm(rules: HintRules) -> Hints {
    Hints { faults: 0, ..small(rules) }
}

#[test]
fn a_fault_loses_no_hint() {
    holds("hints, one change, two calls, one fault", small(HINT_RULES));
}

#[test]
fn two_faults_and_a_delay_lose_no_hint() {
    holds(
        "hints, one change, one call, two faults, one delay",
        Hints { calls: 1, faults: 2, delays: 1, ..small(HINT_RULES) },
    );
}

#[test]
fn three_changes_and_three_calls_lose_no_hint() {
    holds("hints, three changes, three calls", Hints { changes: 3, calls: 3, ..calm(HINT_RULES) });
}

#[test]
fn a_fault_beside_a_slice_loses_no_hint() {
    holds("hints, one change, one call, a slice, one fault", Hints { calls: 1, runs: 1, ..small(HINT_RULES) });
}

#[test]
fn two_calls_beside_a_slice_are_both_served() {
    holds("hints, two changes, two calls, a slice", Hints { changes: 2, runs: 1, ..calm(HINT_RULES) });
}

#[test]
fn a_call_beside_two_slices_is_served() {
    holds(
        "hints, one change, one call, two slices, one delay",
        Hints { calls: 1, runs: 2, delays: 1, ..calm(HINT_RULES) },
    );
}

/// Without this, what is promised once all is settled would say nothing of workers that go on for ever.
#[test]
fn every_way_of_a_hint_comes_to_an_end() {
    fn ends(model: &Hints, state: State, ended: &mut HashMap<State, bool>) -> bool {
        if let Some(ended) = ended.get(&state) {
            return *ended;
        }
        ended.insert(state.clone(), false);
        let all = model.next_states(&state).into_iter().all(|next| ends(model, next, ended));
        ended.insert(state, all);
        all
    }
    let models = [
        Hints { calls: 1, delays: 1, ..small(HINT_RULES) },
        Hints { calls: 1, runs: 1, delays: 1, ..calm(HINT_RULES) },
    ];
    for model in models {
        let mut ended = HashMap::new();
        assert!(model.init_states().into_iter().all(|state| ends(&model, state, &mut ended)));
    }
}

#[test]
fn a_generation_that_is_not_compared_covers_a_call_that_came_later() {
    let rules = HintRules { compares_generation: false, ..HINT_RULES };
    breaks("no generation", calm(rules), COVERED);
    breaks("no generation", calm(rules), LOOKED);
}

#[test]
fn a_generation_that_is_read_after_the_request_covers_a_call_that_came_later() {
    let rules = HintRules { reads_generation_first: false, ..HINT_RULES };
    breaks("a generation of after the request", calm(rules), COVERED);
}

#[test]
fn a_mark_before_its_rows_loses_them() {
    let rules = HintRules { rows_with_mark: false, ..HINT_RULES };
    breaks("a mark before its rows", small(rules), LOOKED);
}

#[test]
fn without_the_fence_an_old_answer_replaces_a_newer_one() {
    let rules = HintRules { fence: false, ..HINT_RULES };
    breaks("hints without the fence", small(rules), FENCED);
    breaks("hints without the fence", Hints { changes: 2, ..small(rules) }, FORWARD);
}

#[test]
fn unless_the_newest_answer_counts_a_list_takes_back_what_a_hint_brought() {
    let rules = HintRules { newest_counts: false, ..HINT_RULES };
    breaks("the last to be stored counts", Hints { runs: 1, ..calm(rules) }, FORWARD);
    breaks("the last to be stored counts", Hints { runs: 1, ..calm(rules) }, LOOKED);
}

/// The record changes and changes back; the list has seen it in between.
#[test]
fn an_answer_that_equals_the_row_is_remembered_or_an_older_one_replaces_it() {
    let rules = HintRules { remembers_equal: false, ..HINT_RULES };
    breaks("equal answers are forgotten", Hints { changes: 2, runs: 1, ..calm(rules) }, FORWARD);
    breaks("equal answers are forgotten", Hints { changes: 2, runs: 1, ..calm(rules) }, LOOKED);
}

#[test]
fn unless_the_consumer_takes_the_wish_back_the_next_hint_waits_for_ten_seconds() {
    let rules = HintRules { clears_asked: false, ..HINT_RULES };
    breaks("the wish stays", calm(rules), PROMPT);
}

#[test]
fn unless_the_end_of_serving_is_noted_the_next_hint_waits_for_ten_seconds() {
    let rules = HintRules { clears_serving: false, ..HINT_RULES };
    breaks("serving does not end", calm(rules), PROMPT);
    breaks("serving does not end", Hints { runs: 1, ..calm(rules) }, PROMPT);
}

#[test]
fn unless_a_message_is_asked_for_once_the_queue_fills_up() {
    let rules = HintRules { asks_once: false, ..HINT_RULES };
    breaks("messages are asked for again and again", calm(rules), BOUNDED);
}

#[test]
fn a_wish_that_does_not_expire_leaves_hints_where_a_message_was_lost() {
    let rules = HintRules { asked_expires: false, ..HINT_RULES };
    breaks("a wish for ever", small(rules), NOT_LEFT);
}

#[test]
fn unless_who_serves_is_spared_the_queue_fills_up() {
    let rules = HintRules { spares_who_serves: false, ..HINT_RULES };
    breaks("who serves is woken", Hints { runs: 1, ..calm(rules) }, BOUNDED);
}

#[test]
fn serving_that_does_not_expire_leaves_hints_where_a_worker_died() {
    let rules = HintRules { serving_expires: false, ..HINT_RULES };
    breaks("serving for ever", small(rules), NOT_LEFT);
}

#[test]
fn a_look_that_lasts_and_says_nothing_fills_the_queue_up() {
    let rules = HintRules { says_so: false, ..HINT_RULES };
    breaks("a long look says nothing", calm(rules), BOUNDED);
    breaks("a long look says nothing", Hints { runs: 1, ..calm(rules) }, BOUNDED);
}

#[test]
fn unless_the_next_is_woken_before_the_ack_a_hint_waits_for_a_look() {
    let rules = HintRules { wakes_again: false, ..HINT_RULES };
    breaks("the next is not woken", calm(rules), NOTICED);
}

#[test]
fn without_a_notice_a_hint_waits_for_a_look() {
    let rules = HintRules { notifies: false, ..HINT_RULES };
    breaks("no notice", calm(rules), NOTICED);
}

#[test]
fn unless_somebody_looks_a_hint_is_left_where_a_process_died() {
    let rules = HintRules { looks: false, ..HINT_RULES };
    breaks("nobody looks", small(rules), NOT_LEFT);
    breaks("nobody looks", calm(rules), NOT_LEFT);
}
