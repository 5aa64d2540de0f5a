//! Dead letters are listed, shown, sent again and dropped by the command line, and a look changes nothing.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{ACCOUNT, Ended, Stage, until};

/// More looks than RabbitMQ allows deliveries where a queue has no limit of its own.
const LOOKS: usize = 25;

async fn listed(stage: &Stage, more: &[&str]) -> Vec<Value> {
    let ended = stage.run(&[&["dead-letters", "list", "--json"], more].concat()).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    serde_json::from_str::<Value>(&ended.out).expect("JSON").as_array().expect("a list").clone()
}

/// Publishes messages that no worker can process, and waits until they are dead letters.
async fn dead(stage: &Stage, bodies: &[&str]) {
    for (number, body) in bodies.iter().enumerate() {
        let properties = BasicProperties::default()
            .with_message_id(format!("letter-{number}").into())
            .with_correlation_id(format!("correlation-{number}").into())
            .with_app_id("a\u{1b}[31mscheduler".into());
        stage.broker.publish(body.as_bytes(), properties).await;
    }
    stage.broker.await_ready(&stage.broker.dead_queue(), u32::try_from(bodies.len()).unwrap()).await;
}

fn assert_failed(ended: &Ended, why: &str) {
    assert!(ended.code == 1 && ended.err.contains(why), "{why}: {ended:?}");
}

/// A queue as it would be on RabbitMQ 4 without a limit of its own, but lower: the fourth delivery drops the message.
async fn queue_with_a_limit(stage: &Stage) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(3));
    stage.broker.declare_queue(&stage.broker.dead_queue(), arguments).await;
}

/// A dead letter as an earlier version has put it there, with some of everything.
fn letter(number: u8) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("x-reason".into(), AMQPValue::LongString("because".into()));
    headers.insert("traceparent".into(), AMQPValue::LongString("none".into()));
    let nested = AMQPValue::FieldArray(vec![AMQPValue::LongInt(1), AMQPValue::FieldTable(headers.clone())].into());
    headers.insert("nested".into(), nested);
    BasicProperties::default()
        .with_headers(headers)
        .with_delivery_mode(2)
        .with_message_id(format!("letter-{number}").into())
        .with_timestamp(1_700_000_000 + u64::from(number))
        .with_priority(number)
        .with_type("a type".into())
        .with_content_type("text/plain".into())
        .with_content_encoding("none".into())
        .with_reply_to("replies".into())
}

