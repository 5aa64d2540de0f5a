//! `events` and `request --wait`: what people and scripts hear of a run while it goes on.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use teamleader_simulator::{Fault, FaultKind};

use crate::stage::{ACCOUNT, Stage, Watcher, until};

/// How it tells that it hears what is published from now on.
const LISTENING: &str = "Listening for events";

/// Waits for a line that fits.
async fn line(watcher: &Watcher, what: &str, fits: impl Fn(&str) -> bool) -> String {
    until(what, async || watcher.lines().into_iter().find(|line| fits(line))).await
}

#[tokio::test]
async fn events_come_as_words_for_people_and_as_json_for_programs() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    let (mut words, mut json) = (stage.watch(&["events"]), stage.watch(&["events", "--json"]));
    words.says(LISTENING).await;
    json.says(LISTENING).await;
    let id = stage.request(json!({ "mode": "full" })).await;
    let event = stage.completed(id).await;

    let began = line(&words, "it tells the beginning", |line| line.contains("  started ")).await;
    assert!(began.contains(&id.to_string()) && began.contains("full sync of 8 resources, at least "), "{began}");
    let ended = line(&words, "it tells the end", |line| line.contains("  completed ")).await;
    let created: i64 =
        event.body["data"]["resources"].as_object().unwrap().values().map(|r| r["created"].as_i64().unwrap()).sum();
    assert!(ended.contains(&id.to_string()) && ended.contains(&format!(", {created} created, ")), "{ended}");

    let told = until("the program is told the same", async || {
        let told: Vec<Value> =
            json.lines().iter().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        told.contains(&event.body).then_some(told)
    })
    .await;
    let seen: BTreeSet<&str> = told.iter().map(|told| told["type"].as_str().unwrap()).collect();
    assert!(seen.contains("teamleader2db.sync.started"), "{seen:?}");
    assert!(json.lines().len() >= words.lines().len(), "{:?}", words.lines());

    // What fails is told with its reason.
    stage.simulator.inject(Fault::new(FaultKind::Forbidden).at("companies.info"));
    let id = stage.request(json!({ "mode": "full", "refetch": true })).await;
    assert_eq!(stage.final_event(id).await.kind(), "sync.partial");
    let partial = line(&words, "it tells what failed", |line| line.contains("  partial ")).await;
    assert!(
        partial.contains("; companies: ") && partial.contains(": teamleader2db request companies --account "),
        "{partial}"
    );

    assert_eq!((words.end("INT").await.code(), json.end("TERM").await.code()), (Some(0), Some(0)));
    drop(worker);
}

#[tokio::test]
async fn a_person_who_has_to_authorize_is_told_where() {
    let mut stage = Stage::small().await;
    stage.set("TEAMLEADER_REDIRECT_URI", "https://sync.example.com/sync/oauth");
    let _worker = stage.worker().await;
    let words = stage.watch(&["events"]);
    words.says(LISTENING).await;
    stage.simulator.revoke_refresh_tokens();
    stage.request(json!({ "resources": ["users"] })).await;
    let lost = line(&words, "a person is asked", |line| line.contains("  not authorized ")).await;
    assert!(lost.contains(&format!("  {ACCOUNT}  ")) && lost.ends_with("/sync/authorize in a browser"), "{lost}");
}

#[tokio::test]
async fn events_go_on_after_the_connection_broke() {
    let mut stage = Stage::small().await;
    let _worker = stage.worker().await;
    let cable = stage.cable_to_broker().await;
    let mut words = stage.watch(&["events"]);
    words.says(LISTENING).await;
    cable.cut();
    words.says("Connected again").await;
    let id = stage.request(json!({ "resources": ["users"] })).await;
    line(&words, "it tells what was published since", |line| line.contains(&id.to_string())).await;
    cable.set_away(true);
    cable.cut();
    words.says("No connection yet").await;
    assert_eq!(words.end("TERM").await.code(), Some(0), "also while the broker is away");
}

#[tokio::test]
async fn events_end_when_nobody_reads() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let published = async {
        loop {
            // Whether it listens yet is not known: its log is read at its end only.
            stage.complete(json!({ "resources": ["departments"] })).await;
        }
    };
    let ended = tokio::select! {
        ended = stage.run_for_a_line(&["events"]) => ended,
        () = published => unreachable!("it publishes until the other has ended"),
    };
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains(" s") && !ended.err.to_lowercase().contains("pipe"), "{ended:?}");
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_told_at_once() {
    let mut stage = Stage::small().await;
    let usual = stage.set("AMQP_URL", "amqp://guest:guest@127.0.0.1:9/%2f");
    let ended = stage.run(&["events"]).await;
    assert_eq!((ended.code, ended.err.contains("RabbitMQ")), (1, true), "{ended:?}");
    stage.set("AMQP_URL", "not-a-url:secret");
    let ended = stage.run(&["events"]).await;
    assert_eq!((ended.code, ended.err.contains("AMQP_URL")), (2, true), "{ended:?}");
    assert!(!ended.err.contains("secret"), "{ended:?}");
    stage.restore("AMQP_URL", usual);
    stage.set("AMQP_DECLARE", "check");
    let ended = stage.run(&["events"]).await;
    assert_eq!((ended.code, ended.err.contains("AMQP_DECLARE")), (1, true), "no worker has made the queues: {ended:?}");
}

#[tokio::test]
async fn waiting_for_a_request_tells_progress_in_lines_where_there_is_no_terminal() {
    let stage = Stage::of(300).await;
    let _worker = stage.worker().await;
    // Longer than the 5 s between two events.
    stage.slow_down("contacts.info", 400);
    let ended = stage.run(&["request", "contacts", "--full", "--wait"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let told: Value = serde_json::from_str(&ended.out).expect("nothing but the event on standard output");
    assert_eq!(told["type"], "teamleader2db.sync.completed");
    let progress = ended.err.lines().find(|line| line.contains("; now contacts (")).expect("a line of progress");
    assert!(progress.contains("0 of 1 resources done, ") && progress.contains(" to go; now "), "{progress}");
}
