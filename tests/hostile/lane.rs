//! A stage, a worker, and what the cases that were played on them have left to be accounted for.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lapin::message::Delivery;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::amqp::{Fate, Message, Names, Target};
use crate::api::Attack;
use crate::dice::Dice;
use crate::http::{Answer, Stream, TOKEN, complaint, shown};
use crate::meddler::Meddler;
use crate::report::Played;
use crate::stage::{ACCOUNT, Event, RawPublisher, Stage, Worker, found_within};

/// A sound request completes within this, whatever came before it.
pub const SERVED: Duration = Duration::from_secs(15);

/// An answer that says that the budget is used up is believed, for a window at most.
const WINDOW: Duration = Duration::from_secs(60);

/// A run on an answer that cannot be used ends within this: tries end after 25 s, and what says that the budget is used up is waited out
/// for two windows.
const RUN: Duration = Duration::from_secs(150);

/// Headers of so many bytes may be nested ten thousand deep. RabbitMQ takes seconds for each copy of such a message, of
/// which there are three.
const LONG_HEADERS: usize = 20_000;

/// How much longer the broker may take for them.
const LONG_HEADERS_TAKE: Duration = Duration::from_secs(45);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Where it is played.
pub struct Lane {
    pub stage: Stage,
    pub worker: Worker,
    pub(crate) raw: RawPublisher,
    pub(crate) meddler: Meddler,
    /// Dead letters that no case has claimed yet.
    pub(crate) dead: Arc<Mutex<Vec<Delivery>>>,
    /// A run that has completed.
    pub(crate) known: Uuid,
    /// Kind and bytes of the attack that is played, for when it ends the case.
    pub attack: (&'static str, String),
    /// Messages that have not ended yet.
    pub(crate) owed: Vec<Owed>,
    /// Connections that the server has not closed yet.
    pub(crate) held: Vec<Held>,
    pub(crate) log_read: u64,
    pub(crate) events_read: usize,
    pub(crate) tokens: Tokens,
}

/// A message that the broker has taken.
pub struct Owed {
    pub case: u64,
    pub since: Instant,
    /// What is kept of its body.
    pub body: Vec<u8>,
    pub fate: Fate,
    pub waits: bool,
}

/// A connection on which something may still be answered.
pub struct Held {
    pub case: u64,
    pub since: Instant,
    pub stream: TcpStream,
}

/// What is known of the pairs of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    pub state: String,
    /// How many pairs were stored, less how many were given out.
    pub lost: i64,
    /// Refresh tokens that were used up, and came again.
    pub reused: u64,
}

impl Lane {
    /// A small account and a worker that has served its first request.
    pub async fn start() -> Self {
        let mut stage = Stage::small().await;
        let meddler = Meddler::start(stage.simulator.url()).await;
        for name in ["TEAMLEADER_API_URI", "TEAMLEADER_AUTH_URI"] {
            stage.set(name, &meddler.url);
        }
        stage.set("HTTP_API_TOKEN", TOKEN);
        let worker = stage.worker().await;
        stage.complete(json!({ "mode": "full" })).await;
        let first = stage.complete(json!({ "resources": ["departments"] })).await;
        let raw = RawPublisher::to(&stage.broker.url).await;
        let dead = stage.broker.take_all(&stage.broker.dead_queue()).await;
        let known = first.subject().parse().unwrap();
        let tokens = Tokens { state: String::new(), lost: 0, reused: 0 };
        let (owed, held, events_read) = (Vec::new(), Vec::new(), stage.broker.events().len());
        let mut lane = Self {
            stage,
            worker,
            raw,
            meddler,
            dead,
            known,
            attack: Default::default(),
            owed,
            held,
            log_read: 0,
            events_read,
            tokens,
        };
        lane.tokens = lane.tokens_now().await;
        lane
    }