#[tokio::test]
async fn a_look_at_dead_letters_uses_up_no_delivery_and_changes_nothing() {
    let stage = Stage::small().await;
    queue_with_a_limit(&stage).await;
    let worker = stage.worker().await;
    until("all queues are there", async || worker.log().contains("Waiting for requests").then_some(())).await;
    let (dead, bodies) = (stage.broker.dead_queue(), ["no JSON", "{}", "", "\u{1b}[2J", "no JSON"]);
    let mut all: Vec<_> = bodies.iter().zip(0..).map(|(body, number)| (*body, letter(number))).collect();
    all.push(("bare", BasicProperties::default().with_delivery_mode(2).with_message_id("letter-5".into())));
    for (body, properties) in &all {
        stage.broker.publish_to(&dead, ACCOUNT, body.as_bytes(), properties.clone()).await;
    }
    // Others that get dead letters get none by a look.
    let elsewhere = stage.broker.bound_queue(&dead).await;

    let first = listed(&stage, &[]).await;
    let ids: Vec<&str> = first.iter().map(|letter| letter["message_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["letter-0", "letter-1", "letter-2", "letter-3", "letter-4", "letter-5"]);
    for _ in 1..LOOKS {
        assert_eq!(listed(&stage, &[]).await, first);
    }
    for (body, properties) in all {
        let now = stage.broker.get(&dead).await.expect("it is there");
        assert!(!now.redelivered, "{now:?}");
        let mut headers = now.properties.headers().clone().unwrap_or_default().inner().clone();
        // RabbitMQ says so with each message that is taken by itself.
        assert_eq!(headers.remove("x-delivery-count"), Some(AMQPValue::LongLongInt(0)));
        // RabbitMQ 4.3 counts in two.
        headers.remove("x-acquired-count");
        // Its place in the queue is behind all others, whatever its sender wants; that is kept beside it.
        let priority = properties.priority().map_or_else(|| "none".to_owned(), |priority| priority.to_string());
        assert_eq!(headers.remove("x-teamleader2db-priority"), Some(AMQPValue::LongString(priority.into())));
        assert_eq!(now.properties.priority(), &Some(0));
        assert_eq!(headers, properties.headers().clone().unwrap_or_default().inner().clone());
        let but_headers = |properties: BasicProperties| properties.with_headers(FieldTable::default()).with_priority(0);
        assert_eq!(but_headers(now.properties), but_headers(properties));
        assert_eq!(now.routing_key.as_str(), ACCOUNT);
        assert_eq!(now.data, body.as_bytes());
    }
    assert_eq!(stage.broker.ready(&dead).await, Some(0), "none is there twice");
    assert_eq!(elsewhere.all().len(), 0);
}

#[tokio::test]
async fn two_looks_at_once_each_see_all() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let bodies = ["no JSON"; 20];
    dead(&stage, &bodies).await;
    let (one, other) = tokio::join!(listed(&stage, &[]), listed(&stage, &[]));
    assert_eq!((one.len(), other.len()), (20, 20));
    assert_eq!(one, other);
    stage.broker.await_ready(&stage.broker.dead_queue(), 20).await;
}

#[cfg(feature = "fault-points")]
#[tokio::test]
async fn a_look_that_is_killed_loses_nothing_and_leaves_nothing_twice() {
    let mut stage = Stage::small().await;
    let _worker = stage.worker().await;
    dead(&stage, &["no JSON", "[]", "", "none"]).await;
    let first = listed(&stage, &[]).await;
    for time in 1..=4 {
        // The copy is on its way: it comes to the queue, and the letter itself returns.
        stage.set("FAULT_POINT", &format!("die message_published {time}"));
        let mut killed = stage.watch(&["dead-letters", "list"]);
        killed.says("A fault point is reached").await;
        until("it is dead", async || killed.ended()).await;
        stage.restore("FAULT_POINT", None);
        until("all are there, and each once", async || {
            let mut now = listed(&stage, &[]).await;
            now.sort_by_key(|letter| letter["message_id"].as_str().unwrap().to_owned());
            (now == first).then_some(())
        })
        .await;
    }
    stage.broker.await_ready(&stage.broker.dead_queue(), 4).await;
}

#[tokio::test]
async fn a_letter_is_shown_dropped_and_sent_again_and_what_others_wrote_gives_a_terminal_no_orders() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    dead(&stage, &["{\"mode\":\"\u{1b}[2J\"}", "no JSON"]).await;
    let letters = listed(&stage, &[]).await;
    assert!(
        letters[0]["at"].is_string() && letters[0]["reason"].as_str().unwrap().contains("not valid"),
        "{letters:?}"
    );
    let id = letters[0]["id"].as_str().unwrap();

    let table = stage.run(&["dead-letters", "list"]).await;
    assert!(table.code == 0 && table.out.contains(id) && table.out.contains("correlation-0"), "{table:?}");
    for shown in
        [stage.run(&["dead-letters", "show", id]).await, stage.run(&["dead-letters", "show", "letter-0"]).await]
    {
        assert_eq!(shown.code, 0, "{shown:?}");
        for part in ["message_id: letter-0", "correlation_id: correlation-0", "header x-reason: ", "\\u001b[2J"] {
            assert!(shown.out.contains(part), "{part}: {}", shown.out);
        }
        assert!(!shown.out.contains('\u{1b}') && !table.out.contains('\u{1b}'), "{}", shown.out);
    }
    let shown = stage.run(&["dead-letters", "show", id, "--json"]).await;
    let shown: Value = serde_json::from_str(&shown.out).expect("JSON");
    assert_eq!(
        (&shown["properties"]["app_id"], &shown["body"]),
        (&json!("a\u{1b}[31mscheduler"), &json!("{\"mode\":\"\u{1b}[2J\"}"))
    );

    assert_failed(
        &stage.run(&["dead-letters", "resend", id]).await,
        "it would be refused again: the request is not valid",
    );
    for command in ["show", "resend", "drop"] {
        assert_failed(
            &stage.run(&["dead-letters", command, "0123456789ab"]).await,
            "there is no dead letter 0123456789ab",
        );
    }
    let forced = stage.run(&["dead-letters", "resend", id, "--force"]).await;
    assert!(forced.code == 0 && forced.out.starts_with(&format!("resent: {id}")), "{forced:?}");
    // The worker refuses it once more.
    until("it is a dead letter again", async || (listed(&stage, &[]).await.len() == 2).then_some(())).await;

    let dropped = stage.run(&["dead-letters", "drop", "letter-1"]).await;
    assert!(dropped.code == 0 && dropped.out.starts_with("dropped "), "{dropped:?}");
    let dropped = stage.run(&["dead-letters", "drop", "--all"]).await;
    assert_eq!((dropped.code, dropped.out.lines().count()), (0, 1), "{dropped:?}");
    assert_eq!(listed(&stage, &[]).await, Vec::<Value>::new());
    let none = stage.run(&["dead-letters", "list"]).await;
    assert_eq!(none.out, format!("account {ACCOUNT} has no dead letters\n"));
}

