//! The row of a run, locked until the transaction ends.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::{Cursor, Run, from_json, load_steps};
use crate::ids::{Account, RunId};
use crate::messages::{Parameters, RunStatus};
use crate::store::pool::StoreError;

/// A run as its row has it.
#[derive(Debug)]
pub(super) struct StoredRun {
    request: Option<Value>,
    status: String,
    pub(super) slice: i32,
    pub(super) attempts: i32,
    waits: i32,
    pub(super) replies: Value,
    started_at: DateTime<Utc>,
    pub(super) event: Option<Value>,
    api_requests: i64,
    pub(super) panics: i32,
    pub(super) panicked_at: Option<String>,
    pub(super) cancel_at: Option<DateTime<Utc>>,
}

/// Reads the row of a run and locks it, before anything else of the run is locked.
pub(super) async fn lock(tx: &mut PgConnection, account: &Account, id: RunId) -> Result<Option<StoredRun>, StoreError> {
    let stored = sqlx::query_as!(
        StoredRun,
        "select request, status, slice, attempts, waits, replies, started_at, event, api_requests, panics, panicked_at,
             cancel_at
         from teamleader2db.sync_run where account = $1 and id = $2 for update",
        account.as_str(),
        id.0
    )
    .fetch_optional(tx)
    .await?;
    Ok(stored)
}

/// Whether a request with these parameters means the run that was started with `request`. An id that was cancelled
/// before a worker knew it stands for any parameters. Not by the JSON: a later version may write more keys than the one
/// that began the run.
pub(super) fn is_of(request: Option<&Value>, parameters: &Parameters) -> Result<bool, StoreError> {
    let Some(request) = request else { return Ok(true) };
    Ok(from_json::<Parameters>(request.clone())? == *parameters)
}

impl StoredRun {
    /// Whether it has not ended.
    pub(super) fn is_running(&self) -> bool {
        self.status == RunStatus::Running.as_str()
    }

    /// Whether a request with these parameters means this run.
    pub(super) fn is_of(&self, parameters: &Parameters) -> Result<bool, StoreError> {
        is_of(self.request.as_ref(), parameters)
    }

    /// The run with its steps.
    pub(super) async fn load<C: Cursor>(
        &self,
        tx: &mut PgConnection,
        account: &Account,
        id: RunId,
    ) -> Result<Run<C>, StoreError> {
        Ok(Run {
            id,
            parameters: from_json(self.request.clone().unwrap_or_default())?,
            slice: self.slice,
            waits: self.waits,
            api_requests: self.api_requests,
            started_at: self.started_at,
            steps: load_steps(tx, account, id).await?,
            view_problems: Vec::new(),
        })
    }
}
