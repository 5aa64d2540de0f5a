//! Databases as others set them up: what the worker can set for itself it sets; what it cannot work with it names
//! before it writes.

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use crate::stage::{RESOURCES, Stage, from_make};

/// Runs statements on the stage's database, as its superuser.
async fn sql(stage: &Stage, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&stage.database.pool).await.unwrap_or_else(|error| {
        panic!("{sql}: {error}");
    });
}

/// The URL of the stage's database, or of another one of its server, for another user.
fn url(stage: &Stage, user: Option<&str>, database: &str) -> String {
    let (scheme, rest) = stage.database.url.split_once("://").expect("a URL");
    let (login, address) = rest.split_once('@').expect("a user");
    let server = address.split_once('/').map_or(address, |(server, _)| server);
    format!("{scheme}://{}@{server}/{database}", user.unwrap_or(login))
}

/// Asserts that migrate, worker and doctor each refuse the database with these words.
async fn assert_refused(stage: &Stage, commands: &[&str], words: &[&str]) {
    for command in commands {
        let ended = stage.run(&[command]).await;
        let said = format!("{}{}", ended.out, ended.err);
        assert_eq!(ended.code, 1, "{command}: {ended:?}");
        assert!(words.iter().all(|word| said.contains(word)), "{command} says {words:?}: {ended:?}");
    }
}

fn name(of: &str) -> String {
    format!("t_{of}_{}", Uuid::new_v4().simple())
}

#[tokio::test]
async fn the_defaults_of_a_database_do_not_matter_to_a_worker() {
    let mut stage = Stage::small().await;
    let database = stage.database.name().to_owned();
    let settings = [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "default_transaction_deferrable = on",
        "standard_conforming_strings = off",
        "row_security = on",
        "\"TimeZone\" = 'Asia/Kathmandu'",
        "\"DateStyle\" = 'SQL, DMY'",
        "\"IntervalStyle\" = 'sql_standard'",
        "bytea_output = 'escape'",
        "search_path = ''",
        "statement_timeout = '100ms'",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "idle_session_timeout = '50ms'",
        "synchronous_commit = off",
    ];
    sql(&stage, &settings.map(|setting| format!("alter database {database} set {setting};")).concat()).await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    for resource in ["contacts", "companies", "invoices"] {
        stage.simulator.update(resource, 5);
        stage.simulator.delete(resource, 1);
    }
    stage.complete(json!({})).await;
    let event = stage.complete(json!({ "mode": "full" })).await;
    assert!(RESOURCES.iter().all(|resource| event.resource(resource)["verified"] == true), "{}", event.body);
    // The test's own sessions would have them as well.
    let mut admin = PgConnection::connect(&from_make("DATABASE_URL")).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("alter database {database} reset all"))).execute(&mut admin).await.unwrap();
    stage.database.pool = PgPool::connect(&stage.database.url).await.unwrap();
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn another_encoding_is_named_before_anything_is_written() {
    let mut stage = Stage::small().await;
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    for encoding in ["SQL_ASCII", "LATIN1"] {
        let database = name("encoding");
        sql(
            &stage,
            &format!("create database {database} encoding '{encoding}' lc_collate 'C' lc_ctype 'C' template template0"),
        )
        .await;
        let usual = stage.set("DATABASE_URL", &url(&stage, None, &database));
        assert_refused(&stage, &["migrate", "worker", "doctor"], &[encoding, "encoding 'UTF8'"]).await;
        let pool = PgPool::connect(stage.setting("DATABASE_URL")).await.unwrap();
        let made: bool =
            sqlx::query_scalar("select to_regnamespace('teamleader2db') is not null").fetch_one(&pool).await.unwrap();
        assert!(!made, "nothing was written");
        pool.close().await;
        stage.restore("DATABASE_URL", usual);
        sql(&stage, &format!("drop database {database} with (force)")).await;
    }
}

