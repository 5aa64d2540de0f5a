//! The same seed and the same changes give the same account.

use serde_json::Value;
use teamleader_simulator::{Config, Simulator, contract};

use crate::{Api, contents};

async fn changed(seed: u64) -> Simulator {
    let mut config = Config { seed, ..Config::scaled(200) };
    config.counts.insert("users".to_owned(), 9);
    let simulator = Api::start(config).await.simulator;
    for resource in crate::stored() {
        simulator.add(resource, 3);
        simulator.update(resource, 5);
        simulator.delete(resource, 2);
    }
    simulator
}

#[tokio::test]
async fn the_same_seed_gives_the_same_bytes() {
    let (one, two) = (Api::unlimited(&[]).await, Api::unlimited(&[]).await);
    for resource in contract::resources() {
        assert_eq!(one.simulator.truth(resource), two.simulator.truth(resource));
    }
    assert_eq!(one.simulator.account(), two.simulator.account());
}

/// Empties every text that begins with a date.
fn without_dates(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(without_dates),
        Value::Array(items) => items.iter_mut().for_each(without_dates),
        Value::String(text) if text.get(..10).is_some_and(|day| day.parse::<chrono::NaiveDate>().is_ok()) => {
            text.clear()
        }
        _ => {}
    }
}

#[tokio::test]
async fn the_same_changes_hit_the_same_records_in_the_same_way() {
    let (one, two) = (changed(5).await, changed(5).await);
    for resource in contract::resources() {
        let (mut left, mut right) = (contents(&one, resource), contents(&two, resource));
        // Changes are dated by the real clock.
        for record in left.values_mut().chain(right.values_mut()) {
            without_dates(record);
        }
        assert_eq!(left, right, "{resource}");
    }
}

#[tokio::test]
async fn another_seed_gives_another_account() {
    let (one, two) = (changed(5).await, changed(6).await);
    for resource in contract::resources() {
        let (left, right) = (contents(&one, resource), contents(&two, resource));
        assert!(!left.is_empty());
        assert!(left.keys().all(|id| !right.contains_key(id)), "{resource}");
    }
}
