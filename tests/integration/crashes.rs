//! Whatever dies in mid-run: the run goes on from its checkpoint, and nothing is done twice that need not be.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{DETAILED, Event, Stage, free_port, until};

/// Details between two checkpoints: what a crash can cost to fetch again.
const BATCH: u64 = 100;

/// Requests in flight: what a crash can cost of lists.
const IN_FLIGHT: u64 = 16;

/// How a worker tells that it lost its connection, or gave it up.
const INTERRUPTED: &str = "Consuming was interrupted";

/// Slow enough to meddle with, both while lists are read and while details are fetched.
async fn slow_stage() -> Stage {
    let stage = Stage::of(250).await;
    stage.slow_down("contacts.list", 250);
    stage.slow_down("contacts.info", 40);
    stage
}

/// Asserts that the interrupted run, and it alone, has asked hardly more than a run that nobody interrupts: each interruption may
/// cost the pages on their way, or the batch in hand.
async fn assert_went_on(stage: &Stage, interruptions: u64) {
    let (lists, details) = (stage.lists_asked(), stage.details_asked());
    assert!(details <= stage.details() + interruptions * BATCH, "{details} details for {} records", stage.details());
    stage.simulator.clear_faults();
    stage.simulator.reset_counters();
    stage.complete(json!({ "mode": "full" })).await;
    let undisturbed = stage.lists_asked();
    assert!(
        lists <= undisturbed + interruptions * IN_FLIGHT,
        "{lists} pages were read, {undisturbed} without an interruption"
    );
}

#[tokio::test]
async fn a_killed_worker_is_followed_by_one_that_goes_on_from_the_checkpoint() {
    let stage = slow_stage().await;
    let mut first = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.await_asked("contacts.list", 2).await;
    first.kill();
    let mut second = stage.worker().await;
    stage.await_asked("contacts.info", 120).await;
    second.kill();
    let _third = stage.worker().await;

    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    assert_eq!(stage.final_events(id).len(), 1);
    // Twice where it was killed after it had sent it, and before it had marked it.
    let mut started = stage.events_of_kind("sync.started");
    started.dedup_by(|one, other| one.id() == other.id());
    assert_eq!(started.len(), 1, "{started:?}");
    assert_eq!(stage.simulator.counters().refused_refresh_reuse, 0);
    assert_went_on(&stage, 2).await;
}

#[tokio::test]
async fn what_the_database_loses_is_read_again() {
    let stage = Stage::of(1_000).await;
    stage.slow_down("contacts.list", 100);
    let worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    let pages = async |least: i32| {
        let read = "select coalesce(max(page), -1) + 1 from teamleader2db.sync_page where resource = 'contacts'";
        until("pages are read", async || (stage.database.value::<i32>(read).await >= least).then_some(())).await;
    };
    pages(2).await;
    // As after a failover to a replica that was behind: connections are there, and what was committed last is not.
    sqlx::raw_sql(
        "begin isolation level repeatable read;
             create table public.step as select * from teamleader2db.sync_step;
             create table public.page as select * from teamleader2db.sync_page;
             create table public.cursor as select * from teamleader2db.cursor;
             create table public.row as select resource, id from teamleader.record;
             commit",
    )
    .execute(&stage.database.pool)
    .await
    .unwrap();
    pages(4).await;
    sqlx::raw_sql(
        "begin;
             update teamleader2db.sync_step s
             set (phase, status, position, listed, created, updated, unchanged, detailed, matches, verified, pages,
                     checkpoint)
                 = (select phase, status, position, listed, created, updated, unchanged, detailed, matches, verified,
                        pages, checkpoint
                    from public.step was where was.run_id = s.run_id and was.resource = s.resource);
             delete from teamleader2db.sync_page;
             insert into teamleader2db.sync_page select * from public.page;
             delete from teamleader2db.cursor;
             insert into teamleader2db.cursor select * from public.cursor;
             delete from teamleader.record where (resource, id) not in (select resource, id from public.row);
             commit",
    )
    .execute(&stage.database.pool)
    .await
    .unwrap();

    until("the worker notices", async || worker.log().contains("lost what it had committed").then_some(())).await;
    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    assert_eq!(stage.final_events(id).len(), 1);
}

