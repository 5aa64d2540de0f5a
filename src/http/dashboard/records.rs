//! A record by its id: its JSON, when it was read, and the versions before.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::numbers::{ago, count, moment};
use super::page::{self, Frame, Place, frame, pill, pill_of};
use crate::http::state::HttpState;
use crate::messages::AccountState;
use crate::store::report::{self, FoundRecord};
use crate::store::{pool, state};

/// The query string: what is looked for.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    id: String,
}

/// `/dashboard/records`.
pub(super) async fn show(
    State(state): State<HttpState>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let asked = asked.map(|Query(asked)| asked).unwrap_or_default();
    let form_token = state.guard.form_token(&headers);
    let id: Option<Uuid> = asked.id.trim().parse().ok();
    let looked = async {
        let account = state.names.account();
        let found = match id {
            Some(id) => report::find_records(&state.pool, account, id).await?,
            None => Vec::new(),
        };
        Ok((state::of(&state.pool, account).await?, found))
    };
    match pool::promptly(&state.pool, looked).await {
        Ok((account, found)) => {
            let page = whole(&state, &account, (&asked.id, id), &found, &form_token);
            page::answer(StatusCode::OK, page)
        }
        Err(error) => page::no_database(&state, &error, true),
    }
}

fn whole(
    state: &HttpState,
    account: &AccountState,
    (text, id): (&str, Option<Uuid>),
    found: &[FoundRecord],
    form_token: &str,
) -> Markup {
    let content = html! {
        section {
            h1 { "Records" }
            form .filter method="get" action="/dashboard/records" {
                div {
                    label for="id" { "Id in Teamleader" }
                    input #id name="id" value=(text) size="38" spellcheck="false" autocomplete="off";
                }
                button .second { "Find" }
            }
            @if !text.trim().is_empty() && id.is_none() {
                p .error role="alert" { "That is no id: an id is a UUID, as 1f2d8c1e-0a4b-4f0e-9f3b-2c5f6f1d7a10." }
            } @else if id.is_some() && found.is_empty() {
                p role="alert" { "No record of this copy has this id." }
            }
        }
        @for record in found { (one(record)) }
    };
    let pill = pill_of(account, state.consuming.is_active());
    let frame_of_page =
        Frame { title: "Records", place: Some(Place::Records), pill, form_token: Some(form_token), refreshes: false };
    frame(state, &frame_of_page, content)
}

fn one(record: &FoundRecord) -> Markup {
    html! {
        section {
            h2 {
                a href=(format!("/dashboard/resources/{}", record.resource)) { (record.resource) }
                " " code { (record.id) }
                @if record.deleted_at.is_some() { " " (pill("failed", "deleted")) }
            }
            dl {
                @if let (Some(resource), Some(parent)) = (&record.parent_resource, record.parent) {
                    dt { "belongs to" }
                    dd { a href=(format!("/dashboard/records?id={parent}")) { (resource) " " (parent) } }
                }
                dt { "first seen" } dd { (moment(record.first_seen_at)) }
                dt { "changed" } dd { (moment(record.changed_at)) ", " (ago(record.changed_at)) }
                dt { "listed" } dd { (moment(record.listed_at)) }
                @if let Some(at) = record.detail_at { dt { "detail of" } dd { (moment(at)) } }
                @if let Some(at) = record.deleted_at { dt { "deleted" } dd { (moment(at)) } }
            }
            (json(&record.content, "The record as JSON"))
            @if record.history.is_empty() {
                p .quiet { "No earlier version is stored: HISTORY stores them." }
            } @else {
                h3 { (count(i64::try_from(record.history.len()).unwrap_or(i64::MAX), "earlier version")) }
                @for version in &record.history {
                    details data-key=(version.valid_to) {
                        summary { "from " (moment(version.valid_from)) " to " (moment(version.valid_to)) }
                        (json(&version.content, "An earlier version as JSON"))
                    }
                }
            }
        }
    }
}

fn json(content: &Value, label: &str) -> Markup {
    html! {
        pre tabindex="0" role="region" aria-label=(label) {
            (serde_json::to_string_pretty(content).unwrap_or_default())
        }
    }
}
