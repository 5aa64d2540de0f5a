//! Lists of runs: all of them, filtered and page by page, and the newest ones on the overview.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, Utc};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::numbers::{ago, count, details_of, thousands, took};
use super::page::{self, Frame, Place, frame, pill, pill_of};
use crate::catalog::RESOURCES;
use crate::http::state::HttpState;
use crate::messages::{AccountState, Mode, Parameters, RunStatus};
use crate::store::report::{self, RunStatusRow, RunSummary, Which};
use crate::store::{pool, state};

/// Runs of a page.
const PAGE: usize = 25;

/// What can be chosen.
const STATUSES: [RunStatus; 5] =
    [RunStatus::Running, RunStatus::Completed, RunStatus::Partial, RunStatus::Failed, RunStatus::Cancelled];
const MODES: [Mode; 3] = [Mode::Incremental, Mode::Full, Mode::Audit];

/// The query string: which runs, and from where on.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    status: String,
    mode: String,
    resource: String,
    before: Option<DateTime<Utc>>,
    before_id: Option<Uuid>,
}

struct Shown {
    state: AccountState,
    runs: Vec<RunSummary>,
}

impl Filter {
    /// Without the words that are none of the form's: they choose nothing.
    fn known(mut self) -> Self {
        let is_known = [
            STATUSES.iter().any(|status| status.as_str() == self.status),
            MODES.iter().any(|mode| mode.as_str() == self.mode),
            RESOURCES.iter().any(|resource| resource.name == self.resource),
        ];
        for (word, is_known) in [&mut self.status, &mut self.mode, &mut self.resource].into_iter().zip(is_known) {
            if !is_known {
                word.clear();
            }
        }
        self
    }
}

/// `/dashboard/runs`.
pub(super) async fn show(
    State(state): State<HttpState>,
    headers: HeaderMap,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Response {
    let filter = filter.map(|Query(filter)| filter).unwrap_or_default().known();
    let form_token = state.guard.form_token(&headers);
    match pool::promptly(&state.pool, look(&state, &filter)).await {
        Ok(shown) => page::answer(StatusCode::OK, list(&state, &shown, &filter, &form_token)),
        Err(error) => page::no_database(&state, &error, true),
    }
}

async fn look(state: &HttpState, filter: &Filter) -> Result<Shown, pool::StoreError> {
    let account = state.names.account();
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let which = Which {
        status: given(&filter.status),
        mode: given(&filter.mode),
        resource: given(&filter.resource),
        before: filter.before.zip(filter.before_id),
        ..Which::default()
    };
    // One more shows whether there are others.
    let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    Ok(Shown {
        state: state::of(&state.pool, account).await?,
        runs: report::run_summaries(&state.pool, account, &which, limit).await?,
    })
}

fn list(state: &HttpState, shown: &Shown, filter: &Filter, form_token: &str) -> Markup {
    let (runs, others) = shown.runs.split_at(shown.runs.len().min(PAGE));
    let content = html! {
        section {
            h1 { "Runs" }
            (form(filter))
            (table(runs))
            @if runs.is_empty() { p .quiet { "No run is like this." } }
            div .actions {
                @if filter.before.is_some() { (turn(filter, None, "Newest")) }
                @if let (Some(last), false) = (runs.last(), others.is_empty()) { (turn(filter, Some(last), "Older")) }
            }
        }
    };
    let pill = pill_of(&shown.state, state.consuming.is_active());
    let refreshes = filter.before.is_none();
    let frame_of_page =
        Frame { title: "Runs", place: Some(Place::Runs), pill, form_token: Some(form_token), refreshes };
    frame(state, &frame_of_page, content)
}

fn form(filter: &Filter) -> Markup {
    let choice = |name: &str, label: &str, chosen: &str, values: &mut dyn Iterator<Item = &str>| {
        html! {
            div {
                label for=(name) { (label) }
                select #(name) name=(name) {
                    option value="" { "all" }
                    @for value in values { option value=(value) selected[value == chosen] { (value) } }
                }
            }
        }
    };
    html! {
        form .filter method="get" action="/dashboard/runs" {
            (choice("status", "Status", &filter.status, &mut STATUSES.iter().map(|status| status.as_str())))
            (choice("mode", "Mode", &filter.mode, &mut MODES.iter().map(|mode| mode.as_str())))
            (choice("resource", "Resource", &filter.resource, &mut RESOURCES.iter().map(|resource| resource.name)))
            button .second { "Filter" }
        }
    }
}

