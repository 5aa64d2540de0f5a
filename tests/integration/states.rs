//! Every surface says the same of an account, in each of its states.

use std::time::Duration;

use serde_json::{Value, json};
use teamleader_simulator::{Fault, FaultKind};
use uuid::Uuid;

use crate::stage::{Ended, Stage, Worker, until};

/// What a surface says: a state, and whether deletions are held.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    surface: &'static str,
    name: String,
    reason: String,
    held: Value,
}

/// The state as JSON has it.
fn of_json(surface: &'static str, state: &Value) -> Said {
    let text = |key: &str| state[key].as_str().unwrap_or_default().to_owned();
    Said { surface, name: text("name"), reason: text("reason"), held: state["deletions_held"].clone() }
}

async fn json_of(worker: &Worker, path: &str) -> Value {
    let (_, body) = worker.get(path).await;
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
}

/// The line of a surface in text that holds the state's sentence.
fn sentence(ended: &Ended, start: &str) -> String {
    ended.out.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("{ended:?}")).to_owned()
}

/// Reads every surface, once each of them says `name`: two may be read as the state changes.
async fn surfaces(stage: &Stage, worker: &Worker, name: &str) -> Vec<Said> {
    until(&format!("every surface says {name}"), async || {
        let json = stage.run(&["status", "--json"]).await;
        let status: Value = serde_json::from_str(&json.out).expect("JSON");
        let mut said = vec![
            of_json("status --json", &status["state"]),
            of_json("/health/ready", &json_of(worker, "/health/ready").await["state"]),
            of_json("/sync/teamleader", &json_of(worker, "/sync/teamleader").await["state"]),
        ];
        let (_, metrics) = worker.get("/metrics").await;
        let one = |line: &&str| line.starts_with("teamleader2db_state{") && line.ends_with(" 1");
        let states: Vec<&str> = metrics.lines().filter(one).collect();
        if states.len() != 1 || !states[0].contains(&format!("state=\"{name}\"")) {
            return None;
        }
        let (_, page) = worker.get("/dashboard").await;
        if !page.contains(&format!("data-state=\"{name}\"")) {
            return None;
        }
        let events = stage.events_of_kind("sync.progress");
        if matches!(name, "running" | "waiting_for_budget") {
            said.push(of_json("progress event", &events.last()?.body["data"]["state"]));
        }
        said.iter().all(|said| said.name == name).then_some(said)
    })
    .await
}

/// All say the same, and the texts for people as well. Prints a row for each surface.
async fn assert_same(stage: &Stage, worker: &Worker, name: &str, starts_with: &str) {
    let said = surfaces(stage, worker, name).await;
    let first = said[0].clone();
    for other in &said {
        assert_eq!((&other.name, &other.reason, &other.held), (&first.name, &first.reason, &first.held), "{said:?}");
        println!("| {name} | {} | {} |", other.surface, other.reason);
    }
    let account = stage.setting("TEAMLEADER_ACCOUNT").to_owned();
    let status = sentence(&stage.run(&["status"]).await, &format!("account {account}: "));
    let (_, page) = worker.get("/dashboard").await;
    let doctor = stage.run(&["doctor"]).await;
    let doctor =
        doctor.out.lines().find(|line| line.contains(" account: ")).expect("doctor names the state").to_owned();
    for (surface, text) in [("status", &status), ("doctor", &doctor), ("dashboard", &page)] {
        assert!(text.contains(starts_with), "{surface} says \"{starts_with}\": {text}");
    }
    println!("| {name} | status | {status} |\n| {name} | doctor | {doctor} |");
}

#[tokio::test]
async fn every_surface_says_the_same_in_each_state() {
    let mut stage = Stage::of(300).await;
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    let worker = stage.worker().await;
    assert_same(&stage, &worker, "idle", "idle").await;

    stage.slow_down("contacts.list", 6_000);
    let id = stage.request(json!({ "mode": "full", "resources": ["contacts"] })).await;
    assert_same(&stage, &worker, "running", "running since").await;
    cancel(&stage, id).await;
    stage.simulator.clear_faults();

    stage.simulator.set_rate_limit(40, Duration::from_secs(60));
    let id = stage.request(json!({ "mode": "full", "resources": ["contacts"] })).await;
    assert_same(&stage, &worker, "waiting_for_budget", "waits for the API's budget, continues at").await;
    let status: Value = serde_json::from_str(&stage.run(&["status", "--json"]).await.out).unwrap();
    assert!(status["state"]["until"].is_string() && status["state"]["since"].is_string(), "{}", status["state"]);
    cancel(&stage, id).await;
    stage.simulator.set_rate_limit(200, Duration::from_secs(60));

    stage.simulator.inject(Fault::new(FaultKind::ServerErrorHtml { status: 503 }));
    let id = stage.request(json!({ "mode": "full", "resources": ["contacts"] })).await;
    assert_same(&stage, &worker, "waiting_for_api", "waits for the API since").await;
    let (_, metrics) = worker.get("/metrics").await;
    assert!(metrics.contains("teamleader2db_waiting_until_timestamp_seconds{"), "{metrics}");
    // A 503 is no fault of the token.
    let doctor = stage.run(&["doctor"]).await;
    assert!(doctor.out.contains("nothing is wrong with the token"), "{}", doctor.out);
    assert!(!doctor.out.contains("does not take the stored access token"), "{}", doctor.out);
    stage.simulator.clear_faults();
    cancel(&stage, id).await;

    stage.simulator.expire_access_tokens();
    stage.simulator.revoke_refresh_tokens();
    stage.request(json!({ "mode": "full", "resources": ["contacts"] })).await;
    assert_same(&stage, &worker, "waiting_for_authorization", "waits for an authorization").await;
}

async fn cancel(stage: &Stage, id: Uuid) {
    let ended = stage.run(&["cancel", &id.to_string()]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[tokio::test]
async fn a_request_that_no_worker_reads_is_said_to_wait_and_how_it_goes_on() {
    let stage = Stage::small().await;
    let mut worker = stage.worker().await;
    stage.complete(json!({ "resources": ["departments"] })).await;
    assert!(worker.terminate().await.success());
    let waiting = stage.watch(&["request", "departments", "--wait"]);
    waiting.says("no worker reads the queue").await;
    let status: Value = serde_json::from_str(&stage.run(&["status", "--json"]).await.out).unwrap();
    assert_eq!((&status["state"]["no_consumer"], &status["queue"]["requests"]), (&json!(true), &json!(1)), "{status}");
    let _next = stage.worker().await;
    until("it goes on by itself", async || waiting.lines().first().cloned()).await;
    let status: Value = serde_json::from_str(&stage.run(&["status", "--json"]).await.out).unwrap();
    assert_eq!(status["state"]["no_consumer"], json!(false), "{status}");
}
