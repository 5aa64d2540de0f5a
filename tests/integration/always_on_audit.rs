//! The always-on audit: what differs is found, named and bounded, out of what is left of the budget.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use teamleader_simulator::{Fault, FaultKind};
use uuid::Uuid;

use crate::stage::{Stage, Worker, until};

/// A stage whose workers audit so much an hour, and sync these.
fn audited(mut stage: Stage, rate: &str, resources: &str) -> Stage {
    stage.set("AUDIT_RATE", rate);
    stage.set("TEAMLEADER_RESOURCES", resources);
    stage
}

/// The records of a resource that an audit has found so.
async fn found(stage: &Stage, resource: &str, finding: &str) -> BTreeSet<Uuid> {
    let sql = format!(
        "select id from teamleader2db.audit_draw where resource = '{resource}' and finding = '{finding}' order by id"
    );
    let ids: Vec<Uuid> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&stage.database.pool).await.unwrap();
    ids.into_iter().collect()
}

/// Some rows of a resource, by their ids.
async fn some(stage: &Stage, resource: &str, place: &str) -> BTreeSet<Uuid> {
    let sql = format!("select id from teamleader.{resource} order by id {place}");
    let ids: Vec<Uuid> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&stage.database.pool).await.unwrap();
    ids.into_iter().collect()
}

/// Waits for so many turns from now on.
async fn turns(stage: &Stage, more: i64) {
    let over = "select count(*) from teamleader2db.audit_turn where at <= clock_timestamp()";
    let before: i64 = stage.database.value(over).await;
    until("turns of the audit are over", async || {
        (stage.database.value::<i64>(over).await >= before + more).then_some(())
    })
    .await;
}

async fn status(worker: &Worker) -> Value {
    serde_json::from_str::<Value>(&worker.get("/sync/teamleader").await.1).unwrap()["audit"].clone()
}

/// Spoils rows so that all of them differ in what only details have.
const SPOIL_DETAILS: &str = "update teamleader.contacts set content = content || '{\"remarks\": \"edited\"}'";

