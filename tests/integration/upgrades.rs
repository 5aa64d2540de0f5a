//! Upgrades: what a database of an earlier release becomes, and two versions of the program at once.
//!
//! `upgrades/` has a dump of a database for each release, with an account in it, its tokens, a run that is half done, and
//! what its users built on it: views, an index, a trigger, rights. `make upgrade-dump` writes that of the version of
//! Cargo.toml, once, when it is released.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use teamleader_simulator::Config;
use uuid::Uuid;

use crate::stage::{Stage, until};

/// Made of them: an account of a few records of each resource, the same in each process.
const RESOURCES: &str = "companies,contacts,customFieldDefinitions,departments,invoices,users";

/// Of a dump: what pg_dump wrote, compressed.
const ENDING: &str = ".sql.gz";

/// The request of the run that is half done.
const HALF_DONE: &str = "7d1f6e0c-9a53-4f0b-8a60-5b6a1c2d3e4f";

/// A role of the cluster that the dump grants rights to.
const ANALYST: &str = "teamleader2db_test_analyst";

/// What users have built on the copy.
const BUILT_BY_USERS: &str = "
    create schema reports;
    create view reports.customers as
        select c.id, c.name, count(i.id) as invoices
        from teamleader_views.companies c
        left join teamleader_views.invoices i on i.invoicee_customer_id = c.id
        group by c.id, c.name;
    create materialized view reports.contacts as
        select id, last_name from teamleader_views.contacts;
    create index contacts_by_language on teamleader.contacts ((content ->> 'language'));
    create table reports.seen (id uuid, at timestamptz default now());
    create function reports.note() returns trigger language plpgsql as
        $$ begin insert into reports.seen (id) values (new.id); return null; end $$;
    create trigger note after insert on teamleader.contacts for each row execute function reports.note();
    grant usage on schema reports, teamleader_views to teamleader2db_test_analyst;
    grant select on all tables in schema reports, teamleader_views to teamleader2db_test_analyst;";

fn dumps() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/integration/upgrades")
}

fn account() -> Config {
    let counts = Config::default().counts.into_iter().map(|(resource, count)| (resource, count.min(12))).collect();
    Config { counts, ..Config::default() }
}

/// A stage whose worker reads few resources, with history.
async fn stage() -> Stage {
    let mut stage = Stage::with(account()).await;
    stage.set("TEAMLEADER_RESOURCES", RESOURCES);
    stage.set("HISTORY", "on");
    stage.set("SYNC_CONCURRENCY", "1");
    stage
}

async fn make_role(connection: &mut PgConnection) {
    // Another test of this moment may make it, too.
    let sql = format!("create role {ANALYST} nologin");
    if let Err(error) = sqlx::query(AssertSqlSafe(sql)).execute(connection).await {
        let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
        assert!(matches!(code.as_deref(), Some("42710" | "23505")), "{error}");
    }
}

/// Writes the dump of this version. Not a test of anything: `make upgrade-dump` runs it.
#[tokio::test]
async fn the_dump_of_this_version_is_written_where_that_is_asked_for() {
    if std::env::var_os("WRITE_UPGRADE_DUMP").is_none() {
        return;
    }
    let stage = stage().await;
    let mut worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    // What the copy held before is history then.
    let other = "update teamleader.contacts set content = content || '{\"language\": \"tlh\"}', list_hash = ''
         where id in (select id from teamleader.contacts order by id limit 3)";
    assert_eq!(stage.database.execute(other).await, 3);
    stage.complete(json!({ "mode": "full", "refetch": true })).await;
    let mut connection = PgConnection::connect(&stage.database.url).await.unwrap();
    make_role(&mut connection).await;
    sqlx::raw_sql(BUILT_BY_USERS).execute(&mut connection).await.unwrap();
    stage.slow_down("contacts.info", 1_000);
    let asked = stage.asked("contacts.info");
    stage.request_again(HALF_DONE.parse().unwrap(), half_done(), Default::default()).await;
    stage.await_asked("contacts.info", asked + 3).await;
    let detailed = "select coalesce(sum(detailed), 0)::bigint from teamleader2db.sync_step s
         join teamleader2db.sync_run r on r.id = s.run_id where r.status = 'running' and resource = 'contacts'";
    until("details are stored", async || (stage.database.value::<i64>(detailed).await > 0).then_some(())).await;
    worker.kill();

    let dump = std::process::Command::new("pg_dump")
        .args(["--no-owner", "--inserts", "--rows-per-insert=50", &stage.database.url])
        .output()
        .expect("pg_dump");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let dump = String::from_utf8(dump.stdout).unwrap();
    let token = stage.simulator.live_refresh_token().expect("a refresh token");
    // What only psql understands.
    let sql = dump.lines().filter(|line| !line.starts_with('\\')).map(|line| format!("{line}\n"));
    let text = format!("-- refresh token: {token}\n{}", sql.collect::<String>());
    std::fs::create_dir_all(dumps()).unwrap();
    let mut compressed = GzEncoder::new(Vec::new(), Compression::best());
    compressed.write_all(text.as_bytes()).unwrap();
    let path = dumps().join(format!("{}{ENDING}", env!("CARGO_PKG_VERSION")));
    std::fs::write(path, compressed.finish().unwrap()).unwrap();
}

