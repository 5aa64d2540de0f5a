//! `status`: a table, a resource a row, and the problems.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use clap_complete::ArgValueCompleter;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;
use sqlx::PgPool;

use super::outcome::Outcome;
use super::terminal::{self, one_line};
use crate::broker::queues::{self, Depths};
use crate::catalog;
use crate::config::{AmqpArgs, CopyArgs, completion};
use crate::ids::Account;
use crate::messages::{
    AccountState, Cause, Mode, QueueState, ResourceStatus, StateName, command, distance, request_command,
};
use crate::store::accounts;
use crate::store::pool::{self, StoreError};
use crate::store::progress::{self, HeldDeletions};
use crate::store::records;
use crate::store::rejected::{self, RejectedRecord};
use crate::store::report::{self, AuditState, Shortfall, TableStatus, WebhookState};
use crate::store::tokens::authorization::{self, Authorization};
use crate::store::{schema, state};
use crate::views::{self, ViewProblem};

/// A broker that does not answer within this is shown as one that could not be asked.
const BROKER_PATIENCE: Duration = Duration::from_secs(3);

/// How many rejected records of a resource are named.
const REJECTED_SHOWN: i64 = 5;

/// What the help shows of it.
const EXAMPLES: &str = "\
Examples:
  teamleader2db status                               a table, and what is wrong below it
  teamleader2db status --json | jq '.resources[]'    for programs";

/// The arguments of `status`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct StatusArgs {
    /// Which resources; all unless named
    #[arg(value_name = "RESOURCE", value_delimiter = ',', add = ArgValueCompleter::new(completion::resources))]
    resources: Vec<String>,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    copy: CopyArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
}

impl StatusArgs {
    /// Prints it.
    pub async fn run(self) -> anyhow::Result<Outcome> {
        let pool = pool::open(&self.copy.database_url()?).await?;
        schema::check(&pool).await?;
        if let Some(unknown) = accounts::unknown(&pool, self.copy.account()).await? {
            return Err(unknown.into());
        }
        let names = match self.named() {
            Ok(names) => names,
            Err(unknown) => {
                terminal::complain(&unknown);
                return Ok(Outcome::Usage);
            }
        };
        let looked = look(&pool, self.copy.account(), self.queue().await, &names).await?;
        terminal::print(&if self.json {
            as_json(self.copy.account(), &looked)
        } else {
            as_text(self.copy.account(), looked)
        });
        Ok(Outcome::Done)
    }

    /// The resources that are asked for; none: all.
    fn named(&self) -> Result<Vec<&'static str>, String> {
        let all = self.resources.iter().any(|name| name == catalog::ALL);
        let names = self.resources.iter().filter(|_| !all);
        names
            .map(|name| catalog::resolve(name).map(|resource| resource.name).map_err(|error| error.to_string()))
            .collect()
    }

    /// What the broker says of the queues; `None` without AMQP_URL, or where it cannot be asked.
    async fn queue(&self) -> Option<Depths> {
        let url = self.amqp.url_if_set().ok()??;
        let names = self.amqp.names(self.copy.account()).ok()?;
        tokio::time::timeout(BROKER_PATIENCE, queues::depths(&url, &names)).await.ok()?.ok()
    }
}

/// What is shown of an account.
struct Looked {
    /// The database's clock, as most times are: how long ago they are does not follow from this machine's.
    now: DateTime<Utc>,
    tables: Vec<TableStatus>,
    shortfalls: Vec<Shortfall>,
    authorization: Authorization,
    state: AccountState,
    queue: Option<QueueState>,
    webhooks: Option<WebhookState>,
    audit: Option<AuditState>,
    held: Vec<HeldDeletions>,
    rejected: Vec<RejectedRecord>,
    rejected_counts: Vec<(String, i64)>,
    views: Vec<ViewProblem>,
}

