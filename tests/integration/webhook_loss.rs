//! The loss meter against the simulator's count: webhooks are lost, repeated, late, out of order and forged, by a seed.
//!
//! `make webhooks SEEDS=30` plays so many.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use teamleader_simulator::Webhooks;

use crate::certificate::number_from_make;
use crate::stage::{Stage, until};
use crate::webhooks::{counted_from_now, deliver_to, registered, settled, with_webhooks};

/// How long after a find a call is late: the longest delay of a call is far shorter.
const PATIENCE: Duration = Duration::from_secs(3);

/// What changes.
const CHANGING: [&str; 4] = ["contacts", "companies", "invoices", "deals"];

/// Syncs with changes before them.
const ROUNDS: usize = 3;

/// Missed changes, by resource.
type Counts = BTreeMap<String, u64>;

/// Plays a seed, and returns what the simulator and the worker have counted.
async fn play(seed: u64) -> (Counts, Counts) {
    let mut stage = with_webhooks(Stage::of(120).await);
    stage.set("WEBHOOK_PATIENCE", "3s");
    stage.set("TEAMLEADER_RESOURCES", &CHANGING.join(","));
    let worker = stage.worker().await;
    registered(&stage).await;
    deliver_to(&stage, &worker);
    stage.simulator.track_losses();
    stage.complete(json!({ "mode": "full" })).await;
    counted_from_now(&stage).await;
    stage.simulator.set_webhooks(Webhooks {
        loss: 0.02,
        duplicates: 0.02,
        reorder: 0.02,
        forged: 0.05,
        delay_ms: (0, 300),
        seed,
        ..stage.simulator.webhooks()
    });
    // Each record changes once: of one whose change waits to be counted, another find is the same.
    let records = CHANGING.map(|resource| (resource, stage.simulator.truth(resource)));
    for round in 0..ROUNDS {
        for (resource, all) in &records {
            let of_round = all.chunks(all.len() / ROUNDS).nth(round).unwrap_or_default();
            let (deleted, updated) = of_round.split_at(2);
            updated.iter().for_each(|record| assert!(stage.simulator.update_record(resource, record.id)));
            deleted.iter().for_each(|record| assert!(stage.simulator.delete_record(resource, record.id)));
            stage.simulator.add(resource, 2);
        }
        // While a look for a call and a page of a pass are under way for the same record, only the worker knows which of
        // the two has written the row.
        settled(&stage).await;
        let mode = if (seed + round as u64).is_multiple_of(2) { "full" } else { "incremental" };
        stage.complete(json!({ "mode": mode })).await;
        settled(&stage).await;
    }
    stage.complete(json!({ "mode": "full" })).await;
    settled(&stage).await;
    for resource in CHANGING {
        stage.database.assert_table_equals(&stage.simulator, resource).await;
    }
    let truth = until("the waiting time of each find is over", async || {
        let losses = stage.simulator.losses(PATIENCE);
        let open: u64 = losses.counts.values().map(|counts| counts.candidates).sum();
        let counted = losses.counts.into_iter().filter(|(_, of)| of.missed > 0).map(|(name, of)| (name, of.missed));
        (open == 0).then(|| counted.collect::<Counts>())
    })
    .await;
    let counted = until("the worker has counted as well", async || {
        let open = "select count(*) from teamleader2db.webhook_candidate";
        if stage.database.value::<i64>(open).await > 0 {
            return None;
        }
        let shown: Value = serde_json::from_str(&stage.run(&["webhooks", "--json"]).await.out).ok()?;
        let losses = shown["changes"].as_array()?.iter().filter_map(|loss| {
            let missed = loss["missed"].as_u64().unwrap_or_default();
            (missed > 0).then(|| (loss["resource"].as_str().unwrap_or_default().to_owned(), missed))
        });
        Some(losses.collect::<Counts>())
    })
    .await;
    (truth, counted)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_meter_counts_what_the_simulator_counts() {
    let seeds = number_from_make("WEBHOOK_SEEDS", 2) as u64;
    let mut all = 0;
    for seed in 1..=seeds {
        let (truth, counted) = play(seed).await;
        println!("seed {seed}: {truth:?}");
        assert_eq!(counted, truth, "seed {seed}: missed, by resource");
        all += truth.values().sum::<u64>();
    }
    assert!(all > 0, "nothing was lost in {seeds} seeds");
}
