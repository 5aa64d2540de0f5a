//! A crash at each seam of the way of a request: the worker dies at a fault point, and the next one goes on from what
//! it left.

use lapin::BasicProperties;
use serde_json::json;
use teamleader2db::process::failpoints::{self, Point};
use uuid::Uuid;

use crate::stage::{Event, Stage, Worker, until};

/// Contacts of the account: two pages, so that there is something between them.
const CONTACTS: usize = 150;

/// Details between two checkpoints: what a crash may cost to fetch again.
const BATCH: u64 = 100;

/// Starts a worker that dies or freezes when it comes to a point for the n-th time.
pub async fn doomed(stage: &mut Stage, fate: &str, point: Point, time: u32) -> Worker {
    let earlier = stage.set("FAULT_POINT", &format!("{fate} {} {time}", failpoints::name(point)));
    let worker = stage.mortal_worker().await;
    stage.restore("FAULT_POINT", earlier);
    worker
}

/// Lets a worker die at a point of whatever `begin` asks for, and starts the next.
pub async fn crash(stage: &mut Stage, point: Point, time: u32, begin: impl AsyncFnOnce(&Stage, &Worker)) -> Worker {
    let mut first = doomed(stage, "die", point, time).await;
    begin(stage, &first).await;
    let status = first.exit().await;
    assert_eq!(status.code(), None, "it was ended by a signal");
    assert!(first.log().contains("A fault point is reached"), "it came to the point");
    stage.worker().await
}

/// A full sync during which the worker dies once. Gives the final event, after all is settled.
async fn crash_in_a_run(stage: &mut Stage, point: Point, time: u32) -> Event {
    let id = Uuid::new_v4();
    let (queue, replies) = stage.broker.reply_queue().await;
    let properties = BasicProperties::default().with_reply_to(queue.as_str().into());
    let _next = crash(stage, point, time, async |stage, _| {
        stage.request_again(id, json!({ "mode": "full" }), properties).await;
    })
    .await;
    let event = stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    replies.first("the sender is told", |reply| reply.id() == event.id()).await;
    // Once a request behind it is done, every copy of it is out of the queue.
    stage.complete(json!({ "resources": ["departments"] })).await;
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
    stage.broker.await_ready(&stage.broker.dead_queue(), 0).await;

    let ids = |events: Vec<Event>| events.iter().map(|event| event.id().to_owned()).collect::<Vec<_>>();
    assert!(ids(stage.final_events(id)).iter().all(|again| again == event.id()), "one final event, however often");
    assert!(ids(replies.all()).iter().all(|again| again == event.id()));
    let mut started = stage.events_of_kind("sync.started");
    started.retain(|event| event.subject() == id.to_string());
    let started = ids(started);
    assert!(!started.is_empty() && started.iter().all(|again| *again == started[0]), "{started:?}");
    let counted = ["listed", "created", "updated", "unchanged"].map(|what| event.count("contacts", what));
    let contacts = i64::try_from(CONTACTS).unwrap();
    assert_eq!(counted, [contacts, contacts, 0, 0], "nothing is counted twice");
    let (pages, details) = (stage.asked("contacts.list"), stage.details_asked());
    assert!((2..=4).contains(&pages), "{pages} pages were read, 2 without a crash: those read ahead are read again");
    let least = stage.details();
    assert!((least..=least + BATCH).contains(&details), "{details} details were fetched, {least} without a crash");
    let left: i64 = stage.database.value("select count(*) from teamleader2db.sync_page").await;
    assert_eq!(left, 0, "the ids go with the run");
    assert_eq!(stage.database.views_with_problems().await, "");
    let shown: i64 = stage.database.value("select count(*) from teamleader_views.contacts_wide").await;
    assert_eq!(shown, contacts, "the views are there");
    let unsent = "select count(*) from teamleader2db.event_outbox where sent_at is null";
    until("all events are sent", async || (stage.database.value::<i64>(unsent).await == 0).then_some(())).await;
    assert_eq!(stage.simulator.counters().refused_refresh_reuse, 0);
    event
}

/// A test for a point that a run comes to, at the given time of coming to it.
macro_rules! crashes {
    ($($name:ident: $point:ident $time:literal;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let mut stage = Stage::of(CONTACTS).await;
            crash_in_a_run(&mut stage, Point::$point, $time).await;
        }
    )*};
}

crashes! {
    a_crash_after_the_lease_was_taken: LeaseTaken 1;
    a_crash_before_the_commit_of_a_claim: ClaimWritten 1;
    a_crash_after_the_commit_of_a_claim: ClaimCommitted 1;
    a_crash_before_the_commit_of_a_page: PageWritten 3;
    a_crash_after_the_commit_of_a_page: PageCommitted 3;
    a_crash_before_the_commit_of_details: PageWritten 20;
    a_crash_after_the_commit_of_details: PageCommitted 20;
    a_crash_before_the_commit_of_a_view: ViewWritten 3;
    a_crash_after_the_views_were_made: ViewsKept 1;
    a_crash_before_the_commit_of_the_end: FinishWritten 1;
    a_crash_after_the_commit_of_the_end: FinishCommitted 1;
    a_crash_before_the_first_event_is_published: EventWanted 1;
    a_crash_before_the_final_event_is_published: EventWanted 2;
    a_crash_before_the_confirm_of_the_first_event: MessagePublished 1;
    a_crash_before_the_confirm_of_the_final_event: MessagePublished 2;
    a_crash_after_the_confirm_of_the_final_event: EventConfirmed 2;
    a_crash_after_the_mark_of_the_final_event: EventMarked 2;
    a_crash_after_the_confirm_of_the_reply: ReplyConfirmed 1;
    a_crash_before_the_ack: AckWanted 1;
    a_crash_after_the_ack: Acked 1;
}

