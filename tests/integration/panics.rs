//! A bug that panics: one failed attempt of one run, or the orderly end of a process that has lost a part.

use lapin::BasicProperties;
use serde_json::json;
use teamleader_simulator::{Fault, FaultKind};
use teamleader2db::process::failpoints::Point;
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
    let panicked = async || worker.log().contains("A panic, which is a bug").then_some(());
    until("it came to the point, some of them after the run", panicked).await;
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

/// A request that is handed back while the worker panics once.
async fn panic_in_handing_back(point: Point) {
    let mut stage = Stage::of(60).await;
    stage.set("SYNC_SLICE", "1s");
    stage.slow_down("contacts.info", 300);
    let mut worker = doomed(&mut stage, "panic", point, 1).await;
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    assert!(worker.log().contains("A panic, which is a bug") && worker.ended().is_none());
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
    assert_eq!(stage.final_events(id).len(), 1);
}

#[tokio::test]
async fn a_panic_before_a_copy_is_published() {
    panic_in_handing_back(Point::CopyWanted).await;
}

#[tokio::test]
async fn a_panic_after_a_copy_is_confirmed() {
    panic_in_handing_back(Point::CopyConfirmed).await;
}

/// A message that cannot be read is refused, although the worker panics once on the way, and the next request is
/// served.
async fn panic_in_a_refusal(point: Point) {
    let mut stage = Stage::small().await;
    let mut worker = doomed(&mut stage, "panic", point, 1).await;
    stage.broker.publish(b"no JSON", BasicProperties::default()).await;
    stage.complete(json!({ "resources": ["departments"] })).await;
    stage.broker.take(&stage.broker.dead_queue()).await;
    assert!(worker.log().contains("A panic, which is a bug") && worker.ended().is_none());
    assert!(!stage.events_of_kind("sync.failed").is_empty());
}

#[tokio::test]
async fn a_panic_before_the_commit_of_a_refusal() {
    panic_in_a_refusal(Point::RefusalWritten).await;
}

#[tokio::test]
async fn a_panic_before_a_dead_letter_is_published() {
    panic_in_a_refusal(Point::DeadLetterWanted).await;
}

#[tokio::test]
async fn a_panic_after_a_dead_letter_is_confirmed() {
    panic_in_a_refusal(Point::DeadLetterConfirmed).await;
}

#[tokio::test]
async fn a_message_that_panics_each_time_before_it_has_a_run_is_refused_and_the_next_one_is_served() {
    let mut stage = Stage::small().await;
    let mut worker = doomed(&mut stage, "panic-always", Point::LeaseTaken, 1).await;
    let id = stage.request(json!({ "resources": ["users"] })).await;
    let event = stage.final_event(id).await;
    assert_eq!(event.kind(), "sync.failed");
    assert!(event.body["data"]["error"].as_str().unwrap().contains("src/process/failpoints.rs:"), "{}", event.body);
    stage.broker.take(&stage.broker.dead_queue()).await;
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
    assert!(worker.ended().is_none());
}

#[tokio::test]
async fn a_reply_that_ends_the_process_each_time_is_given_up() {
    let mut stage = Stage::small().await;
    let (queue, _) = stage.broker.reply_queue().await;
    let id = Uuid::new_v4();
    let mut first = doomed(&mut stage, "panic", Point::ReplyConfirmed, 1).await;
    let properties = BasicProperties::default().with_reply_to(queue.as_str().into());
    stage.request_again(id, json!({ "resources": ["users"] }), properties).await;
    assert_eq!(first.exit().await.code(), Some(1));
    // As if that had happened again and again.
    let again = "update teamleader2db.event_outbox set tries = 6, next_try_at = null where reply_to is not null";
    assert_eq!(stage.database.execute(again).await, 1);
    let _next = stage.worker().await;
    until("it is given up", async || {
        let given_up =
            "select count(*) from teamleader2db.event_outbox where reply_to is not null and given_up is not null";
        (stage.database.value::<i64>(given_up).await == 1).then_some(())
    })
    .await;
    stage.completed(id).await;
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
    assert!(why.contains("5 times") && why.contains("src/process/failpoints.rs:"), "{why}");
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
