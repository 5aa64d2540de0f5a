//! Webhooks: a change in Teamleader becomes a row without a request, and nobody has to believe a call.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use teamleader_simulator::{ChangeKind, Config, Quirks, Webhooks};
use uuid::Uuid;

use crate::certificate::number_from_make;
use crate::http_guard::cable_to_database;
use crate::stage::{ACCOUNT, Stage, Worker, until};

/// The address by which the simulator reaches the worker.
const BASE: &str = "https://hooks.example.com";

/// A stage whose workers take webhooks.
pub fn with_webhooks(mut stage: Stage) -> Stage {
    stage.set("WEBHOOK_URL", BASE);
    stage
}

/// Calls come to this worker, as by a reverse proxy.
pub fn deliver_to(stage: &Stage, worker: &Worker) {
    let webhooks = Webhooks { deliver_to: Some(worker.url.clone()), ..stage.simulator.webhooks() };
    stage.simulator.set_webhooks(webhooks);
}

/// The address that is registered.
pub async fn registered(stage: &Stage) -> String {
    until("an address is registered", async || {
        stage.simulator.webhook_counts().registered.into_keys().find(|url| url.starts_with(BASE))
    })
    .await
}

/// What changes from now on is counted: it has changed after the registration, by the seconds of `updated_at`.
pub async fn counted_from_now(stage: &Stage) {
    until("a second has passed since the registration", async || {
        let passed = "select coalesce(max(confirmed_at) < now() - interval '1 second', false)
             from teamleader2db.webhook_registration";
        stage.database.value::<bool>(passed).await.then_some(())
    })
    .await;
}

/// All calls are answered.
async fn answered(stage: &Stage) {
    until("no call is under way", async || (stage.simulator.webhook_counts().pending == 0).then_some(())).await;
}

/// All calls are answered and all hints served.
pub async fn settled(stage: &Stage) {
    until("no call is under way and no hint waits", async || {
        let waiting = "select count(*) from teamleader2db.hint where served_at is null";
        (stage.simulator.webhook_counts().pending == 0 && stage.database.value::<i64>(waiting).await == 0).then_some(())
    })
    .await;
}

async fn call(worker: &Worker, secret: &str, body: &str) -> u16 {
    let request = worker.request(Method::POST, &format!("/webhooks/{ACCOUNT}/{secret}"));
    request.header("content-type", "application/json").body(body.to_owned()).send().await.unwrap().status().as_u16()
}

fn body(kind: &str, id: Uuid) -> String {
    json!({ "type": kind, "subject": { "type": kind.split('.').next(), "id": id } }).to_string()
}

