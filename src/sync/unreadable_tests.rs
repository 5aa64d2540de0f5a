//! Pages with records that cannot be read.

use super::*;

/// A page of records that can be read, with these ids and times, and this many that cannot.
fn spoiled(sound: std::ops::Range<u128>, at: i64, rejected: u128) -> Page {
    let records = sound.map(|id| record(Uuid::from_u128(id), at)).collect();
    let bad = |id| answer::Rejected { id: Uuid::from_u128(1 << 64 | id), reason: "it is bad".to_owned(), has_id: true };
    Page { records, rejected: (0..rejected).map(bad).collect(), ..Page::default() }
}

#[test]
fn a_record_that_cannot_be_read_is_one_of_the_page_and_breaks_no_order() {
    for resource in ["contacts", "events"] {
        let start = ListCursor::start(catalog::find(resource).expect("known"), None, 0);
        let Ok(Next::Page(at)) = start.after(&spoiled(0..97, 7, 3)) else { panic!("{resource}: the page is full") };
        let Ok(Next::PassEnd(end)) = at.after(&spoiled(97..150, 8, 1)) else { panic!("{resource}: this one is not") };
        if resource == "events" {
            // It counts by its id: on both pages, it may have hidden another.
            assert!(matches!(
                end.judge(Evidence { distinct: 153, since: None, full: false, once: true }),
                Verdict::Again(_)
            ));
        }
    }
    let start = ListCursor::start(catalog::find("events").expect("known"), None, 0);
    let Ok(Next::PassEnd(end)) = start.after(&spoiled(0..50, 7, 3)) else { panic!("a short page is the end") };
    assert_eq!(end.judge(Evidence { distinct: 53, since: None, full: true, once: true }), VERIFIED);
}

#[test]
fn a_full_page_of_nothing_that_can_be_read_is_an_error_and_no_loop() {
    for resource in ["contacts", "events"] {
        let start = || ListCursor::start(catalog::find(resource).expect("known"), None, 0);
        let error = start().after(&spoiled(0..0, 0, 100)).expect_err("nowhere to go on");
        assert!(error.contains("no record of a full page can be read") && error.contains("it is bad"), "{error}");
        assert!(start().after(&spoiled(0..0, 0, 99)).is_ok(), "the end of the list");
    }
}