#[tokio::test]
async fn what_differs_is_found_named_and_bounded_and_nothing_is_written() {
    let stage = audited(Stage::of(60).await, "6000", "events,contacts,companies");
    let worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    turns(&stage, 3).await;
    for finding in ["wrong", "missing", "stale"] {
        for resource in ["events", "contacts", "companies"] {
            assert_eq!(found(&stage, resource, finding).await, BTreeSet::new(), "{resource} {finding}");
        }
    }

    let stale: BTreeSet<Uuid> = stage.simulator.update("contacts", 60).into_iter().collect();
    assert_eq!(stage.database.execute(SPOIL_DETAILS).await, 60);
    let edited = "update teamleader.events set content = content || '{\"title\": \"edited\"}'
        where id in (select id from teamleader.events order by id limit 3)";
    assert_eq!(stage.database.execute(edited).await, 3);
    let wrong = some(&stage, "events", "limit 3").await;
    let lost = some(&stage, "companies", "offset 1").await;
    let lose = "delete from teamleader.companies where id <> (select id from teamleader.companies order by id limit 1)";
    stage.database.execute(lose).await;
    let rows = stage.database.versions().await;

    until("each kind is found", async || {
        let mut events = found(&stage, "events", "wrong").await;
        events.extend(found(&stage, "events", "stale").await);
        let (missing, contacts) =
            (found(&stage, "companies", "missing").await, found(&stage, "contacts", "stale").await);
        assert!(missing.is_subset(&lost) && contacts.is_subset(&stale) && events.is_subset(&wrong));
        (!missing.is_empty() && !contacts.is_empty() && events == wrong).then_some(())
    })
    .await;
    assert_eq!(found(&stage, "contacts", "wrong").await, BTreeSet::new(), "they have changed at the source since");
    assert_eq!(stage.database.versions().await, rows, "nothing is written unasked");

    let shown = until("it is shown", async || {
        let shown = status(&worker).await;
        let missing =
            shown["resources"].as_array()?.iter().find(|of| of["resource"] == "companies")?["missing"].clone();
        (missing["found"].as_i64()? > 0).then_some(missing)
    })
    .await;
    let (found, drawn) = (shown["found"].as_f64().unwrap(), shown["drawn"].as_f64().unwrap());
    assert!(shown["at_most"].as_f64().unwrap() >= found / drawn, "{shown}");
    let said = stage.run(&["status"]).await.out;
    assert!(said.contains("\naudit: ") && said.contains("of companies are missing"), "{said}");
    let said: Value = serde_json::from_str(&stage.run(&["status", "--json"]).await.out).unwrap();
    assert!(said["audit"]["requests"].as_i64().unwrap() > 0, "{said}");
    let page = worker.get("/dashboard").await.1;
    assert!(page.contains("<h2>Audit</h2>") && page.contains("/dashboard/resources/companies\">companies"), "{page}");
    assert!(worker.get("/dashboard/resources/companies").await.1.contains("missing, by the audit"));
    until("metrics have it", async || {
        let metrics = worker.get("/metrics").await.1;
        let bound = |finding: &str| {
            let start =
                format!("teamleader2db_audit_found{{account=\"acme\",resource=\"companies\",finding=\"{finding}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&start)?.parse::<f64>().ok())
        };
        (bound("missing")? >= 1.0 && bound("wrong")? == 0.0).then_some(())
    })
    .await;
    assert!(worker.log().contains("The audit drew"), "{}", worker.log());
}

#[tokio::test]
async fn a_detail_that_differs_is_wrong_and_a_deletion_is_once_a_complete_pass_has_not_seen_it() {
    let stage = audited(Stage::of(60).await, "6000", "contacts,departments");
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    assert_eq!(stage.database.execute(SPOIL_DETAILS).await, 60);
    until("contacts are wrong", async || (!found(&stage, "contacts", "wrong").await.is_empty()).then_some(())).await;
    assert_eq!(found(&stage, "contacts", "stale").await, BTreeSet::new());

    let gone: BTreeSet<Uuid> = stage.simulator.delete("contacts", 60).into_iter().collect();
    let stale = until("deleted ones are stale", async || {
        let stale = found(&stage, "contacts", "stale").await;
        (!stale.is_empty()).then_some(stale)
    })
    .await;
    assert!(stale.is_subset(&gone));
    // A complete pass holds the deletions: all are gone.
    let held = stage.request(json!({ "mode": "full", "resources": ["contacts"] })).await;
    assert_eq!(stage.final_event(held).await.kind(), "sync.failed");
    turns(&stage, 3).await;
    assert!(found(&stage, "contacts", "wrong").await.is_disjoint(&stale), "the pass did not complete");
    stage.complete(json!({ "mode": "full", "resources": ["contacts"], "allow_deletions": true })).await;
    let open = "select count(*) from teamleader2db.audit_draw where open is not null and resource = 'contacts'";
    until("nothing is left open", async || (stage.database.value::<i64>(open).await == 0).then_some(())).await;
    assert!(stale.is_subset(&found(&stage, "contacts", "stale").await), "the pass has seen them");
}

#[tokio::test]
async fn what_differs_is_repaired_where_that_is_asked_for() {
    let mut stage = audited(Stage::of(60).await, "6000", "events,companies");
    stage.set("AUDIT_REPAIR", "on");
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let edited = "update teamleader.events set content = content || '{\"title\": \"edited\"}'
        where id in (select id from teamleader.events order by id limit 3)";
    assert_eq!(stage.database.execute(edited).await, 3);
    stage.simulator.delete("events", 1);
    until("events are right", async || {
        stage.database.difference(&stage.simulator, "events").await.is_none().then_some(())
    })
    .await;
    let lost = some(&stage, "companies", "").await;
    stage.database.execute("delete from teamleader.companies").await;
    until("a company is there again", async || (stage.database.rows("companies").await > 0).then_some(())).await;
    let repaired = some(&stage, "companies", "").await;
    assert!(repaired.is_subset(&lost));
    let runs: i64 = stage.database.value("select count(*) from teamleader2db.sync_run").await;
    assert_eq!(runs, 1, "no run was needed");
    assert!(found(&stage, "companies", "missing").await.len() >= repaired.len(), "they were missing");
}

#[tokio::test]
async fn a_restart_keeps_the_draws_and_the_rate() {
    let stage = audited(Stage::of(60).await, "10", "events,companies");
    let mut worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.simulator.reset_counters();
    turns(&stage, 1).await;
    let draws = "select string_agg(d::text, ' ' order by id) from teamleader2db.audit_draw d";
    let drawn: String = stage.database.value(draws).await;
    worker.terminate().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "resources": ["events"] })).await;
    assert_eq!(stage.database.value::<String>(draws).await, drawn);
    let turned = "select count(*) from teamleader2db.audit_turn";
    assert_eq!(stage.database.value::<i64>(turned).await, 1, "the next one is due in six minutes at the earliest");
    // As if it had been an hour ago.
    stage.database.execute("update teamleader2db.audit_turn set at = at - interval '1 hour'").await;
    turns(&stage, 1).await;
}

