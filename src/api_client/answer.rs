//! Reading answers: pages split into records without building a tree, and text that PostgreSQL can store.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Datelike as _, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use super::asked::Asked;
use super::clock::Dated;
use super::members::{MAX_FIELDS, MAX_RECORDS, Members, Records};
use super::storable;
use crate::catalog::{Field, Kind, Paging, ProjectApi, Resource, Shape, Shapes};

/// Records nested deeper than this are refused: the documented ones have six levels, and PostgreSQL has a limit of its
/// own, which would end the transaction.
const MAX_NESTING: usize = 128;

/// One record as the API returned it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its id.
    pub id: Uuid,
    /// Its `updated_at`, where the resource has one.
    pub updated_at: Option<DateTime<Utc>>,
    /// The `updated_at` as text, as the API wrote it.
    pub updated_at_text: Option<String>,
    /// The JSON text, with what jsonb refuses replaced.
    pub json: String,
    /// XXH3 of the text.
    pub hash: [u8; 16],
    /// Documented fields that it does not have.
    pub missing_fields: Vec<&'static Field>,
    /// How its fields differ in type from the documented ones, as text.
    pub type_mismatches: Vec<String>,
    /// The record whose list holds it, where a list gives the children of one record.
    pub parent: Option<Uuid>,
    /// When the answer was asked for that gave it.
    pub asked: Asked,
}

impl Record {
    /// Lays the fields of an object over it; those that identify it may be among them.
    pub fn add(&mut self, resource: &Resource, fields: &serde_json::Value) {
        let Ok(mut record) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&self.json) else {
            return;
        };
        record.extend(fields.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
        self.json = serde_json::Value::from(record).to_string();
        self.hash = hash(&self.json);
        self.id = resource.row_id(&self.json, None).unwrap_or(self.id);
    }

    /// One of its fields, if it is a text.
    pub fn text(&self, field: &str) -> Option<String> {
        let content: serde_json::Value = serde_json::from_str(&self.json).ok()?;
        content[field].as_str().map(str::to_owned)
    }
}

/// A record that cannot be read or stored: it is reported and passed over, and costs no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its id.
    pub id: Uuid,
    /// Why; shows nothing of it.
    pub reason: String,
    /// Whether the API knows it by this id. One whose id cannot be read has one that is made of its text.
    pub has_id: bool,
}

/// A page of a list.
#[derive(Debug, Default)]
pub struct Page {
    /// The records in the API's order.
    pub records: Vec<Record>,
    /// Those that cannot be read. They are in the list all the same: see [`Page::len`] and [`Page::ids`].
    pub rejected: Vec<Rejected>,
    /// `meta.matches`: how many records the whole list holds, where the API says so and it can be.
    pub matches: Option<i64>,
    /// When it was asked for.
    pub asked: Asked,
    /// When the API answered (`Date` header), held against the database's clock.
    pub dated: Option<Dated>,
    /// How many characters were replaced.
    pub replaced: i64,
    /// The implausible values of the answer besides its records.
    pub type_mismatches: BTreeSet<String>,
}

impl Page {
    /// How many records the page has, those included that cannot be read.
    pub fn len(&self) -> usize {
        self.records.len() + self.rejected.len()
    }

    /// The ids of all of them.
    pub fn ids(&self) -> impl Iterator<Item = Uuid> {
        self.records.iter().map(|record| record.id).chain(self.rejected.iter().map(|rejected| rejected.id))
    }
}

/// Why an answer of `.info` cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The answer is not what the API documents; it may have been cut on the way.
    Answer(String),
    /// The answer is whole, and the record in it cannot be read: asking again gives the same.
    Record(String),
}

/// Namespace of the ids of records that have none that can be read.
const UNREADABLE: Uuid = Uuid::from_u128(0x7e1f_02b6_5d3c_5c39_9a44_3f0d_86c1_b2e5);

/// A record is no longer, in bytes: the documented ones have some thousand. The parts that are read as a tree take many
/// times as much memory.
const MAX_RECORD: usize = 4 * 1024 * 1024;

/// More records of one answer without an id that can be read are no records, and the answer is none.
const MAX_NAMELESS: usize = 1_000;

/// No list holds more records: a larger `matches` is not believed. The largest accounts have some millions.
const MAX_MATCHES: i64 = 1_000_000_000;

#[derive(Deserialize)]
struct ListEnvelope<'a> {
    #[serde(borrow)]
    data: Records<'a>,
    #[serde(borrow, default)]
    meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, default)]
    matches: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct InfoEnvelope<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Reads the body of a list of `resource`. The error names the fault, and shows nothing of the body.
