//! Readers of a small list that changes between their requests.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::iter::repeat_n;

use uuid::Uuid;

use super::*;
use crate::api_client::answer;
use crate::api_client::asked::Asked;
use crate::catalog::{self, PAGE_SIZE};

/// A list as the API has it. Times are seconds since 1970.
struct List {
    /// Ids and `updated_at`, in the order that an offset list gives. Seeking sorts them, and keeps this order inside a
    /// tie.
    records: Vec<(Uuid, i64)>,
    now: i64,
    /// What was added, changed or deleted: no reader is bound to have seen it.
    touched: HashSet<Uuid>,
    /// By how much `matches` is wrong.
    reports_too_many: i64,
    /// Whether every page holds everything.
    unpaged: bool,
    /// Whether no page says how many records there are.
    silent: bool,
    /// How many records a page has, whatever it is asked for.
    given: Option<usize>,
    /// Where the API ends it.
    bound: usize,
}

type Change = fn(&mut List, usize);

impl List {
    fn of(times: impl IntoIterator<Item = i64>) -> Self {
        let records: Vec<_> = (1..).map(Uuid::from_u128).zip(times).collect();
        let now = 1000 + records.iter().map(|record| record.1).max().unwrap_or_default();
        let (touched, reports_too_many, unpaged, silent) = (HashSet::new(), 0, false, false);
        Self { records, now, touched, reports_too_many, unpaged, silent, given: None, bound: usize::MAX }
    }

    /// Ties: how many records share a time, and the time.
    fn of_ties(ties: &[(usize, i64)]) -> Self {
        Self::of(ties.iter().flat_map(|(count, at)| repeat_n(*at, *count)))
    }

    fn add(&mut self, index: usize) {
        let id = Uuid::from_u128(1 << 64 | self.touched.len() as u128);
        self.touched.insert(id);
        self.records.insert(index, (id, self.now));
    }

    fn delete(&mut self, index: usize) {
        self.touched.insert(self.records.remove(index).0);
    }

    fn update(&mut self, index: usize) {
        self.records[index].1 = self.now;
        self.touched.insert(self.records[index].0);
    }

    fn serve(&self, paging: Paging, (page, size): (u32, usize), since: Option<&str>) -> Page {
        let since = since.map(|text| answer::parse_time(text).expect("updated_since is a time").timestamp());
        let mut listed: Vec<_> = self.records.iter().filter(|record| Some(record.1) >= since).collect();
        if paging == Paging::Seek {
            listed.sort_by_key(|record| record.1);
        }
        let matches = (!self.silent).then_some(listed.len() as i64 + self.reports_too_many);
        listed.truncate(self.bound);
        if !self.unpaged {
            let size = self.given.unwrap_or(size);
            listed = listed.into_iter().skip((page as usize - 1) * size).take(size).collect();
        }
        let records = listed.into_iter().map(|(id, at)| record(*id, *at)).collect();
        Page { records, matches, dated: Some(Dated::At(time(self.now))), ..Page::default() }
    }
}

impl List {
    /// Asks for what only one of two passes gave, as the engine does.
    fn compare(&self, of_passes: &BTreeMap<i32, HashSet<Uuid>>, (pass, with): (i32, Comparison)) -> Compared {
        let differing = of_passes[&pass].symmetric_difference(&of_passes[&with.pass]);
        let is_old = |id: &&Uuid| {
            let alive = self.records.iter().find(|record| record.0 == **id);
            alive.is_some_and(|record| with.started_at.is_none_or(|started| time(record.1) < started))
        };
        Compared { pass: with.pass, unexplained: differing.filter(is_old).count() }
    }
}

fn record(id: Uuid, at: i64) -> answer::Record {
    let (updated_at, updated_at_text) = (Some(time(at)), Some(time(at).to_rfc3339()));
    let (missing_fields, type_mismatches) = (vec![], vec![]);
    answer::Record {
        id,
        updated_at,
        updated_at_text,
        json: String::new(),
        hash: [0; 16],
        missing_fields,
        type_mismatches,
        parent: None,
        asked: Default::default(),
    }
}

fn time(at: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(at, 0).expect("a time")
}

