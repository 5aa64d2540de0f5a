//! The report on a run, as its events have it.

use crate::ids::Account;
use crate::messages::{MAX_ERROR, Mode, ResourceReport, ResourceStatus, RunReport, RunStatus, shortened};
use crate::store::runs::{Run, Step};

/// The report on a run as it stands.
pub fn of_run<C>(account: &Account, run: &Run<C>, status: RunStatus, error: Option<String>) -> RunReport {
    RunReport {
        request_id: run.id.0,
        account: account.clone(),
        mode: Some(run.parameters.mode),
        status,
        started_at: Some(run.started_at),
        finished_at: None,
        api_requests: run.api_requests,
        resources: run
            .steps
            .iter()
            .map(|step| (step.resource.name.to_owned(), of_step(step, account, run.parameters.mode)))
            .collect(),
        forecast: None,
        state: None,
        view_problems: run.view_problems.iter().take(MAX_VIEW_PROBLEMS).map(|problem| bounded(problem)).collect(),
        error: error.as_deref().map(bounded),
    }
}

/// The most characters of a difference between the answers and the documents: an event names up to 50 of each resource.
const MAX_DIFFERENCE: usize = 200;

/// How many views with a problem an event names.
const MAX_VIEW_PROBLEMS: usize = 50;

fn bounded(text: &str) -> String {
    shortened(text.to_owned(), MAX_ERROR)
}

fn of_step<C>(step: &Step<C>, account: &Account, mode: Mode) -> ResourceReport {
    let cause = step.cause.filter(|_| step.status == Some(ResourceStatus::Failed));
    ResourceReport {
        status: step.status.unwrap_or_default(),
        listed: step.counts.listed,
        created: step.counts.created,
        updated: step.counts.updated,
        unchanged: step.counts.unchanged,
        deleted: step.counts.deleted,
        rejected: step.counts.rejected,
        detailed: step.counts.detailed,
        matches: step.matches,
        verified: step.verified,
        error: step.error.as_deref().map(bounded),
        cause,
        advice: cause.map(|cause| cause.advice(account, &[step.resource.name], mode).to_string()),
        drift: step.drift.iter().map(|difference| shortened(difference.clone(), MAX_DIFFERENCE)).collect(),
        audited: (mode == Mode::Audit).then_some(step.counts.audited),
    }
}
