//! `doctor`: each finding says what is wrong and how to fix it.

use std::collections::BTreeMap;

use axum::Router;
use axum::http::header;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::json;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::stage::{Stage, until};

/// Another key than that of the stage.
const OTHER_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// The first thing that is wrong, with its cure, in one line.
async fn complaint(stage: &Stage) -> String {
    let ended = stage.run(&["doctor"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let lines: Vec<&str> = ended.out.lines().skip_while(|line| !line.starts_with("WRONG")).take(2).collect();
    assert_eq!(lines.len(), 2, "each finding has a cure: {}", ended.out);
    assert!(lines[1].starts_with("       "), "{}", ended.out);
    lines.join(" ")
}

/// A worker has run once: all is there, and the account is authorized.
async fn settled() -> Stage {
    let mut stage = Stage::small().await;
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    let mut worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    worker.terminate().await;
    let ended = stage.run(&["doctor"]).await;
    assert_eq!((ended.code, ended.out.contains("WRONG")), (0, false), "{ended:?}");
    assert!(ended.out.contains("the API takes the stored access token"), "{}", ended.out);
    stage
}

/// Asserts what the first complaint is about, and what it says is to be done.
async fn assert_complains(stage: &Stage, about: &str, cure: &str) {
    let complaint = complaint(stage).await;
    assert!(complaint.contains(about) && complaint.contains(cure), "{about:?} and {cure:?}: {complaint}");
}

/// A URL of the stage's database for another user.
fn url_as(stage: &Stage, user: &str) -> String {
    let (scheme, rest) = stage.database.url.split_once("://").expect("a URL");
    let address = rest.split_once('@').map_or(rest, |(_, address)| address);
    format!("{scheme}://{user}@{address}")
}

#[tokio::test]
async fn a_database_that_cannot_be_reached() {
    let mut stage = settled().await;
    let server = stage.database.url.rsplit_once('/').expect("a URL").0.to_owned();
    for (url, about, cure) in [
        (format!("{server}/there_is_none"), "WRONG  PostgreSQL: no connection", "create database"),
        (url_as(&stage, "nobody_at_all"), "the login is refused (SQLSTATE 28000)", "pg_hba.conf"),
        ("postgres://nobody@127.0.0.1:9/nothing".to_owned(), "connection refused", "is it running"),
        ("mysql is what we have".to_owned(), "DATABASE_URL: it is a URL like", "fix DATABASE_URL"),
        ("mysql://root@localhost/teamleader".to_owned(), "DATABASE_URL: it is a URL like", "fix DATABASE_URL"),
    ] {
        stage.set("DATABASE_URL", &url);
        assert_complains(&stage, about, cure).await;
    }
    let ended = stage.run(&["status"]).await;
    assert_eq!((ended.code, ended.err.contains("DATABASE_URL")), (2, true), "{ended:?}");
}

#[tokio::test]
async fn a_role_without_the_rights_of_a_worker() {
    let mut stage = settled().await;
    let role = format!("t_{}", Uuid::new_v4().simple());
    let pool = stage.database.pool.clone();
    let run = async |sql: String| sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await.map(drop).unwrap();
    run(format!("create role {role} login")).await;
    let earlier = stage.set("DATABASE_URL", &url_as(&stage, &role));

    assert_complains(&stage, "permission denied", "docs/operations.md").await;
    run(format!(
        "grant usage on schema teamleader, teamleader2db to {role}; grant select on teamleader2db.migration to {role}"
    ))
    .await;
    let both = format!(
        "grant usage on schema teamleader_views to \"{role}\"; grant create on schema teamleader_views to \"{role}\";"
    );
    assert_complains(&stage, "lacks usage on schema teamleader_views; create on schema teamleader_views", &both).await;
    run(both).await;
    let all = "grant select, insert, update on teamleader.record to";
    assert_complains(&stage, "lacks select, insert, update on teamleader.record;", all).await;
    run(format!(
        "grant select, insert, update, delete on all tables in schema teamleader2db to {role};
         grant select on all tables in schema teamleader_views to {role};
         grant select, insert, delete on teamleader.record_history to {role}; grant select on teamleader.record to {role}"
    ))
    .await;
    let complaint = complaint(&stage).await;
    assert!(
        complaint.ends_with(&format!(
            "as the schemas' owner: grant insert, update on teamleader.record to \"{role}\"; \
                 grant insert on all tables in schema teamleader to \"{role}\";"
        )),
        "{complaint}"
    );
    run(format!("grant insert, update on teamleader.record to {role}")).await;
    run(format!("grant insert on all tables in schema teamleader to {role}")).await;
    let ended = stage.run(&["doctor"]).await;
    assert_eq!(ended.code, 0, "what it said was all: {ended:?}");

    stage.restore("DATABASE_URL", earlier);
    run(format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn a_schema_that_is_missing_or_old() {
    let mut stage = Stage::small().await.on_an_empty_database().await;
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    assert_complains(&stage, "schema is not up to date", "`teamleader2db migrate` does it, or").await;
    let role = format!("t_{}", Uuid::new_v4().simple());
    let pool = stage.database.pool.clone();
    let run = async |sql: String| sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await.map(drop).unwrap();
    run(format!("create role {role} login")).await;
    let earlier = stage.set("DATABASE_URL", &url_as(&stage, &role));
    assert_complains(&stage, "schema is not up to date", "as another user").await;
    let ended = stage.run(&["migrate"]).await;
    assert!(ended.code == 1 && ended.err.contains("permission denied"), "{ended:?}");
    assert!(!ended.err.contains("Run a program"), "the program is not too old: {ended:?}");
    stage.restore("DATABASE_URL", earlier);
    run(format!("drop role {role}")).await;

    assert_eq!(stage.run(&["migrate"]).await.code, 0);
    assert_complains(&stage, "not authorized: the account was never authorized", "/sync/authorize").await;
    stage.database.execute("drop view teamleader_views.freshness").await;
    assert_complains(
        &stage,
        "the views of schema teamleader_views are not those of this version",
        "`teamleader2db migrate` does it",
    )
    .await;
    stage.database.execute("delete from teamleader2db.migration where version = 5").await;
    assert_complains(&stage, "schema is not up to date", "migrate").await;
}

#[tokio::test]
async fn a_broker_that_cannot_be_used() {
    let mut stage = settled().await;
    let good = stage.setting("AMQP_URL").to_owned();
    let address = stage.broker.authority();
    for (url, about, cure) in [
        (
            format!("amqp://{}:wrong-password@{address}/%2f", stage.broker.user()),
            "the login is refused",
            "user and password",
        ),
        (good.replacen("/%2f", "/there-is-none", 1), "vhost", "fix the vhost"),
        ("amqp://guest:guest@127.0.0.1:9/%2f".to_owned(), "WRONG  RabbitMQ", "is the broker up"),
        ("a broker".to_owned(), "AMQP_URL: it is a URL that begins with", "fix"),
    ] {
        stage.set("AMQP_URL", &url);
        assert_complains(&stage, about, cure).await;
        assert!(!complaint(&stage).await.contains("wrong-password"));
    }
    stage.set("AMQP_URL", &good);

    // One of its queues was made by somebody else.
    let connection = Connection::connect(&good, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let queue = stage.broker.delay_queue(60);
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    assert_complains(&stage, &queue, "`worker` declares missing exchanges and queues").await;
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await.unwrap();
    assert_complains(
        &stage,
        &format!("the queue {queue} cannot be used as it stands"),
        "delete the queue, and start again",
    )
    .await;

    // One that would not outlive the broker. From 4.3 on RabbitMQ itself refuses to make it.
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    let made = channel.queue_declare(queue.as_str().into(), QueueDeclareOptions::default(), FieldTable::default());
    if made.await.is_ok() {
        assert_complains(&stage, "inequivalent arg 'durable'", "delete the queue, and start again").await;
    }
}

/// In place of a queue that a worker has declared, one with these arguments.
async fn replace_queue(stage: &Stage, queue: &str, arguments: &[(&str, AMQPValue)]) {
    stage.broker.delete_queues(&[queue]).await;
    let arguments = arguments.iter().map(|(name, value)| ((*name).into(), value.clone()));
    stage.broker.declare_queue(queue, arguments.collect::<BTreeMap<_, _>>().into()).await;
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

#[tokio::test]
async fn a_dead_letter_queue_of_an_earlier_version_with_a_limit_is_used_and_noted() {
    let stage = settled().await;
    let queue = stage.broker.dead_queue();
    let limit = ("x-max-length", AMQPValue::LongLongInt(1000));
    for more in [vec![], vec![limit.clone()], vec![limit, ("x-delivery-limit", AMQPValue::LongLongInt(5))]] {
        let limited = !more.is_empty();
        let arguments: Vec<_> = [("x-queue-type", text("quorum"))].into_iter().chain(more).collect();
        replace_queue(&stage, &queue, &arguments).await;
        let ended = stage.run(&["doctor"]).await;
        assert_eq!((ended.code, ended.out.contains("WRONG")), (0, false), "{ended:?}");
        let is_noted = |argument: &str| ended.out.contains(&format!("the queue {queue} has another {argument} than"));
        assert!(is_noted("x-delivery-limit"), "{}", ended.out);
        assert_eq!(is_noted("x-max-length"), limited, "{}", ended.out);
    }
    let _worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
}

#[tokio::test]
async fn no_harmless_difference_hides_one_that_is_not() {
    let stage = settled().await;
    let (requests, delay, undelivered) = (
        stage.broker.requests_queue(),
        stage.broker.delay_queue(60),
        format!("{}.undelivered", stage.broker.requests_queue()),
    );
    let tokens = stage.broker.tokens_queue();
    let quorum = ("x-queue-type", text("quorum"));
    let dead_lettered_to = |queue: &str| {
        [
            quorum.clone(),
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text(queue)),
            ("x-overflow", text("reject-publish")),
        ]
    };
    let (ttl, limit) = (("x-message-ttl", AMQPValue::LongLongInt(1)), ("x-delivery-limit", AMQPValue::LongInt(5)));
    let few = ("x-max-length", AMQPValue::LongLongInt(10));
    for (queue, arguments, essential) in [
        // Neither the strategy nor one consumer at a time.
        (&requests, dead_lettered_to(&undelivered).to_vec(), "x-single-active-consumer"),
        (&delay, [&dead_lettered_to(&requests)[..], &[ttl, limit.clone()]].concat(), "x-message-ttl"),
        (&tokens, vec![quorum.clone(), few.clone(), limit.clone()], "x-max-length"),
        (&undelivered, vec![quorum.clone(), few, limit], "x-max-length"),
    ] {
        replace_queue(&stage, queue, &arguments).await;
        let about = format!("the queue {queue} cannot be used as it stands");
        let complaint = complaint(&stage).await;
        assert!(complaint.contains(&about) && complaint.contains(&format!("arg '{essential}'")), "{complaint}");
        let worker = stage.worker().await;
        until("it does not work with the queue", async || worker.log().contains(&about).then_some(())).await;
        assert!(!worker.log().contains("Waiting for requests"), "{}", worker.log());
        drop(worker);
        stage.broker.delete_queues(&[queue]).await;
        let mut worker = stage.worker().await;
        until("all queues are there", async || worker.log().contains("Waiting for requests").then_some(())).await;
        worker.terminate().await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_teamleader_and_the_settings() {
    let mut stage = settled().await;
    let late = Router::new().fallback(async || ([(header::DATE, "Tue, 15 Jun 2021 09:51:03 GMT")], ""));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let late_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, late).await });
    for (name, value, about, cure) in [
        ("HTTP_LISTEN", "0.0.0.0:8080", "can be reached from other machines", "listen at 127.0.0.1"),
        ("TOKEN_ENCRYPTION_KEY", "short", "TOKEN_ENCRYPTION_KEY", "head -c 32"),
        ("TOKEN_ENCRYPTION_KEY", OTHER_KEY, "TOKEN_ENCRYPTION_KEY", "authorize again"),
        ("TEAMLEADER_AUTH_URI", "http://127.0.0.1:9", "authorization server cannot be reached", "HTTPS_PROXY"),
        ("TEAMLEADER_AUTH_URI", &late_url, "s ahead of that of the authorization server", "set-ntp"),
    ] {
        let usual = stage.set(name, value);
        assert_complains(&stage, about, cure).await;
        stage.restore(name, usual);
    }
    let usual = stage.set("TEAMLEADER_API_URI", &late_url);
    let out = stage.run(&["doctor"]).await.out;
    assert!(
        out.contains("WRONG  Teamleader: the clock of the API is") && out.contains("no watermark is taken"),
        "{out}"
    );
    stage.restore("TEAMLEADER_API_URI", usual);
    let refreshes = stage.simulator.counters().refreshes;
    stage.simulator.expire_access_tokens();
    assert_complains(&stage, "does not take the stored access token: users.me answered 401", "next sync").await;
    assert_eq!(stage.simulator.counters().refreshes, refreshes, "it uses no token up");
}

#[tokio::test]
async fn what_waits_in_the_queues_and_whether_a_worker_reads_them() {
    let stage = settled().await;
    let note = async |parts: &[&str]| {
        let out = stage.run(&["doctor"]).await.out;
        assert!(parts.iter().all(|part| out.contains(part)), "{parts:?}: {out}");
    };
    stage.request(json!({ "resources": ["users"] })).await;
    stage.broker.put(&stage.broker.delay_queue(3600), b"{}").await;
    let read = format!("no worker reads this queue: {}, in which 1 request waits", stage.broker.requests_queue());
    note(&["note   RabbitMQ: ", &read, "start one, `teamleader2db worker`", "1 request is delayed"]).await;
    let _worker = stage.worker().await;
    stage.broker.publish(b"no JSON", BasicProperties::default()).await;
    stage.broker.await_ready(&stage.broker.dead_queue(), 1).await;
    let read = format!("a worker reads {}, in which 0 requests wait", stage.broker.requests_queue());
    let dead = format!("1 dead letter lies in {}", stage.broker.dead_queue());
    note(&["ok     RabbitMQ: ", &read, &dead, "`teamleader2db dead-letters list --all-accounts` says why"]).await;
}

/// Runs what a finding says is to be done: its commands stand between backquotes.
async fn follow(stage: &Stage, finding: &str) {
    for command in finding.split('`').skip(1).step_by(2) {
        match command.strip_prefix("teamleader2db ") {
            Some(arguments) => {
                let ended = stage.run(&arguments.split(' ').collect::<Vec<_>>()).await;
                assert_eq!(ended.code, 0, "{command}: {ended:?}");
            }
            None => {
                let sql = AssertSqlSafe(command.to_owned());
                sqlx::raw_sql(sql).execute(&stage.database.pool).await.map(drop).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn rows_and_schemas_that_somebody_deleted_come_back_by_what_it_says() {
    let stage = settled().await;
    let worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.database.execute("delete from teamleader.record where resource in ('contacts', 'users')").await;
    assert_complains(
        &stage,
        "no row is left of contacts users, though the last complete sync listed records",
        "`teamleader2db request contacts users --account acme --full --wait`",
    )
    .await;
    follow(&stage, &complaint(&stage).await).await;
    assert!(!stage.run(&["doctor"]).await.out.contains("WRONG"));
    stage.assert_copy_is_equal().await;

    stage.database.execute("drop schema teamleader_views cascade").await;
    let missing = complaint(&stage).await;
    assert!(missing.contains("the schema teamleader_views is missing"), "{missing}");
    assert_eq!(stage.run(&["migrate"]).await.code, 0);
    assert!(!stage.run(&["doctor"]).await.out.contains("WRONG"));

    drop(worker);
    stage.database.execute("drop schema teamleader cascade").await;
    let missing = complaint(&stage).await;
    assert!(missing.contains("the schema teamleader is missing, with all records"), "{missing}");
    let (mending, syncing) = missing.split_once("then start a worker").expect("what to do");
    assert!(syncing.contains("`teamleader2db request --full`"), "{missing}");
    follow(&stage, mending).await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    assert!(!stage.run(&["doctor"]).await.out.contains("WRONG"));
    stage.assert_copy_is_equal().await;
}