    /// Plays a case.
    pub async fn play(&mut self, case: u64) -> Played {
        let mut dice = Dice::of(case);
        let play: [(u64, u8); 3] = [(40, 0), (30, 1), (30, 2)];
        let mut played = match dice.weighted(&play) {
            0 => self.play_message(case, &mut dice).await,
            1 => self.play_stream(case, &mut dice).await,
            _ => self.play_answer(case, &mut dice).await,
        };
        if played.violations.is_empty() {
            self.judge(&mut played).await;
        }
        played.peak = self.worker.peak();
        played
    }

    async fn play_message(&mut self, case: u64, dice: &mut Dice) -> Played {
        let names = Names { prefix: self.stage.broker.prefix.clone(), known: self.known };
        let message = Message::draw(dice, &names);
        let broker = &self.stage.broker;
        let requests = broker.requests_queue();
        let (exchange, key) = match message.target {
            Target::Exchange => (format!("{}.requests", broker.prefix), message.routing_key.clone()),
            Target::Requests => (String::new(), requests.into_bytes()),
            Target::Undelivered => (String::new(), format!("{requests}.undelivered").into_bytes()),
            Target::Delay => (String::new(), broker.delay_queue(10).into_bytes()),
            Target::Tokens => (String::new(), format!("{}.tokens.{ACCOUNT}", broker.prefix).into_bytes()),
        };
        let mut played = Played::of(case, message.kind);
        let (properties, body) = (format!("{:?}", message.properties), shown(&message.body));
        played.sent = format!(
            "to exchange {exchange:?} with key {:?}: {} with body {body}",
            key.escape_ascii().to_string(),
            &properties[..properties.len().min(4_000)]
        );
        self.attack = (message.kind, played.sent.clone());
        if properties.len() > LONG_HEADERS {
            played.patience = LONG_HEADERS_TAKE;
        }
        if message.target == Target::Tokens {
            // It is looked at before a refresh.
            self.stage.simulator.expire_access_tokens();
        }
        match self.raw.try_publish(&exchange, &key, &message.properties, &message.body).await {
            Ok(Ok(())) => {
                let body = message.kept().to_vec();
                self.owed.push(Owed { case, since: Instant::now(), body, fate: message.fate, waits: message.waits });
            }
            Ok(Err(_)) | Err(_) => {
                played.refused_by_broker = true;
                self.raw = RawPublisher::to(&self.stage.broker.url).await;
            }
        }
        played
    }

    async fn play_stream(&mut self, case: u64, dice: &mut Dice) -> Played {
        let stream = Stream::draw(dice);
        let mut played = Played::of(case, stream.kind);
        played.sent = shown(&stream.bytes);
        self.attack = (stream.kind, played.sent.clone());
        match stream.send(self.worker.url.trim_start_matches("http://")).await {
            Ok(Answer::Ended(answer)) => played.violations.extend(complaint(&answer)),
            Ok(Answer::Waiting(stream)) => self.held.push(Held { case, since: Instant::now(), stream }),
            Err(why) => played.violations.push(why),
        }
        let alive = tokio::time::timeout(SERVED, self.worker.get("/health/live")).await;
        if !alive.is_ok_and(|(status, _)| status == 200) {
            played.violations.push("/health/live does not answer".to_owned());
        }
        played
    }

    async fn play_answer(&mut self, case: u64, dice: &mut Dice) -> Played {
        let attack = Attack::draw(dice);
        let mut played = Played::of(case, attack.kind);
        let (about, request) =
            (format!("{} in answer {} of {:?}", attack.kind, attack.skip + 1, attack.request), attack.request.clone());
        let is_of_tokens = ["oauth2/access_token", "users.me"].contains(&attack.endpoint.as_str());
        self.attack = (attack.kind, about.clone());
        if attack.endpoint == "oauth2/access_token" {
            self.stage.simulator.expire_access_tokens();
        }
        self.meddler.arm(attack);
        match request {
            Some(request) => {
                let id = self.stage.request(request).await;
                match self.final_event(id, RUN, is_of_tokens).await {
                    Ok(event) => played.violations.extend(wrong_end(&event.body)),
                    Err(why) => played.violations.push(why),
                }
            }
            None => self.authorize().await,
        }
        let sent = self.meddler.disarm();
        played.missed = sent.is_none();
        played.sent = format!("{about}: {}", sent.unwrap_or_default());
        if is_of_tokens {
            // What the pair of a broken answer costs is an authorization, and nothing more. It is tried now: it may look
            // like any other, and would be refused in the midst of another case.
            self.stage.simulator.expire_access_tokens();
            let id = self.stage.request(json!({ "resources": ["departments"] })).await;
            played.violations.extend(self.final_event(id, RUN, true).await.err());
            self.authorize_if_needed().await;
            self.tokens = self.tokens_now().await;
        }
        played.patience = if played.kind == "API: rate limit headers" { WINDOW } else { Duration::ZERO };
        played
    }

