//! The messages: what a request may say, and what an event tells.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::catalog;
use crate::ids::{Account, RunId};

/// The content type of events (CloudEvents 1.0, JSON format).
pub const EVENT_CONTENT_TYPE: &str = "application/cloudevents+json";

/// Requests over this many bytes are refused.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// Namespace of the ids that are made from other ids or from a message.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_4a9c_3b52_5c0e_9d3a_7e61_42b8_c0d5);

/// How much a run reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Changes where the API can tell them, else a complete pass.
    #[default]
    Incremental,
    /// A complete pass, with deletion detection.
    Full,
}

impl Mode {
    /// The word used in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Incremental => "incremental",
            Self::Full => "full",
        }
    }
}

/// A request as it stands in the body of a message. All keys are optional; unknown ones are errors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyncRequest {
    /// The request's id; without it the AMQP `message_id` serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Uuid>,
    /// What to sync; without it all resources that the worker is configured for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<String>>,
    /// How much to read.
    pub mode: Mode,
    /// Whether to fetch every detail again.
    pub refetch: bool,
    /// Whether to mark deletions that the guard would stop.
    pub allow_deletions: bool,
    /// Whether an audit mends what it finds; only with an audit.
    pub repair: bool,
}

/// What a request asks for, without its id: equal parameters mean the same run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// What to sync; `None`: all that the worker is configured for.
    pub resources: Option<Vec<String>>,
    /// How much to read.
    pub mode: Mode,
    /// Whether to fetch every detail again.
    pub refetch: bool,
    /// Whether to mark deletions that the guard would stop.
    pub allow_deletions: bool,
}

/// A request that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Its id, if the message has one in its body or its properties.
    pub id: Option<RunId>,
    /// What it asks for.
    pub parameters: Parameters,
}

/// Why a request cannot be processed, in words for whoever sent it, and its id where that much was readable.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct BadRequest {
    /// What is wrong and how to mend it.
    pub reason: String,
    /// The request's id, if it could be read.
    pub id: Option<RunId>,
}

impl Request {
    /// Reads the body of a message. `message_id` is the AMQP property, which serves where the body has no `request_id`.
    pub fn parse(body: &[u8], message_id: Option<&str>) -> Result<Self, BadRequest> {
        let from_property = message_id.filter(|id| !id.is_empty()).map(run_id_from_text);
        let refuse = |reason: String, id: Option<RunId>| BadRequest { reason, id };
        if body.len() > MAX_REQUEST_BYTES {
            let reason = format!("the request has {} bytes; at most {MAX_REQUEST_BYTES} are taken", body.len());
            return Err(refuse(reason, from_property));
        }
        let request: SyncRequest = serde_json::from_slice(body).map_err(|error| {
            let id = serde_json::from_slice::<Value>(body)
                .ok()
                .and_then(|value| value.get("request_id")?.as_str()?.parse().ok().map(RunId));
            let reason = format!(
                "the request is not valid: {error}. It is a JSON object with the optional keys request_id, resources, mode \
                 (incremental or full), refetch, allow_deletions; {{}} asks for an incremental sync of everything"
            );
            refuse(reason, id.or(from_property))
        })?;
        let id = request.request_id.map(RunId).or(from_property);
        if request.repair {
            let reason = "repair goes with mode audit only; leave it out".to_owned();
            return Err(refuse(reason, id));
        }
        let resources = request.resources.map(normalise).transpose().map_err(|reason| refuse(reason, id))?;
        let parameters = Parameters {
            resources,
            mode: request.mode,
            refetch: request.refetch,
            allow_deletions: request.allow_deletions,
        };
        Ok(Self { id, parameters })
    }
}

/// Known names, each once, in the catalog's order.
fn normalise(names: Vec<String>) -> Result<Vec<String>, String> {
    if names.is_empty() {
        return Err("resources is an empty list: leave the key out to sync all resources".to_owned());
    }
    if let Some(unknown) = names.iter().find(|name| catalog::find(name).is_none()) {
        let unknown: String = unknown.chars().take(64).collect();
        return Err(format!("unknown resource {unknown:?}; the resources are {}", catalog::names()));
    }
    Ok(catalog::RESOURCES.iter().map(|r| r.name.to_owned()).filter(|name| names.contains(name)).collect())
}

/// The run's id for a `message_id`, which is any text: itself where it is a UUID, else one made from it.
fn run_id_from_text(text: &str) -> RunId {
    RunId(text.parse().unwrap_or_else(|_| Uuid::new_v5(&NAMESPACE, text.as_bytes())))
}

/// An id made from a message that has none or could not be read: the same bytes give the same id.
pub fn id_of_message(account: &Account, body: &[u8]) -> Uuid {
    Uuid::new_v5(&NAMESPACE, &[account.as_str().as_bytes(), b"/", body].concat())
}

/// What an event is about; the last word of its routing key and of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A run has begun.
    Started,
    /// A run goes on; not kept, so it may be missing.
    Progress,
    /// All resources completed or were skipped with a reason.
    Completed,
    /// Some resources failed.
    Partial,
    /// All failed, or the request could not be processed.
    Failed,
    /// A person has to authorize the account.
    AuthorizationRequired,
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
            Self::AuthorizationRequired => ("authorization", "required"),
        }
    }

    /// The routing key on the events exchange: `sync.<account>.completed`.
    pub fn routing_key(self, account: &Account) -> String {
        let (group, word) = self.words();
        format!("{group}.{account}.{word}")
    }
}

/// How a run, or one resource of it, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// Not ended yet.
    Running,
    /// All of it.
    Completed,
    /// Some resources failed.
    Partial,
    /// Nothing was completed.
    Failed,
}