pub fn parse_list(resource: &Resource, body: &[u8]) -> Result<Page, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned())?;
    let (text, replaced) = storable::text(text);
    let page = Page { replaced, ..Page::default() };
    let mut sorting = Sorting { resource, page, nameless: HashMap::new() };
    let ListEnvelope { data, meta } = serde_json::from_str(&text).map_err(|error| describe(&error))?;
    for raw in data.records {
        match serde_json::from_str(raw.get()) {
            Ok(members) => sorting.take(raw.get(), &members)?,
            Err(_) => sorting.reject(raw.get(), format!("it is no object of at most {MAX_FIELDS} fields"))?,
        }
    }
    if data.more {
        return Err(format!("one answer holds more than {MAX_RECORDS} records"));
    }
    let mut page = sorting.page;
    match meta.map_or(Ok(None), matches) {
        Ok(matches) => page.matches = matches,
        Err(type_mismatches) => _ = page.type_mismatches.insert(type_mismatches.to_owned()),
    }
    Ok(page)
}

/// The records of an answer, sorted into those that can be read and those that cannot.
struct Sorting<'r> {
    resource: &'r Resource,
    page: Page,
    /// How often each text of a record without an id came, by the id that is made of it.
    nameless: HashMap<Uuid, usize>,
}

impl Sorting<'_> {
    /// Takes in a record, `text` as JSON. Fails where [`MAX_NAMELESS`] have no id.
    fn take(&mut self, text: &str, members: &Members<'_>) -> Result<(), String> {
        let resource = self.resource;
        let read = record(resource, &Shapes::of(resource).list, text, members);
        let reason = match read {
            Ok(record) if record.updated_at.is_none() && resource.paging == Paging::Seek => {
                "it has no updated_at, by which its list is read".to_owned()
            }
            Ok(record) => {
                self.page.records.push(record);
                return Ok(());
            }
            Err(reason) => reason,
        };
        match id(resource, text, members) {
            Ok(id) => {
                self.page.rejected.push(Rejected { id, reason, has_id: true });
                Ok(())
            }
            Err(_) => self.reject(text, reason),
        }
    }

    /// Passes over a record without an id that can be read. Of equal ones each has an id of its own.
    fn reject(&mut self, text: &str, reason: String) -> Result<(), String> {
        let first = Uuid::new_v5(&UNREADABLE, format!("{}\n{text}", self.resource.name).as_bytes());
        let times = self.nameless.entry(first).or_insert(0);
        *times += 1;
        let id = if *times == 1 { first } else { Uuid::new_v5(&first, &times.to_be_bytes()) };
        self.page.rejected.push(Rejected { id, reason, has_id: false });
        match self.nameless.values().sum::<usize>() {
            ..=MAX_NAMELESS => Ok(()),
            _ => Err(format!("more than {MAX_NAMELESS} of its records have no id that can be read")),
        }
    }
}

/// How many records the list says to hold. The error is for what no list can say, which counts as if it said nothing.
fn matches(meta: &RawValue) -> Result<Option<i64>, &'static str> {
    const IMPLAUSIBLE: &str = "meta.matches is no plausible number of records, and is not used";
    let Meta { matches } = serde_json::from_str(meta.get()).map_err(|_| IMPLAUSIBLE)?;
    let Some(matches) = matches else { return Ok(None) };
    match serde_json::from_str(matches.get()) {
        Ok(matches @ 0..=MAX_MATCHES) => Ok(Some(matches)),
        _ => Err(IMPLAUSIBLE),
    }
}

/// Reads the body of an info answer of `resource`. One endpoint is documented without the `data` envelope: both are
/// taken.
pub fn parse_info(resource: &Resource, body: &[u8]) -> Result<(Record, i64), Unreadable> {
    let text = std::str::from_utf8(body).map_err(|_| Unreadable::Answer("the body is not UTF-8".to_owned()))?;
    let (text, replaced) = storable::text(text);
    let shape = &Shapes::of(resource).info;
    let json = match serde_json::from_str::<InfoEnvelope<'_>>(&text) {
        Ok(envelope) => envelope.data.get(),
        Err(_) => &text,
    };
    let members = serde_json::from_str(json).map_err(|error| Unreadable::Answer(describe(&error)))?;
    let record = record(resource, shape, json, &members).map_err(Unreadable::Record)?;
    Ok((record, replaced))
}

/// Reads the answer of `accounts.projects-v2-status`.
pub fn parse_project_api(body: &[u8]) -> Result<ProjectApi, String> {
    #[derive(Deserialize)]
    struct Envelope {
        data: Status,
    }
    #[derive(Deserialize)]
    struct Status {
        status: String,
    }
    let envelope: Envelope = serde_json::from_slice(body).map_err(|error| describe(&error))?;
    match envelope.data.status.as_str() {
        "projects-v2" => Ok(ProjectApi::V2),
        "legacy" => Ok(ProjectApi::Legacy),
        _ => Err("the status is neither projects-v2 nor legacy".to_owned()),
    }
}

