//! Where the step of a run goes on: one type for each phase, parsed once when a slice starts, and stored as JSON in
//! `sync_step.position`.

use std::collections::{BTreeSet, VecDeque};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::pager::ListCursor;
use super::partition::Partition;
use crate::store::records::details::Place;
use crate::store::runs::{self, Cursor, Phase, UnreadableCursor};

/// A run as the sync works on it.
pub type Run = runs::Run<StepCursor>;

/// A resource of a run.
pub type Step = runs::Step<StepCursor>;

/// The version of the JSON. An older one is read: a field that it lacks has a default.
const VERSION: u64 = 1;

/// The key of the version in the JSON; the JSON of the first version has none.
const VERSION_KEY: &str = "version";

/// Where a step goes on.
#[derive(Clone, Debug, Default)]
pub enum StepCursor {
    /// At the start of its phase.
    #[default]
    Start,
    /// In the list of an audit's sample.
    Sample(Box<SampleCursor>),
    /// In the ids of a request.
    Ids(IdsCursor),
    /// In the lists of the resource.
    List(Box<ListProgress>),
    /// In the rows that no list gave.
    Sweep(SweepCursor),
    /// In the work list of details.
    Details(DetailCursor),
}

impl Cursor for StepCursor {
    fn from_json(phase: Phase, mut json: Value) -> Result<Self, UnreadableCursor> {
        let version = json.as_object_mut().and_then(|fields| fields.remove(VERSION_KEY));
        match version.map(|version| version.as_u64()) {
            None | Some(Some(..=VERSION)) => {}
            Some(Some(newer)) => return Err(UnreadableCursor::Newer(newer)),
            Some(None) => return Err(UnreadableCursor::Corrupt("its version is no number".to_owned())),
        }
        Ok(match phase {
            Phase::List if json.get("compared").is_some() => Self::Sample(read(json)?),
            Phase::List if json.get("asked").is_some() => Self::Ids(read(json)?),
            Phase::List => Self::List(read::<Box<ListProgress>>(json)?.of_this_version()),
            Phase::Sweep => Self::Sweep(read(json)?),
            Phase::Detail | Phase::Aged => Self::Details(read(json)?),
            Phase::Done => Self::Start,
        })
    }

    fn to_json(&self) -> Result<Option<Value>, serde_json::Error> {
        let mut json = match self {
            Self::Start => return Ok(None),
            Self::Sample(cursor) => serde_json::to_value(cursor)?,
            Self::Ids(cursor) => serde_json::to_value(cursor)?,
            Self::List(progress) => serde_json::to_value(progress)?,
            Self::Sweep(cursor) => serde_json::to_value(cursor)?,
            Self::Details(cursor) => serde_json::to_value(cursor)?,
        };
        if let Some(fields) = json.as_object_mut() {
            fields.insert(VERSION_KEY.to_owned(), VERSION.into());
        }
        Ok(Some(json))
    }
}

fn read<T: DeserializeOwned>(json: Value) -> Result<T, UnreadableCursor> {
    serde_json::from_value(json).map_err(|error| UnreadableCursor::Corrupt(error.to_string()))
}

/// How far the ids of a request are asked for.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct IdsCursor {
    /// How many of them, in their order.
    pub asked: usize,
}

/// How far the lists of a resource are read, over all its partitions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListProgress {
    /// Where in the list of the partition.
    #[serde(flatten)]
    pub at: ListCursor,
    /// The partition that is read by itself; none where the next parents are to be looked for.
    #[serde(rename = "part", default = "whole_account")]
    pub partition: Option<Partition>,
    /// Partitions to come. Of parent records only those whose list has started and is not a single page.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub waiting: VecDeque<Partition>,
    /// The last parent record that was handled or is waiting.
    #[serde(default)]
    pub last_parent: Option<Partition>,
    /// The number of the first page of this partition.
    #[serde(default)]
    pub first_page: i32,
    /// Distinct records that the partitions before it gave.
    #[serde(default)]
    pub listed: i64,
    /// Whether one of those partitions was not read for sure.
    #[serde(default)]
    pub unproven: bool,
    /// Whether one of those partitions may lack a record that was there throughout.
    #[serde(default)]
    pub incomplete: bool,
    /// Whether the answer with which the list began has a `Date` that is not believed: it is unknown then what changed
    /// after it.
    #[serde(default)]
    pub undated: bool,
    /// Includes that came with a record of the list.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) includes_came: BTreeSet<String>,
    /// Kinds of parents whose lists the API does not give.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) refused: Vec<String>,
    /// Why, as the API says: of the last of them.
    #[serde(default)]
    pub(super) refusal: Option<String>,
    /// Whether one of these may be given another time: it may not be asked for as things are.
    #[serde(default)]
    pub(super) withheld: bool,
    /// The kind of parents of which a list was given last: one that is not given then says nothing of the others.
    #[serde(default)]
    pub given: Option<String>,
    /// Partitions in a row that could not be read.
    #[serde(default)]
    pub failures_in_a_row: u32,
}

/// Positions of earlier versions name no partition where there is one alone.
fn whole_account() -> Option<Partition> {
    Some(Partition::default())
}

impl ListProgress {
    fn of_this_version(mut self: Box<Self>) -> Box<Self> {
        if self.last_parent.is_none() {
            // Earlier versions read one parent after the other.
            self.last_parent = self.partition.clone().filter(|partition| partition.parent().is_some());
        }
        self
    }
}

