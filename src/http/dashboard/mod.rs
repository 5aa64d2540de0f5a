//! The dashboard: one page, made here, that works without JavaScript and is kept fresh by a little of it.

mod budget;
mod page;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::Markup;
use serde::Deserialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::cookies::LOGIN_LASTS;
use super::guard::LOGIN;
use super::problem::Problem;
use super::security::DASHBOARD_POLICY;
use super::state::HttpState;
use super::sync::{Refused, ask};
use crate::ids::RunId;
use crate::messages::{Mode, Parameters};
use crate::store::pool::{self, StoreError};
use crate::store::report::{self, TableStatus};
use crate::store::{logins, outbox, runs};
use crate::sync::forecast;
use budget::Budget;
use page::{Running, Shown};

/// Where it is.
const DASHBOARD: &str = "/dashboard";

/// Runs that are shown.
const RUNS: i64 = 10;

/// Counting rows reads the tables: it is not done for each look.
const TABLES_HOLD: Duration = Duration::from_secs(15);

/// A login that the database does not keep within this is not one.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the dashboard remembers between two looks.
#[derive(Debug, Default)]
pub struct Memory {
    tables: tokio::sync::Mutex<Option<(Instant, Vec<TableStatus>)>>,
    budget: Mutex<Budget>,
}

impl Memory {
    /// Notes how many requests the last 60 s hold, and how many they may. To be called every 5 s.
    pub fn note_budget(&self, budget: (u32, u32)) {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).note(budget);
    }

    async fn tables(&self, state: &HttpState) -> Result<Vec<TableStatus>, StoreError> {
        let mut tables = self.tables.lock().await;
        if let Some((at, tables)) = &*tables
            && at.elapsed() < TABLES_HOLD
        {
            return Ok(tables.clone());
        }
        let counted = report::tables(&state.pool, state.names.account()).await?;
        *tables = Some((Instant::now(), counted.clone()));
        Ok(counted)
    }
}

/// What whoever may call sees.
pub(super) fn routes() -> Router<HttpState> {
    Router::new()
        .route(DASHBOARD, get(show))
        .route("/dashboard/sync", post(sync))
        .route("/dashboard/logout", post(log_out))
}

/// What anyone sees.
pub(super) fn login_routes() -> Router<HttpState> {
    let file = |content_type: &'static str, text: &'static str| {
        get(async move || ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "max-age=300")], text))
    };
    Router::new()
        .route(LOGIN, get(ask_to_log_in).post(log_in))
        .route("/dashboard/style.css", file("text/css; charset=utf-8", include_str!("style.css")))
        .route("/dashboard/script.js", file("text/javascript; charset=utf-8", include_str!("script.js")))
        .route("/dashboard/icon.svg", file("image/svg+xml", include_str!("icon.svg")))
}

/// What became of the form that was sent last.
#[derive(Default, Deserialize)]
struct Said {
    #[serde(default)]
    asked: Option<Uuid>,
}

async fn show(
    State(state): State<HttpState>,
    headers: HeaderMap,
    said: Result<Query<Said>, QueryRejection>,
) -> Response {
    let asked = said.ok().and_then(|Query(said)| said.asked);
    let form_token = state.guard.form_token(&headers);
    match look(&state).await {
        Ok(shown) => html(StatusCode::OK, page::dashboard(&state, &shown, &form_token, asked)),
        Err(error) => no_database(&state, &error),
    }
}

/// In place of a page that needs the database.
pub(super) fn no_database(state: &HttpState, error: &StoreError) -> Response {
    tracing::error!(%error, "The dashboard cannot be shown");
    html(StatusCode::SERVICE_UNAVAILABLE, page::no_database(state))
}

async fn look(state: &HttpState) -> Result<Shown, StoreError> {
    let account = state.names.account();
    let authorization = state.tokens.authorization().await?;
    let runs = report::runs(&state.pool, account, None, RUNS).await?;
    let mut running = Vec::new();
    for row in runs.iter().filter(|row| row.status == "running") {
        let parameters: Parameters = serde_json::from_value(row.request.clone()).unwrap_or_default();
        let mut connection = state.pool.acquire().await?;
        let steps = match runs::load_steps(&mut connection, account, RunId(row.request_id)).await {
            // Of another version: the worker says so.
            Err(StoreError::Corrupt(_) | StoreError::NewerRun(_)) => continue,
            steps => steps?,
        };
        let to_come = forecast::requests_to_come(&steps, &parameters);
        let forecast = forecast::of_requests(row.api_requests, to_come, &state.client);
        running.push(Running { id: row.request_id, mode: parameters.mode, made: row.api_requests, forecast });
    }
    Ok(Shown {
        authorization,
        consuming: state.consuming.is_active(),
        unsent: outbox::count_pending(&state.pool, account).await?,
        tables: state.memory.tables(state).await?,
        shortfalls: report::shortfalls(&state.pool, account).await?,
        budget: state.memory.budget.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        running,
        runs,
    })
}

