//! The always-on audit on the overview and on the page of a resource.

use maud::{Markup, html};

use super::numbers::{ago, count, thousands};
use super::page::pill;
use crate::store::draws::Finding;
use crate::store::draws::bound::Share;
use crate::store::report::{AuditState, AuditedResource, percent};

/// The block of the overview.
pub(super) fn block(known: &AuditState) -> Markup {
    let [(wrong, drawn), (missing, listed), (stale, _)] = Finding::ALL.map(|finding| known.total(finding));
    let (kind, word) = if wrong + missing > 0 { ("failed", "differs") } else { ("completed", "right") };
    html! {
        section {
            h2 { "Audit" }
            p {
                (pill(kind, word))
                " of " (thousands(drawn)) " random rows " (thousands(wrong)) " wrong, " (thousands(stale))
                " stale; of " (thousands(listed)) " records that Teamleader lists " (thousands(missing)) " missing"
            }
            p .quiet {
                (count(known.requests, "request")) " within 7 days"
                @if let Some(at) = known.last_at { ", the last " (ago(at)) }
            }
            @for resource in known.resources.iter().filter(|resource| differs(resource)) {
                p { a href=(format!("/dashboard/resources/{}", resource.resource)) { (resource.resource) } ": "
                    (words("wrong", Some(resource.wrong))) ", " (words("missing", resource.missing)) }
            }
        }
    }
}

/// The facts of one resource, in its list of them.
pub(super) fn facts(known: &AuditedResource) -> Markup {
    html! {
        @for finding in Finding::ALL {
            @if let Some(share) = known.share(finding) {
                dt { (finding.as_str()) ", by the audit" }
                dd {
                    "at most " (percent(share.at_most)) ": " (thousands(share.found)) " of "
                    (count(share.drawn, "record")) " within 7 days"
                }
            }
        }
    }
}

fn differs(resource: &AuditedResource) -> bool {
    let found = |finding| resource.share(finding).is_some_and(|share| share.found > 0);
    found(Finding::Wrong) || found(Finding::Missing)
}

fn words(finding: &str, share: Option<Share>) -> String {
    match share {
        Some(share) => format!("{} {finding}, at most {}", thousands(share.found), percent(share.at_most)),
        None => format!("{finding}: not known"),
    }
}
