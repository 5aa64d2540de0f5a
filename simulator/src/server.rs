//! Listens, and takes each request through authentication, rate limit and faults.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use chrono::TimeDelta;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::answer::{self, Body, Cut};
use crate::faults::{FaultKind, Trouble};
use crate::oauth::TokenOutcome;
use crate::quirks::Quirks;
use crate::rate_limit::Quota;
use crate::refreshes::Refresh;
use crate::state::State;
use crate::version::Version;
use crate::webhooks::Sighting;
use crate::{api, contract, control, gzip};

/// The largest request body that is read. A list of a thousand ids takes 40 kB.
const MAX_BODY: usize = 4 << 20;

/// A server in the background.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Listens and serves in background tasks.
    pub(crate) async fn start(state: Arc<State>, listen: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener.local_addr()?;
        let server = Self { address, stop: CancellationToken::new(), tasks: TaskTracker::new() };
        let (stop, tasks) = (server.stop.clone(), server.tasks.clone());
        server.tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                match accepted {
                    Ok((stream, from)) => drop(tasks.spawn(connection(state.clone(), stream, from, stop.clone()))),
                    Err(error) => {
                        // Out of file descriptors, most likely: trying again at once would only burn the processor.
                        tracing::warn!(%error, "Cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        });
        Ok(server)
    }

    /// Stops listening and closes every connection, in the middle of an answer if need be.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn connection(state: Arc<State>, stream: TcpStream, from: SocketAddr, stop: CancellationToken) {
    // Small answers must not wait for the client's acknowledgement; if this fails they do, and nothing else is wrong.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| serve(state.clone(), from, request));
    let connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        () = stop.cancelled() => {}
        result = connection => {
            if let Err(error) = result {
                tracing::debug!(%error, "A connection ended early");
            }
        }
    }
}

async fn serve(state: Arc<State>, from: SocketAddr, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().trim_start_matches('/');
    // A body that breaks off or is too large has no answer.
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(|_| Cut)?.to_bytes();
    if let Some(path) = path.strip_prefix("_simulator/") {
        return Ok(control::respond(state.clone(), &parts.method, path, parts.uri.query(), &body).await);
    }
    let known = path.starts_with("oauth2/") || contract::has(path);
    let quirks = state.quirks();
    let in_work = state.counters.begin(if known { path } else { "unknown" });
    let request = Call {
        state: &state,
        quirks: &quirks,
        from,
        method: &parts.method,
        endpoint: path,
        query: parts.uri.query(),
        headers: &parts.headers,
        body: &body,
    };
    let answer = request.answer().await;
    drop(in_work);
    state.counters.end(answer.as_ref().ok().map(|answer| answer.status().as_u16()));
    answer.map(|mut answer| {
        let now = state.clock.now();
        let always = TimeDelta::try_seconds(quirks.date_offset_seconds).unwrap_or_default();
        let off = always + answer.extensions().get().map_or(TimeDelta::zero(), |DateOff(off)| *off);
        let date = now.checked_add_signed(off).unwrap_or(now).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        insert(answer.headers_mut(), DATE, &date);
        answer
    })
}

/// By how much the `Date` of an answer is later than it should be.
#[derive(Clone, Copy)]
struct DateOff(TimeDelta);

/// One request to the API or to the authorization server.
struct Call<'a> {
    state: &'a State,
    quirks: &'a Quirks,
    from: SocketAddr,
    method: &'a Method,
    endpoint: &'a str,
    query: Option<&'a str>,
    headers: &'a HeaderMap,
    body: &'a [u8],
}

