//! A crash or a pause at each seam of a refresh. A refresh token is sent twice only where the new pair was lost with the process.

use serde_json::json;
use teamleader2db::process::failpoints::Point;
use uuid::Uuid;

use crate::seams::{crash, doomed};
use crate::stage::{Stage, Worker, until};

/// Publishes a request; the first thing that it needs is a new pair, made from the token in the settings.
async fn request(stage: &Stage, id: Uuid) {
    stage.request_again(id, json!({ "resources": ["users"] }), Default::default()).await;
}

/// The run ended well, so many refreshes were refused, and nobody was asked to authorize but for those. Each pair that was given out
/// is stored: there are as many generations, one for the token in the settings included.
async fn assert_ended_well(stage: &Stage, id: Uuid, refused: u64, lost: i64) {
    stage.completed(id).await;
    stage.database.assert_table_equals(&stage.simulator, "users").await;
    let counters = stage.simulator.counters();
    assert_eq!(counters.refused_refresh_reuse, refused, "{counters:?}");
    let given = i64::try_from(counters.refreshes + counters.code_grants).unwrap();
    let stored: i64 = stage.database.value("select generation from teamleader2db.oauth_token").await;
    assert_eq!(stored, 1 + given - lost, "{counters:?}");
    assert_eq!(stage.events_of_kind("authorization.required").len() as u64, refused);
    let ids = stage.final_events(id).iter().map(|event| event.id().to_owned()).collect::<Vec<_>>();
    assert!(ids.iter().all(|again| *again == ids[0]), "{ids:?}");
}

/// Waits until a person is asked for, and authorizes as one does in the browser.
async fn authorize_when_asked(stage: &Stage, worker: &Worker) {
    until("a person is asked to authorize", async || stage.events_of_kind("authorization.required").pop()).await;
    let (_, text) = worker.get("/sync/authorize").await;
    assert_eq!(text.trim(), "code accepted");
}

async fn crash_in_a_refresh(stage: &mut Stage, point: Point) -> (Worker, Uuid) {
    let id = Uuid::new_v4();
    let next = crash(stage, point, 1, async |stage, _| request(stage, id).await).await;
    (next, id)
}

#[tokio::test]
async fn a_crash_before_the_commit_of_an_intent_uses_no_token() {
    let mut stage = Stage::small().await;
    let (_next, id) = crash_in_a_refresh(&mut stage, Point::IntentWritten).await;
    assert_ended_well(&stage, id, 0, 0).await;
}

#[tokio::test]
async fn a_crash_after_the_commit_of_an_intent_is_taken_over_when_its_time_is_over() {
    let mut stage = Stage::small().await;
    let (_next, id) = crash_in_a_refresh(&mut stage, Point::IntentCommitted).await;
    assert_ended_well(&stage, id, 0, 0).await;
}

#[tokio::test]
async fn a_crash_with_a_pair_in_hand_costs_one_refusal_and_a_person() {
    let mut stage = Stage::small().await;
    let (next, id) = crash_in_a_refresh(&mut stage, Point::PairReceived).await;
    authorize_when_asked(&stage, &next).await;
    assert_ended_well(&stage, id, 1, 1).await;
}

#[tokio::test]
async fn a_crash_after_a_pair_was_stored_costs_nothing() {
    let mut stage = Stage::small().await;
    let (_next, id) = crash_in_a_refresh(&mut stage, Point::PairStored).await;
    assert_ended_well(&stage, id, 0, 0).await;
}

/// A worker dies at a point that it comes to when the database does not take the new pair; the database takes the next.
async fn die_in_parking(stage: &mut Stage, point: Point) -> Uuid {
    let id = Uuid::new_v4();
    let mut first = doomed(stage, "die", point, 1).await;
    stage.database.fail_before("update on teamleader2db.oauth_token", "new.generation > old.generation").await;
    request(stage, id).await;
    first.exit().await;
    stage.database.interfere_no_more().await;
    id
}

async fn crash_in_parking(stage: &mut Stage, point: Point) -> (Worker, Uuid) {
    let id = die_in_parking(stage, point).await;
    (stage.worker().await, id)
}

#[tokio::test]
async fn a_crash_before_a_pair_is_escrowed_costs_one_refusal_and_a_person() {
    let mut stage = Stage::small().await;
    let (next, id) = crash_in_parking(&mut stage, Point::ParkingWanted).await;
    authorize_when_asked(&stage, &next).await;
    assert_ended_well(&stage, id, 1, 1).await;
}

#[tokio::test]
async fn a_crash_after_a_pair_was_escrowed_loses_no_token() {
    let mut stage = Stage::small().await;
    let (_next, id) = crash_in_parking(&mut stage, Point::PairParked).await;
    assert_ended_well(&stage, id, 0, 0).await;
    stage.broker.await_ready(&format!("{}.tokens.acme", stage.broker.prefix), 0).await;
}

#[tokio::test]
async fn a_crash_after_a_escrowed_pair_was_stored_stores_it_once() {
    let mut stage = Stage::small().await;
    let id = die_in_parking(&mut stage, Point::PairParked).await;
    let _third = crash(&mut stage, Point::ParkedPairStored, 1, async |_, _| {}).await;

    assert_ended_well(&stage, id, 0, 0).await;
    stage.broker.await_ready(&format!("{}.tokens.acme", stage.broker.prefix), 0).await;
}

