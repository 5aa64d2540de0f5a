//! The server: HTTP/1.1 with bounds on time and connections, so that no caller takes the resources of others.

use std::convert::Infallible;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt as _, StreamExt as _};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;
use tracing::{error, warn};

use super::connections::{Connection, Connections};
use super::problem::Problem;
use super::security::secured;
use crate::messages::MAX_REQUEST_BYTES;
use crate::process::failpoints::{self, Point};

/// The most connections at a time.
const MOST_CONNECTIONS: usize = 256;

/// Fewer are not served, however few files the process may open.
const LEAST_CONNECTIONS: usize = 16;

/// Open files that are reserved for the database, the broker, the API, exports and the runtime.
const OTHER_FILES: usize = 128;

/// The longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// How long to wait before the next connection is accepted, where the process or the system has no file left for it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The limits of connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at a time.
    pub(super) connections: usize,
    /// From the beginning of the connection, or the end of the request before, to the end of a head. So idle
    /// connections end, too.
    pub(super) head: Duration,
    /// From the end of the head to the end of the body.
    pub(super) body: Duration,
    /// For an answer that its caller does not read.
    pub(super) unread: Duration,
}

impl Limits {
    /// The limits that this process can afford.
    pub(super) fn of_process() -> Self {
        let connections = affordable(getrlimit(Resource::Nofile).current);
        let (head, body, unread) = (Duration::from_secs(10), Duration::from_secs(10), Duration::from_secs(60));
        Self { connections, head, body, unread }
    }
}

/// How many connections leave enough files for all else.
fn affordable(open_files: Option<u64>) -> usize {
    let files = open_files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    files.saturating_sub(OTHER_FILES).clamp(LEAST_CONNECTIONS, MOST_CONNECTIONS)
}

/// Serves until stopped, and until each request in progress is answered. An error means that the listener cannot be
/// used any more.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) -> io::Result<()> {
    let connections = Arc::new(Connections::new(limits.connections));
    let ended = accept_all(&listener, &router, limits, &connections, &stop).await;
    drop(listener);
    stop.cancel();
    connections.drained().await;
    ended
}

async fn accept_all(
    listener: &TcpListener,
    router: &Router,
    limits: Limits,
    connections: &Arc<Connections>,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut is_short_of_files = false;
    loop {
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { return Ok(()) };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => {
                if !std::mem::replace(&mut is_short_of_files, true) {
                    warn!(%error, "A connection over HTTP cannot be accepted; trying again");
                }
                connections.close_oldest();
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        is_short_of_files = false;
        failpoints::reached(Point::HttpServed);
        let Some(permit) = stop.run_until_cancelled(connections.permit()).await else { return Ok(()) };
        let connection = connections.open(permit);
        tokio::spawn(connection.serve(stream, router.clone(), limits, stop.clone()));
    }
}

/// Whether no later connection can be accepted either: the listener itself is broken.
fn is_final(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK))
}

impl Connection {
    async fn serve(self, stream: TcpStream, router: Router, limits: Limits, stop: CancellationToken) {
        let answer = service_fn(|request: hyper::Request<Incoming>| {
            let router = router.clone();
            async { Ok::<_, Infallible>(secured(self.answer(request.map(Body::new), router, limits).await)) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), answer);
        tokio::pin!(served);
        // How a connection ends matters to its caller only; a request that is not HTTP/1.1 ends it, too.
        tokio::select! {
            _ = &mut served => return,
            () = self.close.cancelled() => return,
            () = self.is_idle(limits.unread) => return,
            () = stop.cancelled() => {}
        }
        served.as_mut().graceful_shutdown();
        tokio::select! {
            _ = served => {}
            () = self.close.cancelled() => {}
        }
    }

    /// Reads the whole body before any work starts: a slow caller occupies only its connection.
    async fn answer(&self, request: Request, mut router: Router, limits: Limits) -> Response {
        let (head, body) = request.into_parts();
        let body = match tokio::time::timeout(limits.body, read_whole(body)).await {
            Ok(Ok(body)) => body,
            Ok(Err(problem)) => return closing(problem),
            Err(_) => return closing(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
        };
        let method = head.method.clone();
        // The path of a webhook holds its secret.
        let path =
            Some(head.uri.path()).filter(|path| !path.starts_with("/webhooks/")).unwrap_or("/webhooks/…").to_owned();
        let _at_work = self.at_work();
        // A panic fails its own request only. No handler can panic while it holds a lock of the shared state.
        match AssertUnwindSafe(router.call(Request::from_parts(head, Body::from(body)))).catch_unwind().await {
            Ok(Ok(response)) => response,
            Err(_) => {
                error!(%method, path, "A request over HTTP failed by a panic, which is a bug");
                closing(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "this is a bug: see the worker's log"))
            }
        }
    }
}

/// The answer after which the connection ends: the rest of its request is not read.
fn closing(problem: Problem) -> Response {
    ([(header::CONNECTION, HeaderValue::from_static("close"))], problem).into_response()
}

async fn read_whole(body: Body) -> Result<Bytes, Problem> {
    let mut whole = Vec::new();
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body cannot be read"))?;
        if whole.len() + piece.len() > MAX_REQUEST_BYTES {
            let why = format!("the body is too long: at most {MAX_REQUEST_BYTES} bytes are taken");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, why));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Semaphore;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    const LIMITS: Limits = Limits { connections: 4, head: LONG, body: LONG, unread: LONG };

    const GET: &str = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";

    /// A server on a port of its own.
    struct Served {
        address: std::net::SocketAddr,
        stop: CancellationToken,
        ended: tokio::task::JoinHandle<io::Result<()>>,
        /// Lets one answer of `/held` go.
        hold: Arc<Semaphore>,
    }

