//! Requests for a sync over HTTP, and the status of runs. A request becomes a message, like those of all other senders.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::openapi::{ArrayBuilder, ObjectBuilder, OneOfBuilder, RefOr, Schema, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use uuid::Uuid;

use super::problem::{Guarded, Problem, ProblemDetails};
use super::state::HttpState;
use crate::broker::request_publisher::{self, OutgoingRequest};
use crate::catalog;
use crate::ids::{RunId, TraceParent};
use crate::messages::{
    AccountState, MAX_REQUEST_BYTES, Mode, QueueState, Request, RunStatus, SyncRequest, from_object, resource_names,
};
use crate::store::pool::{self, StoreError};
use crate::store::report::{self, RunStatusRow, TableStatus};
use crate::store::runs::cancel::{self, Asked};
use crate::store::state;

/// How many runs the status lists.
const RUNS: i64 = 20;

/// What to sync.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Body {
    /// A complete pass with deletion detection, instead of what changed.
    full_sync: bool,
    #[serde(deserialize_with = "resource_names")]
    #[schema(value_type = Option<ResourceNames>)]
    resources: Option<Vec<String>>,
}

/// The query string, as callers of the Python service send it.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// The same as in the body: a complete pass, if either says so.
    full_sync: Option<bool>,
}

/// Resources by their names, for the description.
struct ResourceNames;

impl PartialSchema for ResourceNames {
    fn schema() -> RefOr<Schema> {
        let name = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(catalog::spellings()));
        let names = ArrayBuilder::new().items(name).min_items(Some(1));
        let all = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([catalog::ALL]));
        let described = "The resources, or `all`: those that take no call for each parent record. Without it, all that \
                         the worker is configured for.";
        OneOfBuilder::new().item(names).item(all).description(Some(described)).into()
    }
}

impl ToSchema for ResourceNames {}

/// A request that is in the queue.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Accepted {
    /// Its id: `/sync/runs/{id}` shows the run once a worker has started it.
    request_id: Uuid,
}

/// The account, its tables and its newest runs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// The account.
    account: String,
    /// Whether a worker may run.
    authorized: bool,
    /// Who authorized.
    authorized_by: Option<String>,
    /// Why it is not authorized.
    reason: Option<String>,
    /// What it is doing, or waits for.
    state: AccountState,
    /// What waits in its queues; null: the broker could not be asked.
    queue: Option<QueueState>,
    /// Each resource's table.
    resources: Vec<TableStatus>,
    /// The newest runs, the newest first.
    runs: Vec<RunStatusRow>,
}

/// Requests a sync: a message goes into the account's queue. An empty body requests an incremental sync of everything.
#[utoipa::path(post, path = "/sync/teamleader", tag = "sync", security(("token" = [])),
    params(Parameters),
    request_body = Option<Body>,
    responses(
        (status = 202, description = "The request is in the queue", body = Accepted),
        (
            status = 400,
            description = "The address or the body is not as it should be",
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
pub(super) async fn request(
    State(state): State<HttpState>,
    headers: HeaderMap,
    asked: Result<Query<Parameters>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let body = body.map_err(|error| {
        let bound = format!("{}: at most {MAX_REQUEST_BYTES} bytes are taken", error.body_text());
        Problem::new(error.status(), bound)
    })?;
    let rejected = |error: String| {
        let shape = "the body is {\"full_sync\": true} or {\"full_sync\": false}, \
                     and \"resources\" may name some: [\"contacts\"]";
        Problem::new(StatusCode::BAD_REQUEST, format!("{error}; {shape}"))
    };
    let body: Body = match body.trim_ascii() {
        b"" | b"null" => Body::default(),
        body => from_object(body).map_err(|error| rejected(error.to_string()))?,
    };
    let Query(asked) = asked.map_err(|rejection| {
        let how = "the address takes only full_sync=true or full_sync=false";
        Problem::new(StatusCode::BAD_REQUEST, format!("{}; {how}", rejection.body_text()))
    })?;
    let full_sync = asked.full_sync.unwrap_or(false) || body.full_sync;
    let mode = if full_sync { Mode::Full } else { Mode::Incremental };
    // One that cannot be read counts as none, as the specification of Trace Context requires.
    let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok()?.parse().ok());
    let id = request_sync(&state, mode, body.resources, traceparent).await.map_err(|problem| match problem {
        Rejected::Invalid(reason) => rejected(reason),
        Rejected::Problem(problem) => problem,
    })?;
    Ok((StatusCode::ACCEPTED, Json(Accepted { request_id: id })))
}

/// Why no sync was requested.
pub(super) enum Rejected {
    /// The worker would reject it.
    Invalid(String),
    /// It cannot be sent.
    Problem(Problem),
}

/// Publishes a request, and returns its id.
pub(super) async fn request_sync(
    state: &HttpState,
    mode: Mode,
    resources: Option<Vec<String>>,
    traceparent: Option<TraceParent>,
) -> Result<Uuid, Rejected> {
    let outgoing = OutgoingRequest::new(SyncRequest { mode, resources, ..SyncRequest::default() }, traceparent);
    // A request that the worker would reject is rejected here.
    Request::parse(&outgoing.body(), None).map_err(|bad| Rejected::Invalid(bad.reason))?;
    let published = request_publisher::publish(&state.publisher, &state.names, &outgoing).await;
    published.map_err(|error| Rejected::Problem(error.into()))?;
    Ok(outgoing.id)
}

/// The tables and the newest runs.
#[utoipa::path(get, path = "/sync/teamleader", tag = "sync", security(("token" = [])), responses(
    (status = 200, description = "The account as it is", body = Status),
    Guarded,
))]
pub(super) async fn status(State(state): State<HttpState>) -> Result<Json<Status>, Problem> {
    let account = state.names.account();
    let (has_consumer, depths) = (state.has_consumer().await, state.queue.depths().await);
    let looked = async {
        let authorization = state.tokens.authorization().await?;
        let usual = report::usual_requests(&state.pool, account).await?;
        Ok(Status {
            account: account.to_string(),
            authorized: authorization.authorized,
            authorized_by: authorization.authorized_by,
            reason: authorization.reason,
            state: state::of(&state.pool, account).await?.with_consumer(has_consumer),
            queue: depths.map(|depths| depths.state(usual)),
            resources: report::tables(&state.pool, account).await?,
            runs: report::runs(&state.pool, account, None, RUNS).await?,
        })
    };
    Ok(Json(pool::promptly(&state.pool, looked).await?))
}

