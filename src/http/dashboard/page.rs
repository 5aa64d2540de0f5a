//! The frame of all pages, and those of a login, an authorization and a problem.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

use super::numbers::time;
use crate::http::origin;
use crate::http::paths::{AUTHORIZE, DASHBOARD, LOGIN};
use crate::http::problem::Problem;
use crate::http::security::DASHBOARD_POLICY;
use crate::http::state::HttpState;
use crate::messages::{AccountState, Advice, StateName};
use crate::process::version;
use crate::store::pool::StoreError;

/// Where a login leads.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
pub(super) enum Next {
    /// To an authorization.
    #[serde(rename = "/sync/authorize")]
    Authorize,
    #[default]
    #[serde(other)]
    Dashboard,
}

/// The form in which a browser logs in; `problem`: why the last try failed.
pub(super) fn login(state: &HttpState, status: StatusCode, next: Next, problem: Option<&str>) -> Response {
    let content = html! {
        section .login {
            h1 { "Log in" }
            @if let Some(problem) = problem { p .finding role="alert" { (problem) } }
            form method="post" action=(LOGIN) {
                @if next == Next::Authorize { input type="hidden" name="next" value=(AUTHORIZE); }
                label for="token" { "Token (HTTP_API_TOKEN)" }
                input #token type="password" name="token" required autofocus autocomplete="current-password";
                button { "Log in" }
            }
        }
    };
    answer(status, frame(state, &Frame::bare("Log in"), content))
}

/// The page after a login that leads to an authorization: the browser follows its link by itself.
pub(super) fn to_authorize(state: &HttpState) -> Response {
    let content = html! {
        meta http-equiv="refresh" content=(format!("0; url={AUTHORIZE}"));
        section { h1 { "Logged in" } p { a href=(AUTHORIZE) { "Go on to Teamleader" } } }
    };
    answer(StatusCode::OK, frame(state, &Frame::bare("Authorize"), content))
}

/// The page after an authorization: whether the code was accepted.
pub(in crate::http) fn after_authorizing(state: &HttpState, status: StatusCode, said: &str) -> Response {
    let is_well = status.is_success();
    let content = html! {
        section .finding[!is_well] {
            h1 { "Authorization" }
            p { strong { (said) } }
            @if is_well { p { "The account is connected. Requests that waited start by themselves." } }
            @else { p { a href=(AUTHORIZE) { "Try again" } } }
            p { a href=(DASHBOARD) { "To the dashboard" } }
        }
    };
    answer(status, frame(state, &Frame::bare("Authorization"), content))
}

/// The page in place of one that needs the database. Logs why. `may_see`: whether the caller is known to be one who may
/// see where the database is.
pub(in crate::http) fn no_database(state: &HttpState, error: &StoreError, may_see: bool) -> Response {
    tracing::error!(%error, "The dashboard cannot be shown");
    let content = html! {
        section .finding role="alert" {
            h1 { "The database cannot be used" }
            @if let (true, StoreError::Unreachable(why)) = (may_see, error) { p { (why) } }
            p { "The worker retries by itself. Its log and " code { "teamleader2db doctor" } " report the cause." }
        }
    };
    let frame_of_page =
        Frame { pill: pill("failed", "no database"), refreshes: true, ..Frame::bare("The database cannot be used") };
    answer(StatusCode::SERVICE_UNAVAILABLE, frame(state, &frame_of_page, content))
}

/// The page after a form that could not be carried out: why, and the way back.
pub(super) fn problem(state: &HttpState, problem: &Problem) -> Response {
    let content = html! {
        section .finding role="alert" {
            h1 {
                @if problem.status() == StatusCode::GATEWAY_TIMEOUT { "It took too long" }
                @else { "This was not done" }
            }
            p { (problem.detail()) }
            p { a href=(DASHBOARD) { "To the dashboard" } }
        }
    };
    answer(problem.status(), frame(state, &Frame::bare("Not done"), content))
}

/// Shows a browser on a page of the dashboard what programs get as JSON, whichever layer has refused it.
pub(in crate::http) async fn problems_as_pages(
    State(state): State<HttpState>,
    request: Request,
    next: middleware::Next,
) -> Response {
    let path = request.uri().path();
    let is_here = path.strip_prefix(DASHBOARD).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let is_of_browser = is_here && origin::accepts_html(request.headers());
    let mut answer = next.run(request).await;
    if let (true, Some(said)) = (is_of_browser, answer.extensions_mut().remove::<Problem>()) {
        answer = problem(&state, &said);
    }
    answer
}

