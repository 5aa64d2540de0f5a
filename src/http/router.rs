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
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::docs::{self, Description};
use super::guard::{reject_other_sites, require_token};
use super::problem::Problem;
use super::server::{self, Limits};
use super::state::HttpState;
use super::{dashboard, health, oauth, sync, webhooks};
use crate::process::{measures, telemetry};
use crate::store::pool::MAX_CONNECTIONS;

/// An answer takes at most this long; the callback asks Teamleader twice.
const TIMEOUT: Duration = Duration::from_secs(40);

/// How long a request waits for a process that starts.
const DATABASE_PATIENCE: Duration = Duration::from_secs(15);

/// The most requests that wait for a process that starts; their senders are not checked yet.
const MOST_WAITING: usize = 16;

/// Serves until stopped, and until each request in progress is answered. An error means that the listener cannot be
/// used any more.
pub async fn serve(listener: TcpListener, state: HttpState, stop: CancellationToken) -> io::Result<()> {
    let limits = Limits::of_process();
    server::serve(listener, router(state, limits.connections), limits, stop).await
}

/// All routes. Those that may wait for something have a bound on how many run at a time, and all bounds together leave
/// connections for those that never wait.
fn router(state: HttpState, connections: usize) -> Router {
    let (guarded, described) = OpenApiRouter::new()
        .routes(routes!(sync::request::request, sync::status::status))
        .routes(routes!(sync::runs::list))
        .routes(routes!(sync::runs::run))
        .routes(routes!(sync::runs::cancel))
        .routes(routes!(oauth::authorize))
        .split_for_parts();
    let (open, mut description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(health::live))
        .routes(routes!(metrics))
        .split_for_parts();
    let (ready, ready_described) = OpenApiRouter::new().routes(routes!(health::ready)).split_for_parts();
    let (callback, callback_described) = OpenApiRouter::new().routes(routes!(oauth::callback)).split_for_parts();
    [described, ready_described, callback_described].into_iter().for_each(|described| description.merge(described));
    let description = Arc::new(docs::with_examples(&description));
    let waiting = Waiting { prepared: state.prepared.clone(), room: room(MOST_WAITING.min(connections / 8)) };
    docs::FILES
        .iter()
        .fold(guarded, |router, file| router.route(file, get(docs::swagger_ui)))
        .route("/openapi.json", get(move || docs::openapi(description.clone())))
        .merge(dashboard::routes())
        .route_layer(middleware::from_fn_with_state(state.clone(), require_token))
        .merge(dashboard::login_routes())
        .route_layer(middleware::from_fn_with_state(room(connections / 4), bound_work))
        .merge(callback)
        .route_layer(middleware::from_fn_with_state(waiting, wait_for_database))
        .merge(ready.route_layer(middleware::from_fn_with_state(room(connections / 8), bound_work)))
        .merge(open)
        .fallback(|| async { Problem::nothing_here() })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the method is not one of this path's")
        })
        .layer(middleware::from_fn(bound_time))
        .layer(middleware::from_fn_with_state(state.clone(), dashboard::problems_as_pages))
        // Outside of that: another site is shown no page.
        .layer(middleware::from_fn_with_state(state.clone(), reject_other_sites))
        // Calls name the host of the proxy that they come through. Their secret is what lets them in.
        .merge(webhooks::routes().route_layer(middleware::from_fn_with_state(room(connections / 4), bound_work)))
        .with_state(state)
}

/// Room for this many requests at a time.
fn room(requests: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(requests))
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "Metrics in Prometheus' text format", body = String, content_type = "text/plain"),
))]
async fn metrics(State(state): State<HttpState>) -> Response {
    measures::read();
    telemetry::database_connections(state.pool.size(), state.pool.num_idle(), MAX_CONNECTIONS);
    let text = state.metrics.as_ref().map(PrometheusHandle::render).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// The bound on requests that wait for a process that starts.
#[derive(Clone)]
struct Waiting {
    /// Cancelled once the database is up to date.
    prepared: CancellationToken,
    room: Arc<Semaphore>,
}

/// A process that has just started answers once its database is up to date, so that its callers need not try again.
async fn wait_for_database(State(waiting): State<Waiting>, request: Request, next: Next) -> Response {
    let not_ready = |why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    if !waiting.prepared.is_cancelled() {
        let Ok(_place) = waiting.room.try_acquire() else {
            return not_ready("the database is not ready yet, and enough requests wait for it: try again");
        };
        if tokio::time::timeout(DATABASE_PATIENCE, waiting.prepared.cancelled()).await.is_err() {
            return not_ready("the database is not ready yet: see the worker's log");
        }
    }
    next.run(request).await
}

/// Rejects at once what finds no room: a database that does not answer must not let requests pile up until no
/// connection is left.
async fn bound_work(State(room): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let Ok(_place) = room.try_acquire() else {
        let why = "too many requests are worked on: try again";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    };
    next.run(request).await
}

async fn bound_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "it took too long, and may be done all the same").into_response()
        }
    }
}
