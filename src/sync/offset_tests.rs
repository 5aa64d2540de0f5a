//! Lists by page number that change while they are read, with and without `matches`.

use super::*;

const UNPROVEN: Verdict = Verdict::Read { complete: false, verified: false };

/// A list that says nothing of how many records it holds.
fn silent(size: i64) -> List {
    List { silent: true, ..List::of(0..size) }
}

impl List {
    /// A record changes, and with it its place.
    fn relocate(&mut self, from: usize) {
        self.update(from);
        let record = self.records.remove(from);
        let to = if from.is_multiple_of(2) { 0 } else { self.records.len() };
        self.records.insert(to, record);
    }

    /// How many records were there throughout, unchanged, and are not among these.
    fn missed(&self, seen: &HashSet<Uuid>) -> usize {
        self.records.iter().filter(|(id, _)| !self.touched.contains(id) && !seen.contains(id)).count()
    }
}

#[test]
fn a_deletion_between_two_pages_does_not_hide_a_record_without_matches() {
    // Record 100 is deleted after page 1 was made: 101 moves to its place, and is on no page.
    for full in [false, true] {
        let mut list = silent(150);
        let reading = read(&mut list, ("deals", Some(0), full), when(|request| request == 1, |list| list.delete(99)));
        assert!(reading.is_rightly_verified(&list, Some(0)) && reading.passes == 3, "{} passes", reading.passes);
        assert!(reading.seen.contains(&Uuid::from_u128(101)));
    }
}

#[test]
fn a_list_without_matches_is_read_twice_unless_a_short_page_is_all_of_it() {
    // 1,000 records end where a bound would end them, too: the first pass is none of the two that agree.
    for (size, requests) in [(0, 1), (1, 1), (99, 1), (100, 4), (101, 4), (250, 6), (999, 21), (1000, 34), (1001, 22)] {
        for full in [false, true] {
            let mut list = silent(size);
            let reading = read(&mut list, ("users", None, full), |_, _| {});
            assert!(reading.is_rightly_verified(&list, None), "{size}: {:?}", reading.verdict);
            assert_eq!(reading.requests, requests, "{size}");
        }
    }
}

/// Changes that never rest, of a kind and at a pace that the seed draws.
fn busy(dice: &mut Dice) -> (usize, impl FnMut(&mut List, usize)) {
    let size = dice.of(&[0, 40, 100, 101, 194, 250, 400, 700]);
    let (of_ten, reach) = (dice.of(&[0, 1, 2, 5, 10]), dice.of(&[1, 100, usize::MAX]));
    let kinds: Vec<Change> = (0..3).map(|_| dice.of(&[List::delete as Change, List::add, List::relocate])).collect();
    let mut own = Dice(dice.0);
    let change = move |list: &mut List, _: usize| {
        list.now += 1;
        if own.below(10) < of_ten && !list.records.is_empty() {
            let index = own.below(list.records.len().min(reach));
            own.of(&kinds)(list, index);
        }
    };
    (size, change)
}

/// How many of these seeds a reading calls complete, and how many of these miss a record.
fn play(seeds: u64, full: bool, silent: bool, one_pass: bool) -> (usize, usize) {
    let (mut complete, mut broken) = (0, 0);
    for seed in 1..=seeds {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (size, mut change) = busy(&mut dice);
        let mut list = List { silent, ..List::of(0..size as i64) };
        let seen = if one_pass {
            let (mut seen, mut number) = (HashSet::new(), 1);
            loop {
                let page = list.serve(Paging::Offset(None), (number, PAGE_SIZE), None);
                change(&mut list, 0);
                seen.extend(page.records.iter().map(|record| record.id));
                number += 1;
                if page.records.len() < PAGE_SIZE {
                    break seen;
                }
            }
        } else {
            let reading = read(&mut list, ("users", None, full), change);
            let Verdict::Read { complete: true, .. } = reading.verdict else { continue };
            reading.seen
        };
        complete += 1;
        broken += usize::from(list.missed(&seen) > 0);
    }
    (complete, broken)
}

