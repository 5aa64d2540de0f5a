//! What every surface says of webhooks: `status`, `doctor`, the dashboard, HTTP and the log, from one model.

use serde_json::{Value, json};
use teamleader_simulator::Quirks;

use crate::stage::{Stage, Worker, until};
use crate::webhooks::{counted_from_now, deliver_to, registered, settled, with_webhooks};

/// What `doctor` says of webhooks.
async fn doctor(stage: &Stage) -> String {
    let said = stage.run(&["doctor"]).await.out;
    let lines: Vec<&str> = said.lines().collect();
    let about = lines.iter().enumerate().filter(|(_, line)| line.contains("ebhook") || line.contains("WEBHOOK_URL"));
    about.map(|(place, line)| format!("{line} {}", lines.get(place + 1).unwrap_or(&""))).collect::<Vec<_>>().join("\n")
}

async fn over_http(worker: &Worker) -> Value {
    serde_json::from_str::<Value>(&worker.get("/sync/teamleader").await.1).unwrap()["webhooks"].clone()
}

#[tokio::test]
async fn surfaces_say_nothing_of_webhooks_that_nobody_wants_and_doctor_of_those_that_nobody_registered() {
    let mut stage = Stage::small().await;
    let worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    assert!(worker.log().lines().next().unwrap().contains("webhooks: none"), "{}", worker.log());
    assert_eq!(over_http(&worker).await, Value::Null);
    assert!(!stage.run(&["status"]).await.out.contains("webhooks"));
    let status: Value = serde_json::from_str(&stage.run(&["status", "--json"]).await.out).unwrap();
    assert!(status.get("webhooks").is_some_and(Value::is_null), "{status}");
    assert!(!worker.get("/dashboard").await.1.contains("Webhooks"));
    assert!(!worker.get("/dashboard/resources/contacts").await.1.contains("webhook"));
    assert_eq!(doctor(&stage).await, "");
    stage.set("WEBHOOK_URL", "https://hooks.example.com");
    let said = doctor(&stage).await;
    assert!(said.contains("WRONG  account: WEBHOOK_URL is set, and no worker has registered it"), "{said}");
    stage.set("WEBHOOK_URL", "http://hooks.example.com");
    let said = doctor(&stage).await;
    assert!(said.contains("WRONG  configuration: ") && said.contains("begins with https://"), "{said}");
}

#[tokio::test]
async fn all_surfaces_say_the_same_of_webhooks() {
    let stage = with_webhooks(Stage::small().await);
    let worker = stage.worker().await;
    let secret = registered(&stage).await.rsplit('/').next().unwrap().to_owned();
    deliver_to(&stage, &worker);
    stage.complete(json!({ "mode": "full" })).await;
    counted_from_now(&stage).await;
    stage.simulator.update("contacts", 3);
    settled(&stage).await;
    assert!(worker.log().lines().next().unwrap().contains("webhooks: https://hooks.example.com"), "{}", worker.log());
    let known = over_http(&worker).await;
    assert_eq!((&known["registered"], &known["shown"], &known["missed"]), (&json!(true), &json!(3), &json!(0)));
    assert!(known["last_call_at"].is_string() && known["error"].is_null(), "{known}");
    let status = stage.run(&["status"]).await.out;
    let line = status.lines().find(|line| line.starts_with("webhooks: registered for ")).expect("a line");
    assert!(line.contains("last call ") && line.contains("missed 0 of 3 changes (0.0 %)"), "{line}");
    let said = doctor(&stage).await;
    assert!(said.contains("ok     account: webhooks: registered for ") && !said.contains("WRONG"), "{said}");
    let page = worker.get("/dashboard").await.1;
    assert!(
        page.contains("<h2>Webhooks</h2>") && page.contains("3 changes: 3 by webhooks, 0 late, 0 missed"),
        "{page}"
    );
    let of_contacts = worker.get("/dashboard/resources/contacts").await.1;
    assert!(of_contacts.contains("last call of a webhook") && of_contacts.contains("3, and 0 late, 0 missed"));

    // As a call leaves it that nobody could serve, and as a day without calls does.
    for sql in [
        "insert into teamleader2db.hint (account, resource, id, came_at, not_before)
         values ('acme', 'contacts', gen_random_uuid(), now() - interval '1 hour', 'infinity')",
        "update teamleader2db.webhook_registration set confirmed_at = now() - interval '30 hours'",
        "update teamleader2db.webhook_type set last_at = now() - interval '26 hours'",
    ] {
        stage.database.execute(sql).await;
    }
    let said = doctor(&stage).await;
    assert!(said.contains("WRONG  account: 1 record that webhooks have named wait, the first for 60 min"), "{said}");
    assert!(said.contains("note   account: the last call of a webhook came 26 h ago"), "{said}");
    let page = worker.get("/dashboard").await.1;
    assert!(page.contains("The last call of a webhook came 26 h ago.") && page.contains("the first for 60 min."));
    let everything = [said, page, status, known.to_string(), of_contacts, worker.log()].concat();
    assert!(!everything.contains(&secret), "the secret shows");
}

#[tokio::test]
async fn a_registration_that_fails_is_named_with_what_to_do() {
    let stage = with_webhooks(Stage::small().await);
    stage.simulator.set_quirks(Quirks { webhooks_scope: false, ..stage.simulator.quirks() });
    let worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    let known = until("it is tried", async || Some(over_http(&worker).await).filter(Value::is_object)).await;
    assert!(known["registered"] == false && known["error"].as_str().unwrap().contains("right to webhooks"), "{known}");
    let said = doctor(&stage).await;
    assert!(said.contains("WRONG  account: webhooks cannot be registered: ") && said.contains("webhooks register"));
    assert!(stage.run(&["status"]).await.out.contains("webhooks: not registered: "));
    let page = worker.get("/dashboard").await.1;
    assert!(page.contains("Webhooks cannot be registered: ") && page.contains("webhooks register"), "{page}");
}
