//! Requests for a sync, with the keys of a message.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::names::{ModeName, ResourceNames};
use crate::broker::link::{self, AmqpError, Refusal};
use crate::broker::request_publisher::{self, OutgoingRequest};
use crate::http::paths::run_path;
use crate::http::problem::{Guarded, Problem, ProblemDetails};
use crate::http::state::HttpState;
use crate::ids::{RunId, TraceParent};
use crate::messages::{MAX_REQUEST_BYTES, Mode, Parameters, Request, SyncRequest, from_object, resource_names};
use crate::store::{pool, report};

/// What to sync: the keys of a request message, and `full_sync`, as callers of the Python service send it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::http) struct Body {
    /// The request's id. A caller that repeats a request with the same id gets one run. Without it, a new one.
    request_id: Option<Uuid>,
    /// `true` is `mode` `full`, `false` is `mode` `incremental`.
    full_sync: Option<bool>,
    #[schema(value_type = Option<ModeName>, inline)]
    mode: Option<Mode>,
    #[serde(deserialize_with = "resource_names")]
    #[schema(value_type = Option<ResourceNames>)]
    resources: Option<Vec<String>>,
    /// Fetches every detail again. Not with an audit, which does so anyway.
    refetch: bool,
    /// Marks deletions that would be held as too many. Only with a full sync, or with an audit that repairs everything.
    allow_deletions: bool,
    /// Corrects what an audit finds. Only with an audit.
    repair: bool,
    /// How many records of each resource an audit compares, chosen at random; without it all. Only with an audit.
    #[schema(minimum = 1)]
    sample: Option<u32>,
    /// Exactly these records of the one resource that is named, 1 to 1,000. Only with an incremental sync.
    #[schema(min_items = 1, max_items = 1000)]
    ids: Option<Vec<Uuid>>,
}

/// The query string, as callers of the Python service send it.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct Asked {
    /// `true`: a full sync, whatever `full_sync` of the body says.
    full_sync: Option<bool>,
}

/// A request that is in the queue.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Accepted {
    /// Its id: `/sync/runs/{id}` shows the run once a worker has started it.
    pub(super) request_id: Uuid,
}

/// Requests a sync, or an audit: a message goes into the account's queue.
///
/// An empty body requests an incremental sync of everything. A caller that may have to try again sends a `request_id`:
/// the same request with the same id is the same run.
#[utoipa::path(post, path = "/sync/teamleader", tag = "sync", security(("token" = [])),
    params(Asked),
    request_body = Option<Body>,
    responses(
        (
            status = 202,
            description = "The request is in the queue",
            body = Accepted,
            headers(("Location" = String, description = "Where the run is, once a worker has started it")),
        ),
        (
            status = 400,
            description = "The address or the body is not as it should be",
            body = ProblemDetails,
            content_type = "application/problem+json",
        ),
        (
            status = 409,
            description = "The id belongs to a run that was requested with other keys",
            body = ProblemDetails,
            content_type = "application/problem+json",
        ),
        (
            status = 413,
            description = "The body is too long",
            body = ProblemDetails,
            content_type = "application/problem+json",
        ),
        Guarded,
    ))]
pub(in crate::http) async fn request(
    State(state): State<HttpState>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Accepted>), Problem> {
    let body = body.map_err(|error| {
        let bound = format!("{}: at most {MAX_REQUEST_BYTES} bytes are taken", error.body_text());
        Problem::new(error.status(), bound)
    })?;
    let body: Body = match body.trim_ascii() {
        b"" | b"null" => Body::default(),
        body => from_object(body).map_err(|error| invalid(&error.to_string()))?,
    };
    let Query(asked) = asked.map_err(|rejection| {
        let how = "the address takes only full_sync=true or full_sync=false";
        Problem::new(StatusCode::BAD_REQUEST, format!("{}; {how}", rejection.body_text()))
    })?;
    let request = body.into_request(asked.full_sync.unwrap_or(false)).map_err(|why| invalid(&why))?;
    // One that cannot be read counts as none, as the specification of Trace Context requires.
    let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok()?.parse().ok());
    let id = request_sync(&state, request, traceparent).await.map_err(|problem| match problem {
        Rejected::Invalid(reason) => invalid(&reason),
        Rejected::Problem(problem) => problem,
    })?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, run_path(id))], Json(Accepted { request_id: id })))
}

/// A body that cannot be taken, and which can.
fn invalid(why: &str) -> Problem {
    let shape = "the body is empty or a JSON object with the optional keys full_sync or mode, request_id, resources, \
                 refetch, allow_deletions, for audits repair and sample, and ids with one resource";
    Problem::new(StatusCode::BAD_REQUEST, format!("{why}; {shape}"))
}