/// The answer with a page.
pub(super) fn answer(status: StatusCode, page: Markup) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, DASHBOARD_POLICY)];
    (status, headers, page.into_string()).into_response()
}

/// The pages that the navigation leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Runs,
    Queue,
    Records,
}

impl Place {
    const ALL: [Self; 4] = [Self::Overview, Self::Runs, Self::Queue, Self::Records];

    fn link(self) -> (&'static str, &'static str) {
        match self {
            Self::Overview => (DASHBOARD, "Overview"),
            Self::Runs => ("/dashboard/runs", "Runs"),
            Self::Queue => ("/dashboard/queue", "Queue"),
            Self::Records => ("/dashboard/records", "Records"),
        }
    }
}

/// What stands around a page's content.
pub(super) struct Frame<'a> {
    /// The first words of its title.
    pub(super) title: &'a str,
    /// Where it is in the navigation; `None`: there is none, as before a login.
    pub(super) place: Option<Place>,
    /// What the account is doing.
    pub(super) pill: Markup,
    /// For the forms of a browser that has logged in.
    pub(super) form_token: Option<&'a str>,
    /// Whether the page is loaded again now and then.
    pub(super) refreshes: bool,
}

impl<'a> Frame<'a> {
    /// Of a page without a navigation.
    pub(super) fn bare(title: &'a str) -> Self {
        Self { title, place: None, pill: html! {}, form_token: None, refreshes: false }
    }
}

/// A whole page.
pub(super) fn frame(state: &HttpState, frame: &Frame<'_>, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (frame.title) " · " (state.names.account()) " · teamleader2db" }
                link rel="icon" href="/dashboard/icon.svg";
                link rel="stylesheet" href="/dashboard/style.css";
                script src="/dashboard/idiomorph.js" defer {}
                script src="/dashboard/script.js" defer {}
            }
            body data-refreshes[frame.refreshes] {
                a .skip href="#content" { "Skip to the content" }
                header {
                    p .brand { a href=(DASHBOARD) { "teamleader2db" } span .quiet { " " (state.names.account()) } }
                    span #state { (frame.pill) }
                    @if frame.place.is_some() { (navigation(state, frame)) }
                }
                main #content tabindex="-1" { (content) }
                footer .quiet {
                    "teamleader2db " (version::BUILD) " · " (time(Utc::now()))
                    " · " a href="/" { "HTTP API" } " · " a href="/metrics" { "Metrics" }
                    " · " a href="/health/ready" { "Health" }
                }
            }
        }
    }
}

fn navigation(state: &HttpState, frame: &Frame<'_>) -> Markup {
    html! {
        nav aria-label="Dashboard" {
            @for place in Place::ALL {
                @let (address, name) = place.link();
                a href=(address) aria-current=[(frame.place == Some(place)).then_some("page")] { (name) }
            }
            @if let (Some(token), true) = (frame.form_token, state.guard.has_token()) {
                form method="post" action="/dashboard/logout" {
                    input type="hidden" name="form_token" value=(token);
                    button .link { "Log out" }
                }
            }
        }
    }
}

/// Advice, with its commands as they are typed.
pub(super) fn advised(advice: &Advice) -> Markup {
    html! {
        (advice.first) ": "
        @for (place, command) in advice.commands.iter().enumerate() {
            @if place > 0 { ", then " }
            code { (command) }
        }
    }
}

/// What the account is doing, as a word. `consuming`: whether this process consumes, or stands by.
pub(super) fn pill_of(account: &AccountState, consuming: bool) -> Markup {
    match account.name {
        StateName::WaitingForAuthorization => pill("failed", "not authorized"),
        _ if !consuming => pill("failed", "no broker"),
        StateName::WaitingForApi => pill("partial", "waits for Teamleader"),
        StateName::WaitingForBudget => pill("running", "waits for the budget"),
        StateName::Running => pill("running", "running"),
        StateName::Idle => pill("completed", "idle"),
    }
}

/// A word in a colour: `completed`, `partial`, `failed`; any other is neutral.
pub(super) fn pill(kind: &str, word: &str) -> Markup {
    let class = match kind {
        "completed" => "pill good",
        "partial" | "skipped" => "pill fair",
        "failed" => "pill bad",
        "running" => "pill busy",
        _ => "pill",
    };
    html! { span class=(class) { (word) } }
}
