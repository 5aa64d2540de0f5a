//! The views: what the typed columns cost a sync, and how long the questions of docs/questions.md take with them and
//! from documents.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;
use sqlx::AssertSqlSafe;
use teamleader_simulator::Config;

use crate::stage::Stage;
use crate::timing::{Seconds, await_end_of_run, median, seconds_of};
use crate::{Rows, Size};

const QUESTIONS: &str = include_str!("../../docs/questions.md");

/// How many records of each resource there are, in an account of 200,000 contacts.
#[rustfmt::skip]
const COUNTS: [(&str, usize); 26] = [
    ("calls", 10_000), ("companies", 40_000), ("contacts", 200_000), ("creditNotes", 5_000),
    ("customFieldDefinitions", 40), ("dealPhases", 10), ("dealSources", 8), ("deals", 40_000), ("departments", 4),
    ("events", 10_000), ("expenses", 20_000), ("invoices", 100_000), ("lostReasons", 8), ("meetings", 10_000),
    ("milestones", 10_000), ("notes", 20_000), ("orders", 5_000), ("projects", 2_000), ("quotations", 20_000),
    ("subscriptions", 2_000), ("tasks", 20_000), ("teams", 4), ("tickets", 10_000), ("timeTracking", 500_000),
    ("users", 50), ("workTypes", 8),
];

/// Takes away the typed columns, and the views that read them.
const WITHOUT: &str = "drop schema teamleader_typed cascade";

/// Has what views over documents stand on at its end: indexes and statistics, which typed columns make superfluous.
const OVER_DOCUMENTS: &str = include_str!("../../migrations/0007_views.sql");

/// Makes every view read documents: none that reads with the rights of its reader has typed columns.
const FROM_DOCUMENTS: &str = "do $$ declare it record; begin
    for it in select relname from pg_class where relnamespace = 'teamleader_views'::regnamespace and relkind = 'v' loop
        execute format('alter view teamleader_views.%I set (security_invoker = true)', it.relname);
    end loop; end $$;
    comment on schema teamleader_views is 'of another version'";

/// How often a sync is made with and without, and each question asked.
const TIMES: usize = 5;

/// Changed contacts of an incremental sync.
const CHANGES: usize = 100;

/// The size of the tables of a schema, indexes included.
const SIZE: &str = "select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_class c
    join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'r' and n.nspname = $1";

/// The syncs of a round.
const SYNCS: [&str; 3] = ["first sync", "full pass, nothing changed", "incremental sync of 100 changes"];

/// How long each took.
type Round = [Seconds; 3];

/// The questions, of one large account.
pub async fn measure(size: Size) -> Rows {
    let mut rows = Rows::new();
    let stage = account(if size.quick { 100 } else { 1 }).await;
    let _worker = stage.worker().await;
    pass(&stage, json!({ "mode": "full" })).await;
    stage.database.execute("vacuum analyze").await;
    let mut sizes = Vec::new();
    for schema in ["teamleader", "teamleader_typed"] {
        let size = sqlx::query_scalar::<_, i64>(SIZE).bind(schema).fetch_one(&stage.database.pool).await.unwrap();
        sizes.push(size / 1_000_000);
    }
    rows.push(format!("| size of the typed columns | {} MB | beside documents of {} MB | |", sizes[1], sizes[0]));
    let typed = questions(&stage).await;
    sqlx::raw_sql(FROM_DOCUMENTS).execute(&stage.database.pool).await.unwrap();
    assert_eq!(stage.run(&["migrate"]).await.code, 0);
    let documents = questions(&stage).await;
    for (number, (typed, documents)) in typed.iter().zip(&documents).enumerate() {
        rows.push(format!(
            "| question {} | {typed:.3} s | from documents {documents:.3} s | {:.2} times as long |",
            number + 1,
            typed / documents
        ));
    }
    rows
}

/// What the typed columns cost: syncs with and without them, in turns.
pub async fn prices(size: Size) -> Rows {
    let part = if size.quick { 200 } else { 20 };
    let mut of: BTreeMap<bool, Vec<Round>> = BTreeMap::new();
    for round in 0..2 * TIMES {
        let with = round % 2 == 0;
        let stage = account(part).await;
        if !with {
            stage.database.execute(WITHOUT).await;
            let (_, indexes) = OVER_DOCUMENTS.split_once("-- By what people choose among many").unwrap();
            let sql = format!("-- {indexes}");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&stage.database.pool).await.unwrap();
        }
        let _worker = stage.worker().await;
        let first = pass(&stage, json!({ "mode": "full" })).await;
        stage.database.execute("vacuum analyze").await;
        let unchanged = pass(&stage, json!({ "mode": "full" })).await;
        stage.simulator.update("contacts", CHANGES);
        let incremental = pass(&stage, json!({ "mode": "incremental" })).await;
        of.entry(with).or_default().push([first, unchanged, incremental]);
    }
    let rows = SYNCS.into_iter().enumerate().map(|(sync, what)| {
        let seconds = |with| of[&with].iter().map(move |round: &Round| round[sync]);
        let middle = |with| median(seconds(with).collect());
        let least = |with| seconds(with).fold(f64::INFINITY, f64::min);
        let most = |with| seconds(with).fold(0.0, f64::max);
        format!(
            "| {what} of an account of {} contacts, with typed columns | {:.2} s ({:.2} to {:.2}) | \
             without them {:.2} s ({:.2} to {:.2}) | {:.2} times as long |",
            200_000 / part,
            middle(true),
            least(true),
            most(true),
            middle(false),
            least(false),
            most(false),
            middle(true) / middle(false)
        )
    });
    rows.collect()
}

/// How long each question takes, once it was asked.
async fn questions(stage: &Stage) -> Vec<Seconds> {
    let mut all = Vec::new();
    for statement in QUESTIONS.split("```sql\n").skip(1) {
        let sql = statement.split("```").next().unwrap();
        let ask = async || _ = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&stage.database.pool).await.unwrap();
        ask().await;
        let mut times = Vec::new();
        for _ in 0..TIMES {
            times.push(seconds_of(ask()).await);
        }
        all.push(median(times));
    }
    all
}

async fn account(part: usize) -> Stage {
    let counts = COUNTS.map(|(resource, count)| (resource.to_owned(), (count / part).max(count.min(50))));
    let mut stage = Stage::with(Config { counts: counts.into(), ..Config::default() }).await;
    let resources = COUNTS.map(|(resource, _)| resource);
    stage.set("RUST_LOG", "info");
    stage.set("TEAMLEADER_RESOURCES", &resources.join(","));
    assert_eq!(stage.run(&["migrate"]).await.code, 0);
    stage.set("MIGRATE_ON_START", "false");
    stage
}

async fn pass(stage: &Stage, body: serde_json::Value) -> Seconds {
    let started = Instant::now();
    let id = stage.request(body).await;
    await_end_of_run(&stage.database, id).await;
    let seconds = started.elapsed().as_secs_f64();
    stage.completed(id).await;
    seconds
}
