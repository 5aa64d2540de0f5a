//! Errors as RFC 9457 problem details.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::error;
use utoipa::{IntoResponses, ToSchema};

use crate::broker::link::AmqpError;
use crate::store::pool::StoreError;

/// An error as RFC 9457 defines it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProblemDetails {
    /// `about:blank`: the status says what kind it is.
    r#type: &'static str,
    /// The status as text.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// The problem, and how to fix it.
    detail: String,
}

/// The errors of every guarded route, for the description.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described")]
pub(super) enum Guarded {
    /// The token is missing or wrong
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(ProblemDetails),
    /// Without a token: the request names another host than this machine. Or a page of another site sends it
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(ProblemDetails),
    /// The database or RabbitMQ cannot be used
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(ProblemDetails),
}

/// An error for the caller. Its answer carries it, for those who show it on a page.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    /// A problem with this text.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    /// What is answered at a path that is not there, or that is to seem so.
    pub(super) fn nothing_here() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing here; / shows what there is")
    }

    /// The HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The problem, and how to fix it.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        error!(%error, "A request over HTTP failed on the database");
        let detail = match error {
            // Where to, why, and what to do: all of it is for those who may call.
            StoreError::Unreachable(why) => why.to_string(),
            _ => "the database cannot be used now: see the worker's log".to_owned(),
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

impl From<AmqpError> for Problem {
    fn from(error: AmqpError) -> Self {
        error!(%error, "A request over HTTP failed on the broker");
        let detail = match error {
            AmqpError::Unreachable { .. } => error.to_string(),
            _ => "RabbitMQ cannot be used now: see the worker's log".to_owned(),
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let problem = self.clone();
        let body = ProblemDetails {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("error"),
            status: self.status.as_u16(),
            detail: self.detail,
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response.extensions_mut().insert(problem);
        response
    }
}
