//! Lists: a first sync, and a pass over an account that has not changed, beside what PostgreSQL and HTTP take for the
//! same rows.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use serde_json::json;
use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgPoolCopyExt};
use teamleader_simulator::{Config, Simulator};

use crate::stage::{Database, Stage, until};
use crate::timing::{Seconds, await_end_of, await_end_of_run, median, seconds_of};
use crate::{Rows, Size, timing};

/// The columns that a first sync writes.
const COPIED: &str = "teamleader.contacts (resource, account, id, content, source_updated_at, list_hash, asked_at)";

/// The seconds of one round.
struct Round {
    first: Seconds,
    copy: Seconds,
    pages: Seconds,
    unchanged: Seconds,
    hashes: Seconds,
    one_percent: Seconds,
}

/// Several rounds, each with an account and a database of its own; medians.
pub async fn measure(size: Size) -> Rows {
    let (records, count) = if size.quick { (20_000, 1) } else { (100_000, 5) };
    let measured = timing::rounds(count, async |seed| round(seed, records).await).await;
    let of = |seconds: fn(&Round) -> f64| median(measured.iter().map(seconds).collect());
    let (first, copy, pages) = (of(|round| round.first), of(|round| round.copy), of(|round| round.pages));
    let (unchanged, hashes) = (of(|round| round.unchanged), of(|round| round.hashes));
    let copied = median(measured.iter().map(|round| round.copy / round.first).collect());
    let (one_percent, changed) = (of(|round| round.one_percent), records / 100);
    let passes = median(measured.iter().map(|round| round.unchanged / (round.hashes + round.pages)).collect());
    vec![
        format!(
            "| first sync, lists only, {records} contacts | {first:.2} s | \
             COPY of the same rows {copy:.2} s (and the pages {pages:.2} s) | \
             {copied:.2} of the rate of COPY |"
        ),
        format!(
            "| full pass, nothing changed, {records} contacts | {unchanged:.2} s | \
             ids and hashes {hashes:.2} s, the pages {pages:.2} s | \
             {passes:.2} times as long, no row written |"
        ),
        format!(
            "| full pass, {changed} of {records} contacts changed, lists only | {one_percent:.2} s | \
             the same | {:.2} times as long |",
            median(measured.iter().map(|round| round.one_percent / (round.hashes + round.pages)).collect())
        ),
    ]
}

async fn round(seed: u64, records: usize) -> Round {
    let counts = [("contacts".to_owned(), records)].into();
    let mut stage = Stage::with(Config { seed, counts, ..Config::default() }).await;
    stage.set("RUST_LOG", "info");
    let pages = seconds_of(read_and_throw_away(&stage.simulator)).await;

    let worker = stage.worker().await;
    let started = Instant::now();
    let id = stage.request(json!({ "mode": "full", "resources": ["contacts"] })).await;
    await_end_of(&stage.database, id, "list").await;
    let first = started.elapsed().as_secs_f64();
    drop(worker.keeping_log());
    assert_eq!(stage.database.rows("contacts").await, records as i64);

    let copy = copy(&mut stage).await;
    // As if the details had been fetched, and the request been worked on to its end.
    stage.database.execute("update teamleader.contacts set detail_at = clock_timestamp()").await;
    stage.database.execute("vacuum analyze teamleader.contacts").await;
    let hashes = hashes(&stage.database).await;
    let _worker = stage.worker().await;
    until("the first request is done", async || {
        let running = "select count(*) from teamleader2db.sync_run where status = 'running'";
        (stage.database.value::<i64>(running).await == 0).then_some(())
    })
    .await;
    let before = written(&stage.database).await;
    let started = Instant::now();
    let id = stage.request(json!({ "mode": "full", "resources": ["contacts"] })).await;
    await_end_of_run(&stage.database, id).await;
    let unchanged = started.elapsed().as_secs_f64();
    let event = stage.completed(id).await;
    assert_eq!(event.count("contacts", "unchanged"), records as i64);
    assert_eq!(written(&stage.database).await, before, "an unchanged account writes no row");
    stage.simulator.advance_clock(Duration::from_secs(60));
    assert_eq!(stage.simulator.update("contacts", records / 100).len(), records / 100);
    let started = Instant::now();
    let id = stage.request(json!({ "mode": "full", "resources": ["contacts"] })).await;
    await_end_of(&stage.database, id, "list").await;
    let one_percent = started.elapsed().as_secs_f64();
    Round { first, copy, pages, unchanged, hashes, one_percent }
}

/// Every page, as the worker asks for them, read and thrown away.
async fn read_and_throw_away(simulator: &Simulator) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let token = simulator.grant().access_token;
    for number in 1.. {
        let body = json!({ "page": { "size": 100, "number": number }, "includes": "custom_fields,pagination",
            "sort": [{ "field": "updated_at", "order": "asc" }] });
        let asked = http.post(format!("{}/contacts.list", simulator.url())).bearer_auth(&token).json(&body);
        let page = asked.send().await.unwrap().bytes().await.unwrap();
        // An empty page is some dozen bytes.
        if page.len() < 1_000 {
            return;
        }
    }
}

/// The rows of the stage, copied into the same tables of another database by one connection.
async fn copy(stage: &mut Stage) -> Seconds {
    let columns = COPIED.split_once(' ').unwrap().1.trim_matches(['(', ')']);
    let out = format!("copy (select {columns} from teamleader.contacts) to stdout");
    let rows: Vec<_> = stage.database.pool.copy_out_raw(&out).await.unwrap().try_collect().await.unwrap();
    let other = Database::create().await;
    let ours = stage.set("DATABASE_URL", &other.url);
    let migrated = stage.run(&["migrate"]).await;
    stage.restore("DATABASE_URL", ours);
    assert_eq!(migrated.code, 0, "{}", migrated.err);
    let mut connection = PgConnection::connect(&other.url).await.unwrap();
    let started = Instant::now();
    let mut into = connection.copy_in_raw(&format!("copy {COPIED} from stdin")).await.unwrap();
    for chunk in rows {
        into.send(chunk).await.unwrap();
    }
    into.finish().await.unwrap();
    let seconds = started.elapsed().as_secs_f64();
    connection.close().await.unwrap();
    Database::drop(&stage.database.url, other.name()).await;
    seconds
}

/// The ids and hashes that a pass compares with, by one statement.
async fn hashes(database: &Database) -> Seconds {
    seconds_of(async {
        let rows: Vec<(uuid::Uuid, Vec<u8>)> =
            sqlx::query_as("select id, list_hash from teamleader.contacts").fetch_all(&database.pool).await.unwrap();
        assert!(!rows.is_empty());
    })
    .await
}

/// Rows of schema teamleader that were written so far.
async fn written(database: &Database) -> i64 {
    // A session reports its writes when it rests.
    database.execute("select pg_stat_force_next_flush()").await;
    let sql = "select sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint from pg_stat_user_tables \
               where schemaname = 'teamleader'";
    database.value(sql).await
}
