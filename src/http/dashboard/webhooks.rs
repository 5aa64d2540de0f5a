//! Webhooks on the overview and on the page of a resource.

use maud::{Markup, html};

use super::numbers::{ago, count, moment, thousands};
use super::page::pill;
use crate::store::report::{ResourceWebhooks, WebhookState};

/// The block of the overview.
pub(super) fn block(known: &WebhookState) -> Markup {
    let (kind, word) = match (known.registered, &known.error) {
        (true, None) => ("completed", "registered"),
        (true, Some(_)) => ("partial", "registered"),
        (false, _) => ("failed", "not registered"),
    };
    html! {
        section {
            h2 { "Webhooks" }
            p {
                (pill(kind, word))
                @if let Some(since) = known.registered_since {
                    " for " (known.types) " types since " (moment(since))
                }
                @match known.last_call_at {
                    Some(at) => { ", last call " (ago(at)) },
                    None => ", no call yet",
                }
            }
            @if known.hints_waiting > 0 {
                p { (count(known.hints_waiting, "record")) " named by calls, waiting for a look for "
                    (format!("{:.0} s", known.oldest_hint_seconds)) }
            }
            @if let Some(share) = known.missed_share {
                p .quiet {
                    (count(known.shown + known.late + known.missed, "change")) ": " (thousands(known.shown))
                    " by webhooks, " (thousands(known.late)) " late, " (thousands(known.missed)) " missed ("
                    (format!("{:.1} %", share * 100.0)) ")"
                }
            }
        }
    }
}

/// The facts of one resource, in its list of them.
pub(super) fn facts(known: &ResourceWebhooks) -> Markup {
    html! {
        dt { "last call of a webhook" }
        dd { @match known.last_call_at { Some(at) => { (ago(at)) ", " (moment(at)) }, None => "none yet" } }
        @if let Some(loss) = &known.loss {
            dt { "changes by webhooks" }
            dd {
                (thousands(loss.shown)) ", and " (thousands(loss.late)) " late, " (thousands(loss.missed)) " missed"
            }
        }
    }
}
