//! Hints: from the simulator's call to the committed row, beside a floor of the same run: one publish and delivery, one
//! commit, and two requests to the simulator, one after the other. And how much longer a full sync takes beside hints.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::json;
use sqlx::Row as _;
use teamleader_simulator::Webhooks;
use uuid::Uuid;

use crate::stage::{Stage, Worker, found_within, until};
use crate::timing::percentile;
use crate::{Rows, Size};

/// How long a hint may take at most, before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// While nothing runs, while a full sync runs, and with 20 changes a second.
pub async fn measure(size: Size) -> Rows {
    let changes = if size.quick { 100 } else { 1_000 };
    let mut stage = Stage::of(if size.quick { 500 } else { 5_000 }).await;
    stage.set("WEBHOOK_URL", "https://hooks.example.com");
    stage.set("RUST_LOG", "info");
    let worker = stage.worker().await;
    deliver(&stage, &worker).await;
    stage.complete(json!({ "resources": ["contacts"], "mode": "full" })).await;
    let ids: Vec<Uuid> = stage.simulator.truth("contacts").iter().take(changes).map(|contact| contact.id).collect();

    let floor = floor(&stage, &ids[..changes.min(300)]).await;
    let idle = one_by_one(&stage, &ids).await;
    let busy = {
        let running = stage.request(json!({ "resources": ["contacts", "companies", "invoices"], "mode": "full",
            "refetch": true }));
        let run = running.await;
        let latencies = in_a_stream(&stage, &ids, Duration::from_millis(if size.quick { 20 } else { 50 })).await;
        stage.completed(run).await;
        latencies
    };
    let stream = in_a_stream(&stage, &ids, Duration::from_millis(50)).await;
    let (low, high) = (percentile(&floor, 50), percentile(&floor, 99));
    let row = |what: &str, latencies: &[f64]| {
        let (p50, p99) = (percentile(latencies, 50), percentile(latencies, 99));
        let times = (p50 / low, p99 / high);
        format!(
            "| from a call to the committed row, {what}, {} changes: p50, p99 | {p50:.1} ms, {p99:.1} ms | \
             floor {low:.1} ms, {high:.1} ms | {:.1} and {:.1} times |",
            latencies.len(),
            times.0,
            times.1
        )
    };
    drop((worker, stage));
    let slowed = beside_hints(size).await;
    vec![row("idle", &idle), row("beside a full sync", &busy), row("20 changes a second", &stream), slowed]
}

/// A full sync at the API's rate, alone and with five hints a second: at two requests each they would take three times
/// the budget.
async fn beside_hints(size: Size) -> String {
    let contacts = if size.quick { 200 } else { 800 };
    let mut stage = Stage::of(contacts).await;
    stage.set("WEBHOOK_URL", "https://hooks.example.com");
    let worker = stage.worker().await;
    deliver(&stage, &worker).await;
    let body = json!({ "resources": ["contacts"], "mode": "full", "refetch": true });
    stage.complete(body.clone()).await;
    let companies: Vec<Uuid> = stage.simulator.truth("companies").iter().map(|company| company.id).collect();
    stage.complete(json!({ "resources": ["companies"], "mode": "full" })).await;
    stage.simulator.set_rate_limit(200, Duration::from_secs(60));
    let sync = async || {
        let started = Instant::now();
        let run = stage.request(body.clone()).await;
        found_within(Duration::from_secs(1_800), Duration::from_millis(20), async || {
            let status = stage.database.run_status(run).await;
            (status.as_deref() == Some("completed")).then_some(())
        })
        .await
        .expect("the sync is completed");
        started.elapsed().as_secs_f64()
    };
    let alone = sync().await;
    let mut calls = 0;
    let hints = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        for id in companies.iter().cycle() {
            ticks.tick().await;
            stage.simulator.update_record("companies", *id);
            calls += 1;
        }
    };
    let beside = tokio::select! {
        seconds = sync() => seconds,
        () = hints => unreachable!("there are companies"),
    };
    format!(
        "| a full sync of {contacts} details with 5 hints a second, {calls} hints, both within 200 requests in 60 s | \
         {beside:.1} s | alone {alone:.1} s | {:.2} times |",
        beside / alone
    )
}

