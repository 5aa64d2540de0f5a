//! Reading answers: pages split into records without building a tree, and text that PostgreSQL can store.

use std::borrow::Cow;
use std::collections::BTreeSet;

use chrono::{DateTime, Datelike as _, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use super::asked::Asked;
use super::clock::Dated;
use super::storable;
use crate::catalog::{Kind, ProjectApi, Resource, Shape, Shapes};

/// Records nested deeper than this are refused: the documented ones have six levels, and PostgreSQL has a limit of its own, which
/// would end the transaction.
const MAX_NESTING: usize = 128;

/// One record as the API told it.
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
    pub lacking: Vec<&'static str>,
    /// How its fields differ in type from what is documented, in words.
    pub odd: Vec<String>,
    /// The record whose list told it, where a list gives the children of one record.
    pub parent: Option<Uuid>,
    /// When the answer was asked for that gave it.
    pub asked: Asked,
}

impl Record {
    /// Lays the fields of an object over it; what tells it from others may be among them.
    pub fn add(&mut self, resource: &Resource, fields: &serde_json::Value) {
        let Ok(mut record) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&self.json) else {
            return;
        };
        record.extend(fields.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
        self.json = serde_json::Value::from(record).to_string();
        self.hash = hash(&self.json);
        self.id = resource.row_id(&self.json, None).unwrap_or(self.id);
    }
}

/// A page of a list.
#[derive(Debug, Default)]
pub struct Page {
    /// The records in the API's order.
    pub records: Vec<Record>,
    /// `meta.matches`: how many records the whole list holds, where the API says so and it can be.
    pub matches: Option<i64>,
    /// When it was asked for.
    pub asked: Asked,
    /// When the API answered (`Date` header), held against the database's clock.
    pub dated: Option<Dated>,
    /// How many characters were replaced.
    pub replaced: i64,
    /// What is not plausible about the answer besides its records.
    pub odd: BTreeSet<String>,
}

/// No list holds more records: a larger `matches` is not believed. The largest accounts have some millions.
const MAX_MATCHES: i64 = 1_000_000_000;

#[derive(Deserialize)]
struct ListEnvelope<'a> {
    #[serde(borrow)]
    data: Vec<Members<'a>>,
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
    data: Members<'a>,
}

/// The fields of a record, none of them read yet.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(Deserialize)]
struct ErrorEnvelope {
    errors: Vec<ErrorItem>,
}

#[derive(Deserialize)]
struct ErrorItem {
    title: String,
}

/// Reads the body of a list of `resource`. The error says what is wrong with it, and shows nothing of it.
pub fn parse_list(resource: &Resource, body: &[u8]) -> Result<Page, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned())?;
    let (text, replaced) = storable::text(text);
    let envelope: ListEnvelope<'_> = serde_json::from_str(&text).map_err(|error| describe(&error))?;
    let shape = &Shapes::of(resource).list;
    let records =
        envelope.data.iter().map(|members| record(resource, shape, &text, members)).collect::<Result<_, _>>()?;
    let (matches, odd) = match envelope.meta.map_or(Ok(None), matches) {
        Ok(matches) => (matches, BTreeSet::new()),
        Err(odd) => (None, [odd.to_owned()].into()),
    };
    Ok(Page { records, matches, asked: Asked::default(), dated: None, replaced, odd })
}

/// How many records the list says to hold. The error is for what no list can say, which counts as if it said nothing.
fn matches(meta: &RawValue) -> Result<Option<i64>, &'static str> {
    const ODD: &str = "meta.matches is no plausible number of records, and is not used";
    let Meta { matches } = serde_json::from_str(meta.get()).map_err(|_| ODD)?;
    let Some(matches) = matches else { return Ok(None) };
    match serde_json::from_str(matches.get()) {
        Ok(matches @ 0..=MAX_MATCHES) => Ok(Some(matches)),
        _ => Err(ODD),
    }
}

