//! The overview: what the account is doing, what needs somebody, what ran last, and how fresh each resource is.

use maud::{Markup, html};

use super::budget::Budget;
use super::numbers::{ago, count, moment, sentence_case, thousands};
use super::page::{Frame, Place, advised, frame, pill, pill_of};
use super::under_way::{Running, progress};
use super::{audit, plots, runs, webhooks};
use crate::http::paths::AUTHORIZE;
use crate::http::state::HttpState;
use crate::ids::Account;
use crate::messages::{AccountState, Cause, Mode, QueueState};
use crate::store::progress::HeldDeletions;
use crate::store::report::{AuditState, Day, RunSummary, Shortfall, TableStatus, WebhookProblem, WebhookState};
use crate::store::tokens::authorization::Authorization;
use crate::store::workers::WorkerRow;

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
    pub(super) runs: Vec<RunSummary>,
    pub(super) days: Vec<Day>,
    pub(super) workers: Vec<WorkerRow>,
    /// Webhooks, where they are or were registered.
    pub(super) webhooks: Option<WebhookState>,
    /// The always-on audit, where there is or was one.
    pub(super) audit: Option<AuditState>,
}

/// A problem that an operator or a user should solve.
struct Finding {
    problem: String,
    advice: Markup,
}

/// The overview.
pub(super) fn overview(state: &HttpState, shown: &Shown, form_token: &str) -> Markup {
    let content = html! {
        h1 .only-read { "Overview" }
        div #notices aria-live="polite" {
            @for finding in findings(state, shown) {
                section .finding { p { strong { (finding.problem) } } p { (finding.advice) } }
            }
        }
        (now(shown, form_token))
        section .columns {
            (authorization(&shown.authorization))
            (budget(&shown.budget))
        }
        @if let Some(known) = &shown.webhooks { (webhooks::block(known)) }
        @if let Some(known) = &shown.audit { (audit::block(known)) }
        section {
            h2 { "Last runs" }
            @if shown.runs.is_empty() { p .quiet { "None yet." } }
            (runs::table(&shown.runs))
            @if !shown.runs.is_empty() { p { a href="/dashboard/runs" { "All runs" } } }
        }
        section {
            h2 { "Resources" }
            (resources(&shown.tables, &shown.shortfalls))
        }
        @if !shown.days.is_empty() { section { h2 { "Days" } (plots::of_days(&shown.days, false)) } }
        section {
            h2 { "Workers" }
            (workers(&shown.workers))
        }
    };
    let frame_of_page = Frame {
        title: "Overview",
        place: Some(Place::Overview),
        pill: pill_of(&shown.state, shown.consuming),
        form_token: Some(form_token),
        refreshes: true,
    };
    frame(state, &frame_of_page, content)
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
                button name="ask" value="incremental" { "Sync what changed" }
                button .second name="ask" value="full"
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
                Some((used, allowed)) => p {
                    (count(used.into(), "request")) " of " (thousands(allowed.into())) " in the last 60 s"
                },
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
            problem: format!(
                "{} not sent yet.",
                if shown.unsent == 1 { "1 event is".to_owned() } else { format!("{} events are", shown.unsent) }
            ),
            advice: html! { "They stay in the outbox and are sent as soon as RabbitMQ takes them." },
        });
    }
    // A feature that the account does not have is not a problem.
    let is_said = |shortfall: &&Shortfall| shortfall.cause == Some(Cause::DeletionsHeld);
    let failed = shown.shortfalls.iter().filter(|shortfall| shortfall.status == "failed");
    findings.extend(failures(account, failed.filter(|shortfall| !is_said(shortfall))));
    for held in &shown.held {
        let advice = Cause::DeletionsHeld.advice(account, &[&held.resource], Mode::Full);
        findings.push(Finding {
            problem: format!(
                "{} of {} {} are missing from Teamleader and were not marked deleted.",
                held.missing, held.rows, held.resource
            ),
            advice: html! {
                "Since " (ago(held.since)) ". " (advised(&advice)) ", or on "
                a href=(format!("/dashboard/resources/{}", held.resource)) { "its page" } "."
            },
        });
    }
    let problems = shown.webhooks.iter().flat_map(|known| known.problems(account, state.webhooks.is_some()));
    findings.extend(problems.map(|WebhookProblem { what, fix, .. }| Finding {
        problem: format!("{}.", sentence_case(&what)),
        advice: html! { (sentence_case(&fix)) "." },
    }));
    findings
}

