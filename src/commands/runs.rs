//! `runs` and `run ID`: what was asked for, and what came of it.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::Args;
use clap_complete::ArgValueCompleter;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::outcome::Outcome;
use super::terminal::{self, one_line};
use crate::config::{CopyArgs, completion};
use crate::messages::{Mode, Parameters};
use crate::store::report::{self, RunStatusRow, Which};
use crate::store::{accounts, pool, schema};

/// A part of an id has to be at least this long.
const MIN_PREFIX: usize = 8;

/// At most this many ids are named where a part of one means several.
const IDS_NAMED: i64 = 5;

/// Up to this number of resources of a run are named in its row.
const RESOURCES_NAMED: usize = 3;

/// The counts of a resource, with the words that a table has for them.
const COUNTS: [(&str, &str); 7] = [
    ("listed", "listed"),
    ("created", "created"),
    ("updated", "updated"),
    ("unchanged", "unchanged"),
    ("deleted", "deleted"),
    ("rejected", "rejected"),
    ("detailed", "details"),
];

/// What an audit counts.
const FINDINGS: [&str; 3] = ["missing", "stale", "wrong"];

/// The arguments of `runs`.
#[derive(Args, Debug)]
pub struct RunsArgs {
    /// At most this many, the newest first
    #[arg(long, default_value = "20", value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Only those with this status
    #[arg(long, value_name = "STATUS", value_parser = ["running", "completed", "partial", "failed", "cancelled"])]
    status: Option<String>,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    copy: CopyArgs,
}

/// The arguments of `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The request's id, or its beginning: at least 8 characters
    #[arg(add = ArgValueCompleter::new(completion::run_ids))]
    id: String,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    copy: CopyArgs,
}

impl RunsArgs {
    /// Prints them.
    pub async fn run(self) -> anyhow::Result<Outcome> {
        let (pool, account) = (open(&self.copy).await?, self.copy.account());
        let which = Which { status: self.status.clone(), ..Which::default() };
        let runs = report::runs_that(&pool, account, &which, self.limit.into()).await?;
        let that = self.status.map(|status| format!(" that is {status}")).unwrap_or_default();
        terminal::print(&match runs.is_empty() {
            _ if self.json => json!(runs).to_string(),
            true => format!("account {account} has no run{that}"),
            false => in_rows(&runs).to_string(),
        });
        Ok(Outcome::Done)
    }
}

impl RunArgs {
    /// Prints it.
    pub async fn run(self) -> anyhow::Result<Outcome> {
        let account = self.copy.account();
        let prefix = self.id.to_ascii_lowercase();
        let asked = one_line(&self.id);
        if prefix.len() < MIN_PREFIX {
            let refusal = format!("{asked} is too short: give at least {MIN_PREFIX} characters of the id");
            terminal::complain(&refusal);
            return Ok(Outcome::Usage);
        }
        let pool = open(&self.copy).await?;
        let which = Which { prefix: Some(prefix), ..Which::default() };
        let found = report::runs_that(&pool, account, &which, IDS_NAMED).await?;
        match found.as_slice() {
            [run] => {
                terminal::print(&if self.json { json!(run).to_string() } else { whole(run) });
                Ok(Outcome::Done)
            }
            [] => {
                let all = "`teamleader2db runs` shows those that are there";
                terminal::complain(&format!("account {account} has no run {asked}: {all}"));
                Ok(Outcome::Failed)
            }
            several => {
                let ids: Vec<String> = several.iter().map(|run| run.request_id.to_string()).collect();
                terminal::complain(&format!("{asked} means several runs: {}", ids.join(", ")));
                Ok(Outcome::Usage)
            }
        }
    }
}

/// The copy, if it has the account.
async fn open(copy: &CopyArgs) -> anyhow::Result<PgPool> {
    let pool = pool::open(&copy.database_url()?).await?;
    schema::check(&pool).await?;
    match accounts::unknown(&pool, copy.account()).await? {
        Some(unknown) => Err(unknown.into()),
        None => Ok(pool),
    }
}

fn in_rows(runs: &[RunStatusRow]) -> Table {
    let mut table = table(&["run", "mode", "resources", "status", "started", "lasted", "requests", "rows"], &[6]);
    for run in runs {
        let asked = parameters(run);
        table.add_row([
            run.request_id.to_string(),
            if run.request.is_null() { "-".to_owned() } else { asked.mode.as_str().to_owned() },
            if run.request.is_null() { "-".to_owned() } else { resources(run, &asked) },
            one_line(&run.status),
            time(run.started_at),
            lasted(run),
            run.api_requests.to_string(),
            counts(run, asked.mode),
        ]);
    }
    table
}

