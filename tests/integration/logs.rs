//! The log: each line says what it is about, and says it once.

use lapin::BasicProperties;
use serde_json::{Value, json};
use teamleader_simulator::{Fault, FaultKind};
use uuid::Uuid;

use crate::stage::{ACCOUNT, RESOURCES, Stage, Worker, until};

fn lines(worker: &Worker) -> Vec<Value> {
    worker.log().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
}

fn message(line: &Value) -> &str {
    line["message"].as_str().expect("a message")
}

#[tokio::test]
async fn each_line_of_a_run_names_run_account_and_resource() {
    let mut stage = Stage::small().await;
    stage.set("LOG_FORMAT", "json");
    stage.set("SYNC_SLICE", "1s");
    let worker = stage.worker().await;
    // Lists, deletions and details in their turn, drift, failures of one record and of a list, and tries.
    stage.complete(json!({ "mode": "full" })).await;
    stage.simulator.delete("contacts", 2);
    stage.simulator.inject(Fault::new(FaultKind::ServerError { status: 503 }).at("users.list").times(1));
    stage.simulator.inject(Fault::new(FaultKind::Forbidden).at("companies.info"));
    stage.simulator.inject(Fault::new(FaultKind::Forbidden).at("events.list"));
    stage.slow_down("contacts.info", 200);
    let id = stage.request(json!({ "mode": "full", "refetch": true })).await;
    stage.final_event(id).await;

    let all = lines(&worker);
    for line in &all {
        assert_eq!(line["account"], ACCOUNT, "{line}");
        chrono::DateTime::parse_from_rfc3339(line["timestamp"].as_str().unwrap()).unwrap();
    }
    let began = all.iter().position(|line| message(line) == "Began a run" && line["run"] == id.to_string()).unwrap();
    chrono::DateTime::parse_from_rfc3339(all[began]["done_at"].as_str().unwrap()).unwrap();
    let of_the_run = all.iter().skip(began);
    let end = of_the_run.clone().position(|line| message(line).starts_with("The run is ")).expect("it ended");
    // The views of custom fields follow the run before, beside this one.
    let is_of_another = |line: &&Value| line["target"] == "teamleader2db::views::wide";
    let of_the_run: Vec<&Value> = of_the_run.take(end + 1).filter(|line| !is_of_another(line)).collect();
    let mut resources = 0;
    for line in &of_the_run {
        assert_eq!(line["run"], id.to_string(), "{line}");
        let target = line["target"].as_str().unwrap();
        let by_resource = ["list", "list_progress", "details", "sweep", "verdict", "doubts", "rejected"];
        let names_one = RESOURCES.iter().any(|name| message(line).contains(name));
        if names_one || by_resource.iter().any(|part| target.ends_with(&format!("sync::{part}"))) {
            assert!(RESOURCES.iter().any(|name| line["resource"] == *name), "{line}");
            resources += 1;
        }
    }
    assert!(resources > RESOURCES.len(), "{of_the_run:?}");
    for said in ["Marked 2 contacts deleted", "Resource events: ", "Requeued the request"] {
        assert!(of_the_run.iter().any(|line| message(line).starts_with(said)), "{said}: {of_the_run:#?}");
    }
}

#[tokio::test]
async fn details_that_fail_alike_are_named_three_times_and_counted() {
    let mut stage = Stage::of(60).await;
    stage.set("LOG_FORMAT", "json");
    let worker = stage.worker().await;
    stage.simulator.inject(Fault::new(FaultKind::Forbidden).at("contacts.info"));
    let id = stage.request(json!({ "resources": ["contacts"] })).await;
    stage.final_event(id).await;
    let all = lines(&worker);
    let named: Vec<&Value> = all.iter().filter(|line| message(line) == "A detail could not be fetched").collect();
    assert_eq!(named.len(), 3, "{all:#?}");
    assert!(named.iter().all(|line| line["resource"] == "contacts" && line["id"].is_string()), "{named:#?}");
    let summed = all.iter().find(|line| message(line).ends_with(" more details could not be fetched"));
    assert_eq!(summed.expect("a sum")["more"], 17);
}

#[tokio::test]
async fn the_first_line_says_what_starts_and_a_standby_that_it_is_one() {
    let stage = Stage::small().await;
    let mut first = stage.worker().await;
    let start = format!(
        "teamleader2db {} starts for the account {ACCOUNT}: {} resources, schema",
        env!("TEAMLEADER2DB_BUILD"),
        RESOURCES.len()
    );
    let log = first.log();
    let line = log.lines().next().unwrap();
    let named = RESOURCES.iter().all(|name| line.contains(name));
    assert!(line.contains(&start) || named && line.contains(ACCOUNT) && line.contains(", schema "), "{line}");
    stage.complete(json!({ "resources": ["users"] })).await;
    assert!(first.log().contains("Waiting for requests queue=") && first.log().contains("role=\"active\""));

    let second = stage.worker().await;
    let standby = "Waiting for requests on standby: another worker is active";
    until("it is on standby", async || second.log().contains(standby).then_some(())).await;
    first.terminate().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    assert!(second.log().contains("This worker is active now"), "{}", second.log());
    let took_over = regex::Regex::new(r"Took over from \S+.*, whose lease was \d+ s old").unwrap();
    assert!(took_over.is_match(&second.log()), "{}", second.log());
}

#[tokio::test]
async fn a_refused_request_names_the_ids_of_its_sender_and_gives_the_log_no_orders() {
    let mut stage = Stage::small().await;
    stage.set("LOG_FORMAT", "json");
    let worker = stage.worker().await;
    let properties = BasicProperties::default()
        .with_message_id("m\u{1b}[2J".into())
        .with_correlation_id("c".repeat(200).into())
        .with_reply_to("somebody.replies".into())
        .with_app_id("scheduler".into());
    stage.broker.publish(b"no JSON", properties).await;
    stage.broker.await_ready(&stage.broker.dead_queue(), 1).await;
    let all = lines(&worker);
    let refused = all.iter().find(|line| message(line) == "A request is rejected").expect("it was refused");
    assert!(refused["run"].is_string(), "it has an id, though it is no request: {refused}");
    assert_eq!(refused["message_id"], "m\\u{1b}[2J", "{refused}");
    assert_eq!(refused["correlation_id"], format!("{}…", "c".repeat(100)));
    assert_eq!((&refused["reply_to"], &refused["app_id"]), (&json!("somebody.replies"), &json!("scheduler")));
}

#[tokio::test]
async fn a_broker_that_is_away_is_said_once_a_minute() {
    let mut stage = Stage::small().await;
    let cable = stage.cable_to_broker().await;
    let worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    cable.set_away(true);
    let interrupted = || worker.log().matches("Consuming was interrupted").count();
    until("it notices", async || (interrupted() > 0).then_some(())).await;
    until("it has tried again and again", async || (cable.refused() >= 10).then_some(())).await;
    assert!(interrupted() <= 4, "{}", worker.log());
    let delay = regex::Regex::new(r#"delay="?\d+(\.\d)?s"?"#).unwrap();
    let log = worker.log();
    let said = log.lines().filter(|line| line.contains("Consuming was interrupted"));
    said.for_each(|line| assert!(delay.is_match(line), "{line}"));
    cable.set_away(false);
    let id = Uuid::new_v4();
    stage.request_again(id, json!({ "resources": ["users"] }), BasicProperties::default()).await;
    stage.completed(id).await;
}
