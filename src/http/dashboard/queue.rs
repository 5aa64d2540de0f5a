//! The page of the queues: what waits, what is delayed, and the dead letters with what can be done about them.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use secrecy::SecretString;
use serde::Deserialize;
use tokio::time::Instant;
use tracing::Instrument as _;
use uuid::Uuid;

use super::numbers::{ago, count, thousands};
use super::page::{self, Frame, Place, frame, pill_of};
use crate::broker::dead_letters::letter::{self, Letter, Refusal};
use crate::broker::dead_letters::{DeadLetterQueue, DeadLettersError, Verdict};
use crate::broker::topology::Names;
use crate::http::problem::Problem;
use crate::http::state::HttpState;
use crate::messages::{AccountState, QueueState};
use crate::store::{pool, report, state};

/// A broker with so many dead letters that a round through them takes longer is left to the command line.
const PATIENCE: Duration = Duration::from_secs(15);

/// Dead letters that are listed.
const LISTED: usize = 100;

/// Where the page is.
const QUEUE: &str = "/dashboard/queue";

/// What is to be done with a dead letter.
#[derive(Deserialize)]
pub(super) struct LetterForm {
    form_token: String,
    id: String,
    act: Act,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Act {
    Resend,
    ResendNew,
    Drop,
}

struct Shown {
    state: AccountState,
    queue: Option<QueueState>,
    letters: Result<Vec<Letter>, String>,
}

/// `/dashboard/queue`.
pub(super) async fn show(State(state): State<HttpState>, headers: HeaderMap) -> Response {
    let form_token = state.guard.form_token(&headers);
    let depths = state.queue.depths().await;
    let letters = match depths.as_ref().and_then(|depths| depths.dead) {
        Some(0) => Ok(Vec::new()),
        _ => letters(&state).await.map_err(|problem| problem.detail().to_owned()),
    };
    let looked = async {
        let account = state.names.account();
        let usual = report::usual_requests(&state.pool, account).await?;
        let consumer = state.has_consumer().await;
        let account = state::of(&state.pool, account).await?.with_consumer(consumer);
        Ok(Shown { state: account, queue: depths.map(|depths| depths.state(usual)), letters })
    };
    match pool::promptly(&state.pool, looked).await {
        Ok(shown) => page::answer(StatusCode::OK, whole(&state, &shown, &form_token)),
        Err(error) => page::no_database(&state, &error, true),
    }
}

/// The account's dead letters, the oldest first; else why they cannot be listed. A look leaves them as they are.
async fn letters(state: &HttpState) -> Result<Vec<Letter>, Problem> {
    let (url, names) = (state.queue.url().clone(), state.names.clone());
    to_the_end(async move {
        let until = Instant::now() + PATIENCE;
        let mut queue = in_time(until, DeadLetterQueue::open(&url, &names)).await?;
        let letters = in_time(until, letter::all(&mut queue, &names)).await;
        queue.close().await;
        let mut letters = letters?;
        letters.retain(|letter| letter.is_of(names.account()));
        Ok(letters)
    })
    .await
}

/// A round goes on where its caller hangs up: a letter that is in hand then would count a delivery, and one that was
/// sent, but not yet acknowledged, would be sent twice.
async fn to_the_end<T: Send + 'static>(
    round: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let ended = tokio::spawn(round.in_current_span()).await;
    ended.unwrap_or_else(|_| Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "see the worker's log")))
}

async fn in_time<T>(until: Instant, step: impl Future<Output = Result<T, DeadLettersError>>) -> Result<T, Problem> {
    match tokio::time::timeout_at(until, step).await {
        Ok(done) => done.map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
        Err(_) => {
            let why = "the broker takes too long: teamleader2db dead-letters does the same without a bound";
            Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, why))
        }
    }
}

fn whole(state: &HttpState, shown: &Shown, form_token: &str) -> Markup {
    let content = html! {
        section {
            h1 { "Queue" }
            p { (shown.state.sentence()) }
            @match &shown.queue {
                Some(queue) => (depths(queue, &shown.state)),
                None => p .error { "RabbitMQ could not be asked." },
            }
        }
        section {
            h2 { "Dead letters" }
            p .quiet { "Messages that could not be processed. One that is sent again becomes a request again." }
            @match &shown.letters {
                Ok(letters) => (list(letters, form_token)),
                Err(why) => p .error { "They cannot be listed: " (why) },
            }
        }
    };
    let pill = pill_of(&shown.state, state.consuming.is_active());
    let frame_of_page =
        Frame { title: "Queue", place: Some(Place::Queue), pill, form_token: Some(form_token), refreshes: false };
    frame(state, &frame_of_page, content)
}

