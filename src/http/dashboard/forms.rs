//! The forms of the dashboard: logging in and out, and requesting a sync.

use std::time::Duration;

use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use uuid::Uuid;

use super::page::{self, Next};
use crate::http::cookies::LOGIN_LASTS;
use crate::http::paths::{DASHBOARD, LOGIN};
use crate::http::problem::Problem;
use crate::http::state::HttpState;
use crate::http::sync::{Rejected, cancel_run, request_sync};
use crate::ids::RunId;
use crate::messages::Mode;
use crate::store::{logins, pool};

/// A login that the database does not store within this is not one.
const PATIENCE: Duration = Duration::from_secs(3);

/// Requests a sync. `form_token` shows that the form was made for this login.
#[derive(Deserialize)]
pub(super) struct SyncForm {
    form_token: String,
    mode: Mode,
}

/// Cancels a run.
#[derive(Deserialize)]
pub(super) struct CancelForm {
    form_token: String,
    id: Uuid,
}

#[derive(Deserialize)]
pub(super) struct LogoutForm {
    form_token: String,
}

#[derive(Deserialize)]
pub(super) struct LoginForm {
    token: SecretString,
    #[serde(default)]
    next: Next,
}

/// The query string of the login page.
#[derive(Default, Deserialize)]
pub(super) struct LoginQuery {
    #[serde(default)]
    next: Next,
}

fn forged() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "this form was not made for this login: load the dashboard again")
}

fn unreadable(rejection: &FormRejection) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("the form cannot be read: {}", rejection.body_text()))
}

pub(super) async fn sync(
    State(state): State<HttpState>,
    headers: HeaderMap,
    form: Result<Form<SyncForm>, FormRejection>,
) -> Result<Redirect, Problem> {
    let Form(form) = form.map_err(|rejection| unreadable(&rejection))?;
    if !state.guard.is_form_token(&headers, &form.form_token) {
        return Err(forged());
    }
    match request_sync(&state, form.mode, None, None).await {
        Ok(id) => Ok(Redirect::to(&format!("{DASHBOARD}?asked={id}"))),
        Err(Rejected::Invalid(reason)) => Err(Problem::new(StatusCode::BAD_REQUEST, reason)),
        Err(Rejected::Problem(problem)) => Err(problem),
    }
}

pub(super) async fn cancel(
    State(state): State<HttpState>,
    headers: HeaderMap,
    form: Result<Form<CancelForm>, FormRejection>,
) -> Result<Redirect, Problem> {
    let Form(form) = form.map_err(|rejection| unreadable(&rejection))?;
    if !state.guard.is_form_token(&headers, &form.form_token) {
        return Err(forged());
    }
    // One that has ended meanwhile is shown as it ended.
    cancel_run(&state, RunId(form.id)).await?;
    Ok(Redirect::to(DASHBOARD))
}

pub(super) async fn ask_to_log_in(
    State(state): State<HttpState>,
    query: Result<Query<LoginQuery>, QueryRejection>,
) -> Response {
    if !state.guard.has_token() {
        return Redirect::to(DASHBOARD).into_response();
    }
    let next = query.map(|Query(query)| query.next).unwrap_or_default();
    page::login(&state, StatusCode::OK, next, None)
}

pub(super) async fn log_in(
    State(state): State<HttpState>,
    headers: HeaderMap,
    form: Result<Form<LoginForm>, FormRejection>,
) -> Response {
    let Form(LoginForm { token, next }) = match form {
        Ok(form) => form,
        Err(rejection) => return unreadable(&rejection).into_response(),
    };
    if !state.guard.may_try(&headers).await {
        let problem = "Too many tries to log in. Try again in a few seconds.";
        let page = page::login(&state, StatusCode::TOO_MANY_REQUESTS, next, Some(problem));
        return ([(header::RETRY_AFTER, "5")], page).into_response();
    }
    if !state.guard.is_token(token.expose_secret().trim()) {
        tracing::warn!("A login to the dashboard failed: the token is not HTTP_API_TOKEN");
        return page::login(&state, StatusCode::UNAUTHORIZED, next, Some("That is not the token."));
    }
    let id = Uuid::new_v4();
    let stored = logins::begin(&state.pool, state.names.account(), id, LOGIN_LASTS);
    let stored = pool::promptly(&state.pool, stored);
    if let Err(error) = pool::with_deadline_of(PATIENCE, stored).await {
        return page::no_database(&state, &error, true);
    }
    let cookie = [(header::SET_COOKIE, state.guard.cookies.of_login(id, &headers))];
    let next = match next {
        Next::Dashboard => Redirect::to(DASHBOARD).into_response(),
        // Not a redirect, which would lead on to Teamleader: browsers allow a form no more than the policy names,
        // redirects included.
        Next::Authorize => page::to_authorize(&state),
    };
    (cookie, next).into_response()
}

pub(super) async fn log_out(
    State(state): State<HttpState>,
    headers: HeaderMap,
    form: Result<Form<LogoutForm>, FormRejection>,
) -> Result<Redirect, Problem> {
    let Form(form) = form.map_err(|rejection| unreadable(&rejection))?;
    if !state.guard.is_form_token(&headers, &form.form_token) {
        return Err(forged());
    }
    // The cookie stays but is no login any more: it shows that this browser need not wait for strangers to try again.
    if let Some(id) = state.guard.cookies.login(&headers) {
        pool::with_deadline_of(PATIENCE, logins::end(&state.pool, state.names.account(), id)).await?;
    }
    Ok(Redirect::to(LOGIN))
}