/// What a reader came to.
struct Reading {
    verdict: Verdict,
    seen: HashSet<Uuid>,
    passes: i32,
    requests: usize,
    round: Option<i64>,
    doubles: bool,
}

impl Reading {
    /// Whether it calls itself complete, and is: every record seen that was asked for and there throughout, unchanged.
    fn is_rightly_complete(&self, list: &List, since: Option<i64>) -> bool {
        let mut stayed = list.records.iter().filter(|(id, at)| Some(*at) >= since && !list.touched.contains(id));
        matches!(self.verdict, Verdict::Read { complete: true, .. }) && stayed.all(|(id, _)| self.seen.contains(id))
    }

    fn is_rightly_verified(&self, list: &List, since: Option<i64>) -> bool {
        self.verdict == VERIFIED && self.is_rightly_complete(list, since)
    }
}

const VERIFIED: Verdict = Verdict::Read { complete: true, verified: true };

/// Reads a list as the engine does, its position stored and loaded between all requests. `asked` is the resource,
/// `since`, and whether it is a full sync. `change` happens after each request, and gets its number, from 1.
fn read(list: &mut List, asked: (&str, Option<i64>, bool), change: impl FnMut(&mut List, usize)) -> Reading {
    prefetch(list, asked, 1, change)
}

/// The same, with up to `ahead` pages asked for at once. The API makes them in the opposite order.
fn prefetch(
    list: &mut List,
    asked: (&str, Option<i64>, bool),
    ahead: usize,
    change: impl FnMut(&mut List, usize),
) -> Reading {
    read_from(list, start(asked.0, asked.1), asked, ahead, change)
}

/// The same, from a position.
fn read_from(
    list: &mut List,
    mut position: ListCursor,
    asked: (&str, Option<i64>, bool),
    ahead: usize,
    mut change: impl FnMut(&mut List, usize),
) -> Reading {
    let (resource, since) = (catalog::find(asked.0).expect("a resource"), asked.1.map(time));
    let (mut seen, mut seen_in_pass) = (HashSet::new(), HashSet::new());
    let mut of_passes: BTreeMap<i32, HashSet<Uuid>> = BTreeMap::new();
    let (mut pages, mut requests) = (VecDeque::new(), 0);
    for read in 0..10_000 {
        let stored = serde_json::to_value(&position).expect("a position is JSON").to_string();
        assert_eq!(position, serde_json::from_str(&stored).expect("a stored position can be loaded"));
        assert_eq!(position.pages_read as usize, read);
        if pages.is_empty() {
            let at_once: Vec<_> = position.requests(since).take(ahead).collect();
            for (number, updated_since) in at_once.into_iter().rev() {
                let page = (number, position.size());
                pages.push_front(list.serve(resource.paging, page, updated_since.as_deref()));
                requests += 1;
                change(list, requests);
            }
        }
        let page = pages.pop_front().expect("at least one request");
        seen_in_pass.extend(page.records.iter().map(|record| record.id));
        match position.after(&page).expect("the list is sorted") {
            Next::Page(next) => position = next,
            Next::PassEnd(end) => {
                let (passes, distinct) = (end.pass(), seen_in_pass.len() as i64);
                let evidence = Evidence { distinct, since, full: asked.2, once: true };
                seen.extend(seen_in_pass.iter().copied());
                of_passes.insert(passes, std::mem::take(&mut seen_in_pass));
                pages.clear();
                let (round, doubles) = (end.round_total(distinct), end.doubles_again(distinct));
                let mut verdict = end.judge(evidence);
                if let Verdict::Compare(over) = verdict {
                    let end = over.over().expect("it is over");
                    let compared: Vec<_> =
                        end.comparisons().into_iter().map(|with| list.compare(&of_passes, (passes, with))).collect();
                    verdict = end.compared(evidence, seen.len() as i64, &compared);
                }
                match verdict {
                    Verdict::Again(next) => position = next,
                    verdict => return Reading { verdict, seen, passes, requests, round, doubles },
                }
            }
        }
    }
    panic!("the reader does not come to an end");
}

fn seek(list: &mut List, since: Option<i64>, change: impl FnMut(&mut List, usize)) -> Reading {
    read(list, ("contacts", since, true), change)
}

