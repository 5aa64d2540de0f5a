//! A run that is cancelled ends within seconds, whatever it is at: once, with one event, and the rows that it has
//! written stay.

use std::collections::BTreeSet;
use std::time::Instant;

use lapin::BasicProperties;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use teamleader_simulator::{ChangeKind, Fault, FaultKind};
use uuid::Uuid;

use crate::stage::{Event, Stage, until};

/// Cancels by the command, and waits for the event. Prints how long that takes.
async fn cancel(stage: &Stage, id: Uuid, what: &str) -> Event {
    let started = Instant::now();
    let ended = stage.run(&["cancel", &id.to_string()]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains("is cancelled"), "{ended:?}");
    let event = stage.final_event(id).await;
    println!("cancelled {what}: the event after {:.1} s", started.elapsed().as_secs_f64());
    assert_eq!(event.kind(), "sync.cancelled", "{}", event.body);
    assert_eq!(event.body["data"]["status"], "cancelled");
    assert_eq!(stage.database.run_status(id).await.as_deref(), Some("cancelled"));
    event
}

/// Nothing of the request is left, and it has one final event.
async fn assert_settled(stage: &Stage, id: Uuid) {
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
    assert_eq!(stage.final_events(id).len(), 1);
    assert_eq!(stage.broker.ready(&stage.broker.dead_queue()).await, Some(0), "nothing was given up");
}

#[tokio::test]
async fn a_run_ends_in_whatever_phase_it_is_cancelled() {
    let mut stage = Stage::of(300).await;
    stage.set("SYNC_CONCURRENCY", "4");
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full", "resources": ["companies"] })).await;
    let watermark = "select coalesce(max(watermark)::text, '') from teamleader2db.cursor where resource = 'contacts'";
    for (phase, slow, times) in [("reading a list", "contacts.list", 1), ("fetching details", "contacts.info", 5)] {
        stage.slow_down(slow, 2_000);
        let asked = stage.asked(slow);
        let before: String = stage.database.value(watermark).await;
        let id = stage.request(json!({ "mode": "full", "resources": ["contacts"], "refetch": true })).await;
        stage.await_asked(slow, asked + times).await;
        let event = cancel(&stage, id, phase).await;
        let contacts = event.resource("contacts");
        assert_eq!((&contacts["status"], &contacts["cause"]), (&json!("failed"), &json!("cancelled")), "{contacts}");
        assert_settled(&stage, id).await;
        if phase == "reading a list" {
            let after: String = stage.database.value(watermark).await;
            assert_eq!(after, before, "no watermark moves for a list that was not read to its end");
        } else {
            assert_eq!(stage.database.rows("contacts").await, 300, "the rows stay");
        }
        stage.simulator.clear_faults();
        // It is nothing that an operator has to look at.
        let ended = stage.run(&["status"]).await;
        assert!(!ended.out.contains("cancelled"), "{}", ended.out);
    }
    stage.complete(json!({ "mode": "full", "resources": ["contacts"] })).await;
    stage.database.assert_table_equals(&stage.simulator, "contacts").await;
}

/// Cancels a run that is in this phase with its only resource, once this endpoint was asked in it.
async fn cancel_in_phase(stage: &Stage, phase: &'static str, request: Value, slow: &str) {
    stage.slow_down(slow, 2_000);
    let asked = stage.asked(slow);
    let id = stage.request(request).await;
    stage.await_asked(slow, asked + 1).await;
    let steps: Vec<(String, String)> =
        sqlx::query_as("select resource, phase from teamleader2db.sync_step where run_id = $1")
            .bind(id)
            .fetch_all(&stage.database.pool)
            .await
            .unwrap();
    let [(resource, is_in)] = &steps[..] else { panic!("one resource: {steps:?}") };
    assert_eq!(is_in, phase, "nothing but this phase asks {slow}");
    let event = cancel(stage, id, &format!("in phase {phase}")).await;
    let report = event.resource(resource);
    assert_eq!((&report["status"], &report["cause"]), (&json!("failed"), &json!("cancelled")), "{report}");
    assert_settled(stage, id).await;
    stage.simulator.clear_faults();
}