impl Call<'_> {
    async fn answer(&self) -> Result<Response<Body>, Cut> {
        if self.endpoint.starts_with("oauth2/") {
            let trouble = self.state.faults.strike(self.endpoint, || None);
            let answer_lost = trouble.kind.as_ref().is_some_and(FaultKind::loses_the_answer);
            return afflict(&trouble, answer::error, || self.encoded(self.oauth(answer_lost))).await;
        }
        if !contract::has(self.endpoint) {
            // No such path: that is said at the edge, which knows neither versions nor limits.
            return Ok(answer::whole(answer::html(404)));
        }
        let asked_at = Instant::now();
        let State { oauth, rate_limit, clock, .. } = self.state;
        let asked = self.headers.get("x-api-version").map(|version| version.to_str().unwrap_or_default());
        self.state.counters.version(asked);
        let version = asked.map_or(Ok(self.quirks.pinned_version), str::parse);
        let shown = version.clone().unwrap_or(self.quirks.pinned_version);
        let authorization = self.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(client) = oauth.authenticate(authorization, clock.millis()) else {
            // Nobody knows whose request this is, so it does not count.
            let quota = rate_limit.peek(oauth.client_id(), clock.millis());
            let answer = self.refuse(401, "Access token is invalid or expired");
            return Ok(self.with_headers(answer::whole(answer), quota, shown));
        };
        let mut quota = rate_limit.take(client, clock.millis());
        if !quota.granted {
            return Ok(self.with_headers(answer::whole(self.refuse(429, "Too many requests")), quota, shown));
        }
        let version = match version {
            Ok(version) => version,
            Err(unknown) => return Ok(self.with_headers(answer::whole(self.refuse(400, &unknown)), quota, shown)),
        };
        let body = api::read_body(self.query, self.body);
        let trouble = self.state.faults.strike(self.endpoint, || self.some_record(body.as_ref().ok()));
        match trouble.kind {
            Some(FaultKind::RateLimited { reset_in_ms }) => quota = quota.exhausted(clock.now(), reset_in_ms),
            Some(FaultKind::ResetInThePast { seconds }) => quota = quota.overdue(clock.now(), seconds),
            _ => {}
        }
        let version = match trouble.kind {
            Some(FaultKind::OtherVersion { version }) => version,
            _ => version,
        };
        let respond = || self.encoded(self.api(body, version, &trouble));
        let mut answer = afflict(&trouble, |status, title| self.refuse(status, title), respond).await?;
        if let Some(sighting) = answer.extensions_mut().remove::<Sighting>()
            && trouble.kind.as_ref().is_none_or(FaultKind::leaves_the_answer)
        {
            self.state.saw(&sighting, asked_at);
        }
        match trouble.kind {
            Some(FaultKind::Edge404 | FaultKind::Html200) => Ok(answer),
            _ => Ok(self.with_headers(answer, quota, version)),
        }
    }

    /// The record that a fault of one record hits: the one that is asked for, else one in the middle.
    fn some_record(&self, body: Option<&Value>) -> Option<Uuid> {
        if let Some(id) = body.and_then(|body| body.get("id")?.as_str()?.parse().ok())
            && self.endpoint.ends_with(".info")
        {
            return Some(id);
        }
        let store = &self.state.store;
        let resource = contract::resource_of(self.endpoint)?;
        let (_, records) = store.snapshot(if resource == "userSchedules" { "users" } else { resource })?;
        records.get(records.len() / 2).map(|facts| facts.id)
    }

    /// Compressed, where the simulator does that and the client asks for it.
    fn encoded(&self, answer: Response<Bytes>) -> Response<Bytes> {
        let asked = self.headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
        let compresses = self.state.compresses() && asked.is_some_and(|codings| codings.contains("gzip"));
        if compresses { gzip::compressed(answer, 0) } else { answer }
    }

    fn api(&self, body: serde_json::Result<Value>, version: Version, trouble: &Trouble) -> Response<Bytes> {
        let reads = *self.method == Method::GET && !contract::writes(self.endpoint);
        if *self.method != Method::POST && !reads {
            return self.refuse(405, "The method is not allowed.");
        }
        let Ok(body) = body else { return self.refuse(400, "The body is not valid JSON.") };
        let Self { state, quirks, endpoint, .. } = *self;
        let sighting = RefCell::default();
        api::Request { state, quirks, endpoint, version, body, trouble, sighting }.respond()
    }

    fn refuse(&self, status: u16, title: &str) -> Response<Bytes> {
        api::refuse(self.quirks, self.endpoint, status, title)
    }

    fn with_headers(&self, mut answer: Response<Body>, quota: Quota, version: Version) -> Response<Body> {
        let headers = answer.headers_mut();
        insert(headers, HeaderName::from_static("x-api-version"), &version.to_string());
        insert(headers, HeaderName::from_static("x-ratelimit-limit"), &quota.limit.to_string());
        insert(headers, HeaderName::from_static("x-ratelimit-remaining"), &quota.remaining.to_string());
        insert(headers, HeaderName::from_static("x-ratelimit-reset"), &quota.reset(self.quirks.reset_form));
        answer
    }

    fn oauth(&self, answer_lost: bool) -> Response<Bytes> {
        let State { oauth, counters, refreshes, clock, .. } = self.state;
        match (self.method, self.endpoint) {
            (&Method::GET, "oauth2/authorize") => oauth.authorize(self.query.unwrap_or_default(), clock.millis()),
            (&Method::POST, "oauth2/access_token") => {
                let kind = self.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
                let json = kind.starts_with("application/json");
                let (outcome, answer) = oauth.token(json, self.body, clock.millis(), self.quirks.refusal_form);
                counters.token(outcome);
                if let TokenOutcome::Refresh(token, outcome) = outcome {
                    refreshes.add(Refresh { at: clock.now(), from: self.from, token, outcome, answer_lost });
                }
                answer
            }
            _ => answer::error(404, "There is no such endpoint."),
        }
    }
}

