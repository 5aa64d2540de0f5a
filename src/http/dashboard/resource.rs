//! The page of one resource: its rows and how fresh they are, its runs over time, and what can be asked for.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, Utc};
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::numbers::{ago, count, moment, thousands};
use super::page::{self, Frame, Place, advised, frame, pill, pill_of};
use super::{audit, plots, webhooks};
use crate::catalog::{self, Resource};
use crate::http::state::HttpState;
use crate::messages::{AccountState, Cause};
use crate::store::pool;
use crate::store::progress::{self, HeldDeletions};
use crate::store::report::{self, AuditedResource, Day, ResourceRun, ResourceWebhooks, Shortfall, TableStatus};
use crate::store::state;

/// Runs of a page.
const PAGE: usize = 20;

/// The query string: from which run on.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct From {
    before: Option<DateTime<Utc>>,
    before_id: Option<Uuid>,
}

struct Shown {
    state: AccountState,
    resource: &'static Resource,
    table: Option<TableStatus>,
    shortfall: Option<Shortfall>,
    held: Option<HeldDeletions>,
    days: Vec<Day>,
    runs: Vec<ResourceRun>,
    webhooks: Option<ResourceWebhooks>,
    audit: Option<AuditedResource>,
}

/// `/dashboard/resources/{name}`.
pub(super) async fn show(
    State(state): State<HttpState>,
    headers: HeaderMap,
    name: Result<Path<String>, PathRejection>,
    from: Result<Query<From>, QueryRejection>,
) -> Response {
    let form_token = state.guard.form_token(&headers);
    let from = from.map(|Query(from)| from).unwrap_or_default();
    let Some(resource) = name.ok().and_then(|Path(name)| catalog::find(&name)) else {
        let content = html! { section { h1 { "No such resource" } p { a href="/dashboard" { "All resources" } } } };
        return page::answer(StatusCode::NOT_FOUND, frame(&state, &Frame::bare("No such resource"), content));
    };
    match pool::promptly(&state.pool, look(&state, resource, from)).await {
        Ok(shown) => page::answer(StatusCode::OK, whole(&state, &shown, from, &form_token)),
        Err(error) => page::no_database(&state, &error, true),
    }
}

async fn look(state: &HttpState, resource: &'static Resource, from: From) -> Result<Shown, pool::StoreError> {
    let (account, name) = (state.names.account(), resource.name);
    let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    let before = from.before.zip(from.before_id);
    Ok(Shown {
        state: state::of(&state.pool, account).await?,
        resource,
        table: state.tables().await?.into_iter().find(|table| table.resource == name),
        shortfall: report::shortfalls(&state.pool, account).await?.into_iter().find(|fall| fall.resource == name),
        held: progress::held_deletions(&state.pool, account).await?.into_iter().find(|held| held.resource == name),
        days: report::days(&state.pool, account, Some(name), plots::LOOKED_BACK).await?,
        runs: report::resource_runs(&state.pool, account, name, before, limit).await?,
        webhooks: report::webhooks_of(&state.pool, account, name).await?,
        audit: report::audited_resources(&state.pool, account).await?.into_iter().find(|known| known.resource == name),
    })
}

fn whole(state: &HttpState, shown: &Shown, from: From, form_token: &str) -> Markup {
    let name = shown.resource.name;
    let content = html! {
        section {
            h1 { (name) }
            (facts(shown))
            @if let Some(shortfall) = shown.shortfall.as_ref().filter(|_| shown.held.is_none()) {
                (why(state, shortfall))
            }
            (forms(shown.resource, form_token))
        }
        @if let Some(held) = &shown.held { (held_deletions(held, form_token)) }
        @if !shown.days.is_empty() { section { h2 { "Days" } (plots::of_days(&shown.days, true)) } }
        section { h2 { "Runs" } (runs(shown, from)) }
    };
    let frame_of_page = Frame {
        title: name,
        place: Some(Place::Overview),
        pill: pill_of(&shown.state, state.consuming.is_active()),
        form_token: Some(form_token),
        refreshes: from.before.is_none(),
    };
    frame(state, &frame_of_page, content)
}

fn facts(shown: &Shown) -> Markup {
    let when = |at: Option<DateTime<Utc>>, none: &'static str| {
        html! { @match at { Some(at) => { (ago(at)) ", " (moment(at)) }, None => (none) } }
    };
    html! {
        @if let Some(table) = &shown.table {
            dl {
                dt { "rows" } dd { (thousands(table.rows)) }
                dt { "marked deleted" } dd { (thousands(table.deleted)) }
                @if shown.resource.has_details() {
                    dt { "stale details" } dd { (thousands(table.stale_details)) }
                }
                dt { "last success" } dd { (when(table.last_success_at, "never")) }
                dt { "changes are read since" } dd { (when(table.watermark, "it is read completely each time")) }
                @if let Some(known) = &shown.webhooks { (webhooks::facts(known)) }
                @if let Some(known) = &shown.audit { (audit::facts(known)) }
            }
        }
    }
}

