//! Log lines as JSON: one flat object each, so that a search for an account, a run or a resource finds every line about
//! it, whichever part wrote it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use chrono::{SecondsFormat, Utc};
use serde::ser::{SerializeMap as _, Serializer as _};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The account that this process serves.
static ACCOUNT: OnceLock<String> = OnceLock::new();

/// The fields of spans that each line within them has as its own.
const LIFTED: [&str; 3] = ["account", "run", "resource"];

/// From now on each line names this account. A second call does nothing.
pub fn name_account(account: &str) {
    let _ = ACCOUNT.set(account.to_owned());
}

/// Writes an event as one object: `timestamp` (RFC 3339), `level`, `account`, `run` and `resource` as far as they are
/// known, the event's own fields with `message`, `target`, and under `span` the fields of all spans around it.
#[derive(Debug)]
pub struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut span = Map::new();
        for around in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = around.extensions();
            // As `JsonFields` has written them.
            let fields = extensions.get::<FormattedFields<N>>().map_or("", |fields| fields.fields.as_str());
            if let Ok(Value::Object(fields)) = serde_json::from_str(fields) {
                span.extend(fields);
            }
            span.insert("name".to_owned(), around.name().into());
        }
        let mut own = Own::default();
        event.record(&mut own);
        let line = line(event, span, own.0).map_err(|_| fmt::Error)?;
        writeln!(to, "{line}")
    }
}

fn line(
    event: &Event<'_>,
    span: Map<String, Value>,
    mut own: BTreeMap<&'static str, Value>,
) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::new(&mut bytes);
    let mut object = serializer.serialize_map(None)?;
    object.serialize_entry("timestamp", &Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true))?;
    object.serialize_entry("level", event.metadata().level().as_str())?;
    for name in LIFTED {
        let served = || ACCOUNT.get().filter(|_| name == "account").map(|account| account.clone().into());
        if let Some(value) = own.remove(name).or_else(|| span.get(name).cloned()).or_else(served) {
            object.serialize_entry(name, &value)?;
        }
    }
    if let Some(message) = own.remove("message") {
        object.serialize_entry("message", &message)?;
    }
    for (name, value) in own {
        object.serialize_entry(name, &value)?;
    }
    object.serialize_entry("target", event.metadata().target())?;
    if !span.is_empty() {
        object.serialize_entry("span", &span)?;
    }
    object.end()?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The fields of an event.
#[derive(Default)]
struct Own(BTreeMap<&'static str, Value>);

impl Visit for Own {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};

    use tracing::{error_span, info, subscriber};
    use tracing_subscriber::fmt::format::JsonFields;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_what_the_spans_around_it_say() {
        let written = Written::default();
        let to = written.clone();
        let logging = tracing_subscriber::fmt()
            .with_writer(move || to.clone())
            .fmt_fields(JsonFields::new())
            .event_format(JsonLines)
            .finish();
        subscriber::with_default(logging, || {
            let request = error_span!("request", account = "acme", run = tracing::field::Empty, slice = 1);
            request.in_scope(|| {
                request.record("run", "r");
                error_span!("step", resource = "users").in_scope(|| info!(listed = 2, "Listed {} \"\n\"", 2));
            });
            info!(account = "another", "Outside");
        });
        let bytes = written.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = String::from_utf8(bytes).expect("UTF-8");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 2, "{text}");
        for (name, value) in [("account", "acme"), ("run", "r"), ("resource", "users"), ("message", "Listed 2 \"\n\"")]
        {
            assert_eq!(lines[0][name], value, "{text}");
        }
        assert_eq!((&lines[0]["listed"], &lines[0]["span"]["slice"]), (&2.into(), &1.into()));
        assert_eq!((&lines[1]["account"], &lines[1]["run"]), (&"another".into(), &Value::Null));
        assert!(text.starts_with("{\"timestamp\":\"2") && lines[1].get("span").is_none(), "{text}");
    }
}