#[tokio::test]
async fn the_end_of_a_list_waits_for_the_disk_and_what_comes_before_it_need_not() {
    let stage = Stage::of(250).await;
    stage.slow_down("contacts.list", 100);
    let _worker = stage.worker().await;
    sqlx::raw_sql(
        "create table public.commits (ends_list boolean, setting text);
         create function public.note_commit() returns trigger language plpgsql as $$ begin
             insert into public.commits
             values (old.phase = 'list' and new.phase <> 'list', current_setting('synchronous_commit'));
             return null;
         end $$;
         create trigger note_commit after update on teamleader2db.sync_step for each row execute function public.note_commit()",
    )
    .execute(&stage.database.pool)
    .await
    .unwrap();
    stage.complete(json!({ "mode": "full" })).await;
    let settings = "select array_agg(distinct format('%s %s', ends_list, setting) order by format('%s %s', ends_list, setting)) from public.commits";
    assert_eq!(stage.database.value::<Vec<String>>(settings).await, ["f off", "t on"]);
}

#[tokio::test]
async fn a_second_worker_stands_by_and_takes_over() {
    let stage = slow_stage().await;
    let mut first = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.await_asked("contacts.list", 1).await;
    let _second = stage.worker().await;
    // One at a time: this one waits for the first, although the second worker has nothing to do.
    let short = stage.request(json!({ "resources": ["departments"] })).await;
    stage.await_asked("contacts.info", 20).await;
    first.kill();

    stage.completed(short).await;
    let ended: Vec<String> =
        stage.events_of_kind("sync.completed").iter().map(|event| event.subject().to_owned()).collect();
    assert_eq!(ended, [id.to_string(), short.to_string()]);
    stage.assert_copy_is_equal().await;
    assert!(stage.details_asked() <= stage.details() + BATCH, "{}", stage.details_asked());
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_hands_the_request_back_as_it_came() {
    let stage = slow_stage().await;
    let mut first = stage.worker().await;
    let id = Uuid::new_v4();
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongString("00-abc-def-01".into()));
    let (queue, replies) = stage.broker.reply_queue().await;
    let sent = BasicProperties::default()
        .with_message_id("from-the-sender".into())
        .with_correlation_id("run-9".into())
        .with_reply_to(queue.as_str().into())
        .with_content_type("application/json".into())
        .with_type("sync".into())
        .with_app_id("airflow".into())
        .with_timestamp(1_700_000_000)
        .with_priority(3)
        .with_expiration("600000".into())
        .with_user_id(stage.broker.user().into())
        .with_headers(headers);
    stage.request_again(id, json!({ "mode": "full" }), sent.clone()).await;
    stage.await_asked("contacts.info", 20).await;

    let status = first.terminate().await;
    assert_eq!(status.code(), Some(0));
    let log = first.log();
    assert!(!log.contains("Not everything ended in order"), "it ended within its own deadline");
    stage.broker.await_ready(&stage.broker.requests_queue(), 1).await;
    let copy = stage.broker.take(&stage.broker.requests_queue()).await;
    let kept = &copy.properties;
    assert_eq!(kept.message_id(), sent.message_id());
    assert_eq!(kept.correlation_id(), sent.correlation_id());
    assert_eq!(kept.reply_to(), sent.reply_to());
    assert_eq!(kept.content_type(), sent.content_type());
    assert_eq!(kept.kind(), sent.kind());
    assert_eq!(kept.app_id(), sent.app_id());
    assert_eq!(kept.timestamp(), sent.timestamp());
    assert_eq!(kept.priority(), sent.priority());
    assert_eq!(
        (kept.expiration(), kept.user_id()),
        (&None, &None),
        "these would change what the broker does with the copy"
    );
    let headers = kept.headers().as_ref().expect("headers").inner();
    assert_eq!(headers.get("traceparent"), Some(&AMQPValue::LongString("00-abc-def-01".into())));
    assert_eq!(headers.get("slice"), Some(&AMQPValue::LongInt(1)));
    assert_eq!(stage.database.run_slice(id).await, 1);
    stage.broker.put_back(&copy).await;

    let _second = stage.worker().await;
    let event = stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    assert_eq!(replies.first("the reply has come", |_| true).await.id(), event.id());
    assert_went_on(&stage, 1).await;
}

