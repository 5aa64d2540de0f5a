//! Authorizing in a browser: the link to Teamleader, and the callback with the code.

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use secrecy::SecretString;
use serde::Deserialize;

use super::access::Caller;
use super::dashboard;
use super::origin::{accepts_html, is_loaded_by_another_site};
use super::problem::{Guarded, Problem};
use super::state::HttpState;
use crate::authorization_flow::{self, Rejected};
use crate::store::pool;
use crate::store::tokens::authorization::StartedBy;

/// The most callbacks at a time; each may wait for the database and for Teamleader, and needs no login.
const MOST_AUTHORIZING: usize = 8;

/// The query string with which Teamleader sends the browser back.
#[derive(Default, Deserialize)]
pub(super) struct Callback {
    #[serde(default)]
    code: Option<SecretString>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

/// Sends the browser to Teamleader, to log in and allow the access.
///
/// By a link that works once. In a browser that has logged in, it works in this browser only.
#[utoipa::path(get, path = "/sync/authorize", tag = "authorization", security(("token" = [])), responses(
    (status = 303, description = "To Teamleader, to log in and allow the access; or, without a login, to the login"),
    Guarded,
))]
pub(super) async fn authorize(
    State(state): State<HttpState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if is_loaded_by_another_site(&headers) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "a page of another site may not do this"));
    }
    let started_by = match caller {
        Caller::Anyone => StartedBy::Anyone,
        Caller::Program => StartedBy::Command,
        Caller::Browser => StartedBy::Browser,
    };
    let link = authorization_flow::link(&state.tokens, &state.oauth, started_by);
    let link = pool::promptly(&state.pool, link).await?;
    let cookie = (started_by == StartedBy::Browser)
        .then(|| [(header::SET_COOKIE, state.guard.cookies.of_state(&link.state, &headers))]);
    Ok((cookie.map(AppendHeaders), Redirect::to(&link.url)).into_response())
}

/// Takes the code that Teamleader sends the browser back with.
///
/// Answers `code accepted`, or `code rejected: why`.
#[utoipa::path(get, path = "/sync/oauth", tag = "authorization",
    params(
        ("code" = Option<String>, Query, description = "The code, which works once"),
        ("state" = Option<String>, Query, description = "The state of the link that was followed"),
        ("error" = Option<String>, Query, description = "Why Teamleader gives no code"),
    ),
    responses(
        (status = 200, description = "`code accepted`", body = String, content_type = "text/plain"),
        (status = 400, description = "`code rejected: why`", body = String, content_type = "text/plain"),
        (
            status = 502,
            description = "`code rejected: why`: Teamleader gives no clear answer",
            body = String,
            content_type = "text/plain",
        ),
        (
            status = 503,
            description = "`code rejected: why`: the database cannot be used, or not now",
            body = String,
            content_type = "text/plain",
        ),
    ))]
pub(super) async fn callback(
    State(state): State<HttpState>,
    headers: HeaderMap,
    callback: Result<Query<Callback>, QueryRejection>,
) -> Response {
    let Callback { code, state: given, error } = callback.map(|Query(callback)| callback).unwrap_or_default();
    let outcome = match (error, code, given) {
        (Some(error), ..) => Err(Rejected::Denied(error.chars().filter(|c| c.is_ascii_graphic()).take(64).collect())),
        (None, Some(code), Some(given)) => {
            let has_cookie = state.guard.cookies.has_state(&headers, &given);
            accept(&state, authorization_flow::Callback { code, state: given, has_cookie }).await
        }
        (None, ..) => Err(Rejected::Incomplete),
    };
    let (status, said) = match outcome {
        Ok(()) => (StatusCode::OK, "code accepted".to_owned()),
        Err(rejected) => {
            tracing::warn!(reason = %rejected, "An authorization was rejected");
            let status = match rejected {
                Rejected::Store(_) | Rejected::NotNow(_) => StatusCode::SERVICE_UNAVAILABLE,
                Rejected::Bug(_) => StatusCode::INTERNAL_SERVER_ERROR,
                Rejected::Unclear(_) => StatusCode::BAD_GATEWAY,
                _ => StatusCode::BAD_REQUEST,
            };
            let why = match rejected {
                // The database's text is only for the log: anyone may call this.
                Rejected::Store(_) => "it could not be stored: open /sync/authorize again".to_owned(),
                rejected => rejected.to_string(),
            };
            (status, format!("code rejected: {why}"))
        }
    };
    match accepts_html(&headers) {
        true => dashboard::after_authorizing(&state, status, &said),
        false => (status, format!("{said}\n")).into_response(),
    }
}

/// In a task of its own: a browser that disconnects must not leave a used code without its tokens.
async fn accept(state: &HttpState, callback: authorization_flow::Callback) -> Result<(), Rejected> {
    let (tokens, oauth, authorizing) = (state.tokens.clone(), state.oauth.clone(), state.authorizing.clone());
    if authorizing.len() >= MOST_AUTHORIZING {
        return Err(Rejected::NotNow("too many authorizations at once"));
    }
    let accepted = state.authorizing.spawn(async move {
        // Checked once the task counts: the shutdown waits only for tasks that started before it.
        if authorizing.is_closed() {
            return Err(Rejected::NotNow("the worker ends"));
        }
        authorization_flow::accept(&tokens, &oauth, callback).await
    });
    accepted.await.unwrap_or_else(|_| Err(Rejected::Unclear("it was interrupted".to_owned())))
}
