//! A delivery becomes a run, and is settled: the only place that acknowledges requests.
//!
//! A request is acknowledged last. Whatever fails before, the delivery is left as it is: the connection is closed, the
//! broker delivers the request again, and the run goes on from its checkpoint.

mod between;
pub mod dead_letters;
mod delivery;
mod hints;
mod interruption;
mod obstacle;
mod panicked;
pub mod relay;
pub mod replies;
mod settlement;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::SecondsFormat;
use futures_util::FutureExt as _;
use secrecy::SecretString;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span, debug, error, error_span, info};
use uuid::Uuid;

use crate::api_client::token_store::TokenStore;
use crate::broker::consumer::{Consumer, Message};
use crate::broker::link::AmqpError;
use crate::broker::publisher::Publisher;
use crate::broker::reply_address::ReplyAddresses;
use crate::broker::topology::{Declare, Names};
use crate::broker::wake;
use crate::ids::{Epoch, RunId, TraceParent};
use crate::messages::{Forecast, Request, RunReport};
use crate::process::consumer_state::ConsumerState;
use crate::process::failpoints::{self, Point};
use crate::process::log_lines::Seldom;
use crate::process::panics;
use crate::retry;
use crate::store::lease;
use crate::store::pool::StoreError;
use crate::store::runs;
use crate::store::runs::checkpoint::{self, Requeue};
use crate::store::runs::claim::{self, Beginning, Claim};
use crate::store::state;
use crate::store::tokens::Tokens;
use crate::sync::cursor::{Run, StepCursor};
use crate::sync::engine::{Engine, Outcome};
use crate::sync::{forecast, plan};
use crate::wake_up::WakeUp;
use dead_letters::DeadLetters;
use delivery::{Received, request_of};
use obstacle::{LOOK_AT_AUTHORIZATION, is_authorized};
use relay::Relay;
use settlement::{SessionError, Settlement};

/// How long a slice may finish the page in hand after the process was asked to stop.
const GRACE: Duration = Duration::from_secs(4);

/// After this many messages in a row that had to be left as they were, about 5 minutes of a database that can be read
/// and not written, the pause before the next is [`LONG_PAUSE`]: each counts as a delivery, of which the broker allows
/// 1000.
const MANY_LEFT: u32 = 60;

/// With it 1000 deliveries take 16 hours.
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// How long to try to take a claim back that came to nothing. Not vital: the database may be away.
const UNCOUNT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to try to report that a run waits for the API.
const WAIT_REPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long after the end of its slice a delivery is settled at the latest. Waiting for the API's budget takes longest,
/// of what ends by itself: 8 resets, of a minute each as the API documents them.
const OVERDUE: Duration = Duration::from_secs(12 * 60);

/// What the worker is made of.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The broker.
    pub amqp_url: SecretString,
    /// Exchanges and queues.
    pub names: Names,
    /// Whether to make them.
    pub declare: Declare,
    /// The database.
    pub pool: PgPool,
    /// The account's tokens.
    pub tokens: Tokens,
    /// Publishes copies and dead letters.
    pub publisher: Publisher,
    /// Sends events.
    pub relay: Relay,
    /// Where replies may go.
    pub addresses: ReplyAddresses,
    /// Reports and dead-letters messages that cannot be processed.
    pub dead_letters: DeadLetters,
    /// Works on runs.
    pub engine: Engine,
    /// Wakes the consumer for hints.
    pub wake_up: WakeUp,
    /// Host and process, for the lease.
    pub holder: String,
    /// Whether it consumes, for `/health/ready`.
    pub consuming: ConsumerState,
    /// The message without a run whose handling panicked last, and how often in a row.
    pub panicked: Arc<Mutex<Option<(Uuid, i32)>>>,
}

impl Worker {
    /// Consumes until stopped. Reconnects for ever; waits while the account is not authorized.
    pub async fn run(self, stop: CancellationToken) {
        let mut delays = retry::RECONNECT.begin();
        let mut left = 0;
        let mut seldom = Seldom::default();
        while !stop.is_cancelled() {
            let ended = self.session(&stop, &mut delays, &mut left).await;
            self.consuming.set_active(false);
            let Err(error) = ended else { continue };
            let error = error.explained(&self.pool).await;
            if let Some(obstacle) = error.obstacle() {
                error!(%error, "No request can be worked on: {obstacle}");
                obstacle::wait_for_an_operator(&self.pool, &self.tokens, &self.consuming, obstacle, &stop).await;
            }
            let delay = delays.next_delay().unwrap_or(retry::RECONNECT.longest);
            let delay = if left < MANY_LEFT { delay } else { delay.max(LONG_PAUSE) };
            let lease = (self.names.account(), self.holder.as_str());
            interruption::report(&self.pool, lease, &error, delay, &mut seldom).await;
            stop.run_until_cancelled(tokio::time::sleep(delay)).await;
        }
    }

