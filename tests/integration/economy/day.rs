//! What a day costs: polling each quarter of an hour, and webhooks with a full sync at night.

use std::time::Duration;

use serde_json::{Value, json};
use teamleader_simulator::Config;

use crate::certificate::number_from_make;
use crate::stage::{Stage, found_within};
use crate::webhooks::{deliver_to, registered, settled, with_webhooks};

/// What changes, in turns.
const CHANGING: [&str; 7] = ["contacts", "companies", "deals", "invoices", "tasks", "timeTracking", "calls"];

/// When a sync is given up.
const LONGEST: Duration = Duration::from_secs(1_800);

/// An account of so many contacts, its changes a day, and its polls.
fn size() -> (usize, usize, usize) {
    match number_from_make("ECONOMY_OF", 0) {
        0 => (60, 40, 8),
        contacts => (contacts, 500, 96),
    }
}

fn change(stage: &Stage, number: usize) {
    assert_eq!(stage.simulator.update(CHANGING[number % CHANGING.len()], 1).len(), 1);
}

async fn stage(contacts: usize) -> Stage {
    let mut stage = Stage::with(Config { projects_v2: true, ..Config::scaled(contacts) }).await;
    stage.set("TEAMLEADER_RESOURCES", "all");
    stage.restore("INCREMENTAL_WINDOW", None);
    stage
}

/// Waits for the end of a sync. One of a large account takes longer than a test waits for anything else.
async fn synced(stage: &Stage, request: Value) {
    let id = stage.request(request).await;
    let ended = async || stage.database.run_status(id).await.filter(|status| status != "running");
    found_within(LONGEST, Duration::from_millis(50), ended).await.expect("the sync ends");
    stage.completed(id).await;
}

#[tokio::test]
async fn a_day_by_webhooks_takes_less_requests_than_a_day_of_polling() {
    let (contacts, changes, polls) = size();
    let polling = {
        let stage = stage(contacts).await;
        let _worker = stage.worker().await;
        synced(&stage, json!({ "mode": "full" })).await;
        stage.simulator.reset_counters();
        for poll in 0..polls {
            (changes * poll / polls..changes * (poll + 1) / polls).for_each(|number| change(&stage, number));
            stage.complete(json!({})).await;
        }
        stage.simulator.counters().total()
    };
    let stage = with_webhooks(stage(contacts).await);
    let worker = stage.worker().await;
    registered(&stage).await;
    deliver_to(&stage, &worker);
    synced(&stage, json!({ "mode": "full" })).await;
    stage.simulator.reset_counters();
    for number in 0..changes {
        change(&stage, number);
        settled(&stage).await;
    }
    let hints = stage.simulator.counters().total();
    synced(&stage, json!({ "mode": "full" })).await;
    let webhooks = stage.simulator.counters().total();
    println!(
        "a day of an account of {contacts} contacts and all else in proportion, with {changes} changes: {polls} \
         incremental syncs take {polling} requests; webhooks {hints}, and with a full sync at night {webhooks}"
    );
    assert!(hints < polling && webhooks < polling, "{webhooks} of {polling}");
}
