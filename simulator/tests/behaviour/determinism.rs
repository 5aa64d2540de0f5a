//! The same seed and the same changes give the same account.

use teamleader_simulator::{Config, Simulator};

use crate::{Api, RESOURCES, contents};

async fn changed(seed: u64) -> Simulator {
    let mut config = Config { seed, ..Config::scaled(200) };
    config.counts.insert("users".to_owned(), 9);
    let simulator = Api::start(config).await.simulator;
    for resource in RESOURCES {
        simulator.add(resource, 3);
        simulator.update(resource, 5);
        simulator.delete(resource, 2);
    }
    simulator
}

#[tokio::test]
async fn the_same_seed_gives_the_same_bytes() {
    let (one, two) = (Api::unlimited(&[]).await, Api::unlimited(&[]).await);
    for resource in RESOURCES {
        assert_eq!(one.simulator.truth(resource), two.simulator.truth(resource));
    }
    assert_eq!(one.simulator.account(), two.simulator.account());
}

#[tokio::test]
async fn the_same_changes_hit_the_same_records_in_the_same_way() {
    let (one, two) = (changed(5).await, changed(5).await);
    for resource in RESOURCES {
        let (mut left, mut right) = (contents(&one, resource), contents(&two, resource));
        // Changes are dated by the real clock.
        for record in left.values_mut().chain(right.values_mut()) {
            for moment in ["added_at", "created_at", "updated_at", "starts_at", "ends_at", "starts_on", "due_on"] {
                record.as_object_mut().unwrap().remove(moment);
            }
            record.as_object_mut().unwrap().remove("invoice_date");
            record.as_object_mut().unwrap().remove("paid_at");
            record.as_object_mut().unwrap().remove("payments");
            record.as_object_mut().unwrap().remove("on_hold_since");
        }
        assert_eq!(left, right, "{resource}");
    }
}

#[tokio::test]
async fn another_seed_gives_another_account() {
    let (one, two) = (changed(5).await, changed(6).await);
    for resource in RESOURCES {
        let (left, right) = (contents(&one, resource), contents(&two, resource));
        assert!(left.keys().all(|id| !right.contains_key(id)), "{resource}");
    }
}