#[tokio::test]
async fn a_beginning_that_several_ids_have_is_refused_with_all_of_them_and_nothing_is_done() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    until("all queues are there", async || worker.log().contains("Waiting for requests").then_some(())).await;
    let ids = ["abcd11111111", "abcd22222222", "abce33333333"];
    for (number, id) in (0..).zip(ids) {
        let properties = letter(number);
        let mut headers = properties.headers().clone().unwrap_or_default();
        headers.insert("x-dead-letter-id".into(), AMQPValue::LongString(format!("{id}{}", "0".repeat(20)).into()));
        let (queue, properties) = (stage.broker.dead_queue(), properties.with_headers(headers));
        stage.broker.publish_to(&queue, ACCOUNT, b"no JSON", properties).await;
    }
    let several = "abcd means several dead letters: abcd11111111, abcd22222222. Give more of the id";
    // Nor is done what is asked for beside it.
    for arguments in [&["show", "abcd"][..], &["resend", "abcd", "abce", "--force"], &["drop", "abce", "abcd"]] {
        let ended = stage.run(&[&["dead-letters"], arguments].concat()).await;
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{arguments:?}: {ended:?}");
        assert!(ended.err.contains(several), "{arguments:?}: {ended:?}");
    }
    assert_eq!(listed(&stage, &[]).await.len(), 3);
    let shown = stage.run(&["dead-letters", "show", "abcd2"]).await;
    assert!(shown.code == 0 && shown.out.starts_with("dead letter abcd22222222\n"), "{shown:?}");
    let dropped = stage.run(&["dead-letters", "drop", "abce", "abcd1"]).await;
    assert_eq!((dropped.code, dropped.out.lines().count()), (0, 2), "{dropped:?}");
    assert_eq!(listed(&stage, &[]).await[0]["id"], ids[1]);
}

#[tokio::test]
async fn a_request_whose_id_was_used_is_sent_again_under_a_new_one() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let id = Uuid::new_v4();
    stage.request_again(id, json!({ "resources": ["users"] }), BasicProperties::default()).await;
    stage.completed(id).await;
    stage.request_again(id, json!({ "resources": ["companies"] }), BasicProperties::default()).await;
    stage.broker.await_ready(&stage.broker.dead_queue(), 1).await;

    let text = id.to_string();
    assert_failed(
        &stage.run(&["dead-letters", "resend", &text]).await,
        "has ended as completed, and under this id nothing runs again",
    );
    stage.broker.await_ready(&stage.broker.dead_queue(), 1).await;
    let resent = stage.run(&["dead-letters", "resend", &text, "--new-id"]).await;
    assert_eq!(resent.code, 0, "{resent:?}");
    let new: Uuid = resent.out.trim_start_matches("resent as request ").split(':').next().unwrap().parse().unwrap();
    let event = stage.completed(new).await;
    assert_eq!(event.resource("companies")["status"], "completed");
    stage.broker.await_ready(&stage.broker.dead_queue(), 0).await;
}

#[tokio::test]
async fn dead_letters_of_another_account_are_listed_on_demand_and_left_alone() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    dead(&stage, &["no JSON"]).await;
    let other = ["--account", "another"];
    assert_eq!(listed(&stage, &other).await.len(), 0);
    assert_eq!(listed(&stage, &["--account", "another", "--all-accounts"]).await.len(), 1);
    let text = stage.run(&["dead-letters", "list", "--account", "another"]).await;
    assert!(text.out.contains("1 of other accounts: teamleader2db dead-letters list --all-accounts"), "{text:?}");
    assert_failed(
        &stage.run(&["dead-letters", "drop", "letter-0", "--account", "another"]).await,
        &format!("add --account {ACCOUNT}"),
    );
    assert_eq!(stage.run(&["dead-letters", "drop", "--all", "--account", "another"]).await.out, "");
    assert_eq!(listed(&stage, &[]).await.len(), 1);
}
