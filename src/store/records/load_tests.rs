use sqlx::Executor;

use super::super::newest::Origin;
use super::*;
use crate::api_client::asked::Asked;
use crate::store::records::details;
use crate::store::scratch::{Scratch, account, contact, contacts};
use crate::store::{polled, pool};

fn created(created: i64) -> Merged {
    Merged { created, ..Merged::default() }
}

#[tokio::test]
async fn rows_that_are_loaded_are_as_rows_that_are_merged() {
    let (loaded, merged) = (Scratch::create(2).await, Scratch::create(2).await);
    let asked = Asked::between(Utc::now() - chrono::TimeDelta::hours(1), Utc::now());
    let timed = |id, second| Record { asked: asked.clone(), ..contact(id, second) };
    let batches = [[contact(1, 1), timed(2, 2)], [timed(3, 3), timed(4, 4)]];
    let mut loader = Loader::default();
    for batch in &batches {
        assert_eq!(loaded.merge(&mut loader, batch).await, created(2));
        assert!(loader.last.is_some(), "the next are presumed to be new");
        // One that knows of no batch before presumes nothing.
        assert_eq!(merged.merge(&mut Loader::default(), batch).await, created(2));
    }
    assert_eq!(loaded.rows().await, merged.rows().await);
    assert_eq!(loaded.rows().await.len(), 4);
    let clocks = "select bool_and(first_seen_at = changed_at and changed_at = listed_at and listed_at <= now()) \
                   from teamleader.record";
    assert_eq!(sqlx::query_scalar(clocks).fetch_one(&loaded.pool).await.ok(), Some(true));
    loaded.drop().await;
    merged.drop().await;
}

#[tokio::test]
async fn a_row_that_is_there_after_all_costs_no_other_its_place() {
    let scratch = Scratch::create(2).await;
    scratch.merge(&mut Loader::default(), &[contact(4, 1)]).await;
    let mut loader = Loader::default();
    assert_eq!(scratch.merge(&mut loader, &[contact(1, 1), contact(2, 2)]).await, created(2));
    // The last page's last record comes once more; 4 is there, and older.
    let batch = [contact(2, 2), contact(3, 3), contact(4, 4)];
    assert_eq!(
        scratch.merge(&mut loader, &batch).await,
        Merged { created: 1, updated: 1, unchanged: 1, ..Merged::default() }
    );
    // Not all of that batch were new.
    assert_eq!(
        scratch.merge(&mut loader, &[contact(4, 4), contact(5, 5)]).await,
        Merged { created: 1, updated: 0, unchanged: 1, ..Merged::default() }
    );
    // One that came with the last batch has changed since.
    assert_eq!(scratch.merge(&mut loader, &[contact(6, 6)]).await, created(1));
    assert_eq!(
        scratch.merge(&mut loader, &[contact(6, 7), contact(7, 7)]).await,
        Merged { created: 1, updated: 1, unchanged: 0, ..Merged::default() }
    );
    let merged = Scratch::create(2).await;
    let all = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 7), (7, 7)].map(|(id, second)| contact(id, second));
    merged.merge(&mut Loader::default(), &all).await;
    assert_eq!(scratch.rows().await, merged.rows().await);
    scratch.drop().await;
    merged.drop().await;
}

#[tokio::test]
async fn rows_that_are_known_are_not_looked_at() {
    let scratch = Scratch::create(2).await;
    let all = [contact(1, 1), contact(3, 3), contact(5, 5)];
    scratch.merge(&mut Loader::default(), &all).await;
    sqlx::query("update teamleader.record set deleted_at = now() where id = $1")
        .bind(all[2].id)
        .execute(&scratch.pool)
        .await
        .expect("marked");
    let mut loader =
        Loader::for_complete_list(&scratch.pool, &account(), contacts(), &Elsewhere::default()).await.expect("read");
    assert_eq!(loader.known.len(), 2, "one is marked deleted");
    // A look at the row would now show that it differs.
    let behind = "update teamleader.record set list_hash = '' where id = $1";
    sqlx::query(behind).bind(all[0].id).execute(&scratch.pool).await.expect("written");
    let items = [contact(1, 1), contact(3, 4), contact(5, 5), contact(7, 7)];
    assert_eq!(
        scratch.merge(&mut loader, &items[1..]).await,
        Merged { created: 1, updated: 2, unchanged: 0, ..Merged::default() }
    );
    assert!(!loader.has_listed_all(), "one was there that is not listed yet");
    assert_eq!(scratch.merge(&mut loader, &items[..2]).await, Merged { unchanged: 2, ..Merged::default() });
    assert!(loader.has_listed_all());
    assert!(!Loader::default().has_listed_all(), "one that knows no rows cannot say");
    let living = "select count(*) from teamleader.record where deleted_at is null";
    assert_eq!(sqlx::query_scalar(living).fetch_one(&scratch.pool).await.ok(), Some(4_i64));
    scratch.drop().await;
}