fn why(state: &HttpState, shortfall: &Shortfall) -> Markup {
    let cause = shortfall.cause.unwrap_or(Cause::Unknown);
    let advice = cause.advice(state.names.account(), &[&shortfall.resource], shortfall.mode);
    html! {
        p .why .error[shortfall.status == "failed"] {
            (pill(&shortfall.status, &shortfall.status)) " " (ago(shortfall.at))
            @if let Some(error) = &shortfall.error { ": " (error) }
        }
        // A feature that the account does not have is not a problem.
        @if shortfall.status == "failed" { p { (advised(&advice)) } }
    }
}

/// What can be asked for of this resource alone.
fn forms(resource: &Resource, form_token: &str) -> Markup {
    html! {
        form .actions method="post" action="/dashboard/sync" {
            input type="hidden" name="form_token" value=(form_token);
            input type="hidden" name="resource" value=(resource.name);
            button name="ask" value="incremental" { "Sync what changed" }
            button .second name="ask" value="full" title="Reads the whole list, and finds what was deleted" {
                "Sync everything"
            }
            @if resource.has_details() {
                button .second name="ask" value="refetch" title="One request for each record" { "All details again" }
            }
            button .second name="ask" value="audit" title="Compares 100 records with Teamleader; writes nothing" {
                "Audit a sample"
            }
        }
    }
}

/// The question before deletions are allowed that the guard has stopped.
fn held_deletions(held: &HeldDeletions, form_token: &str) -> Markup {
    html! {
        section .finding {
            p { strong {
                (thousands(held.missing)) " of " (count(held.rows, "row"))
                " are missing from Teamleader and were not marked deleted."
            } }
            p {
                "Since " (ago(held.since)) ". So many at once may be a fault of the API or of a right. If they are \
                 rightly deleted in Teamleader, a full sync may mark them."
            }
            details data-key="allow" {
                summary { "They are rightly deleted" }
                form .actions method="post" action="/dashboard/sync" {
                    input type="hidden" name="form_token" value=(form_token);
                    input type="hidden" name="resource" value=(held.resource);
                    button name="ask" value="allow_deletions" {
                        "Sync everything, and mark what is missing deleted"
                    }
                }
            }
        }
    }
}

fn runs(shown: &Shown, from: From) -> Markup {
    let (runs, others) = shown.runs.split_at(shown.runs.len().min(PAGE));
    html! {
        @if runs.is_empty() { p .quiet { "None yet." } } @else {
            div .wide tabindex="0" role="region" aria-label="Runs" { table {
                thead { tr {
                    th scope="col" { "status" }
                    th scope="col" { "run" }
                    th scope="col" { "started" }
                    th scope="col" .number { "listed" }
                    th scope="col" .number { "created" }
                    th scope="col" .number { "updated" }
                    th scope="col" .number { "deleted" }
                    th scope="col" .number { "details" }
                } }
                tbody { @for run in runs { tr {
                    td {
                        @let status = run.status.as_deref().unwrap_or("running");
                        (pill(status, status))
                        @if run.verified == Some(true) { " " span .quiet { "verified" } }
                    }
                    td { a href=(format!("/dashboard/runs/{}", run.request_id)) {
                            (run.mode.as_deref().unwrap_or("incremental")) }
                        @if let Some(error) = &run.error { div .why { (error) } } }
                    td .line { (ago(run.started_at)) }
                    @for number in [run.listed, run.created, run.updated, run.deleted, run.detailed] {
                        td .number { (thousands(number)) }
                    }
                } } }
            } }
        }
        div .actions {
            @if from.before.is_some() { (turn(shown.resource, None, "Newest")) }
            @if let (Some(last), false) = (runs.last(), others.is_empty()) {
                (turn(shown.resource, Some(last), "Older"))
            }
        }
    }
}

/// A button to the runs from after `last` on; without it to the newest.
fn turn(resource: &Resource, last: Option<&ResourceRun>, name: &str) -> Markup {
    html! {
        form method="get" action=(format!("/dashboard/resources/{}", resource.name)) {
            @if let Some(last) = last {
                input type="hidden" name="before" value=(last.started_at.to_rfc3339_opts(SecondsFormat::Micros, true));
                input type="hidden" name="before_id" value=(last.request_id);
            }
            button .second { (name) }
        }
    }
}
