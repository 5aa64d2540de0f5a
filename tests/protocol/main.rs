//! A model of the protocol, small enough to be checked in every state that it can reach.
//!
//! Three machines: `request` (deliveries, slices, the lease, the outbox), `refresh` (the token that works once) and
//! `hints` (records that webhooks name, and the messages that wake a consumer for them). The rules of each can be taken
//! out, one by one: then the checker has to find the way to a broken promise. `cargo test --test protocol --
//! --nocapture` shows how many states there are, and these ways.
#![expect(clippy::too_many_lines, reason = "a model says in one piece what may happen")]
#![allow(clippy::print_stdout)]

mod attempt;
mod delivery;
mod hints;
mod hints_tests;
mod look;
mod refresh;
mod refresh_tests;
mod request;
mod request_tests;
mod rules;
mod world;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model};

/// Every promise holds in every state, and every state worth seeing was seen.
fn holds<M>(what: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync + 'static,
{
    let checker = model.checker().threads(2).spawn_bfs().join();
    println!("{what}: {} states, {} transitions", checker.unique_state_count(), checker.state_count());
    checker.assert_properties();
}

/// There is a way to break this promise.
fn breaks<M>(what: &str, model: M, promise: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync + 'static,
{
    let first = HasDiscoveries::AnyOf(BTreeSet::from([promise]));
    let checker = model.checker().finish_when(first).spawn_bfs().join();
    let way = checker.assert_any_discovery(promise).into_vec();
    let steps = way.into_iter().filter_map(|(state, action)| checker.model().format_step(&state, action?));
    println!("{what}, and not \"{promise}\": {}", steps.collect::<Vec<_>>().join(", "));
}
