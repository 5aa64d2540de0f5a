//! Counts are exact, no matter who writes, and no query of a page reads a table from end to end.

use sqlx::{AssertSqlSafe, Executor, PgPool, Row};
use uuid::Uuid;

use super::*;
use crate::catalog::RESOURCES;
use crate::ids::{Account, RunId};
use crate::store::records::load::Loader;
use crate::store::records::newest::Origin;
use crate::store::records::{self, Source};
use crate::store::runs::{self as store_runs, Step};
use crate::store::scratch::{Scratch, account, contact, contacts};
use crate::store::{outbox, pool, progress, state};

/// How many rows of contacts are counted for an account: living and deleted ones.
async fn counted(pool: &PgPool, account: &Account) -> (i64, i64) {
    let tables = tables(pool, account, None).await.expect("counted");
    let contacts = tables.iter().find(|table| table.resource == "contacts").expect("known");
    (contacts.rows, contacts.deleted)
}

async fn execute(pool: &PgPool, sql: &str) {
    pool.execute(AssertSqlSafe(sql.to_owned())).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

#[tokio::test]
async fn every_write_is_counted_whoever_writes() {
    let scratch = Scratch::create(2).await;
    let (ours, other): (Account, Account) = (account(), "other".parse().expect("an account"));
    let mut loader = Loader::presuming_new();
    scratch.merge(&mut loader, &[contact(1, 1), contact(2, 2), contact(3, 3)]).await;
    assert_eq!(counted(&scratch.pool, &ours).await, (3, 0), "loaded by COPY");
    // The first is there, so the COPY goes back to its savepoint.
    scratch.merge(&mut Loader::presuming_new(), &[contact(1, 1), contact(4, 4)]).await;
    assert_eq!(counted(&scratch.pool, &ours).await, (4, 0), "merged");
    let id = |id: u128| Uuid::from_u128(id);
    let row = format!(
        "insert into teamleader.contacts (resource, account, id, content, list_hash, deleted_at)
         values ('contacts', 'acme', '{}', '{{}}', '', now())",
        id(9)
    );
    let steps = [
        (format!("update teamleader.record set deleted_at = now() where id = '{}'", id(1)), (3, 1)),
        (format!("update teamleader.record set deleted_at = now() where id = '{}'", id(1)), (3, 1)),
        (row, (3, 2)),
        (format!("update teamleader.contacts set deleted_at = null where id = '{}'", id(9)), (4, 1)),
        (format!("delete from teamleader.contacts where id = '{}'", id(9)), (3, 1)),
        (format!("delete from teamleader.record where id = '{}'", id(2)), (2, 1)),
        ("update teamleader.record set content = '{}'".to_owned(), (2, 1)),
    ];
    for (sql, expected) in &steps {
        execute(&scratch.pool, sql).await;
        assert_eq!(counted(&scratch.pool, &ours).await, *expected, "{sql}");
        fold_counts(&scratch.pool).await.expect("folded");
        assert_eq!(counted(&scratch.pool, &ours).await, *expected, "folded after {sql}");
    }
    execute(&scratch.pool, "update teamleader.record set account = 'other'").await;
    assert_eq!((counted(&scratch.pool, &ours).await, counted(&scratch.pool, &other).await), ((0, 0), (2, 1)));
    scratch.merge(&mut Loader::presuming_new(), &[contact(5, 5)]).await;
    execute(&scratch.pool, "truncate teamleader.record").await;
    assert_eq!((counted(&scratch.pool, &ours).await, counted(&scratch.pool, &other).await), ((0, 0), (0, 0)));
    scratch.merge(&mut Loader::presuming_new(), &[contact(5, 5), contact(6, 6)]).await;
    execute(&scratch.pool, "truncate teamleader.contacts").await;
    assert_eq!(counted(&scratch.pool, &ours).await, (0, 0));
    // Behind the triggers' back.
    scratch.merge(&mut Loader::presuming_new(), &[contact(5, 5), contact(6, 6)]).await;
    let quietly = "set session_replication_role = replica; delete from teamleader.contacts;
         set session_replication_role = origin";
    sqlx::raw_sql(quietly).execute(&scratch.pool).await.expect("deleted");
    assert_eq!(counted(&scratch.pool, &ours).await, (2, 0));
    execute(&scratch.pool, "select teamleader2db.count_tables()").await;
    fold_counts(&scratch.pool).await.expect("folded");
    assert_eq!(counted(&scratch.pool, &ours).await, (0, 0));
    let left: i64 = sqlx::query_scalar("select count(*) from teamleader2db.table_count")
        .fetch_one(&scratch.pool)
        .await
        .expect("counted");
    assert_eq!(left, 0, "counts of nothing are not stored");
    scratch.drop().await;
}

#[tokio::test]
async fn a_delete_by_hand_beside_a_sync_waits_for_no_count() {
    let scratch = Scratch::create(4).await;
    scratch.merge(&mut Loader::presuming_new(), &[contact(1, 1), contact(2, 2)]).await;
    let source = Source::of(Origin::List);
    let tx = pool::begin(&scratch.pool).await.expect("a transaction");
    let new = [contact(3, 3), contact(4, 4)];
    let (mut tx, _) = Loader::presuming_new().merge(tx, &account(), contacts(), &new, source).await.expect("loaded");
    let mut by_hand = pool::begin(&scratch.pool).await.expect("a transaction");
    by_hand.execute("set local lock_timeout = '1s'").await.expect("set");
    let deleted = format!("delete from teamleader.contacts where id = '{}'", Uuid::from_u128(1));
    by_hand.execute(AssertSqlSafe(deleted)).await.expect("deleted, without waiting for the sync");
    fold_counts(&scratch.pool).await.expect("folded, without waiting for either");
    // The sync writes on, with what it counts.
    tx.execute("set local lock_timeout = '1s'").await.expect("set");
    records::merge_page(&mut tx, &account(), contacts(), &[contact(5, 5)], source).await.expect("merged");
    tx.commit().await.expect("committed");
    assert_eq!(counted(&scratch.pool, &account()).await, (5, 0));
    by_hand.commit().await.expect("committed");
    assert_eq!(counted(&scratch.pool, &account()).await, (4, 0));
    fold_counts(&scratch.pool).await.expect("folded");
    assert_eq!(counted(&scratch.pool, &account()).await, (4, 0));
    scratch.drop().await;
}

/// 2,000 runs of every resource but `notes`, an audit among 100, one failed among 50, three cancelled; `tags` is read
/// by the first ones alone. 30,000 contacts, of which 10 are stale.
const FILLED: &str = "
    insert into teamleader2db.sync_run (account, id, request, status, started_at, finished_at, api_requests,
            created, updated, deleted, detailed)
        select 'acme', md5(n::text)::uuid,
            jsonb_build_object('mode', case when n % 100 = 7 then 'audit' when n % 96 = 0 then 'full'
                else 'incremental' end),
            case when n % 700 = 5 then 'cancelled' when n % 50 = 3 then 'failed' else 'completed' end,
            at, at + interval '2 minutes', 40, 1, 2, 0, 3
        from generate_series(1, 2000) n,
            lateral (select now() - (2000 - n) * interval '15 minutes' - interval '3 minutes' as at) as t;
    insert into teamleader2db.sync_step (account, run_id, resource, ordinal, phase, status, cause, error, since, listed,
            created)
        select 'acme', md5(n::text)::uuid, resource, ordinal, 'done',
            case when n = 2000 and resource = 'contacts' then 'failed' else 'completed' end,
            case when n = 2000 and resource = 'contacts' then 'server' end, null,
            case when n % 96 <> 0 then now() end, 5, 1
        from generate_series(1, 2000) n, unnest($RESOURCES$) with ordinality as r (resource, ordinal)
        where resource <> 'notes' and (resource <> 'tags' or n < 5);
    insert into teamleader2db.cursor (account, resource, listed_rows, last_success_at)
        select 'acme', resource, 10, now() from unnest($RESOURCES$) as r (resource) where resource <> 'tags';
    insert into teamleader.record (resource, account, id, content, list_hash, detail_at)
        select 'contacts', 'acme', md5(n::text)::uuid, '{}', '', case when n > 10 then now() + interval '1 day' end
        from generate_series(1, 30000) n;
    insert into teamleader.record_history (resource, account, id, content, valid_from, valid_to)
        select 'contacts', 'acme', md5(n::text)::uuid, '{}', at, at + interval '1 minute'
        from generate_series(1, 1000) n, generate_series(now() - interval '60 hours', now(), interval '1 hour') at;
    insert into teamleader2db.hint (account, resource, id, served_at)
        select 'acme', 'contacts', md5(n::text)::uuid, case when n > 10 then now() end from generate_series(1, 30000) n;
    insert into teamleader2db.webhook_registration (account, tried_at) values ('acme', now());
    select teamleader2db.count_tables();";

/// Rows that were read from end to end, and by an index, of the large tables, by everyone so far.
async fn read(pool: &PgPool) -> (i64, i64) {
    let sql = "select sum(seq_tup_read)::bigint, sum(coalesce(idx_tup_fetch, 0))::bigint from pg_stat_user_tables
         where relid in ('teamleader.contacts'::regclass, 'teamleader.record_history'::regclass,
             'teamleader2db.sync_run'::regclass, 'teamleader2db.sync_step'::regclass, 'teamleader2db.hint'::regclass)";
    // A session reports what it has read when it rests.
    execute(pool, "select pg_stat_force_next_flush()").await;
    let row = pool.fetch_one(sql).await.expect("PostgreSQL answers");
    (row.get(0), row.get(1))
}

/// The most rows that a query may read by indexes: of a page of runs all steps; of the days each run.
const MOST_READ: i64 = 10_000;

/// How often each is asked: from the sixth time on PostgreSQL may take a plan for any parameters.
const TIMES: usize = 8;

async fn holds<T>(pool: &PgPool, what: &str, ask: impl AsyncFn() -> Result<T, pool::StoreError>) -> T {
    let mut answer = None;
    for time in 0..TIMES {
        let (from_end_to_end, by_index) = read(pool).await;
        answer = Some(ask().await.unwrap_or_else(|error| panic!("{what}: {error}")));
        let after = read(pool).await;
        assert_eq!(after.0 - from_end_to_end, 0, "{what} reads a whole table, the {time}th time");
        let read = after.1 - by_index;
        assert!(read <= MOST_READ, "{what} reads {read} rows, the {time}th time");
    }
    answer.expect("asked")
}

#[tokio::test]
async fn no_page_reads_a_table_from_end_to_end() {
    // One connection, whose plans are prepared once.
    let scratch = Scratch::create(1).await;
    let names: Vec<String> = RESOURCES.iter().map(|resource| format!("'{}'", resource.name)).collect();
    let filled = FILLED.replace("$RESOURCES$", &format!("array[{}]", names.join(",")));
    sqlx::raw_sql(AssertSqlSafe(filled)).execute(&scratch.pool).await.expect("filled");
    execute(&scratch.pool, "vacuum analyze").await;
    let (pool, account) = (&scratch.pool, &account());
    let newest = sqlx::query_scalar("select id from teamleader2db.sync_run order by started_at desc limit 1");
    let newest: Uuid = newest.fetch_one(pool).await.expect("a run");

    let counted = holds(pool, "tables", async || tables(pool, account, None).await).await;
    let contacts = counted.iter().find(|table| table.resource == "contacts").expect("known");
    assert_eq!((contacts.rows, contacts.deleted, contacts.stale_details), (30_000, 0, 10));
    holds(pool, "stale_details", async || stale_details(pool, account).await).await;
    let short = holds(pool, "shortfalls", async || shortfalls(pool, account).await).await;
    let short: Vec<&str> = short.iter().map(|short| short.resource.as_str()).collect();
    assert_eq!(short, ["contacts"]);
    let empty = holds(pool, "emptied", async || emptied(pool, account).await).await;
    assert_eq!(empty.len(), RESOURCES.len() - 2, "all but contacts, and tags, which no pass has listed");
    let all: Vec<_> = RESOURCES.iter().collect();
    holds(pool, "last_successes", async || last_successes(pool, account, &all).await).await;
    assert_eq!(holds(pool, "usual_requests", async || usual_requests(pool, account).await).await, 40);
    holds(pool, "the state", async || state::of(pool, account).await).await;
    holds(pool, "held deletions", async || progress::held_deletions(pool, account).await).await;
    let known = holds(pool, "webhooks", async || webhooks(pool, account).await).await;
    assert_eq!(known.map(|known| known.hints_waiting), Some(10), "what was served does not wait");
    holds(pool, "webhooks of contacts", async || webhooks_of(pool, account, "contacts").await).await;
    holds(pool, "events to be sent", async || outbox::count_pending(pool, account).await).await;
    let steps: Vec<Step<()>> = holds(pool, "steps", async || {
        let mut connection = pool.acquire().await?;
        store_runs::load_steps(&mut connection, account, RunId(newest)).await
    })
    .await;
    assert_eq!(steps.len(), RESOURCES.len() - 2);
    pages_of_runs(pool, account, newest).await;
    days_and_records(pool, account).await;
    // As in a first sync, whose lists are read before the details.
    execute(pool, "update teamleader.contacts set detail_at = null").await;
    let (before, counted) = (read(pool).await, tables(pool, account, Some(100)).await.expect("counted"));
    let contacts = counted.iter().find(|table| table.resource == "contacts").expect("known");
    let after = read(pool).await;
    let rows = after.0 - before.0 + after.1 - before.1;
    assert!(contacts.stale_details == 100 && rows <= 2 * RESOURCES.len() as i64 + 100, "{rows} rows are read");
    scratch.drop().await;
}

/// Runs in pages, of all and of one resource.
async fn pages_of_runs(pool: &PgPool, account: &Account, newest: Uuid) {
    let first = holds(pool, "runs", async || runs(pool, account, None, 20).await).await;
    assert_eq!((first.len(), first[0].request_id), (20, newest));
    holds(pool, "a run", async || runs(pool, account, Some(RunId(newest)), 1).await).await;
    let last = &first[19];
    let before = Some((last.started_at, last.request_id));
    for (what, which, found) in [
        ("a later page", Which { before, ..Which::default() }, 20),
        ("those that were cancelled", Which { status: Some("cancelled".into()), ..Which::default() }, 3),
        ("audits", Which { mode: Some("audit".into()), ..Which::default() }, 20),
        ("of a resource", Which { resource: Some("users".into()), ..Which::default() }, 20),
        ("of one that was read long ago", Which { resource: Some("tags".into()), ..Which::default() }, 4),
        ("of one that never was", Which { resource: Some("notes".into()), ..Which::default() }, 0),
    ] {
        let page = holds(pool, what, async || runs_that(pool, account, &which, 20).await).await;
        assert_eq!(page.len(), found, "{what}");
        let short = holds(pool, what, async || run_summaries(pool, account, &which, 20).await).await;
        assert!(short.iter().map(|run| run.request_id).eq(page.iter().map(|run| run.request_id)), "{what}");
        assert!(page.is_sorted_by(|a, b| (a.started_at, a.request_id) > (b.started_at, b.request_id)), "{what}");
    }
    for (resource, found) in [("users", 20), ("tags", 4), ("notes", 0)] {
        let what = format!("runs of {resource}");
        let runs = holds(pool, &what, async || resource_runs(pool, account, resource, None, 20).await).await;
        assert_eq!(runs.len(), found, "{what}");
    }
    let page = holds(pool, "later runs of users", async || resource_runs(pool, account, "users", before, 20).await);
    assert!(page.await.iter().all(|run| run.started_at < last.started_at));
}

/// What the days came to, and a record by its id.
async fn days_and_records(pool: &PgPool, account: &Account) {
    // Of few days: over all of them each run has to be read, and from end to end is the way to do that.
    let few = holds(pool, "days", async || days(pool, account, None, 2).await).await;
    let of_users = holds(pool, "days of users", async || days(pool, account, Some("users"), 2).await).await;
    assert!(!few.is_empty() && few.len() == of_users.len(), "{few:?}");
    let all_days = days(pool, account, None, 30).await.expect("read");
    assert!(all_days.is_sorted_by(|a, b| a.day < b.day) && all_days.ends_with(&few), "{all_days:?}");
    let sums =
        all_days.iter().fold((0, 0, 0), |sums, day| (sums.0 + day.runs, sums.1 + day.created, sums.2 + day.failed));
    assert_eq!(sums, (2000, 2000, 40));
    let of_users = days(pool, account, Some("users"), 30).await.expect("read");
    assert_eq!(of_users.iter().map(|day| day.runs).sum::<i64>(), 2000);
    assert_eq!((of_users[0].api_requests, of_users[0].longest), (0, 120.0));
    let id = first_contact(pool).await;
    let found = holds(pool, "a record", async || find_records(pool, account, id).await).await;
    assert_eq!((found.len(), found[0].resource.as_str(), found[0].history.len()), (1, "contacts", 50));
    assert!(found[0].history.is_sorted_by(|a, b| a.valid_from > b.valid_from), "the newest first");
}

/// The contact 1 of those that were made, which has a history.
async fn first_contact(pool: &PgPool) -> Uuid {
    sqlx::query_scalar("select md5('1')::uuid").fetch_one(pool).await.expect("an id")
}
