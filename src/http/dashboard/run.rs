//! The page of one run: what it was asked for, how far it has come, what went wrong, and what was logged.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::numbers::{count, moment, span_of, thousands, took};
use super::page::{self, Frame, Place, advised, frame, pill, pill_of};
use super::runs::{asked, statuses};
use super::under_way::{self, Running, cancel, progress};
use crate::http::state::HttpState;
use crate::ids::RunId;
use crate::messages::{AccountState, Cause, Mode};
use crate::store::report::{self, RunStatusRow};
use crate::store::runs::log::{self, StoredLine};
use crate::store::{pool, state};

struct Shown {
    state: AccountState,
    run: Option<RunStatusRow>,
    running: Option<Running>,
    lines: Vec<StoredLine>,
}

/// `/dashboard/runs/{id}`.
pub(super) async fn show(
    State(state): State<HttpState>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    let form_token = state.guard.form_token(&headers);
    let id: Option<Uuid> = id.ok().and_then(|Path(id)| id.parse().ok());
    match pool::promptly(&state.pool, look(&state, id)).await {
        Ok(shown) => {
            // A request that waits in the queue has an id and no run yet.
            let status = if id.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
            page::answer(status, whole(&state, &shown, id, &form_token))
        }
        Err(error) => page::no_database(&state, &error, true),
    }
}

async fn look(state: &HttpState, id: Option<Uuid>) -> Result<Shown, pool::StoreError> {
    let account = state.names.account();
    let mut shown =
        Shown { state: state::of(&state.pool, account).await?, run: None, running: None, lines: Vec::new() };
    if let Some(id) = id.map(RunId) {
        shown.run = report::runs(&state.pool, account, Some(id), 1).await?.pop();
        shown.lines = log::of(&state.pool, account, id).await?;
        if let Some(run) = shown.run.as_ref().filter(|run| run.status == "running") {
            shown.running = under_way::look(state, (id, &run.request, run.api_requests)).await?;
        }
    }
    Ok(shown)
}

fn whole(state: &HttpState, shown: &Shown, id: Option<Uuid>, form_token: &str) -> Markup {
    let content = match (&shown.run, id) {
        (Some(run), _) => html! {
            section {
                h1 { "Run " (pill(&run.status, &run.status)) }
                (facts(run))
                @if let Some(running) = &shown.running { (progress(&shown.state, running, form_token)) }
                @else if run.status != "running" && !run.request.is_null() { (again(run, form_token)) }
            }
            (failures(state, run))
            section { h2 { "Resources" } (resources(run)) }
            section { h2 { "Log" } (lines(&shown.lines)) }
        },
        (None, Some(id)) => html! {
            section {
                h1 { "No run yet" }
                p { "No run has the id " code { (id) } "." }
                p {
                    "A request that waits in the queue has none yet: a worker starts it as soon as it is free, and \
                     this page shows it then."
                }
                (cancel(id, form_token))
            }
        },
        (None, None) => html! { section { h1 { "No run" } p { "The id of a run is a UUID." } } },
    };
    let refreshes = shown.run.as_ref().is_none_or(|run| run.status == "running");
    let pill = pill_of(&shown.state, state.consuming.is_active());
    let frame_of_page = Frame { title: "Run", place: Some(Place::Runs), pill, form_token: Some(form_token), refreshes };
    frame(state, &frame_of_page, content)
}

fn facts(run: &RunStatusRow) -> Markup {
    let (mode, details) = asked(&run.request);
    html! {
        dl {
            dt { "id" } dd { code { (run.request_id) } }
            dt { "asked for" } dd { (mode) @if !details.is_empty() { " · " (details) } }
            dt { "started" } dd { (moment(run.started_at)) }
            dt { "finished" }
            dd { @match run.finished_at {
                Some(at) => { (moment(at)) ", " (took(run.started_at, Some(at))) },
                None => "not yet",
            } }
            dt { "API requests" } dd { (thousands(run.api_requests)) }
            dt { "resources" } dd { (statuses(run)) }
            @if let Some(error) = &run.error { dt { "error" } dd .error { (error) } }
        }
        p .quiet { "As JSON: " a href=(format!("/sync/runs/{}", run.request_id)) { "/sync/runs/" (run.request_id) } }
    }
}

fn again(run: &RunStatusRow, form_token: &str) -> Markup {
    html! {
        form .actions method="post" action="/dashboard/again" {
            input type="hidden" name="form_token" value=(form_token);
            input type="hidden" name="id" value=(run.request_id);
            button .second title="A new request with the same parameters" { "Run again" }
        }
    }
}

/// The resources that failed, once for all that failed alike, with what to do.
fn failures(state: &HttpState, run: &RunStatusRow) -> Markup {
    let mode = match asked(&run.request).0 {
        "full" => Mode::Full,
        "audit" => Mode::Audit,
        _ => Mode::Incremental,
    };
    let mut alike: Vec<(Cause, &str, Vec<&str>)> = Vec::new();
    for (name, step) in steps(run).into_iter().filter(|(_, step)| step["status"] == "failed") {
        let cause = Cause::parse(step["cause"].as_str().unwrap_or_default());
        let why = step["error"].as_str().unwrap_or("no reason is known");
        match alike.iter_mut().find(|(other, said, _)| (*other, *said) == (cause, why)) {
            Some((.., names)) => names.push(name),
            None => alike.push((cause, why, vec![name])),
        }
    }
    html! {
        @for (cause, why, names) in alike {
            section .finding {
                p { strong { (names.join(", ")) " failed" } }
                p { (why) }
                p { (advised(&cause.advice(state.names.account(), &names, mode))) }
            }
        }
    }
}