impl Body {
    /// The request, unless two of its keys contradict each other. `full`: the query string asks for a full sync.
    fn into_request(self, full: bool) -> Result<SyncRequest, String> {
        let full_sync = if full { Some(true) } else { self.full_sync };
        let of_full_sync = full_sync.map(|full| if full { Mode::Full } else { Mode::Incremental });
        let mode = match (of_full_sync, self.mode) {
            (Some(one), Some(other)) if one != other => {
                let (full_sync, mode) = (one == Mode::Full, other.as_str());
                return Err(format!("full_sync {full_sync} and mode {mode} contradict each other: leave one out"));
            }
            (one, other) => one.or(other).unwrap_or_default(),
        };
        let marks = Parameters { mode, repair: self.repair, sample: self.sample, ..Parameters::default() };
        if self.allow_deletions && !marks.marks_deletions() && self.ids.is_none() {
            return Err(
                "allow_deletions goes with a full sync, with ids, or with an audit with repair and without sample, \
                        since nothing else marks deletions; leave it out"
                    .to_owned(),
            );
        }
        Ok(SyncRequest {
            request_id: self.request_id,
            resources: self.resources,
            mode,
            refetch: self.refetch,
            allow_deletions: self.allow_deletions,
            repair: self.repair,
            sample: self.sample,
            ids: self.ids,
        })
    }
}

/// Why no sync was requested.
pub(in crate::http) enum Rejected {
    /// The worker would reject it.
    Invalid(String),
    /// It cannot be sent.
    Problem(Problem),
}

/// Publishes a request, and returns its id.
pub(in crate::http) async fn request_sync(
    state: &HttpState,
    request: SyncRequest,
    traceparent: Option<TraceParent>,
) -> Result<Uuid, Rejected> {
    let known = request.request_id;
    let outgoing = OutgoingRequest::new(request, traceparent);
    // A request that the worker would reject is rejected here.
    let parsed = Request::parse(&outgoing.body(), None).map_err(|bad| Rejected::Invalid(bad.reason))?;
    if let Some(id) = known {
        check_id(state, id, &parsed.parameters).await?;
    }
    let published = match request_publisher::publish(&state.publisher, &state.names, &outgoing).await {
        Err(error) if has_no_way(&error) => {
            request_publisher::send(state.queue.url(), &state.names, state.declare, &outgoing).await
        }
        published => published,
    };
    published.map_err(|error| Rejected::Problem(error.into()))?;
    Ok(outgoing.id)
}

/// Whether no queue has got a request, as there was no exchange, or none is bound to it: the worker is about to make
/// them, or somebody has taken them away.
fn has_no_way(error: &AmqpError) -> bool {
    match error {
        AmqpError::Unroutable(_) => true,
        AmqpError::Broker(error) => link::refusal(error) == Some(Refusal::Missing),
        _ => false,
    }
}

/// Refuses an id whose run was requested with other keys. Where the database does not say, the worker decides.
async fn check_id(state: &HttpState, id: Uuid, wanted: &Parameters) -> Result<(), Rejected> {
    let found = report::runs(&state.pool, state.names.account(), Some(RunId(id)), 1);
    let Ok(runs) = pool::promptly(&state.pool, found).await else { return Ok(()) };
    let Some(run) = runs.first() else { return Ok(()) };
    // Null: it was cancelled before a worker knew it, and stays that, whatever it asks for.
    let is_same = |known: Parameters| known == *wanted;
    if run.request.is_null() || serde_json::from_value(run.request.clone()).is_ok_and(is_same) {
        return Ok(());
    }
    let why = format!("the run {id} was requested with other keys: send this with a new request_id");
    Err(Rejected::Problem(Problem::new(StatusCode::CONFLICT, why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &str, full: bool) -> Result<SyncRequest, String> {
        from_object::<Body>(body.as_bytes()).map_err(|error| error.to_string())?.into_request(full)
    }

    #[test]
    fn keys_that_contradict_each_other_are_refused() {
        for (body, full, mode) in [
            ("{}", false, Mode::Incremental),
            ("{}", true, Mode::Full),
            (r#"{"full_sync":false}"#, true, Mode::Full),
            (r#"{"full_sync":true,"mode":"full"}"#, false, Mode::Full),
            (r#"{"mode":"audit","repair":true,"allow_deletions":true}"#, false, Mode::Audit),
            (r#"{"mode":"full","allow_deletions":true}"#, true, Mode::Full),
        ] {
            assert_eq!(request(body, full).map(|request| request.mode), Ok(mode), "{body}");
        }
        for (body, full, said) in [
            (r#"{"full_sync":true,"mode":"audit"}"#, false, "full_sync true and mode audit contradict"),
            (r#"{"full_sync":false,"mode":"full"}"#, false, "full_sync false and mode full contradict"),
            (r#"{"mode":"incremental"}"#, true, "full_sync true and mode incremental contradict"),
            (r#"{"allow_deletions":true}"#, false, "allow_deletions goes with a full sync"),
            (r#"{"mode":"audit","repair":true,"sample":5,"allow_deletions":true}"#, false, "without sample"),
        ] {
            let why = request(body, full).expect_err(body);
            assert!(why.contains(said), "{body}: {why}");
        }
    }
}