/// A change after some requests only.
fn when(due: impl Fn(usize) -> bool, change: impl Fn(&mut List)) -> impl FnMut(&mut List, usize) {
    move |list, request| {
        if due(request) {
            change(list);
        }
    }
}

fn start(resource: &str, since: Option<i64>) -> ListCursor {
    ListCursor::start(catalog::find(resource).expect("a resource"), since.map(time), 0)
}

#[test]
fn a_quiet_list_of_any_size_is_sought_to_its_end() {
    for size in [0, 1, 99, 100, 101, 199, 200, 1000] {
        for records_per_second in [1, 7, 99] {
            let mut list = List::of((0..size).map(|n| n / records_per_second));
            let reading = seek(&mut list, None, |_, _| {});
            assert!(reading.is_rightly_verified(&list, None), "{size} records, {records_per_second} per second");
            assert!(reading.requests as i64 <= size / (101 - records_per_second) + 2, "{size}: {}", reading.requests);
        }
    }
}

#[test]
fn seeking_misses_nothing_while_a_record_changes_after_every_request() {
    for (kind, change) in [List::update as Change, List::add, List::delete].into_iter().enumerate() {
        for per_thousand in [0, 500, 999] {
            let mut list = List::of((0..1000).map(|n| n / 3));
            let reading = seek(&mut list, None, |list, _| change(list, list.records.len() * per_thousand / 1000));
            assert!(reading.is_rightly_complete(&list, None), "{kind}, {per_thousand}");
        }
    }
}

#[test]
fn a_tie_is_read_twice_and_the_rest_once() {
    for (size, pages) in [(250, 3), (3000, 31)] {
        let mut list = List::of_ties(&[(50, 0), (size, 1), (10, 2)]);
        let reading = seek(&mut list, None, |_, _| {});
        assert!(reading.is_rightly_verified(&list, None) && reading.requests <= 2 * pages + 2, "{size}");
    }
}

#[test]
fn a_tie_may_begin_and_end_anywhere() {
    for size in [99, 100, 101, 199, 200, 201, 300] {
        for before in [0, 1, 50, 99, 100] {
            for after in [0, 1, 99, 100, 101, 250] {
                let mut list = List::of(repeat_n(0, before).chain(repeat_n(5, size)).chain(6..6 + after));
                for since in [None, Some(5)] {
                    let reading = seek(&mut list, since, |_, _| {});
                    assert!(reading.is_rightly_verified(&list, since), "{before} {size} {after} since {since:?}");
                }
            }
        }
    }
}

#[test]
fn a_tie_that_loses_records_while_it_is_read_is_read_until_it_rests() {
    for (size, per_thousand) in [(250, 0), (250, 500), (250, 999), (3000, 0), (3000, 500), (3000, 999)] {
        for leave in [List::update as Change, List::delete] {
            let mut list = List::of_ties(&[(size, 0)]);
            let reading = seek(&mut list, None, |list, request| {
                let tie: Vec<_> = (0..list.records.len()).filter(|index| list.records[*index].1 == 0).collect();
                // It comes to rest in the middle of its second reading.
                if request <= size / 65 {
                    leave(list, tie[tie.len() * per_thousand / 1000]);
                }
            });
            assert!(reading.is_rightly_complete(&list, None), "{size}, {per_thousand}");
        }
    }
}

#[test]
fn a_tie_that_never_rests_is_not_called_complete() {
    let mut list = List::of_ties(&[(3000, 0), (10, 1)]);
    let reading = seek(&mut list, Some(0), |list, _| list.delete(0));
    let unproven = Verdict::Read { complete: false, verified: false };
    assert!(reading.verdict == unproven && reading.requests < 200, "{:?}", reading.verdict);
}

#[test]
fn what_follows_a_tie_is_not_skipped_when_the_tie_shrinks_by_more_than_a_page() {
    // Requests: 1 finds the tie, 2 to 4 and 5 to 7 read it; 7 no longer meets what followed the tie when 4 did.
    for burst in 1..=8 {
        let mut list = List::of(repeat_n(0, 200).chain(10..410));
        let reading = seek(&mut list, Some(0), when(|n| n == burst, |list| (0..150).for_each(|at| list.update(at))));
        assert!(reading.is_rightly_verified(&list, Some(0)), "150 records left after request {burst}");
    }
}

