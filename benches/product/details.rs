//! Details: one request for each record, beside the same answers read and thrown away; and what an incremental sync
//! takes after that.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use serde_json::json;
use teamleader_simulator::{Config, Simulator};
use uuid::Uuid;

use crate::stage::Stage;
use crate::timing::{Seconds, await_end_of, median, seconds_of};
use crate::{Rows, Size, timing};

/// Requests in flight: as many as the worker has at most by itself.
const IN_FLIGHT: usize = 16;

/// A round's seconds, and requests.
struct Round {
    details: Seconds,
    thrown_away: Seconds,
    hundred: (Seconds, i64),
    none: (Seconds, i64),
}

/// Several rounds, each with an account and a database of its own; medians.
pub async fn measure(size: Size) -> Rows {
    let (records, count) = if size.quick { (4_000, 1) } else { (20_000, 5) };
    let measured = timing::rounds(count, async |seed| round(seed, records).await).await;
    let of = |seconds: fn(&Round) -> f64| median(measured.iter().map(seconds).collect());
    let (details, thrown_away) = (of(|round| round.details), of(|round| round.thrown_away));
    let times = of(|round| round.details / round.thrown_away);
    let (hundred, none) = (of(|round| round.hundred.0), of(|round| round.none.0));
    let last = &measured[measured.len() - 1];
    vec![
        format!(
            "| details of {records} contacts | {details:.2} s | \
             the same answers read and thrown away {thrown_away:.2} s | {times:.2} times as long |"
        ),
        format!(
            "| incremental, 100 of {records} changed | {hundred:.2} s, {} requests | 102 requests | |",
            last.hundred.1
        ),
        format!("| incremental, nothing changed | {none:.2} s, {} requests | 1 request | |", last.none.1),
    ]
}

/// How far watermarks stay behind.
const LOOKBACK: Duration = Duration::from_secs(2);

async fn round(seed: u64, records: usize) -> Round {
    let counts = [("contacts".to_owned(), records)].into();
    let mut stage = Stage::with(Config { seed, counts, ..Config::default() }).await;
    stage.set("RUST_LOG", "info");
    stage.set("SYNC_LOOKBACK", "2s");
    let thrown_away = seconds_of(read_and_throw_away(&stage.simulator)).await;
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "mode": "full", "resources": ["contacts"] })).await;
    await_end_of(&stage.database, id, "list").await;
    let started = Instant::now();
    let event = stage.completed(id).await;
    let details = started.elapsed().as_secs_f64();
    assert_eq!(event.count("contacts", "detailed"), records as i64);
    // At two moments: a whole page of one moment would be read twice. The API's clock is held against the database's,
    // so time has to pass.
    for _ in 0..2 {
        tokio::time::sleep(LOOKBACK).await;
        assert_eq!(stage.simulator.update("contacts", 50).len(), 50);
    }
    let hundred = incremental(&stage).await;
    // What has just changed is listed once more, for SYNC_LOOKBACK: that is not measured.
    tokio::time::sleep(2 * LOOKBACK).await;
    incremental(&stage).await;
    tokio::time::sleep(2 * LOOKBACK).await;
    let none = incremental(&stage).await;
    stage.database.assert_table_equals(&stage.simulator, "contacts").await;
    Round { details, thrown_away, hundred, none }
}

/// The time from the request to its event, and the requests to the API.
async fn incremental(stage: &Stage) -> (Seconds, i64) {
    let started = Instant::now();
    let event = stage.complete(json!({ "resources": ["contacts"] })).await;
    (started.elapsed().as_secs_f64(), event.body["data"]["api_requests"].as_i64().unwrap())
}

async fn read_and_throw_away(simulator: &Simulator) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let (url, token) = (format!("{}/contacts.info", simulator.url()), simulator.grant().access_token);
    let ids: Vec<Uuid> = simulator.truth("contacts").iter().map(|record| record.id).collect();
    let ask = |id: Uuid| {
        let asked = http.post(&url).bearer_auth(&token).json(&json!({ "id": id }));
        tokio::spawn(async move { asked.send().await.unwrap().bytes().await.unwrap().len() })
    };
    let mut answers = stream::iter(ids).map(ask).buffer_unordered(IN_FLIGHT);
    while let Some(length) = answers.next().await {
        assert!(length.unwrap() > 0);
    }
}
