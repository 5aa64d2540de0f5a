//! The page, made from what was looked up.

use chrono::{DateTime, SecondsFormat, Utc};
use maud::{DOCTYPE, Markup, html};
use serde_json::Value;
use uuid::Uuid;

use super::Next;
use super::budget::Budget;
use crate::http::oauth::AUTHORIZE;
use crate::http::state::HttpState;
use crate::messages::{Forecast, Mode};
use crate::store::report::{RunStatusRow, Shortfall, TableStatus};
use crate::store::tokens::authorization::Authorization;

/// What the dashboard shows.
pub(super) struct Shown {
    pub(super) authorization: Authorization,
    /// Whether this process consumes, or stands by.
    pub(super) consuming: bool,
    /// Events that the broker has not confirmed.
    pub(super) unsent: i64,
    pub(super) tables: Vec<TableStatus>,
    /// Resources whose last sync did not complete.
    pub(super) shortfalls: Vec<Shortfall>,
    pub(super) budget: Budget,
    pub(super) running: Vec<Running>,
    pub(super) runs: Vec<RunStatusRow>,
}

/// A run under way.
pub(super) struct Running {
    pub(super) id: Uuid,
    pub(super) mode: Mode,
    /// Requests so far.
    pub(super) made: i64,
    pub(super) forecast: Forecast,
}

/// Something that somebody should do.
struct Finding {
    what: String,
    mend: Markup,
}

pub(super) fn dashboard(state: &HttpState, shown: &Shown, form_token: &str, asked: Option<Uuid>) -> Markup {
    let content = html! {
        @if let Some(id) = asked.filter(|id| !shown.runs.iter().any(|run| run.request_id == *id)) {
            p .note role="status" { "The request " code { (id) } " is in the queue. A worker begins it as soon as it is free." }
        }
        @for finding in findings(shown) {
            section .finding role="alert" { p { strong { (finding.what) } } p { (finding.mend) } }
        }
        section {
            h2 { "Now" }
            @for running in &shown.running { (progress(running)) }
            @if shown.running.is_empty() { p .quiet { "Nothing is running." } }
            form .actions method="post" action="/dashboard/sync" {
                input type="hidden" name="form_token" value=(form_token);
                button name="mode" value="incremental" { "Sync what changed" }
                button .second name="mode" value="full" title="Reads every list completely, and finds what was deleted" { "Sync everything" }
            }
        }
        section .columns {
            div {
                h2 { "Authorization" }
                @match &shown.authorization {
                    Authorization { authorized: true, authorized_by, teamleader_account, .. } => {
                        p { (pill("completed", "authorized")) @if let Some(by) = authorized_by { " by " (by) } }
                        @if let Some(id) = teamleader_account { p .quiet { "Teamleader account " code { (id) } } }
                    }
                    _ => p { (pill("failed", "not authorized")) }
                }
                p { a .button .second href=(AUTHORIZE) {
                    @if shown.authorization.authorized { "Connect anew" } @else { "Connect to Teamleader" }
                } }
            }
            div {
                h2 { "Budget of the API" }
                @match shown.budget.last() {
                    Some((used, allowed)) => p { (used) " of " (allowed) " requests in the last 60 s" },
                    None => p .quiet { "Nothing was asked yet." },
                }
                (shown.budget.plot())
                p .quiet { "The last ten minutes, of this process." }
            }
        }
        section {
            h2 { "Runs" }
            @if shown.runs.is_empty() { p .quiet { "None yet." } }
            @for run in &shown.runs { (run_of(run)) }
        }
        section {
            h2 { "Resources" }
            (resources(&shown.tables, &shown.shortfalls))
        }
    };
    let pill = match (shown.authorization.authorized, shown.consuming) {
        (true, true) => pill("completed", "working"),
        (true, false) => pill("failed", "no broker"),
        (false, _) => pill("failed", "waits for a person"),
    };
    let logout = html! {
        @if state.guard.has_token() {
            form method="post" action="/dashboard/logout" {
                input type="hidden" name="form_token" value=(form_token);
                button .link { "Log out" }
            }
        }
    };
    frame(state, html! { (pill) }, logout, content)
}

