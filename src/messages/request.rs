//! Requests: what they may say, and why one is refused.

use std::fmt;

use serde::de::{SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::id::NAMESPACE;
use super::text::shortened;
use crate::catalog::{self, Resource};
use crate::ids::RunId;

/// Requests over this many bytes are refused.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// A request names as many ids at most.
pub const MAX_IDS: usize = 1_000;

/// No more of the parser's words goes into a reason, in characters: the sender's may be in them, and a reason becomes a
/// header.
const MAX_COMPLAINT: usize = 200;

/// How much a run reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Changes where the API can show them, else a complete pass.
    #[default]
    Incremental,
    /// A complete pass, with deletion detection.
    Full,
    /// The rows are compared with the API, and corrected only with `repair`.
    Audit,
}

impl Mode {
    /// The word used in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Incremental => "incremental",
            Self::Full => "full",
            Self::Audit => "audit",
        }
    }
}

/// A request as it stands in the body of a message. All keys are optional; unknown ones are errors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct SyncRequest {
    /// The request's id; without it the AMQP `message_id` serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Uuid>,
    /// What to sync, in the API's spelling or in the table's; `all`: those that take no call for each parent record.
    /// Without it all that the worker is configured for.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "resource_names")]
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub resources: Option<Vec<String>>,
    /// How much to read.
    pub mode: Mode,
    /// Whether to fetch every detail again.
    pub refetch: bool,
    /// Whether to mark deletions that the guard would stop.
    pub allow_deletions: bool,
    /// Whether an audit corrects what it finds; only with an audit.
    pub repair: bool,
    /// How many records of each resource an audit compares, chosen at random; without it all. Only with an audit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<u32>,
    /// Exactly these records of the one resource that is named, 1 to 1,000: they are fetched, and marked deleted where
    /// they are. Only with mode incremental.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<Uuid>>,
}

/// What a request asks for, without its id: equal parameters mean the same run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parameters {
    /// What to sync, in the API's spelling, and maybe the word `all`; `None`: all that the worker is configured for.
    pub resources: Option<Vec<String>>,
    /// How much to read.
    pub mode: Mode,
    /// Whether to fetch every detail again.
    pub refetch: bool,
    /// Whether to mark deletions that the guard would stop.
    pub allow_deletions: bool,
    /// Whether an audit corrects what it finds.
    pub repair: bool,
    /// How many records of each resource an audit compares; `None`: all.
    pub sample: Option<u32>,
    /// The records that are asked for, each once and in their order; `None`: all, or those that changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<Uuid>>,
}

impl Parameters {
    /// Whether a resource is to be synced; `configured`: whether the worker syncs it where none is named.
    pub fn wants(&self, resource: &Resource, configured: bool) -> bool {
        let Some(names) = &self.resources else { return configured };
        names.iter().any(|name| name == resource.name || name == catalog::ALL && resource.stands_alone())
    }

    /// Whether the run is an audit.
    pub fn is_audit(&self) -> bool {
        self.mode == Mode::Audit
    }

    /// How many records of each resource are compared; `None`: all, or no audit.
    pub fn sample(&self) -> Option<i64> {
        self.sample.filter(|_| self.is_audit()).map(i64::from)
    }

    /// Whether what a pass did not see may be marked deleted in the end.
    pub fn marks_deletions(&self) -> bool {
        match self.mode {
            Mode::Full => true,
            Mode::Audit => self.repair && self.sample.is_none(),
            Mode::Incremental => false,
        }
    }
}

/// A request that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Its id, if the message has one in its body or its properties.
    pub id: Option<RunId>,
    /// What it asks for.
    pub parameters: Parameters,
}

