//! The endpoints of the API itself.

use bytes::Bytes;
use hyper::Response;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::answer;
use crate::contract::{self, Endpoint};
use crate::filter::{Filter, ParentAsked};
use crate::generate::{Asked, family};
use crate::query::{ListQuery, includes};
use crate::refusal::Refusal;
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
    let result = match endpoint {
        "users.me" => Some(Ok(format!("{{\"data\":{}}}", state.store.me()))),
        // Not in the blueprint.
        "accounts.projects-v2-status" => {
            let status = if state.has_projects_v2() { "projects-v2" } else { "legacy" };
            Some(Ok(format!("{{\"data\":{{\"status\":\"{status}\"}}}}")))
        }
        _ => match endpoint.strip_suffix(".info") {
            Some(resource) => info(state, resource, &body),
            None => contract::resource_of(endpoint)
                .filter(|resource| contract::list_endpoint(resource) == Some(endpoint))
                .and_then(|resource| list(state, resource, &body)),
        },
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

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn list(state: &State, resource: &str, body: &Value) -> Option<Result<String, Failure>> {
    let endpoint = contract::endpoint(contract::list_endpoint(resource)?)?;
    let answer = page(state, resource, endpoint, body);
    // After the page is made: the change shows in the pages that follow.
    if answer.is_ok()
        && let Some(kind) = state.paging.page_was_read(resource)
    {
        state.change(resource, kind, 1);
    }
    Some(answer)
}

fn page(state: &State, resource: &str, endpoint: &Endpoint, body: &Value) -> Result<String, Failure> {
    let family = family(resource);
    // The lock of the parents is let go before that of the children is taken.
    let parent = match ParentAsked::parse(family, endpoint, body)? {
        ParentAsked::Any => None,
        ParentAsked::Barren => Some(None),
        ParentAsked::Of(parents, id) => Some(state.store.parent(parents, id)),
    };
    if parent == Some(None) && family.is_some_and(|family| family.asked != Asked::Subject) {
        return Err(Failure::Gone);
    }
    let collection = state.store.read(resource).ok_or(Failure::Gone)?;
    let mut filter = Filter::parse(collection.recipe, endpoint, family, body)?;
    if let Some(parent) = parent {
        filter = filter.belonging_to(parent);
    }
    let query = ListQuery::parse(endpoint, filter, endpoint.paged || state.is_paged(resource), body)?;
    Ok(query.answer(&collection))
}

fn info(state: &State, resource: &str, body: &Value) -> Option<Result<String, Failure>> {
    let endpoint = contract::info_endpoint(resource)?;
    Some(record(state, resource, endpoint, body))
}

fn record(state: &State, resource: &str, endpoint: &Endpoint, body: &Value) -> Result<String, Failure> {
    let includes = includes(body)?;
    let invalid = |title: &str| Refusal::Invalid(title.to_owned());
    let id = body.get("id").and_then(Value::as_str).ok_or_else(|| invalid("id must be present."))?;
    let id = id.parse::<Uuid>().map_err(|_| invalid("id must be a UUID."))?;
    let record = state.store.info(resource, id, &includes).ok_or(Failure::Gone)?;
    let updatable = endpoint.meta.contains_key("updatable");
    Ok(match (endpoint.unwrapped, updatable) {
        (true, _) => record,
        (false, true) => format!("{{\"data\":{record},\"meta\":{{\"updatable\":true}}}}"),
        (false, false) => format!("{{\"data\":{record}}}"),
    })
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