#[test]
fn what_is_called_complete_misses_no_settled_record_whatever_changes() {
    let mut all = 0;
    for silent in [true, false] {
        for full in [true, false] {
            let (complete, broken) = play(1_000, full, silent, false);
            assert_eq!(broken, 0, "of {complete}; silent {silent}, full {full}");
            assert!(complete > 500, "silent {silent}, full {full}: {complete}");
            all += complete;
        }
    }
    // Of 4,000 readings; the others are of lists that lose records all the time.
    assert!(all > 3_500, "{all}");
}

#[test]
fn the_same_seeds_break_certificates_where_one_pass_is_believed() {
    let (complete, broken) = play(2_000, false, true, true);
    assert_eq!((complete, broken), (2_000, 274));
}

#[test]
fn a_list_with_matches_that_never_holds_still_is_proven_by_passes_that_agree() {
    let mut list = List::of(0..450);
    let reading = read(&mut list, ("users", None, true), |list, _| {
        list.now += 1;
        list.add(list.records.len());
    });
    assert!(reading.is_rightly_verified(&list, None) && reading.passes == 2, "{:?}", reading.verdict);
}

#[test]
fn a_list_that_ends_before_what_it_says_is_not_proven_by_passes_that_agree() {
    let mut list = List { bound: 300, ..List::of(0..450) };
    let reading = read(&mut list, ("users", None, true), |list, _| {
        list.now += 1;
        list.add(list.records.len());
    });
    assert_eq!((reading.verdict, reading.passes), (UNPROVEN, 4));
}

#[test]
fn a_pass_that_ends_at_a_round_number_is_none_of_two_that_agree() {
    // The API ends it only while the first pass is under way.
    let mut list = List { bound: 1_000, ..silent(1_500) };
    let reading = read(&mut list, ("users", None, true), when(|request| request == 11, |list| list.bound = usize::MAX));
    assert!(reading.is_rightly_verified(&list, None) && reading.passes == 3 && reading.round.is_none());
    // It always does: two passes that cross the number agree, and it is said.
    for size in [2_000, 2_500] {
        let mut list = List { bound: 2_000, ..silent(size) };
        let reading = read(&mut list, ("users", None, true), |_, _| {});
        assert_eq!((reading.verdict, reading.passes, reading.round), (VERIFIED, 3, Some(2_000)));
    }
    let reading = read(&mut List::of(0..2_000), ("users", None, true), |_, _| {});
    assert_eq!((reading.verdict, reading.passes, reading.round), (VERIFIED, 2, None), "it says that it holds 2,000");
}

#[test]
fn a_list_that_ignores_the_page_size_is_read_to_its_end() {
    for size in [0, 1, 19, 20, 21, 40, 130] {
        for (is_silent, resource) in [(true, "users"), (false, "users"), (true, "contacts"), (false, "contacts")] {
            let mut list = List { silent: is_silent, given: Some(20), ..List::of(0..size) };
            let reading = read(&mut list, (resource, None, true), |_, _| {});
            assert!(reading.is_rightly_verified(&list, None), "{resource}, {size}: {:?}", reading.verdict);
        }
    }
    // All passes have pages of one size, so three have to agree.
    let reading = read(&mut List { given: Some(20), ..silent(130) }, ("users", None, true), |_, _| {});
    assert_eq!((reading.passes, reading.requests), (3, 21));
    // A page of 20 of a list that does not ignore it costs a request.
    let reading = read(&mut silent(120), ("users", None, true), |_, _| {});
    assert_eq!((reading.verdict, reading.passes, reading.requests), (VERIFIED, 2, 5));
    let reading = read(&mut List::of(0..20), ("users", None, true), |_, _| {});
    assert_eq!((reading.verdict, reading.requests), (VERIFIED, 1), "it says that these are all");
}

#[test]
fn an_order_that_is_not_stable_is_noticed_by_records_that_come_twice() {
    let shuffle = |list: &mut List, request: usize| {
        let middle = list.records.len() / 2 + request;
        list.records.rotate_left(middle);
    };
    let reading = read(&mut silent(450), ("users", None, true), shuffle);
    assert!(reading.doubles && reading.verdict == UNPROVEN, "{:?}", reading.verdict);
    let reading = read(&mut silent(450), ("users", None, true), |_, _| {});
    assert!(!reading.doubles);
}

