//! The routes under `/_simulator/`: [`crate::Simulator`] for other processes. No token, no rate limit and no fault
//! applies to them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::Days;
use http_body_util::Either;
use http_body_util::channel::Channel;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::answer::{self, Body};
use crate::changes::ChangeKind;
use crate::faults::Fault;
use crate::guise::Guise;
use crate::state::State;
use crate::store::TruthRecord;

/// How many seconds after a find a call may come, where nobody says.
const QUARTER_HOUR: f64 = 900.0;
/// How many bytes of the truth go out at once.
const CHUNK: usize = 256 << 10;

#[derive(Deserialize)]
struct Changes {
    resource: String,
    kind: ChangeKind,
    /// One record; without it `count` records are chosen.
    id: Option<Uuid>,
    #[serde(default = "one")]
    count: usize,
}

#[derive(Deserialize)]
struct ChangesWhilePaging {
    resource: String,
    every: u32,
    kinds: Vec<ChangeKind>,
}

#[derive(Deserialize)]
struct Settings {
    access_token_ttl_seconds: Option<u64>,
    rate_limit: Option<u32>,
    #[serde(default = "minute")]
    rate_window_seconds: f64,
    deny_authorization: Option<bool>,
    account_id: Option<Uuid>,
    projects_v2: Option<bool>,
    compression: Option<bool>,
    /// Members of [`crate::Quirks`].
    #[serde(flatten)]
    quirks: Map<String, Value>,
}

#[derive(Deserialize)]
struct Requests {
    requests: u32,
}

#[derive(Deserialize)]
struct Storm {
    #[serde(rename = "type")]
    kind: String,
    /// These records; without them `count` records are chosen.
    ids: Option<Vec<Uuid>>,
    #[serde(default = "one")]
    count: usize,
}

#[derive(Deserialize)]
struct Advance {
    seconds: f64,
}

fn one() -> usize {
    1
}

fn minute() -> f64 {
    60.0
}

/// Answers a control request; `path` is what follows `/_simulator/`.
pub(crate) async fn respond(
    state: Arc<State>,
    method: &Method,
    path: &str,
    query: Option<&str>,
    body: &[u8],
) -> Response<Body> {
    if let (&Method::GET, Some(resource)) = (method, path.strip_prefix("truth/")) {
        return truth(state, resource, query.unwrap_or_default());
    }
    answer::whole(
        control(&state, method, path, (query.unwrap_or_default(), body))
            .unwrap_or_else(|wrong| answer::error(400, &wrong)),
    )
}

/// The answer, or the fault of the request.
fn control(
    state: &State,
    method: &Method,
    path: &str,
    (query, body): (&str, &[u8]),
) -> Result<Response<Bytes>, String> {
    let now = state.clock.millis();
    match (method.as_str(), path) {
        ("GET", "truth") => {
            let counts = state.store.resources();
            let counts = counts.map(|resource| (resource.to_owned(), json!(state.store.count(resource))));
            return Ok(answer::json(200, serde_json::Value::Object(counts.collect()).to_string()));
        }
        ("GET", "counters") => return encoded(&state.counters.get()),
        ("DELETE", "counters") => state.counters.reset(),
        ("GET", "refreshes") => return encoded(&state.refreshes.list()),
        ("GET", "faults") => return encoded(&state.faults.list()),
        ("POST", "faults") => state.faults.add(parse::<Fault>(body)?),
        ("DELETE", "faults") => state.faults.clear(),
        ("POST", "changes") => return change(state, parse(body)?),
        ("POST", "changes-while-paging") => {
            let ChangesWhilePaging { resource, every, kinds } = parse(body)?;
            known(state, &resource)?;
            state.paging.start(&resource, every, kinds);
        }
        ("DELETE", "changes-while-paging") => state.paging.stop(),
        ("POST", "tokens") => return encoded(&state.oauth.grant(now)),
        ("POST", "tokens/expire") => state.oauth.expire_access_tokens(),
        ("POST", "tokens/revoke") => state.oauth.revoke_refresh_tokens(),
        ("POST", "codes") => return encoded(&json!({ "code": state.oauth.issue_code(None, now) })),
        ("GET", "settings") => return encoded(&*state.quirks()),
        ("POST", "settings") => set(state, parse(body)?)?,
        (_, path) if path == "webhooks" || path.starts_with("webhooks/") => {
            return webhooks(state, method, path, (query, body));
        }
        ("POST", "rate-limit/spend") => {
            let Requests { requests } = parse(body)?;
            state.rate_limit.spend(state.oauth.client_id(), now, requests);
        }
        ("POST", "clock/advance") => {
            let Advance { seconds } = parse(body)?;
            state.clock.advance(duration(seconds)?);
        }
        _ => return Ok(no_route()),
    }
    Ok(answer::empty(204))
}