/// The form in which a browser logs in; `problem`: why the last one was not taken.
pub(super) fn login(state: &HttpState, next: Next, problem: Option<&str>) -> Markup {
    let content = html! {
        section .login {
            h2 { "Log in" }
            @if let Some(problem) = problem { p .finding role="alert" { (problem) } }
            form method="post" action="/dashboard/login" {
                @if next == Next::Authorize { input type="hidden" name="next" value=(AUTHORIZE); }
                label for="token" { "Token (HTTP_API_TOKEN)" }
                input #token type="password" name="token" required autofocus autocomplete="current-password";
                button { "Log in" }
            }
        }
    };
    frame(state, html! {}, html! {}, content)
}

/// What a browser sees that has logged in to begin an authorization: it goes on by itself.
pub(super) fn to_authorize(state: &HttpState) -> Markup {
    let content = html! {
        meta http-equiv="refresh" content=(format!("0; url={AUTHORIZE}"));
        section { p { a href=(AUTHORIZE) { "Go on to Teamleader" } } }
    };
    frame(state, html! {}, html! {}, content)
}

/// What became of a code.
pub(super) fn after_authorizing(state: &HttpState, is_well: bool, said: &str) -> Markup {
    let content = html! {
        section .finding[!is_well] {
            p { strong { (said) } }
            @if is_well { p { "The account is connected. Requests that waited begin by themselves." } }
            @else { p { a href=(AUTHORIZE) { "Try again" } } }
            p { a href="/dashboard" { "To the dashboard" } }
        }
    };
    frame(state, html! {}, html! {}, content)
}

/// In place of the dashboard.
pub(super) fn no_database(state: &HttpState) -> Markup {
    let content = html! {
        section .finding role="alert" {
            p { strong { "The database cannot be used." } }
            p { "The worker tries on by itself. Its log and " code { "teamleader2db doctor" } " say what is wrong." }
        }
    };
    frame(state, pill("failed", "no database"), html! {}, content)
}

fn frame(state: &HttpState, pill: Markup, right: Markup, content: Markup) -> Markup {
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

fn findings(shown: &Shown) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Authorization { authorized: false, reason, .. } = &shown.authorization {
        let reason = reason.as_deref().unwrap_or("no reason is known");
        findings.push(Finding {
            what: format!("The account is not authorized: {reason}."),
            mend: html! { "Requests wait in the queue until somebody does it. " a href=(AUTHORIZE) { "Connect to Teamleader" } },
        });
    }
    if shown.authorization.authorized && !shown.consuming {
        findings.push(Finding {
            what: "This process does not consume requests.".to_owned(),
            mend: html! { "Is RabbitMQ up, and AMQP_URL right? It tries on by itself; " code { "teamleader2db doctor" } " says what is wrong." },
        });
    }
    if shown.unsent > 0 && shown.running.is_empty() {
        findings.push(Finding {
            what: format!("{} events are not sent yet.", shown.unsent),
            mend: html! { "They stay in the outbox, and are sent as soon as RabbitMQ takes them." },
        });
    }
    // What the account does not have is nothing to mend.
    for shortfall in shown.shortfalls.iter().filter(|shortfall| shortfall.status == "failed") {
        findings.push(Finding {
            what: format!("{} failed.", shortfall.resource),
            mend: html! {
                (ago(shortfall.at)) ": " (shortfall.error.as_deref().unwrap_or("no reason is known").trim_end_matches('.'))
                ". Once that is mended, sync again."
            },
        });
    }
    findings
}

fn progress(running: &Running) -> Markup {
    let Forecast { api_requests, done_at } = running.forecast;
    let percent = if api_requests > 0 { 100 * running.made / api_requests } else { 0 };
    html! {
        div .running {
            p { (running.mode.as_str()) " sync, " (percent) " %" span .quiet { " · " (running.made) " of about " (api_requests) " requests · done " (until(done_at)) } }
            progress max=(api_requests) value=(running.made) aria-label=(format!("{percent} %")) {}
            p .quiet { code { (running.id) } }
        }
    }
}

