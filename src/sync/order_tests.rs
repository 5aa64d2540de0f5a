use super::*;
use crate::catalog;

fn steps(phases: &[(&str, Phase)]) -> Vec<Step> {
    let step = |(name, phase): &(&str, Phase)| {
        let mut step = Step::new(catalog::find(name).expect("known"), None);
        step.enter(*phase);
        step
    };
    phases.iter().map(step).collect()
}

fn next(phases: &[(&str, Phase)], busy: &[usize]) -> Option<usize> {
    next_step(&steps(phases), &busy.iter().copied().collect())
}

#[test]
fn lists_are_read_beside_each_other_but_for_those_whose_partitions_others_give() {
    use Phase::{Detail, List};
    let unread = [("companies", List), ("contacts", List), ("businessTypes", List), ("invoices", List)];
    assert_eq!(next(&unread, &[]), Some(0));
    assert_eq!(next(&unread, &[0, 1]), Some(3), "the countries are not known yet, and nobody waits for that");
    let known = [("companies", Detail), ("contacts", Detail), ("businessTypes", List), ("invoices", List)];
    assert_eq!(next(&known, &[3]), Some(2));
    let many = [("companies", List), ("contacts", List), ("users", List), ("teams", List), ("events", List)];
    assert_eq!(next(&many, &[0, 1, 2, 3]), None, "no more than four");
}

#[test]
fn deletions_wait_for_all_lists_and_details_for_all_deletions() {
    use Phase::{Detail, Done, List, Sweep};
    assert_eq!(next(&[("companies", Sweep), ("contacts", List)], &[1]), None);
    assert_eq!(next(&[("companies", Detail), ("contacts", Sweep), ("users", Sweep)], &[]), Some(1));
    assert_eq!(next(&[("companies", Detail), ("contacts", Done), ("users", Sweep)], &[2]), None, "one alone");
    assert_eq!(next(&[("companies", Detail), ("contacts", Done)], &[]), Some(0));
    assert_eq!(next(&[("companies", Done), ("contacts", Done)], &[]), None);
}

#[test]
fn old_details_are_fetched_in_turns() {
    let mut aged = steps(&[("invoices", Phase::Aged), ("quotations", Phase::Aged)]);
    aged[0].counts.aged = 100;
    assert_eq!(next_step(&aged, &HashSet::new()), Some(1));
}