fn half_done() -> Value {
    json!({ "mode": "full", "refetch": true })
}

/// A stage whose database is that of the dump.
async fn restored(dump: &str) -> Stage {
    let stage = stage().await.on_an_empty_database().await;
    let mut connection = PgConnection::connect(&stage.database.url).await.unwrap();
    make_role(&mut connection).await;
    sqlx::raw_sql(AssertSqlSafe(dump.to_owned())).execute(&mut connection).await.unwrap();
    // The dump's own session settings end with the connection.
    connection.close().await.unwrap();
    stage
}

/// What users read, and what must not change: columns with their types, and rights.
async fn promised(stage: &Stage) -> BTreeSet<String> {
    let sql = "
        select format('%s.%s.%s %s', n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod))
        from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('teamleader', 'teamleader_views', 'reports') and a.attnum > 0 and not a.attisdropped
          and c.relkind in ('r', 'p', 'v', 'm')
        union all
        select format('%s may %s %s.%s', grantee, privilege_type, table_schema, table_name)
        from information_schema.table_privileges where grantee = 'teamleader2db_test_analyst'
        union all
        select format('index %s on %s', indexname, tablename) from pg_indexes where indexname = 'contacts_by_language'
        union all
        select format('trigger %s on %s', tgname, tgrelid::regclass) from pg_trigger where tgname = 'note'";
    let rows: Vec<String> = sqlx::query_scalar(sql).fetch_all(&stage.database.pool).await.unwrap();
    rows.into_iter().collect()
}

/// All rows, their history, watermarks, tokens and runs, by which no migration may lose or alter any.
async fn contents(stage: &Stage) -> Vec<String> {
    let sql = "
        select format('%s %s', resource, md5(string_agg(id::text || content::text || coalesce(deleted_at::text, ''), ','
            order by id))) from teamleader.record group by resource
        union all
        select format('history %s %s', resource, count(*)) from teamleader.record_history group by resource
        union all
        select format('cursor %s %s', resource, watermark) from teamleader2db.cursor
        union all
        select format('token %s %s %s', account, generation, encode(refresh_token, 'hex'))
        from teamleader2db.oauth_token
        union all
        select format('run %s %s %s', id, status, slice) from teamleader2db.sync_run
        order by 1";
    sqlx::query_scalar(sql).fetch_all(&stage.database.pool).await.unwrap()
}

