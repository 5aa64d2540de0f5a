//! The account: what it is doing, or waits for, and what it waits for an operator to decide.

use super::args::DoctorArgs;
use super::finding::{Finding, wrong};
use crate::messages::{AccountState, Cause, Mode, StateName};
use crate::store::pool::{self, StoreError};
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
    Ok(findings)
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