#[tokio::test]
async fn a_database_that_cuts_all_connections_in_mid_run_is_got_over() {
    let stage = slow_stage().await;
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    for (endpoint, times) in [("contacts.list", 2), ("contacts.info", 60)] {
        stage.await_asked(endpoint, times).await;
        assert!(stage.database.cut_sessions().await > 0, "the worker was connected");
    }

    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    assert_eq!(stage.final_events(id).len(), 1);
    assert_went_on(&stage, 2).await;
}

#[tokio::test]
async fn a_broker_that_cuts_all_connections_in_mid_run_is_got_over() {
    let mut stage = slow_stage().await;
    let cable = stage.cable_to_broker().await;
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    for (endpoint, times) in [("contacts.list", 2), ("contacts.info", 60)] {
        stage.await_asked(endpoint, times).await;
        assert!(cable.cut() >= 1, "the worker was connected");
    }

    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    assert_eq!(stage.final_events(id).len(), 1);
    assert_went_on(&stage, 2).await;
}

#[tokio::test]
async fn a_worker_that_the_broker_believes_gone_writes_nothing_more() {
    let mut stage = slow_stage().await;
    let cable = stage.cable_to_broker().await;
    let first = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.await_asked("contacts.list", 1).await;
    let straight = stage.broker.url.clone();
    stage.set("AMQP_URL", &straight);
    let _second = stage.worker().await;
    stage.await_asked("contacts.info", 20).await;
    // It does not know yet that nobody listens to it, and works on.
    assert!(cable.cut_far_end() >= 1);

    let event = stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    for resource in DETAILED {
        assert_eq!(event.count(resource, "detailed"), stage.simulator.count(resource) as i64, "{resource}");
    }
    until("the first one notices", async || first.log().contains("another worker has taken over").then_some(())).await;
    assert_eq!(stage.final_events(id).len(), 1);
    assert_went_on(&stage, 1).await;
}

#[tokio::test]
async fn a_worker_whose_host_freezes_is_followed_after_three_heartbeats() {
    let mut stage = slow_stage().await;
    // The URL's word instead of 10 s.
    let url = format!("{}?heartbeat=2", stage.broker.url);
    stage.set("AMQP_URL", &url);
    let first = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    let second = stage.worker().await;
    stage.await_asked("contacts.info", 20).await;
    // Its connections stay open, and silent.
    first.freeze();

    until("the other one goes on", async || second.log().contains("Resumed a run").then_some(())).await;
    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    assert_eq!(stage.final_events(id).len(), 1);
    assert_went_on(&stage, 1).await;
    first.thaw();
    until("the first one notices", async || first.log().contains(INTERRUPTED).then_some(())).await;
}

#[tokio::test]
async fn a_worker_that_was_frozen_while_another_took_over_writes_nothing_more() {
    let mut stage = slow_stage().await;
    let cable = stage.cable_to_broker().await;
    let mut frozen = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.await_asked("contacts.info", 20).await;
    frozen.freeze();
    // The broker believes it gone; it does not know that yet itself.
    let straight = stage.broker.url.clone();
    stage.set("AMQP_URL", &straight);
    let _second = stage.worker().await;
    assert!(cable.cut() >= 1);

    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    let (rows, outbox) = (stage.database.versions().await, "select count(*) from teamleader2db.event_outbox");
    let events: i64 = stage.database.value(outbox).await;
    frozen.thaw();
    until("the one that was frozen notices", async || frozen.log().contains("Consuming was interrupted").then_some(()))
        .await;
    assert!(frozen.terminate().await.success());
    assert_eq!(stage.database.versions().await, rows);
    assert_eq!(stage.database.value::<i64>(outbox).await, events);
    assert_eq!(stage.final_events(id).len(), 1);
}

