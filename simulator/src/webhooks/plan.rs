//! Which calls come of one change, and what goes wrong with each: a function of the seed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::settings::{MessageSubject, Payload, Webhooks};
use crate::generate::{Dice, fingerprint};

/// How a call is forged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forgery {
    /// A copy of a right call, to an address whose last segment differs in one letter.
    WrongSecret,
    /// The right address and a type of the record's resource, with an id that no record has.
    UselessId,
    /// The right address and a type that does not exist.
    UnknownType,
    /// The right address and a body that is no JSON.
    NoJson,
}

impl Forgery {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::WrongSecret, Self::UselessId, Self::UnknownType, Self::NoJson];
}

/// What is to be called.
pub(crate) struct Subject<'a> {
    /// The type.
    pub(crate) kind: &'a str,
    /// The record.
    pub(crate) id: Uuid,
    /// The ticket of a message.
    pub(crate) ticket: Option<Uuid>,
    pub(crate) account: Uuid,
    /// How many calls there were for the record before, to all addresses.
    pub(crate) number: u64,
}

/// The calls to one address.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) calls: Vec<Planned>,
    pub(crate) is_lost: bool,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) nature: Nature,
    pub(crate) url: String,
    pub(crate) body: String,
    pub(crate) after: Duration,
}

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    Right(Right),
    Forged(Forgery),
}

/// A call that the API itself makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Right {
    pub(crate) is_repeated: bool,
    pub(crate) is_reordered: bool,
    pub(crate) names_other_account: bool,
}

/// The calls of a subject to the address at this place among all.
pub(crate) fn plan(settings: &Webhooks, subject: &Subject<'_>, place: usize, url: &str) -> Plan {
    let Subject { kind, id, number, .. } = subject;
    let parts = [settings.seed, fingerprint(&["webhook", kind, &id.to_string()]), *number, place as u64];
    let mut dice = Dice::new(&parts);
    // Every switch rolls, also one that is off: turning it on leaves what the others do as it is.
    let mut hits = |share: f64| ((dice.next() >> 11) as f64 / (1_u64 << 53) as f64) < share;
    let is_lost = hits(settings.loss);
    let is_doubled = hits(settings.duplicates);
    let is_reordered = hits(settings.reorder);
    let is_followed = hits(settings.forged);
    let names_other_account = hits(settings.wrong_account);
    let mut plan = Plan { is_lost, ..Plan::default() };
    let body = body(settings, subject, kind, *id, names_other_account);
    let mut after = wait(&mut dice, settings.delay_ms);
    if !is_lost {
        if is_reordered {
            after += wait(&mut dice, settings.reorder_ms);
        }
        let right = Right { is_repeated: false, is_reordered, names_other_account };
        let call =
            |right, after| Planned { nature: Nature::Right(right), url: url.to_owned(), body: body.clone(), after };
        plan.calls.push(call(right, after));
        if is_doubled {
            let after = after + wait(&mut dice, settings.delay_ms);
            plan.calls.push(call(Right { is_repeated: true, ..right }, after));
        }
    }
    if is_followed {
        let forgery = Forgery::ALL[dice.below(Forgery::ALL.len() as u64) as usize];
        plan.calls.push(forged(forgery, settings, subject, &mut dice, (url, after)));
    }
    plan
}

fn wait(dice: &mut Dice, (from, to): (u64, u64)) -> Duration {
    Duration::from_millis(from + dice.below((to - from).saturating_add(1)))
}

fn forged(
    forgery: Forgery,
    settings: &Webhooks,
    subject: &Subject<'_>,
    dice: &mut Dice,
    (url, after): (&str, Duration),
) -> Planned {
    let Subject { kind, id, .. } = subject;
    let right = body(settings, subject, kind, *id, false);
    let (url, body) = match forgery {
        Forgery::WrongSecret => (with_wrong_secret(url), right),
        Forgery::UselessId => (url.to_owned(), body(settings, subject, kind, dice.uuid(), false)),
        Forgery::UnknownType => {
            let front = kind.split('.').next().unwrap_or_default();
            (url.to_owned(), body(settings, subject, &format!("{front}.teleported"), *id, false))
        }
        Forgery::NoJson => (url.to_owned(), right[..right.len() / 2].to_owned()),
    };
    Planned { nature: Nature::Forged(forgery), url, body, after }
}

