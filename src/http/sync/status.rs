//! The account as it is.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::problem::{Guarded, Problem};
use crate::http::state::HttpState;
use crate::messages::{AccountState, QueueState};
use crate::store::report::{self, AuditState, RunStatusRow, TableStatus, WebhookState};
use crate::store::{pool, state};

/// How many runs the status lists.
const RUNS: i64 = 20;

/// The account, its tables and its newest runs.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Status {
    /// The account.
    account: String,
    /// Whether a worker may run.
    authorized: bool,
    /// Who authorized.
    authorized_by: Option<String>,
    /// Why it is not authorized.
    reason: Option<String>,
    /// What it is doing, or waits for.
    state: AccountState,
    /// What waits in its queues; null: the broker could not be asked.
    queue: Option<QueueState>,
    /// What is known of webhooks; null: they were never registered.
    webhooks: Option<WebhookState>,
    /// What the always-on audit has found; null: there was none within the last 7 days.
    audit: Option<AuditState>,
    /// Each resource's table.
    resources: Vec<TableStatus>,
    /// The newest runs, the newest first.
    runs: Vec<RunStatusRow>,
}

/// The state of the account, its tables and its newest 20 runs.
#[utoipa::path(get, path = "/sync/teamleader", tag = "sync", security(("token" = [])), responses(
    (status = 200, description = "The account as it is", body = Status),
    Guarded,
))]
pub(in crate::http) async fn status(State(state): State<HttpState>) -> Result<Json<Status>, Problem> {
    let account = state.names.account();
    let (has_consumer, depths) = (state.has_consumer().await, state.queue.depths().await);
    let looked = async {
        let authorization = state.tokens.authorization().await?;
        let usual = report::usual_requests(&state.pool, account).await?;
        Ok(Status {
            account: account.to_string(),
            authorized: authorization.authorized,
            authorized_by: authorization.authorized_by,
            reason: authorization.reason,
            state: state::of(&state.pool, account).await?.with_consumer(has_consumer),
            queue: depths.map(|depths| depths.state(usual)),
            webhooks: report::webhooks(&state.pool, account).await?,
            audit: report::audit(&state.pool, account).await?,
            resources: state.tables().await?,
            runs: report::runs(&state.pool, account, None, RUNS).await?,
        })
    };
    Ok(Json(pool::promptly(&state.pool, looked).await?))
}