/// Where the list phase of a sample goes on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SampleCursor {
    #[serde(rename = "part")]
    pub(super) partition: Partition,
    pub(super) waiting: VecDeque<Partition>,
    /// Pages of the partition to come; null before its first page.
    pub(super) pages: Option<VecDeque<u32>>,
    pub(super) compared: i64,
    /// Whether pages have a tenth of the size: an answer was too long.
    #[serde(default)]
    pub(super) small: bool,
}

/// Where the sweep goes on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SweepCursor {
    pub(super) after: Option<Uuid>,
    pub(super) batches: i32,
    /// Whether the passes were verified: a record that they did not give, and that is missing, may be marked, also if
    /// the sweep finds another record that they missed. `None` in cursors of earlier versions, and of samples.
    #[serde(default)]
    pub(super) proven: Option<bool>,
}

/// How far details are fetched.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DetailCursor {
    /// The last row handled.
    pub(super) after: Option<Place>,
    #[serde(default)]
    pub(super) failures_in_a_row: u32,
    /// How many rows were handled.
    #[serde(default)]
    pub(super) handled: i64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As the version before this one wrote them.
    #[test]
    fn cursors_of_an_earlier_version_are_read() {
        let seek = json!({ "since": "2026-01-01T00:00:00+00:00", "page": 1, "reading": { "ids": 0, "xor": 0 },
            "earlier": null, "readings": 0, "beyond": null, "unproven": false, "short": null });
        let part = json!({ "body": { "country": "BE" }, "content": { "country": "BE" }, "parent": null });
        let list = json!({ "pass": 2, "pages_read": 3, "matches": 250, "way": { "seek": seek }, "part": part,
            "waiting": [part], "last_parent": null, "first_page": 1, "listed": 7, "unproven": true, "incomplete": true,
            "failures_in_a_row": 4 });
        let StepCursor::List(list) = StepCursor::from_json(Phase::List, list).expect("a list") else { panic!() };
        assert_eq!((list.at.pass, list.at.pages_read, list.first_page, list.listed), (2, 3, 1, 7));
        assert_eq!(list.partition.as_ref().map(|partition| &partition.body["country"]), Some(&json!("BE")));
        assert_eq!((list.waiting.len(), list.failures_in_a_row), (1, 4));
        assert!(list.unproven && list.incomplete && !list.undated);

        let sample = json!({ "part": part, "waiting": [], "pages": [2, 3], "compared": 40 });
        let StepCursor::Sample(sample) = StepCursor::from_json(Phase::List, sample).expect("a sample") else {
            panic!()
        };
        assert_eq!((sample.partition.body["country"].as_str(), sample.compared), (Some("BE"), 40));
        assert_eq!(sample.pages, Some([2, 3].into()));

        let id = Uuid::from_u128(7);
        let sweep = json!({ "after": id, "batches": 4, "proven": false });
        let StepCursor::Sweep(sweep) = StepCursor::from_json(Phase::Sweep, sweep).expect("a sweep") else { panic!() };
        assert_eq!((sweep.after, sweep.batches, sweep.proven), (Some(id), 4, Some(false)));

        let details =
            json!({ "after": { "at": "2026-01-01T00:00:00Z", "id": id }, "failures_in_a_row": 2, "handled": 9 });
        let StepCursor::Details(details) = StepCursor::from_json(Phase::Aged, details).expect("details") else {
            panic!()
        };
        assert_eq!((details.after.map(|place| place.id), details.failures_in_a_row, details.handled), (Some(id), 2, 9));
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let sample = SampleCursor { pages: Some([2, 3].into()), compared: 40, ..SampleCursor::default() };
        let details = DetailCursor { handled: 9, ..DetailCursor::default() };
        for (phase, cursor) in [
            (Phase::List, StepCursor::Sample(Box::new(sample))),
            (Phase::Sweep, StepCursor::Sweep(SweepCursor { batches: 4, proven: Some(true), ..SweepCursor::default() })),
            (Phase::Aged, StepCursor::Details(details)),
        ] {
            let json = cursor.to_json().expect("JSON").expect("not at the start");
            assert_eq!(json["version"], json!(VERSION));
            let read = StepCursor::from_json(phase, json).expect("as it was written");
            assert_eq!(format!("{read:?}"), format!("{cursor:?}"));
        }
        assert_eq!(StepCursor::Start.to_json().expect("JSON"), None);
    }

    #[test]
    fn a_cursor_that_cannot_be_read_does_not_start_from_the_beginning() {
        let newer = json!({ "version": VERSION + 1, "batches": 1 });
        assert_eq!(StepCursor::from_json(Phase::Sweep, newer).unwrap_err(), UnreadableCursor::Newer(VERSION + 1));
        for (phase, json) in [
            (Phase::List, json!({ "pass": "two" })),
            (Phase::List, json!({ "compared": "some" })),
            (Phase::Sweep, json!({ "after": 7 })),
            (Phase::Detail, json!([])),
            (Phase::Aged, json!({ "version": "first" })),
        ] {
            let read = StepCursor::from_json(phase, json.clone());
            assert!(matches!(read, Err(UnreadableCursor::Corrupt(_))), "{json}: {read:?}");
        }
    }
}