fn depths(queue: &QueueState, account: &AccountState) -> Markup {
    let number = |number: Option<u32>| number.map_or_else(|| "unknown".to_owned(), |number| thousands(number.into()));
    html! {
        dl {
            dt { "waiting for a worker" }
            dd { (number(queue.requests))
                @if let (Some(1..), Some(cost)) = (queue.requests, queue.expected_api_requests) {
                    ", about " (count(cost, "request")) " to the API"
                }
            }
            dt { "delayed" } dd { (number(queue.delayed)) ", since Teamleader did not answer" }
            dt { "dead letters" } dd { (number(queue.dead)) ", of all accounts of this broker's prefix" }
            dt { "read by a worker" }
            dd { @match account.no_consumer { Some(false) => "yes", Some(true) => "no: start one", None => "unknown" } }
        }
    }
}

fn list(letters: &[Letter], form_token: &str) -> Markup {
    html! {
        @if letters.is_empty() { p { "None." } } @else {
            div .wide tabindex="0" role="region" aria-label="Dead letters" { table {
                thead { tr {
                    th scope="col" { "since" }
                    th scope="col" { "why" }
                    th scope="col" { "sender" }
                    th scope="col" { "do" }
                } }
                tbody { @for letter in letters.iter().take(LISTED) { tr {
                    td .line { @match letter.at { Some(at) => (ago(at)), None => "unknown" } }
                    td { (letter.reason.as_deref().unwrap_or("no reason is known"))
                        div .why {
                            code { (letter.id) }
                            @if let Some(id) = letter.request_id { ", request " code { (id) } }
                        }
                    }
                    td { (letter.app_id.as_deref().or(letter.reply_to.as_deref()).unwrap_or("unknown")) }
                    td { (forms(letter, form_token)) }
                } } }
            } }
            @if letters.len() > LISTED { p .quiet { "The oldest " (LISTED) " of " (letters.len()) "." } }
        }
    }
}

fn forms(letter: &Letter, form_token: &str) -> Markup {
    html! {
        form .actions method="post" action=(QUEUE) {
            input type="hidden" name="form_token" value=(form_token);
            input type="hidden" name="id" value=(letter.id);
            @if letter.invalid.is_none() {
                button .second name="act" value="resend" { "Send again" }
                button .second name="act" value="resend_new" title="For a request whose run has ended" {
                    "Send with a new id"
                }
            }
            details data-key=(letter.id) {
                summary { "Drop" }
                button .second name="act" value="drop" { "Drop it for good" }
            }
        }
    }
}

/// Does what a form of this page asks for.
pub(super) async fn act(
    State(state): State<HttpState>,
    headers: HeaderMap,
    form: Result<Form<LetterForm>, FormRejection>,
) -> Response {
    match carry_out(&state, &headers, form).await {
        Ok(()) => Redirect::to(QUEUE).into_response(),
        Err(problem) => page::problem(&state, &problem),
    }
}

async fn carry_out(
    state: &HttpState,
    headers: &HeaderMap,
    form: Result<Form<LetterForm>, FormRejection>,
) -> Result<(), Problem> {
    let form = super::forms::checked(state, headers, form, |form| &form.form_token)?;
    let new_id = (form.act == Act::ResendNew).then(Uuid::new_v4);
    if form.act != Act::Drop {
        refuse_useless(state, &form, new_id.is_some()).await?;
    }
    to_the_end(settle(state.queue.url().clone(), state.names.clone(), (form.id, form.act, new_id))).await
}

/// Sends a letter again, or drops it. Done is done, whatever comes of the letters after it.
async fn settle(
    url: SecretString,
    names: Names,
    (id, act, new_id): (String, Act, Option<Uuid>),
) -> Result<(), Problem> {
    let until = Instant::now() + PATIENCE;
    let mut queue = in_time(until, DeadLetterQueue::open(&url, &names)).await?;
    let mut found = false;
    let round = queue.go_through(|message| {
        let letter = Letter::of(message, &names);
        if letter.id != id || !letter.is_of(names.account()) {
            return Verdict::Stays;
        }
        found = true;
        if act == Act::Drop { Verdict::Dropped } else { letter::revived(message, new_id) }
    });
    let round = in_time(until, round).await;
    let is_done = if act == Act::Drop { found } else { queue.resent() > 0 };
    queue.close().await;
    match (is_done, round) {
        (true, _) => Ok(()),
        (false, Err(problem)) => Err(problem),
        (false, Ok(())) => Err(Problem::new(StatusCode::NOT_FOUND, "this dead letter is not there any more")),
    }
}

/// One that would become a dead letter again, or run nothing, is not sent.
async fn refuse_useless(state: &HttpState, form: &LetterForm, new_id: bool) -> Result<(), Problem> {
    let letters = letters(state).await?;
    let letters: HashMap<&str, &Letter> = letters.iter().map(|letter| (letter.id.as_str(), letter)).collect();
    let Some(letter) = letters.get(form.id.as_str()) else { return Ok(()) };
    let refusal = letter.refusal(Some(&state.pool), state.names.account(), new_id);
    let why = match pool::promptly(&state.pool, refusal).await? {
        None => return Ok(()),
        Some(Refusal::Invalid(why)) => format!("it would be refused again: {why}"),
        Some(Refusal::HasEnded(id, status)) => {
            format!("the run of its request {} has ended as {status}: send it with a new id", id.0)
        }
    };
    Err(Problem::new(StatusCode::CONFLICT, why))
}
