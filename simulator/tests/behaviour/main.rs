//! The simulator over real HTTP, one module for each behaviour.

// Clippy lets tests unwrap, and does not see that the functions which they share are tests as well.
#![allow(clippy::unwrap_used)]

mod changes;
mod contract;
mod control;
mod determinism;
mod faults;
mod paging;
mod program;
mod rate_limit;
mod tokens;

use std::collections::BTreeMap;

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use teamleader_simulator::{Config, Simulator};

/// Every resource of the simulator.
const RESOURCES: [&str; 8] =
    ["companies", "contacts", "customFieldDefinitions", "departments", "events", "invoices", "projects", "users"];

/// A simulator and a client that holds a token for it.
struct Api {
    simulator: Simulator,
    client: reqwest::Client,
    token: String,
}

/// An answer, with its body as it came.
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Api {
    async fn start(config: Config) -> Self {
        let simulator = Simulator::start(config, ([127, 0, 0, 1], 0).into()).await.unwrap();
        let token = simulator.grant().access_token;
        // Built with the worker in one go, reqwest has TLS without a provider of its own. An error means that one is set already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let redirects = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().redirect(redirects).build().unwrap();
        Self { simulator, client, token }
    }

    /// An account with a rate limit that no test reaches by accident.
    async fn unlimited(counts: &[(&str, usize)]) -> Self {
        let mut config = Config { rate_limit: 1_000_000, ..Config::default() };
        config.counts.extend(counts.iter().map(|(resource, count)| ((*resource).to_owned(), *count)));
        Self::start(config).await
    }

    async fn send(&self, endpoint: &str, body: Value) -> reqwest::Result<Answer> {
        let request = self.client.post(format!("{}/{endpoint}", self.simulator.url()));
        read(request.bearer_auth(&self.token).json(&body)).await
    }

    async fn call(&self, endpoint: &str, body: Value) -> Answer {
        self.send(endpoint, body).await.unwrap()
    }

    /// The ids on a page.
    async fn page_ids(&self, endpoint: &str, body: Value) -> Vec<String> {
        self.call(endpoint, body).await.ids()
    }

    /// Every id of a list, read page by page.
    async fn all_ids(&self, endpoint: &str, body: Value) -> Vec<String> {
        let mut all = Vec::new();
        for number in 1.. {
            let mut body = body.clone();
            body["page"] = json!({ "size": 100, "number": number });
            let page = self.page_ids(endpoint, body).await;
            if page.is_empty() {
                break;
            }
            all.extend(page);
        }
        all
    }
}

impl Answer {
    /// The body as JSON; half a surrogate pair, which `Value` cannot hold, becomes a question mark.
    fn json(&self) -> Value {
        parse(&self.text)
    }

    fn ids(&self) -> Vec<String> {
        let body = self.json();
        let records = body["data"].as_array().unwrap_or_else(|| panic!("no data in {}", self.text));
        records.iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

async fn read(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let answer = request.send().await?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Ok(Answer { status, headers, text: answer.text().await? })
}

/// Whole pairs come as UTF-8 and only half ones as an escape, so the escape alone tells.
fn parse(text: &str) -> Value {
    serde_json::from_str(&text.replace("\\ud83d", "?")).unwrap()
}

/// The live ids of a resource.
fn live(simulator: &Simulator, resource: &str) -> Vec<String> {
    simulator.truth(resource).iter().map(|record| record.id.to_string()).collect()
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

/// Contents by id.
fn contents(simulator: &Simulator, resource: &str) -> BTreeMap<String, Value> {
    let records = simulator.truth(resource);
    records.iter().map(|record| (record.id.to_string(), parse(&record.content()))).collect()
}