/// A form of the dashboard, and that it was made for this login.
#[derive(Deserialize)]
struct SyncForm {
    form_token: String,
    mode: Mode,
}

#[derive(Deserialize)]
struct LogoutForm {
    form_token: String,
}

#[derive(Deserialize)]
struct LoginForm {
    token: secrecy::SecretString,
    #[serde(default)]
    next: Next,
}

/// Where a login leads.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
enum Next {
    /// To begin an authorization.
    #[serde(rename = "/sync/authorize")]
    Authorize,
    #[default]
    #[serde(other)]
    Dashboard,
}

/// What the address of the login may say.
#[derive(Default, Deserialize)]
struct LoginQuery {
    #[serde(default)]
    next: Next,
}

fn forged() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "this form was not made for this login: load the dashboard again")
}

fn unreadable(rejection: &FormRejection) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("the form cannot be read: {}", rejection.body_text()))
}

async fn sync(
    State(state): State<HttpState>,
    headers: HeaderMap,
    form: Result<Form<SyncForm>, FormRejection>,
) -> Result<Redirect, Problem> {
    let Form(form) = form.map_err(|rejection| unreadable(&rejection))?;
    if !state.guard.is_form_token(&headers, &form.form_token) {
        return Err(forged());
    }
    match ask(&state, form.mode, None, None).await {
        Ok(id) => Ok(Redirect::to(&format!("{DASHBOARD}?asked={id}"))),
        Err(Refused::Invalid(reason)) => Err(Problem::new(StatusCode::BAD_REQUEST, reason)),
        Err(Refused::Problem(problem)) => Err(problem),
    }
}

async fn ask_to_log_in(State(state): State<HttpState>, query: Result<Query<LoginQuery>, QueryRejection>) -> Response {
    if !state.guard.has_token() {
        return Redirect::to(DASHBOARD).into_response();
    }
    let next = query.map(|Query(query)| query.next).unwrap_or_default();
    html(StatusCode::OK, page::login(&state, next, None))
}

async fn log_in(
    State(state): State<HttpState>,
    headers: HeaderMap,
    form: Result<Form<LoginForm>, FormRejection>,
) -> Response {
    use secrecy::ExposeSecret as _;
    let Form(LoginForm { token, next }) = match form {
        Ok(form) => form,
        Err(rejection) => return unreadable(&rejection).into_response(),
    };
    if !state.guard.may_try(&headers).await {
        let page = page::login(&state, next, Some("Too many tries to log in. Try again in a few seconds."));
        return ([(header::RETRY_AFTER, "5")], html(StatusCode::TOO_MANY_REQUESTS, page)).into_response();
    }
    if !state.guard.is_token(token.expose_secret().trim()) {
        tracing::warn!("Somebody tried to log in to the dashboard with another token than HTTP_API_TOKEN");
        return html(StatusCode::UNAUTHORIZED, page::login(&state, next, Some("That is not the token.")));
    }
    let id = Uuid::new_v4();
    let kept = logins::begin(&state.pool, state.names.account(), id, LOGIN_LASTS);
    if let Err(error) = pool::answered_within(PATIENCE, kept).await {
        return no_database(&state, &error);
    }
    let cookie = [(header::SET_COOKIE, state.guard.cookies.of_login(id, &headers))];
    let next = match next {
        Next::Dashboard => Redirect::to(DASHBOARD).into_response(),
        // Not a redirect, which would lead on to Teamleader: browsers allow a form no more than the policy names,
        // redirects included.
        Next::Authorize => html(StatusCode::OK, page::to_authorize(&state)),
    };
    (cookie, next).into_response()
}

async fn log_out(
    State(state): State<HttpState>,
    headers: HeaderMap,
    form: Result<Form<LogoutForm>, FormRejection>,
) -> Result<Redirect, Problem> {
    let Form(form) = form.map_err(|rejection| unreadable(&rejection))?;
    if !state.guard.is_form_token(&headers, &form.form_token) {
        return Err(forged());
    }
    // The cookie stays, and logs nobody in: it says that this browser may try to without waiting for strangers.
    if let Some(id) = state.guard.cookies.login(&headers) {
        pool::answered_within(PATIENCE, logins::end(&state.pool, state.names.account(), id)).await?;
    }
    Ok(Redirect::to(LOGIN))
}

/// What a browser sees that comes back from Teamleader.
pub(super) fn after_authorizing(state: &HttpState, status: StatusCode, said: &str) -> Response {
    html(status, page::after_authorizing(state, status.is_success(), said))
}

/// A page that shows what is so now, to who asked for it.
fn html(status: StatusCode, page: Markup) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, DASHBOARD_POLICY)];
    (status, headers, page.into_string()).into_response()
}