/// Answers, with what goes wrong on the way.
async fn afflict(
    trouble: &Trouble,
    refuse: impl Fn(u16, &str) -> Response<Bytes>,
    respond: impl FnOnce() -> Response<Bytes>,
) -> Result<Response<Body>, Cut> {
    if !trouble.latency.is_zero() {
        tokio::time::sleep(trouble.latency).await;
    }
    let Some(kind) = &trouble.kind else {
        return Ok(answer::whole(respond()));
    };
    match *kind {
        // What changes the answer itself is done where that is made.
        FaultKind::Latency { .. }
        | FaultKind::ResetInThePast { .. }
        | FaultKind::OtherVersion { .. }
        | FaultKind::EmptyList
        | FaultKind::Capped { .. }
        | FaultKind::PageSizeIgnored
        | FaultKind::WrongMatches { .. }
        | FaultKind::IncludesIgnored
        | FaultKind::Lagging { .. }
        | FaultKind::OddRecord { .. }
        | FaultKind::BrokenInfo { .. } => Ok(answer::whole(respond())),
        FaultKind::Edge404 => Ok(answer::whole(answer::html(404))),
        FaultKind::Html200 => Ok(answer::whole(answer::html(200))),
        FaultKind::ServerError { status } => Ok(answer::whole(refuse(status, "Internal server error"))),
        FaultKind::ServerErrorHtml { status } => Ok(answer::whole(answer::html(status))),
        FaultKind::CutBeforeAnswer => Err(Cut),
        FaultKind::TruncatedJson => Ok(answer::truncated(respond())),
        FaultKind::CutMidBody => Ok(answer::cut(respond())),
        FaultKind::SlowBody { milliseconds } => Ok(answer::slow(respond(), Duration::from_millis(milliseconds))),
        // Ends when the client or the simulator closes the connection.
        FaultKind::Hang => std::future::pending().await,
        FaultKind::RateLimited { .. } => Ok(answer::whole(refuse(429, "Too many requests"))),
        FaultKind::Date { seconds } => {
            let mut answer = answer::whole(respond());
            answer.extensions_mut().insert(DateOff(TimeDelta::try_seconds(seconds).unwrap_or_default()));
            Ok(answer)
        }
        FaultKind::Gzip => Ok(answer::whole(gzip::compressed(respond(), 0))),
        FaultKind::GzipBomb { bytes } => Ok(answer::whole(gzip::compressed(respond(), bytes))),
        FaultKind::Forbidden => Ok(answer::whole(refuse(403, "You are not allowed to do this."))),
        FaultKind::LoseTokenAnswer => {
            respond();
            Err(Cut)
        }
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Dates and numbers are always valid header values.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
