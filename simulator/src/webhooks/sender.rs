//! Sends a call over HTTP/1.1, on connections that stay open.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long a call waits for its answer, the connection included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest body of an answer after which the connection stays open.
const MAX_ANSWER: usize = 64 << 10;

type Connection = SendRequest<Full<Bytes>>;

/// Connections that wait for their next call, by where they lead.
#[derive(Default)]
pub(crate) struct Sender(Mutex<HashMap<String, Vec<Connection>>>);

/// Where a call goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Host and port of the connection.
    server: String,
    /// Host as the address has it.
    host: String,
    path: String,
}

impl Target {
    /// Where a call to a registered address goes: to `deliver_to`, with the path of the address behind its own. None
    /// without `deliver_to`, for the simulator does not speak TLS.
    pub(crate) fn new(url: &str, deliver_to: Option<&str>) -> Option<Self> {
        let url: Uri = url.parse().ok()?;
        let through: Uri = deliver_to?.parse().ok()?;
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        Some(Self {
            server: format!("{}:{}", through.host()?, through.port_u16().unwrap_or(80)),
            host: url.authority()?.as_str().to_owned(),
            path: format!("{}{path}", through.path().trim_end_matches('/')),
        })
    }
}

impl Sender {
    /// The status of the answer to a call. It is sent once: after a connection breaks nobody knows how far it came.
    pub(crate) async fn post(&self, target: &Target, body: Bytes) -> anyhow::Result<u16> {
        tokio::time::timeout(TIMEOUT, self.exchange(target, body)).await.context("no answer within 10 seconds")?
    }

    async fn exchange(&self, target: &Target, body: Bytes) -> anyhow::Result<u16> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&target.path)
            .header(HOST, &target.host)
            .header("x-forwarded-proto", "https")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        while let Some(mut connection) = self.idle(&target.server) {
            match connection.try_send_request(request).await {
                Ok(answer) => return self.read(target, connection, answer).await,
                // The server has closed the connection before a byte was sent: this is no second try.
                Err(mut error) => request = error.take_message().with_context(|| error.into_error().to_string())?,
            }
        }
        let stream = TcpStream::connect(&target.server).await?;
        stream.set_nodelay(true)?;
        let (mut connection, driver) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "A connection of webhooks ended early");
            }
        });
        let answer = connection.send_request(request).await?;
        self.read(target, connection, answer).await
    }

    async fn read(
        &self,
        target: &Target,
        mut connection: Connection,
        answer: Response<hyper::body::Incoming>,
    ) -> anyhow::Result<u16> {
        let status = answer.status().as_u16();
        // The status is the answer, whatever becomes of the body. A connection with a body that is too long is closed.
        let is_read = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.is_ok();
        if is_read && connection.ready().await.is_ok() {
            self.lock().entry(target.server.clone()).or_default().push(connection);
        }
        Ok(status)
    }

    /// A connection that is open, as far as is known.
    fn idle(&self, server: &str) -> Option<Connection> {
        let mut all = self.lock();
        let waiting = all.get_mut(server)?;
        while let Some(connection) = waiting.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_goes_through_the_proxy_with_its_own_path() {
        let target = Target::new("https://hooks.example/webhooks/main/secret", Some("http://127.0.0.1:8080")).unwrap();
        assert_eq!(target.server, "127.0.0.1:8080");
        assert_eq!(target.host, "hooks.example");
        assert_eq!(target.path, "/webhooks/main/secret");
        let behind = Target::new("https://hooks.example:8443/a?b=c", Some("http://localhost/base/")).unwrap();
        assert_eq!((behind.server.as_str(), behind.path.as_str()), ("localhost:80", "/base/a?b=c"));
        assert_eq!(behind.host, "hooks.example:8443");
        assert_eq!(Target::new("https://hooks.example/a", None), None);
    }
}
