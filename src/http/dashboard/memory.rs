//! What the dashboard remembers: how the budget of the API was used, and how many details were stale.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::budget::Budget;

/// What the dashboard remembers.
#[derive(Debug, Default)]
pub struct Memory {
    budget: Mutex<Budget>,
    /// By resource, once they were counted.
    stale_details: Mutex<Option<HashMap<String, i64>>>,
}

impl Memory {
    /// Notes how many requests the last 60 s hold, and how many they may. To be called every 5 s.
    pub fn note_budget(&self, budget: (u32, u32)) {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).note(budget);
    }

    /// Notes how many details are stale. To be called every minute.
    pub fn note_stale_details(&self, counted: &[(String, i64)]) {
        let counted = counted.iter().cloned().collect();
        *self.stale_details.lock().unwrap_or_else(PoisonError::into_inner) = Some(counted);
    }

    /// How many details were stale by resource when they were counted; `None`: they were not yet.
    pub(in crate::http) fn stale_details(&self) -> Option<HashMap<String, i64>> {
        self.stale_details.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The budget of the last minutes.
    pub(super) fn budget(&self) -> Budget {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