    /// One connection's life. `Ok`: it ended in order, because of `stop` or for want of authorization. `left` counts
    /// the messages in a row that were left as they were.
    async fn session(
        &self,
        stop: &CancellationToken,
        delays: &mut retry::Delays,
        left: &mut u32,
    ) -> Result<(), SessionError> {
        self.check_schema().await?;
        if !is_authorized(&self.tokens).await? {
            // Requests can wait in the queue, and listeners are informed of the reason.
            Consumer::prepare(&self.amqp_url, &self.names, self.declare).await?;
            if !obstacle::wait_for_authorization(&self.tokens, self.names.account(), stop).await? {
                return Ok(());
            }
        }
        let mut consumer = Consumer::open(&self.amqp_url, &self.names, self.declare).await?;
        let ended = self.consume(&mut consumer, stop, delays, left).await;
        // However it ended. A consumer that the broker has cancelled leaves a connection that looks alive, and another
        // consumer on it may never get anything.
        consumer.close().await;
        ended
    }

    /// Takes one message after the other.
    async fn consume(
        &self,
        consumer: &mut Consumer,
        stop: &CancellationToken,
        delays: &mut retry::Delays,
        left: &mut u32,
    ) -> Result<(), SessionError> {
        // A pair that could not be stored once is stored before anything needs a token.
        // It is tried again before each refresh, which does not go on without it.
        if let Err(error) = self.tokens.recover_escrowed().await {
            error!(%error, "An escrowed token pair cannot be stored");
        }
        let mut active = false;
        self.dead_letter_undelivered(consumer, active).await?;
        self.consuming.set_active(true);
        let mut on_standby = consumer.came_on_standby();
        interruption::report_role(&self.names.requests_queue(), on_standby);
        let mut looked_at = Instant::now();
        loop {
            // Also while one message follows the other.
            if looked_at.elapsed() >= LOOK_AT_AUTHORIZATION {
                looked_at = Instant::now();
                self.look_around(consumer, active).await?;
            }
            let message = tokio::select! {
                message = consumer.next() => message?,
                () = stop.cancelled() => break,
                () = tokio::time::sleep(LOOK_AT_AUTHORIZATION) => {
                    if !is_authorized(&self.tokens).await? {
                        break;
                    }
                    delays.reset();
                    continue;
                }
            };
            active = true;
            if std::mem::take(&mut on_standby) {
                info!("This worker is active now");
            }
            let settlement = self.handle_within_bounds(consumer, &message, stop).await;
            match settlement {
                Settlement::Ack => {
                    panics::caught(acknowledge(&message).boxed()).await??;
                    // Only now: an error that each delivery meets again must not become a hot loop of deliveries.
                    delays.reset();
                    *left = 0;
                }
                Settlement::AckAndRest => {
                    consumer.cancel().await?;
                    message.ack().await?;
                    break;
                }
                Settlement::Leave(error) => {
                    *left += 1;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Handles a message. Neither a panic nor a wait without end gets further than to what becomes of the message.
    async fn handle_within_bounds(
        &self,
        consumer: &mut Consumer,
        message: &Message,
        stop: &CancellationToken,
    ) -> Settlement {
        let longest = self.engine.settings.slice + OVERDUE;
        let span = self.span_of(message);
        let handling = async {
            // First: what this version would refuse, a newer one may know.
            match self.check_schema().await {
                // Before anything else: it is no request.
                Ok(()) if wake::is_wake_up(message) => self.serve_hints(consumer, stop).await,
                Ok(()) => self.handle(consumer, message, stop).await,
                Err(error) => Settlement::Leave(error.into()),
            }
        };
        let handling = handling.instrument(span.clone());
        match tokio::time::timeout(longest, panics::caught(handling.boxed())).await {
            Ok(Ok(settlement)) => settlement,
            Ok(Err(panicked)) => {
                let counted = tokio::time::timeout(longest, self.count_panic(message, panicked).instrument(span));
                counted.await.unwrap_or(Settlement::Leave(SessionError::Overdue))
            }
            Err(_) => Settlement::Leave(SessionError::Overdue),
        }
    }

    /// From a message to its settlement.
    async fn handle(&self, consumer: &mut Consumer, message: &Message, stop: &CancellationToken) -> Settlement {
        let received = Received::new(message, &self.addresses);
        let request = match request_of(message) {
            Ok(request) => request,
            Err(bad) => {
                received.note_refused_reply();
                return self.dead_letters.reject(&received, bad.id, &bad.reason, "bad_request").await.into();
            }
        };
        let Some(id) = request.id else {
            return self.assign_id(message).await.into();
        };
        received.note_refused_reply();
        Span::current().record("run", display(id));
        let epoch = match lease::acquire(&self.pool, self.names.account(), &self.holder).await {
            Ok(epoch) => epoch,
            Err(error) => return Settlement::Leave(error.into()),
        };
        Span::current().record("epoch", epoch.0);
        failpoints::reached(Point::LeaseTaken);
        let settlement = match self.claim(&received, id, &request, epoch).await {
            Ok(Claim::Fresh(beginning)) => match self.begin(beginning, &request).await {
                Ok(run) => self.uncount_attempt(id, self.work(consumer, message, run, epoch, stop).await).await,
                Err(error) => Settlement::Leave(error.into()),
            },
            Ok(Claim::Resumed(run)) => {
                info!(slice = run.slice, "Resumed a run");
                self.uncount_attempt(id, self.work(consumer, message, run, epoch, stop).await).await
            }
            Ok(Claim::AlreadyDone) => {
                info!("The run is finished already; its event is sent again");
                self.relay.flush().await.into()
            }
            Ok(Claim::Superseded) => {
                info!("Another delivery carries the run on");
                Settlement::Ack
            }
            Ok(Claim::Conflict) => {
                let reason = format!(
                    "the request id {id} was used before, with other parameters: use a new id for a new request"
                );
                self.dead_letters.reject(&received, Some(id), &reason, "conflict").await.into()
            }
            Ok(Claim::Crowded) => {
                let reason = format!(
                    "{} others wait for the request {id} already: use a new id, or listen to the events exchange",
                    runs::MAX_REPLIES
                );
                self.dead_letters.reject_joiner(&received, id, &reason).await.into()
            }
            Ok(Claim::GivenUp(why)) => self.dead_letters.dead_letter_given_up(message, id, &why).await.into(),
            Err(error) => Settlement::Leave(error.into()),
        };
        match settlement {
            // No other delivery could read it either.
            Settlement::Leave(SessionError::Store(error @ StoreError::Corrupt(_))) => {
                self.dead_letters.give_up_unreadable(&received, id, epoch, &error.to_string()).await.into()
            }
            settlement => settlement,
        }
    }

    async fn claim(
        &self,
        received: &Received<'_>,
        id: RunId,
        request: &Request,
        epoch: Epoch,
    ) -> Result<Claim<StepCursor>, StoreError> {
        let delivered = received.delivered(id, &request.parameters);
        claim::claim(&self.pool, self.names.account(), epoch, &delivered).await
    }

    /// Plans a run, and begins it.
    async fn begin(&self, beginning: Beginning, request: &Request) -> Result<Run, StoreError> {
        let (parameters, Engine { settings, client, .. }) = (&request.parameters, &self.engine);
        let steps = plan::plan(parameters, settings, &beginning.progress, beginning.started_at);
        let forecast = forecast::of_requests(0, forecast::requests_to_come(&steps, parameters), client);
        let Forecast { api_requests, done_at, at_least } = forecast;
        let run = beginning.begin(steps, forecast).await?;
        let (mode, resources) = (parameters.mode.as_str(), run.steps.len());
        let done_at = (!at_least).then(|| done_at.to_rfc3339_opts(SecondsFormat::Secs, true));
        info!(mode, resources, expected_requests = api_requests, at_least, done_at, "Began a run");
        Ok(run)
    }

    /// Takes the claim back where the slice ended for nothing that the request is to blame for: were a lost connection
    /// or a full disk counted as a crash, they would fail a run within seconds.
    async fn uncount_attempt(&self, id: RunId, settlement: Settlement) -> Settlement {
        if matches!(&settlement, Settlement::Leave(error) if error.is_transient()) {
            let uncounted = checkpoint::uncount_attempt(&self.pool, self.names.account(), id);
            if !matches!(tokio::time::timeout(UNCOUNT_TIMEOUT, uncounted).await, Ok(Ok(()))) {
                debug!("The claim stays counted");
            }
        }
        settlement
    }

    /// Works one slice, and watches the delivery: once it is lost, the slice stops.
    async fn work(
        &self,
        consumer: &mut Consumer,
        message: &Message,
        run: Run,
        epoch: Epoch,
        stop: &CancellationToken,
    ) -> Settlement {
        let (id, slice) = (run.id, run.slice);
        Span::current().record("slice", slice);
        let (progress, mut reports) = mpsc::channel(1);
        let soft = stop.child_token();
        let relay = self.relay.clone();
        let traceparent = message.traceparent();
        // Apart from the slice: a broker that does not answer must not hold it up. Ends with the sender.
        let reporting = async move {
            while let Some(report) = reports.recv().await {
                relay.send_progress(&report, traceparent.as_ref()).await;
            }
        };
        tokio::spawn(reporting.in_current_span());
        let mut working = Box::pin(self.engine.work(run, epoch, soft, progress));
        let out_of_time = async {
            stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let outcome = tokio::select! {
            outcome = &mut working => outcome,
            next = consumer.next() => {
                // With one message in hand no other comes: this is the end of the connection.
                return Settlement::Leave(next.err().unwrap_or(AmqpError::Ended).into());
            }
            () = out_of_time => Outcome::Requeue { requests: 0 },
        };
        // What it was in the midst of is rolled back, before the run is written again below.
        drop(working);
        // A hint that came in the last moment found the slice still serving, and woke nobody.
        self.wake_up.wake().await;
        match outcome {
            Outcome::Finished => self.relay.flush().await.into(),
            // Somebody has cancelled it: there is nothing left to do for it.
            Outcome::Stopped(StoreError::RunEnded) => self.relay.flush().await.into(),
            Outcome::Stopped(error) => Settlement::Leave(error.into()),
            Outcome::Wait { seconds, reason, report, requests } => {
                let queue = self.names.delay_queue(seconds);
                let waits = Some((seconds, reason));
                let next = Requeue { run: id, slice: slice.saturating_add(1), waits, requests };
                let requeued = self.requeue(message, ("", &queue), epoch, &next).await;
                if requeued.is_ok() {
                    self.report_wait(*report, message.traceparent().as_ref()).await;
                }
                requeued.into()
            }
            Outcome::Requeue { requests } => {
                let (exchange, key) = (self.names.requests_exchange(), self.names.account().as_str());
                let rest = match is_authorized(&self.tokens).await {
                    Ok(authorized) => !authorized || stop.is_cancelled(),
                    Err(error) => return Settlement::Leave(error.into()),
                };
                let next = Requeue { run: id, slice: slice.saturating_add(1), waits: None, requests };
                match self.requeue(message, (&exchange, key), epoch, &next).await {
                    Ok(()) if rest => Settlement::AckAndRest,
                    done => done.into(),
                }
            }
        }
    }

    /// A copy of the request goes out, confirmed; then only it may work on the run; then this one is acknowledged.
    async fn requeue(
        &self,
        message: &Message,
        (exchange, key): (&str, &str),
        epoch: Epoch,
        next: &Requeue,
    ) -> Result<(), SessionError> {
        let properties = message.copy_properties(next.slice);
        failpoints::reached(Point::CopyWanted);
        self.publisher.publish(exchange, key, message.body(), properties).await?;
        failpoints::reached(Point::CopyConfirmed);
        match checkpoint::requeue(&self.pool, self.names.account(), epoch, next).await {
            // Somebody has cancelled it meanwhile: the copy finds it ended, too.
            Err(StoreError::RunEnded) => return Ok(self.relay.flush().await?),
            requeued => requeued?,
        }
        failpoints::reached(Point::HandBackCommitted);
        info!(slice = next.slice, "Requeued the request");
        Ok(())
    }

    /// Reports that a run waits for the API, to listeners that cannot ask the database. Lost where that takes long: the
    /// message is to be acknowledged.
    async fn report_wait(&self, report: RunReport, traceparent: Option<&TraceParent>) {
        let reported = async {
            let state = state::of(&self.pool, self.names.account()).await.ok();
            let state = state.map(|state| state.with_consumer(Some(true)));
            self.relay.send_progress(&RunReport { state, ..report }, traceparent).await;
        };
        let _ = tokio::time::timeout(WAIT_REPORT_TIMEOUT, reported).await;
    }

    /// What each log line about a request says besides, as far as it is known by then; its place in a trace, if its
    /// sender has named one.
    fn span_of(&self, message: &Message) -> Span {
        let account = self.names.account();
        // Whatever level is logged, the lines that are have it.
        let span = error_span!("request", %account, run = Empty, slice = Empty, epoch = Empty, traceparent = Empty);
        if let Some(traceparent) = message.traceparent() {
            span.record("traceparent", display(traceparent));
        }
        span
    }

    /// A request without any id gets one, so that a redelivery is known as the same request.
    async fn assign_id(&self, message: &Message) -> Result<(), SessionError> {
        let properties = message.properties_with_id(&Uuid::new_v4().to_string());
        let (exchange, key) = (self.names.requests_exchange(), self.names.account().as_str());
        failpoints::reached(Point::StampWanted);
        self.publisher.publish(&exchange, key, message.body(), properties).await?;
        failpoints::reached(Point::StampConfirmed);
        Ok(())
    }
}

async fn acknowledge(message: &Message) -> Result<(), AmqpError> {
    failpoints::reached(Point::AckWanted);
    message.ack().await?;
    failpoints::reached(Point::Acked);
    Ok(())
}
