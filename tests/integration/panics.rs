//! A bug that panics: one failed attempt of one run, or the orderly end of a process that has lost a part.

use lapin::BasicProperties;
use serde_json::json;
use teamleader_simulator::{Fault, FaultKind};
use teamleader2db::fault::Point;
use uuid::Uuid;

use crate::seams::doomed;
use crate::stage::{Stage, until};

/// A run in which the worker panics once, while the token endpoint takes its time. The process is the same afterwards.
async fn panic_in_a_run(point: Point) {
    let mut stage = Stage::small().await;
    stage.simulator.inject(Fault::new(FaultKind::SlowBody { milliseconds: 3000 }).at("oauth2/access_token").times(1));
    let mut worker = doomed(&mut stage, "panic", point, 1).await;
    let id = Uuid::new_v4();
    let (queue, replies) = stage.broker.reply_queue().await;
    let properties = BasicProperties::default().with_reply_to(queue.as_str().into());
    stage.request_again(id, json!({ "mode": "full" }), properties).await;

    let event = stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    replies.first("the sender has its reply", |reply| reply.id() == event.id()).await;
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
    stage.broker.await_ready(&stage.broker.dead_queue(), 0).await;
    assert!(worker.log().contains("A panic, which is a bug"), "it came to the point");
    assert!(worker.ended().is_none(), "it lives");
    let counters = stage.simulator.counters();
    assert_eq!(counters.refused_refresh_reuse, 0, "{counters:?}");
    let stored: i64 = stage.database.value("select generation from teamleader2db.oauth_token").await;
    assert_eq!(stored, 1 + i64::try_from(counters.refreshes).unwrap(), "no pair is lost: {counters:?}");
    assert!(stage.events_of_kind("authorization.required").is_empty());
}

macro_rules! panics {
    ($($name:ident: $point:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            panic_in_a_run(Point::$point).await;
        }
    )*};
}

panics! {
    a_panic_after_the_lease_was_taken: LeaseTaken;
    a_panic_before_the_commit_of_a_claim: ClaimWritten;
    a_panic_after_the_commit_of_a_claim: ClaimCommitted;
    a_panic_while_rows_are_copied: RowsSent;
    a_panic_before_the_commit_of_a_page: PageWritten;
    a_panic_after_the_commit_of_a_page: PageCommitted;
    a_panic_before_the_commit_of_a_view: ViewWritten;
    a_panic_after_the_views_were_made: ViewsKept;
    a_panic_before_the_commit_of_the_end: FinishWritten;
    a_panic_after_the_commit_of_the_end: FinishCommitted;
    a_panic_before_the_ack: AckWanted;
    a_panic_after_the_ack: Acked;
    a_panic_before_the_commit_of_an_intent: IntentWritten;
    a_panic_after_the_commit_of_an_intent: IntentCommitted;
    a_panic_with_a_pair_in_hand: PairReceived;
    a_panic_after_a_pair_was_stored: PairStored;
}

#[tokio::test]
async fn a_run_in_which_a_bug_panics_each_time_is_given_up_with_the_place_and_the_next_one_is_served() {
    let mut stage = Stage::small().await;
    let mut worker = doomed(&mut stage, "panic-always", Point::SliceBegun, 1).await;
    let id = Uuid::new_v4();
    stage.request_again(id, json!({ "resources": ["users"] }), BasicProperties::default()).await;

    let event = stage.final_event(id).await;
    assert_eq!(event.kind(), "sync.failed");
    let why = event.body["data"]["error"].as_str().unwrap();
    assert!(why.contains("5 times") && why.contains("src/fault.rs:"), "{why}");
    assert!(!why.contains("at the point"), "the text of a panic may hold data: {why}");
    let dead = stage.broker.take(&stage.broker.dead_queue()).await;
    assert!(crate::refusals::reason(&dead).contains("bug"), "{}", crate::refusals::reason(&dead));
    assert!(worker.ended().is_none() && worker.log().contains("at the point"), "the log has the text");

    // What is refused needs no slice.
    stage.broker.publish(b"no JSON", BasicProperties::default()).await;
    stage.broker.take(&stage.broker.dead_queue()).await;
}

/// A part of the process panics: the process ends in order, with exit code 1, and the next one goes on.
async fn panic_in_a_part(point: Point, part: &str) {
    let mut stage = Stage::small().await;
    let mut worker = doomed(&mut stage, "panic", point, 1).await;
    let status = worker.exit().await;
    assert_eq!(status.code(), Some(1), "{}", worker.log());
    assert!(worker.log().contains(part), "{}", worker.log());
    assert!(!worker.log().contains("did not end within"), "{}", worker.log());
    let _next = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    assert_eq!(stage.simulator.counters().refused_refresh_reuse, 0);
}

#[tokio::test]
async fn a_panic_in_the_relay_ends_the_process_in_order() {
    panic_in_a_part(Point::RelayDue, "the relay of events ended").await;
}

#[tokio::test]
async fn a_panic_in_the_upkeep_ends_the_process_in_order() {
    panic_in_a_part(Point::UpkeepDue, "the upkeep of metrics ended").await;
}

#[tokio::test]
async fn a_panic_in_the_http_server_ends_the_process_in_order() {
    panic_in_a_part(Point::HttpServed, "the HTTP server ended").await;
}

#[tokio::test]
async fn a_panic_of_a_part_lets_a_refresh_under_way_end() {
    let mut stage = Stage::small().await;
    stage.simulator.inject(Fault::new(FaultKind::SlowBody { milliseconds: 3000 }).at("oauth2/access_token").times(1));
    let mut worker = doomed(&mut stage, "panic", Point::RelayDue, 3).await;
    let id = stage.request(json!({ "resources": ["users"] })).await;
    worker.exit().await;
    let _next = stage.worker().await;
    stage.completed(id).await;
    let counters = stage.simulator.counters();
    assert_eq!(counters.refused_refresh_reuse, 0, "{counters:?}");
    until("no copy of the request is left", async || {
        (stage.broker.ready(&stage.broker.requests_queue()).await == Some(0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_panic_with_a_traded_code_in_hand_costs_no_authorization() {
    let mut stage = Stage::small().await.unauthorized();
    let mut worker = doomed(&mut stage, "panic", Point::CodeTraded, 1).await;
    let (_, text) = worker.get("/sync/authorize").await;
    assert_eq!(text.trim(), "code accepted");
    stage.complete(json!({ "resources": ["users"] })).await;
    assert!(worker.log().contains("A panic, which is a bug") && worker.ended().is_none());
    assert_eq!(stage.simulator.counters().code_grants, 1);
}
