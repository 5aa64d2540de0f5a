//! The simulator over real HTTP, one module for each behaviour.

// Clippy lets tests unwrap, and does not see that the functions which they share are tests as well.
#![allow(clippy::unwrap_used)]

mod changes;
mod contract;
mod control;
mod determinism;
mod every_list;
mod expenses;
mod faults;
mod filters;
mod losses;
mod paging;
mod parents;
mod program;
mod quirks;
mod rate_limit;
mod records;
mod references;
mod tokens;
mod versions;
mod webhooks;

use std::collections::BTreeMap;

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use teamleader_simulator::contract::Endpoint;
use teamleader_simulator::{Config, Quirks, Simulator};

/// The resources of which records are stored; schedules are computed.
fn stored() -> impl Iterator<Item = &'static str> {
    teamleader_simulator::contract::resources().filter(|resource| *resource != "userSchedules")
}

/// The list endpoint of a resource.
fn list_of(resource: &str) -> (&'static str, &'static Endpoint) {
    let name = teamleader_simulator::contract::list_endpoint(resource).unwrap();
    (name, teamleader_simulator::contract::endpoint(name).unwrap())
}

/// The lists that must be asked for one country or for one type: the parameter or filter, and where the records show it.
const PARTS: [(&str, &[(&str, &str)]); 3] = [
    ("documentTemplates", &[("/filter/department_id", "/department/id"), ("/filter/document_type", "/document_type")]),
    ("levelTwoAreas", &[("/country", "/country")]),
    ("mailTemplates", &[("/filter/type", "/type")]),
];

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
        let client = reqwest::Client::builder().redirect(redirects).no_gzip().build().unwrap();
        Self { simulator, client, token }
    }

    /// An account with a rate limit that no test reaches by accident.
    async fn unlimited(counts: &[(&str, usize)]) -> Self {
        let mut config = Config { rate_limit: 1_000_000, ..Config::default() };
        config.counts.extend(counts.iter().map(|(resource, count)| ((*resource).to_owned(), *count)));
        Self::start(config).await
    }

    async fn send(&self, endpoint: &str, body: Value) -> reqwest::Result<Answer> {
        self.send_as(Some("2023-09-26"), endpoint, body).await
    }

    /// A request for a version of the API, or for that of the integration.
    async fn send_as(&self, version: Option<&str>, endpoint: &str, body: Value) -> reqwest::Result<Answer> {
        let mut request = self.client.post(format!("{}/{endpoint}", self.simulator.url()));
        if let Some(version) = version {
            request = request.header("x-api-version", version);
        }
        read(request.bearer_auth(&self.token).json(&body)).await
    }

    /// Makes the API behave otherwise.
    fn quirk(&self, change: impl FnOnce(&mut Quirks)) {
        let mut quirks = self.simulator.quirks();
        change(&mut quirks);
        self.simulator.set_quirks(quirks);
    }

    async fn call(&self, endpoint: &str, body: Value) -> Answer {
        self.send(endpoint, body).await.unwrap()
    }

    /// The ids on a page.
    async fn page_ids(&self, endpoint: &str, body: Value) -> Vec<String> {
        self.call(endpoint, body).await.ids()
    }

    /// The bodies with which all records of a resource can be listed: one, or one for each parent, country or type.
    fn bodies(&self, resource: &str, body: &Value) -> Vec<Value> {
        let mut bodies = Vec::new();
        for record in self.simulator.truth(resource) {
            let mut body = body.clone();
            let part = PARTS.iter().find(|(name, _)| *name == resource);
            if resource == "userSchedules" {
                let today = chrono::Utc::now().date_naive();
                let until = today + chrono::Days::new(6);
                body["filter"] = json!({ "user_ids": [record.id], "from": today, "until": until });
            }
            match (record.parent, part) {
                (Some((kind, id)), _) => match resource {
                    "users.daysOff" | "tickets.messages" => body["id"] = json!(id),
                    _ if resource.ends_with(".payments") => body["id"] = json!(id),
                    "projects-v2/projectLines" => body["project_id"] = json!(id),
                    _ => body["filter"]["subject"] = json!({ "type": kind, "id": id }),
                },
                (None, Some((_, places))) => {
                    for (asked, shown) in *places {
                        let value = parse(&record.list).pointer(shown).unwrap().clone();
                        match asked.strip_prefix("/filter/") {
                            Some(filter) => body["filter"][filter] = value,
                            None => body[&asked[1..]] = value,
                        }
                    }
                }
                (None, None) => {}
            }
            if !bodies.contains(&body) {
                bodies.push(body);
            }
        }
        bodies
    }

    /// Every record of a list, page by page where there are pages, and parent by parent where there are parents.
    async fn everything(&self, resource: &str, body: Value) -> Vec<Value> {
        let (endpoint, contract) = list_of(resource);
        let mut all = Vec::new();
        for body in self.bodies(resource, &body) {
            for number in 1.. {
                let mut body = body.clone();
                body["page"] = json!({ "size": 100, "number": number });
                let answer = self.call(endpoint, body).await;
                let mut page = answer.json()["data"].as_array().unwrap_or_else(|| panic!("{}", answer.text)).clone();
                let is_last = page.len() < 100 || !contract.paged;
                all.append(&mut page);
                if is_last {
                    break;
                }
            }
        }
        all
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

/// What tells a record from all others of its resource: its id, where it shows one.
fn key(record: &Value) -> String {
    let places = ["/id", "/message_id", "/line/id", "/source/id", "/tag", "/user/id"];
    let id = places.iter().find_map(|pointer| record.pointer(pointer)?.as_str());
    match id {
        Some(id) => id.to_owned(),
        None => format!("{} {}", record["name"].as_str().unwrap(), record["department"]["id"].as_str().unwrap()),
    }
}

fn keys(records: &[Value]) -> Vec<String> {
    records.iter().map(key).collect()
}

/// The keys of the live records of a resource.
fn live_keys(simulator: &Simulator, resource: &str) -> Vec<String> {
    simulator.truth(resource).iter().map(|record| key(&parse(&record.list))).collect()
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
