//! Authorizing in a browser: the link, and the way back with the code.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::SecretString;
use serde::Deserialize;

use super::problem::Problem;
use super::state::HttpState;
use crate::authorize::{self, Rejected};

/// What Teamleader sends the browser back with.
#[derive(Default, Deserialize)]
pub(super) struct Callback {
    #[serde(default)]
    code: Option<SecretString>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

/// Sends the browser to Teamleader, with a state that works once.
pub(super) async fn authorize(State(state): State<HttpState>) -> Result<Redirect, Problem> {
    Ok(Redirect::to(&authorize::link(&state.tokens, &state.oauth).await?))
}

/// Takes the code: `code accepted`, or `code rejected: why`.
pub(super) async fn callback(
    State(state): State<HttpState>,
    callback: Result<Query<Callback>, QueryRejection>,
) -> Response {
    let Callback { code, state: given, error } = callback.map(|Query(callback)| callback).unwrap_or_default();
    let outcome = match (error, code, given) {
        (Some(error), ..) => Err(Rejected::Denied(error.chars().filter(|c| c.is_ascii_graphic()).take(64).collect())),
        (None, Some(code), Some(given)) => authorize::accept(&state.tokens, &state.oauth, code, given).await,
        (None, ..) => Err(Rejected::Incomplete),
    };
    match outcome {
        Ok(()) => (StatusCode::OK, "code accepted\n").into_response(),
        Err(rejected) => {
            tracing::warn!(reason = %rejected, "An authorization was rejected");
            let status = match rejected {
                Rejected::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
                Rejected::Unclear(_) => StatusCode::BAD_GATEWAY,
                _ => StatusCode::BAD_REQUEST,
            };
            (status, format!("code rejected: {rejected}\n")).into_response()
        }
    }
}
