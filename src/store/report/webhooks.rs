//! Webhooks of an account, as every surface shows them.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::catalog::webhooks::TYPES;
use crate::ids::Account;
use crate::messages::{command, distance};
use crate::store::hints::loss::{self, Loss};
use crate::store::hints::registration::{self, Registration};
use crate::store::hints::{self, TypeRow};
use crate::store::pool::StoreError;

/// After so long without a call it is said that none came.
const SILENT_AFTER: TimeDelta = TimeDelta::hours(24);

/// Records that wait longer for a look are a problem.
const WAITS_TOO_LONG: TimeDelta = TimeDelta::minutes(10);

/// What is known of webhooks.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WebhookState {
    /// Whether the worker's address is registered with Teamleader, as of the last look that succeeded.
    pub registered: bool,
    /// For how many types.
    pub types: usize,
    /// Since when, without a gap that is known; null: it is not.
    pub registered_since: Option<DateTime<Utc>>,
    /// When it was last looked after; null: not yet.
    pub tried_at: Option<DateTime<Utc>>,
    /// Why that failed; null: it did not.
    pub error: Option<String>,
    /// When the last call came; null: none has.
    pub last_call_at: Option<DateTime<Utc>>,
    /// Records that calls have named and that wait for a look.
    pub hints_waiting: i64,
    /// How many seconds the first of them has waited.
    pub oldest_hint_seconds: f64,
    /// Changes that calls have led to.
    pub shown: i64,
    /// Changes that a sync found before their call came.
    pub late: i64,
    /// Changes that a sync found and no call announced.
    pub missed: i64,
    /// The share of `missed` in all changes of these resources, from 0 to 1; null: there were none.
    pub missed_share: Option<f64>,
    /// The database's clock.
    #[serde(skip)]
    pub now: DateTime<Utc>,
}

/// What is not as it should be, and what to do about it.
#[derive(Clone, Debug)]
pub struct WebhookProblem {
    /// It works as it is, or may do.
    pub is_note: bool,
    /// What it is.
    pub what: String,
    /// What to do.
    pub fix: String,
}

/// Webhooks of one resource.
#[derive(Clone, Debug)]
pub struct ResourceWebhooks {
    /// How its changes were announced; `None`: there were none.
    pub loss: Option<Loss>,
    /// When the last call of one of its types came.
    pub last_call_at: Option<DateTime<Utc>>,
}

/// What is known; `None`: webhooks were never registered, and nobody has tried.
pub async fn webhooks(pool: &PgPool, account: &Account) -> Result<Option<WebhookState>, StoreError> {
    let known = registration::read(pool, account).await?;
    if known.tried_at.is_none() {
        return Ok(None);
    }
    let (waiting, last_call) = (hints::waiting(pool, account).await?, hints::last_call(pool, account).await?);
    Ok(Some(state(known, waiting, last_call, &loss::all(pool, account).await?)))
}

/// What is known of one resource; `None`: no type names it, or webhooks were never registered.
pub async fn webhooks_of(
    pool: &PgPool,
    account: &Account,
    resource: &str,
) -> Result<Option<ResourceWebhooks>, StoreError> {
    let is_about = |name: &str| {
        let known = TYPES.iter().find(|known| known.name == name);
        known.is_some_and(|known| known.looks.iter().any(|look| look.resource() == resource))
    };
    if !TYPES.iter().any(|known| is_about(known.name)) || registration::read(pool, account).await?.tried_at.is_none() {
        return Ok(None);
    }
    let types = hints::types(pool, account).await?;
    Ok(Some(ResourceWebhooks {
        loss: loss::all(pool, account).await?.into_iter().find(|loss| loss.resource == resource),
        last_call_at: types.iter().filter(|row| is_about(&row.name)).map(|TypeRow { last_at, .. }| *last_at).max(),
    }))
}

#[allow(clippy::cast_precision_loss)]
fn state(
    known: Registration,
    (hints_waiting, oldest_hint_seconds): (i64, f64),
    last_call_at: Option<DateTime<Utc>>,
    losses: &[Loss],
) -> WebhookState {
    let sum = |of: fn(&Loss) -> i64| losses.iter().map(of).sum::<i64>();
    let (shown, late, missed) = (sum(|loss| loss.shown), sum(|loss| loss.late), sum(|loss| loss.missed));
    let all = shown + late + missed;
    WebhookState {
        registered: known.address.is_some(),
        types: known.types.len(),
        registered_since: known.confirmed_at.filter(|_| known.address.is_some()),
        tried_at: known.tried_at,
        error: known.error,
        last_call_at,
        hints_waiting,
        oldest_hint_seconds,
        shown,
        late,
        missed,
        missed_share: (all > 0).then(|| missed as f64 / all as f64),
        now: known.now,
    }
}

fn records(count: i64) -> String {
    if count == 1 { "1 record".to_owned() } else { format!("{count} records") }
}

impl WebhookState {
    /// In a sentence.
    pub fn sentence(&self) -> String {
        let registration = match (&self.error, self.registered_since) {
            (None, Some(since)) => format!("registered for {} types, {}", self.types, distance(since, self.now)),
            (Some(error), Some(_)) => format!("registered, and the last look failed: {error}"),
            (Some(error), None) => format!("not registered: {error}"),
            (None, None) => "not registered".to_owned(),
        };
        let called = match self.last_call_at {
            Some(at) => format!("last call {}", distance(at, self.now)),
            None => "no call yet".to_owned(),
        };
        let mut parts = vec![registration, called];
        if self.hints_waiting > 0 {
            let (waiting, seconds) = (self.hints_waiting, self.oldest_hint_seconds);
            parts.push(format!("waiting for a look: {}, the first for {seconds:.0} s", records(waiting)));
        }
        if let Some(share) = self.missed_share {
            let (missed, all) = (self.missed, self.shown + self.late + self.missed);
            parts.push(format!("missed {missed} of {all} changes ({:.1} %)", share * 100.0));
        }
        parts.join("; ")
    }

