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
        self.sentence_with(clock)
    }

    /// The same, with how long before or after `now` each time is.
    pub fn sentence_at(&self, now: DateTime<Utc>) -> String {
        self.sentence_with(|at| format!("{}, {}", clock(at), distance(at, now)))
    }

    fn sentence_with(&self, clock: impl Fn(DateTime<Utc>) -> String) -> String {
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

/// How long before or after `now` a time is: `3 min ago`, `in 25 s`.
pub fn distance(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (at - now).num_seconds();
    let length = match seconds.unsigned_abs() {
        0 => return "now".to_owned(),
        seconds @ 1..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    };
    if seconds < 0 { format!("{length} ago") } else { format!("in {length}") }
}

/// The time of day, with the day where it is another.
fn clock(at: DateTime<Utc>) -> String {
    let form = if at.date_naive() == Utc::now().date_naive() { "%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    at.format(form).to_string()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_distance_is_short_and_says_in_which_direction() {
        let now = Utc::now();
        let expected = [
            (0, "now"),
            (-1, "1 s ago"),
            (-59, "59 s ago"),
            (-60, "1 min ago"),
            (-7_199, "1 h ago"),
            (-172_799, "47 h ago"),
            (-172_800, "2 d ago"),
            (25, "in 25 s"),
            (3_599, "in 59 min"),
        ];
        for (seconds, said) in expected {
            assert_eq!(distance(now + TimeDelta::seconds(seconds), now), said);
        }
    }

    #[test]
    fn a_sentence_has_the_distance_beside_each_time() {
        let now = Utc::now();
        let state = AccountState {
            name: StateName::WaitingForApi,
            since: Some(now - TimeDelta::seconds(200)),
            until: Some(now + TimeDelta::seconds(25)),
            reason: Some("503".to_owned()),
            deletions_held: Vec::new(),
            no_consumer: None,
        };
        let said = state.sentence_at(now);
        assert!(said.contains("Z, 3 min ago, next try at ") && said.ends_with("Z, in 25 s (503)"), "{said}");
        assert!(!state.sentence().contains(" ago"), "{}", state.sentence());
    }
}
