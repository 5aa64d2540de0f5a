//! The log lines of runs, for those who read them where the log itself is not at hand: each line that is logged within
//! the span of a run is handed on as well.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use uuid::Uuid;

/// Lines that wait to be taken. What is logged when so many wait is counted, and left to the log.
const WAITING: usize = 4_096;

/// Where lines go, once somebody takes them.
static TAKER: OnceLock<mpsc::Sender<RunLine>> = OnceLock::new();

/// Lines that nobody could take.
static LOST: AtomicU64 = AtomicU64::new(0);

/// A line of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunLine {
    /// The run.
    pub run: Uuid,
    /// When it was logged.
    pub at: DateTime<Utc>,
    /// `ERROR`, `WARN` or `INFO`.
    pub level: &'static str,
    /// What it says.
    pub message: String,
    /// Its fields, and the resource of the span around it.
    pub fields: Map<String, Value>,
}

/// From now on the lines of runs come here. `None`: somebody takes them already.
pub fn take() -> Option<mpsc::Receiver<RunLine>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    TAKER.set(sender).ok().map(|()| receiver)
}

/// How many lines were lost since this was last asked.
pub fn lost() -> u64 {
    LOST.swap(0, Ordering::Relaxed)
}

/// Hands on what is logged at INFO and above within the span of a run, as far as `RUST_LOG` lets it through.
#[derive(Debug)]
pub struct RunLines;

/// What a span says of the lines within it.
#[derive(Clone, Default)]
struct Within {
    run: Option<Uuid>,
    resource: Option<String>,
}

impl<S> Layer<S> for RunLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut within = Within::default();
        attributes.record(&mut within);
        span.extensions_mut().insert(within);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(within) = span.extensions_mut().get_mut::<Within>() {
            values.record(within);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(taker) = TAKER.get() else { return };
        if *event.metadata().level() > Level::INFO {
            return;
        }
        let mut within = Within::default();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(of_span) = span.extensions().get::<Within>().cloned() {
                within.run = within.run.or(of_span.run);
                within.resource = within.resource.or(of_span.resource);
            }
        }
        let Some(run) = within.run else { return };
        let mut said = Said::default();
        event.record(&mut said);
        if let Some(resource) = within.resource {
            said.fields.entry("resource").or_insert(resource.into());
        }
        let level = event.metadata().level().as_str();
        let line = RunLine { run, at: Utc::now(), level, message: said.message, fields: said.fields };
        if taker.try_send(line).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Visit for Within {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "run" => self.run = format!("{value:?}").parse().ok(),
            "resource" => self.resource = Some(format!("{value:?}")),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// What an event says.
#[derive(Default)]
struct Said {
    message: String,
    fields: Map<String, Value>,
}

impl Said {
    fn note(&mut self, field: &Field, value: Value) {
        self.fields.insert(field.name().to_owned(), value);
    }
}

impl Visit for Said {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.note(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.note(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.note(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.note(field, format!("{value:?}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::{debug, error_span, info, subscriber, warn};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn lines_within_the_span_of_a_run_are_handed_on() {
        let mut lines = take().expect("nobody else takes them");
        let run = Uuid::from_u128(7);
        subscriber::with_default(tracing_subscriber::registry().with(RunLines), || {
            let request = error_span!("request", run = tracing::field::Empty);
            request.in_scope(|| {
                info!("Not known yet");
                request.record("run", tracing::field::display(run));
                error_span!("step", resource = %"users").in_scope(|| warn!(listed = 2, "Listed {}", 2));
                debug!("For developers");
            });
            info!("Outside");
        });
        let line = lines.try_recv().expect("one line");
        assert_eq!((line.run, line.level, line.message.as_str()), (run, "WARN", "Listed 2"));
        assert_eq!(Value::from(line.fields), serde_json::json!({ "listed": 2, "resource": "users" }));
        assert!(lines.try_recv().is_err());
        assert_eq!(lost(), 0);
    }
}