#[test]
fn a_list_whose_pages_are_too_long_is_read_with_smaller_ones() {
    for (resource, sizes) in [("users", [10, 9]), ("contacts", [10, 10])] {
        let of = catalog::find(resource).expect("a resource");
        let position = start(resource, None);
        assert_eq!(position.size(), 100);
        let smaller = position.smaller(of, None).expect("they are large");
        assert_eq!((smaller.size(), smaller.pass), (sizes[0], 2), "a pass of its own");
        assert_eq!(smaller.smaller(of, None), None, "once");
        let list = List { silent: true, reports_too_many: 1, ..List::of(0..15) };
        let Ok(Next::Page(next)) = smaller.after(&list.serve(of.paging, (1, 10), None)) else { panic!("it goes on") };
        assert_eq!(next.size(), sizes[0]);
    }
    // Passes of nine and ten records a page agree as others do.
    let mut list = silent(95);
    let of = catalog::find("users").expect("a resource");
    let position = start("users", None).smaller(of, None).expect("they are large");
    let reading = read_from(&mut list, position, ("users", None, true), 1, |_, _| {});
    assert!(reading.is_rightly_verified(&list, None), "{:?}", reading.verdict);
    assert_eq!(reading.requests, 10 + 11);
}

#[test]
fn positions_of_earlier_versions_go_on() {
    let seek = r#"{"pass":1,"pages_read":3,"matches":250,"way":{"seek":{"since":"1970-01-01T00:00:07+00:00","page":1,
        "reading":{"ids":0,"xor":0},"earlier":null,"readings":0,"beyond":null,"unproven":false,"short":null}}}"#;
    let offset = r#"{"pass":2,"pages_read":3,"pages_in_pass":1,"matches":150,"way":{"offset":{"page":2,
        "pass_ids":{"ids":100,"xor":7},"last_page":{"ids":100,"xor":7},"unsteady":false,
        "counted":[{"ids":150,"xor":9}]}}}"#;
    for text in [seek, offset] {
        let position: ListCursor = serde_json::from_str(text).expect("a position");
        assert_eq!(position.size(), 100);
        assert!(position.over().is_none() && position.requests(None).count() == 1);
    }
    // An empty second page is not the first one again.
    let without = offset.replace("\"matches\":150", "\"matches\":null");
    let position: ListCursor = serde_json::from_str(&without).expect("a position");
    let Ok(Next::PassEnd(end)) = position.after(&Page::default()) else { panic!("it ends") };
    let evidence = Evidence { distinct: 100, since: None, full: true, once: true };
    assert!(matches!(end.judge(evidence), Verdict::Again(_)), "two requests are no single one");
}

#[test]
fn an_offset_list_is_read_once_and_for_a_full_sync_twice_unless_one_page_holds_it() {
    for (size, pages) in [(0, 1), (1, 1), (99, 1), (100, 2), (101, 2), (250, 3), (1000, 11)] {
        for full in [false, true] {
            let mut list = List::of(0..size);
            let reading = read(&mut list, ("users", None, full), |_, _| {});
            let passes = if full && pages > 1 { 2 } else { 1 };
            assert!(reading.is_rightly_verified(&list, None) && reading.requests == passes * pages, "{size}, {full}");
        }
    }
}

#[test]
fn the_pages_that_a_list_said_to_have_may_be_asked_for_at_once() {
    let asked = |resource: &str, list: List| -> Vec<u32> {
        let first = start(resource, None);
        assert_eq!(first.requests(None).count(), 1, "the first page says how many follow");
        let paging = catalog::find(resource).expect("a resource").paging;
        let Ok(Next::Page(next)) = first.after(&list.serve(paging, (1, 100), None)) else { panic!("it goes on") };
        next.requests(None).map(|(page, _)| page).collect()
    };
    assert_eq!(asked("users", List::of(0..501)), [2, 3, 4, 5, 6]);
    assert_eq!(asked("users", List { reports_too_many: -500, ..List::of(0..501) }), [2]);
    assert_eq!(asked("contacts", List::of(0..501)), [1], "where to seek on is known from the page before");
}

