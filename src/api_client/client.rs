//! Requests to the API: within the budget, with a token that works, tried again when the failure is transient.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::{StatusCode, redirect};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::time::Instant;
use tracing::debug;
use uuid::Uuid;

use super::answer::{self, Page, Record};
use super::asked::{Answers, Asked, Ticket};
use super::auth::{Auth, AuthError};
use super::clock::{DatabaseClock, Dated};
use super::heard::{FailedAttempt, Heard};
use super::in_flight::InFlight;
use super::oauth::{self, Authorizer, Integration};
use super::rate_limit::{Limiter, Share, Turn};
use super::token_store::TokenStoreError;
use super::version::{self, ApiVersion};
use crate::catalog::{ProjectApi, Resource};
use crate::ids::{Epoch, Generation};
use crate::process::telemetry;
use crate::retry::{self, Failure, Verdict};

/// No answer's body is read beyond this: a page of 100 records is some hundred KB.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// Connecting takes at most this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A silence of this long ends a request.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// A request takes at most this long in all.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(60);

/// Requests of hints that are in flight at most, beside those of a run: these may all wait for the budget.
const HINTS_IN_FLIGHT: usize = 8;

/// Requests of an audit that are in flight at most.
const AUDITS_IN_FLIGHT: usize = 2;

/// A 429 is waited out this often for one request: each time until the reset that the API names.
const MAX_RATE_LIMITED: u32 = 8;

/// A request is sent again this often with a newer token: more than once only where tokens live for seconds.
const MAX_UNAUTHORIZED: u32 = 3;

/// Why a request came to nothing, after all tries.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    /// The API failed or refused.
    #[error("{endpoint}: {}{}", .reason.trim_end_matches('.'), .failure.advice())]
    Failed {
        /// The endpoint.
        endpoint: String,
        /// The kind of the last failure.
        failure: Failure,
        /// As text; holds no body, token or query.
        reason: String,
    },
    /// An operator has to authorize the account.
    #[error("the account is not authorized")]
    NotAuthorized,
    /// The token store: the database is away, or another worker has taken over.
    #[error(transparent)]
    Store(#[from] TokenStoreError),
}

/// The API as one slice of work sees it.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    version: ApiVersion,
    auth: Auth,
    limiter: Limiter,
    in_flight: Arc<InFlight>,
    /// The places of hints.
    hints_in_flight: Arc<InFlight>,
    turn: Turn,
    clock: DatabaseClock,
    answers: Answers,
    epoch: Epoch,
    requests: Arc<AtomicI64>,
    /// How many more requests may be sent; `None`: any number.
    allowance: Option<Arc<AtomicI64>>,
}

/// An answer with status 200.
struct Answer {
    body: Vec<u8>,
    dated: Option<Dated>,
    /// When the request was sent, and when all of the answer was there, by the database's clock.
    between: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Whether its rate limit headers are not plausible.
    implausible_limit: bool,
    /// How its version differs from the one asked for, as text.
    version_mismatch: Option<String>,
}

