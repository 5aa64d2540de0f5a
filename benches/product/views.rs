//! Schema `teamleader_views`: what it costs a sync, and how long the questions of docs/questions.md take.

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
const COUNTS: [(&str, usize); 16] = [
    ("companies", 40_000), ("contacts", 200_000), ("creditNotes", 5_000), ("customFieldDefinitions", 40),
    ("dealPhases", 10), ("dealSources", 8), ("deals", 40_000), ("departments", 4),
    ("invoices", 100_000), ("lostReasons", 8), ("milestones", 10_000), ("projects", 2_000),
    ("subscriptions", 2_000), ("timeTracking", 500_000), ("users", 50), ("workTypes", 8),
];

/// Takes away all that migrations/0007_views.sql has made for the views.
const WITHOUT: &str = "drop schema teamleader_views cascade; drop index teamleader.record_id;
    drop statistics teamleader.companies_status, teamleader.contacts_status, teamleader.deals_status,
        teamleader.invoices_status, teamleader.invoices_customer_type, teamleader.invoices_currency,
        teamleader.time_tracking_subject_type";

/// How often a pass over the unchanged account is made, and each question asked.
const TIMES: usize = 3;

/// The seconds of one database.
struct Measured {
    first: Seconds,
    unchanged: Seconds,
}

/// Two databases, one without the schema; the questions are asked in the other.
pub async fn measure(size: Size) -> Rows {
    let part = if size.quick { 100 } else { 1 };
    let (without, _) = sync(part, false).await;
    let (with, stage) = sync(part, true).await;
    let contacts = stage.simulator.count("contacts");
    let mut rows = vec![
        format!(
            "| first sync of an account of {contacts} contacts, with the views | {:.1} s | \
             without them {:.1} s | {:.2} times as long |",
            with.first,
            without.first,
            with.first / without.first
        ),
        format!(
            "| full pass over it, nothing changed, with the views | {:.2} s | \
             without them {:.2} s | {:.2} times as long |",
            with.unchanged,
            without.unchanged,
            with.unchanged / without.unchanged
        ),
    ];
    for (number, statement) in QUESTIONS.split("```sql\n").skip(1).enumerate() {
        let sql = statement.split("```").next().unwrap();
        let mut times = Vec::new();
        for _ in 0..TIMES {
            times.push(
                seconds_of(async {
                    _ = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&stage.database.pool).await.unwrap()
                })
                .await,
            );
        }
        rows.push(format!("| question {} | {:.2} s | | |", number + 1, median(times)));
    }
    rows
}

async fn sync(part: usize, with_views: bool) -> (Measured, Stage) {
    let counts = COUNTS.map(|(resource, count)| (resource.to_owned(), (count / part).max(count.min(50))));
    let mut stage = Stage::with(Config { counts: counts.into(), ..Config::default() }).await;
    let resources = COUNTS.map(|(resource, _)| resource);
    stage.set("RUST_LOG", "info");
    stage.set("TEAMLEADER_RESOURCES", &resources.join(","));
    assert_eq!(stage.run(&["migrate"]).await.code, 0);
    stage.set("MIGRATE_ON_START", "false");
    if !with_views {
        sqlx::raw_sql(WITHOUT).execute(&stage.database.pool).await.unwrap();
    }
    let _worker = stage.worker().await;
    let first = pass(&stage).await;
    stage.database.execute("vacuum analyze").await;
    let mut unchanged = Vec::new();
    for _ in 0..TIMES {
        unchanged.push(pass(&stage).await);
    }
    (Measured { first, unchanged: median(unchanged) }, stage)
}

async fn pass(stage: &Stage) -> Seconds {
    let started = Instant::now();
    let id = stage.request(json!({ "mode": "full" })).await;
    await_end_of_run(&stage.database, id).await;
    let seconds = started.elapsed().as_secs_f64();
    stage.completed(id).await;
    seconds
}