    async fn served(limits: Limits) -> Served {
        let hold = Arc::new(Semaphore::new(0));
        let held = hold.clone();
        let router = Router::new()
            .route("/live", get(async || "alive"))
            .route("/echo", post(async |body: String| body))
            .route("/panic", get(async || -> &str { panic!("as the test wants it") }))
            .route("/large", get(async || "x".repeat(64 << 20)))
            .route(
                "/held",
                get(async move || {
                    held.acquire().await.expect("open").forget();
                    "let go"
                }),
            );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, stop) = (listener.local_addr().expect("an address"), CancellationToken::new());
        let ended = tokio::spawn(serve(listener, router, limits, stop.clone()));
        Served { address, stop, ended, hold }
    }

    async fn within_deadline<T>(what: &str, future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(30), future).await.unwrap_or_else(|_| panic!("{what} took too long"))
    }

    impl Served {
        /// A connection on which this was sent.
        async fn send(&self, bytes: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.expect("a connection");
            stream.write_all(bytes.as_bytes()).await.expect("sent");
            stream
        }

        /// The answer to it until the server closes the connection.
        async fn answer(&self, bytes: &str) -> String {
            rest(&mut self.send(bytes).await).await
        }
    }

    async fn rest(stream: &mut TcpStream) -> String {
        let mut read = Vec::new();
        // A reset is an end, too.
        let _ = within_deadline("the end of a connection", stream.read_to_end(&mut read)).await;
        String::from_utf8_lossy(&read).into_owned()
    }

    fn closing_get(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    }

    #[tokio::test]
    async fn half_open_connections_give_way_to_whole_requests() {
        let served = served(LIMITS).await;
        let mut half_open = Vec::new();
        for _ in 0..20 {
            half_open.push(served.send("GET / HTTP/1.1\r\nHost: localhost\r\nX: ").await);
        }
        assert!(served.answer(&closing_get("/live")).await.ends_with("alive"));
        let mut oldest = half_open.remove(0);
        assert_eq!(rest(&mut oldest).await, "", "the oldest was closed");
        // A caller that finishes in time is answered, although others came after it.
        let mut newest = half_open.pop().expect("one");
        newest.write_all(b"x\r\nConnection: close\r\n\r\n").await.expect("sent");
        assert!(rest(&mut newest).await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn what_is_worked_on_gives_way_to_nobody() {
        let served = served(LIMITS).await;
        let mut held = Vec::new();
        for _ in 0..LIMITS.connections {
            held.push(served.send(&closing_get("/held")).await);
        }
        let mut waiting = served.send(&closing_get("/live")).await;
        served.hold.add_permits(1);
        assert!(rest(&mut waiting).await.ends_with("alive"), "once there is room");
        served.hold.add_permits(held.len() - 1);
        for stream in &mut held {
            assert!(rest(stream).await.ends_with("let go"));
        }
    }

    #[tokio::test]
    async fn heads_bodies_answers_and_idle_connections_have_their_time() {
        let short = Duration::from_millis(50);
        let slow_head = served(Limits { head: short, ..LIMITS }).await;
        assert_eq!(slow_head.answer("GET / HTTP/1.1\r\nHost: localhost\r\nX: ").await, "");
        assert!(slow_head.answer(GET).await.ends_with("alive"), "and then no second request comes");

        let slow_body = served(Limits { body: short, ..LIMITS }).await;
        let answer = slow_body.answer("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf").await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");

        let unread = served(Limits { unread: short, ..LIMITS }).await;
        let mut stream = unread.send(&closing_get("/large")).await;
        within_deadline("closing the connection", async {
            // Writing fails once the server has closed it.
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_refused() {
        let served = served(LIMITS).await;
        let body = "x".repeat(MAX_REQUEST_BYTES);
        let post = |body: &str| {
            let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
            format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
        };
        assert!(served.answer(&post(&body)).await.ends_with(&body));
        assert!(served.answer(&post(&format!("{body}x"))).await.starts_with("HTTP/1.1 413"));
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_request() {
        let served = served(LIMITS).await;
        for _ in 0..2 * LIMITS.connections {
            let answer = served.answer(&closing_get("/panic")).await;
            assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("this is a bug"), "{answer}");
        }
        assert!(served.answer(&closing_get("/live")).await.ends_with("alive"));
    }

    #[tokio::test]
    async fn only_http_1_is_spoken() {
        let served = served(LIMITS).await;
        let answer = served.answer("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer:?}");
        let upgrade =
            "Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
        let answer = served.answer(&format!("GET /live HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    }

    #[tokio::test]
    async fn the_end_waits_for_work_and_for_no_caller() {
        let served = served(LIMITS).await;
        let mut held = served.send(&closing_get("/held")).await;
        let mut half_open = served.send("GET / HTTP/1.1\r\nX: ").await;
        // Both are accepted once one that came later is answered.
        assert!(served.answer(&closing_get("/live")).await.ends_with("alive"));
        served.stop.cancel();
        assert_eq!(rest(&mut half_open).await, "");
        assert!(!served.ended.is_finished(), "a request is worked on");
        served.hold.add_permits(1);
        assert!(rest(&mut held).await.ends_with("let go"));
        within_deadline("the end", served.ended).await.expect("no panic").expect("no error");
        assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens");
    }

    #[test]
    fn connections_leave_files_for_all_else() {
        let files = [None, Some(u64::MAX), Some(1024), Some(256), Some(130), Some(0)];
        assert_eq!(files.map(affordable), [256, 256, 256, 128, 16, 16]);
    }
}
