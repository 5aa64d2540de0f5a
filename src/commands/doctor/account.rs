//! The account: what it is doing, or waits for, and what it waits for an operator to decide.

use super::args::DoctorArgs;
use super::finding::{Finding, wrong};
use crate::ids::Account;
use crate::messages::{AccountState, Cause, Mode, StateName};
use crate::store::pool::{self, StoreError};
use crate::store::report::{self, WebhookProblem, WebhookState};
use crate::store::{progress, schema, state};

/// Nothing where the database cannot be read: that is found elsewhere.
pub(super) async fn examine(args: &DoctorArgs) -> Vec<Finding> {
    look(args).await.unwrap_or_default()
}

async fn look(args: &DoctorArgs) -> Result<Vec<Finding>, StoreError> {
    let Ok(url) = args.copy.database_url() else { return Ok(Vec::new()) };
    let (pool, account) = (pool::open(&url).await?, args.copy.account());
    schema::check(&pool).await?;
    let state = state::of(&pool, account).await?;
    let mut findings = vec![doing(&state)];
    for held in progress::held_deletions(&pool, account).await? {
        findings.push(wrong(
            format!(
                "{} of {} {} are missing from Teamleader and were not marked deleted",
                held.missing, held.rows, held.resource
            ),
            Cause::DeletionsHeld.advice(account, &[&held.resource], Mode::Full).to_string(),
        ));
    }
    let wanted = matches!(args.webhooks.url(), Ok(Some(_)));
    let known = report::webhooks(&pool, account).await?;
    findings.extend(webhooks(known.as_ref(), account, wanted && state.name != StateName::WaitingForAuthorization));
    Ok(findings)
}

/// Webhooks, where they are wanted or known.
fn webhooks(known: Option<&WebhookState>, account: &Account, wanted: bool) -> Vec<Finding> {
    let Some(known) = known else {
        let what = "WEBHOOK_URL is set, and no worker has registered it with Teamleader";
        let fix = "a worker that runs with WEBHOOK_URL does it within some seconds: start one, or see its log";
        return if wanted { vec![wrong(what, fix)] } else { Vec::new() };
    };
    let problems = known.problems(account, wanted);
    if problems.is_empty() {
        return vec![Finding::Well(format!("webhooks: {}", known.sentence()))];
    }
    let finding = |problem: WebhookProblem| match problem.is_note {
        true => Finding::Note { what: problem.what, fix: problem.fix },
        false => wrong(problem.what, problem.fix),
    };
    problems.into_iter().map(finding).collect()
}

fn doing(state: &AccountState) -> Finding {
    let what = state.sentence();
    match state.name {
        StateName::WaitingForAuthorization => wrong(
            what,
            "open the worker's /sync/authorize in a browser, or the link that `teamleader2db authorize` prints",
        ),
        StateName::WaitingForApi => Finding::Note {
            what,
            fix: "it tries again by itself; if Teamleader is up, look at the network and the proxies between"
                .to_owned(),
        },
        StateName::WaitingForBudget | StateName::Running | StateName::Idle => Finding::Well(what),
    }
}