/// Looks at the account; of its resources at those that are named, or at all.
async fn look(pool: &PgPool, account: &Account, depths: Option<Depths>, names: &[&str]) -> Result<Looked, StoreError> {
    let is_asked = |resource: &str| names.is_empty() || names.contains(&resource);
    let (mut tables, mut shortfalls) =
        (report::tables(pool, account, None).await?, report::shortfalls(pool, account).await?);
    let mut held = progress::held_deletions(pool, account).await?;
    let mut rejected = rejected::first(pool, account, REJECTED_SHOWN).await?;
    tables.retain(|table| is_asked(&table.resource));
    shortfalls.retain(|shortfall| is_asked(&shortfall.resource));
    held.retain(|held| is_asked(&held.resource));
    rejected.retain(|record| is_asked(&record.resource));
    let usual = report::usual_requests(pool, account).await?;
    let has_consumer = depths.and_then(|depths| depths.has_consumer());
    Ok(Looked {
        now: records::clock(pool).await?,
        rejected_counts: match rejected.is_empty() {
            true => Vec::new(),
            false => rejected::counts(pool, account, &resources(&rejected)).await?,
        },
        tables,
        shortfalls,
        authorization: authorization::authorization(pool, account).await?,
        state: state::of(pool, account).await?.with_consumer(has_consumer),
        queue: depths.map(|depths| depths.state(usual)),
        webhooks: report::webhooks(pool, account).await?,
        audit: report::audit(pool, account).await?,
        held,
        rejected,
        views: views::problems(pool).await?,
    })
}

fn as_json(account: &Account, looked: &Looked) -> String {
    let known = &looked.authorization;
    let shown = json!({
        "account": account,
        "authorized": known.authorized,
        "reason": known.reason,
        "state": looked.state,
        "queue": looked.queue,
        "webhooks": looked.webhooks,
        "audit": looked.audit,
        "resources": looked.tables,
        "shortfalls": looked.shortfalls,
        "held": looked.held,
        "rejected": looked.rejected,
        "view_problems": looked.views,
    });
    shown.to_string()
}

fn as_text(account: &Account, looked: Looked) -> String {
    let Looked { now, tables, shortfalls, authorization, state, held, rejected, rejected_counts, views, .. } = looked;
    let problems = failures(account, &shortfalls, now)
        + &holds(account, &held, now)
        + &problems(account, &tables, &views, now)
        + &rejections(account, &rejected, &rejected_counts, now);
    let problems = if problems.is_empty() { problems } else { format!("\n{problems}") };
    let state_now = one_line(&state.sentence_at(now));
    let mut above = vec![format!("account {account}: {state_now}"), authorization_as_text(authorization)];
    // Without an authorization no worker reads the queue.
    if state.no_consumer == Some(true) && state.name != StateName::WaitingForAuthorization {
        above.push(format!("no worker reads the queue: {}", command(account, "worker", "")));
    }
    above.extend(looked.queue.and_then(|queue| queue.sentence()));
    above.extend(looked.webhooks.map(|webhooks| format!("webhooks: {}", one_line(&webhooks.sentence()))));
    above.extend(looked.audit.map(|audit| format!("audit: {}", audit.sentence())));
    format!("{}\n{}{problems}", above.join("\n"), in_rows(tables, &shortfalls, now))
}

fn in_rows(tables: Vec<TableStatus>, shortfalls: &[Shortfall], now: DateTime<Utc>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["resource", "rows", "last success", "watermark", "stale details", "deleted", "last sync"]);
    for column in [1, 4, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for row in tables {
        let shortfall = shortfalls.iter().find(|shortfall| shortfall.resource == row.resource);
        let last_sync = match (shortfall, row.last_success_at) {
            (Some(shortfall), _) => &shortfall.status,
            (None, Some(_)) => "completed",
            (None, None) => "-",
        };
        table.add_row([
            row.resource.as_str(),
            &row.rows.to_string(),
            &row.last_success_at.map_or_else(none, |at| time(at, now)),
            &row.watermark.map_or_else(none, instant),
            &row.stale_details.to_string(),
            &row.deleted.to_string(),
            last_sync,
        ]);
    }
    table
}

fn authorization_as_text(known: Authorization) -> String {
    match (known.authorized, known.authorized_by, known.reason) {
        (true, Some(by), _) => format!("authorized by {}", one_line(&by)),
        (true, None, _) => "authorized".to_owned(),
        (false, _, reason) => format!(
            "NOT authorized ({}): open the worker's /sync/authorize in a browser, or the link that `teamleader2db \
             authorize` prints",
            one_line(&reason.unwrap_or_default())
        ),
    }
}

