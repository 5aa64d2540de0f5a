//! The dashboard: pages that work without JavaScript; a little of it refreshes them.

mod budget;
mod forms;
pub(super) mod memory;
mod numbers;
mod overview;
mod page;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use uuid::Uuid;

use super::paths::{DASHBOARD, LOGIN};
use super::state::HttpState;
use crate::ids::RunId;
use crate::messages::Parameters;
use crate::store::pool::{self, StoreError};
use crate::store::{outbox, progress, report, runs, state};
use crate::sync::forecast;
use overview::{Running, Shown};

pub(super) use page::{after_authorizing, no_database};

/// Runs that are shown.
const RUNS: i64 = 10;

/// Routes for callers with the token or a login.
pub(super) fn routes() -> Router<HttpState> {
    Router::new()
        .route(DASHBOARD, get(show))
        .route("/dashboard/sync", post(forms::sync))
        .route("/dashboard/cancel", post(forms::cancel))
        .route("/dashboard/logout", post(forms::log_out))
}

/// Routes for anyone.
pub(super) fn login_routes() -> Router<HttpState> {
    let file = |content_type: &'static str, text: &'static str| {
        get(async move || ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "max-age=300")], text))
    };
    Router::new()
        .route(LOGIN, get(forms::ask_to_log_in).post(forms::log_in))
        .route("/dashboard/style.css", file("text/css; charset=utf-8", include_str!("style.css")))
        .route("/dashboard/script.js", file("text/javascript; charset=utf-8", include_str!("script.js")))
        .route("/dashboard/icon.svg", file("image/svg+xml", include_str!("icon.svg")))
}

/// The query string of the dashboard, with the request that its form has just made.
#[derive(Default, Deserialize)]
struct Said {
    #[serde(default)]
    asked: Option<Uuid>,
}

async fn show(
    State(state): State<HttpState>,
    headers: HeaderMap,
    said: Result<Query<Said>, QueryRejection>,
) -> Response {
    let asked = said.ok().and_then(|Query(said)| said.asked);
    let form_token = state.guard.form_token(&headers);
    match pool::promptly(&state.pool, look(&state)).await {
        Ok(shown) => page::answer(StatusCode::OK, overview::dashboard(&state, &shown, &form_token, asked)),
        Err(error) => page::no_database(&state, &error, true),
    }
}

async fn look(state: &HttpState) -> Result<Shown, StoreError> {
    let account = state.names.account();
    let authorization = state.tokens.authorization().await?;
    let runs = report::runs(&state.pool, account, None, RUNS).await?;
    let mut running = Vec::new();
    for row in runs.iter().filter(|row| row.status == "running") {
        let parameters: Parameters = serde_json::from_value(row.request.clone()).unwrap_or_default();
        let mut connection = state.pool.acquire().await?;
        let steps = match runs::load_steps(&mut connection, account, RunId(row.request_id)).await {
            // Of another version: the worker says so.
            Err(StoreError::Corrupt(_) | StoreError::NewerRun(_)) => continue,
            steps => steps?,
        };
        let to_come = forecast::requests_to_come(&steps, &parameters);
        let forecast = forecast::of_requests(row.api_requests, to_come, &state.client);
        running.push(Running { id: row.request_id, mode: parameters.mode, made: row.api_requests, forecast });
    }
    Ok(Shown {
        state: state::of(&state.pool, account).await?.with_consumer(state.has_consumer().await),
        queue: match state.queue.depths().await {
            Some(depths) => Some(depths.state(report::usual_requests(&state.pool, account).await?)),
            None => None,
        },
        held: progress::held_deletions(&state.pool, account).await?,
        authorization,
        consuming: state.consuming.is_active(),
        unsent: outbox::count_pending(&state.pool, account).await?,
        tables: state.memory.tables(&state.pool, account).await?,
        shortfalls: report::shortfalls(&state.pool, account).await?,
        budget: state.memory.budget(),
        running,
        runs,
    })
}
