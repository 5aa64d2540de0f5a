//! The hot functions by themselves, by criterion: `make bench-functions`.

// As in tests: what fails here fails the measurement.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use teamleader_simulator::{Config, Simulator};
use teamleader2db::bench_api::{self, Split};

/// What the simulator answers.
async fn answer_of(endpoint: &str, body: serde_json::Value) -> Vec<u8> {
    let counts = [("contacts".to_owned(), 200)].into();
    let simulator = Simulator::start(Config { counts, ..Config::default() }, ([127, 0, 0, 1], 0).into()).await.unwrap();
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let asked = http.post(format!("{}/{endpoint}", simulator.url())).bearer_auth(simulator.grant().access_token);
    asked.json(&body).send().await.unwrap().bytes().await.unwrap().to_vec()
}

fn functions(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let page = json!({ "page": { "size": 100, "number": 1 }, "includes": "custom_fields,pagination",
        "sort": [{ "field": "updated_at", "order": "asc" }] });
    let page = runtime.block_on(answer_of("contacts.list", page));
    let split = Split::of("contacts", &page).unwrap();
    assert_eq!(split.records(), 100);

    let mut group = criterion.benchmark_group("a page of 100 contacts");
    group.throughput(Throughput::Bytes(page.len() as u64));
    group.bench_function("split and hash", |bench| bench.iter(|| Split::of("contacts", black_box(&page))));
    group.bench_function("drift", |bench| bench.iter(|| black_box(&split).drift()));
    group.bench_function("next position", |bench| bench.iter(|| black_box(&split).next()));
    group.finish();

    let text = std::str::from_utf8(&page).unwrap();
    let mut group = criterion.benchmark_group("its text");
    group.throughput(Throughput::Bytes(page.len() as u64));
    group.bench_function("hash", |bench| bench.iter(|| bench_api::hash(black_box(text))));
    group.bench_function("read and thrown away, as a tree", |bench| {
        bench.iter(|| serde_json::from_str::<serde_json::Value>(black_box(text)))
    });
    group.finish();
}

criterion_group!(benches, functions);
criterion_main!(benches);
