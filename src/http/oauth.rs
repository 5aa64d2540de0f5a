//! Authorizing in a browser: the link, and the way back with the code.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::SecretString;
use serde::Deserialize;

use super::dashboard;
use super::guard::accepts_html;
use super::problem::{Problem, ProblemDetails};
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
#[utoipa::path(get, path = "/sync/authorize", tag = "authorization", responses(
    (status = 303, description = "To Teamleader, to log in and allow the access"),
    (status = 503, description = "The database cannot be used", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(super) async fn authorize(State(state): State<HttpState>) -> Result<Redirect, Problem> {
    Ok(Redirect::to(&authorize::link(&state.tokens, &state.oauth).await?))
}

/// Takes the code: `code accepted`, or `code rejected: why`.
#[utoipa::path(get, path = "/sync/oauth", tag = "authorization",
    params(
        ("code" = Option<String>, Query, description = "The code, which works once"),
        ("state" = Option<String>, Query, description = "The state of the link that was followed"),
        ("error" = Option<String>, Query, description = "Why Teamleader gives no code"),
    ),
    responses(
        (status = 200, description = "`code accepted`", body = String, content_type = "text/plain"),
        (status = 400, description = "`code rejected: why`", body = String, content_type = "text/plain"),
        (status = 502, description = "`code rejected: why`: Teamleader gives no clear answer", body = String, content_type = "text/plain"),
        (status = 503, description = "`code rejected: why`: the database cannot be used", body = String, content_type = "text/plain"),
    ))]
pub(super) async fn callback(
    State(state): State<HttpState>,
    headers: HeaderMap,
    callback: Result<Query<Callback>, QueryRejection>,
) -> Response {
    let Callback { code, state: given, error } = callback.map(|Query(callback)| callback).unwrap_or_default();
    let outcome = match (error, code, given) {
        (Some(error), ..) => Err(Rejected::Denied(error.chars().filter(|c| c.is_ascii_graphic()).take(64).collect())),
        (None, Some(code), Some(given)) => authorize::accept(&state.tokens, &state.oauth, code, given).await,
        (None, ..) => Err(Rejected::Incomplete),
    };
    let (status, said) = match outcome {
        Ok(()) => (StatusCode::OK, "code accepted".to_owned()),
        Err(rejected) => {
            tracing::warn!(reason = %rejected, "An authorization was rejected");
            let status = match rejected {
                Rejected::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
                Rejected::Unclear(_) => StatusCode::BAD_GATEWAY,
                _ => StatusCode::BAD_REQUEST,
            };
            (status, format!("code rejected: {rejected}"))
        }
    };
    match accepts_html(&headers) {
        true => dashboard::after_authorizing(&state, status, &said),
        false => (status, format!("{said}\n")).into_response(),
    }
}