/// Rows of contacts that the transaction has read so far.
async fn read(tx: &mut PgConnection) -> i64 {
    let sql = "select coalesce(idx_tup_fetch, 0) + seq_tup_read from pg_stat_xact_user_tables \
                where relid = 'teamleader.contacts'::regclass";
    sqlx::query_scalar(sql).fetch_one(tx).await.expect("PostgreSQL answers")
}

#[tokio::test]
async fn a_table_that_was_just_filled_is_not_read_through_for_each_batch() {
    let scratch = Scratch::create(2).await;
    // As it is until PostgreSQL has counted the rows.
    scratch.pool.execute("alter table teamleader.contacts set (autovacuum_enabled = off)").await.expect("altered");
    let all: Vec<Record> = (0..2_000).map(|n| contact(2 * n + 1, 1)).collect();
    scratch.merge(&mut Loader::default(), &all).await;
    let changed: Vec<Record> = (0..10).map(|n| contact(2 * n + 1, 2)).collect();
    let tx = pool::begin(&scratch.pool).await.expect("a transaction");
    let (mut tx, merged) =
        Loader::default().merge(tx, &account(), contacts(), &changed, Source::of(Origin::List)).await.expect("merged");
    assert_eq!(merged, Merged { updated: 10, ..Merged::default() });
    let by_items = read(&mut tx).await;
    assert!(by_items < 100, "{by_items} rows read for 10 list items");
    assert_eq!(details::merge_details(&mut tx, &account(), contacts(), &changed).await.ok(), Some(10));
    let by_details = read(&mut tx).await - by_items;
    assert!(by_details < 100, "{by_details} rows read for 10 details");
    tx.rollback().await.expect("rolled back");
    scratch.drop().await;
}

#[tokio::test]
async fn a_load_that_is_dropped_at_any_of_its_awaits_leaves_a_connection_that_works() {
    // One connection: the next statement goes over the one that was loaded through.
    let scratch = Scratch::create(1).await;
    for times in 1.. {
        let mut loader = Loader::presuming_new();
        let tx = pool::begin(&scratch.pool).await.expect("a transaction");
        let items = [contact(1, 1)];
        let done = polled(times, loader.merge(tx, &account(), contacts(), &items, Source::of(Origin::List))).await;
        let answer: i64 =
            sqlx::query_scalar("select 41 + $1::bigint").bind(1_i64).fetch_one(&scratch.pool).await.expect("it works");
        assert_eq!(answer, 42, "dropped after {times} polls");
        assert_eq!(scratch.rows().await.len(), 0, "what was not committed is not there");
        if done {
            break;
        }
    }
    scratch.drop().await;
}

#[tokio::test]
async fn a_load_that_takes_too_long_says_nothing_against_its_rows() {
    let scratch = Scratch::create(1).await;
    let slow = "create function public.dawdle() returns trigger language plpgsql as $$ \
         begin perform pg_sleep(60); return new; end $$;
         create trigger dawdle before insert on teamleader.contacts for each row execute function public.dawdle()";
    sqlx::raw_sql(slow).execute(&scratch.pool).await.expect("made");
    let mut tx = pool::begin(&scratch.pool).await.expect("a transaction");
    tx.execute("set local statement_timeout = '100ms'").await.expect("set");
    let mut loader = Loader::presuming_new();
    let merged = loader.merge(tx, &account(), contacts(), &[contact(1, 1)], Source::of(Origin::List)).await;
    let error = merged.expect_err("it times out");
    assert!(error.is_transient() && !error.is_refused(), "{error}");
    assert_eq!(scratch.rows().await.len(), 0, "the connection works");
    scratch.drop().await;
}

#[tokio::test]
async fn what_others_have_written_meanwhile_is_compared_with_the_row() {
    let scratch = Scratch::create(2).await;
    let elsewhere = Elsewhere::default();
    scratch.merge(&mut Loader::default(), &[contact(1, 1), contact(2, 1)]).await;
    let mut loader = Loader::for_complete_list(&scratch.pool, &account(), contacts(), &elsewhere).await.expect("read");
    // A look by id writes the row; then the list gives what it was before.
    scratch.merge(&mut Loader::default(), &[contact(1, 2)]).await;
    elsewhere.wrote("companies", [contact(2, 1).id]);
    elsewhere.wrote("contacts", [contact(1, 1).id]);
    let merged = scratch.merge(&mut loader, &[contact(1, 1), contact(2, 1)]).await;
    assert!(merged.updated == 1 || merged.doubted == [contact(1, 1).id], "{merged:?}");
    // What the last batch gave is known no more, either.
    let mut loader = Loader { last: Some(HashMap::new()), written: elsewhere.watch("contacts"), ..Loader::default() };
    scratch.merge(&mut loader, &[contact(7, 1)]).await;
    scratch.merge(&mut Loader::default(), &[contact(7, 2)]).await;
    elsewhere.wrote("contacts", [contact(7, 1).id]);
    let merged = scratch.merge(&mut loader, &[contact(7, 1)]).await;
    assert!(merged.updated == 1 || merged.doubted == [contact(7, 1).id], "{merged:?}");
    scratch.drop().await;
}
