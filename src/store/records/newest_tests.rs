//! Answers to questions after one record, applied in any order; and the same on rows.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use sqlx::PgPool;

use super::*;
use crate::api_client::asked::{Answers, Asked};
use crate::store::progress::{self, Pass};
use crate::store::records::details;
use crate::store::records::load::Loader;
use crate::store::records::{self, Merged, Source};
use crate::store::runs::StepKey;
use crate::store::scratch::{Scratch, account, contact, contacts};
use crate::store::{comparison, pool, seen_ids};

fn at(second: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
}

/// Small numbers that depend on a seed: a linear congruential generator with Knuth's constants.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// An answer of the model: when it was asked for, made and there, and which state of the record it gives.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Answer {
    asked: i64,
    made: i64,
    answered: i64,
    state: usize,
}

impl Answer {
    fn as_state(&self, updated: &[i64]) -> State {
        State {
            asked_at: Some(at(self.asked)),
            answered_at: Some(at(self.answered)),
            updated_at: Some(at(updated[self.state])),
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.asked < other.answered && other.asked < self.answered
    }
}

/// What a row holds in the end, and whether it is to be asked for once more.
struct Copied {
    state: usize,
    doubted: bool,
}

/// Applies the answers in this order, as merging does; what was seen is remembered throughout.
fn apply(answers: &[Answer], updated: &[i64], trust: Trust) -> Copied {
    let (first, rest) = answers.split_first().expect("an answer");
    let mut row = first.as_state(updated);
    let mut copied = Copied { state: first.state, doubted: false };
    for answer in rest {
        let this = answer.as_state(updated);
        if answer.state == copied.state {
            row = row.seen(this.asked_at.zip(this.answered_at).map(|(at, answered_at)| Times { at, answered_at }));
            continue;
        }
        match row.judge(&this, trust) {
            Verdict::Counts => (row, copied.state) = (this, answer.state),
            Verdict::Doubtful => copied.doubted = true,
            Verdict::Outdated | Verdict::Equal => {}
        }
    }
    copied
}

/// Four answers on a record that changes now and then; `restored`: also to older states.
fn story(dice: &mut Dice, restored: bool) -> (Vec<Answer>, Vec<i64>) {
    let updated: Vec<i64> = (0..6).map(|n| if restored { dice.below(4) as i64 } else { n }).collect();
    // The record has state n from the second 5 n on.
    let mut answers: Vec<Answer> = Vec::new();
    while answers.len() < 4 {
        let asked = dice.below(28) as i64;
        let made = asked + dice.below(6) as i64;
        let answered = made + dice.below(6) as i64;
        if answers.iter().all(|other| other.asked != asked) {
            answers.push(Answer { asked, made, answered, state: (made / 5).min(5) as usize });
        }
    }
    // Merged in any order, whenever they came.
    let order: Vec<u64> = answers.iter().map(|_| dice.below(1000)).collect();
    let mut order: Vec<_> = order.into_iter().zip(answers).collect();
    order.sort_by_key(|(place, _)| *place);
    (order.into_iter().map(|(_, answer)| answer).collect(), updated)
}

#[test]
fn whatever_the_order_of_arrival_the_answer_that_was_asked_for_last_counts_or_the_record_is_asked_for_again() {
    let (mut dice, mut doubted, mut reversed) = (Dice(1), 0, 0);
    for restored in [false, true] {
        for story_number in 0..20_000 {
            let (answers, updated) = story(&mut dice, restored);
            let copied = apply(&answers, &updated, Trust::ById);
            let newest = answers.iter().max_by_key(|answer| answer.asked).expect("four");
            let what = || format!("story {story_number}: {answers:?}, {updated:?}");
            doubted += usize::from(copied.doubted);
            reversed += usize::from(answers[3].asked < newest.asked);
            assert!(copied.doubted || copied.state == newest.state, "{}", what());
            let latest = answers.iter().max_by_key(|answer| answer.made).expect("four");
            assert!(restored || copied.doubted || copied.state == latest.state, "{}", what());
            // Nothing is asked for in vain: of requests that follow each other the order is known.
            let apart = answers.iter().all(|one| answers.iter().all(|other| one == other || !one.overlaps(other)));
            assert!(!(apart && copied.doubted), "{}", what());
            // Asking once more settles it.
            let again = Answer { asked: 99, made: 99, answered: 100, state: 5 };
            let with_it: Vec<Answer> = answers.iter().chain([&again]).copied().collect();
            assert_eq!(apply(&with_it, &updated, Trust::ById).state, 5, "{}", what());
        }
    }
    assert!(doubted > 1_000 && reversed > 1_000, "the stories are not tame: {doubted}, {reversed}");
}

#[test]
fn a_list_that_is_older_than_the_row_is_a_reason_to_ask_and_an_answer_by_id_counts() {
    let row = State { asked_at: Some(at(10)), answered_at: None, updated_at: Some(at(5)) };
    let answer = |asked, updated| State {
        asked_at: Some(at(asked)),
        answered_at: Some(at(asked + 1)),
        updated_at: Some(at(updated)),
    };
    let judged = |answer, trusts: [Trust; 3]| trusts.map(|trust| row.judge(&answer, trust));
    let trusts = [Trust::Lagging, Trust::ById, Trust::Last];
    use Verdict::{Counts, Doubtful, Outdated};
    assert_eq!(judged(answer(20, 4), trusts), [Doubtful, Counts, Counts], "restored, or the list lags behind");
    assert_eq!(judged(answer(20, 6), trusts), [Counts; 3]);
    assert_eq!(judged(answer(8, 6), trusts), [Outdated; 3], "it was there before the row was asked for");
    let unknown = State { asked_at: None, ..row };
    assert_eq!(unknown.judge(&answer(1, 4), Trust::ById), Counts, "of a row of an earlier version nothing is known");
    assert_eq!(unknown.judge(&answer(1, 4), Trust::Lagging), Doubtful);
}

/// A contact whose answer was asked for, and there, at these seconds.
fn answered(name: &str, updated: u32, asked: (i64, i64)) -> Record {
    let (sent, ended) = asked;
    let named = contact(1, updated);
    let json = named.json.replace("Zoë", name);
    Record {
        hash: crate::api_client::answer::hash(&json),
        json,
        parent: None,
        asked: Asked::between(at(sent), at(ended)),
        ..named
    }
}

async fn merge(pool: &PgPool, record: &Record, origin: Origin) -> Merged {
    let mut tx = pool::begin(pool).await.expect("a transaction");
    let merged =
        records::merge_page(&mut tx, &account(), contacts(), [record], Source::of(origin)).await.expect("merged");
    tx.commit().await.expect("committed");
    merged
}

async fn merge_detail(pool: &PgPool, record: &Record) -> i64 {
    let mut tx = pool::begin(pool).await.expect("a transaction");
    let merged = details::merge_details(&mut tx, &account(), contacts(), std::slice::from_ref(record)).await;
    tx.commit().await.expect("committed");
    merged.expect("merged")
}

/// The name, whether the detail is stale, whether it is deleted, and when it was asked for.
async fn row(pool: &PgPool) -> (String, bool, bool, Option<i64>) {
    let sql = "select split_part(content->>'name', ' ', 1), detail_at is null or detail_at < listed_at, \
                   deleted_at is not null, \
                   extract(epoch from asked_at)::bigint
               from teamleader.contacts";
    sqlx::query_as(sql).fetch_one(pool).await.expect("one row")
}

#[tokio::test]
async fn an_answer_that_was_asked_for_earlier_writes_nothing_whatever_it_is() {
    let scratch = Scratch::create(2).await;
    let (pool, sure) = (&scratch.pool, Origin::ById);
    merge(pool, &answered("first", 1, (10, 11)), Origin::List).await;
    assert_eq!(merge_detail(pool, &answered("detail", 2, (20, 21))).await, 1);
    assert_eq!(row(pool).await, ("detail".to_owned(), false, false, Some(20)));
    for origin in [Origin::List, Origin::Changes, Origin::ById] {
        assert_eq!(
            merge(pool, &answered("late", 9, (12, 13)), origin).await,
            Merged { unchanged: 1, ..Merged::default() }
        );
    }
    assert_eq!(merge_detail(pool, &answered("late", 9, (12, 13))).await, 0);
    assert_eq!(row(pool).await.0, "detail");
    // One that was on its way when the other was sent, and differs: unknown.
    let overlapping = merge(pool, &answered("late", 9, (12, 30)), Origin::List).await;
    assert_eq!(overlapping, Merged { unchanged: 1, doubted: vec![Uuid::from_u128(1)], ..Merged::default() });
    assert_eq!(merge_detail(pool, &answered("late", 9, (12, 30))).await, 0);
    assert_eq!(row(pool).await, ("detail".to_owned(), true, false, Some(20)), "it is asked for once more");
    // An older state: from a list only a reason to ask.
    let restored = answered("restored", 0, (40, 41));
    assert_eq!(merge(pool, &restored, Origin::List).await.doubted, [Uuid::from_u128(1)]);
    assert_eq!(merge(pool, &restored, sure).await, Merged { updated: 1, ..Merged::default() });
    assert_eq!(merge_detail(pool, &answered("restored", 0, (42, 43))).await, 1);
    assert_eq!(row(pool).await, ("restored".to_owned(), false, false, Some(42)));
    scratch.drop().await;
}

#[tokio::test]
async fn a_time_of_a_row_that_has_not_come_yet_is_unknown() {
    let scratch = Scratch::create(2).await;
    let pool = &scratch.pool;
    merge(pool, &answered("first", 1, (10, 11)), Origin::List).await;
    let ahead = "update teamleader.contacts set asked_at = now() + interval '1 hour'";
    for (name, second) in [("list", 20), ("detail", 30)] {
        sqlx::query(ahead).execute(pool).await.expect("written");
        match name {
            "list" => assert_eq!(merge(pool, &answered(name, 2, (second, second)), Origin::List).await.updated, 1),
            _ => assert_eq!(merge_detail(pool, &answered(name, 2, (second, second))).await, 1),
        }
        let (held, .., asked_at) = row(pool).await;
        assert_eq!((held.as_str(), asked_at), (name, Some(second)));
    }
    scratch.drop().await;
}

#[tokio::test]
async fn a_deletion_is_an_answer_like_any_other() {
    let scratch = Scratch::create(2).await;
    let pool = &scratch.pool;
    merge(pool, &answered("first", 1, (10, 11)), Origin::List).await;
    let run = crate::ids::RunId(Uuid::from_u128(9));
    sqlx::raw_sql(
        "insert into teamleader2db.sync_run (account, id, request) \
             values ('acme', '00000000-0000-0000-0000-000000000009', '{}');
         insert into teamleader2db.sync_step (account, run_id, resource, ordinal, phase)
         values ('acme', '00000000-0000-0000-0000-000000000009', 'contacts', 1, 'sweep')",
    )
    .execute(pool)
    .await
    .expect("written");
    let mark = async |page: i32, second: i64| {
        let mut tx = pool::begin(pool).await.expect("a transaction");
        let missing = (&[Uuid::from_u128(1)][..], Some(at(second)));
        sqlx::query("delete from teamleader2db.sync_page").execute(&mut *tx).await.expect("deleted");
        seen_ids::store_missing(&mut tx, StepKey { account: &account(), run, resource: contacts() }, page, missing)
            .await
            .expect("stored");
        let marked = seen_ids::mark_deleted(&mut tx, StepKey { account: &account(), run, resource: contacts() })
            .await
            .expect("marked");
        tx.commit().await.expect("committed");
        marked
    };
    assert_eq!(mark(0, 9).await, 0, "the row was written from a later request");
    assert_eq!(mark(1, 20).await, 1);
    assert_eq!(row(pool).await, ("first".to_owned(), true, true, Some(20)));
    // A page that was asked for before does not bring it back; nor does one by COPY, for a loader that presumes it new.
    assert_eq!(merge(pool, &answered("first", 1, (15, 16)), Origin::List).await.updated, 0);
    assert!(row(pool).await.2);
    let late = [answered("first", 1, (15, 16))];
    let tx = pool::begin(pool).await.expect("a transaction");
    let (tx, merged) = Loader::presuming_new()
        .merge(tx, &account(), contacts(), &late, Source::of(Origin::List))
        .await
        .expect("merged");
    tx.commit().await.expect("committed");
    assert_eq!((merged.created, merged.updated), (0, 0));
    assert!(row(pool).await.2);
    assert_eq!(merge(pool, &answered("first", 1, (30, 31)), Origin::List).await.updated, 1);
    assert_eq!(row(pool).await, ("first".to_owned(), true, false, Some(30)));
    scratch.drop().await;
}

#[tokio::test]
async fn an_equal_answer_is_remembered_while_an_older_request_is_under_way() {
    let scratch = Scratch::create(2).await;
    let (pool, answers) = (&scratch.pool, Answers::default());
    let answer = |name, updated, (sent, ended): (i64, i64)| {
        let ticket = answers.ask("contacts", Some(at(sent))).expect("a time");
        Record { asked: ticket.answered(at(sent), at(ended)), ..answered(name, updated, (0, 0)) }
    };
    merge(pool, &answer("first", 1, (10, 11)), Origin::List).await;
    // It was sent, and is slow.
    let late = answer("other", 1, (20, 21));
    for (merged, equal) in [(30, answer("first", 1, (30, 31))), (40, answer("first", 1, (40, 41)))] {
        assert_eq!(merge(pool, &equal, Origin::List).await, Merged { unchanged: 1, ..Merged::default() }, "{merged}");
    }
    assert_eq!(row(pool).await.3, Some(10), "an equal answer is not written");
    assert_eq!(merge(pool, &late, Origin::ById).await, Merged { unchanged: 1, ..Merged::default() });
    assert_eq!(row(pool).await.0, "first", "a newer answer said that");
    // One that overlaps with the request its row was written from: the row does not know that, but it is remembered.
    let (written, meanwhile) = (answer("written", 2, (50, 60)), answer("meanwhile", 2, (55, 58)));
    written.asked.note(written.id);
    assert_eq!(merge(pool, &written, Origin::List).await.updated, 1, "it does not overlap with itself");
    assert_eq!(merge(pool, &meanwhile, Origin::List).await.doubted, [Uuid::from_u128(1)]);
    scratch.drop().await;
}

#[tokio::test]
async fn an_audit_counts_what_differs_only_where_the_row_was_written_before_its_request() {
    let scratch = Scratch::create(2).await;
    let pool = &scratch.pool;
    merge(pool, &answered("written", 1, (20, 21)), Origin::List).await;
    merge_detail(pool, &answered("written", 1, (22, 23))).await;
    let mut connection = pool.acquire().await.expect("a connection");
    let mut counts = BTreeMap::new();
    for second in [15, 30] {
        let answer = [answered("other", 1, (second, second + 1))];
        let items = comparison::items(&mut connection, &account(), contacts(), &answer).await.expect("compared");
        let details = comparison::details(&mut connection, &account(), contacts(), &answer).await.expect("compared");
        let (ids, asked) = ([Uuid::from_u128(1)], [Some(at(second))]);
        let missing =
            comparison::missing(&mut connection, &account(), contacts(), (&ids, &asked)).await.expect("compared");
        counts.insert(second, [items, details, missing].map(|found| found.differing().len()));
    }
    assert_eq!(counts, [(15, [0; 3]), (30, [1; 3])].into());
    drop(connection);
    scratch.drop().await;
}

#[tokio::test]
async fn a_watermark_that_cannot_be_is_set_back_by_a_complete_pass_alone() {
    let scratch = Scratch::create(2).await;
    let pool = &scratch.pool;
    let now = records::clock(pool).await.expect("a clock");
    let ago = |minutes| now - TimeDelta::minutes(minutes);
    let moved = async |stored: DateTime<Utc>, pass: Pass| {
        let mut connection = pool.acquire().await.expect("a connection");
        let store = "insert into teamleader2db.cursor (account, resource, watermark) values ('acme', 'contacts', $1)
            on conflict (account, resource) do update set watermark = excluded.watermark";
        sqlx::query(store).bind(stored).execute(&mut *connection).await.expect("stored");
        progress::move_watermark(&mut connection, &account(), contacts(), ago(30), pass).await.expect("moved");
        let sql = "select watermark from teamleader2db.cursor";
        sqlx::query_scalar::<_, DateTime<Utc>>(sql).fetch_one(&mut *connection).await.expect("a watermark")
    };
    let (ahead, end) = (now + TimeDelta::days(1), Some(ago(10)));
    let micro = |time: DateTime<Utc>| time.timestamp_micros();
    assert_eq!(micro(moved(ahead, Pass::Incremental).await), micro(ahead));
    for pass in [Pass::Complete(None), Pass::Complete(end)] {
        assert_eq!(micro(moved(ahead, pass).await), micro(ago(30)));
        assert_eq!(micro(moved(ago(20), pass).await), micro(ago(20)), "another pass began in the meantime");
        assert_eq!(micro(moved(ago(40), pass).await), micro(ago(30)));
    }
    assert_eq!(micro(moved(ago(5), Pass::Complete(end)).await), micro(ago(30)), "later than the pass's own end");
    assert_eq!(micro(moved(ago(5), Pass::Complete(None)).await), micro(ago(5)));
    scratch.drop().await;
}

#[test]
fn of_a_record_that_pages_give_twice_the_newer_counts_whatever_their_order() {
    let [older, newer] = [contact(1, 1), contact(1, 2)];
    for twice in [[older.clone(), newer.clone()], [newer.clone(), older]] {
        assert_eq!(of_each(&twice, Trust::Lagging).0, [&newer]);
    }
    // Of two that differ in nothing by which one could say, the later counts, unless both were on their way at once.
    let [first, apart, meanwhile] =
        [answered("a", 1, (10, 20)), answered("b", 1, (21, 22)), answered("b", 1, (15, 22))];
    assert_eq!(of_each([&first, &apart], Trust::Lagging), (vec![&apart], vec![]));
    assert_eq!(of_each([&apart, &first], Trust::Lagging), (vec![&apart], vec![]));
    assert_eq!(of_each([&first, &meanwhile], Trust::Lagging), (vec![&meanwhile], vec![Uuid::from_u128(1)]));
    assert_eq!(of_each([&first, &meanwhile], Trust::Last), (vec![&meanwhile], vec![]));
}