/// Reads the ticket of an answer of `tickets.getMessage`, which is documented bare, as `tickets.info` is, and that
/// comes in an envelope.
pub fn parse_ticket_of_message(body: &[u8]) -> Result<Uuid, String> {
    let answer: serde_json::Value = serde_json::from_slice(body).map_err(|error| describe(&error))?;
    let message = answer.get("data").unwrap_or(&answer);
    let id = message.pointer("/ticket/id").and_then(serde_json::Value::as_str);
    id.and_then(|id| id.parse().ok()).ok_or_else(|| "the message names no ticket".to_owned())
}

/// The hash by which records are compared.
pub fn hash(text: &str) -> [u8; 16] {
    xxh3_128(text.as_bytes()).to_be_bytes()
}

/// How records differ from the documented ones: fields that none of them has, and fields of another type. Fields of an
/// include may be left out where they do not apply.
pub fn drift(records: &[Record]) -> BTreeSet<String> {
    let mut drift: BTreeSet<String> =
        records.iter().flat_map(|record| record.type_mismatches.iter().cloned()).collect();
    let missing = missing_fields(records).into_iter().filter(|field| field.include.is_none());
    drift.extend(missing.map(|field| format!("{} is missing", field.name)));
    drift
}

/// Documented fields that none of these records has. A field that some of them have is an optional one.
pub fn missing_fields(records: &[Record]) -> Vec<&'static Field> {
    let Some((first, others)) = records.split_first() else { return Vec::new() };
    let by_all = |field: &&&'static Field| others.iter().all(|record| record.missing_fields.contains(*field));
    first.missing_fields.iter().filter(by_all).copied().collect()
}

/// The id of the record's row.
fn id(resource: &Resource, json: &str, members: &Members<'_>) -> Result<Uuid, String> {
    // One that is too long is known by its id or not at all.
    let json = if json.len() > MAX_RECORD { "{}" } else { json };
    resource.row_id(json, members.get("id", &mut 0))
}

fn record(resource: &Resource, shape: &'static Shape, json: &str, members: &Members<'_>) -> Result<Record, String> {
    if json.len() > MAX_RECORD {
        return Err(format!("it is longer than {MAX_RECORD} bytes"));
    }
    if is_too_deep(json) {
        return Err(format!("it is nested deeper than {MAX_NESTING} levels"));
    }
    let updated_at_text: Option<String> = match members.get("updated_at", &mut 0) {
        None => None,
        Some(raw) => serde_json::from_str(raw).map_err(|_| "its updated_at is not a text".to_owned())?,
    };
    let updated_at = match &updated_at_text {
        None => None,
        Some(text) => Some(parse_time(text).ok_or("its updated_at is not a time")?),
    };
    let (mut missing_fields, mut type_mismatches, mut at) = (Vec::new(), Vec::new(), 0);
    for field in &shape.fields {
        let Some(raw) = members.get(&field.name, &mut at) else {
            missing_fields.push(field);
            continue;
        };
        if let (Some(documented), Some(found)) = (field.kind, Kind::of(raw))
            && documented != found
        {
            type_mismatches.push(format!("{} is {}, not {}", field.name, found.as_str(), documented.as_str()));
        }
    }
    let id = resource.row_id(json, members.get("id", &mut 0))?;
    let (json, long) = storable::numbers(json);
    let json = json.into_owned();
    if long > 0 {
        type_mismatches
            .push(format!("{id} holds a number that is too large to be stored as one, and is stored as a text"));
    }
    let hash = hash(&json);
    let asked = Asked::default();
    Ok(Record { id, updated_at, updated_at_text, json, hash, missing_fields, type_mismatches, parent: None, asked })
}

/// Whether objects and arrays nest deeper than [`MAX_NESTING`]. Means nothing where the text is no JSON.
fn is_too_deep(json: &str) -> bool {
    // Enough for most, and fast: a text with no more opening brackets than that cannot nest deeper. In chunks whose
    // counts fit in a byte, for the compiler to vectorize.
    let opens = |chunk: &[u8]| chunk.iter().map(|byte| u8::from(matches!(byte, b'{' | b'['))).sum::<u8>();
    if json.as_bytes().chunks(255).map(|chunk| usize::from(opens(chunk))).sum::<usize>() <= MAX_NESTING {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > MAX_NESTING {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Reads the API's times: RFC 3339, and the offset without a colon that its rate limit header has.
pub fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    // The first is the faster one.
    let time =
        DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%#z"));
    // Four digits are a year; the fallback takes any number.
    Some(time.ok()?.to_utc()).filter(|time| (0..=9999).contains(&time.year()))
}

/// A parse error without any of the text that it stumbled over.
fn describe(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "the JSON ends too early",
        serde_json::error::Category::Syntax => "it is not JSON",
        serde_json::error::Category::Data => "the JSON does not have the documented shape",
        serde_json::error::Category::Io => "it could not be read",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