/// The resources that failed or were skipped, below the table: in its cells they would make it wide. What to do about
/// those that failed, once for each cause and kind of run.
fn failures(account: &Account, shortfalls: &[Shortfall], now: DateTime<Utc>) -> String {
    let mut said = String::new();
    for shortfall in shortfalls {
        let error = shortfall.error.as_deref().unwrap_or("no reason is known").trim_end_matches('.');
        let (error, at) = (one_line(error), time(shortfall.at, now));
        said.push_str(&format!("\n{} {} at {at}: {error}", shortfall.resource, shortfall.status));
    }
    // What is held is said of all that is, below.
    let failed = shortfalls.iter().filter(|shortfall| shortfall.status == ResourceStatus::Failed.as_str());
    let causes = failed.map(|shortfall| (shortfall.cause.unwrap_or(Cause::Unknown), shortfall));
    let causes = causes.filter(|(cause, _)| *cause != Cause::DeletionsHeld);
    let advice = Cause::advice_on(account, causes.map(|(cause, of)| (cause, of.mode, of.resource.as_str())));
    advice.iter().for_each(|advice| said.push_str(&format!("\n  {advice}")));
    said
}

/// Deletions that are held, also where the failure that said so is no longer the last sync.
fn holds(account: &Account, held: &[HeldDeletions], now: DateTime<Utc>) -> String {
    let mut said = String::new();
    for HeldDeletions { resource, missing, rows, since } in held {
        said.push_str(&format!(
            "\n{missing} of {rows} {resource} are missing from Teamleader since {}, and were not marked deleted",
            time(*since, now)
        ));
    }
    if !held.is_empty() {
        let names: Vec<&str> = held.iter().map(|held| held.resource.as_str()).collect();
        said.push_str(&format!("\n  {}", Cause::DeletionsHeld.advice(account, &names, Mode::Full)));
    }
    said
}

/// What else is not as it should be, and what to do about it.
fn problems(account: &Account, tables: &[TableStatus], views: &[ViewProblem], now: DateTime<Utc>) -> String {
    let mut said = String::new();
    let stale: i64 = tables.iter().map(|table| table.stale_details).sum();
    if stale > 0 {
        said.push_str(&format!(
            "\n{stale} details are missing or stale: a sync fetches them, 200 a minute at most; if none runs: {}",
            request_command(account, &[], "")
        ));
    }
    for ViewProblem { view, problem, since } in views {
        let (view, problem, since) = (one_line(view), one_line(problem), time(*since, now));
        said.push_str(&format!("\nthe view {view} is not as it should be since {since}: {problem}"));
    }
    said
}

/// The resources of these records, each once.
fn resources(rejected: &[RejectedRecord]) -> Vec<String> {
    let names: BTreeSet<&str> = rejected.iter().map(|record| record.resource.as_str()).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Which records could not be read or stored, the first of each resource, and what to do about them.
fn rejections(account: &Account, rejected: &[RejectedRecord], counts: &[(String, i64)], now: DateTime<Utc>) -> String {
    let mut said = String::new();
    for (resource, count) in counts {
        said.push_str(&format!("\n{count} {resource} could not be read or stored:"));
        let theirs = rejected.iter().filter(|record| record.resource == *resource);
        for RejectedRecord { id, reason, first_at, .. } in theirs {
            let since = time(*first_at, now);
            said.push_str(&format!("\n  {id} since {since}: {}", one_line(reason)));
        }
    }
    if !said.is_empty() {
        let names: Vec<&str> = counts.iter().map(|(resource, _)| resource.as_str()).collect();
        said.push_str("\n  look at them in Teamleader and save them again; each sync asks for them again: ");
        said.push_str(&request_command(account, &names, ""));
    }
    said
}

/// A time, and how long ago it is.
fn time(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{}, {}", instant(at), distance(at, now))
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// In the place of a time that there is not.
fn none() -> String {
    "-".to_owned()
}
