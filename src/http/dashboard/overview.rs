//! The dashboard itself, made from what was looked up.

use maud::{Markup, html};
use serde_json::Value;
use uuid::Uuid;

use super::budget::Budget;
use super::numbers::{ago, thousands, time, took, until};
use super::page::{frame, pill};
use crate::http::paths::AUTHORIZE;
use crate::http::state::HttpState;
use crate::messages::{AccountState, Advice, Cause, Forecast, Mode, QueueState, StateName};
use crate::store::progress::HeldDeletions;
use crate::store::report::{RunStatusRow, Shortfall, TableStatus};
use crate::store::tokens::authorization::Authorization;

/// What the dashboard shows.
pub(super) struct Shown {
    /// What the account is doing, or waits for.
    pub(super) state: AccountState,
    /// What waits in the queues, where the broker could be asked.
    pub(super) queue: Option<QueueState>,
    /// Deletions that are held.
    pub(super) held: Vec<HeldDeletions>,
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

/// A problem that an operator or a user should solve.
struct Finding {
    problem: String,
    advice: Markup,
}

/// The dashboard. `asked`: the request that the user has just made.
pub(super) fn dashboard(state: &HttpState, shown: &Shown, form_token: &str, asked: Option<Uuid>) -> Markup {
    let content = html! {
        @if let Some(id) = asked.filter(|id| !shown.runs.iter().any(|run| run.request_id == *id)) {
            p .note role="status" {
                "The request " code { (id) } " is in the queue. A worker starts it as soon as it is free."
            }
        }
        @for finding in findings(state, shown) {
            section .finding role="alert" { p { strong { (finding.problem) } } p { (finding.advice) } }
        }
        (now(shown, form_token))
        section .columns {
            (authorization(&shown.authorization))
            (budget(&shown.budget))
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
        (false, _) => pill("failed", "not authorized"),
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

fn now(shown: &Shown, form_token: &str) -> Markup {
    let Shown { state, running, queue, .. } = shown;
    html! {
        section {
            h2 { "Now" }
            p data-state=(state.name.as_str()) { (state.sentence()) }
            @if let Some(waiting) = queue.as_ref().and_then(QueueState::sentence) { p .quiet { (waiting) } }
            @for running in running { (progress(state, running, form_token)) }
            form .actions method="post" action="/dashboard/sync" {
                input type="hidden" name="form_token" value=(form_token);
                button name="mode" value="incremental" { "Sync what changed" }
                button .second name="mode" value="full"
                    title="Reads every list completely, and finds what was deleted" { "Sync everything" }
            }
        }
    }
}

fn authorization(authorization: &Authorization) -> Markup {
    html! {
        div {
            h2 { "Authorization" }
            @match authorization {
                Authorization { authorized: true, authorized_by, teamleader_account, .. } => {
                    p { (pill("completed", "authorized")) @if let Some(by) = authorized_by { " by " (by) } }
                    @if let Some(id) = teamleader_account { p .quiet { "Teamleader account " code { (id) } } }
                }
                _ => p { (pill("failed", "not authorized")) }
            }
            p { a .button .second href=(AUTHORIZE) {
                @if authorization.authorized { "Connect again" } @else { "Connect to Teamleader" }
            } }
        }
    }
}

fn budget(budget: &Budget) -> Markup {
    html! {
        div {
            h2 { "Budget of the API" }
            @match budget.last() {
                Some((used, allowed)) => p { (used) " of " (allowed) " requests in the last 60 s" },
                None => p .quiet { "No request was made yet." },
            }
            (budget.plot())
            p .quiet { "The last ten minutes, of this process." }
        }
    }
}

fn findings(state: &HttpState, shown: &Shown) -> Vec<Finding> {
    let account = state.names.account();
    let mut findings = Vec::new();
    if let Authorization { authorized: false, reason, .. } = &shown.authorization {
        let reason = reason.as_deref().unwrap_or("no reason is known");
        findings.push(Finding {
            problem: format!("The account is not authorized: {reason}."),
            advice: html! {
                "Requests wait in the queue until it is authorized. "
                a href=(AUTHORIZE) { "Connect to Teamleader" }
            },
        });
    }
    if shown.authorization.authorized && !shown.consuming {
        findings.push(Finding {
            problem: "This process does not consume requests.".to_owned(),
            advice: html! {
                "Is RabbitMQ up, and AMQP_URL right? The worker retries by itself; "
                code { "teamleader2db doctor" } " reports the cause."
            },
        });
    }
    if shown.unsent > 0 && shown.running.is_empty() {
        findings.push(Finding {
            problem: format!("{} events are not sent yet.", shown.unsent),
            advice: html! { "They stay in the outbox and are sent as soon as RabbitMQ takes them." },
        });
    }
    // A feature that the account does not have is not a problem.
    let is_said = |shortfall: &&Shortfall| shortfall.cause == Some(Cause::DeletionsHeld);
    let failed = shown.shortfalls.iter().filter(|shortfall| shortfall.status == "failed");
    for shortfall in failed.filter(|shortfall| !is_said(shortfall)) {
        let reason = shortfall.error.as_deref().unwrap_or("no reason is known");
        let cause = shortfall.cause.unwrap_or(Cause::Unknown);
        let advice = cause.advice(account, &[&shortfall.resource], shortfall.mode);
        findings.push(Finding {
            problem: format!("{} failed.", shortfall.resource),
            advice: html! {
                (ago(shortfall.at)) ": " (reason.trim_end_matches('.')) ". " (advised(&advice))
            },
        });
    }
    for held in &shown.held {
        let advice = Cause::DeletionsHeld.advice(account, &[&held.resource], Mode::Full);
        findings.push(Finding {
            problem: format!(
                "{} of {} {} are missing from Teamleader and were not marked deleted.",
                held.missing, held.rows, held.resource
            ),
            advice: html! { "Since " (ago(held.since)) ". " (advised(&advice)) },
        });
    }
    findings
}

/// Advice, with its commands as they are typed.
fn advised(advice: &Advice) -> Markup {
    html! {
        (advice.first) ": "
        @for (place, command) in advice.commands.iter().enumerate() {
            @if place > 0 { ", then " }
            code { (command) }
        }
    }
}

fn progress(state: &AccountState, running: &Running, form_token: &str) -> Markup {
    let Forecast { api_requests, done_at, at_least } = running.forecast;
    let percent = if api_requests > 0 { 100 * running.made / api_requests } else { 0 };
    html! {
        div .running {
            p {
                (running.mode.as_str()) " sync" @if !at_least { ", " (percent) " %" }
                span .quiet {
                    " · " (running.made)
                    @if at_least { " of at least " } @else { " of about " }
                    (api_requests) " requests"
                    @if at_least { ", the rest is not known yet" }
                    // While it waits, when it is done is not known.
                    @else if matches!(state.name, StateName::Running | StateName::WaitingForBudget) {
                        " · done " (until(done_at))
                    }
                }
            }
            @if at_least { progress aria-label="the rest is not known yet" {} } @else {
                progress max=(api_requests) value=(running.made) aria-label=(format!("{percent} %")) {}
            }
            form .actions method="post" action="/dashboard/cancel" {
                input type="hidden" name="form_token" value=(form_token);
                input type="hidden" name="id" value=(running.id);
                code .quiet { (running.id) }
                button .second title="Rows that it has written stay" { "Cancel" }
            }
        }
    }
}

fn resources(tables: &[TableStatus], shortfalls: &[Shortfall]) -> Markup {
    let is_synced = |table: &&TableStatus| table.rows + table.deleted > 0 || table.last_success_at.is_some();
    let (synced, others): (Vec<_>, Vec<_>) = tables.iter().partition(is_synced);
    html! {
        @if synced.is_empty() { p .quiet { "Nothing was copied yet: start a sync." } } @else {
            div .wide { table {
                thead { tr {
                    th { "resource" }
                    th .number { "rows" }
                    th { "last success" }
                    th .number title="rows whose detail is missing or old" { "stale" }
                    th .number .extra { "deleted" }
                    th .extra { "changes since" }
                } }
                tbody { @for table in &synced { tr {
                    td { (table.resource) }
                    td .number { (thousands(table.rows)) }
                    td .line { @match table.last_success_at { Some(at) => (ago(at)), None => span .quiet { "never" } }
                        @for shortfall in shortfalls.iter().filter(|shortfall| shortfall.resource == table.resource) {
                            " " span title=(shortfall.error.as_deref().unwrap_or_default()) {
                                (pill(&shortfall.status, &shortfall.status))
                            }
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
                p .quiet {
                    @for (place, table) in others.iter().enumerate() { @if place > 0 { ", " } (table.resource) }
                }
            }
        }
    }
}

fn run_of(run: &RunStatusRow) -> Markup {
    let steps: Vec<(&String, &Value)> = run.resources.as_object().into_iter().flatten().collect();
    let sum = |what: &str| thousands(steps.iter().filter_map(|(_, step)| step[what].as_i64()).sum());
    let mode = run.request["mode"].as_str().unwrap_or(if run.request.is_null() { "-" } else { "incremental" });
    html! {
        details .run data-key=(run.request_id) {
            summary {
                (pill(&run.status, &run.status))
                span { (mode) }
                span { (ago(run.started_at)) }
                span .quiet { (took(run.started_at, run.finished_at)) }
                span .quiet { (thousands(run.api_requests)) " requests" }
                span .quiet { "+" (sum("created")) " ~" (sum("updated")) " −" (sum("deleted")) }
            }
            p { code { (run.request_id) } }
            @if let Some(error) = &run.error { p .error { (error) } }
            div .wide { table {
                thead { tr {
                    th { "resource" }
                    th { "" }
                    th .number { "listed" }
                    th .number { "created" }
                    th .number { "updated" }
                    th .number { "deleted" }
                    th .number { "details" }
                } }
                tbody { @for (resource, step) in &steps { tr {
                    td { (resource) @if let Some(error) = step["error"].as_str() {
                        div .why .error[step["status"] != "skipped"] { (error) }
                    } }
                    td {
                        @let status = step["status"].as_str().or(step["phase"].as_str()).unwrap_or_default();
                        (pill(status, status))
                    }
                    @for what in ["listed", "created", "updated", "deleted", "detailed"] {
                        td .number { (thousands(step[what].as_i64().unwrap_or_default())) }
                    }
                } } }
            } }
        }
    }
}