/// Reads the body of an info answer of `resource`. One endpoint is documented without the `data` envelope: both are taken.
pub fn parse_info(resource: &Resource, body: &[u8]) -> Result<(Record, i64), String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned())?;
    let (text, replaced) = storable::text(text);
    let shape = &Shapes::of(resource).info;
    let members = match serde_json::from_str::<InfoEnvelope<'_>>(&text) {
        Err(error) if error.is_data() => serde_json::from_str(&text),
        envelope => envelope.map(|envelope| envelope.data),
    };
    let record = record(resource, shape, &text, &members.map_err(|error| describe(&error))?)?;
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

/// The titles in an error body, if it is one; safe to show.
pub fn error_titles(body: &[u8]) -> Option<String> {
    let envelope: ErrorEnvelope = serde_json::from_slice(body).ok()?;
    let titles: Vec<String> = envelope.errors.into_iter().map(|error| error.title).collect();
    let shown: String = titles.join("; ").chars().filter(|c| !c.is_control()).take(200).collect();
    (!shown.is_empty()).then_some(shown)
}

/// The hash by which records are compared.
pub fn hash(text: &str) -> [u8; 16] {
    xxh3_128(text.as_bytes()).to_be_bytes()
}

/// How records differ from what is documented: fields that none of them has, and fields of another type.
pub fn drift(records: &[Record]) -> BTreeSet<String> {
    let mut drift: BTreeSet<String> = records.iter().flat_map(|record| record.odd.iter().cloned()).collect();
    drift.extend(lacking(records).iter().map(|field| format!("{field} is missing")));
    drift
}

/// Documented fields that none of these records has. A field that some of them have is an optional one.
pub fn lacking(records: &[Record]) -> Vec<&'static str> {
    let Some((first, others)) = records.split_first() else { return Vec::new() };
    let by_all = |field: &&&'static str| others.iter().all(|record| record.lacking.contains(*field));
    first.lacking.iter().filter(by_all).copied().collect()
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(32);
                while let Some(Name(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

impl Serialize for Members<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// A field's name: borrowed where it has no escapes, which a bare `Cow` never is.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl Members<'_> {
    /// The value of a field, looked for from `at` on, which then is the place after it: fields mostly come in the documented order.
    fn get(&self, name: &str, at: &mut usize) -> Option<&str> {
        let (before, after) = self.0.split_at(*at);
        let is_it = |(known, _): &(Cow<'_, str>, &RawValue)| known == name;
        let place = match after.iter().position(is_it) {
            Some(passed) => *at + passed,
            None => before.iter().position(is_it)?,
        };
        *at = place + 1;
        Some(self.0[place].1.get())
    }

    /// The JSON of the object, which stands in `text`: from its brace before the first field to that after the last.
    fn json<'t>(&self, text: &'t str) -> Option<&'t str> {
        let place = |part: &str| (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize);
        let ((Cow::Borrowed(first), _), (_, last)) = (self.0.first()?, self.0.last()?) else { return None };
        // White space and the name's quote are all that may stand between.
        let begin = text.get(..place(first)?)?.rfind('{')?;
        let end = place(last.get())? + last.get().len();
        text.get(begin..=end + text.get(end..)?.find('}')?)
    }
}

fn record(resource: &Resource, shape: &'static Shape, text: &str, members: &Members<'_>) -> Result<Record, String> {
    let json = match members.json(text) {
        Some(json) => Cow::Borrowed(json),
        // Its first field's name is written with escapes.
        None => Cow::Owned(serde_json::to_string(members).map_err(|error| describe(&error))?),
    };
    if is_too_deep(&json) {
        return Err(format!("a record is nested deeper than {MAX_NESTING} levels"));
    }
    let updated_at_text: Option<String> = match members.get("updated_at", &mut 0) {
        None => None,
        Some(raw) => serde_json::from_str(raw).map_err(|_| "a record's updated_at is not a text".to_owned())?,
    };
    let updated_at = match &updated_at_text {
        None => None,
        Some(text) => Some(parse_time(text).ok_or("a record's updated_at is not a time")?),
    };
    let (mut lacking, mut odd, mut at) = (Vec::new(), Vec::new(), 0);
    for field in &shape.fields {
        let Some(raw) = members.get(&field.name, &mut at) else {
            lacking.push(field.name.as_str());
            continue;
        };
        if let (Some(documented), Some(found)) = (field.kind, Kind::of(raw))
            && documented != found
        {
            odd.push(format!("{} is {}, not {}", field.name, found.as_str(), documented.as_str()));
        }
    }
    let id = resource.row_id(&json, members.get("id", &mut 0))?;
    let (json, long) = match storable::numbers(&json) {
        (Cow::Owned(storable), long) => (storable, long),
        (Cow::Borrowed(_), _) => (json.into_owned(), 0),
    };
    if long > 0 {
        odd.push(format!("{id} holds a number that is too large to be stored as one, and is stored as a text"));
    }
    let hash = hash(&json);
    let asked = Asked::default();
    Ok(Record { id, updated_at, updated_at_text, json, hash, lacking, odd, parent: None, asked })
}

