//! The endpoints of the API itself.

use bytes::Bytes;
use hyper::Response;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::answer;
use crate::contract;
use crate::generate::recipe;
use crate::query::{ListQuery, Refusal, includes};
use crate::state::State;

/// Answers a request that is authenticated and within the rate limit.
pub(crate) fn respond(state: &State, endpoint: &str, query: Option<&str>, body: &[u8]) -> Response<Bytes> {
    let body = match query {
        Some(query) if body.is_empty() => from_query(query),
        _ if body.iter().all(u8::is_ascii_whitespace) => Value::Object(Map::new()),
        _ => match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(_) => return answer::error(400, "The body is not valid JSON."),
        },
    };
    let result = match endpoint.rsplit_once('.') {
        Some((resource, "list")) => list(state, resource, &body),
        Some((resource, "info")) => info(state, resource, &body),
        _ if endpoint == "users.me" => Some(Ok(format!("{{\"data\":{}}}", state.store.me()))),
        // Not in the blueprint; the simulated account still has the legacy projects that it serves.
        _ if endpoint == "accounts.projects-v2-status" => Some(Ok(r#"{"data":{"status":"legacy"}}"#.to_owned())),
        _ => None,
    };
    match result {
        Some(Ok(text)) => answer::json(200, text),
        Some(Err(Failure::Refused(Refusal::Invalid(title)))) => answer::error(400, &title),
        Some(Err(Failure::Refused(Refusal::Missing(title)))) => answer::error(501, &title),
        Some(Err(Failure::Gone)) => answer::error(404, "The requested resource could not be found."),
        None if contract::endpoint(endpoint).is_some() => {
            answer::error(501, &format!("The simulator does not have {endpoint}."))
        }
        None => answer::error(404, "There is no such endpoint."),
    }
}

enum Failure {
    Refused(Refusal),
    Gone,
}

fn list(state: &State, resource: &str, body: &Value) -> Option<Result<String, Failure>> {
    let collection = state.store.read(resource)?;
    let query = ListQuery::parse(collection.recipe, collection.endpoint, body);
    let answer = query.map(|query| query.answer(&collection)).map_err(Failure::Refused);
    drop(collection);
    // After the page is made: the change shows in the pages that follow.
    if answer.is_ok()
        && let Some(kind) = state.paging.page_was_read(resource)
    {
        state.change(resource, kind, 1);
    }
    Some(answer)
}

fn info(state: &State, resource: &str, body: &Value) -> Option<Result<String, Failure>> {
    recipe(resource)?;
    let invalid = |title: &str| Some(Err(Failure::Refused(Refusal::Invalid(title.to_owned()))));
    let includes = match includes(body) {
        Ok(includes) => includes,
        Err(refusal) => return Some(Err(Failure::Refused(refusal))),
    };
    let Some(id) = body.get("id").and_then(Value::as_str) else {
        return invalid("id must be present.");
    };
    let Ok(id) = id.parse::<Uuid>() else {
        return invalid("id must be a UUID.");
    };
    let record = state.store.info(resource, id, &includes);
    Some(record.map(|record| format!("{{\"data\":{record}}}")).ok_or(Failure::Gone))
}

/// The body that query parameters stand for: `page[size]=100`, `filter[ids][]=…`, `sort[0][field]=name`.
fn from_query(query: &str) -> Value {
    let mut body = Value::Object(Map::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let mut place = &mut body;
        for key in name.split('[').map(|key| key.trim_end_matches(']')) {
            place = member(place, key);
        }
        *place = Value::String(value.into_owned());
    }
    with_arrays(body)
}

/// A member of an object, made if it is not there; an empty key is the next number.
fn member<'a>(place: &'a mut Value, key: &str) -> &'a mut Value {
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    let next = place.as_object().map_or(0, Map::len).to_string();
    &mut place[if key.is_empty() { next.as_str() } else { key }]
}

/// Turns objects whose keys are all numbers into arrays.
fn with_arrays(value: Value) -> Value {
    let Value::Object(members) = value else {
        return value;
    };
    let members: Vec<(String, Value)> = members.into_iter().map(|(key, value)| (key, with_arrays(value))).collect();
    let mut numbered: Vec<(usize, &Value)> =
        members.iter().filter_map(|(key, value)| Some((key.parse().ok()?, value))).collect();
    if numbered.is_empty() || numbered.len() < members.len() {
        return Value::Object(members.into_iter().collect());
    }
    numbered.sort_by_key(|(number, _)| *number);
    Value::Array(numbered.into_iter().map(|(_, value)| value.clone()).collect())
}