/// The routes of webhooks.
fn webhooks(
    state: &State,
    method: &Method,
    path: &str,
    (query, body): (&str, &[u8]),
) -> Result<Response<Bytes>, String> {
    match (method.as_str(), path) {
        ("GET", "webhooks") => return encoded(&state.webhooks.counts()),
        ("DELETE", "webhooks") => state.webhooks.reset_counts(),
        ("GET", "webhooks/settings") => return encoded(&*state.webhooks.settings()),
        ("POST", "webhooks" | "webhooks/settings") => {
            state.set_webhooks(state.webhooks.settings().with(parse(body)?)?);
        }
        ("POST", "webhooks/losses") => state.webhooks.watch.start(),
        ("GET", "webhooks/losses") => {
            let asked = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "wait_seconds");
            let wait = asked.map_or(Ok(QUARTER_HOUR), |(_, seconds)| seconds.parse());
            let wait = wait.map_err(|error| format!("wait_seconds: {error}."))?;
            return encoded(&state.webhooks.watch.losses(duration(wait)?));
        }
        ("POST", "webhooks/deliveries/drain") => return encoded(&state.webhooks.drain()),
        ("POST", "webhooks/storm") => {
            let Storm { kind, ids, count } = parse(body)?;
            let called = match ids {
                Some(ids) => state.storm(&kind, &ids).then_some(ids),
                None => state.storm_of(&kind, count),
            };
            let ids = called.ok_or_else(|| format!("There is no type {kind}."))?;
            return encoded(&json!({ "ids": ids }));
        }
        _ => return Ok(no_route()),
    }
    Ok(answer::empty(204))
}

fn no_route() -> Response<Bytes> {
    answer::error(404, "There is no such control endpoint; see the README of the simulator.")
}

fn change(state: &State, changes: Changes) -> Result<Response<Bytes>, String> {
    let Changes { resource, kind, id, count } = changes;
    known(state, &resource)?;
    let ids = match id {
        Some(id) if state.change_record(&resource, kind, id) => vec![id],
        Some(id) => return Err(format!("{resource} has no record {id}.")),
        None => state.change(&resource, kind, count),
    };
    encoded(&json!({ "ids": ids }))
}

fn set(state: &State, settings: Settings) -> Result<(), String> {
    // First: nothing is set if one of them is wrong.
    if !settings.quirks.is_empty() {
        state.set_quirks(state.quirks().with(settings.quirks)?);
    }
    if let Some(ttl) = settings.access_token_ttl_seconds {
        state.oauth.set_access_token_ttl(Duration::from_secs(ttl));
    }
    if let Some(limit) = settings.rate_limit {
        state.rate_limit.set(limit, duration(settings.rate_window_seconds)?);
    }
    if let Some(deny) = settings.deny_authorization {
        state.oauth.deny(deny);
    }
    if let Some(account) = settings.account_id {
        state.store.set_account(account);
    }
    if let Some(compression) = settings.compression {
        state.set_compression(compression);
    }
    if let Some(projects_v2) = settings.projects_v2 {
        state.set_projects_v2(projects_v2);
    }
    Ok(())
}

/// The truth about a resource, one record a line, as it is at this moment whatever changes while it is read.
fn truth(state: Arc<State>, resource: &str, query: &str) -> Response<Body> {
    let parameter = |name: &str| form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
    if resource == "userSchedules" {
        let day = |name, default| parameter(name).and_then(|(_, day)| day.parse().ok()).unwrap_or(default);
        let today = state.clock.now().date_naive();
        let from = day("from", today);
        let schedules = state.store.schedules(from, day("until", from + Days::new(6)));
        let mut lines = String::new();
        schedules.iter().for_each(|record| write_record(record, &mut lines));
        return answer::whole(answer::lines(lines));
    }
    let Some((recipe, snapshot)) = state.store.snapshot(resource) else {
        return answer::whole(answer::error(404, &format!("There is no resource {resource}.")));
    };
    let includes = parameter("includes").map(|(_, names)| names.into_owned());
    let resource = resource.to_owned();
    let (mut sender, channel) = Channel::new(2);
    tokio::spawn(async move {
        let names: Option<Vec<&str>> = includes.as_deref().map(|names| names.split(',').collect());
        let guise = Guise::new(&resource, state.sparse(&resource));
        let mut chunk = String::with_capacity(CHUNK + 8192);
        for (number, facts) in snapshot.iter().enumerate() {
            let record = state.store.truth_of(&resource, recipe, facts, names.as_deref(), &guise);
            write_record(&record, &mut chunk);
            if chunk.len() >= CHUNK || number + 1 == snapshot.len() {
                let full = std::mem::replace(&mut chunk, String::with_capacity(CHUNK + 8192));
                if sender.send_data(Bytes::from(full)).await.is_err() {
                    return;
                }
            }
        }
    });
    let mut answer = Response::new(Either::Right(channel));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    answer
}

fn write_record(record: &TruthRecord, out: &mut String) {
    let (id, info, content) = (record.id.to_string(), record.info.as_deref().unwrap_or("null"), record.content());
    let updated_at = crate::generate::moment(record.updated_at.timestamp());
    let parent = record.parent.as_ref().map(|(kind, id)| json!({ "type": kind, "id": id })).unwrap_or_default();
    out.extend(["{\"id\":\"", &id, "\",\"parent\":", &parent.to_string()]);
    out.extend([",\"list\":", &record.list, ",\"info\":", info]);
    out.extend([",\"content\":", &content, ",\"updated_at\":\"", &updated_at, "\"}\n"]);
}

fn known(state: &State, resource: &str) -> Result<(), String> {
    state.store.has(resource).then_some(()).ok_or_else(|| format!("There is no resource {resource}."))
}

fn duration(seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{seconds} is not a number of seconds."))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("The body does not fit: {error}."))
}

fn encoded(value: &impl serde::Serialize) -> Result<Response<Bytes>, String> {
    let text = serde_json::to_string(value).map_err(|error| error.to_string())?;
    Ok(answer::json(200, text))
}
