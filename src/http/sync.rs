//! Asking for a sync over HTTP, and looking at runs. A sync is asked for by a message, as everyone else does.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::problem::Problem;
use super::state::HttpState;
use crate::ids::RunId;
use crate::message::{Mode, SyncRequest, from_object};
use crate::store::report;

/// How many runs the status lists.
const RUNS: i64 = 20;

/// The body of `POST /sync/teamleader`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Body {
    full_sync: bool,
}

/// Publishes a request: 202 with its id. An empty body asks for an incremental sync.
pub(super) async fn request(State(state): State<HttpState>, body: Bytes) -> Result<(StatusCode, Json<Value>), Problem> {
    let body: Body = if body.is_empty() {
        Body::default()
    } else {
        from_object(&body).map_err(|error| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                format!("{error}; the body is {{\"full_sync\": true}} or {{\"full_sync\": false}}"),
            )
        })?
    };
    let id = Uuid::new_v4();
    let mode = if body.full_sync { Mode::Full } else { Mode::Incremental };
    let request = SyncRequest { request_id: Some(id), mode, ..SyncRequest::default() };
    crate::submit::publish(&state.publisher, &state.names, &request, id).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "request_id": id }))))
}

/// The tables and the newest runs.
pub(super) async fn status(State(state): State<HttpState>) -> Result<Json<Value>, Problem> {
    let account = state.names.account();
    let authorization = state.tokens.authorization().await?;
    Ok(Json(json!({
        "account": account,
        "authorized": authorization.authorized,
        "authorized_by": authorization.authorized_by,
        "reason": authorization.reason,
        "resources": report::tables(&state.pool, account).await?,
        "runs": report::runs(&state.pool, account, None, RUNS).await?,
    })))
}

/// One run.
pub(super) async fn run(State(state): State<HttpState>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let id: Uuid = id.parse().map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "a run's id is a UUID"))?;
    let mut runs = report::runs(&state.pool, state.names.account(), Some(RunId(id)), 1).await?;
    match runs.pop() {
        Some(run) => Ok(Json(json!(run))),
        None => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "no run has this id; a request that still waits in the queue has none yet",
        )),
    }
}
