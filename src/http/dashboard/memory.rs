//! What the dashboard remembers between two looks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::Instant;

use super::budget::Budget;
use crate::ids::Account;
use crate::store::pool::StoreError;
use crate::store::report::{self, TableStatus};

/// Counting rows reads the tables: not done for each look.
const TABLES_HOLD: Duration = Duration::from_secs(15);

/// What the dashboard remembers between two looks.
#[derive(Debug, Default)]
pub struct Memory {
    tables: tokio::sync::Mutex<Option<(Instant, Vec<TableStatus>)>>,
    budget: Mutex<Budget>,
}

impl Memory {
    /// Notes how many requests the last 60 s hold, and how many they may. To be called every 5 s.
    pub fn note_budget(&self, budget: (u32, u32)) {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).note(budget);
    }

    /// The budget of the last minutes.
    pub(super) fn budget(&self) -> Budget {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The account's tables, counted at most 15 s ago.
    pub(super) async fn tables(&self, pool: &PgPool, account: &Account) -> Result<Vec<TableStatus>, StoreError> {
        let mut tables = self.tables.lock().await;
        if let Some((at, tables)) = &*tables
            && at.elapsed() < TABLES_HOLD
        {
            return Ok(tables.clone());
        }
        let counted = report::tables(pool, account).await?;
        *tables = Some((Instant::now(), counted.clone()));
        Ok(counted)
    }
}
