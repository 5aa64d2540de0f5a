//! Pages: how long the server's answers take in a database of 10,000 runs and 1,000,000 rows.

use std::time::Instant;

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::stage::{ACCOUNT, Stage, all_resources};
use crate::timing::median;
use crate::{Rows, Size};

/// What is asked for. `{run}` is the newest run, `{old}` one in the middle, `{record}` a contact with a history.
const PATHS: [&str; 19] = [
    "/dashboard",
    "/dashboard/runs",
    "/dashboard/runs?status=failed&resource=contacts",
    "/dashboard/runs/{run}",
    "/dashboard/resources/contacts",
    "/dashboard/resources/tags",
    "/dashboard/queue",
    "/dashboard/records?id={record}",
    "/sync/teamleader",
    "/sync/runs",
    "/sync/runs?limit=200",
    "/sync/runs?status=failed",
    "/sync/runs?status=cancelled",
    "/sync/runs?mode=audit",
    "/sync/runs?resource=contacts",
    "/sync/runs?resource=tags",
    "/sync/runs/{run}",
    "/health/ready",
    "/metrics",
];

/// The most that the middle one of the answers may take, in milliseconds.
const LIMIT: f64 = 200.0;

/// How often each is asked for.
const TIMES: usize = 25;

/// The large tables, and which part of all rows each has.
const TABLES: [(&str, u64); 5] =
    [("contacts", 3), ("timeTracking", 4), ("invoices", 1), ("companies", 1), ("notes", 1)];

/// The runs of one resource after the other, each quarter of an hour: an audit among 100, a full sync a day, one failed
/// among 50. Nobody asked for `tags` since the first ones, and never for `notes`.
const RUNS: &str = "
    insert into teamleader2db.sync_run (account, id, request, status, started_at, finished_at, api_requests, created,
            updated, deleted, detailed, error, event)
        select '$ACCOUNT$', md5(n::text)::uuid,
            jsonb_build_object('mode', case when n % 100 = 7 then 'audit' when n % 96 = 0 then 'full'
                else 'incremental' end),
            case when n % 700 = 5 then 'cancelled' when n % 50 = 3 then 'failed' else 'completed' end,
            at, at + interval '2 minutes', 40, 1, 2, 0, 3, case when n % 50 = 3 then 'the API answered 500' end,
            jsonb_build_object('data', repeat(md5(n::text), 60))
        from generate_series(1, $RUNS$) n,
            lateral (select now() - ($RUNS$ - n) * interval '15 minutes' - interval '3 minutes' as at) as t;
    insert into teamleader2db.sync_step (account, run_id, resource, ordinal, phase, status, error, cause, since, listed,
            created, updated, unchanged, detailed, verified, position)
        select '$ACCOUNT$', md5(n::text)::uuid, resource, ordinal, 'done',
            case when n % 50 = 3 and ordinal < 4 then 'failed' else 'completed' end,
            case when n % 50 = 3 and ordinal < 4 then 'the API answered 500' end,
            case when n % 50 = 3 and ordinal < 4 then 'server' end,
            case when n % 96 <> 0 then now() end, 5, 1, 2, 97, 3, true, null
        from generate_series(1, $RUNS$) n, unnest(array[$RESOURCES$]) with ordinality as r (resource, ordinal)
        where resource <> 'notes' and (resource <> 'tags' or n < 5);
    insert into teamleader2db.cursor (account, resource, listed_rows, last_success_at, last_full_at)
        select '$ACCOUNT$', resource, 10, now(), now() from unnest(array[$RESOURCES$]) as r (resource)
        where resource not in ('tags', 'notes') on conflict do nothing;";

/// The rows of a table: 0.1 % of them are marked deleted, 0.1 % have no detail.
const ROWS: &str = "
    insert into teamleader.record (resource, account, id, content, list_hash, detail_at, deleted_at)
        select '$RESOURCE$', '$ACCOUNT$', md5('$RESOURCE$' || n)::uuid,
            jsonb_build_object('id', n, 'name', md5(n::text), 'remarks', repeat(md5(n::text), 10)), '\\x00',
            case when n % 1000 <> 1 then now() + interval '1 hour' end, case when n % 1000 = 0 then now() end
        from generate_series(1, $ROWS$) n;";

/// Versions of one contact.
const HISTORY: &str = "
    insert into teamleader.record_history (resource, account, id, content, valid_from, valid_to)
        select 'contacts', '$ACCOUNT$', md5('contacts' || n)::uuid, '{}', at, at + interval '1 minute'
        from generate_series(1, 2000) n, generate_series(now() - interval '60 hours', now(), interval '1 hour') at;";

/// Fills a database, and asks its worker for each page.
pub async fn measure(size: Size) -> Rows {
    let (runs, rows) = if size.quick { (1_000, 100_000) } else { (10_000, 1_000_000) };
    let stage = Stage::small().await;
    fill(&stage, runs, rows).await;
    let worker = stage.worker().await;
    let newest: Uuid = stage.database.value("select id from teamleader2db.sync_run order by started_at desc").await;
    let old: Uuid =
        stage.database.value("select id from teamleader2db.sync_run order by started_at desc offset 500").await;
    let record: Uuid = stage.database.value("select md5('contacts1')::uuid").await;
    let mut measured = Vec::new();
    for path in PATHS {
        let named = [("{run}", newest), ("{old}", old), ("{record}", record)];
        let address = named.iter().fold(path.to_owned(), |path, (name, id)| path.replace(name, &id.to_string()));
        let mut times = Vec::new();
        for _ in 0..TIMES {
            let started = Instant::now();
            let (status, text) = worker.get(&address).await;
            times.push(started.elapsed().as_secs_f64() * 1_000.0);
            assert_eq!(status, 200, "{address}: {text}");
        }
        let slowest = times.iter().copied().fold(0.0, f64::max);
        let middle = median(times);
        let held = if middle < LIMIT { "" } else { ": TOO SLOW" };
        measured.push(format!(
            "| `{path}`, {runs} runs, {rows} rows | {middle:.1} ms | {LIMIT:.0} ms | the slowest of {TIMES} \
             {slowest:.1} ms{held} |"
        ));
    }
    measured
}

async fn fill(stage: &Stage, runs: u64, rows: u64) {
    let names: Vec<String> = all_resources().iter().map(|name| format!("'{name}'")).collect();
    let mut statements = vec![RUNS.replace("$RESOURCES$", &names.join(",")).replace("$RUNS$", &runs.to_string())];
    let parts: u64 = TABLES.iter().map(|(_, part)| part).sum();
    for (resource, part) in TABLES {
        let of_table = (rows * part / parts).to_string();
        statements.push(ROWS.replace("$RESOURCE$", resource).replace("$ROWS$", &of_table));
    }
    statements.push(HISTORY.to_owned());
    statements.push("vacuum analyze".to_owned());
    for sql in statements {
        let sql = sql.replace("$ACCOUNT$", ACCOUNT);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&stage.database.pool).await.unwrap();
    }
}