#[tokio::test]
async fn a_request_that_kills_whoever_works_on_it_is_given_up() {
    let stage = Stage::small().await;
    let mut worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    let mut hold = stage.database.hold_before("insert on teamleader2db.sync_page", "true").await;
    let (queue, replies) = stage.broker.reply_queue().await;
    let id = Uuid::new_v4();
    let properties = BasicProperties::default().with_reply_to(queue.as_str().into());
    stage.request_again(id, json!({ "mode": "full" }), properties).await;
    for _ in 0..5 {
        hold.reached().await;
        worker.kill();
        hold.roll_back(&stage.database).await;
        worker = stage.worker().await;
    }

    let event = replies.first("the sender is told", Event::is_final).await;
    assert_eq!((event.kind(), event.subject()), ("sync.failed", id.to_string().as_str()), "{}", event.body);
    assert!(event.body["data"]["error"].as_str().unwrap().contains("without progress"), "{}", event.body);
    let dead = stage.broker.take(&stage.broker.dead_queue()).await;
    let body: Value = serde_json::from_slice(&dead.data).unwrap();
    assert_eq!(body["request_id"], id.to_string());
    assert_eq!(stage.database.run_status(id).await.as_deref(), Some("failed"));

    hold.forget(&stage.database).await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn a_database_that_restarts_while_a_worker_starts_is_waited_for() {
    let stage = Stage::small().await;
    assert_eq!(stage.run(&["migrate"]).await.code, 0);
    let mut hold = stage.database.hold_before("insert on teamleader2db.oauth_token", "true").await;
    let worker = stage.worker_that_listens_at(&format!("127.0.0.1:{}", free_port()));
    hold.reached().await;
    hold.forget(&stage.database).await;

    stage.complete(json!({ "mode": "full" })).await;
    assert!(worker.log().contains("cannot be used yet"), "its connections were cut while it started");
}

#[tokio::test]
async fn a_migration_that_failed_holds_up_nobody() {
    let stage = Stage::small().await;
    assert_eq!(stage.run(&["migrate"]).await.code, 0);
    // Nothing is there but the table of migrations, and that cannot be written: the disk is full.
    let undo = "drop schema teamleader, teamleader_views cascade; delete from teamleader2db.migration;
        drop table teamleader2db.lease, teamleader2db.sync_run, teamleader2db.sync_step, teamleader2db.sync_page, teamleader2db.cursor,
            teamleader2db.oauth_token, teamleader2db.oauth_state, teamleader2db.event_outbox, teamleader2db.view_problem,
            teamleader2db.custom_field_column, teamleader2db.login, teamleader2db.rejected_record,
            teamleader2db.view_refresh, teamleader2db.table_count, teamleader2db.run_log, teamleader2db.worker,
            teamleader2db.hint, teamleader2db.wake, teamleader2db.webhook_type, teamleader2db.webhook_registration,
            teamleader2db.webhook_loss, teamleader2db.webhook_candidate,
            teamleader2db.audit_draw, teamleader2db.audit_turn, teamleader2db.audit_resource;
        drop function teamleader2db.view_definitions, teamleader2db.count_row, teamleader2db.count_truncated,
            teamleader2db.count_tables";
    sqlx::raw_sql(undo).execute(&stage.database.pool).await.unwrap();
    stage.database.fail_before("insert on teamleader2db.migration", "true").await;
    let first = stage.worker_that_listens_at(&format!("127.0.0.1:{}", free_port()));
    until("it fails", async || first.log().contains("cannot be used yet").then_some(())).await;
    stage.database.interfere_no_more().await;
    until("it goes on", async || first.log().contains("The database is ready").then_some(())).await;

    // The lock of whoever migrates went with the connection that failed.
    assert_eq!(stage.run(&["migrate"]).await.code, 0);
    let _second = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
}

#[tokio::test]
async fn a_request_that_the_database_never_takes_is_given_up() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    stage.database.fail_with("internal_error", "insert on teamleader2db.sync_page", "true").await;
    let id = stage.request(json!({ "mode": "full" })).await;

    let event = stage.final_event(id).await;
    assert_eq!(event.kind(), "sync.failed", "{}", event.body);
    assert!(event.body["data"]["error"].as_str().unwrap().contains("without progress"), "{}", event.body);
    let dead = stage.broker.take(&stage.broker.dead_queue()).await;
    let body: Value = serde_json::from_slice(&dead.data).unwrap();
    assert_eq!(body["request_id"], id.to_string());

    stage.database.interfere_no_more().await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn a_database_that_refuses_to_write_is_waited_for() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    stage.database.fail_before("insert on teamleader2db.sync_page", "true").await;
    let id = stage.request(json!({ "mode": "full" })).await;
    // More often than a request that kills its worker is tried: each try takes an epoch.
    until("it was tried again and again", async || {
        let tries: i64 = stage.database.value("select epoch from teamleader2db.lease").await;
        (tries > 7).then_some(())
    })
    .await;
    stage.database.interfere_no_more().await;

    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    assert_eq!(stage.final_events(id).len(), 1);
}

