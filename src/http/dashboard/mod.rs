//! The dashboard: pages that work without JavaScript; a little of it refreshes them.

mod audit;
mod budget;
mod forms;
pub(super) mod memory;
mod numbers;
mod overview;
mod page;
mod plots;
mod queue;
mod records;
mod resource;
mod run;
mod runs;
mod under_way;
mod webhooks;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};

use super::paths::{DASHBOARD, LOGIN};
use super::state::HttpState;
use crate::ids::RunId;
use crate::store::pool::{self, StoreError};
use crate::store::report::Which;
use crate::store::{outbox, progress, report, state, workers};
use overview::Shown;

pub(super) use page::{after_authorizing, no_database, problems_as_pages};

/// Runs that are shown.
const RUNS: i64 = 10;

/// Routes for callers with the token or a login.
pub(super) fn routes() -> Router<HttpState> {
    Router::new()
        .route(DASHBOARD, get(show))
        .route("/dashboard/runs", get(runs::show))
        .route("/dashboard/runs/{id}", get(run::show))
        .route("/dashboard/resources/{*name}", get(resource::show))
        .route("/dashboard/queue", get(queue::show).post(queue::act))
        .route("/dashboard/records", get(records::show))
        .route("/dashboard/sync", post(forms::sync))
        .route("/dashboard/again", post(forms::again))
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
        .route("/dashboard/idiomorph.js", file("text/javascript; charset=utf-8", include_str!("idiomorph.min.js")))
        .route("/dashboard/icon.svg", file("image/svg+xml", include_str!("icon.svg")))
}

async fn show(State(state): State<HttpState>, headers: HeaderMap) -> Response {
    let form_token = state.guard.form_token(&headers);
    match pool::promptly(&state.pool, look(&state)).await {
        Ok(shown) => page::answer(StatusCode::OK, overview::overview(&state, &shown, &form_token)),
        Err(error) => page::no_database(&state, &error, true),
    }
}

async fn look(state: &HttpState) -> Result<Shown, StoreError> {
    let account = state.names.account();
    let authorization = state.tokens.authorization().await?;
    let runs = report::run_summaries(&state.pool, account, &Which::default(), RUNS).await?;
    let mut running = Vec::new();
    for row in runs.iter().filter(|row| row.status == "running") {
        let run = (RunId(row.request_id), &row.request, row.api_requests);
        running.extend(under_way::look(state, run).await?);
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
        tables: state.tables().await?,
        shortfalls: report::shortfalls(&state.pool, account).await?,
        budget: state.memory.budget(),
        running,
        runs,
        days: report::days(&state.pool, account, None, plots::LOOKED_BACK).await?,
        workers: workers::all(&state.pool, account).await?,
        webhooks: report::webhooks(&state.pool, account).await?,
        audit: report::audit(&state.pool, account).await?,
    })
}
