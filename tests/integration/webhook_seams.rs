//! A crash at each seam of the way of a hint: the worker dies at a fault point, and the next one serves what is stored.

use serde_json::json;
use teamleader2db::process::failpoints::Point;

use crate::seams::doomed;
use crate::stage::{Stage, until};
use crate::webhooks::{deliver_to, registered, settled, with_webhooks};

/// What changes in Teamleader.
#[derive(Clone, Copy)]
enum Change {
    Update,
    Delete,
}

/// A change comes to a worker that dies at the point. The next one makes it a row, without another call, if it is
/// `stored`. It is one change, since nobody sends again what comes to a worker that has just died.
async fn crash(point: Point, stored: bool, change: Change) {
    let mut stage = with_webhooks(Stage::small().await);
    {
        let first = stage.worker().await;
        registered(&stage).await;
        stage.complete(json!({ "mode": "full" })).await;
        settled(&stage).await;
        drop(first);
    }
    let mut doomed = doomed(&mut stage, "die", point, 1).await;
    deliver_to(&stage, &doomed);
    let (changed, kind) = match change {
        Change::Update => (stage.simulator.update("contacts", 1), "contact.updated"),
        Change::Delete => (stage.simulator.delete("contacts", 1), "contact.deleted"),
    };
    let status = doomed.exit().await;
    assert_eq!(status.code(), None, "it was ended by a signal");
    let next = stage.worker().await;
    if !stored {
        deliver_to(&stage, &next);
        stage.simulator.storm(kind, &changed);
    }
    until("the change is a row", async || {
        stage.database.difference(&stage.simulator, "contacts").await.is_none().then_some(())
    })
    .await;
    settled(&stage).await;
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
    stage.broker.await_ready(&stage.broker.dead_queue(), 0).await;
}

macro_rules! crashes {
    ($($name:ident: $point:ident $stored:literal $change:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            crash(Point::$point, $stored, Change::$change).await;
        }
    )*};
}

crashes! {
    a_crash_before_the_commit_of_hints: HintsStored false Update;
    a_crash_before_the_wake_up_is_published: WakeWanted true Delete;
    a_crash_after_the_wake_up_was_taken: WakeTaken true Update;
    a_crash_after_hints_were_chosen: HintsChosen true Delete;
    a_crash_before_the_commit_of_what_hints_led_to: HintsWritten true Update;
    a_crash_after_the_commit_of_what_hints_led_to: HintsServed true Delete;
}
