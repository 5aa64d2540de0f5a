//! What a shell offers for a value: names of resources, and what the database at `DATABASE_URL` has.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use chrono::SecondsFormat;
use clap_complete::engine::CompletionCandidate;
use secrecy::SecretString;
use sqlx::PgPool;

use super::secret::secret;
use crate::catalog::{self, RESOURCES};
use crate::ids::Account;
use crate::store::pool::{self, StoreError};
use crate::store::{accounts, report};

/// A shell waits for the database no longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many runs are offered, the newest first.
const RUNS: i64 = 20;

/// The names of resources: in the API's spelling, and in the table's where the former does not fit.
pub fn resources(current: &OsStr) -> Vec<CompletionCandidate> {
    let of_api = std::iter::once(catalog::ALL).chain(RESOURCES.iter().map(|resource| resource.name));
    let of_api = beginning_like(current, of_api.map(str::to_owned));
    match of_api.is_empty() {
        true => beginning_like(current, RESOURCES.iter().map(|resource| catalog::table(resource.name))),
        false => of_api,
    }
}

/// The accounts of the copy.
pub fn accounts(current: &OsStr) -> Vec<CompletionCandidate> {
    let known = from_database(async |pool| Ok(accounts::known(&pool).await?.unwrap_or_default()));
    beginning_like(current, known.into_iter())
}

/// The ids of the newest runs of the account that `TEAMLEADER_ACCOUNT` names, with what they are.
pub fn run_ids(current: &OsStr) -> Vec<CompletionCandidate> {
    let account: Option<Account> = match std::env::var("TEAMLEADER_ACCOUNT") {
        Ok(name) => name.parse().ok(),
        Err(_) => "default".parse().ok(),
    };
    let Some(account) = account else { return Vec::new() };
    let runs = from_database(async |pool| report::runs(&pool, &account, None, RUNS).await);
    let current = current.to_string_lossy();
    let offered = runs.into_iter().map(|run| (run.request_id.to_string(), run.status, run.started_at)).enumerate();
    offered
        .filter(|(_, (id, ..))| id.starts_with(&*current))
        .map(|(place, (id, status, at))| {
            let help = format!("{status}, started {}", at.to_rfc3339_opts(SecondsFormat::Secs, true));
            CompletionCandidate::new(id).help(Some(help.into())).display_order(Some(place))
        })
        .collect()
}

fn beginning_like(current: &OsStr, names: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy().to_lowercase();
    names.filter(|name| name.to_lowercase().starts_with(&current)).map(CompletionCandidate::new).collect()
}

/// What the database answers; nothing where there is none, or it does not answer soon. It says nothing about that: it
/// would stand in the midst of the line that is typed.
fn from_database<T>(ask: impl AsyncFnOnce(PgPool) -> Result<Vec<T>, StoreError>) -> Vec<T> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (url, file) = (variable("DATABASE_URL").map(SecretString::from), variable("DATABASE_URL_FILE"));
    let Ok(Some(url)) = secret("DATABASE_URL", url.as_ref(), file.as_deref().map(Path::new)) else {
        return Vec::new();
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    let asked = runtime.block_on(async {
        let answer = async { ask(pool::connect(&url)?).await };
        tokio::time::timeout(PATIENCE, answer).await
    });
    runtime.shutdown_background();
    asked.ok().and_then(Result::ok).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_offered_by_how_they_begin_in_either_spelling() {
        let offered = |current: &str| -> Vec<String> {
            let offered = resources(OsStr::new(current));
            offered.iter().map(|candidate| candidate.get_value().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(offered("con"), ["contacts"]);
        assert_eq!(offered("timeT"), ["timeTracking"]);
        assert_eq!(offered("TIMET"), ["timeTracking"]);
        assert_eq!(offered("time_t"), ["time_tracking"]);
        assert_eq!(offered("al"), ["all"]);
        assert_eq!(offered("projects-v2/t"), ["projects-v2/tasks"]);
        assert_eq!(offered("").len(), RESOURCES.len() + 1);
        assert!(offered("zzz").is_empty());
    }
}
