//! Events: CloudEvents 1.0 in JSON, with a report on the run as data.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::cause::Cause;
use super::id::{NAMESPACE, id_of_message};
use super::request::Mode;
use super::state::AccountState;
use super::text::{MAX_ERROR, shortened};
use crate::ids::Account;

/// The content type of events (CloudEvents 1.0, JSON format).
pub const EVENT_CONTENT_TYPE: &str = "application/cloudevents+json";

/// What an event is about; the last word of its routing key and of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A run has started.
    Started,
    /// A run goes on; not stored, so it may be missing.
    Progress,
    /// All resources completed or were skipped with a reason.
    Completed,
    /// Some resources failed, or have records that could not be read or stored.
    Partial,
    /// All failed, or the request could not be processed.
    Failed,
    /// Somebody ended the run, or the request before it became one.
    Cancelled,
    /// An operator has to authorize the account.
    AuthorizationRequired,
    /// Another person than before has authorized it.
    AuthorizationChanged,
}

impl EventKind {
    /// `(group, word)`: `("sync", "completed")`.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Started => ("sync", "started"),
            Self::Progress => ("sync", "progress"),
            Self::Completed => ("sync", "completed"),
            Self::Partial => ("sync", "partial"),
            Self::Failed => ("sync", "failed"),
            Self::Cancelled => ("sync", "cancelled"),
            Self::AuthorizationRequired => ("authorization", "required"),
            Self::AuthorizationChanged => ("authorization", "changed"),
        }
    }

    /// The CloudEvents type: `teamleader2db.sync.completed`.
    pub fn event_type(self) -> String {
        let (group, word) = self.words();
        format!("teamleader2db.{group}.{word}")
    }

    /// The routing key on the events exchange: `sync.<account>.completed`.
    pub fn routing_key(self, account: &Account) -> String {
        let (group, word) = self.words();
        format!("{group}.{account}.{word}")
    }

    /// What the routing keys of all events of an account fit, as a pattern of a topic exchange.
    pub fn routing_pattern(account: &Account) -> String {
        format!("*.{account}.#")
    }
}

/// How a run, or one resource of it, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// Not ended yet.
    Running,
    /// All of it.
    Completed,
    /// Some resources failed, or have records that could not be read or stored.
    Partial,
    /// Nothing was completed.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl RunStatus {
    /// The word in messages, the database and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status that has this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Running, Self::Completed, Self::Partial, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == word)
    }

    /// The event that reports it.
    pub fn event_kind(self) -> EventKind {
        match self {
            Self::Running => EventKind::Progress,
            Self::Completed => EventKind::Completed,
            Self::Partial => EventKind::Partial,
            Self::Failed => EventKind::Failed,
            Self::Cancelled => EventKind::Cancelled,
        }
    }
}

/// How the work on one resource of a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResourceStatus {
    /// It was read to its end.
    Completed,
    /// The account does not have it, or it may not be read.
    Skipped,
    /// It was not, or not all of it.
    Failed,
    /// Not ended yet: in events that are not final. Also a word of a later version.
    #[default]
    #[serde(other)]
    Running,
}

impl ResourceStatus {
    /// The word in messages and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }

    /// The status that has this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Running, Self::Completed, Self::Skipped, Self::Failed].into_iter().find(|status| status.as_str() == word)
    }
}

/// What became of one resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ResourceReport {
    /// `completed`, `skipped`, `failed`; `running` in events that are not final.
    #[cfg_attr(test, schemars(with = "String", extend("enum" = ["completed", "skipped", "failed", "running"])))]
    pub status: ResourceStatus,
    /// Distinct records that the list gave.
    pub listed: i64,
    /// Rows that were not there before.
    pub created: i64,
    /// Rows whose list item differed.
    pub updated: i64,
    /// Records whose row was equal already.
    pub unchanged: i64,
    /// Rows marked deleted.
    pub deleted: i64,
    /// Records that could not be read or stored, and are asked for again by each later sync; their ids stand in
    /// `teamleader2db.rejected_record`.
    #[serde(default)]
    pub rejected: i64,
    /// Rows whose detail was merged.
    pub detailed: i64,
    /// How many records the API said that the list holds.
    pub matches: Option<i64>,
    /// Whether the pass is proven complete.
    pub verified: bool,
    /// Why it failed or was skipped.
    pub error: Option<String>,
    /// Why it failed, as a word that a program can decide by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// What to do about that, with the commands as they are typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// How the API's answers differed from the documentation, as text. Values that differed are stored all the same.
    #[serde(default)]
    pub drift: Vec<String>,
    /// Of an audit: what it found.
    #[serde(flatten)]
    pub audited: Option<Audited>,
}