#[tokio::test]
async fn a_run_ends_while_it_asks_for_missing_rows_and_while_it_fetches_old_details() {
    let mut stage = Stage::of(300).await;
    stage.set("DETAIL_MAX_AGE", "3d");
    stage.set("SYNC_CONCURRENCY", "2");
    let _worker = stage.worker().await;
    let projects = json!({ "mode": "full", "resources": ["projects"] });
    let users = json!({ "resources": ["users"] });
    stage.complete(projects.clone()).await;
    stage.complete(users.clone()).await;

    // No pass gives these: each is asked for by its id, and none is marked before all were.
    let deleted: BTreeSet<Uuid> = stage.simulator.delete("projects", 6).into_iter().collect();
    assert_eq!(deleted.len(), 6);
    cancel_in_phase(&stage, "sweep", projects.clone(), "projects.info").await;
    assert!(stage.database.deleted("projects").await.is_empty(), "it is not known of all whether they are deleted");
    stage.complete(projects).await;
    assert_eq!(stage.database.deleted("projects").await, deleted);
    stage.database.assert_table_equals(&stage.simulator, "projects").await;

    // Their list says nothing of these changes.
    let old = "update teamleader.record set detail_at = now() - interval '4 days',
                   listed_at = now() - interval '5 days' where resource = 'users'";
    let rows = stage.database.execute(old).await;
    assert!(rows > 4, "more than are asked for at a time: {rows}");
    stage.simulator.change("users", ChangeKind::UpdateInfo, 2);
    cancel_in_phase(&stage, "aged", users.clone(), "users.info").await;
    assert_eq!(stage.database.rows("users").await as u64, rows, "the rows stay");
    stage.complete(users).await;
    stage.database.assert_table_equals(&stage.simulator, "users").await;
}

#[tokio::test]
async fn a_request_that_waits_is_cancelled_and_its_message_is_dropped_when_it_comes() {
    let stage = Stage::of(100).await;
    let mut worker = stage.worker().await;
    stage.slow_down("contacts.list", 3_000);
    let busy = stage.request(json!({ "mode": "full", "resources": ["contacts"] })).await;
    stage.await_asked("contacts.list", 1).await;
    let (queue, replies) = stage.broker.reply_queue().await;
    let waiting = Uuid::new_v4();
    let properties = BasicProperties::default().with_reply_to(queue.as_str().into());
    stage.request_again(waiting, json!({ "resources": ["deals"] }), properties).await;
    let event = cancel(&stage, waiting, "a request in the queue").await;
    assert_eq!(event.body["data"]["resources"], json!({}), "it never became a run");
    stage.simulator.clear_faults();
    stage.completed(busy).await;
    // Its message comes now: its sender is answered, and nothing is asked for.
    let reply = replies.first("the reply has come", |_| true).await;
    assert_eq!((reply.kind(), reply.subject()), ("sync.cancelled", waiting.to_string().as_str()));
    assert_settled(&stage, waiting).await;
    assert_eq!(stage.asked("deals.list"), 0);

    // Nor is one asked for that is sent again, with other parameters, by another worker.
    worker.kill();
    let _next = stage.worker().await;
    stage.request_again(waiting, json!({ "resources": ["tags"] }), BasicProperties::default()).await;
    stage.complete(json!({ "resources": ["departments"] })).await;
    assert_settled(&stage, waiting).await;
    assert_eq!(stage.asked("tags.list"), 0);
}

#[tokio::test]
async fn a_request_in_a_delay_queue_is_cancelled_at_once() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "resources": ["departments"] })).await;
    stage.simulator.inject(Fault::new(FaultKind::ServerErrorHtml { status: 503 }));
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.broker.await_ready(&stage.broker.delay_queue(10), 1).await;
    cancel(&stage, id, "in a delay queue").await;
    stage.simulator.clear_faults();
    let lists = stage.lists_asked();
    until("the delay is over, and the message dropped", async || {
        (stage.broker.ready(&stage.broker.delay_queue(10)).await == Some(0)).then_some(())
    })
    .await;
    assert_settled(&stage, id).await;
    assert_eq!(stage.lists_asked(), lists, "it is not worked on any more");
}