/// What the analyst reads through the view that users have built.
async fn as_analyst(stage: &Stage) -> i64 {
    let mut connection = PgConnection::connect(&stage.database.url).await.unwrap();
    sqlx::query("set role teamleader2db_test_analyst").execute(&mut connection).await.unwrap();
    let sql = "select (select count(*) from reports.customers) + (select count(*) from teamleader_views.contacts)";
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_database_of_each_release_is_migrated_and_goes_on_with_its_run() {
    let mut upgraded = Vec::new();
    for entry in std::fs::read_dir(dumps()).expect("tests/integration/upgrades") {
        let entry = entry.unwrap();
        let mut dump = String::new();
        GzDecoder::new(std::fs::File::open(entry.path()).unwrap()).read_to_string(&mut dump).unwrap();
        upgrade(&dump).await;
        upgraded.push(entry.file_name().into_string().unwrap());
    }
    assert!(upgraded.contains(&format!("0.1.0{ENDING}")), "{upgraded:?}");
}

async fn upgrade(dump: &str) {
    let stage = restored(dump).await;
    let token = dump.lines().next().and_then(|line| line.strip_prefix("-- refresh token: ")).expect("a refresh token");
    stage.simulator.remember_refresh_token(token);
    let (promised_before, before) = (promised(&stage).await, contents(&stage).await);
    let read_before = as_analyst(&stage).await;

    let migrated = stage.run(&["migrate"]).await;
    assert_eq!(migrated.code, 0, "{}", migrated.err);
    let missing: Vec<String> = promised_before.difference(&promised(&stage).await).cloned().collect();
    assert!(missing.is_empty(), "users have built on these: {missing:#?}");
    assert_eq!(contents(&stage).await, before, "a migration keeps every row");
    assert_eq!(as_analyst(&stage).await, read_before);

    let id: Uuid = HALF_DONE.parse().unwrap();
    let refreshes = stage.simulator.refreshes().len();
    let worker = stage.worker().await;
    stage.request_again(id, half_done(), Default::default()).await;
    let event = stage.completed(id).await;
    assert!(worker.log().contains("Resumed a run"), "it goes on where the earlier version stopped: {}", worker.log());
    assert_eq!(event.count("contacts", "detailed"), stage.simulator.count("contacts") as i64);
    // What the simulator's records say may have changed since the release; which there are, has not.
    stage.complete(json!({ "mode": "full", "refetch": true })).await;
    let resources = RESOURCES.split(',').filter(|resource| *resource != "customFieldDefinitions");
    for resource in resources {
        assert_eq!(stage.database.difference(&stage.simulator, resource).await, None);
    }
    assert_eq!(stage.simulator.refreshes().len(), refreshes + 1, "the stored token is good for one refresh");
    assert_eq!(stage.final_events(id).len(), 1);
    stage.simulator.update("contacts", 3);
    stage.complete(json!({})).await;
    assert_eq!(stage.database.difference(&stage.simulator, "contacts").await, None);
    assert_eq!(as_analyst(&stage).await, read_before);
}

#[tokio::test]
async fn an_older_program_refuses_a_newer_schema() {
    let mut stage = Stage::small().await;
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:9/sync/oauth");
    stage.database.execute(OF_A_NEWER_VERSION).await;
    let commands = [&["worker"][..], &["worker", "--migrate-on-start=false"], &["migrate"], &["status"], &["doctor"]];
    for command in commands {
        let ended = stage.run(command).await;
        assert_ne!(ended.code, 0, "{command:?}: {}", ended.out);
        let said = ended.out + &ended.err;
        assert!(said.contains("Run a program at least as new as the one that migrated it"), "{command:?}: {said}");
    }
}

/// As sqlx writes it.
const OF_A_NEWER_VERSION: &str = "insert into teamleader2db.migration
     (version, description, success, checksum, execution_time) values (9999, 'newer', true, '', 0)";

#[tokio::test]
async fn a_worker_writes_nothing_more_once_a_newer_version_has_migrated_the_schema() {
    let stage = Stage::of(40).await;
    stage.slow_down("contacts.info", 500);
    let older = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.await_asked("contacts.info", 3).await;
    stage.database.execute(OF_A_NEWER_VERSION).await;
    until("it says so", async || older.log().contains("No request can be worked on").then_some(())).await;
    assert!(older.log().contains("the database's schema is newer than this program"), "{}", older.log());
    let before = (stage.database.versions().await, machinery(&stage).await);
    // What this version would refuse, the newer one may know.
    let unknown = stage.request(json!({ "of_a_newer_version": true })).await;
    stage.broker.await_ready(&stage.broker.requests_queue(), 2).await;
    let cancelled = stage.run(&["cancel", &id.to_string()]).await;
    assert!(cancelled.err.contains("the database's schema is version 9999"), "{cancelled:?}");
    assert_eq!((stage.database.versions().await, machinery(&stage).await), before, "it has written nothing");
    let (code, ready) = older.get("/health/ready").await;
    assert!(ready.contains("newer than this program"), "{code} {ready}");
    stage.broker.await_ready(&stage.broker.dead_queue(), 0).await;

    // As if this were the newer version, which comes after.
    stage.database.execute("delete from teamleader2db.migration where version = 9999").await;
    stage.simulator.clear_faults();
    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    assert_eq!(stage.final_events(id).len(), 1);
    assert_eq!(stage.final_event(unknown).await.kind(), "sync.failed");
}

#[tokio::test]
async fn a_worker_that_waits_for_requests_leaves_them_to_a_newer_version() {
    let stage = Stage::small().await;
    let older = stage.worker().await;
    stage.complete(json!({ "mode": "full", "resources": ["departments"] })).await;
    stage.simulator.expire_access_tokens();
    // A migration that this program cannot work with, all in one transaction.
    let migration = format!(
        "begin; {OF_A_NEWER_VERSION}; alter table teamleader2db.oauth_token rename column generation to number; commit"
    );
    let mut connection = PgConnection::connect(&stage.database.url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(migration)).execute(&mut connection).await.unwrap();
    until("it says so", async || older.log().contains("the database's schema is newer than").then_some(())).await;
    stage.request(json!({ "mode": "full", "resources": ["departments"] })).await;
    stage.broker.await_ready(&stage.broker.requests_queue(), 1).await;
}

/// Runs, steps, cursors and events, as text.
async fn machinery(stage: &Stage) -> Vec<String> {
    let sql = "select t::text from teamleader2db.sync_run t union all select t::text from teamleader2db.sync_step t
         union all select t::text from teamleader2db.cursor t union all select id::text from teamleader2db.event_outbox
         order by 1";
    sqlx::query_scalar(sql).fetch_all(&stage.database.pool).await.unwrap()
}
