//! What the API gets wrong: what passes is got over, what stays concerns its resource alone, and an API that is down is
//! waited for.

use serde_json::{Value, json};
use teamleader_simulator::{Fault, FaultKind};

use crate::stage::{RESOURCES, Stage, until};

#[tokio::test]
async fn failures_that_pass_are_got_over() {
    let stage = Stage::of(40).await;
    let faults = [
        Fault::new(FaultKind::ServerError { status: 500 }).at("contacts.list").times(2),
        Fault::new(FaultKind::ServerErrorHtml { status: 502 }).at("companies.info").after(3).times(2),
        Fault::new(FaultKind::TruncatedJson).at("invoices.list").times(1),
        Fault::new(FaultKind::TruncatedJson).at("contacts.info").after(5).times(2),
        Fault::new(FaultKind::CutBeforeAnswer).at("users.info").after(2).times(2),
        Fault::new(FaultKind::CutMidBody).at("events.list").times(2),
        Fault::new(FaultKind::CutMidBody).at("projects.info").times(1),
        Fault::new(FaultKind::SlowBody { milliseconds: 300 }).at("departments.list").times(1),
    ];
    faults.into_iter().for_each(|fault| stage.simulator.inject(fault));
    let _worker = stage.worker().await;

    let event = stage.complete(json!({ "mode": "full" })).await;
    assert!(stage.simulator.faults().is_empty(), "each of them struck: {:?}", stage.simulator.faults());
    stage.assert_copy_is_equal().await;
    assert!(RESOURCES.iter().all(|resource| event.resource(resource)["verified"] == true), "{}", event.body);
    let counters = stage.simulator.counters();
    let api = counters.total() - counters.requests["oauth2/access_token"];
    assert_eq!(event.body["data"]["api_requests"], api, "repeated requests are counted: {counters:?}");
}

#[tokio::test]
async fn a_failure_that_stays_concerns_its_resource_alone() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.simulator.inject(Fault::new(FaultKind::ServerError { status: 500 }).at("contacts.list"));

    let ended = stage.run(&["request", "--full", "--wait"]).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    let event: Value = serde_json::from_str(&ended.out).expect("the event on standard output");
    assert_eq!(event["type"], "teamleader2db.sync.partial");
    assert_eq!(event["data"]["status"], "partial");
    for resource in RESOURCES {
        let told = &event["data"]["resources"][resource];
        if resource == "contacts" {
            assert_eq!(told["status"], "failed", "{told}");
            assert_eq!(told["verified"], false, "{told}");
            assert!(told["error"].as_str().unwrap().contains("contacts.list"), "{told}");
        } else {
            assert_eq!(told["status"], "completed", "{resource}: {told}");
            stage.database.assert_table_equals(&stage.simulator, resource).await;
        }
    }
    let watermarks: i64 = stage
        .database
        .value("select count(*) from teamleader2db.cursor where resource = 'contacts' and (watermark is not null or last_success_at is not null)")
        .await;
    assert_eq!(watermarks, 0, "nothing partial is called complete");

    stage.simulator.clear_faults();
    stage.complete(json!({})).await;
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn a_resource_that_may_not_be_read_is_skipped() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.simulator.inject(Fault::new(FaultKind::Forbidden).at("invoices"));

    let event = stage.complete(json!({ "mode": "full" })).await;
    let told = event.resource("invoices");
    assert_eq!(told["status"], "skipped", "{told}");
    assert!(told["error"].as_str().unwrap().contains("403"), "{told}");
    assert_eq!(stage.asked("invoices.list"), 1, "asking again cannot help");
    assert_eq!(stage.database.rows("invoices").await, 0);
    for resource in RESOURCES.iter().filter(|resource| **resource != "invoices") {
        assert_eq!(event.resource(resource)["status"], "completed");
        stage.database.assert_table_equals(&stage.simulator, resource).await;
    }
}

#[tokio::test]
async fn details_that_cannot_be_had_fail_their_resource() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.simulator.inject(Fault::new(FaultKind::Forbidden).at("companies.info"));

    let id = stage.request(json!({ "mode": "full" })).await;
    let event = stage.final_event(id).await;
    assert_eq!(event.kind(), "sync.partial", "{}", event.body);
    assert_eq!(event.resource("companies")["status"], "failed");
    assert_eq!(stage.database.rows("companies").await, stage.simulator.count("companies") as i64, "the list is kept");

    // The rows themselves are the work list: the next run fetches what is missing.
    stage.simulator.clear_faults();
    let event = stage.complete(json!({})).await;
    assert_eq!(event.count("companies", "detailed"), stage.simulator.count("companies") as i64);
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn a_request_waits_in_a_delay_queue_while_the_api_is_down() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "resources": ["departments"] })).await;
    stage.simulator.inject(Fault::new(FaultKind::ServerErrorHtml { status: 503 }));
    let id = stage.request(json!({ "mode": "full" })).await;

    stage.broker.await_ready(&stage.broker.delay_queue(10), 1).await;
    assert_eq!(stage.database.run_status(id).await.as_deref(), Some("running"));
    stage.simulator.clear_faults();
    let event = stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    assert_eq!(stage.final_events(id).len(), 1);
    assert!(RESOURCES.iter().all(|resource| event.resource(resource)["status"] == "completed"), "{}", event.body);
    until("the queues are empty", async || {
        (stage.broker.ready(&stage.broker.delay_queue(10)).await == Some(0)).then_some(())
    })
    .await;
    let unreadable: Option<u32> = stage.broker.ready(&stage.broker.dead_queue()).await;
    assert_eq!(unreadable, Some(0), "nothing was given up");
}
