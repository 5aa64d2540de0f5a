//! The layers before the handlers: they reject requests that a page of another site makes in a user's browser, and
//! callers without token or login.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::access::Caller;
use super::paths::{AUTHORIZE, LOGIN};
use super::problem::Problem;
use super::state::HttpState;
use super::{dashboard, origin};
use crate::store::logins;
use crate::store::pool::{self, StoreError};

/// How long the database may take to report whether a login holds.
const PATIENCE: Duration = Duration::from_secs(3);

/// Rejects requests of pages of other sites.
pub(super) async fn reject_other_sites(State(state): State<HttpState>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !reads && origin::is_of_another_site(request.headers()) && !is_login_of_unknown_origin(&request) {
        return Problem::new(StatusCode::FORBIDDEN, "a page of another site may not do this").into_response();
    }
    if !state.guard.knows_host(request.uri(), request.headers()) {
        let why = "without HTTP_API_TOKEN this server answers to localhost only: set it, to use another name";
        return Problem::new(StatusCode::FORBIDDEN, why).into_response();
    }
    next.run(request).await
}

/// Passes callers with the token or a login. Redirects browsers to log in, and from there back to an authorization.
pub(super) async fn require_token(State(state): State<HttpState>, mut request: Request, next: Next) -> Response {
    let is_browser = origin::accepts_html(request.headers());
    let is_page = request.method() == Method::GET && is_browser;
    match caller(&state, request.headers()).await {
        Ok(Some(caller)) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Ok(None) if is_page && request.uri().path() == AUTHORIZE => {
            Redirect::to(&format!("{LOGIN}?next={AUTHORIZE}")).into_response()
        }
        Ok(None) if is_page => Redirect::to(LOGIN).into_response(),
        Ok(None) => {
            let how = match is_browser {
                true => "this browser is not logged in any more: log in on the dashboard, then do it again",
                false => "send the header `Authorization: Bearer …` with HTTP_API_TOKEN",
            };
            let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
            (challenge, Problem::new(StatusCode::UNAUTHORIZED, how)).into_response()
        }
        // Whether the login holds is not known.
        Err(error) if is_page => dashboard::no_database(&state, &error, false),
        Err(error) => {
            tracing::error!(%error, "Whether a login holds is not known");
            let why = "the database cannot be used now: see the worker's log";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
    }
}

/// A login takes the token itself, which no other site has, so one whose browser hides where it comes from may pass.
fn is_login_of_unknown_origin(request: &Request) -> bool {
    request.uri().path() == LOGIN && origin::is_hidden(request.headers())
}

/// Who calls a guarded route, if they may.
async fn caller(state: &HttpState, headers: &HeaderMap) -> Result<Option<Caller>, StoreError> {
    if let Some(caller) = state.guard.without_login(headers) {
        return Ok(Some(caller));
    }
    let Some(login) = state.guard.cookies.login(headers) else { return Ok(None) };
    let holds = pool::promptly(&state.pool, logins::holds(&state.pool, state.names.account(), login));
    let holds = pool::with_deadline_of(PATIENCE, holds).await?;
    Ok(holds.then_some(Caller::Browser))
}
