//! Runs: a list in pages, one, and how one is cancelled.

use std::fmt;
use std::str::FromStr;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, StatusCode, header};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::names::{ModeName, ResourceName, StatusName};
use super::request::Accepted;
use crate::catalog;
use crate::http::paths::run_path;
use crate::http::problem::{Guarded, Problem, ProblemDetails};
use crate::http::state::HttpState;
use crate::ids::RunId;
use crate::messages::{Mode, RunStatus};
use crate::store::pool::{self, StoreError};
use crate::store::report::{self, RunStatusRow, RunSummary, Which};
use crate::store::runs::cancel::{self, Asked};

/// Runs of a page, unless the caller wants others.
const PAGE: i64 = 20;

/// The most runs of a page.
const MOST: i64 = 200;

/// What the query string may hold.
const KEYS: &str = "the query string takes status, mode, resource, limit and before";

/// Which runs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct Wanted {
    /// Those with this status.
    #[param(value_type = Option<StatusName>, inline)]
    status: Option<String>,
    /// Those with this mode.
    #[param(value_type = Option<ModeName>, inline)]
    mode: Option<String>,
    /// Those with this resource, whether it was named or not.
    #[param(value_type = Option<ResourceName>, inline)]
    resource: Option<String>,
    /// At most this many.
    #[param(minimum = 1, maximum = 200, default = 20)]
    limit: Option<i64>,
    /// Those after a page: its `next`.
    #[param(pattern = "^[0-9a-f]{46}$", value_type = Option<String>)]
    before: Option<String>,
}

/// A page of runs.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Runs {
    /// The newest first, without their resources.
    runs: Vec<RunSummary>,
    /// As `before` it leads to the next page; null: this is the last one.
    next: Option<String>,
}

/// A place between two runs, as text that callers hand back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    at: DateTime<Utc>,
    id: Uuid,
}

/// Digits of the time, in microseconds since 1970: until 4253.
const TIME_DIGITS: usize = 14;

impl Place {
    fn of(run: &RunSummary) -> Self {
        Self { at: run.started_at, id: run.request_id }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0TIME_DIGITS$x}{}", self.at.timestamp_micros().max(0), self.id.simple())
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, id) = text.split_at_checked(TIME_DIGITS).ok_or(())?;
        if id.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(());
        }
        let at = i64::from_str_radix(at, 16).ok().and_then(DateTime::from_timestamp_micros).ok_or(())?;
        Ok(Self { at, id: id.parse().map_err(|_| ())? })
    }
}

impl Wanted {
    /// How many, and which.
    fn checked(self) -> Result<(i64, Which), Problem> {
        let refused = |why: String| Problem::new(StatusCode::BAD_REQUEST, why);
        let limit = self.limit.unwrap_or(PAGE);
        if !(1..=MOST).contains(&limit) {
            return Err(refused(format!("limit is {limit}: give a number from 1 to {MOST}")));
        }
        if self.status.as_deref().is_some_and(|word| RunStatus::parse(word).is_none()) {
            return Err(refused("status is one of running, completed, partial, failed, cancelled".to_owned()));
        }
        let modes = [Mode::Incremental, Mode::Full, Mode::Audit].map(Mode::as_str);
        if self.mode.as_deref().is_some_and(|word| !modes.contains(&word)) {
            return Err(refused("mode is one of incremental, full, audit".to_owned()));
        }
        let resource = self.resource.as_deref().map(catalog::resolve).transpose();
        let resource = resource.map_err(|unknown| refused(unknown.to_string()))?;
        let before = self.before.as_deref().map(Place::from_str).transpose();
        let before = before.map_err(|()| refused("before is not the next of another page".to_owned()))?;
        let which = Which {
            status: self.status,
            mode: self.mode,
            resource: resource.map(|resource| resource.name.to_owned()),
            before: before.map(|place| (place.at, place.id)),
            ..Which::default()
        };
        Ok((limit, which))
    }
}

/// Runs, the newest first, in pages.
#[utoipa::path(get, path = "/sync/runs", tag = "sync", security(("token" = [])),
    params(Wanted),
    responses(
        (status = 200, description = "A page of runs", body = Runs),
        (
            status = 400,
            description = "The query string is not as it should be",
            body = ProblemDetails,
            content_type = "application/problem+json",
        ),
        Guarded,
    ))]