    /// What is not as it should be. `wanted`: WEBHOOK_URL is set where this is asked.
    pub fn problems(&self, account: &Account, wanted: bool) -> Vec<WebhookProblem> {
        let register = command(account, "webhooks register", "");
        let mut problems = Vec::new();
        let mut add = |is_note, what: String, fix: String| problems.push(WebhookProblem { is_note, what, fix });
        if let Some(error) = &self.error {
            let fix = format!("it is tried again every 15 minutes, and at once by `{register}`");
            add(false, format!("webhooks cannot be registered: {}", error.trim_end_matches('.')), fix);
        } else if !self.registered && wanted {
            let fix = format!("a worker with WEBHOOK_URL does it once a day, and at once by `{register}`");
            add(true, "webhooks are not registered: they were removed, or never complete".to_owned(), fix);
        } else if self.registered && !wanted {
            let unregister = command(account, "webhooks unregister", "");
            let fix = format!(
                "set WEBHOOK_URL here as well; or remove the address while a worker runs with it: `{unregister}`"
            );
            let what = "webhooks are registered, and WEBHOOK_URL is not set here: calls that come here are refused";
            add(true, what.to_owned(), fix);
        }
        let since = self.registered_since.max(self.last_call_at);
        if self.registered && since.is_some_and(|since| self.now - since > SILENT_AFTER) {
            let what = match self.last_call_at {
                Some(at) => format!("the last call of a webhook came {}", distance(at, self.now)),
                None => "no call of a webhook has ever come, although they are registered".to_owned(),
            };
            let fix = "if something changed in Teamleader since, calls do not reach the worker: POST to /webhooks/ \
                       below WEBHOOK_URL from outside, and see docs/webhooks.md, \"No call comes\"";
            add(true, what, fix.to_owned());
        }
        if self.oldest_hint_seconds > WAITS_TOO_LONG.as_seconds_f64() {
            let (waiting, minutes) = (self.hints_waiting, self.oldest_hint_seconds / 60.0);
            let what = format!("{} that webhooks have named wait, the first for {minutes:.0} min", records(waiting));
            let status = command(account, "status", "");
            add(false, what, format!("`{status}` says what the worker waits for; if none runs, start one"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        "default".parse().expect("a name")
    }

    fn known() -> WebhookState {
        let now = Utc::now();
        let registration = Registration {
            address: Some("here".to_owned()),
            types: vec!["contact.added".to_owned(), "contact.updated".to_owned()],
            confirmed_at: Some(now - TimeDelta::hours(30)),
            tried_at: Some(now - TimeDelta::hours(1)),
            now,
            ..Registration::default()
        };
        let loss = Loss { resource: "contacts".to_owned(), shown: 96, late: 2, missed: 2 };
        state(registration, (0, 0.0), Some(now - TimeDelta::minutes(3)), &[loss])
    }

    #[test]
    fn what_is_known_is_a_sentence() {
        let well = known();
        assert_eq!(
            well.sentence(),
            "registered for 2 types, 30 h ago; last call 3 min ago; missed 2 of 100 changes (2.0 %)"
        );
        assert!(well.problems(&account(), true).is_empty());
        let failed =
            WebhookState { registered: false, registered_since: None, error: Some("no".to_owned()), ..known() };
        let waiting = WebhookState { hints_waiting: 7, oldest_hint_seconds: 12.4, last_call_at: None, ..failed };
        assert_eq!(
            waiting.sentence(),
            "not registered: no; no call yet; waiting for a look: 7 records, the first for 12 s; \
             missed 2 of 100 changes (2.0 %)"
        );
    }

    #[test]
    fn each_problem_names_what_solves_it() {
        let account = account();
        let now = known().now;
        for (state, wanted, is_note, what, fix) in [
            (WebhookState { error: Some("no.".to_owned()), ..known() }, true, false, "registered: no", "register"),
            (WebhookState { registered: false, registered_since: None, ..known() }, true, true, "not reg", "register"),
            (known(), false, true, "WEBHOOK_URL is not set", "unregister"),
            (WebhookState { last_call_at: Some(now - TimeDelta::hours(25)), ..known() }, true, true, "25 h", "POST"),
            (WebhookState { last_call_at: None, ..known() }, true, true, "has ever come", "POST"),
            (WebhookState { oldest_hint_seconds: 700.0, ..known() }, true, false, "first for 12 min", "status"),
        ] {
            let problems = state.problems(&account, wanted);
            let [problem] = problems.as_slice() else { panic!("{what}: {problems:?}") };
            assert!(
                problem.is_note == is_note && problem.what.contains(what) && problem.fix.contains(fix),
                "{problem:?}"
            );
        }
        let removed = WebhookState { registered: false, registered_since: None, ..known() };
        assert!(removed.problems(&account, false).is_empty(), "nobody wants them");
        let new = WebhookState { last_call_at: None, registered_since: Some(now - TimeDelta::hours(2)), ..known() };
        assert!(new.problems(&account, true).is_empty(), "a day is not over");
    }
}