#[tokio::test]
async fn row_level_security_that_holds_for_the_worker_is_named() {
    let mut stage = Stage::small().await;
    let role = name("role");
    sql(
        &stage,
        &format!(
            "create role {role} login; grant usage on schema teamleader, teamleader2db to {role};
             grant usage, create on schema teamleader_views to {role};
             grant select on all tables in schema teamleader_views to {role};
             grant all on all tables in schema teamleader, teamleader2db to {role};
             alter table teamleader.record enable row level security;
             create policy worker_rows on teamleader.record to {role} using (account = 'default') with check (true)"
        ),
    )
    .await;
    let database = stage.database.name().to_owned();
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    let usual = stage.set("DATABASE_URL", &url(&stage, Some(&role), &database));
    stage.set("MIGRATE_ON_START", "false");
    let words = ["row level security", "teamleader.record", "bypassrls"];
    assert_refused(&stage, &["migrate", "worker", "doctor"], &words).await;
    sql(&stage, &format!("alter role {role} bypassrls")).await;
    let worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.assert_copy_is_equal().await;
    drop(worker);
    stage.restore("DATABASE_URL", usual);
    sql(&stage, &format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn too_few_connections_are_named_and_as_many_as_are_needed_suffice() {
    let mut stage = Stage::small().await;
    let (role, database) = (name("role"), name("limit"));
    sql(&stage, &format!("create role {role} login connection limit 4")).await;
    sql(&stage, &format!("create database {database} owner {role}")).await;
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    let usual = stage.set("DATABASE_URL", &url(&stage, Some(&role), &database));
    let words = ["4 connections", "needs 8", "connection limit 24"];
    assert_refused(&stage, &["migrate", "worker", "doctor"], &words).await;
    sql(&stage, &format!("alter role {role} connection limit 8")).await;
    let mut worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    assert!(!worker.log().contains("Consuming was interrupted"), "{}", worker.log());
    worker.terminate().await;
    let log = worker.log();
    assert!(!log.contains("too many connections"), "{log}");
    drop(worker);
    stage.restore("DATABASE_URL", usual);
    sql(&stage, &format!("drop database {database} with (force)")).await;
    sql(&stage, &format!("drop role {role}")).await;
}

#[tokio::test]
async fn an_error_of_a_users_trigger_fails_its_resource_with_its_words() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let trigger = "create trigger notify_crm after update on teamleader.contacts for each row
         execute function public.notify_crm()";
    sql(&stage, "create extension dblink schema public; create table public.crm_queue (id int)").await;
    let mut holder = stage.database.pool.acquire().await.unwrap();
    sqlx::raw_sql("begin; lock table public.crm_queue").execute(&mut *holder).await.unwrap();
    for (body, word) in [
        ("raise exception 'crm.lead: invalid input'", "crm.lead: invalid input (SQLSTATE P0001"),
        ("raise exception 'full' using errcode = 'CRM01'", "full (SQLSTATE CRM01"),
        ("perform 1 from public.crm_lead", "relation \"public.crm_lead\" does not exist (SQLSTATE 42P01"),
        // Codes that say elsewhere that waiting may help.
        ("perform public.dblink_connect('host=127.0.0.1 port=9')", "could not establish connection (SQLSTATE 08001"),
        ("lock table public.crm_queue in share mode nowait", "crm_queue\" (SQLSTATE 55P03"),
        ("raise exception 'crm is full' using errcode = '53100'", "crm is full (SQLSTATE 53100"),
    ] {
        let function = format!(
            "create function public.notify_crm() returns trigger language plpgsql
                 as $$ begin {body}; return new; end $$"
        );
        sql(&stage, &format!("{function}; {trigger}")).await;
        for resource in ["contacts", "companies", "invoices"] {
            stage.simulator.update(resource, 3);
        }
        let id = stage.request(json!({})).await;
        let event = stage.final_event(id).await;
        assert_eq!(event.kind(), "sync.partial", "{}", event.body);
        let report = event.resource("contacts");
        let error = report["error"].as_str().unwrap();
        assert!(error.contains("the table teamleader.contacts: ") && error.contains(word), "{report}");
        assert!(error.contains("PL/pgSQL function notify_crm() line"), "{report}");
        for resource in RESOURCES.iter().filter(|resource| **resource != "contacts") {
            assert_eq!(event.resource(resource)["status"], "completed", "{resource}: {}", event.body);
            stage.database.assert_table_equals(&stage.simulator, resource).await;
        }
        sql(&stage, "drop function public.notify_crm cascade").await;
        stage.complete(json!({})).await;
        stage.assert_copy_is_equal().await;
    }
}

#[tokio::test]
async fn a_serialization_failure_in_a_users_trigger_is_waited_for() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    // A sequence is not rolled back.
    sql(
        &stage,
        "create sequence public.tries;
         create function public.audit() returns trigger language plpgsql as $$ begin
             if nextval('public.tries') < 3 then raise exception 'in the way' using errcode = '40001'; end if;
             return new;
         end $$;
         create trigger audit after update on teamleader.contacts for each row execute function public.audit()",
    )
    .await;
    stage.simulator.update("contacts", 1);
    stage.complete(json!({})).await;
    assert!(worker.log().contains("in the way (SQLSTATE 40001"), "{}", worker.log());
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn a_users_constraint_index_or_rule_fails_its_resource_with_its_name() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    for (make, word, undo) in [
        (
            "alter table teamleader.contacts add constraint crm_no_changes check (changed_at <= now()) not valid",
            "table teamleader.contacts, constraint crm_no_changes",
            "alter table teamleader.contacts drop constraint crm_no_changes",
        ),
        (
            "create function public.crm_key(jsonb) returns text immutable language plpgsql
                 as $$ begin return ''; end $$;
             create index crm on teamleader.contacts (public.crm_key(content));
             create or replace function public.crm_key(jsonb) returns text immutable language plpgsql
                 as $$ begin raise exception 'no crm key'; end $$",
            "no crm key (SQLSTATE P0001, PL/pgSQL function crm_key(jsonb) line 1 at RAISE",
            "drop function public.crm_key cascade",
        ),
        (
            "create rule crm as on update to teamleader.record do also nothing",
            "(SQLSTATE 0A000",
            "drop rule crm on teamleader.record",
        ),
    ] {
        sql(&stage, make).await;
        stage.simulator.update("contacts", 3);
        let id = stage.request(json!({})).await;
        let event = stage.final_event(id).await;
        assert_eq!(event.kind(), "sync.partial", "{}", event.body);
        let report = event.resource("contacts");
        assert!(report["error"].as_str().unwrap().contains(word), "{report}");
        sql(&stage, undo).await;
        stage.complete(json!({})).await;
        stage.assert_copy_is_equal().await;
    }
}
