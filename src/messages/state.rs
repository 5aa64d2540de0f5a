//! What an account is doing, or waits for: the same words on every surface.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an account is doing. The first of these that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    /// An operator has to authorize it.
    WaitingForAuthorization,
    /// Teamleader does not answer, or answers 429 only: a run waits in a delay queue, and tries again by itself.
    WaitingForApi,
    /// The requests that the API allows in 60 s are used up: the run goes on by itself.
    WaitingForBudget,
    /// A run goes on, or waits for its next slice.
    Running,
    /// No run goes on.
    Idle,
}

impl StateName {
    /// All of them, in the order in which they are looked at.
    pub const ALL: [Self; 5] =
        [Self::WaitingForAuthorization, Self::WaitingForApi, Self::WaitingForBudget, Self::Running, Self::Idle];

    /// The word in messages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WaitingForAuthorization => "waiting_for_authorization",
            Self::WaitingForApi => "waiting_for_api",
            Self::WaitingForBudget => "waiting_for_budget",
            Self::Running => "running",
            Self::Idle => "idle",
        }
    }
}

/// What an account is doing, since when, until when, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AccountState {
    /// `waiting_for_authorization`, `waiting_for_api`, `waiting_for_budget`, `running` or `idle`: the first that holds.
    pub name: StateName,
    /// Since when; null: unknown.
    pub since: Option<DateTime<Utc>>,
    /// When it goes on by itself; null: it waits for nothing that has a time, or tries at this moment.
    pub until: Option<DateTime<Utc>>,
    /// Why, as text.
    pub reason: Option<String>,
    /// The resources whose missing records were not marked deleted, since they are too many, until a full sync marks
    /// them or finds them again.
    pub deletions_held: Vec<String>,
    /// Whether no worker reads the account's queue; null: the broker could not be asked.
    pub no_consumer: Option<bool>,
}

impl AccountState {
    /// The same, where it is known whether a worker reads the queue.
    pub fn with_consumer(self, there_is_one: Option<bool>) -> Self {
        Self { no_consumer: there_is_one.map(|there_is_one| !there_is_one), ..self }
    }

    /// In a sentence, without what stands beside it.
    pub fn sentence(&self) -> String {
        let since = self.since.map(|at| format!(" since {}", clock(at))).unwrap_or_default();
        let reason = self.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        match (self.name, self.until) {
            (StateName::WaitingForAuthorization, _) => format!("waits for an authorization{since}{reason}"),
            (StateName::WaitingForApi, Some(until)) => {
                format!("waits for the API{since}, next try at {}{reason}", clock(until))
            }
            (StateName::WaitingForApi, None) => format!("waits for the API{since}, trying now{reason}"),
            (StateName::WaitingForBudget, Some(until)) => {
                format!("waits for the API's budget, continues at {}", clock(until))
            }
            (StateName::WaitingForBudget, None) => format!("waits for the API's budget{since}"),
            (StateName::Running, _) => format!("running{since}{reason}"),
            (StateName::Idle, _) => format!("idle{since}"),
        }
    }
}

/// What waits in an account's queues; a count is null where the broker could not be asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct QueueState {
    /// Requests that wait for a worker.
    pub requests: Option<u32>,
    /// Requests to the API that they will take, if they are as the last ones.
    pub expected_api_requests: Option<i64>,
    /// Requests that wait in delay queues, since the API was down.
    pub delayed: Option<u32>,
    /// Messages that could not be processed, of all accounts under the prefix.
    pub dead: Option<u32>,
}

impl QueueState {
    /// In a sentence; `None` where nothing waits.
    pub fn sentence(&self) -> Option<String> {
        let mut said = Vec::new();
        if let Some(requests @ 1..) = self.requests {
            let cost = self.expected_api_requests.map(|cost| format!(" (about {cost} requests to the API)"));
            said.push(format!("{requests} in the queue{}", cost.unwrap_or_default()));
        }
        if let Some(delayed @ 1..) = self.delayed {
            said.push(format!("{delayed} delayed, since the API was down"));
        }
        if let Some(dead @ 1..) = self.dead {
            said.push(format!("{dead} dead letters: teamleader2db dead-letters list --all-accounts"));
        }
        (!said.is_empty()).then(|| format!("requests: {}", said.join(", ")))
    }
}

/// The time of day, with the day where it is another.
fn clock(at: DateTime<Utc>) -> String {
    let form = if at.date_naive() == Utc::now().date_naive() { "%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    at.format(form).to_string()
}
