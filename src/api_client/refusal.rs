//! What an answer says that refuses: the API's error body, in whatever form, and what it means for a token.
//!
//! The API documents `{"errors": [{"title", "status", "code", "meta"}]}`, and that the form may change without notice.
//! Items without `status` were seen live (2023), and items with `key` in place of `title`. So no member of an item is
//! counted on: an `errors` that is a list of objects is an error body.

use serde::Deserialize;
use serde_json::Value;

/// A longer body is no error of the API, which has some hundred bytes: it is not read.
const MAX_BODY: usize = 64 * 1024;

/// The most characters of it that are shown.
const MAX_SHOWN: usize = 200;

/// The code of a refresh token that is used, revoked or unknown (seen live, 2021).
const DEAD_TOKEN: &str = "8";

/// The code of a client that is not known, or whose secret is wrong.
const UNKNOWN_CLIENT: &str = "4";

/// A body of the API's error form.
#[derive(Debug)]
pub struct ErrorBody(Vec<Item>);

/// One error. Each member may be missing, or of another type.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item {
    title: Value,
    key: Value,
    code: Value,
    /// The name that OAuth 2 gives to the error (RFC 6749, section 5.2), where it has its place in the body itself.
    error: Value,
    #[serde(rename = "type")]
    kind: Value,
    meta: Value,
}

/// What a refused request for a pair of tokens says of what was given for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The code or refresh token does not work, and will not.
    Dead,
    /// It is the integration that is refused; code or token still work.
    Client,
}

impl ErrorBody {
    /// Reads a body; `None` where it is no error of the API's.
    pub fn parse(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Envelope {
            errors: Vec<Value>,
        }
        let Envelope { errors } = from_json(body)?;
        if errors.is_empty() || !errors.iter().all(Value::is_object) {
            return None;
        }
        Some(Self(errors.into_iter().map(|item| serde_json::from_value(item).unwrap_or_default()).collect()))
    }

    /// What it says, in a few words that are safe to show: of each error its title, else its key, else its code.
    pub fn words(&self) -> String {
        shown(&self.0)
    }
}

/// What a body says that refuses, in the API's form or bare, as OAuth 2 has it; safe to show.
pub fn words(body: &[u8]) -> String {
    ErrorBody::parse(body).map_or_else(|| shown(from_json::<Item>(body).as_slice()), |error| error.words())
}

fn shown(items: &[Item]) -> String {
    let words: Vec<String> = items.iter().filter_map(Item::words).collect();
    let shown: String = words.join("; ").chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect();
    if shown.is_empty() { "no reason given".to_owned() } else { shown }
}

impl Item {
    fn words(&self) -> Option<String> {
        let code = text(&self.code).map(|code| format!("code {code}"));
        let words = [text(&self.title), text(&self.key), code, text(&self.error)];
        words.into_iter().flatten().find(|words| !words.trim().is_empty())
    }

    /// All names by which it may be called.
    fn names(&self) -> impl Iterator<Item = &str> {
        let of_meta = ["type", "error"].map(|name| self.meta.get(name).unwrap_or(&Value::Null));
        [&self.error, &self.kind, &self.key, &self.title].into_iter().chain(of_meta).filter_map(Value::as_str)
    }

    fn verdict(&self) -> Option<Verdict> {
        let code = text(&self.code);
        let is = |name: &str| self.names().any(|known| known == name);
        if code.as_deref() == Some(UNKNOWN_CLIENT) || is("invalid_client") || is("unauthorized_client") {
            return Some(Verdict::Client);
        }
        (code.as_deref() == Some(DEAD_TOKEN) || is("invalid_grant")).then_some(Verdict::Dead)
    }
}

/// What a 400 or 401 of the token endpoint says of what was given: by its codes and names, in the API's envelope or
/// bare, as OAuth 2 has it (`{"error": "invalid_grant"}`). `None` where none of them is known. Where it contradicts
/// itself, the client counts as refused, so that the token stays.
pub fn verdict(body: &[u8]) -> Option<Verdict> {
    let items = ErrorBody::parse(body).map(|body| body.0).unwrap_or_default();
    let bare: Option<Item> = from_json(body);
    let verdicts: Vec<Verdict> = items.iter().chain(&bare).filter_map(Item::verdict).collect();
    let of_client = verdicts.contains(&Verdict::Client).then_some(Verdict::Client);
    of_client.or_else(|| verdicts.first().copied())
}

fn from_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Option<T> {
    // An array is taken for a struct, too.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    if body.len() > MAX_BODY || !is_object { None } else { serde_json::from_slice(body).ok() }
}

/// A text or a number as a text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(body: &str) -> Option<String> {
        ErrorBody::parse(body.as_bytes()).map(|body| body.words())
    }

    #[test]
    fn an_error_body_is_known_by_its_list_and_shown_by_what_its_items_have() {
        for (body, shown) in [
            (r#"{"errors":[{"title":"Not found","status":404,"code":0,"meta":{}}]}"#, "Not found"),
            (
                r#"{"errors":[{"title":"The requested resource could not be found."},{"key":"x"}]}"#,
                "The requested resource could not be found.; x",
            ),
            (r#"{"errors":[{"key":"not_found","status":404}]}"#, "not_found"),
            (r#"{"errors":[{"title":null,"key":7,"code":"8"}]}"#, "7"),
            (r#"{"errors":[{"title":"","code":17}]}"#, "code 17"),
            (r#"{"errors":[{"title":["a"]},{"meta":{}}]}"#, "no reason given"),
            (" {\"errors\":[{\"title\":\"a\\u0007b\"}]}", "ab"),
        ] {
            assert_eq!(words(body).as_deref(), Some(shown), "{body}");
        }
        let long = format!(r#"{{"errors":[{{"title":"{}"}}]}}"#, "x".repeat(1_000));
        assert_eq!(words(&long).map(|shown| shown.len()), Some(MAX_SHOWN));
    }

    #[test]
    fn what_oauth_2_says_without_an_envelope_is_shown_too() {
        assert_eq!(super::words(br#"{"error":"invalid_grant","hint":"secret"}"#), "invalid_grant");
        assert_eq!(super::words(b"<html>secret</html>"), "no reason given");
    }

    #[test]
    fn what_is_no_list_of_errors_is_no_error_of_the_api() {
        let long = format!(r#"{{"errors":[{{"title":"{}"}}]}}"#, "x".repeat(MAX_BODY));
        let deep = format!(r#"{{"errors":[{}{}]}}"#, r#"{"meta":"#.repeat(10_000), "}".repeat(10_000));
        for body in [
            "",
            "<html>",
            "{}",
            "[]",
            r#"[[{}]]"#,
            r#"{"errors":[]}"#,
            r#"{"errors":["x"]}"#,
            r#"{"errors":{}}"#,
            &long,
            &deep,
        ] {
            assert_eq!(words(body), None);
        }
    }
}
