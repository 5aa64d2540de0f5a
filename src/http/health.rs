//! Health: whether the process lives, and whether it can work.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::state::HttpState;
use crate::store::outbox;

/// A database that does not answer within this is not ready.
const PATIENCE: Duration = Duration::from_secs(3);

/// The process answers.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// 200 `ok`: consuming, or standing by. 200 `degraded`: a person has to authorize; the callback must be able to reach this process, so
/// it stays in its Service. 503 `unavailable`: the database or the broker is gone. `problems` says what and how to mend it.
pub(super) async fn ready(State(state): State<HttpState>) -> (StatusCode, Json<Value>) {
    let mut problems = Vec::new();
    let looked = tokio::time::timeout(PATIENCE, async {
        let authorization = state.tokens.authorization().await?;
        Ok::<_, crate::store::pool::StoreError>((
            authorization,
            outbox::count_pending(&state.pool, state.names.account()).await?,
        ))
    });
    let (database, authorization, pending) = match looked.await {
        Ok(Ok((authorization, pending))) => (true, Some(authorization), Some(pending)),
        Ok(Err(error)) => {
            problems.push(format!("database: {error}"));
            (false, None, None)
        }
        Err(_) => {
            problems.push(format!("database: no answer within {} s", PATIENCE.as_secs()));
            (false, None, None)
        }
    };
    let authorized = authorization.as_ref().map(|a| a.authorized);
    let consuming = state.consuming.load(Ordering::Relaxed);
    if let Some(reason) = authorization.filter(|a| !a.authorized).and_then(|a| a.reason) {
        problems.push(format!("authorization: {reason}: open /sync/authorize in a browser and log in to Teamleader"));
    }
    if authorized == Some(true) && !consuming {
        problems.push(
            "broker: not consuming: is RabbitMQ up, and AMQP_URL right? The worker tries on by itself".to_owned(),
        );
    }
    let (code, status) = match (database, authorized) {
        (true, Some(true)) if consuming => (StatusCode::OK, "ok"),
        (true, Some(false)) => (StatusCode::OK, "degraded"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let body = json!({
        "status": status,
        "database": database,
        "authorized": authorized,
        "consuming": consuming,
        "outbox_pending": pending,
        "problems": problems,
    });
    (code, Json(body))
}