fn whole(run: &RunStatusRow) -> String {
    let asked = parameters(run);
    let mut lines = vec![format!("run {}: {}", run.request_id, one_line(&run.status))];
    let named = asked.resources.as_ref().map_or_else(|| "all resources".to_owned(), |names| names.join(", "));
    lines.push(match run.request.is_null() {
        true => "  asked for: unknown, it was cancelled before a worker knew it".to_owned(),
        false => format!("  asked for: {} of {}{}", asked.mode.as_str(), one_line(&named), options(&asked)),
    });
    let finished = run.finished_at.map(|at| format!(", finished {}", time(at))).unwrap_or_default();
    lines.push(format!("  started {}{finished}, lasted {}", time(run.started_at), lasted(run)));
    lines.push(format!("  {} requests to the API", run.api_requests));
    if let Some(error) = &run.error {
        lines.push(format!("  error: {}", one_line(error)));
    }
    lines.push(String::new());
    let audits: &[&str] = if asked.mode == Mode::Audit { &FINDINGS } else { &[] };
    let heads: Vec<&str> = COUNTS.iter().map(|(_, head)| *head).chain(audits.iter().copied()).collect();
    let numbers: Vec<usize> = (2..2 + heads.len()).collect();
    let mut table = table(&[&["resource", "status"], &heads[..], &["verified"]].concat(), &numbers);
    let mut errors = Vec::new();
    for (name, resource) in run.resources.as_object().into_iter().flatten() {
        let word = |key: &str| resource.get(key).and_then(Value::as_str);
        let numbers = COUNTS.iter().map(|(key, _)| *key).chain(audits.iter().copied());
        let verified = match resource.get("verified").and_then(Value::as_bool) {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        let status = word("status").or_else(|| word("phase")).unwrap_or("-");
        let row = [one_line(name), one_line(status)].into_iter();
        table.add_row(row.chain(numbers.map(|key| number(resource, key).to_string())).chain([verified.to_owned()]));
        errors.extend(word("error").map(|error| format!("\n{}: {}", one_line(name), one_line(error))));
    }
    format!("{}{table}{}", lines.join("\n") + "\n", errors.concat())
}

/// What was asked for. Of a later version's request what this one knows.
fn parameters(run: &RunStatusRow) -> Parameters {
    serde_json::from_value(run.request.clone()).unwrap_or_default()
}

fn options(asked: &Parameters) -> String {
    let set = [
        (asked.refetch, "refetch".to_owned()),
        (asked.allow_deletions, "allow_deletions".to_owned()),
        (asked.repair, "repair".to_owned()),
        (asked.ids.is_some(), format!("{} ids", asked.ids.as_ref().map_or(0, Vec::len))),
        (asked.sample.is_some(), format!("a sample of {}", asked.sample.unwrap_or_default())),
    ];
    set.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| format!(", {name}")).collect()
}

/// The resources that were asked for; of all, how many they are.
fn resources(run: &RunStatusRow, asked: &Parameters) -> String {
    let Some(names) = &asked.resources else {
        return format!("all ({})", run.resources.as_object().map_or(0, serde_json::Map::len));
    };
    let named = names.iter().take(RESOURCES_NAMED).map(|name| one_line(name)).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(RESOURCES_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Over all resources: created, updated, deleted; of an audit what it found.
fn counts(run: &RunStatusRow, mode: Mode) -> String {
    let sum = |key: &str| run.resources.as_object().into_iter().flatten().map(|(_, of)| number(of, key)).sum::<i64>();
    match mode {
        Mode::Audit => FINDINGS.map(|key| format!("{} {key}", sum(key))).join(", "),
        Mode::Full | Mode::Incremental => {
            format!("+{} ~{} -{}", sum("created"), sum("updated"), sum("deleted"))
        }
    }
}

fn number(resource: &Value, key: &str) -> i64 {
    resource.get(key).and_then(Value::as_i64).unwrap_or(0)
}

fn lasted(run: &RunStatusRow) -> String {
    match run.finished_at {
        Some(at) => duration(at - run.started_at),
        None => format!("{} so far", duration(Utc::now() - run.started_at)),
    }
}

/// `4 s`, `3 min 20 s`, `2 h 5 min`.
fn duration(lasted: TimeDelta) -> String {
    let seconds = lasted.num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn table(heads: &[&str], numbers: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(heads);
    for column in numbers {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_two_units_at_most() {
        for (seconds, said) in [(0, "0 s"), (59, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (-3, "0 s")] {
            assert_eq!(duration(TimeDelta::seconds(seconds)), said);
        }
    }
}
