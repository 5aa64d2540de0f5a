//! The pages but for the dashboard itself, and the frame of all pages.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

use super::numbers::time;
use crate::http::paths::{AUTHORIZE, DASHBOARD, LOGIN};
use crate::http::security::DASHBOARD_POLICY;
use crate::http::state::HttpState;
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
            h2 { "Log in" }
            @if let Some(problem) = problem { p .finding role="alert" { (problem) } }
            form method="post" action=(LOGIN) {
                @if next == Next::Authorize { input type="hidden" name="next" value=(AUTHORIZE); }
                label for="token" { "Token (HTTP_API_TOKEN)" }
                input #token type="password" name="token" required autofocus autocomplete="current-password";
                button { "Log in" }
            }
        }
    };
    answer(status, frame(state, html! {}, html! {}, content))
}

/// The page after a login that leads to an authorization: the browser follows its link by itself.
pub(super) fn to_authorize(state: &HttpState) -> Response {
    let content = html! {
        meta http-equiv="refresh" content=(format!("0; url={AUTHORIZE}"));
        section { p { a href=(AUTHORIZE) { "Go on to Teamleader" } } }
    };
    answer(StatusCode::OK, frame(state, html! {}, html! {}, content))
}

/// The page after an authorization: whether the code was accepted.
pub(in crate::http) fn after_authorizing(state: &HttpState, status: StatusCode, said: &str) -> Response {
    let is_well = status.is_success();
    let content = html! {
        section .finding[!is_well] {
            p { strong { (said) } }
            @if is_well { p { "The account is connected. Requests that waited start by themselves." } }
            @else { p { a href=(AUTHORIZE) { "Try again" } } }
            p { a href=(DASHBOARD) { "To the dashboard" } }
        }
    };
    answer(status, frame(state, html! {}, html! {}, content))
}

/// The page in place of one that needs the database. Logs why. `may_see`: whether the caller is known to be one who may
/// see where the database is.
pub(in crate::http) fn no_database(state: &HttpState, error: &StoreError, may_see: bool) -> Response {
    tracing::error!(%error, "The dashboard cannot be shown");
    let content = html! {
        section .finding role="alert" {
            p { strong { "The database cannot be used." } }
            @if let (true, StoreError::Unreachable(why)) = (may_see, error) { p { (why) } }
            p { "The worker retries by itself. Its log and " code { "teamleader2db doctor" } " report the cause." }
        }
    };
    answer(StatusCode::SERVICE_UNAVAILABLE, frame(state, pill("failed", "no database"), html! {}, content))
}

/// The answer with a page.
pub(super) fn answer(status: StatusCode, page: Markup) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, DASHBOARD_POLICY)];
    (status, headers, page.into_string()).into_response()
}

/// A whole page: `pill` and `right` stand in its header.
pub(super) fn frame(state: &HttpState, pill: Markup, right: Markup, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "teamleader2db: " (state.names.account()) }
                link rel="icon" href="/dashboard/icon.svg";
                link rel="stylesheet" href="/dashboard/style.css";
                script src="/dashboard/script.js" defer {}
            }
            body {
                main {
                    header {
                        h1 { "teamleader2db" span .quiet { " " (state.names.account()) } }
                        (pill)
                        nav { a href="/" { "API" } (right) }
                    }
                    (content)
                    footer .quiet { "teamleader2db " (env!("CARGO_PKG_VERSION")) " · " (time(Utc::now())) }
                }
            }
        }
    }
}

/// A word in a colour: `completed`, `partial`, `failed`; any other is neutral.
pub(super) fn pill(kind: &str, word: &str) -> Markup {
    let class = match kind {
        "completed" => "pill good",
        "partial" | "skipped" => "pill fair",
        "failed" => "pill bad",
        _ => "pill",
    };
    html! { span class=(class) { (word) } }
}