/// What an audit found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Audited {
    /// Records of the API that have no row.
    pub missing: i64,
    /// Rows that hold an older state of their record, or lack its detail.
    pub stale: i64,
    /// Rows that hold what the API did not give, or whose record is deleted.
    pub wrong: i64,
}

/// What a run is expected to take. It is corrected as the run learns what the account holds and what has changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Forecast {
    /// Requests to the API in all, those made included.
    pub api_requests: i64,
    /// When they will be made at the API's budget.
    pub done_at: DateTime<Utc>,
    /// Whether there will be more, nobody knows how many: a list that is to be read was never read to its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
}

/// The `data` of a `sync` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunReport {
    /// The request's id.
    pub request_id: Uuid,
    /// The account.
    pub account: Account,
    /// How much was read; `None` where the request was unreadable.
    pub mode: Option<Mode>,
    /// How it ended.
    pub status: RunStatus,
    /// When the run was first claimed.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was finished.
    pub finished_at: Option<DateTime<Utc>>,
    /// Requests made to the API, retries included.
    pub api_requests: i64,
    /// By resource.
    pub resources: BTreeMap<String, ResourceReport>,
    /// Of a run that goes on: what it is still expected to take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// Of a run that goes on: what its account is doing, or waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<AccountState>,
    /// Views of schema `teamleader_views` that are not as they should be, and how to fix them, as text.
    /// They say nothing of the records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub view_problems: Vec<String>,
    /// Why the run as a whole failed.
    pub error: Option<String>,
}

impl RunReport {
    /// The report on a request that never became a run.
    pub fn refused(account: &Account, id: Uuid, reason: &str) -> Self {
        Self {
            request_id: id,
            account: account.clone(),
            mode: None,
            status: RunStatus::Failed,
            started_at: None,
            finished_at: Some(Utc::now()),
            api_requests: 0,
            resources: BTreeMap::new(),
            forecast: None,
            state: None,
            view_problems: Vec::new(),
            error: Some(shortened(reason.to_owned(), MAX_ERROR)),
        }
    }

    /// The report on a request that was cancelled before it became a run.
    pub fn cancelled(account: &Account, id: Uuid) -> Self {
        Self { status: RunStatus::Cancelled, error: None, ..Self::refused(account, id, "") }
    }
}

/// The data of `authorization.<account>.required`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct AuthorizationRequired<'a> {
    /// The account.
    account: &'a Account,
    /// Why.
    reason: &'a str,
}

/// The `data` of `authorization.<account>.changed`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct AuthorizationChanged<'a> {
    /// The account.
    account: &'a Account,
    /// The name of who authorized it.
    authorized_by: &'a str,
    /// The name of who had before.
    previously_authorized_by: &'a str,
}

/// A CloudEvent, ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its id: the same whenever it is sent again.
    pub id: Uuid,
    /// What it is about.
    pub kind: EventKind,
    /// The request's id; for events about authorization the account.
    pub subject: String,
    /// The JSON text.
    pub payload: String,
}

impl Event {
    /// The event with a run's report. The id is made from the run's id and the word, so that a final event has
    /// one id only.
    pub fn of_run(report: &RunReport) -> Self {
        let kind = report.status.event_kind();
        let seed = if report.status == RunStatus::Running { Uuid::new_v4().to_string() } else { "final".to_owned() };
        // A final event sent again is the same to the letter.
        let time = report.finished_at.unwrap_or_else(Utc::now);
        Self::new(kind, &report.account, &report.request_id.to_string(), &seed, time, &json!(report))
    }

