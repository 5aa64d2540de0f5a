//! Health: whether the process lives, and whether it can work.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use tracing::debug;
use utoipa::ToSchema;

use super::state::HttpState;
use crate::messages::AccountState;
use crate::store::pool::StoreError;
use crate::store::{outbox, state};

/// A database that does not answer within this is not ready.
const PATIENCE: Duration = Duration::from_secs(3);

/// The text for anyone: that of an error has names of hosts and users.
const NO_DATABASE: &str =
    "database: it cannot be used: is PostgreSQL up, and DATABASE_URL right? The worker's log has the details";

/// Whether the process answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Live {
    /// `ok`.
    status: &'static str,
}

/// Whether the process can work.
#[derive(Serialize, ToSchema)]
pub(super) struct Ready {
    /// `ok`, `degraded` or `unavailable`.
    status: &'static str,
    /// Whether PostgreSQL answers.
    database: bool,
    /// Whether the account is authorized; null: unknown.
    authorized: Option<bool>,
    /// Whether this process consumes requests, or is the standby.
    consuming: bool,
    /// What the account is doing, or waits for; null where the database does not say. Callers without the token, where
    /// one is set, get no reason.
    state: Option<AccountState>,
    /// Events that the broker has not confirmed yet.
    outbox_pending: Option<i64>,
    /// Each problem, and how to fix it. Callers without the token, where one is set, get fixed sentences.
    problems: Vec<String>,
}

/// The process answers.
#[utoipa::path(get, path = "/health/live", tag = "health", responses(
    (status = 200, description = "It answers", body = Live),
))]
pub(super) async fn live() -> Json<Live> {
    Json(Live { status: "ok" })
}

/// Whether the process can work.
///
/// 200 `ok`: consuming, or the standby. 200 `degraded`: the account must be authorized; the callback must be able to
/// reach this process, so it stays in its Service. 503 `unavailable`: the database or the broker cannot be used.
/// `problems` says why, and how to fix it.
#[utoipa::path(get, path = "/health/ready", tag = "health", responses(
    (status = 200, description = "Consuming, or the standby; `degraded`: the account must be authorized", body = Ready),
    (status = 503, description = "The database or the broker cannot be used", body = Ready),
))]
pub(super) async fn ready(State(state): State<HttpState>, headers: HeaderMap) -> (StatusCode, Json<Ready>) {
    let mut problems = Vec::new();
    let looked = tokio::time::timeout(PATIENCE, async {
        let authorization = state.tokens.authorization().await?;
        let pending = outbox::count_pending(&state.pool, state.names.account()).await?;
        Ok::<_, StoreError>((authorization, pending, state::of(&state.pool, state.names.account()).await?))
    });
    let looked = match looked.await {
        Ok(Ok(looked)) => Some(looked),
        Ok(Err(error)) => {
            debug!(%error, "The database cannot be used");
            None
        }
        Err(_) => None,
    };
    let database = looked.is_some();
    if !database {
        problems.push(NO_DATABASE.to_owned());
    }
    // Teamleader's text is only for callers that may see the account.
    let may_see = state.guard.without_login(&headers).is_some();
    let (mut authorization, mut pending, mut of_account) = (None, None, None);
    if let Some((authorized, events, doing)) = looked {
        let doing = doing.with_consumer(state.has_consumer().await);
        let reason = doing.reason.clone().filter(|_| may_see);
        (authorization, pending) = (Some(authorized), Some(events));
        of_account = Some(AccountState { reason, ..doing });
    }
    let authorized = authorization.as_ref().map(|a| a.authorized);
    let consuming = state.consuming.is_active();
    if let Some(authorization) = authorization.filter(|a| !a.authorized) {
        let reason = authorization.reason.filter(|_| may_see);
        let reason = reason.as_deref().unwrap_or("the account is not authorized");
        problems.push(format!("authorization: {reason}: open /sync/authorize in a browser and log in to Teamleader"));
    }
    if let Some(obstacle) = state.consuming.obstacle() {
        problems.push(obstacle.to_owned());
    } else if authorized == Some(true) && !consuming {
        problems
            .push("broker: not consuming: is RabbitMQ up, and AMQP_URL right? The worker retries by itself".to_owned());
    }
    let (code, status) = match (database, authorized) {
        (true, Some(true)) if consuming => (StatusCode::OK, "ok"),
        (true, Some(false)) => (StatusCode::OK, "degraded"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let ready = Ready { status, database, authorized, consuming, state: of_account, outbox_pending: pending, problems };
    (code, Json(ready))
}
