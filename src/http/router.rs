//! The routes, who may call them, and the server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::docs::{self, Description};
use super::guard::{keep_out_other_sites, require_token};
use super::problem::Problem;
use super::server::{self, Limits};
use super::state::HttpState;
use super::{dashboard, health, oauth, sync};

/// An answer takes at most this long; the callback asks Teamleader twice.
const TIMEOUT: Duration = Duration::from_secs(40);

/// A process that starts is waited for so long.
const DATABASE_PATIENCE: Duration = Duration::from_secs(15);

/// Serves until stopped, and until each request under way is answered. An error means that the listener cannot be used
/// any more.
pub async fn serve(listener: TcpListener, state: HttpState, stop: CancellationToken) -> io::Result<()> {
    server::serve(listener, router(state), Limits::of_process(), stop).await
}

fn router(state: HttpState) -> Router {
    let (guarded, described) = OpenApiRouter::new()
        .routes(routes!(sync::request, sync::status))
        .routes(routes!(sync::run))
        .routes(routes!(oauth::authorize))
        .split_for_parts();
    let (open, mut description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(metrics))
        .routes(routes!(oauth::callback))
        .split_for_parts();
    description.merge(described);
    let description = Arc::new(description);
    docs::FILES
        .iter()
        .fold(guarded, |router, file| router.route(file, get(docs::swagger_ui)))
        .route("/openapi.json", get(move || docs::openapi(description.clone())))
        .merge(dashboard::routes())
        .route_layer(middleware::from_fn_with_state(state.clone(), require_token))
        .merge(dashboard::login_routes())
        .merge(open)
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is nothing here; / shows what there is") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the method is not one of this path's")
        })
        .layer(middleware::from_fn_with_state(state.clone(), wait_for_database))
        .layer(middleware::from_fn_with_state(state.clone(), keep_out_other_sites))
        .layer(middleware::from_fn(bound_time))
        .with_state(state)
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "Metrics in Prometheus' text format", body = String, content_type = "text/plain"),
))]
async fn metrics(State(state): State<HttpState>) -> Response {
    let text = state.metrics.as_ref().map(PrometheusHandle::render).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// A process that has just started answers once its database is up to date, so that its callers need not try again. Health and metrics
/// answer at once.
async fn wait_for_database(State(state): State<HttpState>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if !path.starts_with("/health/") && path != "/metrics" {
        let prepared = state.prepared.cancelled();
        if tokio::time::timeout(DATABASE_PATIENCE, prepared).await.is_err() {
            let why = "the database is not ready yet: see the worker's log";
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response();
        }
    }
    next.run(request).await
}

async fn bound_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, "it took too long").into_response(),
    }
}
