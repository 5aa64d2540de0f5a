//! What an API that is odd for a while costs: how many rows differ from the account once it is sound again and a full run has followed.
//! None, whatever was odd, how often, and where.
//!
//! Each test prints a table. `ODD_RECORDS=all` plays every kind of bad record.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use teamleader_simulator::{ChangeKind, Config, Fault, FaultKind, Oddity, Quirks, contract};
use uuid::Uuid;

use crate::stage::Stage;

/// Ten minutes, a day, and the year 2099.
const OFFSETS: [(i64, &str); 3] = [(600, "10 min"), (86_400, "a day"), (73 * 365 * 86_400, "73 years")];

/// Lists that show each change: three that are read by page number, and two by seeking.
const FOLLOWED: [&str; 5] = ["companies", "contacts", "deals", "events", "invoices"];

/// Those of them whose records have a time of change.
const DATED: [&str; 4] = ["companies", "contacts", "deals", "invoices"];

/// How many records have no row, or one that differs.
async fn differing(stage: &Stage, resources: &[&str]) -> usize {
    let mut sum = 0;
    for resource in resources {
        sum += differing_but(stage, resource, &BTreeSet::new()).await;
    }
    sum
}

/// The same of one resource, but for these records.
async fn differing_but(stage: &Stage, resource: &str, but: &BTreeSet<Uuid>) -> usize {
    let truth = stage.simulator.truth(resource);
    let ids: Vec<Uuid> = truth.iter().map(|record| record.id).filter(|id| !but.contains(id)).collect();
    stage.database.lacking(&stage.simulator, resource, &ids).await
}

#[tokio::test]
async fn a_date_that_is_wrong_once_or_always_costs_no_row() {
    let mut stage = Stage::small().await;
    stage.set("TEAMLEADER_RESOURCES", &FOLLOWED.join(","));
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    println!(
        "| `Date` | how often | rows that differ after an incremental run | after a full run |\n| --- | --- | --- | --- |"
    );
    for (seconds, words) in OFFSETS.into_iter().flat_map(|(seconds, words)| [(seconds, words), (-seconds, words)]) {
        for often in ["once", "always"] {
            for resource in FOLLOWED {
                stage.simulator.change(resource, ChangeKind::Update, 3);
                stage.simulator.change(resource, ChangeKind::Add, 1);
                stage.simulator.delete(resource, 1);
            }
            DATED
                .iter()
                .for_each(|resource| assert!(!stage.simulator.change(resource, ChangeKind::Restore, 1).is_empty()));
            match often {
                "once" => stage.simulator.inject(Fault::new(FaultKind::Date { seconds }).times(1).after(3)),
                _ => stage.simulator.set_quirks(Quirks { date_offset_seconds: seconds, ..Quirks::default() }),
            }
            stage.complete(json!({})).await;
            let incremental = differing(&stage, &FOLLOWED).await;
            stage.complete(json!({ "mode": "full" })).await;
            let full = differing(&stage, &FOLLOWED).await;
            stage.simulator.clear_faults();
            stage.simulator.set_quirks(Quirks::default());
            let sign = if seconds < 0 { "early" } else { "late" };
            println!("| {words} {sign} | {often} | {incremental} | {full} |");
            assert_eq!(full, 0, "{words} {sign}, {often}");
            // Deletions need a proof, which a pass without a time is not.
            stage.complete(json!({ "mode": "full" })).await;
            for resource in FOLLOWED {
                stage.database.assert_table_equals(&stage.simulator, resource).await;
            }
        }
    }
}

/// One record of each resource that has details is bad, in its list and in its details.
#[tokio::test]
async fn one_bad_record_of_each_resource_costs_no_other_and_is_named() {
    let stage = Stage::with(Config { projects_v2: true, ..Config::scaled(30) }).await.of_everything();
    let _worker = stage.worker().await;
    let first = stage.complete(json!({ "mode": "full" })).await;
    let reported = first.body["data"]["resources"].as_object().unwrap();
    let copied = |(_, report): &(&String, &Value)| report["status"] == "completed";
    // Of files and notes those of the other kind of projects are not copied; schedules have no ids.
    let is_held = |name: &&str| !["files", "notes", "userSchedules"].contains(name);
    let all: Vec<&str> = reported.iter().filter(copied).map(|(name, _)| name.as_str()).filter(is_held).collect();
    let with_details: Vec<&str> =
        all.iter().copied().filter(|name| contract::endpoints().contains_key(&format!("{name}.info"))).collect();
    assert!(with_details.len() > 20, "{with_details:?}");
    for resource in &all {
        assert_eq!(differing(&stage, &[resource]).await, 0, "{resource}");
    }
    println!(
        "| {} resources with one record that is | of these, named | others that differ | rows that differ after the next full run |\n\
         | --- | --- | --- | --- |",
        with_details.len()
    );
    let every = std::env::var_os("ODD_RECORDS").is_some_and(|which| which == "all");
    let kinds = if every { &Oddity::ALL[..] } else { &[Oddity::Deep, Oddity::MomentZero] };
    for odd in kinds {
        let fault = |resource: &&str| Fault::new(FaultKind::OddRecord { odd: *odd, id: None }).at(resource);
        with_details.iter().for_each(|resource| stage.simulator.inject(fault(resource)));
        let id = stage.request(json!({ "mode": "full", "refetch": true })).await;
        let event = stage.ended(id).await;
        let bad = chosen(&stage);
        let rejected = named(&stage).await;
        stage.simulator.clear_faults();
        let mut others = 0;
        for resource in &all {
            others += differing_but(&stage, resource, &bad).await;
        }
        // Where what was odd could be stored, nothing shows that it was.
        let refetch = !matches!(odd, Oddity::Deep);
        stage.complete(json!({ "mode": "full", "refetch": refetch })).await;
        let after = differing(&stage, &all).await;
        println!("| {odd:?} | {} of {} | {others} | {after} |", rejected.intersection(&bad).count(), bad.len());
        assert_eq!((others, after), (0, 0), "{odd:?}: {}", event.body);
        if matches!(odd, Oddity::Deep) {
            assert!(bad.is_subset(&rejected), "{odd:?}: {:?}", bad.difference(&rejected));
            assert_eq!(event.kind(), "sync.partial", "{}", event.body);
        }
        assert!(named(&stage).await.is_empty(), "{odd:?}");
    }
}

/// The records that the faults have chosen.
fn chosen(stage: &Stage) -> BTreeSet<Uuid> {
    let chosen = stage.simulator.faults().into_iter().filter_map(|fault| match fault.kind {
        FaultKind::OddRecord { id, .. } => id,
        _ => None,
    });
    chosen.collect()
}

/// The records that are called rejected.
async fn named(stage: &Stage) -> BTreeSet<Uuid> {
    let named = sqlx::query_scalar("select id from teamleader2db.rejected_record");
    named.fetch_all(&stage.database.pool).await.unwrap().into_iter().collect()
}
