//! The API's budget of 200 requests in any 60 s, with answers that take from 50 to 400 ms: how much of it is used.

use std::time::{Duration, Instant};

use serde_json::json;
use teamleader_simulator::Config;

use crate::stage::Stage;
use crate::{Rows, Size};

const WINDOW: Duration = Duration::from_secs(60);
const LIMIT: u64 = 200;

/// The time that an endpoint takes to answer, in milliseconds.
const LATENCIES: [(&str, u64); 6] = [
    ("contacts.list", 400),
    ("companies.list", 200),
    ("invoices.list", 50),
    ("contacts.info", 400),
    ("companies.info", 100),
    ("invoices.info", 50),
];

/// A first sync of an account that takes longer than this, under the real limit.
pub async fn measure(size: Size) -> Rows {
    let windows = if size.quick { 1 } else { 5 };
    let counts = [("contacts", 6_000), ("companies", 3_000), ("invoices", 3_000)];
    let counts = counts.map(|(name, count)| (name.to_owned(), count)).into();
    let stage = Stage::with(Config { counts, ..Config::default() }).await;
    stage.simulator.set_rate_limit(u32::try_from(LIMIT).unwrap(), WINDOW);
    LATENCIES.iter().for_each(|(endpoint, milliseconds)| stage.slow_down(endpoint, *milliseconds));
    let _worker = stage.worker().await;
    stage.request(json!({ "mode": "full", "resources": ["contacts", "companies", "invoices"] })).await;

    let made = || {
        let counters = stage.simulator.counters();
        counters.total() - counters.requests.get("oauth2/access_token").copied().unwrap_or(0)
    };
    let passed = |requests: u64| async move {
        while made() < requests {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Instant::now()
    };
    let started = passed(1).await;
    // The first request of the next window: nobody can make it before these windows are over.
    let ended = passed(LIMIT * windows + 1).await;
    let least = WINDOW * u32::try_from(windows).unwrap();
    let share = least.as_secs_f64() / (ended - started).as_secs_f64();
    let refused = stage.simulator.counters().rate_limited;
    vec![format!(
        "| {} requests at {LIMIT} in 60 s | {:.1} s | {:.1} s | {:.1} % of the budget, {refused} refused (429) |",
        LIMIT * windows + 1,
        (ended - started).as_secs_f64(),
        least.as_secs_f64(),
        share * 100.0,
    )]
}