/// The same with slices so short that the request is handed back.
macro_rules! crashes_in_handing_back {
    ($($name:ident: $point:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let mut stage = Stage::of(CONTACTS).await;
            stage.set("SYNC_SLICE", "1s");
            stage.slow_down("contacts.info", 400);
            let event = crash_in_a_run(&mut stage, Point::$point, 1).await;
            assert!(stage.database.run_slice(event.subject().parse().unwrap()).await >= 1);
        }
    )*};
}

crashes_in_handing_back! {
    a_crash_before_the_copy_of_a_request: CopyWanted;
    a_crash_after_the_copy_of_a_request: CopyConfirmed;
    a_crash_before_the_commit_of_a_hand_back: HandBackWritten;
    a_crash_after_the_commit_of_a_hand_back: HandBackCommitted;
}

/// A message that cannot be read, and a worker that dies on refusing it.
async fn crash_in_a_refusal(point: Point) {
    let mut stage = Stage::small().await;
    let _next = crash(&mut stage, point, 1, async |stage, _| {
        stage.broker.publish(b"no JSON", BasicProperties::default()).await;
    })
    .await;
    // Behind it, so that it is settled.
    stage.complete(json!({ "resources": ["departments"] })).await;
    let told = stage.events_of_kind("sync.failed");
    assert!(!told.is_empty() && told.iter().all(|event| event.id() == told[0].id()), "{told:?}");
    let dead = stage.broker.ready(&stage.broker.dead_queue()).await.unwrap();
    // Twice where the worker died after it had published, and before it acknowledged.
    let most = if point == Point::DeadLetterConfirmed { 2 } else { 1 };
    assert!((1..=most).contains(&dead), "{dead} dead letters");
}

macro_rules! crashes_in_refusing {
    ($($name:ident: $point:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            crash_in_a_refusal(Point::$point).await;
        }
    )*};
}

crashes_in_refusing! {
    a_crash_before_the_commit_of_a_refusal: RefusalWritten;
    a_crash_after_the_commit_of_a_refusal: RefusalCommitted;
    a_crash_before_a_dead_letter_is_published: DeadLetterWanted;
    a_crash_after_a_dead_letter_is_confirmed: DeadLetterConfirmed;
}

/// A request without an id, and a worker that dies on giving it one. Gives how many runs came of it.
async fn crash_in_stamping(point: Point) -> usize {
    let mut stage = Stage::small().await;
    let _next = crash(&mut stage, point, 1, async |stage, _| {
        stage.broker.publish(br#"{"resources":["users"]}"#, BasicProperties::default()).await;
    })
    .await;
    until("it is done", async || stage.events_of_kind("sync.completed").pop()).await;
    stage.complete(json!({ "resources": ["departments"] })).await;
    stage.broker.await_ready(&stage.broker.dead_queue(), 0).await;
    stage.events_of_kind("sync.completed").len() - 1
}

#[tokio::test]
async fn a_crash_before_a_request_gets_its_id() {
    assert_eq!(crash_in_stamping(Point::StampWanted).await, 1);
}

#[tokio::test]
async fn a_crash_after_a_request_got_its_id_may_run_it_twice_but_loses_it_never() {
    // Nothing tells the redelivery of a nameless request from another request.
    assert_eq!(crash_in_stamping(Point::StampConfirmed).await, 2);
}

#[tokio::test]
async fn a_crash_before_the_dead_letter_of_a_run_that_is_given_up() {
    let mut stage = Stage::small().await;
    let id = Uuid::new_v4();
    let mut first = doomed(&mut stage, "die", Point::ClaimCommitted, 1).await;
    stage.request_again(id, json!({ "mode": "full" }), BasicProperties::default()).await;
    first.exit().await;
    // As if that had happened five times.
    assert_eq!(stage.database.execute("update teamleader2db.sync_run set attempts = 5").await, 1);
    let _third = crash(&mut stage, Point::DeadLetterWanted, 1, async |_, _| {}).await;

    stage.broker.await_ready(&stage.broker.dead_queue(), 1).await;
    let told = stage.final_events(id);
    assert!(told.iter().all(|event| event.kind() == "sync.failed" && event.id() == told[0].id()), "{told:?}");
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
}

#[tokio::test]
async fn a_worker_that_is_frozen_while_it_copies_rows_does_not_keep_the_lease() {
    let mut stage = Stage::of(CONTACTS).await;
    // Each page is stored by itself.
    stage.slow_down("contacts.list", 250);
    let url = format!("{}?heartbeat=2", stage.broker.url);
    stage.set("AMQP_URL", &url);
    // On the second page: of what comes first it is not known that it is new.
    let first = doomed(&mut stage, "freeze", Point::RowsSent, 1).await;
    let id = stage.request(json!({ "mode": "full" })).await;
    until("it is frozen", async || first.log().contains("A fault point is reached").then_some(())).await;
    let second = stage.worker().await;

    // PostgreSQL itself waits for it for ever.
    until("its transaction is ended", async || second.log().contains("Ending what an older worker left").then_some(()))
        .await;
    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    let rows = stage.database.versions().await;
    first.thaw();
    until("the first one notices", async || first.log().contains("Consuming was interrupted").then_some(())).await;
    assert_eq!(stage.database.versions().await, rows);
    assert_eq!(stage.final_events(id).len(), 1);
}
