//! The dashboard: one page, made here, that works without JavaScript and is kept fresh by a little of it.

mod budget;
mod page;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use chrono::Utc;
use maud::Markup;
use serde::Deserialize;
use tokio::time::Instant;

use super::guard::LOGIN;
use super::problem::Problem;
use super::state::HttpState;
use super::sync::{Refused, ask};
use crate::ids::RunId;
use crate::message::{Forecast, Mode, Parameters};
use crate::store::pool::StoreError;
use crate::store::report::{self, TableStatus};
use crate::store::{outbox, run};
use crate::sync::forecast;
use budget::Budget;
use page::{Running, Shown};

/// Where it is.
const DASHBOARD: &str = "/dashboard";

/// Runs that are shown.
const RUNS: i64 = 10;

/// Counting rows reads the tables: it is not done for each look.
const TABLES_HOLD: Duration = Duration::from_secs(15);

/// All that its pages load comes from here, and nobody else shows them in a frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; \
     frame-ancestors 'none'; base-uri 'none'";

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
    asked: Option<uuid::Uuid>,
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
        Err(error) => {
            tracing::error!(%error, "The dashboard cannot be shown");
            html(StatusCode::SERVICE_UNAVAILABLE, page::no_database(&state, &error))
        }
    }
}

async fn look(state: &HttpState) -> Result<Shown, StoreError> {
    let account = state.names.account();
    let authorization = state.tokens.authorization().await?;
    let runs = report::runs(&state.pool, account, None, RUNS).await?;
    let mut running = Vec::new();
    for row in runs.iter().filter(|row| row.status == "running") {
        let parameters: Parameters = serde_json::from_value(row.request.clone()).unwrap_or_default();
        let mut connection = state.pool.acquire().await?;
        let steps = match run::load_steps(&mut connection, account, RunId(row.request_id)).await {
            // Of another version: the worker says so.
            Err(StoreError::Corrupt(_)) => continue,
            steps => steps?,
        };
        let to_come = forecast::requests_to_come(&steps, &parameters);
        let forecast =
            Forecast { api_requests: row.api_requests + to_come, done_at: Utc::now() + state.client.time_for(to_come) };
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

async fn ask_to_log_in(State(state): State<HttpState>) -> Response {
    if !state.guard.has_token() {
        return Redirect::to(DASHBOARD).into_response();
    }
    html(StatusCode::OK, page::login(&state, false))
}

async fn log_in(
    State(state): State<HttpState>,
    headers: HeaderMap,
    form: Result<Form<LoginForm>, FormRejection>,
) -> Response {
    use secrecy::ExposeSecret as _;
    let Form(form) = match form {
        Ok(form) => form,
        Err(rejection) => return unreadable(&rejection).into_response(),
    };
    if !state.guard.is_token(form.token.expose_secret().trim()) {
        tracing::warn!("Somebody tried to log in to the dashboard with another token than HTTP_API_TOKEN");
        return html(StatusCode::UNAUTHORIZED, page::login(&state, true));
    }
    ([(header::SET_COOKIE, state.guard.logged_in(&headers))], Redirect::to(DASHBOARD)).into_response()
}

async fn log_out(
    State(state): State<HttpState>,
    headers: HeaderMap,
    form: Result<Form<LogoutForm>, FormRejection>,
) -> Result<Response, Problem> {
    let Form(form) = form.map_err(|rejection| unreadable(&rejection))?;
    if !state.guard.is_form_token(&headers, &form.form_token) {
        return Err(forged());
    }
    Ok(([(header::SET_COOKIE, state.guard.logged_out())], Redirect::to(LOGIN)).into_response())
}

/// What a browser sees that comes back from Teamleader.
pub(super) fn after_authorizing(state: &HttpState, status: StatusCode, said: &str) -> Response {
    html(status, page::after_authorizing(state, status.is_success(), said))
}

/// A page that shows what is so now, to who asked for it.
fn html(status: StatusCode, page: Markup) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let headers: HeaderMap =
        headers.into_iter().map(|(name, value): (HeaderName, _)| (name, HeaderValue::from_static(value))).collect();
    (status, headers, page.into_string()).into_response()
}
