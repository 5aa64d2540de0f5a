//! What the dashboard remembers: how the budget of the API was used.

use std::sync::{Mutex, PoisonError};

use super::budget::Budget;

/// What the dashboard remembers.
#[derive(Debug, Default)]
pub struct Memory {
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
}