    /// The final event of a request, if it comes in time. The authorization may be lost meanwhile where this is said.
    pub(crate) async fn final_event(&mut self, id: Uuid, within: Duration, may_lose: bool) -> Result<Event, String> {
        let (subject, first) = (id.to_string(), self.events_read);
        let deadline = Instant::now() + within;
        loop {
            let step = found_within(Duration::from_secs(1), POLL, async || {
                let events = self.stage.broker.events_after(first);
                let event = events.into_iter().find(|event| event.is_final() && event.subject() == subject);
                (event.is_some() || self.worker.ended().is_some()).then_some(event)
            });
            match step.await {
                Some(Some(event)) => return Ok(event),
                Some(None) => return Err(format!("the process has ended: {:?}", self.worker.ended())),
                None if Instant::now() > deadline => {
                    return Err(format!("the request {id} has no final event after {} s", within.as_secs()));
                }
                None if may_lose => self.authorize_if_needed().await,
                None => {}
            }
        }
    }

    /// Authorizes where the account says that it has to be, which an event says, too.
    async fn authorize_if_needed(&mut self) {
        if self.tokens_now().await.state == "reauthorization_required" {
            let asked = found_within(SERVED, POLL, async || {
                let events = self.stage.broker.events_after(self.events_read);
                events.iter().any(|event| event.kind() == "authorization.required").then_some(())
            });
            assert!(asked.await.is_some(), "no event asks for an authorization");
            self.authorize().await;
        }
    }

    async fn authorize(&self) {
        let ask = self.worker.request(reqwest::Method::GET, "/sync/authorize").bearer_auth(TOKEN);
        let answer = ask.send().await.unwrap();
        assert!(answer.status().as_u16() < 600, "{answer:?}");
    }

    pub(crate) async fn tokens_now(&self) -> Tokens {
        let (state, generation): (String, i64) =
            sqlx::query_as("select state, generation from teamleader2db.oauth_token")
                .fetch_one(&self.stage.database.pool)
                .await
                .unwrap();
        let counters = self.stage.simulator.counters();
        let given = i64::try_from(counters.refreshes + counters.code_grants).unwrap();
        Tokens { state, lost: given - generation, reused: counters.refused_refresh_reuse }
    }
}

/// Whatever failed or was skipped says why, and what completed says nothing. A run with rejected records is no complete one.
fn wrong_end(event: &Value) -> Option<String> {
    let data = &event["data"];
    let resources: Vec<&Value> = data["resources"].as_object().into_iter().flat_map(|map| map.values()).collect();
    let failed = resources.iter().filter(|resource| resource["status"] == "failed").count();
    let says_why = resources.iter().all(|one| (one["status"] == "completed") != one["error"].is_string());
    let rejected = resources.iter().filter(|resource| resource["rejected"].as_i64() > Some(0)).count();
    let fits = match data["status"].as_str().unwrap_or_default() {
        "completed" => failed + rejected == 0,
        "partial" => failed + rejected > 0 && failed < resources.len(),
        status => status == "failed" && (failed == resources.len() || data["error"].is_string()),
    };
    (!says_why || !fits).then(|| format!("the final event contradicts itself: {event}"))
}