pub(in crate::http) async fn list(
    State(state): State<HttpState>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Runs>, Problem> {
    let Query(wanted) = wanted
        .map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, format!("{}; {KEYS}", rejection.body_text())))?;
    let (limit, which) = wanted.checked()?;
    let found = report::run_summaries(&state.pool, state.names.account(), &which, limit + 1);
    let mut runs = pool::promptly(&state.pool, found).await?;
    let page = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = runs.len() > page;
    runs.truncate(page);
    let next = runs.last().filter(|_| has_more).map(|run| Place::of(run).to_string());
    Ok(Json(Runs { runs, next }))
}

/// A run, with its resources.
#[utoipa::path(get, path = "/sync/runs/{id}", tag = "sync", security(("token" = [])),
    params(("id" = Uuid, Path, description = "The request's id")),
    responses(
        (status = 200, description = "The run", body = RunStatusRow),
        (
            status = 400,
            description = "The id is no UUID",
            body = ProblemDetails,
            content_type = "application/problem+json",
        ),
        (
            status = 404,
            description = "No run has this id",
            body = ProblemDetails,
            content_type = "application/problem+json",
        ),
        Guarded,
    ))]
pub(in crate::http) async fn run(
    State(state): State<HttpState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<RunStatusRow>, Problem> {
    let id = run_id(id)?;
    let found = report::runs(&state.pool, state.names.account(), Some(RunId(id)), 1);
    let mut runs = pool::promptly(&state.pool, found).await?;
    match runs.pop() {
        Some(run) => Ok(Json(run)),
        None => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "no run has this id; a request that still waits in the queue has none yet",
        )),
    }
}

/// Ends a run that goes on, or a request that waits in the queue, within 5 s.
///
/// Its event says `cancelled`. Rows that it has written stay.
#[utoipa::path(post, path = "/sync/runs/{id}/cancel", tag = "sync", security(("token" = [])),
    params(("id" = Uuid, Path, description = "The request's id")),
    responses(
        (
            status = 202,
            description = "It ends, or has been cancelled before",
            body = Accepted,
            headers(("Location" = String, description = "Where the run is")),
        ),
        (
            status = 400,
            description = "The id is no UUID",
            body = ProblemDetails,
            content_type = "application/problem+json",
        ),
        (
            status = 409,
            description = "The run has ended already, and not as cancelled",
            body = ProblemDetails,
            content_type = "application/problem+json",
        ),
        Guarded,
    ))]
pub(in crate::http) async fn cancel(
    State(state): State<HttpState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Accepted>), Problem> {
    let id = RunId(run_id(id)?);
    match cancel_run(&state, id).await? {
        RunStatus::Cancelled | RunStatus::Running => {
            Ok((StatusCode::ACCEPTED, [(header::LOCATION, run_path(id.0))], Json(Accepted { request_id: id.0 })))
        }
        ended => Err(Problem::new(
            StatusCode::CONFLICT,
            format!("the run has ended already, as {}: nothing was cancelled", ended.as_str()),
        )),
    }
}

/// Asks a run to end. Returns how it has ended, or that it is running: its worker ends it, or another process.
pub(in crate::http) async fn cancel_run(state: &HttpState, id: RunId) -> Result<RunStatus, StoreError> {
    let asked = pool::promptly(&state.pool, cancel::ask(&state.pool, state.names.account(), id)).await?;
    Ok(match asked {
        Asked::IsRunning => RunStatus::Running,
        Asked::HasEnded(status) => status,
        Asked::WasUnknown => RunStatus::Cancelled,
    })
}

fn run_id(id: Result<Path<String>, PathRejection>) -> Result<Uuid, Problem> {
    let id: Option<Uuid> = id.ok().and_then(|Path(id)| id.parse().ok());
    id.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "a run's id is a UUID"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_it_is_written() {
        let at = DateTime::from_timestamp_micros(1_796_000_000_123_456).expect("a time");
        let place = Place { at, id: Uuid::new_v4() };
        let text = place.to_string();
        assert_eq!((text.len(), text.parse()), (46, Ok(place)));
        for wrong in ["", "0", &text[1..], &format!("{text}0"), &text.replace(&text[..1], "g"), &"é".repeat(23)] {
            assert_eq!(wrong.parse::<Place>(), Err(()), "{wrong}");
        }
        assert!("f".repeat(46).parse::<Place>().is_ok(), "whatever the pattern of the description allows");
    }
}