/// One run.
#[utoipa::path(get, path = "/sync/runs/{id}", tag = "sync", security(("token" = [])),
    params(("id" = Uuid, Path, description = "The request's id")),
    responses(
        (status = 200, description = "The run", body = RunStatusRow),
        (
            status = 400,
            description = "The id is no UUID",
            body = ProblemDetails,
            content_type = "application/problem+json",
        ),
        (
            status = 404,
            description = "No run has this id",
            body = ProblemDetails,
            content_type = "application/problem+json",
        ),
        Guarded,
    ))]
pub(super) async fn run(
    State(state): State<HttpState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<RunStatusRow>, Problem> {
    let id = run_id(id)?;
    let found = report::runs(&state.pool, state.names.account(), Some(RunId(id)), 1);
    let mut runs = pool::promptly(&state.pool, found).await?;
    match runs.pop() {
        Some(run) => Ok(Json(run)),
        None => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "no run has this id; a request that still waits in the queue has none yet",
        )),
    }
}

/// Ends a run that goes on, or a request that waits in the queue, within 5 s: its event says `cancelled`. Rows that it
/// has written stay.
#[utoipa::path(post, path = "/sync/runs/{id}/cancel", tag = "sync", security(("token" = [])),
    params(("id" = Uuid, Path, description = "The request's id")),
    responses(
        (status = 202, description = "It ends, or has been cancelled before", body = Accepted),
        (
            status = 400,
            description = "The id is no UUID",
            body = ProblemDetails,
            content_type = "application/problem+json",
        ),
        (
            status = 409,
            description = "The run has ended already, and not as cancelled",
            body = ProblemDetails,
            content_type = "application/problem+json",
        ),
        Guarded,
    ))]
pub(super) async fn cancel(
    State(state): State<HttpState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let id = RunId(run_id(id)?);
    match cancel_run(&state, id).await? {
        RunStatus::Cancelled | RunStatus::Running => Ok((StatusCode::ACCEPTED, Json(Accepted { request_id: id.0 }))),
        ended => Err(Problem::new(
            StatusCode::CONFLICT,
            format!("the run has ended already, as {}: nothing was cancelled", ended.as_str()),
        )),
    }
}

/// Asks a run to end. Returns how it has ended, or that it is running: its worker ends it, or another process.
pub(super) async fn cancel_run(state: &HttpState, id: RunId) -> Result<RunStatus, StoreError> {
    let asked = pool::promptly(&state.pool, cancel::ask(&state.pool, state.names.account(), id)).await?;
    Ok(match asked {
        Asked::IsRunning => RunStatus::Running,
        Asked::HasEnded(status) => status,
        Asked::WasUnknown => RunStatus::Cancelled,
    })
}

fn run_id(id: Result<Path<String>, PathRejection>) -> Result<Uuid, Problem> {
    let id: Option<Uuid> = id.ok().and_then(|Path(id)| id.parse().ok());
    id.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "a run's id is a UUID"))
}
