//! The table of events in docs/messages.md, made from their kinds.

use super::{counted, hold, table};
use crate::ids::Account;
use crate::messages::EventKind;

/// What an event says, what its `data` is, and the kind after it. No kind can be left out.
fn meaning(kind: EventKind) -> (&'static str, &'static str, Option<EventKind>) {
    use EventKind::*;
    let run = "the final report on the run";
    match kind {
        Started => ("a run has started", "the report on the run: all counts are 0", Some(Progress)),
        Progress => (
            "a run is in progress: every 5 s at most, and not stored",
            "the report with the counts up to now, and `state`",
            Some(Completed),
        ),
        Completed => ("all resources completed, or were skipped with a reason", run, Some(Partial)),
        Partial => ("some resources failed, or have rejected records", run, Some(Failed)),
        Failed => ("all resources failed, or the request cannot be processed", run, Some(Cancelled)),
        Cancelled => ("an operator ended the run, or the request in the queue", run, Some(AuthorizationRequired)),
        AuthorizationRequired => {
            ("an operator has to authorize the account", "`account`, `reason`", Some(AuthorizationChanged))
        }
        AuthorizationChanged => (
            "another user than before has authorized it",
            "`account`, `authorized_by`, `previously_authorized_by`",
            None,
        ),
    }
}

#[test]
fn the_documented_events_are_those_that_are_sent() {
    let account: Account = "account".parse().expect("a name");
    let mut rows = Vec::new();
    let mut next = Some(EventKind::Started);
    while let Some(kind) = next {
        let (when, data, after) = meaning(kind);
        let key = kind.routing_key(&account).replace(".account.", ".<account>.");
        rows.push(vec![format!("`{}`", kind.event_type()), format!("`{key}`"), when.to_owned(), data.to_owned()]);
        next = after;
    }
    counted(rows.len(), "events");
    hold("messages.md", "table of events", &table(&["type", "routing key", "when", "`data`"], rows));
}
