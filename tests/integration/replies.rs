//! Replies to senders: where they may go, and that neither events nor acknowledgements wait for one.

use lapin::BasicProperties;
use serde_json::json;
use uuid::Uuid;

use crate::stage::{Stage, until};

/// Events that are neither confirmed nor given up, and not replies.
const UNSENT: &str = "select count(*) from teamleader2db.event_outbox where sent_at is null and reply_to is null";

fn replying_to(queue: &str) -> BasicProperties {
    BasicProperties::default().with_reply_to(queue.into()).with_correlation_id("mine".into())
}

#[tokio::test]
async fn a_reply_goes_to_no_queue_of_the_worker_or_the_broker_and_the_request_is_worked_on_all_the_same() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    let prefix = &stage.broker.prefix;
    let tokens = format!("{prefix}.tokens.acme");
    let own = [
        tokens.clone(),
        format!("{prefix}.tokens.other"),
        format!("{prefix}.requests.acme"),
        format!("{prefix}.requests.acme.undelivered"),
        format!("{prefix}.requests.acme.delay.10s"),
        format!("{prefix}.dead"),
        "another.tokens.default".to_owned(),
        "amq.rabbitmq.reply-to.x.y".to_owned(),
        "amq.rabbitmq.trace".to_owned(),
    ];
    for queue in &own {
        let id = Uuid::new_v4();
        stage.request_again(id, json!({ "resources": ["users"] }), replying_to(queue)).await;
        stage.completed(id).await;
    }
    // Of a request that is refused, too.
    stage.broker.publish(b"no JSON", replying_to(&tokens)).await;
    stage.broker.take(&stage.broker.dead_queue()).await;
    stage.complete(json!({ "resources": ["users"] })).await;

    let replies: i64 =
        stage.database.value("select count(*) from teamleader2db.event_outbox where reply_to is not null").await;
    assert_eq!(replies, 0);
    for queue in &own[..6] {
        // Those that the worker declared are empty.
        assert!(matches!(stage.broker.ready(queue).await, Some(0) | None), "{queue}");
    }
    let said = worker.log().matches("No reply is sent to this address").count();
    assert_eq!(said, own.len() + 1, "once for each message");
    let (_, metrics) = worker.get("/metrics").await;
    let counted = format!("teamleader2db_replies_total{{account=\"acme\",outcome=\"not_allowed\"}} {said}");
    assert!(metrics.contains(&counted), "{metrics}");
}