fn resources(tables: &[TableStatus], shortfalls: &[Shortfall]) -> Markup {
    let is_synced = |table: &&TableStatus| table.rows + table.deleted > 0 || table.last_success_at.is_some();
    let (synced, others): (Vec<_>, Vec<_>) = tables.iter().partition(is_synced);
    html! {
        @if synced.is_empty() { p .quiet { "Nothing was copied yet: ask for a sync." } } @else {
            div .wide { table {
                thead { tr {
                    th { "resource" } th .number { "rows" } th { "last success" } th .number title="rows whose detail is missing or old" { "stale" }
                    th .number .extra { "deleted" } th .extra { "changes since" }
                } }
                tbody { @for table in &synced { tr {
                    td { (table.resource) }
                    td .number { (thousands(table.rows)) }
                    td .line { @match table.last_success_at { Some(at) => (ago(at)), None => span .quiet { "never" } }
                        @for shortfall in shortfalls.iter().filter(|shortfall| shortfall.resource == table.resource) {
                            " " span title=(shortfall.error.as_deref().unwrap_or_default()) { (pill(&shortfall.status, &shortfall.status)) }
                        }
                    }
                    td .number .warn[table.stale_details > 0] { (thousands(table.stale_details)) }
                    td .number .extra { (thousands(table.deleted)) }
                    td .extra { @match table.watermark { Some(at) => (time(at)), None => span .quiet { "–" } } }
                } } }
            } }
        }
        @if !others.is_empty() {
            details data-key="others" {
                summary { (others.len()) @if !synced.is_empty() { " more" } " that are not synced" }
                p .quiet { @for (place, table) in others.iter().enumerate() { @if place > 0 { ", " } (table.resource) } }
            }
        }
    }
}

fn run_of(run: &RunStatusRow) -> Markup {
    let steps: Vec<(&String, &Value)> = run.resources.as_object().into_iter().flatten().collect();
    let sum = |what: &str| steps.iter().filter_map(|(_, step)| step[what].as_i64()).sum::<i64>();
    let mode = run.request["mode"].as_str().unwrap_or("incremental");
    html! {
        details .run data-key=(run.request_id) {
            summary {
                (pill(&run.status, &run.status))
                span { (mode) }
                span { (ago(run.started_at)) }
                span .quiet { (took(run.started_at, run.finished_at)) }
                span .quiet { (thousands(run.api_requests)) " requests" }
                span .quiet { "+" (thousands(sum("created"))) " ~" (thousands(sum("updated"))) " −" (thousands(sum("deleted"))) }
            }
            p { code { (run.request_id) } }
            @if let Some(error) = &run.error { p .error { (error) } }
            div .wide { table {
                thead { tr {
                    th { "resource" } th { "" } th .number { "listed" } th .number { "created" } th .number { "updated" }
                    th .number { "deleted" } th .number { "details" }
                } }
                tbody { @for (resource, step) in &steps { tr {
                    td { (resource) @if let Some(error) = step["error"].as_str() {
                        div .why .error[step["status"] != "skipped"] { (error) }
                    } }
                    td { @let status = step["status"].as_str().or(step["phase"].as_str()).unwrap_or_default(); (pill(status, status)) }
                    @for what in ["listed", "created", "updated", "deleted", "detailed"] {
                        td .number { (thousands(step[what].as_i64().unwrap_or_default())) }
                    }
                } } }
            } }
        }
    }
}

/// A word in a colour: `completed`, `partial`, `failed`; any other is neutral.
fn pill(kind: &str, word: &str) -> Markup {
    let class = match kind {
        "completed" => "pill good",
        "partial" | "skipped" => "pill fair",
        "failed" => "pill bad",
        _ => "pill",
    };
    html! { span class=(class) { (word) } }
}

fn ago(at: DateTime<Utc>) -> Markup {
    html! { time datetime=(at.to_rfc3339_opts(SecondsFormat::Secs, true)) title=(time(at)) { (span_of((Utc::now() - at).num_seconds())) " ago" } }
}

fn until(at: DateTime<Utc>) -> String {
    match (at - Utc::now()).num_seconds() {
        ..=1 => "at any moment".to_owned(),
        seconds => format!("in about {}", span_of(seconds)),
    }
}

fn took(from: DateTime<Utc>, to: Option<DateTime<Utc>>) -> String {
    match to {
        Some(to) if (to - from).num_seconds() < 1 => "took less than 1 s".to_owned(),
        Some(to) => format!("took {}", span_of((to - from).num_seconds())),
        None => "under way".to_owned(),
    }
}

/// Seconds in the unit that fits.
fn span_of(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A number in groups of three digits.
fn thousands(number: i64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && digit != '-' && (digits.len() - place).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans_are_written_for_people() {
        let written: Vec<String> = [0, 999, 1_000, 1_234_567, -1_000].map(thousands).into();
        assert_eq!(written.join(" ").replace('\u{202f}', "'"), "0 999 1'000 1'234'567 -1'000");
        assert_eq!([-5, 119, 120, 7_300, 200_000].map(span_of), ["0 s", "119 s", "2 min", "2 h", "2 days"]);
    }
}
