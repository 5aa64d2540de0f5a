//! Answers and their bodies, whole and broken.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::{Either, Full};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use crate::quirks::ErrorItems;

/// How long the server gets to send the first half of a body before the connection is cut. Sending takes microseconds;
/// a client that reads slowly gets less than half, which is a cut body as well.
const FLUSH: Duration = Duration::from_millis(20);

/// A body that is there at once, or one that comes piece by piece.
pub(crate) type Body = Either<Full<Bytes>, Channel<Bytes, Cut>>;

/// The connection is to be closed here and now.
#[derive(Debug)]
pub(crate) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("The simulator cuts this connection")
    }
}

impl std::error::Error for Cut {}

/// A JSON answer.
pub(crate) fn json(status: u16, body: String) -> Response<Bytes> {
    with_type(status, "application/json", body)
}

/// Lines of JSON.
pub(crate) fn lines(body: String) -> Response<Bytes> {
    with_type(200, "application/x-ndjson", body)
}

/// An HTML answer.
pub(crate) fn html(status: u16) -> Response<Bytes> {
    let body = format!("<html>\r\n<head><title>{status}</title></head>\r\n<body><h1>{status}</h1></body>\r\n</html>");
    with_type(status, "text/html", body)
}

/// An error as the API writes it.
pub(crate) fn error(status: u16, title: &str) -> Response<Bytes> {
    let error = json!({ "title": title, "status": status, "code": 0, "meta": {} });
    json(status, json!({ "errors": [error] }).to_string())
}

/// An error whose items have these members.
pub(crate) fn error_with(items: ErrorItems, status: u16, title: &str) -> Response<Bytes> {
    let error = match items {
        ErrorItems::Usual => return error(status, title),
        ErrorItems::WithoutTitle => json!({ "status": status, "code": 0, "meta": {} }),
        ErrorItems::WithoutStatus => json!({ "title": title, "code": 0, "meta": {} }),
        ErrorItems::Key => {
            let key = match status {
                403 => "forbidden",
                404 => "not_found",
                429 => "too_many_requests",
                500.. => "internal_error",
                _ => "bad_request",
            };
            json!({ "key": key, "status": status })
        }
    };
    json(status, json!({ "errors": [error] }).to_string())
}

/// An answer without a body.
pub(crate) fn empty(status: u16) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

/// The whole body at once.
pub(crate) fn whole(answer: Response<Bytes>) -> Response<Body> {
    answer.map(|body| Either::Left(Full::new(body)))
}

/// Half of the body, with a `Content-Length` that fits the half.
pub(crate) fn truncated(answer: Response<Bytes>) -> Response<Body> {
    whole(answer.map(|body| body.slice(..body.len() / 2)))
}

/// The `Content-Length` of the whole body, half of it, and the end of the connection.
pub(crate) fn cut(answer: Response<Bytes>) -> Response<Body> {
    in_pieces(answer, |body, mut pieces| async move {
        let half = body.slice(..body.len() / 2);
        // Fails only if the client has left, and then there is nobody to cut off.
        let _ = pieces.send_data(half).await;
        // An error drops what the server has buffered and not sent yet, so it must find the half already on its way.
        tokio::time::sleep(FLUSH).await;
        pieces.abort(Cut);
    })
}

/// The body in twenty pieces, spread over this time.
pub(crate) fn slow(answer: Response<Bytes>, over: Duration) -> Response<Body> {
    const PIECES: usize = 20;
    in_pieces(answer, move |body, mut pieces| async move {
        let size = body.len().div_ceil(PIECES).max(1);
        for from in (0..body.len()).step_by(size) {
            tokio::time::sleep(over / PIECES as u32).await;
            if pieces.send_data(body.slice(from..body.len().min(from + size))).await.is_err() {
                return;
            }
        }
    })
}

type Pieces = http_body_util::channel::Sender<Bytes, Cut>;

fn in_pieces<F>(answer: Response<Bytes>, send: impl FnOnce(Bytes, Pieces) -> F) -> Response<Body>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (mut parts, body) = answer.into_parts();
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let (pieces, channel) = Channel::new(1);
    // Ends with the connection: sending fails as soon as nobody reads.
    tokio::spawn(send(body, pieces));
    Response::from_parts(parts, Either::Right(channel))
}

fn with_type(status: u16, kind: &'static str, body: String) -> Response<Bytes> {
    let mut answer = empty(status).map(|_| Bytes::from(body));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