#[tokio::test]
async fn a_run_whose_worker_is_away_or_dead_is_ended_by_who_cancels_it() {
    let stage = Stage::of(200).await;
    let mut worker = stage.worker().await;
    stage.slow_down("contacts.list", 2_000);
    let id = stage.request(json!({ "mode": "full", "resources": ["contacts"] })).await;
    stage.await_asked("contacts.list", 1).await;
    until("it is a run", async || stage.database.run_status(id).await).await;
    worker.kill();
    let ended = stage.run(&["cancel", &id.to_string()]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(stage.database.run_status(id).await.as_deref(), Some("cancelled"));
    stage.simulator.clear_faults();
    // The next worker sends the event, and drops the message.
    let _next = stage.worker().await;
    assert_eq!(stage.final_event(id).await.kind(), "sync.cancelled");
    assert_settled(&stage, id).await;
    assert_eq!(stage.database.rows("contacts").await, 0);
}

#[tokio::test]
async fn a_worker_that_wakes_in_the_midst_of_a_run_that_was_ended_counts_and_logs_the_end() {
    let stage = Stage::of(200).await;
    let worker = stage.worker().await;
    stage.slow_down("contacts.list", 2_000);
    let id = stage.request(json!({ "mode": "full", "resources": ["contacts"] })).await;
    stage.await_asked("contacts.list", 1).await;
    until("it is a run", async || stage.database.run_status(id).await).await;
    worker.freeze();
    // Nobody sees it in time: the command ends the run.
    let ended = stage.run(&["cancel", &id.to_string()]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    worker.thaw();
    stage.simulator.clear_faults();
    assert_eq!(stage.final_event(id).await.kind(), "sync.cancelled");
    assert_settled(&stage, id).await;
    // Its event is the command's: it can be there before the worker sees that the run has ended.
    let said = "The run is cancelled: it was ended beside this slice";
    until("the worker logs the end", async || worker.log().contains(said).then_some(())).await;
    let counted = "teamleader2db_runs_total{account=\"acme\",status=\"cancelled\"} 1";
    until("the end is counted", async || {
        let (_, metrics) = worker.get("/metrics").await;
        metrics.lines().any(|line| line == counted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn waiting_for_a_run_that_is_cancelled_while_no_worker_is_there_ends_as_with_the_event() {
    let stage = Stage::of(100).await;
    let mut worker = stage.worker().await;
    stage.complete(json!({ "resources": ["departments"] })).await;
    for is_known in [false, true] {
        let id = Uuid::new_v4();
        let text = id.to_string();
        let arguments = ["request", "contacts", "--full", "--wait", "--request-id", &text];
        if is_known {
            stage.slow_down("contacts.list", 2_000);
        } else {
            worker.kill();
        }
        let cancelled = async {
            if is_known {
                until("it is a run", async || stage.database.run_status(id).await).await;
                worker.kill();
            } else {
                stage.broker.await_ready(&stage.broker.requests_queue(), 1).await;
            }
            stage.run(&["cancel", &text]).await
        };
        let (waiting, cancelled) = tokio::join!(stage.run(&arguments), cancelled);
        assert_eq!(cancelled.code, 0, "{cancelled:?}");
        assert_eq!(waiting.code, 5, "{waiting:?}");
        let said: Value = serde_json::from_str(&waiting.out).unwrap();
        stage.simulator.clear_faults();
        // The next worker sends that event, to the letter.
        worker = stage.worker().await;
        assert_eq!(stage.final_event(id).await.body, said);
        assert_settled(&stage, id).await;
    }
}

#[tokio::test]
async fn what_has_ended_is_not_cancelled_and_waiting_for_one_that_is_ends_with_its_own_code() {
    let stage = Stage::of(100).await;
    let worker = stage.worker().await;
    let event = stage.complete(json!({ "resources": ["departments"] })).await;
    let ended = stage.run(&["cancel", event.subject()]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("has ended before, as completed: nothing was cancelled"), "{ended:?}");
    let path = format!("/sync/runs/{}/cancel", event.subject());
    let answer = worker.request(Method::POST, &path).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CONFLICT);

    // Over HTTP; and a command that waits for it knows it by the exit code.
    stage.slow_down("contacts.info", 2_000);
    let id = Uuid::new_v4();
    let text = id.to_string();
    let arguments = ["request", "contacts", "--full", "--wait", "--request-id", &text];
    let cancelled = async {
        stage.await_asked("contacts.info", 1).await;
        worker.request(Method::POST, &format!("/sync/runs/{id}/cancel")).send().await.unwrap()
    };
    let (waiting, answer) = tokio::join!(stage.run(&arguments), cancelled);
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let said: Value = answer.json().await.unwrap();
    assert_eq!(said["request_id"], json!(id));
    assert_eq!(waiting.code, 5, "{waiting:?}");
    assert_settled(&stage, id).await;
}