    /// The ids that the final event of this request can have: that of its run, or that of its refusal, whose subject is
    /// the request's id or, where a run has that id, one made from the message. An event of another id with the same
    /// subject says that another sender's request with the same id was refused.
    pub fn final_ids(account: &Account, request_id: Uuid, body: &[u8]) -> [Uuid; 3] {
        let seed = id_of_message(account, body);
        let refused = format!("refused/{seed}");
        [(request_id, "final"), (request_id, &refused), (seed, &refused)]
            .map(|(subject, seed)| Self::id_from(account, &subject.to_string(), seed))
    }

    fn id_from(account: &Account, subject: &str, seed: &str) -> Uuid {
        Uuid::new_v5(&NAMESPACE, format!("{account}/{subject}/{seed}").as_bytes())
    }

    /// The event that a request was refused; `seed` is made from the message, see [`id_of_message`].
    pub fn of_refusal(report: &RunReport, seed: Uuid) -> Self {
        Self::new(
            EventKind::Failed,
            &report.account,
            &report.request_id.to_string(),
            &format!("refused/{seed}"),
            report.finished_at.unwrap_or_else(Utc::now),
            &json!(report),
        )
    }

    /// The event at the beginning of a run.
    pub fn started(report: &RunReport) -> Self {
        Self::new(
            EventKind::Started,
            &report.account,
            &report.request_id.to_string(),
            "started",
            Utc::now(),
            &json!(report),
        )
    }

    /// The event that an operator has to authorize; `generation` is that of the token that no longer works.
    pub fn authorization_required(account: &Account, generation: i64, reason: &str) -> Self {
        let data = json!(AuthorizationRequired { account, reason });
        let seed = format!("authorization/{generation}");
        Self::new(EventKind::AuthorizationRequired, account, account.as_str(), &seed, Utc::now(), &data)
    }

    /// The event that another person has authorized; `generation` is that of the token which shows it.
    pub fn authorization_changed(account: &Account, generation: i64, by: &str, previously: &str) -> Self {
        let data = json!(AuthorizationChanged { account, authorized_by: by, previously_authorized_by: previously });
        let seed = format!("authorized/{generation}");
        Self::new(EventKind::AuthorizationChanged, account, account.as_str(), &seed, Utc::now(), &data)
    }

    fn new(kind: EventKind, account: &Account, subject: &str, seed: &str, time: DateTime<Utc>, data: &Value) -> Self {
        let id = Self::id_from(account, subject, seed);
        let payload = json!({
            "specversion": "1.0",
            "id": id,
            "source": format!("/teamleader2db/{account}"),
            "type": kind.event_type(),
            "subject": subject,
            "time": time.to_rfc3339_opts(SecondsFormat::Millis, true),
            "datacontenttype": "application/json",
            "data": data,
        });
        Self { id, kind, subject: subject.to_owned(), payload: payload.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_event_has_one_id() {
        let account: Account = "acme".parse().expect("valid");
        let report = RunReport::refused(&account, Uuid::new_v4(), "why");
        assert_eq!(Event::of_run(&report).id, Event::of_run(&report).id);
        assert_ne!(Event::of_run(&report).id, Event::started(&report).id);
    }

    #[test]
    fn the_ids_of_a_final_event_are_those_that_the_package_for_airflow_expects() {
        let account: Account = "default".parse().expect("valid");
        let id = "0e807902-7fcf-5851-b627-fcc112c25229".parse().expect("a UUID");
        let body = br#"{"request_id": "0e807902-7fcf-5851-b627-fcc112c25229", "mode": "full"}"#;
        let expected = [
            "c56ba28e-de02-583d-a79a-533dcb94e80b",
            "cb9f8523-c233-5167-8c04-a847bd2fe40f",
            "5ca5be1f-b612-5dcd-9f9b-af09ef37a6a0",
        ];
        assert_eq!(Event::final_ids(&account, id, body).map(|id| id.to_string()), expected);
    }
}
