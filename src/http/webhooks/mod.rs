//! Webhooks: Teamleader's calls become hints. Any process of the account takes them, standby or not.

mod call;
pub mod intake;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::problem::Problem;
use super::state::HttpState;
use crate::process::telemetry;
use call::{Call, Unreadable};
use intake::{NotStored, Receiver};

/// Longer bodies are refused: a call has some 200 bytes.
const MAX_BODY: usize = 64 * 1024;

/// The route that Teamleader calls. It has a secret of its own, so no token is asked for.
pub(super) fn routes() -> Router<HttpState> {
    Router::new()
        .route("/webhooks/{account}/{secret}", post(take).fallback(nothing_here))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// Answers as at any path that is not there, so that nobody learns what is.
async fn nothing_here() -> Problem {
    Problem::nothing_here()
}

/// Takes a call: 204 once its hint is stored.
async fn take(
    State(state): State<HttpState>,
    Path((account, secret)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let is_accepted = |receiver: &&Receiver| receiver.webhooks.accepts(&account, &secret);
    let Some(receiver) = state.webhooks.as_ref().filter(is_accepted) else {
        telemetry::webhook_called("refused");
        return Problem::nothing_here().into_response();
    };
    let refuse = |status, why: String| {
        telemetry::webhook_called("unreadable");
        Problem::new(status, why).into_response()
    };
    let body = match body {
        Ok(body) => body,
        Err(error) => return refuse(error.status(), error.body_text()),
    };
    let call = match Call::parse(&body) {
        Ok(call) => call,
        Err(Unreadable(why)) => return refuse(StatusCode::BAD_REQUEST, why),
    };
    match receiver.intake.store(&call).await {
        Ok(()) => {
            telemetry::webhook_called(if call.is_known() { "stored" } else { "unknown" });
            StatusCode::NO_CONTENT.into_response()
        }
        Err(NotStored(why)) => {
            telemetry::webhook_called("unavailable");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
    }
}
