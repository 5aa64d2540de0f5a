//! Following a request to its end: events, progress, authorization.

use std::io::IsTerminal;
use std::time::Duration;

use chrono::Utc;
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use lapin::Connection;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgPool;
use tracing::warn;
use uuid::Uuid;

use crate::amqp::link::{self, AmqpError, REPLY_TIMEOUT};
use crate::amqp::publisher::Publisher;
use crate::amqp::topology::{Declare, Names};
use crate::message::{Event, RunReport, RunStatus, SyncRequest};
use crate::retry;
use crate::store::authorization;
use crate::submit::{body_of, publish};

/// How often the account's authorization is looked at while waiting.
const LOOK_AT_AUTHORIZATION: Duration = Duration::from_secs(5);

/// How a request that was waited for ended.
#[derive(Debug)]
pub enum Ended {
    /// With this event.
    Event {
        /// The event's JSON.
        payload: String,
        /// How the run ended.
        status: RunStatus,
        /// What it tells.
        report: Box<RunReport>,
    },
    /// It waits in the queue until a person authorizes the account.
    NotAuthorized,
}

#[derive(Deserialize)]
struct EventEnvelope {
    id: Uuid,
    #[serde(rename = "type")]
    kind: String,
    subject: String,
    data: Value,
}

/// Publishes a request and follows its events to the end. Progress goes to standard error.
///
/// When the connection breaks it begins anew: the same id joins the run, and brings its event again.
pub async fn send_and_wait(
    url: &SecretString,
    names: &Names,
    declare: Declare,
    database: Option<&PgPool>,
    request: &SyncRequest,
    id: Uuid,
) -> Result<Ended, AmqpError> {
    let progress = Progress::new();
    let mut delays = retry::RECONNECT.begin();
    let mut first = true;
    loop {
        match follow(url, names, declare, database, request, id, &progress).await {
            Ok(ended) => {
                progress.clear();
                return Ok(ended);
            }
            Err(error @ (AmqpError::Url | AmqpError::Topology { .. })) => return Err(error),
            Err(error) if first => return Err(error),
            Err(error) => {
                let delay = delays.next_delay().unwrap_or(retry::RECONNECT.longest);
                warn!(%error, "The connection broke; the request is published again with the same id");
                tokio::time::sleep(delay).await;
            }
        }
        first = false;
    }
}

async fn follow(
    url: &SecretString,
    names: &Names,
    declare: Declare,
    database: Option<&PgPool>,
    request: &SyncRequest,
    id: Uuid,
    progress: &Progress,
) -> Result<Ended, AmqpError> {
    let connection = link::connect(url, "teamleader2db request --wait").await?;
    names.declare(&connection, declare).await?;
    let mut events = listen(&connection, names).await?;
    let publisher = Publisher::new(url.clone(), "teamleader2db request");
    publish(&publisher, names, request, id).await?;
    publisher.close().await;
    let final_ids = Event::final_ids(names.account(), id, &body_of(request));
    progress.say(&format!("request {id} is in the queue {}", names.requests_queue()));
    loop {
        let delivery = tokio::select! {
            delivery = events.next() => delivery.ok_or(AmqpError::Ended)??,
            () = tokio::time::sleep(LOOK_AT_AUTHORIZATION) => {
                if is_authorized(database, names).await == Some(false) {
                    return Ok(Ended::NotAuthorized);
                }
                continue;
            }
        };
        let payload = String::from_utf8_lossy(&delivery.data).into_owned();
        let Ok(event) = serde_json::from_str::<EventEnvelope>(&payload) else {
            continue;
        };
        if event.kind == "teamleader2db.authorization.required" {
            // The event may be late: the database knows better.
            if is_authorized(database, names).await == Some(true) {
                continue;
            }
            return Ok(Ended::NotAuthorized);
        }
        if event.subject != id.to_string() {
            continue;
        }
        let Ok(report) = serde_json::from_value::<RunReport>(event.data) else {
            continue;
        };
        match report.status {
            RunStatus::Running => progress.tell(&report),
            status if final_ids.contains(&event.id) => {
                return Ok(Ended::Event { payload, status, report: Box::new(report) });
            }
            _ => {}
        }
    }
}

/// Whether the account is authorized, if there is a database to ask.
async fn is_authorized(database: Option<&PgPool>, names: &Names) -> Option<bool> {
    let known = authorization::authorization(database?, names.account()).await;
    known.ok().map(|authorization| authorization.authorized)
}

/// Binds a queue of this connection's own to the account's events.
async fn listen(connection: &Connection, names: &Names) -> Result<lapin::Consumer, AmqpError> {
    let channel = link::within(REPLY_TIMEOUT, connection.create_channel()).await?;
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
    let queue = link::within(REPLY_TIMEOUT, channel.queue_declare("".into(), options, FieldTable::default())).await?;
    for pattern in [format!("sync.{}.*", names.account()), format!("authorization.{}.required", names.account())] {
        let bound = channel.queue_bind(
            queue.name().clone(),
            names.events_exchange().as_str().into(),
            pattern.as_str().into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        link::within(REPLY_TIMEOUT, bound).await?;
    }
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let consumed = channel.basic_consume(queue.name().clone(), "".into(), options, FieldTable::default());
    link::within(REPLY_TIMEOUT, consumed).await
}

/// A bar on a terminal, plain lines elsewhere; always on standard error.
struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos}/{len} resources  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            // Whoever closed standard error does not want to know.
            None => _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{text}\n")),
        }
    }

    fn tell(&self, report: &RunReport) {
        let done = report.resources.values().filter(|resource| resource.status != "running").count();
        let (listed, detailed) =
            report.resources.values().fold((0, 0), |(l, d), resource| (l + resource.listed, d + resource.detailed));
        if let Some(bar) = &self.bar {
            bar.set_length(report.resources.len() as u64);
            bar.set_position(done as u64);
        }
        let forecast = report.forecast.map(|forecast| {
            let minutes = (forecast.done_at - Utc::now()).num_seconds().max(0).unsigned_abs().div_ceil(60);
            format!(", {} of about {} requests, about {minutes} min to go", report.api_requests, forecast.api_requests)
        });
        self.say(&format!(
            "{done} of {} resources done, {listed} records listed, {detailed} details{}",
            report.resources.len(),
            forecast.unwrap_or_default()
        ));
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
