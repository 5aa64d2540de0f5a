//! The least rights of docs/operations.md are enough, and no more than that: its own SQL and definitions are run.

use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use teamleader_simulator::ChangeKind;
use uuid::Uuid;

use crate::stage::{Database, OwnBroker, Stage, Worker, until};
use crate::webhooks;

const OPERATIONS: &str = include_str!("../../docs/operations.md");
const DEFINITIONS: &str = include_str!("../../docs/definitions.json");

/// The roles of the documentation, under names of this test: roles belong to the whole server.
struct Roles {
    suffix: String,
}

impl Roles {
    fn named(&self, role: &str) -> String {
        format!("teamleader_{role}_{}", self.suffix)
    }

    /// The statements of the documentation's nth block of SQL, for these roles and this database.
    fn statements(&self, block: usize, database: &Database) -> Vec<String> {
        let blocks: Vec<&str> =
            OPERATIONS.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        let mut sql = blocks[block].to_owned();
        // The test has its database already.
        sql = sql.replace("create database teamleader owner", &format!("alter database {} owner to", database.name()));
        sql = sql.replace("on database teamleader ", &format!("on database {} ", database.name()));
        for role in ["owner", "worker", "reader"] {
            sql = sql.replace(&format!("teamleader_{role}"), &self.named(role));
        }
        sql.split(';').map(str::trim).filter(|sql| !sql.is_empty()).map(str::to_owned).collect()
    }

    /// A URL of the database for a role.
    fn url(&self, role: &str, database: &Database) -> String {
        let (scheme, rest) = database.url.split_once("://").expect("a URL");
        let address = rest.split_once('@').map_or(rest, |(_, address)| address);
        format!("{scheme}://{}@{address}", self.named(role))
    }

    /// Takes all back; the database belongs to the test again.
    async fn drop(&self, database: &Database) {
        let owner = format!("alter database {} owner to current_user", database.name());
        run(&database.pool, &owner).await.unwrap();
        for role in ["owner", "worker", "reader"].map(|role| self.named(role)) {
            run(&database.pool, &format!("drop owned by {role} cascade")).await.unwrap();
            run(&database.pool, &format!("drop role {role}")).await.unwrap();
        }
    }
}

async fn run(pool: &PgPool, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(pool).await.map(drop)
}

async fn connect(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(1).connect(url).await.unwrap()
}

/// Asserts that the role is refused a statement for want of a right.
async fn assert_denied(pool: &PgPool, sql: &str) {
    let error = run(pool, sql).await.expect_err(sql);
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    assert_eq!(code, "42501", "{sql}: {error}");
}

/// A call becomes a row, what no call announced is counted, what was served is deleted, and the commands do their part.
async fn follow_webhooks(stage: &Stage, worker: &Worker) {
    webhooks::registered(stage).await;
    webhooks::deliver_to(stage, worker);
    stage.simulator.update("contacts", 2);
    webhooks::settled(stage).await;
    stage.database.assert_table_equals(&stage.simulator, "contacts").await;
    // By the owner, since the test cannot wait for a day; the next look some seconds after a start deletes them.
    stage.database.execute("update teamleader2db.hint set served_at = now() - interval '2 days'").await;
    let lossy = teamleader_simulator::Webhooks { loss: 1.0, ..stage.simulator.webhooks() };
    stage.simulator.set_webhooks(lossy);
    stage.simulator.update("contacts", 1);
    stage.simulator.delete("companies", 1);
    stage.complete(json!({ "mode": "full" })).await;
    let missed = "select coalesce(sum(missed), 0)::bigint from teamleader2db.webhook_loss";
    until("what was missed is counted", async || (stage.database.value::<i64>(missed).await == 2).then_some(())).await;
    for command in [&["webhooks", "unregister"][..], &["webhooks", "register"], &["webhooks"]] {
        let ended = stage.run(command).await;
        assert_eq!(ended.code, 0, "{command:?}: {ended:?}");
    }
}