async fn secret(stage: &Stage) -> String {
    registered(stage).await.rsplit('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_change_becomes_a_row_without_a_request() {
    let stage = with_webhooks(Stage::small().await);
    let worker = stage.worker().await;
    registered(&stage).await;
    deliver_to(&stage, &worker);
    stage.complete(json!({ "mode": "full" })).await;
    for resource in ["contacts", "invoices", "companies"] {
        stage.simulator.add(resource, 2);
        stage.simulator.update(resource, 3);
        stage.simulator.delete(resource, 1);
    }
    settled(&stage).await;
    for resource in ["contacts", "invoices", "companies"] {
        stage.database.assert_table_equals(&stage.simulator, resource).await;
    }
    let metrics = worker.get("/metrics").await.1;
    assert!(metrics.contains("teamleader2db_hint_seconds_count"), "{metrics}");
    // A full sync finds nothing that was missed.
    let event = stage.complete(json!({ "mode": "full" })).await;
    for resource in ["contacts", "invoices", "companies"] {
        let counts =
            (event.count(resource, "created"), event.count(resource, "updated"), event.count(resource, "deleted"));
        assert_eq!(counts, (0, 0, 0), "{resource}: {}", event.body);
    }
}

/// Resources that webhooks name, but for those of projects.
const NAMED: [&str; 13] = [
    "calls",
    "companies",
    "contacts",
    "creditNotes",
    "deals",
    "invoices",
    "meetings",
    "products",
    "subscriptions",
    "tasks",
    "tickets",
    "timeTracking",
    "users",
];

async fn follow(projects_v2: bool, projects: [&str; 2]) {
    let config = Config { projects_v2, ..Config::default() };
    let stage = with_webhooks(Stage::with(config).await.of_everything());
    let worker = stage.worker().await;
    registered(&stage).await;
    deliver_to(&stage, &worker);
    stage.complete(json!({ "mode": "full" })).await;
    let named = || NAMED.into_iter().filter(|name| *name != "users").chain(projects);
    for resource in named() {
        stage.simulator.change(resource, ChangeKind::Update, 2);
        // Their lists take no ids, and alone have the time at which a record was made: a new one lacks it until a pass.
        if !["calls", "projects"].contains(&resource) {
            stage.simulator.add(resource, 1);
        }
    }
    for resource in ["incomingInvoices", "incomingCreditNotes", "receipts"] {
        stage.simulator.change(resource, ChangeKind::Update, 1);
    }
    stage.simulator.add("tickets.messages", 3);
    settled(&stage).await;
    for resource in named().chain(["incomingInvoices", "incomingCreditNotes", "receipts", "tickets.messages"]) {
        stage.database.assert_table_equals(&stage.simulator, resource).await;
    }
    stage.simulator.delete("users", 1);
    stage.simulator.delete("tickets", 1);
    settled(&stage).await;
    for resource in ["users", "tickets", "tickets.messages"] {
        stage.database.assert_table_equals(&stage.simulator, resource).await;
    }
}

#[tokio::test]
async fn every_resource_that_webhooks_name_follows() {
    follow(false, ["projects", "milestones"]).await;
}

#[tokio::test]
async fn new_projects_follow_as_well() {
    follow(true, ["projects-v2/projects", "projects-v2/tasks"]).await;
}

#[tokio::test]
async fn hints_are_served_beside_a_run_and_by_whoever_stands_by() {
    let stage = with_webhooks(Stage::of(300).await);
    let active = stage.worker().await;
    registered(&stage).await;
    stage.complete(json!({ "mode": "full" })).await;
    let standby = stage.worker().await;
    deliver_to(&stage, &standby);
    stage.slow_down("events.list", 4_000);
    let id = stage.request(json!({ "mode": "full", "resources": ["events"] })).await;
    stage.await_asked("events.list", 2).await;
    let ids: Vec<Uuid> = stage.simulator.update("contacts", 3);
    until("the changes are rows", async || {
        (stage.database.lacking(&stage.simulator, "contacts", &ids).await == 0).then_some(())
    })
    .await;
    assert_eq!(stage.database.run_status(id).await.as_deref(), Some("running"), "the run goes on");
    stage.simulator.clear_faults();
    stage.completed(id).await;
    drop((active, standby));
}

#[tokio::test]
async fn between_two_slices_of_a_run_hints_do_not_take_its_turn() {
    let mut stage = with_webhooks(Stage::of(300).await);
    stage.set("SYNC_SLICE", "1s");
    let worker = stage.worker().await;
    registered(&stage).await;
    deliver_to(&stage, &worker);
    stage.complete(json!({ "mode": "full" })).await;
    settled(&stage).await;
    stage.slow_down("contacts.info", 200);
    stage.slow_down("companies.list", 500);
    let body = json!({ "resources": ["contacts"], "mode": "full", "refetch": true });
    let id = stage.request(body).await;
    // As if no slice had said that it serves: a message that wakes is put before the run's next slice.
    let unsaid = "update teamleader2db.wake set serving_at = null, asked_at = null";
    until("the run is over", async || {
        stage.simulator.update("companies", 2);
        stage.database.execute(unsaid).await;
        (stage.database.run_status(id).await.as_deref() == Some("completed")).then_some(())
    })
    .await;
    stage.simulator.clear_faults();
    settled(&stage).await;
    stage.database.assert_table_equals(&stage.simulator, "companies").await;
    let log = worker.log();
    let (_, of_run) = log.split_once(&format!("{id} epoch=")).expect("it began");
    let (of_run, _) = of_run.split_once("The run is completed").expect("it is over");
    let looks: Vec<&str> = of_run.lines().filter(|line| line.contains("Looked at")).collect();
    assert!(!looks.is_empty() && looks.iter().all(|line| line.contains("run=")), "{looks:#?}");
    assert!(of_run.contains("Requeued the request"), "there are two slices at least");
}

#[tokio::test]
async fn who_does_not_know_the_secret_stores_nothing() {
    let stage = with_webhooks(Stage::small().await);
    let worker = stage.worker().await;
    let secret = secret(&stage).await;
    let id = Uuid::new_v4();
    let call_body = body("contact.updated", id);
    for wrong in ["", "x", &secret[1..], &format!("{secret}x"), &secret.to_uppercase()] {
        let status = call(&worker, wrong, &call_body).await;
        assert_eq!(status, 404, "{wrong}");
    }
    let other = worker.request(Method::POST, &format!("/webhooks/other/{secret}")).body(call_body.clone());
    assert_eq!(other.send().await.unwrap().status().as_u16(), 404);
    let get = worker.request(Method::GET, &format!("/webhooks/{ACCOUNT}/{secret}")).send().await.unwrap();
    assert_eq!(get.status().as_u16(), 404, "nobody learns what is there");
    for unreadable in ["", "7", "{}", "[]", &"[".repeat(60_000), r#"{"type":"contact.updated","subject":{"id":"7"}}"#] {
        assert_eq!(call(&worker, &secret, unreadable).await, 400, "{unreadable:.40}");
    }
    assert_eq!(call(&worker, &secret, &" ".repeat(70_000)).await, 413);
    assert_eq!(stage.database.value::<i64>("select count(*) from teamleader2db.hint").await, 0);
    // What is of no use is taken, and leaves nothing.
    assert_eq!(call(&worker, &secret, &body("comet.seen", id)).await, 204);
    assert_eq!(call(&worker, &secret, &body("account.deleted", id)).await, 204);
    assert_eq!(call(&worker, &secret, &body("deal.won", id)).await, 204, "deals are not synced here");
    assert_eq!(stage.database.value::<i64>("select count(*) from teamleader2db.hint").await, 0);
    // Ids that nobody has: two requests for each hundred, and no row.
    stage.complete(json!({ "resources": ["contacts"] })).await;
    stage.simulator.reset_counters();
    for _ in 0..100 {
        assert_eq!(call(&worker, &secret, &body("contact.updated", Uuid::new_v4())).await, 204);
    }
    settled(&stage).await;
    stage.database.assert_table_equals(&stage.simulator, "contacts").await;
    assert_eq!(stage.asked("contacts.info"), 0, "nobody asks for details of what is not there");
    // No log line has the secret, and no metric.
    assert!(!worker.log().contains(&secret) && !worker.get("/metrics").await.1.contains(&secret));
    let shown = stage.run(&["webhooks"]).await;
    assert!(shown.code == 0 && !shown.out.contains(&secret), "{shown:?}");
    assert!(
        shown.out.contains("contact.updated") && shown.out.contains(&format!("{BASE}/webhooks/{ACCOUNT}/…")),
        "{}",
        shown.out
    );
}

#[tokio::test]
async fn calls_while_the_database_is_away_are_refused_quickly_and_the_next_are_taken() {
    let mut stage = with_webhooks(Stage::small().await);
    let cable = cable_to_database(&mut stage).await;
    let worker = stage.worker().await;
    let secret = secret(&stage).await;
    let id = stage.simulator.truth("contacts")[0].id;
    cable.set_away(true);
    let body = body("contact.updated", id);
    let refused = tokio::time::timeout(Duration::from_secs(8), call(&worker, &secret, &body));
    assert_eq!(refused.await.expect("an answer"), 503);
    cable.set_away(false);
    until("calls are taken again", async || (call(&worker, &secret, &body).await == 204).then_some(())).await;
    settled(&stage).await;
    assert_eq!(stage.database.lacking(&stage.simulator, "contacts", &[id]).await, 0);
}

#[tokio::test]
async fn a_burst_becomes_few_requests() {
    // `make webhooks` has more.
    let hints = number_from_make("STORM_OF", 1_000);
    let stage = with_webhooks(Stage::of(hints).await);
    let worker = stage.worker().await;
    registered(&stage).await;
    stage.complete(json!({ "resources": ["contacts"] })).await;
    deliver_to(&stage, &worker);
    stage.simulator.reset_counters();
    // However long the storm takes to arrive, no second list is asked for meanwhile, or hardly one.
    stage.slow_down("contacts.list", 8_000);
    let stormed = stage.simulator.storm_of("contact.updated", hints).unwrap();
    assert_eq!(stormed.into_iter().collect::<BTreeSet<_>>().len(), hints);
    answered(&stage).await;
    stage.simulator.clear_faults();
    settled(&stage).await;
    let lists = stage.asked("contacts.list");
    println!("{lists} list requests for a storm of {hints} hints");
    // A hundred in each; some come while the first list is asked for.
    let least = hints as u64 / 100;
    assert!((least..=least + 14).contains(&lists), "{lists} list requests for {hints} records");
    assert_eq!(stage.asked("contacts.info"), 0, "nothing has changed");
    // The next storm finds one that has.
    stage.simulator.set_webhooks(Webhooks { loss: 1.0, ..stage.simulator.webhooks() });
    let changed = stage.simulator.update("contacts", 7);
    deliver_to(&stage, &worker);
    stage.simulator.set_webhooks(Webhooks { loss: 0.0, ..stage.simulator.webhooks() });
    stage.simulator.storm("contact.updated", &changed);
    settled(&stage).await;
    stage.database.assert_table_equals(&stage.simulator, "contacts").await;
    assert_eq!(stage.asked("contacts.info"), 7);
}

#[tokio::test]
async fn own_addresses_that_are_out_of_date_are_removed_and_others_stay() {
    let mut stage = with_webhooks(Stage::small().await);
    let worker = stage.worker().await;
    let first = registered(&stage).await;
    drop(worker);
    // The key is rotated.
    let other_key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let keys = format!("{other_key},{}", stage.setting("TOKEN_ENCRYPTION_KEY"));
    stage.set("TOKEN_ENCRYPTION_KEY", &keys);
    let _worker = stage.worker().await;
    until("another address has taken its place", async || {
        let urls: Vec<String> = stage.simulator.webhook_counts().registered.into_keys().collect();
        (urls.len() == 1 && urls[0] != first).then_some(())
    })
    .await;
    let done = stage.run(&["webhooks", "unregister"]).await;
    assert_eq!((done.code, stage.simulator.webhook_counts().registered.len()), (0, 0), "{done:?}");
    let done = stage.run(&["webhooks", "register", "--json"]).await;
    let shown: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((done.code, &shown["registered"]), (0, &json!(true)), "{shown}");
    assert_eq!(stage.simulator.webhook_counts().registered.len(), 1);
}

#[tokio::test]
async fn without_the_right_to_webhooks_the_account_syncs_on() {
    let stage = with_webhooks(Stage::small().await);
    let quirks = Quirks { webhooks_scope: false, ..stage.simulator.quirks() };
    stage.simulator.set_quirks(quirks);
    let worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    until("the command says why", async || {
        let shown = stage.run(&["webhooks"]).await;
        (shown.out.contains("right to webhooks") && shown.out.contains("WEBHOOK_URL")).then_some(())
    })
    .await;
    drop(worker);
}

#[tokio::test]
async fn what_no_call_announced_is_counted() {
    let mut stage = with_webhooks(Stage::small().await);
    stage.set("WEBHOOK_PATIENCE", "1s");
    let worker = stage.worker().await;
    registered(&stage).await;
    deliver_to(&stage, &worker);
    stage.complete(json!({ "mode": "full" })).await;
    counted_from_now(&stage).await;
    // Announced, lost, and lost with a deletion.
    stage.simulator.update("contacts", 2);
    settled(&stage).await;
    let lossy = Webhooks { loss: 1.0, ..stage.simulator.webhooks() };
    stage.simulator.set_webhooks(lossy);
    stage.simulator.update("contacts", 3);
    stage.simulator.delete("companies", 1);
    stage.complete(json!({ "mode": "full" })).await;
    let shown = until("the loss is counted", async || {
        let shown: Value = serde_json::from_str(&stage.run(&["webhooks", "--json"]).await.out).unwrap();
        let missed: i64 = shown["changes"].as_array()?.iter().map(|loss| loss["missed"].as_i64().unwrap_or(0)).sum();
        (missed >= 4).then_some(shown)
    })
    .await;
    let of = |resource: &str| {
        shown["changes"].as_array().unwrap().iter().find(|loss| loss["resource"] == resource).unwrap().clone()
    };
    assert_eq!((of("contacts")["missed"].as_i64(), of("companies")["missed"].as_i64()), (Some(3), Some(1)), "{shown}");
    let metrics = until("the metric follows", async || {
        let metrics = worker.get("/metrics").await.1;
        metrics
            .contains("teamleader2db_webhook_missed_total{account=\"acme\",resource=\"contacts\"} 3")
            .then_some(metrics)
    })
    .await;
    assert!(!metrics.is_empty());
}

#[tokio::test]
async fn a_request_by_ids_fetches_exactly_these_records() {
    let stage = Stage::of(200).await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let watermark = "select max(watermark)::text from teamleader2db.cursor where resource = 'contacts'";
    let before: String = stage.database.value(watermark).await;
    let updated = stage.simulator.update("contacts", 30);
    let gone = stage.simulator.delete("contacts", 5);
    let new = stage.simulator.add("contacts", 5);
    stage.simulator.reset_counters();
    let ids = [updated[..20].to_vec(), gone.clone(), new.clone(), vec![Uuid::new_v4()]].concat();
    let event = stage.complete(json!({ "resources": ["contacts"], "ids": ids })).await;
    let alive = updated[..20].iter().filter(|id| !gone.contains(id)).count() as i64;
    assert_eq!(event.count("contacts", "created"), 5, "{}", event.body);
    assert_eq!(event.count("contacts", "listed"), alive + 5, "{}", event.body);
    assert_eq!(event.count("contacts", "updated"), alive, "{}", event.body);
    assert_eq!(event.count("contacts", "deleted"), 5, "{}", event.body);
    assert!(stage.asked("contacts.list") <= 3, "{} requests for the list", stage.asked("contacts.list"));
    assert_eq!(stage.database.deleted("contacts").await.len(), 5);
    assert_eq!(stage.database.value::<String>(watermark).await, before, "some records say nothing of the others");
    let left: Vec<Uuid> = updated[20..].iter().filter(|id| !gone.contains(id)).copied().collect();
    assert_eq!(
        stage.database.lacking(&stage.simulator, "contacts", &left).await,
        left.len(),
        "the others are as they were"
    );
    // Too many at once are held.
    let many = stage.simulator.delete("contacts", 40);
    let id = stage.request(json!({ "resources": ["contacts"], "ids": many })).await;
    let event = stage.final_event(id).await;
    assert_eq!(event.resource("contacts")["cause"], "deletions_held", "{}", event.body);
    assert_eq!(stage.database.deleted("contacts").await.len(), 5);
    let event = stage.complete(json!({ "resources": ["contacts"], "ids": many, "allow_deletions": true })).await;
    assert_eq!(event.count("contacts", "deleted"), 40, "{}", event.body);
}