#[tokio::test]
async fn all_requests_are_counted_and_the_active_worker_alone_sends_them() {
    let stage = audited(Stage::of(60).await, "6000", "events,companies");
    let mut active = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let mut standby = stage.worker().await;
    turns(&stage, 6).await;
    let sent = async |worker: &Worker| {
        let metrics = worker.get("/metrics").await.1;
        let start = "teamleader2db_audit_requests_total{account=\"acme\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(start)?.parse::<i64>().ok()).unwrap_or(0)
    };
    assert!(sent(&active).await > 0, "the active one");
    assert_eq!(sent(&standby).await, 0, "the standby");
    standby.terminate().await;
    active.terminate().await;
    let by_run: i64 = stage.database.value("select sum(api_requests)::bigint from teamleader2db.sync_run").await;
    let by_audit: i64 = stage.database.value("select sum(requests)::bigint from teamleader2db.audit_turn").await;
    let counters = stage.simulator.counters();
    let others = counters.requests.get("oauth2/access_token").copied().unwrap_or(0)
        + counters.requests.get("users.me").copied().unwrap_or(0);
    let asked = i64::try_from(counters.total() - others).unwrap();
    // The last turn may have been cut off, and counts as all that it may send.
    assert!((by_run + by_audit - 10..=by_run + by_audit).contains(&asked), "{asked}: {by_run} and {by_audit}");
}

#[tokio::test]
async fn nothing_is_asked_without_an_authorization_and_little_of_an_api_that_is_down() {
    let stage = audited(Stage::of(60).await, "6000", "events,companies");
    let worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    turns(&stage, 1).await;
    stage.simulator.inject(Fault::new(FaultKind::ServerErrorHtml { status: 503 }));
    let rests = "select max(requests) from teamleader2db.audit_turn where at > clock_timestamp() + interval '20 s'
        and requests < 10";
    let asked = until("a turn rests", async || stage.database.value::<Option<i64>>(rests).await).await;
    assert_eq!(asked, 1, "nothing is tried again");
    stage.simulator.clear_faults();

    stage.simulator.revoke_refresh_tokens();
    stage.simulator.expire_access_tokens();
    let id = stage.request(json!({ "resources": ["events"] })).await;
    until("the worker is not authorized", async || {
        worker.get("/metrics").await.1.contains("teamleader2db_authorized{account=\"acme\"} 0").then_some(())
    })
    .await;
    let due = "update teamleader2db.audit_turn set at = at - interval '2 hours'";
    stage.database.execute(due).await;
    let turned = "select count(*) from teamleader2db.audit_turn";
    let before: i64 = stage.database.value(turned).await;
    // The request, and no wake-up.
    stage.broker.await_ready(&stage.broker.requests_queue(), 1).await;
    assert_eq!(stage.database.value::<i64>(turned).await, before);
    assert_eq!(worker.get("/sync/authorize").await.1.trim(), "code accepted");
    stage.completed(id).await;
    turns(&stage, 1).await;
}