#[tokio::test]
async fn a_run_of_a_newer_version_is_left_to_a_worker_that_can_read_it() {
    let stage = Stage::small().await;
    stage.slow_down("contacts.info", 300);
    let mut newer = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.await_asked("contacts.info", 3).await;
    newer.kill();
    let step = "insert into teamleader2db.sync_step (account, run_id, resource, ordinal, phase)
         select account, id, 'holograms', 999, 'list' from teamleader2db.sync_run";
    stage.database.execute(step).await;

    let mut older = stage.worker().await;
    until("it meets the run", async || older.log().contains("a newer version's run").then_some(())).await;
    assert!(older.log().contains("No request can be worked on"), "{}", older.log());
    older.terminate().await;
    stage.broker.await_ready(&stage.broker.requests_queue(), 1).await;
    assert_eq!(stage.database.run_status(id).await.as_deref(), Some("running"));
    stage.broker.await_ready(&stage.broker.dead_queue(), 0).await;

    stage.database.execute("delete from teamleader2db.sync_step where resource = 'holograms'").await;
    stage.simulator.clear_faults();
    let _newer = stage.worker().await;
    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    assert_eq!(stage.final_events(id).len(), 1);
}

#[tokio::test]
async fn a_run_whose_cursor_cannot_be_read_fails_with_the_reason_and_the_next_one_is_served() {
    let stage = slow_stage().await;
    let mut first = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.await_asked("contacts.info", 20).await;
    let cursors = "select count(*) from teamleader2db.sync_step where phase = 'detail' and position is not null";
    until("a cursor is stored", async || (stage.database.value::<i64>(cursors).await > 0).then_some(())).await;
    first.kill();
    let spoiled = "update teamleader2db.sync_step set position = '{\"handled\": \"many\"}' where position is not null";
    assert!(stage.database.execute(spoiled).await > 0);
    let _second = stage.worker().await;
    let event = stage.final_event(id).await;
    assert_eq!(event.kind(), "sync.failed", "{}", event.body);
    let why = event.body["data"]["error"].as_str().unwrap();
    assert!(why.contains("has a cursor that cannot be read: "), "{why}");
    stage.simulator.clear_faults();
    stage.complete(json!({ "mode": "full" })).await;
    stage.assert_copy_is_equal().await;
}