#[test]
fn a_restless_tie_that_dissolves_does_not_spoil_the_next_one() {
    // Requests 2 and 3 read the first tie once, 10 and 11 for the fifth time; then it fits a page.
    let mut list = List::of_ties(&[(105, 0), (250, 10)]);
    let reading = seek(&mut list, None, |list, request| match request {
        3 | 5 | 7 | 9 => list.delete(0),
        11 => (0..50).for_each(|_| list.delete(0)),
        _ => {}
    });
    assert!(reading.is_rightly_complete(&list, None));
}

#[test]
fn an_incremental_reader_gets_what_changed_since_then() {
    for resource in ["contacts", "invoices"] {
        let mut list = List::of(0..500);
        let reading = read(&mut list, (resource, Some(250), false), |_, _| {});
        assert_eq!((reading.verdict, reading.requests), (VERIFIED, 3));
        assert_eq!(reading.seen, list.records[250..].iter().map(|record| record.0).collect());
    }
}

#[test]
fn a_list_not_sorted_as_asked_or_without_what_it_is_sorted_by_is_an_error() {
    let page = |times: &[i64]| List::of(times.iter().copied()).serve(Paging::Offset(None), (1, 100), None);
    assert!(start("contacts", None).after(&page(&[1, 3, 2])).is_err());
    assert!(start("contacts", Some(10)).after(&page(&[9, 11])).is_err(), "updated_since was ignored");
    let Ok(Next::Page(next)) = start("contacts", None).after(&page(&[7; 100])) else { panic!("it goes on") };
    assert!(next.after(&page(&[6; 100])).is_err());
    let mut page = List::of(0..2).serve(Paging::Seek, (1, 100), None);
    page.records[1].updated_at = None;
    assert!(start("contacts", None).after(&page).is_err());
    assert!(start("users", None).after(&page).is_ok());
}

#[test]
fn a_short_list_is_sought_twice_and_then_unverified_or_an_error() {
    for since in [None, Some(0)] {
        let mut list = List { reports_too_many: 1, ..List::of(0..150) };
        let reading = seek(&mut list, since, |_, _| {});
        assert!(matches!(reading.verdict, Verdict::Contradiction(_)) && reading.passes == 2, "it says the same twice");
    }
    let mut list = List { reports_too_many: 1, ..List::of(0..150) };
    let reading = seek(&mut list, None, when(|request| request == 2, |list| list.reports_too_many = 2));
    assert_eq!((reading.verdict, reading.passes), (Verdict::Read { complete: true, verified: false }, 2));
    let mut list = List { reports_too_many: 1, ..List::of(0..150) };
    let reading = seek(&mut list, None, when(|request| request == 2, |list| list.reports_too_many = 0));
    assert_eq!((reading.verdict, reading.passes), (VERIFIED, 2), "the second pass makes good");
}

/// Xorshift: the same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A list of ties and single records, and changes that come to rest after some requests.
    fn list_and_changes(mut self) -> (List, impl FnMut(&mut List, usize)) {
        let sizes = [1, 1, 30, 99, 100, 101, 200, 250, 400];
        let ties: Vec<_> = (0..self.below(9)).map(|n| (self.of(&sizes), n as i64 * 10)).collect();
        let (rest_after, most, seconds) = (self.below(40), self.of(&[1, 2, 4, 200]), self.of(&[0, 1, 1]));
        let change = move |list: &mut List, request: usize| {
            let changes = if request > rest_after || self.below(2) == 0 { 0 } else { self.below(most + 1) };
            list.now += seconds;
            let reach = self.of(&[1, 200, usize::MAX]);
            for _ in 0..changes.min(list.records.len()) {
                let index = self.below(list.records.len().min(reach));
                self.of(&[List::update, List::update, List::delete, List::add])(list, index);
            }
        };
        (List::of_ties(&ties), change)
    }
}

#[test]
fn whatever_changes_a_complete_reading_has_seen_all_that_stayed() {
    let cases = [("contacts", None, 1), ("contacts", Some(20), 4), ("users", None, 1), ("users", None, 4)];
    for (resource, since, ahead) in cases {
        let mut proven = 0;
        for seed in 1..=300_u64 {
            let (mut list, change) = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)).list_and_changes();
            let reading = prefetch(&mut list, (resource, since, true), ahead, change);
            // By offset, only two passes that agree prove anything.
            let Verdict::Read { complete, verified } = reading.verdict else { continue };
            if verified || complete && resource == "contacts" {
                assert!(reading.is_rightly_complete(&list, since), "seed {seed}: {resource} since {since:?}");
                proven += 1;
            }
        }
        assert!(proven > 100, "{resource}: {proven}");
    }
}

