//! What waits in the account's queues, and whether a worker reads them. Whether a policy expires messages AMQP does not
//! show.

use secrecy::SecretString;

use super::finding::{Finding, wrong};
use crate::broker::queues::{self, Depths};
use crate::broker::topology::Names;

pub(super) async fn examine(url: &SecretString, names: &Names) -> Vec<Finding> {
    match queues::depths(url, names).await {
        Ok(depths) => found(&depths, names),
        Err(error) => vec![wrong(error, "see the broker's log")],
    }
}

fn found(depths: &Depths, names: &Names) -> Vec<Finding> {
    let queue = names.requests_queue();
    let waiting = count(depths.requests.unwrap_or(0), "request waits", "requests wait");
    let mut findings = Vec::new();
    findings.extend(match depths.consumers {
        Some(0) => Some(Finding::Note {
            what: format!("no worker reads this queue: {queue}, in which {waiting}"),
            fix: "start one, `teamleader2db worker`; one that runs does not read it before its account is authorized \
                  and its database can be used, see its log"
                .to_owned(),
        }),
        Some(_) => Some(Finding::Well(format!("a worker reads {queue}, in which {waiting}"))),
        None => None,
    });
    if let Some(delayed @ 1..) = depths.delayed {
        findings.push(Finding::Note {
            what: format!("{}, since the API was down", count(delayed, "request is delayed", "requests are delayed")),
            fix: "each is tried again by itself, at the latest after an hour".to_owned(),
        });
    }
    if let Some(undelivered @ 1..) = depths.undelivered {
        findings.push(Finding::Note {
            what: format!("the broker gave up {}", count(undelivered, "request", "requests")),
            fix: "a worker reports that to the senders; where none runs, start one: `teamleader2db worker`".to_owned(),
        });
    }
    if let Some(dead @ 1..) = depths.dead {
        findings.push(Finding::Note {
            what: format!("{} in {}", count(dead, "dead letter lies", "dead letters lie"), names.dead()),
            fix: "`teamleader2db dead-letters list --all-accounts` says why, and `resend` or `drop` settles each"
                .to_owned(),
        });
    }
    findings
}

fn count(number: u32, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(depths: Depths) -> String {
        let names = Names::new("teamleader", "default".parse().expect("a name"));
        let said = |finding| match finding {
            Finding::Well(what) => format!("ok {what}"),
            Finding::Note { what, fix } => format!("note {what}: {fix}"),
            Finding::Wrong { what, fix } => format!("WRONG {what}: {fix}"),
        };
        found(&depths, &names).into_iter().map(said).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_waits_is_said_with_what_to_do() {
        assert_eq!(said(Depths::default()), "", "a user that may not look learns nothing");
        let idle = Depths { requests: Some(0), consumers: Some(1), ..Default::default() };
        assert_eq!(said(idle), "ok a worker reads teamleader.requests.default, in which 0 requests wait");
        let deserted =
            Depths { requests: Some(1), consumers: Some(0), delayed: Some(1), undelivered: Some(2), dead: Some(3) };
        for part in [
            "no worker reads this queue: teamleader.requests.default, in which 1 request waits: start one",
            "1 request is delayed, since the API was down",
            "the broker gave up 2 requests: a worker reports",
            "3 dead letters lie in teamleader.dead: `teamleader2db dead-letters list --all-accounts`",
        ] {
            assert!(said(deserted).contains(part), "{part}: {}", said(deserted));
        }
    }
}
