//! The description of this API: `/openapi.json` for programs, and Swagger UI at `/`, which the binary carries.

use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
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
        description = "Requests syncs of a Teamleader Focus account, shows their progress, and authorizes the account.",
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

/// The description as JSON.
pub(super) async fn openapi(description: Arc<utoipa::openapi::OpenApi>) -> Json<utoipa::openapi::OpenApi> {
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
