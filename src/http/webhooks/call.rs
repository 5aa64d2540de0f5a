//! A call, as Teamleader sends it. The API version that an integration is pinned to rules its shape, so both that are
//! documented are read.

use serde::Deserialize;
use uuid::Uuid;

use crate::catalog::webhooks::{self, WebhookType};
use crate::messages::from_object;

/// A call: what may have changed.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Its type, if it is a known one.
    pub kind: Option<&'static WebhookType>,
    /// The subject.
    pub id: Uuid,
}

/// Why a call cannot be read. Shows nothing of it.
#[derive(Debug)]
pub struct Unreadable(pub String);

#[derive(Deserialize)]
struct Body {
    r#type: String,
    subject: Option<Subject>,
    /// Some documents show the subject under this name.
    data: Option<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    id: Uuid,
}

impl Call {
    /// Reads a body.
    pub fn parse(body: &[u8]) -> Result<Self, Unreadable> {
        let shape = "it is {\"type\": …, \"subject\": {\"type\": …, \"id\": a UUID}, …}";
        let body: Body = from_object(body)
            .map_err(|error| Unreadable(format!("not a call, at column {}: {shape}", error.column())))?;
        let kind = webhooks::find_type(&body.r#type);
        match body.subject.or(body.data) {
            Some(Subject { id }) => Ok(Self { kind, id }),
            None => Err(Unreadable(format!("the call names no subject: {shape}"))),
        }
    }

    /// Whether its type is a known one.
    pub fn is_known(&self) -> bool {
        self.kind.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_documented_shapes_are_read() {
        let id = Uuid::from_u128(7);
        let account = r#""account":{"type":"account","id":"1d8a2c7e-0000-4000-8000-000000000001"}"#;
        for name in ["subject", "data"] {
            let body = format!(r#"{{"type":"contact.updated","{name}":{{"type":"contact","id":"{id}"}},{account}}}"#);
            let call = Call::parse(body.as_bytes()).expect("a call");
            assert_eq!((call.kind.map(|kind| kind.name), call.id), (Some("contact.updated"), id));
        }
        let unknown = format!(r#"{{"type":"comet.seen","subject":{{"id":"{id}"}}}}"#);
        assert!(Call::parse(unknown.as_bytes()).is_ok_and(|call| !call.is_known()));
    }

    #[test]
    fn what_is_no_call_is_refused_without_being_shown() {
        let deep = format!("{{\"type\":\"x\",\"subject\":{}", "[".repeat(60_000));
        for body in [
            "",
            "[]",
            "null",
            "{",
            "{\"type\":\"hunter2\"}",
            "{\"type\":7}",
            deep.as_str(),
            r#"{"type":"contact.added","subject":{"id":"hunter2"}}"#,
            r#"{"type":"contact.added","subject":null}"#,
        ] {
            let Unreadable(why) = Call::parse(body.as_bytes()).expect_err("no call");
            assert!(why.contains("subject") && !why.contains("hunter2"), "{why}");
        }
    }
}
