//! `webhooks.register`, `webhooks.unregister` and `webhooks.list`.

use hyper::Uri;
use serde_json::{Value, json};

use super::addresses::Addresses;
use crate::contract;
use crate::refusal::Refusal;

/// The body of the answer; none for an answer without one. `most` is how many addresses a fault lets the list show.
pub(crate) fn respond(
    addresses: &Addresses,
    endpoint: &str,
    body: &Value,
    most: usize,
) -> Result<Option<String>, Refusal> {
    if endpoint == "webhooks.list" {
        let all = addresses.list();
        let all = all.iter().take(most).map(|(url, types)| json!({ "url": url, "types": types }));
        return Ok(Some(json!({ "data": all.collect::<Vec<_>>() }).to_string()));
    }
    let invalid = |title: &str| Refusal::Invalid(title.to_owned());
    let url = body.get("url").and_then(Value::as_str).ok_or_else(|| invalid("url must be present."))?;
    let types = types(body)?;
    match endpoint {
        "webhooks.register" => {
            let is_https =
                |url: Uri| url.scheme_str() == Some("https") && url.host().is_some_and(|host| !host.is_empty());
            if !url.parse().is_ok_and(is_https) {
                return Err(invalid("url must be a valid https URL."));
            }
            addresses.register(url, types);
        }
        "webhooks.unregister" => addresses.unregister(url, &types),
        _ => return Err(Refusal::Missing(format!("The simulator does not have {endpoint}."))),
    }
    Ok(None)
}

fn types(body: &Value) -> Result<Vec<String>, Refusal> {
    let types = body.get("types").and_then(Value::as_array).filter(|types| !types.is_empty());
    let types = types.ok_or_else(|| Refusal::Invalid("types must be present.".to_owned()))?;
    let known = |value: &Value| {
        let name = value.as_str().filter(|name| contract::webhook_types().iter().any(|known| known == name));
        name.map(str::to_owned).ok_or_else(|| Refusal::Invalid(format!("types cannot contain {value}.")))
    };
    types.iter().map(known).collect()
}
