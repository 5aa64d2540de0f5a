//! The forms of the dashboard: logging in and out, requesting a sync, and cancelling one. What cannot be done is said
//! on a page of the dashboard.

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
use crate::messages::{Mode, SyncRequest};
use crate::store::{logins, pool, report};

/// A login that the database does not store within this is not one.
const PATIENCE: Duration = Duration::from_secs(3);

/// Requests a sync. `form_token` shows that the form was made for this login.
#[derive(Deserialize)]
pub(super) struct SyncForm {
    form_token: String,
    /// What the button asks for.
    ask: Ask,
    /// Of one resource; without it of all that the worker is configured for.
    resource: Option<String>,
}

/// What a button asks for.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    Incremental,
    Full,
    Refetch,
    AllowDeletions,
    Audit,
}

/// Records that the button for an audit compares.
const SAMPLE: u32 = 100;

/// Names a run.
#[derive(Deserialize)]
pub(super) struct RunForm {
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

/// The form, if it can be read and was made for this login.
pub(super) fn checked<T>(
    state: &HttpState,
    headers: &HeaderMap,
    form: Result<Form<T>, FormRejection>,
    token: impl FnOnce(&T) -> &str,
) -> Result<T, Problem> {
    let Form(form) = form.map_err(|rejection| unreadable(&rejection))?;
    if state.guard.is_form_token(headers, token(&form)) { Ok(form) } else { Err(forged()) }
}

/// Leads to the page of the run that was asked for, or says what is wrong.
fn to_run(state: &HttpState, asked: Result<Uuid, Problem>) -> Response {
    match asked {
        Ok(id) => Redirect::to(&format!("/dashboard/runs/{id}")).into_response(),
        Err(problem) => page::problem(state, &problem),
    }
}

pub(super) async fn sync(
    State(state): State<HttpState>,
    headers: HeaderMap,
    form: Result<Form<SyncForm>, FormRejection>,
) -> Response {
    let asked = async {
        let form = checked(&state, &headers, form, |form| &form.form_token)?;
        let (mode, none) = (Mode::Full, SyncRequest::default());
        let request = match form.ask {
            Ask::Incremental => none,
            Ask::Full => SyncRequest { mode, ..none },
            Ask::Refetch => SyncRequest { mode, refetch: true, ..none },
            Ask::AllowDeletions => SyncRequest { mode, allow_deletions: true, ..none },
            Ask::Audit => SyncRequest { mode: Mode::Audit, sample: Some(SAMPLE), ..none },
        };
        request_of_form(&state, SyncRequest { resources: form.resource.map(|name| vec![name]), ..request }).await
    };
    to_run(&state, asked.await)
}

/// Requests once more what a run was asked for.
pub(super) async fn again(
    State(state): State<HttpState>,
    headers: HeaderMap,
    form: Result<Form<RunForm>, FormRejection>,
) -> Response {
    let asked = async {
        let form = checked(&state, &headers, form, |form| &form.form_token)?;
        let found = report::runs(&state.pool, state.names.account(), Some(RunId(form.id)), 1);
        let run = pool::promptly(&state.pool, found).await?.pop();
        let parameters = run.and_then(|run| serde_json::from_value::<SyncRequest>(run.request).ok());
        let unknown = || Problem::new(StatusCode::NOT_FOUND, "what this run was asked for is not known any more");
        request_of_form(&state, parameters.ok_or_else(unknown)?).await
    };
    to_run(&state, asked.await)
}

async fn request_of_form(state: &HttpState, request: SyncRequest) -> Result<Uuid, Problem> {
    request_sync(state, request, None).await.map_err(|rejected| match rejected {
        Rejected::Invalid(reason) => Problem::new(StatusCode::BAD_REQUEST, reason),
        Rejected::Problem(problem) => problem,
    })
}

pub(super) async fn cancel(
    State(state): State<HttpState>,
    headers: HeaderMap,
    form: Result<Form<RunForm>, FormRejection>,
) -> Response {
    let cancelled = async {
        let form = checked(&state, &headers, form, |form| &form.form_token)?;
        // One that has ended meanwhile is shown as it ended.
        cancel_run(&state, RunId(form.id)).await?;
        Ok(form.id)
    };
    to_run(&state, cancelled.await)
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
        Err(rejection) => return page::problem(&state, &unreadable(&rejection)),
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
) -> Response {
    let ended = async {
        checked(&state, &headers, form, |form| &form.form_token)?;
        // The cookie stays but is no login any more: it shows that this browser need not wait for strangers to try
        // again.
        if let Some(id) = state.guard.cookies.login(&headers) {
            pool::with_deadline_of(PATIENCE, logins::end(&state.pool, state.names.account(), id)).await?;
        }
        Ok(())
    };
    match ended.await {
        Ok(()) => Redirect::to(LOGIN).into_response(),
        Err(problem) => page::problem(&state, &problem),
    }
}
