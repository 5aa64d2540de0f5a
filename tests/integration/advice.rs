//! The advice that stands beside each failure names commands that solve it: they are run as they are printed.

use serde_json::{Value, json};
use teamleader_simulator::{Fault, FaultKind};
use uuid::Uuid;

use crate::stage::{Ended, Stage, until};

/// The commands that `status` prints for a cause.
fn commands(ended: &Ended) -> Vec<Vec<String>> {
    let advice = ended.out.lines().find(|line| line.starts_with("  ") && line.contains(": teamleader2db "));
    commands_of(advice.unwrap_or_else(|| panic!("no advice: {}", ended.out)))
}

/// The commands of an advice: what stands after the last colon of its line.
fn commands_of(advice: &str) -> Vec<Vec<String>> {
    let (_, commands) = advice.split_once(": teamleader2db ").unwrap_or_else(|| panic!("no commands: {advice}"));
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
    assert_solved(stage, cause).await;
}

/// Nothing is left to be solved.
async fn assert_solved(stage: &Stage, cause: &str) {
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

#[tokio::test]
async fn the_advice_of_what_status_does_not_show_as_a_failure_solves_it_too() {
    let stage = Stage::of(100).await;
    let _worker = stage.worker().await;
    // Cancelled is nothing that an operator has to look at: only the event has the advice.
    stage.slow_down("contacts.list", 2_000);
    let id = stage.request(contacts("full")).await;
    stage.await_asked("contacts.list", 1).await;
    let ended = stage.run(&["cancel", &id.to_string()]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    stage.simulator.clear_faults();
    let event = stage.final_event(id).await;
    let report = event.resource("contacts");
    assert_eq!((&report["status"], &report["cause"]), (&json!("failed"), &json!("cancelled")), "{}", event.body);
    let commands = commands_of(report["advice"].as_str().unwrap());
    assert_eq!(commands, [["request", "contacts", "--account", "acme", "--full"]], "as before");
    follow(&stage, commands).await;
    stage.database.assert_table_equals(&stage.simulator, "contacts").await;
    assert_solved(&stage, "cancelled").await;
}

/// No run of this version fails for an unknown cause: the row is as a version that stored none has left it, or one that
/// knows more.
#[tokio::test]
async fn the_advice_of_a_cause_that_this_version_does_not_know_solves_it() {
    let stage = Stage::of(100).await;
    let _worker = stage.worker().await;
    for cause in ["null", "'of_a_later_version'"] {
        stage.simulator.inject(Fault::new(FaultKind::ServerError { status: 500 }).at("contacts.list"));
        let id = stage.request(contacts("full")).await;
        assert_eq!(stage.final_event(id).await.resource("contacts")["cause"], "endpoint");
        let sql = format!("update teamleader2db.sync_step set cause = {cause} where run_id = $1");
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).execute(&stage.database.pool).await.unwrap();
        let status = stage.run(&["status"]).await;
        assert!(
            status.out.contains("once that is fixed: teamleader2db request contacts --account acme --full"),
            "{}",
            status.out
        );
        stage.simulator.clear_faults();
        follow(&stage, commands(&status)).await;
        assert_solved(&stage, cause).await;
        stage.database.assert_table_equals(&stage.simulator, "contacts").await;
    }
}
