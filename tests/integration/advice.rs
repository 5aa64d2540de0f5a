//! The advice that stands beside each failure names commands that solve it: they are run as they are printed.

use serde_json::{Value, json};
use teamleader_simulator::{Fault, FaultKind};
use uuid::Uuid;

use crate::stage::{Ended, Stage, until};

/// The commands that `status` prints for a cause: what stands after the last colon of its line.
fn commands(ended: &Ended) -> Vec<Vec<String>> {
    let advice = ended.out.lines().find(|line| line.starts_with("  ") && line.contains(": teamleader2db "));
    let advice = advice.unwrap_or_else(|| panic!("no advice: {}", ended.out));
    let (_, commands) = advice.split_once(": teamleader2db ").unwrap();
    let words = |command: &str| command.split_whitespace().map(str::to_owned).collect();
    commands.split(" && teamleader2db ").map(words).collect()
}

/// Runs the commands, a request with `--wait`. The last one has to succeed.
async fn follow(stage: &Stage, commands: Vec<Vec<String>>) {
    let last = commands.len() - 1;
    for (place, mut command) in commands.into_iter().enumerate() {
        if command[0] == "request" {
            command.push("--wait".to_owned());
        }
        let ended = stage.run(&command.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert!(ended.code == 0 || place < last, "{command:?}: {ended:?}");
    }
}

/// A run failed for this cause: its advice is followed once what it names first is done, and the failure is no more.
async fn solved(stage: &Stage, id: Uuid, cause: &str, done_first: impl AsyncFnOnce()) {
    let event = stage.final_event(id).await;
    let contacts = event.resource("contacts");
    assert_eq!((&contacts["status"], &contacts["cause"]), (&json!("failed"), &json!(cause)), "{}", event.body);
    let status = stage.run(&["status"]).await;
    let commands = commands(&status);
    let said = contacts["advice"].as_str().unwrap();
    let last = commands.last().unwrap().join(" ");
    assert!(said.ends_with(&last), "the event and status say the same: {said}, {last}");
    done_first().await;
    follow(stage, commands).await;
    let status = stage.run(&["status"]).await;
    assert!(!status.out.contains("contacts failed"), "{cause}: {}", status.out);
    let json: Value = serde_json::from_str(&stage.run(&["status", "--json"]).await.out).unwrap();
    assert_eq!((&json["shortfalls"], &json["held"]), (&json!([]), &json!([])), "{cause}");
}

fn contacts(mode: &str) -> Value {
    json!({ "mode": mode, "resources": ["contacts"] })
}

#[tokio::test]
async fn the_advice_of_each_cause_solves_it() {
    let stage = Stage::of(100).await;
    let mut worker = stage.worker().await;
    stage.complete(contacts("full")).await;
    let clear = async || stage.simulator.clear_faults();

    stage.simulator.inject(Fault::new(FaultKind::Forbidden).at("contacts.list"));
    let id = stage.request(contacts("incremental")).await;
    solved(&stage, id, "forbidden", clear).await;

    stage.simulator.inject(Fault::new(FaultKind::ServerError { status: 500 }).at("contacts.list"));
    let id = stage.request(contacts("full")).await;
    solved(&stage, id, "endpoint", clear).await;

    stage.simulator.inject(Fault::new(FaultKind::TruncatedJson).at("contacts.list"));
    let id = stage.request(contacts("full")).await;
    solved(&stage, id, "answer", clear).await;

    stage.simulator.inject(Fault::new(FaultKind::GzipBomb { bytes: 40_000_000 }).at("contacts.info"));
    let id = stage.request(json!({ "resources": ["contacts"], "refetch": true })).await;
    solved(&stage, id, "details", clear).await;

    let refuse = "alter table teamleader.contacts add constraint refused check (false) not valid";
    stage.database.execute(refuse).await;
    stage.simulator.update("contacts", 3);
    let id = stage.request(contacts("incremental")).await;
    let repair = async || {
        stage.database.execute("alter table teamleader.contacts drop constraint refused").await;
    };
    solved(&stage, id, "table", repair).await;

    stage.simulator.delete("contacts", 40);
    let id = stage.request(contacts("full")).await;
    solved(&stage, id, "deletions_held", async || ()).await;

    // As after hours: the next time is the last.
    stage.simulator.inject(Fault::new(FaultKind::ServerErrorHtml { status: 503 }));
    let id = stage.request(contacts("full")).await;
    stage.broker.await_ready(&stage.broker.delay_queue(10), 1).await;
    stage.database.execute("update teamleader2db.sync_run set waits = 13 where status = 'running'").await;
    solved(&stage, id, "api_down", clear).await;

    // As after a process that died again and again at this run.
    stage.slow_down("contacts.list", 2_000);
    let asked = stage.asked("contacts.list");
    let id = stage.request(contacts("full")).await;
    stage.await_asked("contacts.list", asked + 1).await;
    until("it is a run", async || stage.database.run_status(id).await).await;
    worker.kill();
    stage.database.execute("update teamleader2db.sync_run set attempts = 5 where status = 'running'").await;
    stage.simulator.clear_faults();
    let _next = stage.worker().await;
    solved(&stage, id, "crashed", async || ()).await;
}
