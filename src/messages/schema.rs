//! The JSON Schemas in `docs/schemas`, made from the types.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use super::event::{AuthorizationChanged, AuthorizationRequired, EventKind, RunReport};
use super::request::{MAX_IDS, SyncRequest};
use crate::catalog;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schemas");

/// Where a reader finds them.
const ADDRESS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/schemas");

fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    json!(settings.into_generator().into_root_schema_for::<T>())
}

/// Where the rules of [`super::request::Request::parse`] are more than types.
fn request() -> Value {
    let mut schema = json!(SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<SyncRequest>());
    schema["$id"] = json!(format!("{ADDRESS}/request.json"));
    schema["title"] = json!("A sync request of teamleader2db");
    let names = json!({ "type": "array", "minItems": 1, "items": { "enum": catalog::spellings() } });
    let resources = &mut schema["properties"]["resources"];
    *resources = json!({
        "description": resources["description"],
        "anyOf": [names, { "const": catalog::ALL }, { "type": "null" }],
    });
    let pattern = json!("^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$");
    schema["properties"]["request_id"]["pattern"] = pattern.clone();
    schema["properties"]["sample"]["minimum"] = json!(1);
    schema["properties"]["sample"]["maximum"] = json!(u32::MAX);
    schema["if"] = json!({ "required": ["mode"], "properties": { "mode": { "const": "audit" } } });
    schema["then"] = json!({ "properties": { "refetch": { "const": false } } });
    schema["else"] = json!({ "properties": { "repair": { "const": false }, "sample": { "type": "null" } } });
    let ids = &mut schema["properties"]["ids"];
    ids["minItems"] = json!(1);
    ids["maxItems"] = json!(MAX_IDS);
    ids["items"]["pattern"] = pattern;
    let names = json!({ "type": "array", "maxItems": 1, "items": { "enum": catalog::spellings_of_those_by_id() } });
    schema["allOf"] = json!([{
        "if": { "required": ["ids"], "properties": { "ids": { "type": "array" } } },
        "then": {
            "required": ["resources"],
            "properties": { "resources": names, "mode": { "const": "incremental" }, "refetch": { "const": false } },
        },
    }]);
    schema
}

fn event() -> Value {
    let of = |kinds: &[EventKind], data: &str| {
        let types: Vec<String> = kinds.iter().map(|kind| kind.event_type()).collect();
        json!({ "properties": { "type": { "enum": types }, "data": { "$ref": format!("#/$defs/{data}") } } })
    };
    let mut defs = json!({});
    for (name, mut schema) in [
        ("RunReport", schema_of::<RunReport>()),
        ("AuthorizationRequired", schema_of::<AuthorizationRequired>()),
        ("AuthorizationChanged", schema_of::<AuthorizationChanged>()),
    ] {
        let parts = schema.as_object_mut().expect("an object");
        parts.remove("$schema");
        if let Some(Value::Object(inner)) = parts.remove("$defs") {
            defs.as_object_mut().expect("an object").extend(inner);
        }
        defs[name] = schema;
    }
    let text = |description: &str| json!({ "type": "string", "description": description });
    let mut id = text("Stays the same when the event is sent again.");
    id["format"] = json!("uuid");
    let mut time = text("When it came to be; of a final event, when the run ended.");
    time["format"] = json!("date-time");
    let mut source = text("/teamleader2db/ and the account.");
    source["pattern"] = json!("^/teamleader2db/[A-Za-z0-9_-]{1,64}$");
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("{ADDRESS}/event.json"),
        "title": "An event of teamleader2db",
        "description": "A CloudEvent 1.0 in JSON.",
        "type": "object",
        "required": ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"],
        "properties": {
            "specversion": { "const": "1.0" },
            "id": id,
            "source": source,
            "type": { "type": "string" },
            "subject": text("The request's id; of events about authorization the account."),
            "time": time,
            "datacontenttype": { "const": "application/json" },
            "data": { "type": "object" },
        },
        "oneOf": [
            of(
                &[
                    EventKind::Started,
                    EventKind::Progress,
                    EventKind::Completed,
                    EventKind::Partial,
                    EventKind::Failed,
                    EventKind::Cancelled,
                ],
                "RunReport",
            ),
            of(&[EventKind::AuthorizationRequired], "AuthorizationRequired"),
            of(&[EventKind::AuthorizationChanged], "AuthorizationChanged"),
        ],
        "$defs": defs,
    })
}

#[test]
fn the_schemas_are_those_of_the_types() {
    for (name, schema) in [("request", request()), ("event", event())] {
        let (path, made) = (format!("{FOLDER}/{name}.json"), format!("{schema:#}\n"));
        if std::env::var_os("WRITE_SCHEMAS").is_some() {
            std::fs::create_dir_all(FOLDER).expect("a folder");
            std::fs::write(&path, &made).expect("a file");
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == made, "{path} is not up to date: run `make schemas`");
    }
}

/// Requests, by the schema and by the parser: whatever the schema allows the worker takes, and what it forbids is
/// refused.
#[test]
fn the_schema_of_requests_says_what_the_parser_says() {
    let schema = jsonschema::options().should_validate_formats(true).build(&request()).expect("a schema");
    let values: [(&str, &[Value]); 9] = [
        ("request_id", &[json!("9d3ecbd9-ebed-448c-a8d7-af8efb49cd8d"), json!("nightly"), json!(null), json!(7)]),
        (
            "resources",
            &[
                json!(["contacts"]),
                json!(["users", "users"]),
                json!([]),
                json!(["contact"]),
                json!(["time_tracking", "all"]),
                json!("all"),
                json!("contacts"),
                json!(null),
            ],
        ),
        ("mode", &[json!("full"), json!("audit"), json!("incremental"), json!("all"), json!(null)]),
        ("refetch", &[json!(true), json!(false), json!(1)]),
        ("allow_deletions", &[json!(true), json!("yes")]),
        ("repair", &[json!(true), json!(false)]),
        ("sample", &[json!(200), json!(0), json!(-1), json!(4_294_967_296_u64), json!(null)]),
        (
            "ids",
            &[
                json!(["9d3ecbd9-ebed-448c-a8d7-af8efb49cd8d"]),
                json!([]),
                json!(["nightly"]),
                json!("9d3ecbd9-ebed-448c-a8d7-af8efb49cd8d"),
                json!(null),
            ],
        ),
        ("resource", &[json!("contacts")]),
    ];
    // Each key with each of its values or not there at all.
    let mut requests = vec![json!({})];
    for (key, values) in values {
        for request in requests.clone() {
            requests.extend(values.iter().map(|value| {
                let mut request = request.clone();
                request[key] = value.clone();
                request
            }));
        }
    }
    let mut taken = 0;
    for request in &requests {
        let parsed = super::request::Request::parse(request.to_string().as_bytes(), None);
        assert_eq!(schema.is_valid(request), parsed.is_ok(), "{request}: {parsed:?}");
        taken += usize::from(parsed.is_ok());
    }
    assert!(taken > 100 && requests.len() > 10 * taken, "{taken} of {}", requests.len());
}
