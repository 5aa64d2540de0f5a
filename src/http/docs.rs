//! The description of this API: `/openapi.json` for programs, and Swagger UI at `/`, which the binary carries.

use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::Config;

use super::problem::Problem;
use super::security::SWAGGER_POLICY;

/// The files of Swagger UI that its page loads.
pub(super) const FILES: [&str; 8] = [
    "/",
    "/index.css",
    "/swagger-ui.css",
    "/swagger-ui-bundle.js",
    "/swagger-ui-standalone-preset.js",
    "/swagger-initializer.js",
    "/favicon-16x16.png",
    "/favicon-32x32.png",
];

/// The description that the routes are added to.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "teamleader2db",
        description = include_str!("description.txt"),
    ),
    tags(
        (name = "sync", description = "Syncs, audits, and what became of them"),
        (name = "authorization", description = "The account's consent, in a browser"),
        (name = "health", description = "For probes and Prometheus; without a token"),
    ),
    modifiers(&Token),
)]
pub(super) struct Description;

/// The token that callers send.
struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("HTTP_API_TOKEN")).build();
        openapi.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// What was asked and answered, by operation, status or `request`, and a title. Those of `every` hold for each
/// operation that has the status. A test asks them again.
const EXAMPLES: &str = include_str!("examples.json");

/// The description as JSON, with examples.
pub(super) fn with_examples(description: &utoipa::openapi::OpenApi) -> Value {
    let mut description = serde_json::to_value(description).unwrap_or_default();
    let examples: Value = serde_json::from_str(EXAMPLES).unwrap_or_default();
    for (path, operations) in entries(&mut description, "paths") {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            let own = &examples[format!("{method} {path}")];
            if let Some(request) = operation.pointer_mut("/requestBody/content/application~1json") {
                show(request, &own["request"]);
            }
            for (status, response) in entries(operation, "responses") {
                let these = if own[status].is_null() { &examples["every"][status] } else { &own[status] };
                for (_, content) in entries(response, "content") {
                    show(content, these);
                }
            }
        }
    }
    description
}

/// The entries of the object with this name; none where there is no such object.
fn entries<'a>(of: &'a mut Value, name: &str) -> impl Iterator<Item = (&'a String, &'a mut Value)> {
    of.get_mut(name).and_then(Value::as_object_mut).into_iter().flatten()
}

/// Adds examples to a request or an answer, if there are any.
fn show(content: &mut Value, examples: &Value) {
    let shown = examples
        .as_object()
        .into_iter()
        .flatten()
        .map(|(title, value)| (title.replace(' ', "_"), json!({ "summary": title, "value": value })));
    let shown: Map<String, Value> = shown.collect();
    if !shown.is_empty() {
        content["examples"] = Value::Object(shown);
    }
}

/// The description as JSON.
pub(super) async fn openapi(description: Arc<Value>) -> Json<Value> {
    Json((*description).clone())
}

/// A file of Swagger UI.
pub(super) async fn swagger_ui(uri: Uri) -> Response {
    static CONFIG: LazyLock<Arc<Config<'static>>> =
        LazyLock::new(|| Arc::new(Config::from("/openapi.json").use_base_layout().try_it_out_enabled(true)));
    let file = utoipa_swagger_ui::serve(uri.path().trim_start_matches('/'), CONFIG.clone());
    let Ok(Some(file)) = file else {
        return Problem::new(StatusCode::NOT_FOUND, "Swagger UI has no such file").into_response();
    };
    let content_type = (header::CONTENT_TYPE, file.content_type);
    let policy = (header::CONTENT_SECURITY_POLICY, SWAGGER_POLICY.to_owned());
    // The page itself is never cached, so that each visit checks the login.
    let caching = if uri.path() == "/" { "no-store" } else { "private, max-age=300" };
    let caching = (header::CACHE_CONTROL, caching.to_owned());
    let mut response = ([content_type, policy, caching], file.bytes.into_owned()).into_response();
    if file.gzpipped {
        response.headers_mut().insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
    }
    response
}