/// Whether objects and arrays nest deeper than [`MAX_NESTING`]. Means nothing where the text is no JSON.
fn is_too_deep(json: &str) -> bool {
    // Of most so quickly told: what does not open so many cannot nest so deep. In chunks whose counts fit in a byte, for the compiler to
    // make vectors of.
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
mod tests {
    use super::*;

    fn contacts() -> &'static Resource {
        crate::catalog::find("contacts").expect("known")
    }

    #[test]
    fn a_page_is_split_into_records() {
        let id = Uuid::new_v4();
        let body = format!(
            r#"{{"data":[{{"id":"{id}","updated_at":"2016-02-05T16:44:33+00:00","n":1.50}}],"meta":{{"page":{{"size":1,"number":1}},"matches":7}}}}"#
        );
        let page = parse_list(contacts(), body.as_bytes()).expect("valid");
        assert_eq!(page.matches, Some(7));
        assert_eq!(page.records[0].id, id);
        assert!(page.records[0].json.contains("1.50"), "numbers stay as they were written");
        assert_eq!(page.records[0].updated_at.map(|t| t.timestamp()), Some(1_454_690_673));
    }

    #[test]
    fn what_no_list_can_hold_counts_as_if_nothing_was_said_and_is_reported() {
        let page =
            |meta: &str| parse_list(contacts(), format!(r#"{{"data":[],"meta":{meta}}}"#).as_bytes()).expect("a page");
        for plausible in [0, 7, MAX_MATCHES] {
            let page = page(&format!(r#"{{"matches":{plausible}}}"#));
            assert_eq!((page.matches, page.odd.len()), (Some(plausible), 0));
        }
        for silent in ["{}", "null", r#"{"matches":null}"#, r#"{"page":7}"#] {
            let page = page(silent);
            assert_eq!((page.matches, page.odd.len()), (None, 0), "{silent}");
        }
        for odd in ["-1", "1000000001", "9223372036854775807", "1e400", "1.5", "\"7\"", "[]", "{}"] {
            let page = page(&format!(r#"{{"matches":{odd}}}"#));
            assert_eq!((page.matches, page.odd.len()), (None, 1), "{odd}");
        }
        assert_eq!(page("[]").matches, None);
    }

    #[test]
    fn a_record_with_a_number_beyond_all_is_kept_and_named() {
        let id = Uuid::new_v4();
        let body = format!(r#"{{"data":[{{"id":"{id}","x":1e200000,"digits":{}}}]}}"#, "1".repeat(40));
        let page = parse_list(contacts(), body.as_bytes()).expect("valid");
        assert!(page.records[0].json.contains(&format!(r#""x":"1e200000","digits":{}}}"#, "1".repeat(40))));
        assert!(drift(&page.records).iter().any(|odd| odd.starts_with(&id.to_string())), "{:?}", drift(&page.records));
    }

    #[test]
    fn a_time_has_four_digits_of_a_year() {
        for odd in ["+262142-12-31T23:59:59+0000", "-0001-01-01T00:00:00+0000", "+10000-01-01T00:00:00+0000"] {
            assert_eq!(parse_time(odd), None, "{odd}");
        }
        assert!(parse_time("0000-01-01T00:00:00+00:00").is_some() && parse_time("9999-12-31T23:59:59+0000").is_some());
    }

    #[test]
    fn records_are_told_apart_however_the_page_is_written() {
        let id = Uuid::new_v4();
        let told = [
            format!(r#"{{"id":"{id}"}}"#),
            format!("{{ \t\"id\"\n: \"{id}\" , \"a{{\":\"}}]\\\"\"\r\n}}"),
            format!(r#"{{"{{":{{"}}":[{{}}]}},"id":"{id}","last":{{}}}}"#),
            format!(r#"{{"\u007b":1,"b\"":"}}","id":"{id}"}}"#),
        ];
        let page = format!("{{\n\"meta\": {{\"matches\": 4}}, \"data\" : [\n{}\n] }}", told.join(" ,\n "));
        let page = parse_list(contacts(), page.as_bytes()).expect("valid");
        let texts: Vec<&str> = page.records.iter().map(|record| &*record.json).collect();
        assert_eq!(texts[..3], told[..3], "as they are written");
        // But for one whose first field's name has escapes: written anew.
        assert_eq!(texts[3], format!(r#"{{"{{":1,"b\"":"}}","id":"{id}"}}"#));
        assert_eq!(page.matches, Some(4));
    }

    #[test]
    fn a_broken_page_is_an_error_that_shows_nothing_of_it() {
        for body in [
            r#"{"data":[{"id":"se"#,
            "<html>secret</html>",
            r#"{"data":["secret"]}"#,
            r#"{"data":[{"name":"secret"}]}"#,
            "{}",
            "[]",
        ] {
            let error = parse_list(contacts(), body.as_bytes()).expect_err(body);
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_record_may_be_nested_so_deep_and_no_deeper() {
        let record = |levels: usize| {
            let value = format!(r#"{}"[\\\"[["{}"#, "[".repeat(levels), "]".repeat(levels));
            format!(r#"{{"data":[{{"id":"{}","a":{value}}},{{"id":"{}"}}]}}"#, Uuid::new_v4(), Uuid::new_v4())
        };
        assert_eq!(parse_list(contacts(), record(MAX_NESTING - 1).as_bytes()).expect("not too deep").records.len(), 2);
        for levels in [MAX_NESTING, 1_000_000] {
            let error = parse_list(contacts(), record(levels).as_bytes()).expect_err("too deep");
            assert!(error.contains("nested deeper than 128"), "{error}");
        }
    }

    #[test]
    fn an_info_answer_is_read_with_and_without_envelope() {
        let id = Uuid::new_v4();
        let bare = format!(r#"{{"id":"{id}","name":"x"}}"#);
        let wrapped = format!(r#"{{"data":{bare}}}"#);
        assert_eq!(parse_info(contacts(), bare.as_bytes()), parse_info(contacts(), wrapped.as_bytes()));
        assert_eq!(parse_info(contacts(), bare.as_bytes()).expect("valid").0.json, bare);
    }

    #[test]
    fn both_forms_of_a_time_are_read() {
        let expected = parse_time("2021-06-15T09:51:23.035+00:00");
        assert!(expected.is_some());
        assert_eq!(parse_time("2021-06-15T10:51:23.035+0100"), expected);
    }

    #[test]
    fn what_differs_from_the_blueprint_is_noticed() {
        let id = Uuid::new_v4();
        let record = |rest: &str| format!(r#"{{"id":"{id}","updated_at":"2016-02-05T16:44:33+00:00"{rest}}}"#);
        let page = |records: &[String]| {
            let body = format!(r#"{{"data":[{}]}}"#, records.join(","));
            parse_list(contacts(), body.as_bytes()).expect("valid").records
        };
        let records = page(&[record(r#","first_name":7,"tags":null"#), record(r#","last_name":"Smith""#)]);
        let drift = drift(&records);
        assert!(drift.contains("first_name is a number, not text"), "{drift:?}");
        assert!(drift.contains("emails is missing"), "{drift:?}");
        assert!(!drift.iter().any(|what| what.starts_with("last_name") || what.starts_with("tags")), "{drift:?}");
        let asked = &Shapes::of(contacts()).list;
        assert_eq!(asked.include_that_did_not_come(&lacking(&records), &[]), Some("custom_fields"));
        let records = page(&[record(r#","custom_fields":[]"#), record("")]);
        assert_eq!(asked.include_that_did_not_come(&lacking(&records), &[]), None);
    }
}