/// Resources that failed: once for all that failed alike.
fn failures<'s>(account: &Account, failed: impl Iterator<Item = &'s Shortfall>) -> Vec<Finding> {
    let mut alike: Vec<(Cause, Vec<&Shortfall>)> = Vec::new();
    for shortfall in failed {
        let cause = shortfall.cause.unwrap_or(Cause::Unknown);
        let is_alike = |(of, others): &&mut (Cause, Vec<&Shortfall>)| {
            let same = |other: &&Shortfall| other.mode == shortfall.mode && other.error == shortfall.error;
            *of == cause && others.first().is_some_and(same)
        };
        match alike.iter_mut().find(is_alike) {
            Some((_, others)) => others.push(shortfall),
            None => alike.push((cause, vec![shortfall])),
        }
    }
    let finding = |(cause, group): (Cause, Vec<&Shortfall>)| {
        let first = group.iter().max_by_key(|shortfall| shortfall.at)?;
        let names: Vec<&str> = group.iter().map(|shortfall| shortfall.resource.as_str()).collect();
        let reason = first.error.as_deref().unwrap_or("no reason is known");
        let advice = html! {
            (ago(first.at)) ": " (reason.trim_end_matches('.')) ". "
            (advised(&cause.advice(account, &names, first.mode))) ", or on the page of "
            @for (place, name) in names.iter().enumerate() {
                @if place > 0 { ", " } a href=(format!("/dashboard/resources/{name}")) { (name) }
            } "."
        };
        Some(Finding { problem: format!("{} failed.", names.join(", ")), advice })
    };
    alike.into_iter().filter_map(finding).collect()
}

fn resources(tables: &[TableStatus], shortfalls: &[Shortfall]) -> Markup {
    let is_synced = |table: &&TableStatus| table.rows + table.deleted > 0 || table.last_success_at.is_some();
    let (synced, others): (Vec<_>, Vec<_>) = tables.iter().partition(is_synced);
    html! {
        @if synced.is_empty() { p .quiet { "Nothing was copied yet: start a sync." } } @else {
            div .wide tabindex="0" role="region" aria-label="Resources" { table {
                thead { tr {
                    th scope="col" { "resource" }
                    th scope="col" { "last sync" }
                    th scope="col" .number { "rows" }
                    th scope="col" { "last success" }
                    th scope="col" .number title="rows whose detail is missing or old" { "stale" }
                    th scope="col" .number .extra { "deleted" }
                    th scope="col" .extra { "changes since" }
                } }
                tbody { @for table in &synced { (resource(table, shortfalls)) } }
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

fn resource(table: &TableStatus, shortfalls: &[Shortfall]) -> Markup {
    let shortfall = shortfalls.iter().find(|shortfall| shortfall.resource == table.resource);
    let status = match (shortfall, table.last_success_at) {
        (Some(shortfall), _) => shortfall.status.as_str(),
        (None, Some(_)) => "completed",
        (None, None) => "",
    };
    html! {
        tr {
            td { a href=(format!("/dashboard/resources/{}", table.resource)) { (table.resource) } }
            td { span title=[shortfall.and_then(|shortfall| shortfall.error.as_deref())] { (pill(status, status)) } }
            td .number { (thousands(table.rows)) }
            td .line { @match table.last_success_at { Some(at) => (ago(at)), None => span .quiet { "never" } } }
            td .number .warn[table.stale_details > 0] { (thousands(table.stale_details)) }
            td .number .extra { (thousands(table.deleted)) }
            td .line .extra { @match table.watermark { Some(at) => (ago(at)), None => span .quiet { "–" } } }
        }
    }
}

fn workers(workers: &[WorkerRow]) -> Markup {
    html! {
        @if workers.is_empty() { p .quiet { "No process has reported yet." } } @else {
            div .wide tabindex="0" role="region" aria-label="Workers" { table {
                thead { tr {
                    th scope="col" { "host and process" }
                    th scope="col" { "" span .only-read { "status" } }
                    th scope="col" { "version" }
                    th scope="col" .extra { "started" }
                    th scope="col" { "last heard of" }
                } }
                tbody { @for worker in workers { (worker_row(worker)) } }
            } }
            p .quiet { "The active one has worked last; RabbitMQ chooses the next one when it ends." }
        }
    }
}

fn worker_row(worker: &WorkerRow) -> Markup {
    let process = worker.holder.rsplit_once(' ').map_or(worker.holder.as_str(), |(process, _)| process);
    let (kind, word) = match worker {
        WorkerRow { is_lost: true, .. } => ("", "not heard of"),
        WorkerRow { consuming: false, .. } => ("failed", "not consuming"),
        WorkerRow { has_lease: true, .. } => ("completed", "active"),
        _ => ("running", "standby"),
    };
    html! {
        tr {
            td { (process) }
            td { (pill(kind, word))
                @if let (true, Some(since)) = (worker.has_lease, worker.lease_since) {
                    " " span .quiet { "since " (ago(since)) } } }
            td { (worker.version) }
            td .line .extra { (moment(worker.started_at)) }
            td .line { (ago(worker.seen_at)) }
        }
    }
}
