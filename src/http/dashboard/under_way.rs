//! A run that goes on: how far it has come, and how to cancel it.

use maud::{Markup, html};
use serde_json::Value;
use uuid::Uuid;

use super::numbers::{count, thousands, until};
use crate::http::state::HttpState;
use crate::ids::RunId;
use crate::messages::{AccountState, Forecast, Mode, Parameters, StateName};
use crate::store::pool::StoreError;
use crate::store::runs;
use crate::sync::forecast;

/// A run under way.
pub(super) struct Running {
    pub(super) id: Uuid,
    pub(super) mode: Mode,
    /// Requests so far.
    pub(super) made: i64,
    pub(super) forecast: Forecast,
}

/// How far a run has come that goes on; `None`: another version writes it, as the worker says.
pub(super) async fn look(
    state: &HttpState,
    (id, request, made): (RunId, &Value, i64),
) -> Result<Option<Running>, StoreError> {
    let parameters: Parameters = serde_json::from_value(request.clone()).unwrap_or_default();
    let mut connection = state.pool.acquire().await?;
    let steps = match runs::load_steps(&mut connection, state.names.account(), id).await {
        Err(StoreError::Corrupt(_) | StoreError::NewerRun(_)) => return Ok(None),
        steps => steps?,
    };
    let to_come = forecast::requests_to_come(&steps, &parameters);
    let forecast = forecast::of_requests(made, to_come, &state.client);
    Ok(Some(Running { id: id.0, mode: parameters.mode, made, forecast }))
}

/// How far a run has come, and the button that cancels it.
pub(super) fn progress(state: &AccountState, running: &Running, form_token: &str) -> Markup {
    let Forecast { api_requests, done_at, at_least } = running.forecast;
    let percent = if api_requests > 0 { 100 * running.made / api_requests } else { 0 };
    html! {
        div .running {
            p {
                a href=(format!("/dashboard/runs/{}", running.id)) { (running.mode.as_str()) " sync" }
                @if !at_least { ", " (percent) " %" }
                span .quiet {
                    " · " (thousands(running.made))
                    @if at_least { " of at least " } @else { " of about " }
                    (count(api_requests, "request"))
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
            (cancel(running.id, form_token))
        }
    }
}

/// The form that cancels a run, or a request in the queue.
pub(super) fn cancel(id: Uuid, form_token: &str) -> Markup {
    html! {
        form .actions method="post" action="/dashboard/cancel" {
            input type="hidden" name="form_token" value=(form_token);
            input type="hidden" name="id" value=(id);
            button .second title="Rows that it has written stay" { "Cancel" }
        }
    }
}
