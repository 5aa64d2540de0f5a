//! What the account's authorization is promised, and which rule each promise needs.

use stateright::Property;

use super::refresh::{Action, Refresh, Standing, State, Step};
use super::rules::{REFRESH_RULES, RefreshRules};
use super::{breaks, holds};

const NO_REUSE: &str = "no token is refused, but where no client can prevent it";
const KEPT: &str = "a token that works is not put aside";
const ASKED_ONCE: &str = "a person is asked once";
const NOT_IN_VAIN: &str = "nobody is asked while a pair lies parked since before the refusal";
const NOT_LEFT: &str = "no pair is left parked while a person is asked";
const FENCED: &str = "no intent with a stale epoch";

/// In every state, and the states without which the check would be of little worth.
pub fn properties(_: &Refresh) -> Vec<Property<Refresh>> {
    fn always(name: &'static str, holds: fn(&Refresh, &State) -> bool) -> Property<Refresh> {
        Property::always(name, holds)
    }
    fn sometimes(name: &'static str, holds: fn(&Refresh, &State) -> bool) -> Property<Refresh> {
        Property::sometimes(name, holds)
    }
    vec![
        always(NO_REUSE, |_, s| s.refused & !s.excused == 0),
        always(KEPT, |_, s| s.row.standing != Standing::Required || !s.works(s.row.token)),
        always(ASKED_ONCE, |_, s| !s.asked_twice),
        always(NOT_IN_VAIN, |_, s| !s.asked_in_vain),
        always(NOT_LEFT, |m, s| {
            let mut actions = Vec::new();
            m.progress(s, &mut actions);
            let left = s.row.standing == Standing::Required && s.live_pair_is_parked() && s.all_idle();
            !left || actions.iter().any(|action| matches!(action, Action::Start(_)))
        }),
        always(FENCED, |_, s| !s.stale_intent),
        sometimes("an intent is taken over", |_, s| {
            s.workers.iter().any(|worker| {
                worker.step == Step::Intend && s.row.standing == Standing::Refreshing { by: 0, over: true }
            })
        }),
        sometimes("a parked pair is stored", |_, s| {
            s.workers.iter().filter_map(|worker| worker.drained).any(|pair| pair.made_from == s.row.generation)
        }),
        sometimes("a parked pair is history", |_, s| {
            s.workers.iter().filter_map(|worker| worker.drained).any(|pair| pair.made_from < s.row.generation)
        }),
        sometimes("an attempt that took too long is withdrawn", |_, s| {
            s.workers.iter().any(|worker| worker.late && worker.step == Step::Check)
        }),
        sometimes("a refusal is not believed, since the generation has moved", |_, s| {
            s.workers.iter().any(|worker| worker.step == Step::Refuse && worker.generation < s.row.generation)
        }),
        sometimes("it goes on after a person has authorized", |_, s| {
            let asked_first = s.asked.trailing_zeros();
            s.row.standing == Standing::Authorized && u32::from(s.row.generation) > asked_first + 1
        }),
    ]
}

/// This rule is needed even where there is only one fault.
fn needs(what: &str, rules: RefreshRules, promise: &'static str) {
    breaks(what, Refresh { rules, faults: 1 }, promise);
}

#[test]
fn two_faults_break_no_promise() {
    holds("a refresh with two faults", Refresh { rules: REFRESH_RULES, faults: 2 });
}

#[test]
fn without_the_generation_an_old_pair_replaces_a_new_one() {
    needs("no generation at the store", RefreshRules { generation_at_store: false, ..REFRESH_RULES }, NO_REUSE);
    needs("no generation at the store", RefreshRules { generation_at_store: false, ..REFRESH_RULES }, KEPT);
}

#[test]
fn without_the_generation_an_attempt_buys_a_pair_that_it_cannot_store() {
    needs("no generation at the intent", RefreshRules { generation_at_intent: false, ..REFRESH_RULES }, NO_REUSE);
}

#[test]
fn without_the_generation_an_old_refusal_puts_a_new_pair_aside() {
    needs("no generation at the refusal", RefreshRules { generation_at_refusal: false, ..REFRESH_RULES }, KEPT);
}

#[test]
fn without_the_intent_two_workers_send_one_token() {
    needs("no intent", RefreshRules { intent: false, ..REFRESH_RULES }, NO_REUSE);
}

/// The look at the parked pairs comes before the intent. Only the epoch makes sure that nobody else's attempt is in between.
#[test]
fn without_the_epoch_an_attempt_may_have_looked_for_parked_pairs_too_early() {
    needs("no epoch at the intent", RefreshRules { epoch: false, ..REFRESH_RULES }, NO_REUSE);
    needs("no epoch at the intent", RefreshRules { epoch: false, ..REFRESH_RULES }, FENCED);
}

#[test]
fn an_intent_taken_over_before_its_deadline_sends_one_token_twice() {
    needs("no wait for the deadline", RefreshRules { waits_for_deadline: false, ..REFRESH_RULES }, NO_REUSE);
}

#[test]
fn a_deadline_that_is_not_looked_at_before_sending_sends_one_token_twice() {
    needs("no look at the deadline", RefreshRules { checks_deadline: false, ..REFRESH_RULES }, NO_REUSE);
}

#[test]
fn a_pair_that_is_not_parked_is_lost_with_its_process() {
    needs("no parking", RefreshRules { parks: false, ..REFRESH_RULES }, NO_REUSE);
}

#[test]
fn a_parked_pair_that_nobody_looks_for_makes_the_old_token_be_sent() {
    needs("no look before the old token", RefreshRules { looks_first: false, ..REFRESH_RULES }, NO_REUSE);
}

#[test]
fn a_refusal_that_is_believed_at_once_asks_a_person_for_nothing() {
    let rules = RefreshRules { looks_again: false, ..REFRESH_RULES };
    breaks("no look after a refusal", Refresh { rules, faults: 2 }, NOT_IN_VAIN);
}

/// A pair in another process's hand is in nobody's queue: whoever looks then finds nothing, and sends the old token.
#[test]
fn two_processes_that_take_parked_pairs_at_once_send_a_used_token() {
    needs("parked pairs are taken by two at once", RefreshRules { drains_alone: false, ..REFRESH_RULES }, NO_REUSE);
}

/// A pair that is parked as a person is asked already stays where it is, until the person has authorized for nothing.
#[test]
fn a_pair_that_is_parked_late_is_left_while_a_person_is_asked() {
    let rules = RefreshRules { drains_while_asked: false, ..REFRESH_RULES };
    breaks("no look while a person is asked", Refresh { rules, faults: 2 }, NOT_LEFT);
}