#[tokio::test]
async fn a_reply_for_which_the_broker_closes_the_connection_costs_itself_alone() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    // It looks like an address, and RabbitMQ 3 fails on what it decodes to.
    let id = Uuid::new_v4();
    stage.request_again(id, json!({ "resources": ["users"] }), replying_to("amq.rabbitmq.reply-to.g2Jh.YmFk")).await;

    stage.completed(id).await;
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
    until("it was tried more than once, or taken", async || {
        let tried = "select coalesce(max(tries), 0) from teamleader2db.event_outbox where reply_to is not null";
        let settled =
            "select count(*) from teamleader2db.event_outbox where reply_to is not null and sent_at is not null";
        let done = stage.database.value::<i64>(settled).await == 1;
        (done || stage.database.value::<i32>(tried).await > 1).then_some(())
    })
    .await;
    // Others get theirs meanwhile, and so does the exchange.
    let (queue, replies) = stage.broker.reply_queue().await;
    let next = Uuid::new_v4();
    stage.request_again(next, json!({ "resources": ["users"] }), replying_to(&queue)).await;
    let event = stage.completed(next).await;
    replies.first("the sender has its reply", |reply| reply.id() == event.id()).await;
    assert_eq!(stage.database.value::<i64>(UNSENT).await, 0);
    assert!(!worker.log().contains("Consuming was interrupted"), "{}", worker.log());

    until("it is settled for good", async || {
        let left = "select count(*) from teamleader2db.event_outbox where sent_at is null";
        (stage.database.value::<i64>(left).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_address_that_was_stored_under_other_rules_is_not_written_to() {
    let stage = Stage::small().await;
    let mut worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    worker.terminate().await;
    let tokens = format!("{}.tokens.acme", stage.broker.prefix);
    let older = format!(
        "insert into teamleader2db.event_outbox (account, event_id, subject, routing_key, reply_to, payload)
         values ('acme', gen_random_uuid(), 'older', 'sync.acme.completed', '{tokens}', '{{}}')"
    );
    sqlx::query(sqlx::AssertSqlSafe(older)).execute(&stage.database.pool).await.unwrap();

    let _next = stage.worker().await;
    until("it is given up", async || {
        let why = "select coalesce(max(given_up), '') from teamleader2db.event_outbox where subject = 'older'";
        stage.database.value::<String>(why).await.contains("REPLY_TO_ALLOWED").then_some(())
    })
    .await;
    assert_eq!(stage.broker.ready(&tokens).await, Some(0));
}

#[tokio::test]
async fn an_event_for_which_the_broker_closes_the_channel_holds_up_no_other() {
    let stage = Stage::small().await;
    let mut worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    worker.terminate().await;
    // Larger than a broker takes by default, whichever version it is.
    let huge = "insert into teamleader2db.event_outbox (account, event_id, subject, routing_key, payload)
         values ('acme', gen_random_uuid(), 'huge', 'sync.acme.failed', repeat('x', 140000000))";
    stage.database.execute(huge).await;

    let _next = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
    let left = "select tries from teamleader2db.event_outbox where subject = 'huge' and sent_at is null";
    assert!(stage.database.value::<i32>(left).await >= 3);
}

#[tokio::test]
async fn a_pattern_says_which_queues_of_others_get_replies() {
    let mut stage = Stage::small().await;
    stage.set("REPLY_TO_ALLOWED", "^replies-of-");
    let _worker = stage.worker().await;
    let allowed = stage.broker.named_queue(&format!("replies-of-{}", Uuid::new_v4())).await;
    let other = stage.broker.named_queue(&format!("others-{}", Uuid::new_v4())).await;
    for queue in [&other, &allowed] {
        let id = Uuid::new_v4();
        stage.request_again(id, json!({ "resources": ["users"] }), replying_to(queue)).await;
        stage.completed(id).await;
    }
    stage.broker.await_ready(&allowed, 1).await;
    assert_eq!(stage.broker.ready(&other).await, Some(0));
    stage.broker.delete_queues(&[&allowed, &other]).await;

    stage.set("REPLY_TO_ALLOWED", "(");
    let ended = stage.run(&["worker"]).await;
    assert_eq!(ended.code, 2);
    assert!(ended.err.contains("REPLY_TO_ALLOWED"), "{}", ended.err);
}

#[tokio::test]
async fn an_event_that_a_full_queue_refuses_is_tried_again_and_holds_up_nothing() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let full = stage.broker.queue_of_one(&format!("full-{}", Uuid::new_v4())).await;
    stage.complete(json!({ "resources": ["users"] })).await;
    let id = Uuid::new_v4();
    stage.request_again(id, json!({ "resources": ["users"] }), BasicProperties::default()).await;
    let event = stage.completed(id).await;
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
    assert!(stage.database.value::<i64>(UNSENT).await > 0, "the full queue did not take them");

    // As soon as there is room they come, the final event of each among them.
    until("the final event is in the queue that was full", async || {
        let next = stage.broker.take(&full).await;
        let body: serde_json::Value = serde_json::from_slice(&next.data).unwrap();
        (body["id"] == event.id()).then_some(())
    })
    .await;
    until("nothing is left", async || (stage.database.value::<i64>(UNSENT).await == 0).then_some(())).await;
    stage.broker.delete_queues(&[&full]).await;
}