async fn deliver(stage: &Stage, worker: &Worker) {
    stage.simulator.set_webhooks(Webhooks { deliver_to: Some(worker.url.clone()), ..stage.simulator.webhooks() });
    until("the address is registered", async || {
        (!stage.simulator.webhook_counts().registered.is_empty()).then_some(())
    })
    .await;
}

/// One publish and its delivery, two requests, one commit, in milliseconds.
async fn floor(stage: &Stage, ids: &[Uuid]) -> Vec<f64> {
    let connection = Connection::connect(&stage.broker.url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let queue = format!("{}.floor", stage.broker.prefix);
    let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
    channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await.unwrap();
    let consumed = channel.basic_consume(
        queue.as_str().into(),
        "floor".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let mut deliveries = consumed.await.unwrap();
    stage.database.execute("create table floor (id uuid)").await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let token = stage.simulator.grant().access_token;
    let ask = async |endpoint: &str, body: serde_json::Value| {
        let request = http.post(format!("{}/{endpoint}", stage.simulator.url())).bearer_auth(&token).json(&body);
        request.send().await.unwrap().bytes().await.unwrap();
    };
    let mut times = Vec::new();
    for id in ids {
        let started = Instant::now();
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let published = channel.basic_publish("".into(), queue.as_str().into(), options, b"{}", properties);
        published.await.unwrap().await.unwrap();
        let delivery = deliveries.next().await.unwrap().unwrap();
        ask("contacts.list", json!({ "filter": { "ids": [id] } })).await;
        ask("contacts.info", json!({ "id": id })).await;
        sqlx::query("insert into floor values ($1)").bind(id).execute(&stage.database.pool).await.unwrap();
        delivery.ack(BasicAckOptions::default()).await.unwrap();
        times.push(started.elapsed().as_secs_f64() * 1_000.0);
    }
    times
}

/// One change after the other.
async fn one_by_one(stage: &Stage, ids: &[Uuid]) -> Vec<f64> {
    stage.simulator.drain_webhook_deliveries();
    for id in ids {
        stage.simulator.update_record("contacts", *id);
        all_served(stage).await;
    }
    latencies(stage).await
}

/// A change after each pause, whether the one before is a row or not.
async fn in_a_stream(stage: &Stage, ids: &[Uuid], pause: Duration) -> Vec<f64> {
    stage.simulator.drain_webhook_deliveries();
    let mut ticks = tokio::time::interval(pause);
    for id in ids {
        ticks.tick().await;
        stage.simulator.update_record("contacts", *id);
    }
    all_served(stage).await;
    latencies(stage).await
}

async fn all_served(stage: &Stage) {
    let served = found_within(PATIENCE, Duration::from_millis(2), async || {
        let waiting = "select count(*) from teamleader2db.hint where served_at is null";
        (stage.simulator.webhook_counts().pending == 0 && stage.database.value::<i64>(waiting).await == 0).then_some(())
    });
    served.await.expect("the hints are served");
}

/// From each call to the commit of what it has led to, in milliseconds. Both clocks are this machine's.
async fn latencies(stage: &Stage) -> Vec<f64> {
    let rows =
        sqlx::query("select id, served_at from teamleader2db.hint").fetch_all(&stage.database.pool).await.unwrap();
    let served: HashMap<Uuid, DateTime<Utc>> = rows.into_iter().map(|row| (row.get(0), row.get(1))).collect();
    let deliveries = stage.simulator.drain_webhook_deliveries();
    deliveries.iter().map(|call| (served[&call.id] - call.sent_at).as_seconds_f64() * 1_000.0).collect()
}