/// Why a request cannot be processed, as text for its sender, and its id where that much was readable.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct BadRequest {
    /// The error and how to fix it.
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
        let request: SyncRequest = from_object(body).map_err(|error| {
            let id = serde_json::from_slice::<Value>(body)
                .ok()
                .and_then(|value| value.get("request_id")?.as_str()?.parse().ok().map(RunId));
            let complaint = shortened(error.to_string(), MAX_COMPLAINT);
            let reason = format!(
                "the request is not valid: {complaint}. It is a JSON object with the optional keys request_id, \
                 resources, mode (incremental, full or audit), refetch, allow_deletions, for audits repair and \
                 sample, and ids with one resource; {{}} asks for an incremental sync of everything"
            );
            refuse(reason, id.or(from_property))
        })?;
        let id = request.request_id.map(RunId).or(from_property);
        let audit = request.mode == Mode::Audit;
        let misplaced = [
            (request.repair && !audit, "repair goes with mode audit only; leave it out"),
            (request.sample.is_some() && !audit, "sample goes with mode audit only; leave it out"),
            (request.sample == Some(0), "sample is 0: leave it out to compare everything"),
            (
                request.refetch && audit,
                "refetch does not go with mode audit, which asks for every detail; leave it out",
            ),
        ];
        if let Some((_, reason)) = misplaced.iter().find(|(is_so, _)| *is_so) {
            return Err(refuse((*reason).to_owned(), id));
        }
        let named = request.resources.as_ref().map_or(0, Vec::len);
        let resources = request.resources.map(normalise).transpose().map_err(|reason| refuse(reason, id))?;
        let one = resources.as_deref().and_then(|names| names.first()).filter(|_| named == 1);
        let by_ids = request.ids.as_ref().map(|ids| (ids, request.refetch));
        if let Some(reason) = by_ids.and_then(|(ids, refetch)| {
            misplaced_ids(ids, one.and_then(|name| catalog::find(name)), (request.mode, refetch))
        }) {
            return Err(refuse(reason, id));
        }
        let ids = request.ids.map(|mut ids| {
            ids.sort_unstable();
            ids.dedup();
            ids
        });
        let parameters = Parameters {
            resources,
            mode: request.mode,
            refetch: request.refetch,
            allow_deletions: request.allow_deletions,
            repair: request.repair,
            sample: request.sample,
            ids,
        };
        Ok(Self { id, parameters })
    }
}

/// Why these ids cannot be asked for.
fn misplaced_ids(ids: &[Uuid], of: Option<&Resource>, (mode, refetch): (Mode, bool)) -> Option<String> {
    if ids.is_empty() || ids.len() > MAX_IDS {
        return Some(format!("ids has {} ids: name 1 to {MAX_IDS} in a request", ids.len()));
    }
    if mode != Mode::Incremental {
        return Some("ids goes with mode incremental only: leave mode out".to_owned());
    }
    if refetch {
        return Some("refetch does not go with ids, whose details are fetched anyway; leave it out".to_owned());
    }
    let Some(resource) = of else {
        return Some("ids goes with exactly one resource: name it in resources".to_owned());
    };
    if !resource.is_given_by_id() {
        return Some(format!("Teamleader gives no {} by id: request the resource without ids", resource.name));
    }
    None
}

/// Reads a JSON object. A derived `Deserialize` takes an array as well, as the values of the keys in turn.
pub fn from_object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, serde_json::Error> {
    match json.trim_ascii_start().first() {
        Some(b'{') | None => serde_json::from_slice(json),
        Some(_) => Err(serde::de::Error::custom("not a JSON object")),
    }
}

/// Known names, each once, in the catalog's order and spelling; `all` stands before them.
fn normalise(names: Vec<String>) -> Result<Vec<String>, String> {
    if names.is_empty() {
        return Err("resources is an empty list: leave the key out to sync all resources".to_owned());
    }
    let (all, named): (Vec<&String>, Vec<&String>) = names.iter().partition(|name| catalog::is_all(name));
    let named: Result<Vec<&Resource>, _> = named.into_iter().map(|name| catalog::resolve(name)).collect();
    let named = named.map_err(|unknown| unknown.to_string())?;
    let word = (!all.is_empty()).then_some(catalog::ALL);
    let known = catalog::RESOURCES.iter().filter(|resource| named.contains(resource)).map(|resource| resource.name);
    Ok(word.into_iter().chain(known).map(str::to_owned).collect())
}

/// Reads the names of resources: a list, the word `all`, or null.
pub fn resource_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    struct Names;

    impl<'de> Visitor<'de> for Names {
        type Value = Option<Vec<String>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of names of resources, or \"all\"")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            match catalog::is_all(text) {
                true => Ok(Some(vec![catalog::ALL.to_owned()])),
                false => Err(E::invalid_value(Unexpected::Str(text), &self)),
            }
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut names = Vec::new();
            while let Some(name) = list.next_element()? {
                names.push(name);
            }
            Ok(Some(names))
        }
    }

    deserializer.deserialize_any(Names)
}

