//! What an account is doing, or waits for: from the rows that say it, in one place for every surface.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::pool::StoreError;
use crate::ids::{Account, RunId};
use crate::messages::{AccountState, Mode, Parameters, StateName};

/// What the rows say, as of one moment.
#[derive(Debug)]
struct Facts {
    now: DateTime<Utc>,
    authorized: bool,
    authorization_at: Option<DateTime<Utc>>,
    authorization_reason: Option<String>,
    wait: Option<Wait>,
    budget: Option<(Option<DateTime<Utc>>, DateTime<Utc>)>,
    running: Option<(DateTime<Utc>, Option<serde_json::Value>)>,
    finished_at: Option<DateTime<Utc>>,
    deletions_held: Vec<String>,
}

/// A run that waits for the API, where nothing has come from it since.
#[derive(Debug)]
struct Wait {
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    reason: Option<String>,
}

/// The state of an account. Whether a worker reads its queue is for those to add who know it.
pub async fn of(pool: &PgPool, account: &Account) -> Result<AccountState, StoreError> {
    let row = sqlx::query!(
        r#"select now() as "now!",
             coalesce(token.state <> 'reauthorization_required', false) as "authorized!",
             token.updated_at as "authorization_at?", token.reason as "authorization_reason?",
             wait.wait_since as "wait_since?", wait.wait_until as "wait_until?", wait.wait_reason as "wait_reason?",
             budget.budget_since as "budget_since?", budget.budget_until as "budget_until?",
             run.started_at as "started_at?", run.request as "request?",
             (select max(finished_at) from teamleader2db.sync_run where account = $1) as finished_at,
             array(select resource from teamleader2db.cursor
                   where account = $1 and held_at is not null order by resource) as "deletions_held!"
         from (values (1)) as one (row)
         left join teamleader2db.oauth_token as token on token.account = $1
         left join lateral (
             select wait_since, wait_until, wait_reason from teamleader2db.sync_run as waiting
             -- A slice that comes back from the delay tries for less than that.
             where account = $1 and status = 'running' and wait_until > now() - interval '2 minutes' and not exists (
                 select from teamleader2db.sync_run as other
                 where other.account = $1 and (other.status = 'running' or other.finished_at > waiting.waited_at)
                   and other.progress_at > waiting.waited_at)
             order by wait_since limit 1) as wait on true
         left join lateral (
             select budget_since, budget_until from teamleader2db.sync_run
             where account = $1 and status = 'running' and budget_until > now()
             order by budget_until desc limit 1) as budget on true
         left join lateral (
             select started_at, request from teamleader2db.sync_run
             where account = $1 and status = 'running' order by started_at limit 1) as run on true"#,
        account.as_str(),
    )
    .fetch_one(pool)
    .await?;
    let wait = row.wait_since.zip(row.wait_until);
    Ok(judge(Facts {
        now: row.now,
        authorized: row.authorized,
        authorization_at: row.authorization_at,
        authorization_reason: row.authorization_reason,
        wait: wait.map(|(since, until)| Wait { since, until, reason: row.wait_reason }),
        budget: row.budget_until.map(|until| (row.budget_since, until)),
        running: row.started_at.map(|at| (at, row.request)),
        finished_at: row.finished_at,
        deletions_held: row.deletions_held,
    }))
}

/// The first state that holds.
fn judge(facts: Facts) -> AccountState {
    let (name, since, until, reason) = if !facts.authorized {
        let reason = facts.authorization_reason.unwrap_or_else(|| "it was never authorized".to_owned());
        (StateName::WaitingForAuthorization, facts.authorization_at, None, Some(reason))
    } else if let Some(wait) = facts.wait {
        // Past: it is out of the delay queue, and tries.
        let until = Some(wait.until).filter(|until| *until > facts.now);
        (StateName::WaitingForApi, Some(wait.since), until, wait.reason)
    } else if let Some((since, until)) = facts.budget {
        let reason = "the requests that the API allows in 60 s are used up".to_owned();
        (StateName::WaitingForBudget, since, Some(until), Some(reason))
    } else if let Some((since, request)) = facts.running {
        (StateName::Running, Some(since), None, request.and_then(asked))
    } else {
        (StateName::Idle, facts.finished_at, None, None)
    };
    AccountState { name, since, until, reason, deletions_held: facts.deletions_held, no_consumer: None }
}

/// What a run was asked for, as text.
fn asked(request: serde_json::Value) -> Option<String> {
    let Parameters { mode, resources, .. } = serde_json::from_value(request).ok()?;
    let kind = if mode == Mode::Audit { "audit" } else { "sync" };
    let of = match resources.as_deref() {
        None => "all resources".to_owned(),
        Some([one]) => one.clone(),
        Some(many) => format!("{} resources", many.len()),
    };
    Some(match mode {
        Mode::Audit => format!("{kind} of {of}"),
        Mode::Full | Mode::Incremental => format!("{} {kind} of {of}", mode.as_str()),
    })
}

/// Notes that a run waits for the budget for at least this long. Not fenced: it is a note, which ends by itself.
pub async fn note_budget(pool: &PgPool, account: &Account, run: RunId, wait: Duration) -> Result<(), StoreError> {
    sqlx::query!(
        "update teamleader2db.sync_run
         set budget_since = case when budget_until > now() - interval '2 seconds' then budget_since else now() end,
             budget_until = now() + make_interval(secs => $3)
         where account = $1 and id = $2 and status = 'running'",
        account.as_str(),
        run.0,
        wait.as_secs_f64(),
    )
    .execute(pool)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn facts() -> Facts {
        let now = Utc::now();
        Facts {
            now,
            authorized: false,
            authorization_at: Some(now),
            authorization_reason: Some("the refresh token is revoked".to_owned()),
            wait: Some(Wait { since: now, until: now + TimeDelta::seconds(60), reason: Some("503".to_owned()) }),
            budget: Some((Some(now), now + TimeDelta::seconds(9))),
            running: Some((now, Some(serde_json::json!({ "mode": "full", "resources": ["contacts"] })))),
            finished_at: Some(now),
            deletions_held: vec!["companies".to_owned()],
        }
    }

    #[test]
    fn the_first_that_holds_is_the_state() {
        let without = |first: usize| Facts {
            authorized: first > 0,
            wait: facts().wait.filter(|_| first < 2),
            budget: facts().budget.filter(|_| first < 3),
            running: facts().running.filter(|_| first < 4),
            ..facts()
        };
        assert_eq!([0, 1, 2, 3, 4].map(|first| judge(without(first)).name), StateName::ALL);
        let idle = judge(Facts { running: None, budget: None, wait: None, authorized: true, ..facts() });
        assert_eq!(idle.deletions_held, ["companies"], "beside any state");
    }

    #[test]
    fn a_state_says_what_it_waits_for_and_until_when() {
        let known = judge(Facts { authorized: true, ..facts() });
        assert_eq!((known.reason.as_deref(), known.until.is_some()), (Some("503"), true));
        let wait = facts().wait.map(|wait| Wait { until: wait.since, ..wait });
        let trying = judge(Facts { authorized: true, now: Utc::now() + TimeDelta::seconds(1), wait, ..facts() });
        assert_eq!((trying.name, trying.until), (StateName::WaitingForApi, None), "it is out of the delay queue");
        let running = judge(Facts { authorized: true, wait: None, budget: None, ..facts() });
        assert_eq!(running.reason.as_deref(), Some("full sync of contacts"));
    }
}
