//! The routes, who may call them, and the server.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::ExposeSecret;
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::problem::Problem;
use super::state::HttpState;
use super::{health, oauth, sync};
use crate::message::MAX_REQUEST_BYTES;

/// An answer takes at most this long; the callback asks Teamleader twice.
const TIMEOUT: Duration = Duration::from_secs(40);

/// Serves until stopped.
pub async fn serve(listener: TcpListener, state: HttpState, stop: CancellationToken) {
    let served = axum::serve(listener, router(state)).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        error!(%error, "The HTTP server ended");
    }
}

fn router(state: HttpState) -> Router {
    let guarded = Router::new()
        .route("/", get(index))
        .route("/sync/teamleader", post(sync::request).get(sync::status))
        .route("/sync/runs/{id}", get(sync::run))
        .route_layer(middleware::from_fn_with_state(state.clone(), require_token));
    let open = Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(metrics))
        .route("/sync/authorize", get(oauth::authorize))
        .route("/sync/oauth", get(oauth::callback));
    guarded
        .merge(open)
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is nothing here; / lists what there is") })
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .layer(middleware::from_fn(bound_time))
        .with_state(state)
}

async fn index() -> Json<serde_json::Value> {
    Json(json!({
        "name": "teamleader2db",
        "version": env!("CARGO_PKG_VERSION"),
        "endpoints": [
            "GET /", "GET /sync/authorize", "GET /sync/oauth", "POST /sync/teamleader", "GET /sync/teamleader",
            "GET /sync/runs/{id}", "GET /health/live", "GET /health/ready", "GET /metrics",
        ],
    }))
}

async fn metrics(State(state): State<HttpState>) -> Response {
    let text = state.metrics.as_ref().map(PrometheusHandle::render).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn bound_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, "it took too long").into_response(),
    }
}

async fn require_token(State(state): State<HttpState>, request: Request, next: Next) -> Response {
    let Some(expected) = &state.api_token else {
        return next.run(request).await;
    };
    let sent = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = sent.and_then(|value| value.strip_prefix("Bearer "));
    if token.is_some_and(|token| token.as_bytes().ct_eq(expected.expose_secret().as_bytes()).into()) {
        return next.run(request).await;
    }
    let problem =
        Problem::new(StatusCode::UNAUTHORIZED, "send the header `Authorization: Bearer …` with HTTP_API_TOKEN");
    ([(header::WWW_AUTHENTICATE, "Bearer")], problem).into_response()
}