#[tokio::test]
async fn a_pair_that_was_escrowed_when_a_person_was_asked_already_makes_the_person_needless() {
    let mut stage = Stage::small().await;
    let id = die_in_parking(&mut stage, Point::PairParked).await;
    // As another process leaves it that was refused before the pair was escrowed.
    let refused = "update teamleader2db.oauth_token set state = 'reauthorization_required', attempt_id = null,
                   attempt_deadline = null, reason = 'refused'";
    assert_eq!(stage.database.execute(refused).await, 1);

    let _next = stage.worker().await;
    assert_ended_well(&stage, id, 0, 0).await;
}

#[tokio::test]
async fn a_process_that_finds_another_at_the_escrowed_pairs_sends_nothing() {
    let stage = Stage::small().await;
    // It makes the queues.
    stage.worker().await.terminate().await;
    let other = stage.broker.own_queue(&format!("{}.tokens.acme.lock", stage.broker.prefix)).await;
    let worker = stage.worker().await;
    let id = Uuid::new_v4();
    request(&stage, id).await;
    until("it waits for the other one", async || {
        worker.log().contains("another process is taking the escrowed token pairs").then_some(())
    })
    .await;
    assert_eq!(stage.asked("oauth2/access_token"), 0);
    other.close(200, "done".into()).await.unwrap();
    assert_ended_well(&stage, id, 0, 0).await;
}

/// The token is refused, and the worker dies on writing that down.
async fn crash_on_a_refusal(point: Point) {
    let mut stage = Stage::small().await;
    let id = Uuid::new_v4();
    let next = crash(&mut stage, point, 1, async |stage, _| {
        stage.simulator.revoke_refresh_tokens();
        request(stage, id).await;
    })
    .await;
    authorize_when_asked(&stage, &next).await;
    stage.completed(id).await;
    assert_eq!(stage.events_of_kind("authorization.required").len(), 1);
    assert_eq!(stage.simulator.counters().refused_refresh_reuse, 0, "it was revoked, not used twice");
}

#[tokio::test]
async fn a_crash_before_the_commit_of_a_refused_token() {
    crash_on_a_refusal(Point::TokenRefusedWritten).await;
}

#[tokio::test]
async fn a_crash_after_the_commit_of_a_refused_token() {
    crash_on_a_refusal(Point::TokenRefusedCommitted).await;
}

/// A person authorizes, and the worker dies before the browser has its answer.
async fn crash_in_the_callback(point: Point) -> (Stage, Worker) {
    let mut stage = Stage::small().await.unauthorized();
    let next = crash(&mut stage, point, 1, async |_, worker| {
        let _ = worker.request(reqwest::Method::GET, "/sync/authorize").send().await;
    })
    .await;
    (stage, next)
}

#[tokio::test]
async fn a_crash_with_a_traded_code_in_hand_asks_the_person_again() {
    let (stage, next) = crash_in_the_callback(Point::CodeTraded).await;
    let id = Uuid::new_v4();
    request(&stage, id).await;
    authorize_when_asked(&stage, &next).await;
    stage.completed(id).await;
}

#[tokio::test]
async fn a_crash_after_the_commit_of_an_authorization_asks_nobody_again() {
    let (stage, _next) = crash_in_the_callback(Point::AuthorizationCommitted).await;
    stage.complete(json!({ "resources": ["users"] })).await;
}

/// A worker that is frozen with its intent committed and its request not sent, cut off from the broker, and the worker that takes
/// the run over from it.
async fn freeze_before_the_request(stage: &mut Stage) -> (Worker, Worker, Uuid) {
    let cable = stage.cable_to_broker().await;
    let first = doomed(stage, "freeze", Point::IntentCommitted, 1).await;
    let id = Uuid::new_v4();
    request(stage, id).await;
    until("it is frozen", async || first.log().contains("A fault point is reached").then_some(())).await;
    let straight = stage.broker.url.clone();
    stage.set("AMQP_URL", &straight);
    let second = stage.worker().await;
    assert!(cable.cut() >= 1);
    until("the other one waits", async || second.log().contains("Waiting for another attempt").then_some(())).await;
    (first, second, id)
}

#[tokio::test]
async fn an_attempt_that_was_paused_and_is_in_time_is_waited_for() {
    let mut stage = Stage::small().await;
    let (first, _second, id) = freeze_before_the_request(&mut stage).await;
    // In time or not, which the machine decides: either way the token is sent once.
    first.thaw();
    assert_ended_well(&stage, id, 0, 0).await;
}

#[tokio::test]
async fn an_attempt_that_was_paused_for_too_long_sends_nothing() {
    let mut stage = Stage::small().await;
    let (mut first, _second, id) = freeze_before_the_request(&mut stage).await;
    stage.completed(id).await;
    first.thaw();
    assert!(first.terminate().await.success());
    assert_ended_well(&stage, id, 0, 0).await;
}