/// A button to the same list from after `last` on; without it to its beginning.
fn turn(filter: &Filter, last: Option<&RunSummary>, name: &str) -> Markup {
    html! {
        form method="get" action="/dashboard/runs" {
            @for (name, value) in
                [("status", &filter.status), ("mode", &filter.mode), ("resource", &filter.resource)]
            {
                @if !value.is_empty() { input type="hidden" name=(name) value=(value); }
            }
            @if let Some(last) = last {
                input type="hidden" name="before" value=(last.started_at.to_rfc3339_opts(SecondsFormat::Micros, true));
                input type="hidden" name="before_id" value=(last.request_id);
            }
            button .second { (name) }
        }
    }
}

/// Runs, one a row, each with a link to its page.
pub(super) fn table(runs: &[RunSummary]) -> Markup {
    html! {
        @if !runs.is_empty() {
            div .wide tabindex="0" role="region" aria-label="Runs" { table {
                thead { tr {
                    th scope="col" { "status" }
                    th scope="col" { "asked for" }
                    th scope="col" { "started" }
                    th scope="col" .extra { "took" }
                    th scope="col" .number .extra { "API requests" }
                    th scope="col" .number { "created" }
                    th scope="col" .number { "updated" }
                    th scope="col" .number { "deleted" }
                } }
                tbody { @for run in runs { (row(run)) } }
            } }
        }
    }
}

fn row(run: &RunSummary) -> Markup {
    let (mode, details) = asked(&run.request);
    html! {
        tr id=(format!("run-{}", run.request_id)) {
            td { (pill(&run.status, &run.status)) }
            td { a href=(format!("/dashboard/runs/{}", run.request_id)) { (mode) }
                @if !details.is_empty() { span .quiet { " " (details) } } }
            td .line { (ago(run.started_at)) }
            td .line .extra { (took(run.started_at, run.finished_at).trim_start_matches("took ")) }
            td .number .extra { (thousands(run.api_requests)) }
            @for number in [run.created, run.updated, run.deleted] {
                td .number { @match number { Some(number) => (thousands(number)), None => span .quiet { "–" } } }
            }
        }
    }
}

/// The mode that a request asks for, and what else.
pub(super) fn asked(request: &Value) -> (&'static str, String) {
    if request.is_null() {
        return ("cancelled before a worker knew it", String::new());
    }
    let parameters: Parameters = serde_json::from_value(request.clone()).unwrap_or_default();
    (parameters.mode.as_str(), details_of(&parameters))
}

/// How many resources of a run have each status, as text.
pub(super) fn statuses(run: &RunStatusRow) -> String {
    let steps: Vec<&Value> = run.resources.as_object().into_iter().flatten().map(|(_, step)| step).collect();
    let of = |status: &str| steps.iter().filter(|step| step["status"].as_str() == Some(status)).count();
    let open = steps.iter().filter(|step| step["status"].is_null()).count();
    let counts =
        [(of("completed"), "completed"), (of("failed"), "failed"), (of("skipped"), "skipped"), (open, "to do")];
    let said = counts.into_iter().filter(|(number, _)| *number > 0);
    let said: Vec<String> = said.map(|(number, word)| format!("{number} {word}")).collect();
    let number = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    if said.is_empty() { "none".to_owned() } else { format!("{}: {}", count(number, "resource"), said.join(", ")) }
}
