//! The messages that wake a consumer for hints.

use serde_json::json;

use crate::stage::{Stage, until};

const IS_SERVED: &str = "select bool_and(served_at is not null) from teamleader2db.hint";

#[tokio::test]
async fn nobody_is_woken_again_while_a_look_lasts() {
    let mut stage = Stage::small().await;
    stage.set("WEBHOOK_URL", "https://hooks.example");
    let _worker = stage.worker().await;
    stage.complete(json!({ "resources": ["contacts"] })).await;
    let lists = stage.asked("contacts.list");
    // Longer than the 10 s after which one who says nothing does not count as serving hints.
    stage.slow_down("contacts.list", 13_000);
    let hint = "insert into teamleader2db.hint (account, resource, id)
        select account, 'contacts', gen_random_uuid() from teamleader2db.lease";
    stage.database.execute(hint).await;

    stage.await_asked("contacts.list", lists + 1).await;
    let queue = stage.broker.requests_queue();
    until("the hint is served", async || {
        assert_eq!(stage.broker.ready(&queue).await, Some(0), "another message waits");
        stage.database.value::<bool>(IS_SERVED).await.then_some(())
    })
    .await;
}