impl RunStatus {
    /// The word in messages, the database and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }

    /// The event that tells it.
    pub fn event_kind(self) -> EventKind {
        match self {
            Self::Running => EventKind::Progress,
            Self::Completed => EventKind::Completed,
            Self::Partial => EventKind::Partial,
            Self::Failed => EventKind::Failed,
        }
    }
}

/// What became of one resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceReport {
    /// `completed`, `skipped`, `failed`; `running` in events that are not final.
    pub status: String,
    /// Distinct records that the list told.
    pub listed: i64,
    /// Rows that were not there before.
    pub created: i64,
    /// Rows whose list item differed.
    pub updated: i64,
    /// Records whose row was equal already.
    pub unchanged: i64,
    /// Rows marked deleted.
    pub deleted: i64,
    /// Rows whose detail was merged.
    pub detailed: i64,
    /// How many records the API said that the list holds.
    pub matches: Option<i64>,
    /// Whether the pass is proven complete.
    pub verified: bool,
    /// Why it failed or was skipped.
    pub error: Option<String>,
}

/// The `data` of a `sync` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
            error: Some(reason.to_owned()),
        }
    }
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
    /// The event that tells a run's report. The id is made from the run's id and the word, so that a final event has one id only.
    pub fn of_run(report: &RunReport) -> Self {
        let kind = report.status.event_kind();
        let seed = if report.status == RunStatus::Running { Uuid::new_v4().to_string() } else { "final".to_owned() };
        Self::new(kind, &report.account, &report.request_id.to_string(), &seed, &json!(report))
    }

    /// The event that a request was refused; `seed` is made from the message, see [`id_of_message`].
    pub fn of_refusal(report: &RunReport, seed: Uuid) -> Self {
        Self::new(
            EventKind::Failed,
            &report.account,
            &report.request_id.to_string(),
            &format!("refused/{seed}"),
            &json!(report),
        )
    }

    /// The event at the beginning of a run.
    pub fn started(report: &RunReport) -> Self {
        Self::new(EventKind::Started, &report.account, &report.request_id.to_string(), "started", &json!(report))
    }

    /// The event that a person has to authorize; `generation` is that of the token that no longer works.
    pub fn authorization_required(account: &Account, generation: i64, reason: &str) -> Self {
        let data = json!({ "account": account, "reason": reason });
        let seed = format!("authorization/{generation}");
        Self::new(EventKind::AuthorizationRequired, account, account.as_str(), &seed, &data)
    }

    fn new(kind: EventKind, account: &Account, subject: &str, seed: &str, data: &Value) -> Self {
        let (group, word) = kind.words();
        let id = Uuid::new_v5(&NAMESPACE, format!("{account}/{subject}/{seed}").as_bytes());
        let payload = json!({
            "specversion": "1.0",
            "id": id,
            "source": format!("/teamleader2db/{account}"),
            "type": format!("teamleader2db.{group}.{word}"),
            "subject": subject,
            "time": Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
            "datacontenttype": "application/json",
            "data": data,
        });
        Self { id, kind, subject: subject.to_owned(), payload: payload.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(body: &str) -> String {
        Request::parse(body.as_bytes(), None).expect_err(body).reason
    }

    #[test]
    fn an_empty_object_is_a_request_for_everything() {
        let request = Request::parse(b"{}", None).expect("valid");
        assert_eq!(request.id, None);
        assert_eq!(request.parameters.mode, Mode::Incremental);
        assert_eq!(request.parameters.resources, None);
    }

    #[test]
    fn the_message_id_serves_where_the_body_has_none() {
        let id = Uuid::new_v4();
        let parsed = |message_id: &str| Request::parse(b"{}", Some(message_id)).expect("valid").id;
        assert_eq!(parsed(&id.to_string()), Some(RunId(id)));
        assert_eq!(parsed("dag-7"), parsed("dag-7"));
        assert_ne!(parsed("dag-7"), parsed("dag-8"));
    }

    #[test]
    fn the_order_of_resources_and_repetitions_make_no_other_request() {
        let parse = |body: &str| Request::parse(body.as_bytes(), None).expect(body).parameters;
        assert_eq!(
            parse(r#"{"resources":["contacts","users","contacts"]}"#),
            parse(r#"{"resources":["users","contacts"]}"#)
        );
    }

    #[test]
    fn a_bad_request_says_what_to_mend() {
        assert!(reason(r#"{"resource":["contacts"]}"#).contains("unknown field `resource`"));
        assert!(reason(r#"{"resources":["contact"]}"#).contains("companies, contacts"));
        assert!(reason(r#"{"resources":[]}"#).contains("leave the key out"));
        assert!(reason(r#"{"mode":"all"}"#).contains("incremental"));
        assert!(reason("not json").contains("JSON object"));
        assert!(reason(&format!("{{\"mode\":\"{}\"}}", "x".repeat(MAX_REQUEST_BYTES))).contains("at most"));
    }

    #[test]
    fn a_bad_request_keeps_its_id() {
        let id = Uuid::new_v4();
        let body = format!(r#"{{"request_id":"{id}","mode":"all"}}"#);
        assert_eq!(Request::parse(body.as_bytes(), None).expect_err("bad mode").id, Some(RunId(id)));
    }

    #[test]
    fn a_final_event_has_one_id() {
        let account: Account = "acme".parse().expect("valid");
        let report = RunReport::refused(&account, Uuid::new_v4(), "why");
        assert_eq!(Event::of_run(&report).id, Event::of_run(&report).id);
        assert_ne!(Event::of_run(&report).id, Event::started(&report).id);
    }
}
