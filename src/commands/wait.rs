//! Following a request to its end: events, progress, authorization.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgPool;
use tracing::warn;
use uuid::Uuid;

use super::{event_text, terminal};
use crate::broker::link::AmqpError;
use crate::broker::listener::Listener;
use crate::broker::publisher::Publisher;
use crate::broker::queues;
use crate::broker::request_publisher::{OutgoingRequest, publish};
use crate::broker::topology::{Declare, Names};
use crate::ids::{Account, RunId};
use crate::messages::{Event, Request, RunReport, RunStatus, StateName, command};
use crate::retry;
use crate::store::pool;
use crate::store::runs::finish;
use crate::store::state;
use crate::store::tokens::authorization;

/// After this long without an event it is looked why none comes.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How a request that was waited for ended.
#[derive(Debug)]
pub enum Ended {
    /// With this event.
    Event {
        /// The event's JSON.
        payload: String,
        /// How the run ended.
        status: RunStatus,
        /// Its report.
        report: Box<RunReport>,
    },
    /// It waits in the queue until an operator authorizes the account.
    NotAuthorized,
}

impl Ended {
    /// As the event says that has this report, which may not have been sent yet.
    fn by(report: Box<RunReport>) -> Self {
        Self::Event { payload: Event::of_run(&report).payload, status: report.status, report }
    }
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
/// When the connection breaks it starts again: the same id joins the run, and brings its event again.
pub async fn send_and_wait(
    url: &SecretString,
    names: &Names,
    declare: Declare,
    database: Option<&PgPool>,
    outgoing: &OutgoingRequest,
) -> Result<Ended, AmqpError> {
    let mut progress = Progress::new(names.account());
    let mut delays = retry::RECONNECT.begin();
    let mut first = true;
    loop {
        match wait_for_run(url, names, declare, database, outgoing, &mut progress).await {
            Ok(ended) => {
                progress.goes_on = None;
                return Ok(ended);
            }
            Err(error) if first || matches!(error, AmqpError::Url(_) | AmqpError::Topology { .. }) => {
                return Err(error);
            }
            Err(error) => {
                let delay = delays.next_delay().unwrap_or(retry::RECONNECT.longest);
                warn!(%error, "The connection broke; the request is published again with the same id");
                tokio::time::sleep(delay).await;
            }
        }
        first = false;
    }
}

async fn wait_for_run(
    url: &SecretString,
    names: &Names,
    declare: Declare,
    database: Option<&PgPool>,
    outgoing: &OutgoingRequest,
    progress: &mut Progress,
) -> Result<Ended, AmqpError> {
    let mut events = Listener::open(url, names, declare, "teamleader2db request --wait").await?;
    let publisher = Publisher::new(url.clone(), "teamleader2db request");
    publish(&publisher, names, outgoing).await?;
    let id = outgoing.id;
    progress.goes_on = Some(id);
    publisher.close().await;
    let final_ids = Event::final_ids(names.account(), id, &outgoing.body());
    progress.say(&format!("request {id} is in the queue {}", names.requests_queue()));
    loop {
        let payload = tokio::select! {
            payload = events.next() => payload?,
            () = tokio::time::sleep(LOOK_EVERY) => {
                match why_silent(url, names, database, outgoing).await {
                    Silence::Ended(report) => return Ok(Ended::by(report)),
                    Silence::NotAuthorized => return Ok(Ended::NotAuthorized),
                    Silence::Because(why) => progress.say_once(why),
                    Silence::Unexplained => {}
                }
                continue;
            }
        };
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
        let is_final = final_ids.contains(&event.id);
        if !is_final && event.subject != id.to_string() {
            continue;
        }
        let Ok(report) = serde_json::from_value::<RunReport>(event.data) else {
            continue;
        };
        match report.status {
            RunStatus::Running => progress.show(&report),
            status if is_final => {
                return Ok(Ended::Event { payload, status, report: Box::new(report) });
            }
            _ => {}
        }
    }
}

/// Why no event comes.
enum Silence {
    /// The run has ended, as this report says. Its event waits in the database for a worker that sends it.
    Ended(Box<RunReport>),
    NotAuthorized,
    Because(String),
    Unexplained,
}

/// Asks the database and the broker why no event comes.
async fn why_silent(
    url: &SecretString,
    names: &Names,
    database: Option<&PgPool>,
    outgoing: &OutgoingRequest,
) -> Silence {
    // Somebody may have cancelled it while no worker is there, which alone sends events.
    if let (Some(pool), Ok(request)) = (database, Request::parse(&outgoing.body(), None)) {
        let ended = finish::ended(pool, names.account(), RunId(outgoing.id), &request.parameters);
        if let Ok(Some(report)) = pool::promptly(pool, ended).await {
            return Silence::Ended(Box::new(report));
        }
    }
    let state = match database {
        Some(pool) => pool::promptly(pool, state::of(pool, names.account())).await.ok(),
        None => None,
    };
    if state.as_ref().is_some_and(|state| state.name == StateName::WaitingForAuthorization) {
        return Silence::NotAuthorized;
    }
    let depths = tokio::time::timeout(LOOK_EVERY, queues::depths(url, names)).await;
    if depths.ok().and_then(Result::ok).and_then(|depths| depths.has_consumer()) == Some(false) {
        return Silence::Because(format!(
            "no worker reads the queue {}: the request waits there; start one with {}",
            names.requests_queue(),
            command(names.account(), "worker", "")
        ));
    }
    match state {
        Some(state) if matches!(state.name, StateName::WaitingForApi | StateName::WaitingForBudget) => {
            Silence::Because(state.sentence())
        }
        _ => Silence::Unexplained,
    }
}

/// Whether the account is authorized, if there is a database to ask.
async fn is_authorized(database: Option<&PgPool>, names: &Names) -> Option<bool> {
    let database = database?;
    let known = pool::promptly(database, authorization::authorization(database, names.account())).await;
    known.ok().map(|authorization| authorization.authorized)
}

/// A bar on a terminal, plain lines elsewhere; always on standard error.
struct Progress {
    bar: Option<ProgressBar>,
    /// The request that is in the queue, and goes on where the waiting ends before it.
    goes_on: Option<Uuid>,
    account: Account,
    /// What was said last of why no event comes.
    said: Option<String>,
}

impl Progress {
    fn new(account: &Account) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::no_length();
            // Cut to the terminal's width.
            let style = ProgressStyle::with_template("{elapsed_precise} [{bar:20}] {percent:>3} %  {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar, goes_on: None, account: account.clone(), said: None }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            // A reader that closed standard error is no error.
            None => _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{text}\n")),
        }
    }

    /// Says why no event comes, unless it was just said.
    fn say_once(&mut self, why: String) {
        if self.said.as_ref() != Some(&why) {
            self.say(&terminal::one_line(&why));
            self.said = Some(why);
        }
    }

    fn show(&mut self, report: &RunReport) {
        self.said = None;
        if let (Some(bar), Some(forecast)) = (&self.bar, report.forecast) {
            bar.set_length(forecast.api_requests.unsigned_abs());
            bar.set_position(report.api_requests.unsigned_abs());
        }
        self.say(&terminal::one_line(&event_text::run(report)));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        // By a signal, which drops the waiting, or by an error.
        if let Some(id) = self.goes_on {
            let cancel = command(&self.account, &format!("cancel {id}"), "");
            terminal::complain(&format!("the sync goes on; id {id}; cancel it with: {cancel}"));
        }
    }
}