impl Client {
    /// Speaks to the API of the integration, with at most `most` requests in flight.
    pub fn new(integration: &Integration, auth: Auth, limiter: Limiter, most: usize) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .user_agent(super::USER_AGENT)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            .build()?;
        let base = integration.api_uri.trim_end_matches('/').to_owned();
        let version = integration.api_version.clone();
        let in_flight = Arc::new(InFlight::new(most));
        let hints_in_flight = Arc::new(InFlight::new(most.min(HINTS_IN_FLIGHT)));
        let clock = DatabaseClock::default();
        Ok(Self {
            http,
            base,
            version,
            auth,
            limiter,
            in_flight,
            hints_in_flight,
            turn: Turn::Run,
            clock,
            answers: Answers::default(),
            epoch: Epoch(0),
            requests: Arc::default(),
            allowance: None,
        })
    }

    /// The same client for a slice: refreshes of the token are fenced by its epoch, and it counts requests from 0.
    pub fn for_slice(&self, epoch: Epoch) -> Self {
        Self { epoch, requests: Arc::default(), ..self.clone() }
    }

    /// The same client for hints: they go first, and wait behind no request of a run.
    pub fn for_hints(&self, epoch: Epoch, share: Share) -> Self {
        let in_flight = self.hints_in_flight.clone();
        Self { in_flight, turn: Turn::Hint(share), ..self.for_slice(epoch) }
    }

    /// The same client for a turn of the audit: its requests go after all others, none is tried again, and no more
    /// than `most` are sent.
    pub fn for_audit(&self, epoch: Epoch, most: i64) -> Self {
        let in_flight = Arc::new(InFlight::new(self.most_in_flight().min(AUDITS_IN_FLIGHT)));
        let allowance = Some(Arc::new(AtomicI64::new(most)));
        Self { in_flight, turn: Turn::Audit, allowance, ..self.for_slice(epoch) }
    }

    /// The database's clock, against which the API's is held.
    pub fn clock(&self) -> &DatabaseClock {
        &self.clock
    }

    /// Requests sent since the last call, retries included.
    pub fn take_request_count(&self) -> i64 {
        self.requests.swap(0, Ordering::Relaxed)
    }

    /// Counts requests again that were taken for a commit that did not come about.
    pub fn return_request_count(&self, requests: i64) {
        self.requests.fetch_add(requests, Ordering::Relaxed);
    }

    /// How many requests may ever be in flight.
    pub fn most_in_flight(&self) -> usize {
        self.in_flight.most()
    }

    /// How long it takes to send this number of requests, if nobody else sends any.
    pub fn time_for(&self, requests: i64) -> Duration {
        self.limiter.time_for(requests)
    }

    /// How many requests the last 60 s hold, and how many they may.
    pub fn budget(&self) -> (u32, u32) {
        (self.limiter.used(), self.limiter.allowed())
    }

    /// How long requests that are to be sent wait for the budget at least; `None`: none waits.
    pub fn waits_for_budget(&self) -> Option<Duration> {
        self.limiter.waits_for()
    }

    /// One page of a list.
    pub async fn list(&self, resource: &Resource, body: &Value) -> Result<Page, ApiError> {
        let ticket = self.answers.ask(resource.name, self.clock.now());
        let read = |answer: &Answer| {
            let mut page = answer::parse_list(resource, &answer.body)?;
            page.dated = answer.dated;
            page.type_mismatches.extend(
                answer
                    .implausible_limit
                    .then(|| "the rate limit headers are not plausible, and are not used".to_owned()),
            );
            page.type_mismatches.extend(answer.version_mismatch.clone());
            Ok((page, answer.between))
        };
        let (mut page, between) = self.call(&resource.list_endpoint(), body, read).await?;
        page.asked = asked(ticket, between);
        page.records.iter_mut().for_each(|record| record.asked = page.asked.clone());
        Ok(page)
    }

    /// One record with its details, and how many characters of it were replaced.
    pub async fn info(&self, resource: &Resource, id: Uuid) -> Result<(Record, i64), ApiError> {
        let body = resource.info_body(id);
        let ticket = self.answers.ask(resource.name, self.clock.now());
        let read = |answer: &Answer| {
            let (mut record, replaced) = answer::parse_info(resource, &answer.body)?;
            record.type_mismatches.extend(answer.version_mismatch.clone());
            Ok(((record, replaced), answer.between))
        };
        let ((mut record, replaced), between) = self.call(&resource.info_endpoint(), &body, read).await?;
        record.asked = asked(ticket, between);
        Ok((record, replaced))
    }

    /// Whom the token belongs to.
    pub async fn who_authorized(&self) -> Result<Authorizer, ApiError> {
        let read = |answer: &Answer| Ok(oauth::parse_authorizer(&answer.body)?);
        self.call("users.me", &serde_json::json!({}), read).await
    }

    /// Which projects the account uses; `None` where the API will not say.
    pub async fn project_api(&self) -> Result<Option<ProjectApi>, ApiError> {
        let read = |answer: &Answer| Ok(answer::parse_project_api(&answer.body)?);
        match self.call("accounts.projects-v2-status", &serde_json::json!({}), read).await {
            Ok(api) => Ok(Some(api)),
            Err(ApiError::Failed { failure: Failure::Forbidden | Failure::NotFound | Failure::Rejected, .. }) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The ticket that a message belongs to; `None`: there is no such message.
    pub async fn ticket_of_message(&self, id: Uuid) -> Result<Option<Uuid>, ApiError> {
        let read = |answer: &Answer| Ok(answer::parse_ticket_of_message(&answer.body)?);
        match self.call("tickets.getMessage", &serde_json::json!({ "message_id": id }), read).await {
            Ok(ticket) => Ok(Some(ticket)),
            Err(ApiError::Failed { failure: Failure::NotFound | Failure::Rejected, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the API answers at all: one request, tried once, whose result does not matter.
    pub async fn is_up(&self) -> bool {
        match self.try_once("users.me", &serde_json::json!({}), &mut None).await {
            Ok(_) => true,
            Err(TryError::Failed(failed)) => failed.failure.verdict() != Verdict::Backoff,
            Err(TryError::Auth(error)) => !matches!(error, AuthError::Unavailable(_)),
        }
    }

    /// Whether a proxy answers with a page of its own at lists at all, and not only at `endpoint`: one request, tried
    /// once.
    pub async fn lists_are_pages(&self, endpoint: &str) -> bool {
        let [first, second] = ["users.list", "departments.list"];
        let other = if endpoint == first { second } else { first };
        let body = serde_json::json!({ "page": { "size": 1, "number": 1 } });
        let tried = self.try_once(other, &body, &mut None).await;
        matches!(tried, Err(TryError::Failed(FailedAttempt { failure: Failure::Page, .. })))
    }

    /// From now on no refresh of the token is started.
    pub fn close(&self) {
        self.auth.close();
    }

    /// Waits for a refresh of the token that is under way.
    pub async fn settled(&self) {
        self.auth.settled().await;
    }

    /// Asks an endpoint that gives no records. What `read` complains of is malformed.
    pub(super) async fn raw<T>(
        &self,
        endpoint: &str,
        body: &Value,
        read: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, ApiError> {
        self.call(endpoint, body, |answer| Ok(read(&answer.body)?)).await
    }

    async fn call<T>(
        &self,
        endpoint: &str,
        body: &Value,
        read: impl Fn(&Answer) -> Result<T, FailedAttempt>,
    ) -> Result<T, ApiError> {
        // They begin with the first failure: what was waited before, for the budget, is no reason to give up.
        let mut delays: Option<retry::Delays> = None;
        let mut rejected: Option<Generation> = None;
        let (mut limited, mut unauthorized) = (0, 0);
        loop {
            let failed = match self.try_once(endpoint, body, &mut rejected).await {
                Ok(answer) => match read(&answer) {
                    Ok(value) => return Ok(value),
                    Err(failed) => failed,
                },
                Err(TryError::Failed(failed)) => failed,
                Err(TryError::Auth(AuthError::NotAuthorized)) => {
                    return Err(ApiError::NotAuthorized);
                }
                Err(TryError::Auth(AuthError::Store(error))) => return Err(error.into()),
                Err(TryError::Auth(AuthError::Unavailable(reason))) => {
                    FailedAttempt { failure: Failure::Network, reason }
                }
            };
            let delay = match failed.failure.verdict() {
                // The next turn tries again.
                Verdict::Backoff | Verdict::After(_) if self.turn == Turn::Audit => None,
                Verdict::Backoff => delays.get_or_insert_with(|| retry::API.begin()).next_delay(),
                Verdict::After(_) => {
                    limited += 1;
                    // The limiter holds every request until the reset.
                    (limited <= MAX_RATE_LIMITED).then_some(Duration::ZERO)
                }
                Verdict::NewToken => {
                    unauthorized += 1;
                    (unauthorized <= MAX_UNAUTHORIZED).then_some(Duration::ZERO)
                }
                Verdict::Never => None,
            };
            let Some(delay) = delay else {
                let FailedAttempt { failure, reason } = failed;
                return Err(ApiError::Failed { endpoint: endpoint.to_owned(), failure, reason });
            };
            debug!(endpoint, reason = failed.reason, ?delay, "A request failed and is tried again");
            tokio::time::sleep(delay).await;
        }
    }

    /// Counts a request that is about to be sent; an error where no more may be.
    fn count_request(&self) -> Result<(), TryError> {
        if self.allowance.as_ref().is_some_and(|left| left.fetch_sub(1, Ordering::Relaxed) <= 0) {
            let reason = "this turn of the audit has sent all requests that it may".to_owned();
            return Err(TryError::Failed(FailedAttempt { failure: Failure::Timeout, reason }));
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn try_once(
        &self,
        endpoint: &str,
        body: &Value,
        rejected: &mut Option<Generation>,
    ) -> Result<Answer, TryError> {
        // Given back before the wait for another try.
        let _place = self.in_flight.place().await;
        // The permit first: a token fetched before a long wait for the budget could expire in it.
        let permit = self.limiter.acquire_as(self.turn).await;
        let access = self.auth.access_token(self.epoch, *rejected).await.map_err(TryError::Auth);
        let access = match access.and_then(|access| self.count_request().map(|()| access)) {
            Ok(access) => access,
            Err(error) => {
                permit.unused();
                return Err(error);
            }
        };
        let (started, sent_at) = (Instant::now(), self.clock.now());
        let sent = self
            .http
            .post(format!("{}/{endpoint}", self.base))
            .bearer_auth(access.token.expose_secret())
            .header(version::HEADER, self.version.to_string())
            .json(body)
            .send()
            .await;
        let mut response = sent.map_err(|error| {
            telemetry::api_answered(endpoint, "none", started.elapsed());
            failed_attempt(&error)
        })?;
        let status = response.status();
        let heard = Heard::of(response.headers(), &self.clock, &self.version);
        let seen = heard.limit.unwrap_or_default();
        if status == StatusCode::TOO_MANY_REQUESTS {
            permit.refused(seen, heard.retry_in);
        } else {
            permit.answered(seen);
        }
        telemetry::rate_limit_remaining(self.limiter.remaining());
        let read = read_body(&mut response).await;
        telemetry::api_answered(endpoint, status.as_str(), started.elapsed());
        let body = match read {
            Ok(Some(body)) => body,
            Ok(None) => {
                let reason = format!("the answer is longer than {MAX_BODY} bytes");
                return Err(TryError::Failed(FailedAttempt { failure: Failure::TooLong, reason }));
            }
            Err(error) => return Err(failed_attempt(&error)),
        };
        // What registers webhooks has nothing to say.
        if status == StatusCode::NO_CONTENT && endpoint.starts_with("webhooks.") {
            let (dated, between) = (heard.dated, None);
            return Ok(Answer { body, dated, between, implausible_limit: false, version_mismatch: None });
        }
        let Some(failure) = failure_of(status, heard.retry_in) else {
            self.in_flight.answered_in(started.elapsed(), self.limiter.allowed());
            heard.check(&body).map_err(TryError::Failed)?;
            let (implausible_limit, version_mismatch) = (heard.limit.is_err(), heard.version_mismatch);
            let between = sent_at.zip(self.clock.now());
            return Ok(Answer { body, dated: heard.dated, between, implausible_limit, version_mismatch });
        };
        if failure == Failure::Unauthorized {
            *rejected = Some(access.generation);
        }
        Err(TryError::Failed(heard.refusal(status, failure, &body)))
    }
}

/// When an answer was asked for; the place that its request holds goes with the last of its records.
fn asked(ticket: Option<Ticket>, between: Option<(DateTime<Utc>, DateTime<Utc>)>) -> Asked {
    let asked = ticket.zip(between).map(|(ticket, (at, answered_at))| ticket.answered(at, answered_at));
    asked.unwrap_or_default()
}

/// What went wrong in one try.
enum TryError {
    Failed(FailedAttempt),
    Auth(AuthError),
}

fn failed_attempt(error: &reqwest::Error) -> TryError {
    let failure = if error.is_timeout() { Failure::Timeout } else { Failure::Network };
    TryError::Failed(FailedAttempt { failure, reason: oauth::describe(error) })
}

fn failure_of(status: StatusCode, retry_in: Duration) -> Option<Failure> {
    match status {
        StatusCode::OK => None,
        StatusCode::UNAUTHORIZED => Some(Failure::Unauthorized),
        StatusCode::FORBIDDEN => Some(Failure::Forbidden),
        StatusCode::NOT_FOUND => Some(Failure::NotFound),
        StatusCode::TOO_MANY_REQUESTS => Some(Failure::RateLimited(retry_in)),
        StatusCode::REQUEST_TIMEOUT => Some(Failure::Timeout),
        status if status.is_client_error() => Some(Failure::Rejected),
        // 5xx, and redirects or empty successes that only a proxy in between sends.
        _ => Some(Failure::Server),
    }
}

/// Reads the body, or `None` when it is longer than [`MAX_BODY`] once it is decompressed, which happens piece by piece.
async fn read_body(response: &mut reqwest::Response) -> reqwest::Result<Option<Vec<u8>>> {
    let announced = response.content_length().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
    let mut body = Vec::with_capacity(announced.min(MAX_BODY));
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_BODY {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}