/// How many pages of a pass are read of a list that says to hold so much and goes on for ever, and why it ends.
fn pages_of_a_list_without_end(resource: &str, matches: Option<i64>) -> (u32, String) {
    let mut position = ListCursor::start(catalog::find(resource).expect("a resource"), None, 0);
    for number in 1.. {
        let first = u128::from(number) * PAGE_SIZE as u128;
        let records = (first..).take(PAGE_SIZE).map(|id| record(Uuid::from_u128(id), number.into())).collect();
        match position.after(&Page { records, matches, ..Page::default() }) {
            Ok(Next::Page(next)) => position = next,
            Ok(Next::PassEnd(_)) => panic!("it has no end"),
            Err(why) => return (number, why),
        }
    }
    unreachable!("numbers have no end either")
}

#[test]
fn a_list_without_end_is_given_up() {
    // By seeking and by page number.
    for resource in ["contacts", "events"] {
        for matches in [0, 100] {
            let (pages, why) = pages_of_a_list_without_end(resource, Some(matches));
            assert_eq!(pages, 2 * (matches as u32 / 100) + PAGES_BEYOND, "{resource}");
            assert!(why.contains(&format!("within {pages} pages")), "{why}");
        }
        assert_eq!(pages_of_a_list_without_end(resource, None).0, MAX_PAGES, "{resource}");
        assert_eq!(pages_of_a_list_without_end(resource, Some(1_000_000_000)).0, MAX_PAGES, "{resource}");
    }
}

#[test]
fn a_list_that_grows_while_it_is_read_is_read_to_its_end() {
    let mut list = List::of(1..=150);
    // Twenty records more with each page, for a hundred pages.
    let reading = read(&mut list, ("contacts", None, false), |list, requests| {
        if requests < 100 {
            list.now += 1;
            (0..20).for_each(|_| list.add(list.records.len()));
        }
    });
    assert!(reading.is_rightly_complete(&list, None), "{:?}", reading.verdict);
}

#[test]
fn a_seek_does_not_go_on_from_a_time_to_come() {
    let resource = catalog::find("contacts").expect("known");
    let now = DateTime::UNIX_EPOCH + chrono::TimeDelta::days(1000);
    let (asked, ahead) = (Asked::between(now, now), now.timestamp() + 3600);
    let page = |times: &[i64]| {
        let records = (1..).zip(times).map(|(n, at)| record(Uuid::from_u128(n), *at)).collect();
        Page { records, matches: Some(1000), asked: asked.clone(), ..Page::default() }
    };
    let ask_from = |next: Result<Next, String>| match next {
        Ok(Next::Page(position)) => (position.requests(None).next().and_then(|(_, since)| since), position),
        other => panic!("{other:?}"),
    };
    let mut times: Vec<i64> = (1..=PAGE_SIZE as i64).collect();
    times[PAGE_SIZE - 1] = ahead;
    let (since, position) = ask_from(ListCursor::start(resource, None, 0).after(&page(&times)));
    assert_eq!(since.as_deref().and_then(answer::parse_time).map(|at| at.timestamp()), Some(99));
    // Where nothing else is left, it ends, and proves nothing.
    let mut rest = vec![ahead; PAGE_SIZE];
    rest[0] = 99;
    let (since, position) = ask_from(position.after(&page(&rest)));
    assert_eq!(since.as_deref().and_then(answer::parse_time).map(|at| at.timestamp()), Some(ahead));
    let Ok(Next::PassEnd(end)) = position.after(&page(&[ahead])) else { panic!("it goes on") };
    assert_eq!(
        end.judge(Evidence { distinct: 1000, since: None, full: true, once: true }),
        Verdict::Read { complete: false, verified: false }
    );
}

#[path = "offset_tests.rs"]
mod by_page_number;

#[path = "unreadable_tests.rs"]
mod of_records_that_cannot_be_read;
