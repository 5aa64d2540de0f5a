//! The events of a test, and the requests that a worker understood, are checked against docs/schemas.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

use super::broker::Event;

static REQUEST: LazyLock<Validator> = LazyLock::new(|| built(include_str!("../../docs/schemas/request.json")));
static EVENT: LazyLock<Validator> = LazyLock::new(|| built(include_str!("../../docs/schemas/event.json")));

fn built(schema: &str) -> Validator {
    let schema = serde_json::from_str(schema).expect("JSON");
    jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema")
}

fn assert_fits(schema: &Validator, message: &Value) {
    let errors: Vec<String> =
        schema.iter_errors(message).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "a message is not as docs/schemas says: {errors:?}: {message}");
}

/// Asserts that all events are as their schema says, and each of the requests that a worker has understood as theirs
/// says. How many messages that were.
pub fn assert_all_fit(requests: &[Value], events: &[Event]) -> usize {
    for event in events {
        assert_fits(&EVENT, &event.body);
    }
    // One that was refused has no mode.
    let understood = |request: &&Value| {
        events
            .iter()
            .any(|event| event.body["subject"] == request["request_id"] && event.body["data"]["mode"].is_string())
    };
    let understood: Vec<&Value> = requests.iter().filter(understood).collect();
    for request in &understood {
        assert_fits(&REQUEST, request);
    }
    events.len() + understood.len()
}