#[test]
fn a_pass_that_skipped_or_repeated_a_record_is_outvoted() {
    // A deletion that an addition hides at once is noticed by a full sync only: its passes must agree.
    let replace = |list: &mut List, index| (list.delete(index), list.add(249)).0;
    // What a new record alone makes the difference to is no flaw of the first pass.
    let changes: [(bool, Change, i32); 5] = [
        (false, List::delete, 2),
        (false, List::add, 2),
        (true, List::delete, 3),
        (true, List::add, 2),
        (true, replace, 3),
    ];
    for (full, change, passes) in changes {
        let mut list = List::of(0..250);
        let reading = read(&mut list, ("users", None, full), when(|request| request == 1, |list| change(list, 10)));
        assert!(reading.is_rightly_verified(&list, None) && reading.passes == passes, "{} passes", reading.passes);
    }
}

#[test]
fn one_that_goes_and_one_that_comes_do_not_hide_each_other_from_the_pages_between() {
    let mut list = List::of(0..250);
    let reading = read(&mut list, ("users", None, false), |list, request| match request {
        1 => list.delete(10),
        2 => list.add(249),
        _ => {}
    });
    assert!(reading.is_rightly_verified(&list, None) && reading.passes == 2, "{} passes", reading.passes);
}

#[test]
fn passes_that_differ_only_by_what_changed_meanwhile_agree() {
    // One comes between the passes, or within the second.
    for added_after in [3, 4] {
        let mut list = List::of(0..250);
        let come = when(|request| request == added_after, |list| list.add(0));
        let reading = read(&mut list, ("users", None, true), come);
        assert!(reading.is_rightly_verified(&list, None) && reading.passes == 2, "after request {added_after}");
    }
}

#[test]
fn passes_that_each_miss_a_record_verify_nothing() {
    for silent in [false, true] {
        let mut list = List { silent, ..List::of(0..450) };
        let reading = read(&mut list, ("users", None, true), |list, _| list.delete(0));
        assert_eq!((reading.verdict, reading.passes), (Verdict::Read { complete: false, verified: false }, 4));
    }
}

#[test]
fn a_list_that_always_reports_more_than_it_gives_contradicts_itself() {
    for (size, full) in [(4, false), (4, true), (250, false), (250, true)] {
        let mut list = List { reports_too_many: 1, ..List::of(0..size) };
        let reading = read(&mut list, ("users", None, full), |_, _| {});
        assert!(matches!(reading.verdict, Verdict::Contradiction(_)), "{:?}", reading.verdict);
        assert_eq!(reading.passes, 3);
    }
}

#[test]
fn a_list_that_repeats_a_record_or_changes_its_mind_proves_nothing() {
    for reports_too_many in [0, -1] {
        let mut list = List { reports_too_many, ..List::of(0..5) };
        list.records.push(list.records[0]);
        let reading = read(&mut list, ("users", None, false), |_, _| {});
        assert_eq!(reading.verdict, Verdict::Read { complete: false, verified: false });
    }
    let report_more = when(|request| request == 1, |list| list.reports_too_many = 1);
    assert_eq!(read(&mut List::of(0..250), ("users", None, false), report_more).passes, 3);
}

#[test]
fn a_list_without_pages_gives_everything_at_once() {
    for (size, requests) in [(150, 1), (100, 2)] {
        let mut list = List { unpaged: true, ..List::of(0..size) };
        let reading = read(&mut list, ("users", None, false), |_, _| {});
        assert_eq!((reading.verdict, reading.requests, reading.seen.len()), (VERIFIED, requests, list.records.len()));
        assert_eq!(read(&mut list, ("users", None, true), |_, _| {}).verdict, VERIFIED);
    }
}

#[test]
fn a_page_that_comes_twice_is_no_proof_that_it_is_all() {
    for full in [false, true] {
        // As many records come before the first as a page has: the second page is the first one again.
        let shift = |list: &mut List| (0..100).for_each(|_| list.add(0));
        let mut list = silent(300);
        let reading = read(&mut list, ("users", None, full), when(|request| request == 1, shift));
        assert!(reading.is_rightly_verified(&list, None) && reading.passes == 3, "{} passes", reading.passes);
    }
}
