//! In which order the steps of a run are worked on. Pure.

use std::collections::HashSet;

use super::cursor::Step;
use super::slice::LISTS_AT_ONCE;
use crate::catalog::Scope;
use crate::store::runs::Phase;

/// A step to begin beside those that are worked on.
///
/// Lists come first, of all resources: they make the rows usable. Then deletions, then details, and last those that are
/// merely old. Which partitions a resource has follows from the lists before it. Only lists are read beside each other:
/// to mark a record deleted is to mark its children, and two that do so could wait for each other's rows.
pub fn next_step(steps: &[Step], busy: &HashSet<usize>) -> Option<usize> {
    let phase = [Phase::List, Phase::Sweep, Phase::Detail, Phase::Aged]
        .into_iter()
        .find(|phase| steps.iter().any(|step| step.phase == *phase))?;
    let mut waiting = (0..steps.len()).filter(|index| steps[*index].phase == phase && !busy.contains(index));
    if phase != Phase::List && !busy.is_empty() {
        return None;
    }
    match phase {
        Phase::List => {}
        // In turns: one that has more of them than a run may fetch does not hold back the others, run after run.
        Phase::Aged => return waiting.min_by_key(|index| steps[*index].counts.aged),
        Phase::Sweep | Phase::Detail | Phase::Done => return waiting.next(),
    }
    let needs_others = |index: usize| !matches!(steps[index].resource.scope, Scope::Account | Scope::Type(_));
    let others_are_listed = |index: usize| steps[..index].iter().all(|step| step.phase != Phase::List);
    waiting.find(|index| !needs_others(*index) || others_are_listed(*index)).filter(|_| busy.len() < LISTS_AT_ONCE)
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