/// The address with another letter at the beginning of its last segment, or one segment more where it has none.
fn with_wrong_secret(url: &str) -> String {
    let path = url.find("://").map_or(0, |at| at + 3);
    let last = url[path..].rfind('/').map(|at| path + at + 1);
    match last.and_then(|last| Some((last, url[last..].chars().next()?))) {
        Some((last, letter)) => {
            let other = if letter == 'x' { 'y' } else { 'x' };
            format!("{}{other}{}", &url[..last], &url[last + letter.len_utf8()..])
        }
        None => format!("{}/x", url.trim_end_matches('/')),
    }
}

fn body(settings: &Webhooks, subject: &Subject<'_>, kind: &str, id: Uuid, other_account: bool) -> String {
    let front = kind.split('.').next().unwrap_or_default();
    let (name, id) = match subject.ticket.filter(|_| names_ticket(settings, subject)) {
        // A useless id stays one.
        Some(ticket) if id == subject.id => ("ticket", ticket),
        Some(_) => ("ticket", id),
        None => (front, id),
    };
    let account = match other_account {
        true => Dice::new(&[settings.seed, fingerprint(&["another account"])]).uuid(),
        false => subject.account,
    };
    let place = match settings.payload {
        Payload::Subject => "subject",
        Payload::Data => "data",
    };
    let mut body = json!({ "type": kind, "account": { "type": "account", "id": account } });
    body[place] = json!({ "type": name, "id": id });
    Value::to_string(&body)
}

fn names_ticket(settings: &Webhooks, subject: &Subject<'_>) -> bool {
    match settings.message_subject {
        MessageSubject::Ticket => true,
        MessageSubject::Message => false,
        MessageSubject::Either => {
            Dice::new(&[settings.seed, fingerprint(&["message", &subject.id.to_string()])]).chance(50)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_secret_differs_in_the_last_segment_alone() {
        assert_eq!(with_wrong_secret("https://a.example/webhooks/main/abc"), "https://a.example/webhooks/main/xbc");
        assert_eq!(with_wrong_secret("https://a.example/xbc"), "https://a.example/ybc");
        assert_eq!(with_wrong_secret("https://a.example/"), "https://a.example/x");
        assert_eq!(with_wrong_secret("https://a.example"), "https://a.example/x");
    }

    #[test]
    fn the_same_seed_plans_the_same_and_shares_are_met() {
        let settings = Webhooks { loss: 0.1, duplicates: 0.2, forged: 0.3, seed: 7, ..Webhooks::default() };
        let account = Uuid::from_u128(1);
        let plans = || -> Vec<Plan> {
            let subject = |number: u128| Subject {
                kind: "contact.updated",
                id: Uuid::from_u128(number),
                ticket: None,
                account,
                number: 0,
            };
            (0..2000).map(|number| plan(&settings, &subject(number), 0, "https://a.example/s")).collect()
        };
        let all = plans();
        assert_eq!(format!("{all:?}"), format!("{:?}", plans()));
        let share = |count: usize| count as f64 / 2000.0;
        let calls = || all.iter().flat_map(|plan| &plan.calls);
        let lost = all.iter().filter(|plan| plan.is_lost).count();
        let doubled =
            calls().filter(|call| matches!(call.nature, Nature::Right(Right { is_repeated: true, .. }))).count();
        let forged = calls().filter(|call| matches!(call.nature, Nature::Forged(_))).count();
        assert!((share(lost) - 0.1).abs() < 0.03, "{lost}");
        assert!((share(doubled) - 0.2 * 0.9).abs() < 0.03, "{doubled}");
        assert!((share(forged) - 0.3).abs() < 0.04, "{forged}");
    }
}
