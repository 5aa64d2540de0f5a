//! Requests and answers that nobody would send on purpose: each is refused with a reason, and the worker goes on.
//!
//! `FUZZ_CASES` says how many; `make fuzz` tries 10,000 of each.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::refusals::reason;
use crate::stage::{Garbler, GarblingProxy, Stage, any_json, until};

/// Enough to meet each kind of garbling some dozen times.
const CASES: usize = 200;

/// Accounts whose answers are garbled at the same time: most of it is waiting between tries.
const ACCOUNTS: usize = 6;

/// Requests that are published before the worker has to have caught up.
const PORTION: usize = 500;

fn cases() -> usize {
    std::env::var("FUZZ_CASES").map_or(CASES, |cases| cases.parse().expect("FUZZ_CASES is a number"))
}

/// The body of a request, and more often what is none. Short to work on, if it is one.
fn body(garbler: &mut Garbler, n: usize) -> Vec<u8> {
    let request = json!({ "request_id": Uuid::from_u128(n as u128), "resources": ["departments"], "mode": "full", "refetch": true });
    match garbler.below(12) {
        0 => request.to_string().into_bytes(),
        1 => vec![b' '; garbler.below(200_000)],
        2 => garbler.draw(&any_json()).to_string().into_bytes(),
        _ => garbler.garble(&request.to_string()),
    }
}

/// Properties as no library of today would set them, with a message id by which the message is found again.
fn properties(garbler: &mut Garbler, n: usize) -> BasicProperties {
    // As long as a short string may be.
    let text = || {
        let any_text = any::<String>().prop_map(|text| {
            let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= 255).last();
            text[..end.unwrap_or(0)].to_owned()
        });
        prop_oneof![4 => any_text, 1 => (0..256_usize).prop_map(|length| "\0".repeat(length))]
    };
    let mut headers = FieldTable::default();
    let odd = [
        AMQPValue::LongInt(garbler.draw(&any::<i32>())),
        AMQPValue::LongString(garbler.draw(&text()).into()),
        // Four of these are just within the frame of 128 KiB that all headers have to fit.
        AMQPValue::LongString("x".repeat(garbler.below(31_000)).into()),
        AMQPValue::Boolean(true),
        AMQPValue::Void,
        AMQPValue::Double(garbler.draw(&any::<f64>())),
        AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::FieldTable(FieldTable::default())])),
    ];
    for header in ["slice", "x-death", "x-delivery-count", "traceparent"] {
        if garbler.below(3) == 0 {
            headers.insert(header.into(), odd[garbler.below(odd.len())].clone());
        }
    }
    BasicProperties::default()
        .with_message_id(format!("fuzz {n}").into())
        .with_correlation_id(garbler.draw(&text()).into())
        .with_reply_to(garbler.draw(&text()).into())
        .with_content_type(garbler.draw(&text()).into())
        .with_content_encoding(garbler.draw(&text()).into())
        .with_priority(garbler.draw(&any::<u8>()))
        .with_timestamp(garbler.draw(&any::<u64>()))
        .with_type(garbler.draw(&text()).into())
        .with_headers(headers)
}

#[tokio::test]
async fn whatever_comes_as_a_request_is_worked_on_or_refused_with_a_reason() {
    let stage = Stage::small().await;
    let mut worker = stage.worker().await;
    let mut garbler = Garbler::number(0);
    let cases = cases();
    let dead_letters = stage.broker.take_all(&stage.broker.dead_queue()).await;
    for n in 0..cases {
        let (body, properties) = (body(&mut garbler, n), properties(&mut garbler, n));
        stage.broker.publish(&body, properties).await;
        if n % PORTION == 0 {
            stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
        }
    }
    let after = stage.complete(json!({ "resources": ["users"] })).await;
    assert_eq!(after.count("users", "listed"), stage.simulator.count("users") as i64);

    let runs: i64 = stage.database.value("select count(*) from teamleader2db.sync_run").await;
    let ended: i64 = stage
        .database
        .value("select count(*) from teamleader2db.sync_run where status in ('completed', 'partial')")
        .await;
    assert_eq!(runs, ended, "what was worked on has its end");
    let refused = cases + 1 - usize::try_from(runs).unwrap();
    assert!(refused > cases / 2, "{refused} of {cases} were refused");
    until("the refused ones are kept", async || (dead_letters.lock().unwrap().len() >= refused).then_some(())).await;
    let dead = std::mem::take(&mut *dead_letters.lock().unwrap());
    assert_eq!(dead.len(), refused, "each once");
    for letter in dead {
        let why = reason(&letter);
        assert!((10..1_000).contains(&why.len()), "{why}");
    }
    until("each has its event", async || (stage.events_of_kind("sync.failed").len() == refused).then_some(())).await;
    stage.broker.await_ready(&format!("{}.undelivered", stage.broker.requests_queue()), 0).await;
    assert!(worker.ended().is_none(), "it is the same process");
    assert!(!worker.log().contains("panicked"));
    println!("{cases} requests: {refused} refused, {} worked on", runs - 1);
}

#[tokio::test]
async fn whatever_comes_as_an_answer_fails_its_resource_and_nothing_else() {
    let each = cases().div_ceil(ACCOUNTS);
    let runs = futures_util::future::join_all((0..ACCOUNTS).map(|n| garble_answers(n, each))).await;
    println!("{} answers garbled, in {} runs", each * ACCOUNTS, runs.iter().sum::<usize>());
}

/// Runs on garbled answers until so many were, and then once on what the API means. Gives how many runs it took.
async fn garble_answers(n: usize, answers: usize) -> usize {
    let mut stage = Stage::of(60).await;
    let proxy = GarblingProxy::start(stage.simulator.url(), Garbler::number(n), answers).await;
    stage.set("TEAMLEADER_API_URI", &proxy.url);
    stage.set("SYNC_CONCURRENCY", "64");
    let mut worker = stage.worker().await;
    let mut runs = 0;
    while proxy.left() > 0 {
        let id = stage.request(json!({ "mode": "full", "refetch": true })).await;
        assert_ends_with_reasons(&stage.final_event(id).await.body);
        runs += 1;
    }

    // Then the API is itself again. What it told wrongly is mended, and what was never there is marked as deleted.
    let event = stage.complete(json!({ "mode": "full", "refetch": true, "allow_deletions": true })).await;
    assert_eq!(event.body["data"]["error"], Value::Null);
    stage.assert_copy_is_equal().await;
    assert!(worker.ended().is_none(), "it is the same process");
    assert!(!worker.log().contains("panicked"));
    stage.broker.await_ready(&stage.broker.dead_queue(), 0).await;
    runs
}

/// Whatever failed says why, and what did not fail says nothing.
fn assert_ends_with_reasons(event: &Value) {
    let data = &event["data"];
    let resources: Vec<&Value> = data["resources"].as_object().unwrap().values().collect();
    for resource in &resources {
        assert_eq!(resource["status"] == "failed", resource["error"].is_string(), "{resource}");
    }
    let failed = resources.iter().filter(|resource| resource["status"] == "failed").count();
    match data["status"].as_str().unwrap() {
        "completed" => assert_eq!(failed, 0, "{data}"),
        "partial" => assert!(failed > 0 && failed < resources.len(), "{data}"),
        status => assert!(status == "failed" && (failed == resources.len() || data["error"].is_string()), "{data}"),
    }
}