/// The run's id for a `message_id`, which is any text: itself where it is a UUID, else one made from it.
fn run_id_from_text(text: &str) -> RunId {
    RunId(text.parse().unwrap_or_else(|_| Uuid::new_v5(&NAMESPACE, text.as_bytes())))
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
    fn resources_are_stored_in_the_spelling_of_the_api() {
        let stored = |body: &str| Request::parse(body.as_bytes(), None).expect(body).parameters.resources;
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(stored(r#"{"resources":["time_tracking","Contacts"]}"#), names(&["contacts", "timeTracking"]));
        for all in [r#"{"resources":"all"}"#, r#"{"resources":["all"]}"#, r#"{"resources":["ALL","all"]}"#] {
            assert_eq!(stored(all), names(&["all"]), "{all}");
        }
        assert_eq!(stored(r#"{"resources":["notes","all"]}"#), names(&["all", "notes"]));
        assert_eq!(stored(r#"{"resources":null}"#), None);
    }

    #[test]
    fn all_are_those_that_take_no_call_for_each_parent() {
        let wants = |names: Option<&[&str]>, resource: &str, configured: bool| {
            let resources = names.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            let parameters = Parameters { resources, ..Parameters::default() };
            parameters.wants(catalog::find(resource).expect("known"), configured)
        };
        assert!(wants(None, "contacts", true) && !wants(None, "contacts", false));
        assert!(wants(Some(&["all"]), "contacts", false) && !wants(Some(&["all"]), "notes", true));
        assert!(wants(Some(&["all", "notes"]), "notes", false));
        assert!(wants(Some(&["notes"]), "notes", false) && !wants(Some(&["notes"]), "contacts", true));
    }

    #[test]
    fn a_bad_request_says_what_to_mend() {
        assert!(reason(r#"{"resource":["contacts"]}"#).contains("unknown field `resource`"));
        assert!(reason(r#"{"resources":["users","contact"]}"#).contains("did you mean contacts?"));
        assert!(reason(r#"{"resources":"contacts"}"#).contains("a list of names of resources, or \"all\""));
        assert!(reason(r#"{"resources":[7]}"#).contains("expected a string"));
        assert!(reason(r#"{"resources":[]}"#).contains("leave the key out"));
        assert!(reason(r#"{"mode":"all"}"#).contains("incremental"));
        assert!(reason(r#"{"repair":true}"#).contains("audit only"));
        assert!(reason(r#"{"mode":"full","sample":5}"#).contains("audit only"));
        assert!(reason(r#"{"mode":"audit","sample":0}"#).contains("leave it out"));
        assert!(reason("not json").contains("JSON object"));
        assert!(reason(&format!("{{\"{}\":1}}", "ü".repeat(20_000))).len() < 1000, "the sender's words are cut short");
        assert!(reason(&format!("{{\"mode\":\"{}\"}}", "x".repeat(MAX_REQUEST_BYTES))).contains("at most"));
    }

    #[test]
    fn ids_go_with_one_resource_and_their_order_makes_no_other_request() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let parse = |body: String| Request::parse(body.as_bytes(), None).expect("valid").parameters;
        let ids = |ids: &str| parse(format!(r#"{{"resources":["Invoices"],"ids":[{ids}]}}"#)).ids;
        assert_eq!(ids(&format!(r#""{two}","{one}","{two}""#)), Some(vec![one, two]));
        let some = format!(r#""ids":["{one}"]"#);
        for (body, why) in [
            (format!("{{{some}}}"), "exactly one resource"),
            (format!(r#"{{"resources":["invoices","deals"],{some}}}"#), "exactly one resource"),
            (format!(r#"{{"resources":"all",{some}}}"#), "exactly one resource"),
            (format!(r#"{{"resources":["invoices"],"mode":"full",{some}}}"#), "incremental only"),
            (format!(r#"{{"resources":["invoices"],"refetch":true,{some}}}"#), "fetched anyway"),
            (format!(r#"{{"resources":["tags"],{some}}}"#), "no tags by id"),
            (format!(r#"{{"resources":["notes"],{some}}}"#), "no notes by id"),
            (r#"{"resources":["invoices"],"ids":[]}"#.to_owned(), "1 to 1000"),
            (r#"{"resources":["invoices"],"ids":["7"]}"#.to_owned(), "UUID"),
        ] {
            assert!(reason(&body).contains(why), "{body}: {}", reason(&body));
        }
        let many: Vec<String> = (0..1_001).map(|id| format!("\"{}\"", Uuid::from_u128(id))).collect();
        let many = format!(r#"{{"resources":["invoices"],"ids":[{}]}}"#, many.join(","));
        assert!(reason(&many).contains("1 to 1000"));
    }

    #[test]
    fn a_bad_request_keeps_its_id() {
        let id = Uuid::new_v4();
        let body = format!(r#"{{"request_id":"{id}","mode":"all"}}"#);
        assert_eq!(Request::parse(body.as_bytes(), None).expect_err("bad mode").id, Some(RunId(id)));
    }
}