fn steps(run: &RunStatusRow) -> Vec<(&String, &Value)> {
    let mut steps: Vec<_> = run.resources.as_object().into_iter().flatten().collect();
    steps.sort_by_key(|(name, step)| (step["ordinal"].as_i64(), *name));
    steps
}

fn time_of(value: &Value) -> Option<DateTime<Utc>> {
    value.as_str().and_then(|text| text.parse().ok())
}

fn resources(run: &RunStatusRow) -> Markup {
    let audit = asked(&run.request).0 == "audit";
    let counts: &[(&str, &str)] = match audit {
        true => &[("listed", "listed"), ("missing", "missing"), ("stale", "stale"), ("wrong", "wrong")],
        false => &[
            ("listed", "listed"),
            ("created", "created"),
            ("updated", "updated"),
            ("deleted", "deleted"),
            ("detailed", "details"),
        ],
    };
    html! {
        div .wide tabindex="0" role="region" aria-label="Resources of the run" { table {
            thead { tr {
                th scope="col" { "resource" }
                th scope="col" { "status" }
                @for (_, name) in counts { th scope="col" .number { (name) } }
                th scope="col" .timeline { "from its start to its end" }
            } }
            tbody { @for (name, step) in steps(run) { tr {
                td { a href=(format!("/dashboard/resources/{name}")) { (name) }
                    @if let Some(error) = step["error"].as_str() {
                        div .why .error[step["status"] != "skipped"] { (error) }
                    }
                    @for drift in step["drift"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                        div .why { (drift) }
                    }
                }
                td {
                    @match step["status"].as_str() {
                        Some(status) => (pill(status, status)),
                        None => (pill("", doing(step))),
                    }
                    @if step["verified"] == true { " " span .quiet { "verified" } }
                }
                @for (key, _) in counts { td .number { (thousands(step[*key].as_i64().unwrap_or_default())) } }
                td .timeline { (bar(run, step)) }
            } } }
        } }
    }
}

/// What is done at a resource that is not done.
fn doing(step: &Value) -> &'static str {
    match step["phase"].as_str() {
        _ if step["began_at"].is_null() => "to do",
        Some("list") => "list",
        Some("sweep") => "missing rows",
        Some("detail") => "details",
        Some("aged") => "old details",
        _ => "at it",
    }
}

/// When a resource was worked on, within the time of the run.
fn bar(run: &RunStatusRow, step: &Value) -> Markup {
    let Some(began) = time_of(&step["began_at"]) else { return html! {} };
    let now = run.finished_at.unwrap_or_else(Utc::now);
    let ended = time_of(&step["ended_at"]).unwrap_or(now);
    let whole = (now - run.started_at).num_milliseconds().max(1) as f64;
    let place = |at: DateTime<Utc>| ((at - run.started_at).num_milliseconds() as f64 / whole).clamp(0.0, 1.0) * 100.0;
    let (from, to) = (place(began), place(ended));
    let lasted = span_of((ended - began).num_seconds());
    let label = format!("from {} to {}, {lasted}", began.format("%H:%M:%S"), ended.format("%H:%M:%S UTC"));
    html! {
        svg .bar viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=(label) {
            title { (label) }
            rect .whole x="0" y="4" width="100" height="2" {}
            rect x=(format!("{from:.1}")) y="0" width=(format!("{:.1}", (to - from).max(1.0))) height="10" {}
        }
    }
}

fn lines(lines: &[StoredLine]) -> Markup {
    let number = i64::try_from(lines.len()).unwrap_or(i64::MAX);
    html! {
        @if lines.is_empty() {
            p .quiet {
                "No line is stored. Lines at INFO and above are, as far as RUST_LOG lets them through; of a run that \
                 completed, for a week."
            }
        } @else {
            p .quiet { (count(number, "line")) @if number >= log::MOST { ", the newest; the worker's log has all" } }
            div .log tabindex="0" role="region" aria-label="Log lines" { table {
                thead { tr { th scope="col" { "time" } th scope="col" { "level" } th scope="col" { "line" } } }
                tbody { @for line in lines { tr {
                    td .line { time datetime=(line.at.to_rfc3339()) { (line.at.format("%H:%M:%S%.3f")) } }
                    td { span .bad[line.level == "ERROR"] .fair[line.level == "WARN"] { (line.level) } }
                    td { (line.message) (fields(&line.fields)) }
                } } }
            } }
        }
    }
}

fn fields(fields: &Value) -> Markup {
    let empty = Map::new();
    let fields = fields.as_object().unwrap_or(&empty);
    html! {
        @for (name, value) in fields {
            " " span .quiet { (name) "=" @match value { Value::String(text) => (text), other => (other) } }
        }
    }
}