/// Rows are drawn, and what differs is repaired; old draws and turns are deleted.
async fn follow_audit(stage: &Stage) {
    let repaired = "select count(*) from teamleader2db.audit_draw where repaired_at is not null";
    stage.database.execute("update teamleader.tasks set content = content || '{\"title\": \"edited\"}'").await;
    until("the audit repairs a row", async || (stage.database.value::<i64>(repaired).await > 0).then_some(())).await;
    let old = "select (select count(*) from teamleader2db.audit_draw where drawn_at < now() - interval '7 days')
        + (select count(*) from teamleader2db.audit_turn where at < now() - interval '7 days')";
    until("old ones are deleted", async || (stage.database.value::<i64>(old).await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_worker_needs_no_more_than_the_rights_of_its_role() {
    let mut stage = Stage::small().await.of_everything().on_an_empty_database().await;
    let roles = Roles { suffix: Uuid::new_v4().simple().to_string() };
    for sql in roles.statements(0, &stage.database) {
        run(&stage.database.pool, &sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let owner = roles.url("owner", &stage.database);
    stage.set("DATABASE_URL", &owner);
    let ended = stage.run(&["migrate"]).await;
    assert_eq!(ended.code, 0, "the owner of the database migrates it: {ended:?}");
    let owner = connect(&owner).await;
    for sql in roles.statements(1, &stage.database) {
        run(&owner, &sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    let worker_url = roles.url("worker", &stage.database);
    stage.set("DATABASE_URL", &worker_url);
    for (name, value) in [
        ("MIGRATE_ON_START", "false"),
        ("HISTORY", "on"),
        ("ERASE_DELETED_AFTER", "1s"),
        ("WEBHOOK_URL", "https://hooks.example.com"),
        ("WEBHOOK_PATIENCE", "1s"),
    ] {
        stage.set(name, value);
    }
    let mut worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.assert_copy_is_equal().await;
    stage.database.assert_table_equals(&stage.simulator, "tickets.messages").await;
    follow_webhooks(&stage, &worker).await;
    // What writes over, deletes, mends and authorizes.
    stage.simulator.change("companies", ChangeKind::Update, 2);
    stage.simulator.delete("contacts", 1);
    stage.complete(json!({ "mode": "full" })).await;
    stage.database.execute("delete from teamleader.record where resource = 'deals'").await;
    stage.complete(json!({ "mode": "audit", "repair": true, "resources": ["deals"] })).await;
    stage.database.assert_table_equals(&stage.simulator, "deals").await;
    let (_, text) = worker.get("/sync/authorize").await;
    assert_eq!(text.trim(), "code accepted");
    stage.simulator.expire_access_tokens();
    stage.complete(json!({ "resources": ["users"] })).await;

    // A session of an older worker that is frozen in a transaction: the next slice ends it.
    let frozen = connect(&worker_url).await;
    run(&frozen, "begin; select from teamleader2db.lease for share").await.unwrap();
    stage.complete(json!({ "resources": ["users"] })).await;
    assert!(worker.log().contains("Ending what an older worker left"), "{}", worker.log());

    // What is old is looked for some seconds after the start.
    worker.terminate().await;
    for old in [
        "insert into teamleader2db.audit_draw (account, resource, source, id, drawn_at)
         values ('acme', 'contacts', 'rows', gen_random_uuid(), now() - interval '8 days')",
        "insert into teamleader2db.audit_turn (account, resource, source, at, requests)
         values ('acme', 'contacts', 'rows', now() - interval '8 days', 1)",
    ] {
        stage.database.execute(old).await;
    }
    stage.set("AUDIT_RATE", "6000");
    stage.set("AUDIT_REPAIR", "on");
    // The more there are, the longer each waits for its turn.
    stage.set("TEAMLEADER_RESOURCES", "tasks");
    let mut worker = stage.worker().await;
    let erased = "select count(*) from teamleader.contacts where deleted_at is not null and content = '{}'";
    until("the deleted contact is erased", async || (stage.database.value::<i64>(erased).await == 1).then_some(()))
        .await;
    let served = "select count(*) from teamleader2db.hint where served_at < now() - interval '1 day'";
    until("hints that were served are deleted", async || {
        (stage.database.value::<i64>(served).await == 0).then_some(())
    })
    .await;
    follow_audit(&stage).await;
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    let ended = stage.run(&["doctor"]).await;
    assert!(ended.code == 0 && ended.out.contains("has the rights that a worker needs"), "{ended:?}");
    assert!(!worker.log().contains("permission denied"), "{}", worker.log());
    worker.terminate().await;

    let as_worker = connect(&worker_url).await;
    for sql in [
        "create schema mine",
        "create table public.mine ()",
        "create table teamleader.mine ()",
        "drop view teamleader_views.contacts",
        "create temporary table mine ()",
        "select teamleader.add_resource('mine')",
        "alter table teamleader.contacts add mine text",
        "alter table teamleader.record disable trigger keep_version",
        "create index on teamleader.contacts (id)",
        "drop table teamleader2db.sync_page",
        "truncate teamleader.record",
        "delete from teamleader.record",
        "update teamleader2db.migration set version = 0",
        "alter database current owner to current_user",
        "create role mine",
        "copy teamleader.record to '/dev/null'",
    ] {
        // A database cannot be called by what it is.
        let sql = sql.replace("database current ", &format!("database {} ", stage.database.name()));
        assert_denied(&as_worker, &sql).await;
    }
    let as_reader = connect(&roles.url("reader", &stage.database)).await;
    let sql = "select count(*) from teamleader.contacts c join teamleader.record r using (resource, account, id)";
    let seen: i64 = sqlx::query_scalar(sql).fetch_one(&as_reader).await.unwrap();
    assert_eq!(seen, stage.database.rows("contacts").await);
    run(&as_reader, "select count(*) from teamleader.record_history").await.unwrap();
    // The last of them is the worker's own.
    assert_eq!(stage.database.views_with_problems().await, "");
    for view in ["contacts", "contact_emails", "account", "freshness", "problems", "contacts_wide"] {
        run(&as_reader, &format!("select count(*) from teamleader_views.{view}")).await.unwrap();
    }
    for sql in [
        "select count(*) from teamleader2db.oauth_token",
        "select count(*) from teamleader2db.view_problem",
        "create view teamleader_views.mine as select 1",
        "delete from teamleader.contacts",
        "insert into teamleader.contacts default values",
        "create table public.mine ()",
    ] {
        assert_denied(&as_reader, sql).await;
    }

    for pool in [owner, frozen, as_worker, as_reader] {
        pool.close().await;
    }
    roles.drop(&stage.database).await;
}

/// A connection of one of the users of the definitions.
async fn connect_as(broker: &OwnBroker, user: &str) -> Channel {
    let connection = Connection::connect(&url_as(broker, user), ConnectionProperties::default()).await.unwrap();
    connection.create_channel().await.unwrap()
}

fn url_as(broker: &OwnBroker, user: &str) -> String {
    broker.url.replacen("guest:guest", &format!("{user}:{user}-password"), 1)
}

#[tokio::test]
async fn a_worker_an_orchestrator_and_an_observer_need_no_more_than_their_definitions() {
    let broker = OwnBroker::start().await;
    broker.import(DEFINITIONS).await;
    let mut stage = Stage::small().await.at_broker(&broker.url).await;
    for (name, value) in [("AMQP_PREFIX", "teamleader"), ("TEAMLEADER_ACCOUNT", "default")] {
        stage.set(name, value);
    }
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    let queues_of_doctor = async |stage: &Stage| {
        let out = stage.run(&["doctor"]).await.out;
        out.lines()
            .filter(|line| line.contains("RabbitMQ: ") && !line.contains("connected") && !line.contains("its limits"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    stage.set("AMQP_URL", &url_as(&broker, "teamleader2db"));
    let told = stage.run(&["doctor"]).await.out;
    assert!(told.contains("user and password in AMQP_URL"), "nobody may log in without a password: {told}");
    for user in ["teamleader2db", "orchestrator", "observer"] {
        broker.control(&["change_password", user, &format!("{user}-password")]).await;
    }
    // Declaring with the worker's own arguments finds no difference.
    stage.set("AMQP_URL", &broker.url);
    let told = queues_of_doctor(&stage).await;
    assert!(told.starts_with("ok     RabbitMQ: all queues are there"), "{told}");
    stage.set("AMQP_URL", &url_as(&broker, "teamleader2db"));
    let told = queues_of_doctor(&stage).await;
    assert!(told.contains("cannot be used as it stands") && told.contains("ACCESS_REFUSED"), "{told}");
    let told = stage.run(&["doctor"]).await.out;
    assert!(told.contains("grant configure on teamleader.requests, or let another user"), "{told}");

    stage.set("AMQP_DECLARE", "check");
    // Requests are handed back, and published again.
    stage.set("SYNC_SLICE", "1s");
    stage.slow_down("contacts.list", 1200);
    let told = queues_of_doctor(&stage).await;
    assert!(told.starts_with("ok     RabbitMQ: all queues are there"), "{told}");
    let mut worker = stage.worker().await;
    stage.set("AMQP_URL", &url_as(&broker, "observer"));
    let mut events = stage.watch(&["events", "--json"]);
    events.says("Listening for events").await;

    let orchestrator = connect_as(&broker, "orchestrator").await;
    let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
    let declared = orchestrator.queue_declare("".into(), options, FieldTable::default()).await.unwrap();
    let replies = declared.name().clone();
    orchestrator.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let publish = async |body: &str| {
        let properties = BasicProperties::default().with_reply_to(replies.clone());
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let (exchange, key) = ("teamleader.requests".into(), "default".into());
        let confirmed =
            orchestrator.basic_publish(exchange, key, options, body.as_bytes(), properties).await.unwrap().await;
        assert!(matches!(confirmed, Ok(Confirmation::Ack(None))), "{confirmed:?}");
        let got = until("a reply comes", async || {
            let options = BasicGetOptions { no_ack: true };
            orchestrator.basic_get(replies.clone(), options).await.unwrap()
        })
        .await;
        serde_json::from_slice::<Value>(&got.data).unwrap()
    };
    // Without an id it is published again with one.
    assert_eq!(publish(r#"{"mode":"full"}"#).await["type"], "teamleader2db.sync.completed");
    stage.assert_copy_is_equal().await;
    assert!(worker.log().contains("Requeued the request"), "{}", worker.log());
    assert_eq!(publish(r#"{"mode":"all"}"#).await["type"], "teamleader2db.sync.failed");
    until("what cannot be understood is kept", async || {
        let counted = broker.control(&["-q", "list_queues", "name", "messages"]).await;
        counted.lines().any(|line| line == "teamleader.dead\t1").then_some(())
    })
    .await;
    until("the observer has seen both ends", async || {
        let lines = events.lines();
        let seen = |kind: &str| lines.iter().any(|line| line.contains(&format!("\"teamleader2db.sync.{kind}\"")));
        (seen("completed") && seen("failed")).then_some(())
    })
    .await;
    assert_eq!(events.end("TERM").await.code(), Some(0));
    let log = worker.log();
    assert!(!log.contains("without a lock") && !log.contains("ACCESS_REFUSED"), "{log}");

    for queue in ["teamleader.requests.default", "teamleader.tokens.default", "teamleader.dead"] {
        let (channel, options) = (connect_as(&broker, "orchestrator").await, BasicConsumeOptions::default());
        let refused = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await;
        assert!(refused.expect_err(queue).to_string().contains("ACCESS"), "{queue}");
    }
    let channel = connect_as(&broker, "observer").await;
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    let refused = channel.queue_declare("mine".into(), options, FieldTable::default()).await;
    assert!(refused.expect_err("a queue of its own").to_string().contains("ACCESS"));

    // Not even the lock.
    worker.terminate().await;
    let worker_rights = serde_json::from_str::<Value>(DEFINITIONS).unwrap()["permissions"][0].clone();
    let of = |right: &str| worker_rights[right].as_str().unwrap().to_owned();
    broker.control(&["set_permissions", "teamleader2db", "^$", &of("write"), &of("read")]).await;
    stage.set("AMQP_URL", &url_as(&broker, "teamleader2db"));
    let worker = stage.worker().await;
    assert_eq!(publish(r#"{"resources":["users"]}"#).await["type"], "teamleader2db.sync.completed");
    assert!(worker.log().contains("Escrowed token pairs are read without a lock"), "{}", worker.log());
}
