//! The budget of requests: used, not overrun, and shared with others.

use std::time::Duration;

use serde_json::json;
use teamleader_simulator::{Config, Fault, FaultKind};

use crate::stage::Stage;

#[tokio::test]
async fn a_burst_of_429_is_waited_out() {
    let stage = Stage::of(40).await;
    let _worker = stage.worker().await;
    let refused = FaultKind::RateLimited { reset_in_ms: Some(1500) };
    stage.simulator.inject(Fault::new(refused.clone()).at("contacts.info").after(10).times(6));
    stage.simulator.inject(Fault::new(refused).at("contacts.list").times(1));

    let event = stage.complete(json!({ "mode": "full" })).await;
    stage.assert_copy_is_equal().await;
    let counters = stage.simulator.counters();
    assert_eq!(counters.rate_limited, 7, "{counters:?}");
    let api = counters.total() - counters.requests["oauth2/access_token"];
    assert_eq!(event.body["data"]["api_requests"], api);
}

#[tokio::test]
async fn a_budget_that_another_program_has_spent_is_waited_for() {
    let stage = Stage::small().await;
    stage.simulator.set_rate_limit(100, Duration::from_secs(6));
    stage.simulator.spend_rate_limit(97);
    let _worker = stage.worker().await;

    stage.complete(json!({ "mode": "full" })).await;
    stage.assert_copy_is_equal().await;
    let counters = stage.simulator.counters();
    assert_eq!(counters.rate_limited, 0, "no request is sent that the headers say will be refused: {counters:?}");
}

#[tokio::test]
async fn a_budget_that_another_program_spends_in_mid_run_costs_only_what_is_in_flight() {
    let mut stage = Stage::small().await;
    stage.set("SYNC_CONCURRENCY", "4");
    stage.simulator.set_rate_limit(150, Duration::from_secs(6));
    stage.slow_down("contacts.info", 100);
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.await_asked("contacts.info", 8).await;
    stage.simulator.spend_rate_limit(150);

    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    let counters = stage.simulator.counters();
    // Nobody could know: those in flight, and those that begin before the first of them is answered.
    assert!(counters.rate_limited <= 4, "{counters:?}");
}

#[tokio::test]
async fn slow_answers_want_more_requests_in_flight_up_to_what_is_set() {
    let most_in_flight = async |setting: &str| {
        let counts = ["contacts", "companies", "invoices", "users"].map(|name| (name.to_owned(), 40)).into();
        let mut stage = Stage::with(Config { counts, ..Config::default() }).await;
        stage.set("SYNC_CONCURRENCY", setting);
        ["contacts.info", "companies.info"].iter().for_each(|endpoint| stage.slow_down(endpoint, 300));
        ["contacts.list", "companies.list", "invoices.list", "users.list"]
            .iter()
            .for_each(|endpoint| stage.slow_down(endpoint, 100));
        let _worker = stage.worker().await;
        stage.complete(json!({ "mode": "full" })).await;
        stage.assert_copy_is_equal().await;
        stage.simulator.counters().max_concurrent
    };
    // The simulator's budget is large, so more of them would use more of it.
    let auto = most_in_flight("auto").await;
    assert!(auto > 8 && auto <= 16, "{auto}");
    // Lists, details and all else together.
    assert_eq!(most_in_flight("2").await, 2);
}
