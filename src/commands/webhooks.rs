//! `webhooks`: what is registered with Teamleader, which calls have come, and what was missed; registers and removes by
//! hand.

use std::time::Duration;

use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use super::outcome::Outcome;
use super::terminal::{self, one_line};
use crate::config::CopyArgs;
use crate::ids::Account;
use crate::store::hints::loss::{self, Loss};
use crate::store::hints::registration::{self, Registration, Want};
use crate::store::hints::{self, TypeRow};
use crate::store::{accounts, pool, schema};

/// How long a worker is waited for that does what was asked.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether it is done.
const LOOKS_EVERY: Duration = Duration::from_millis(200);

/// The arguments of `webhooks`.
#[derive(Args, Debug)]
pub struct WebhooksArgs {
    /// What to do; without it what is known is shown
    #[arg(value_enum)]
    action: Option<Action>,
    /// With unregister: the addresses below WEBHOOK_URL whose secret no key of TOKEN_ENCRYPTION_KEY gives, and not the
    /// worker's own
    #[arg(long)]
    stale: bool,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    copy: CopyArgs,
}

/// What a worker is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Register what is missing, and remove own addresses that are out of date
    Register,
    /// Remove the worker's own addresses; while WEBHOOK_URL is set they come back within a day
    Unregister,
}

/// What is known.
struct Known {
    registration: Registration,
    types: Vec<TypeRow>,
    losses: Vec<Loss>,
    waiting: (i64, f64),
}

impl WebhooksArgs {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<Outcome> {
        if self.stale && self.action != Some(Action::Unregister) {
            terminal::complain("--stale goes with unregister: teamleader2db webhooks unregister --stale");
            return Ok(Outcome::Usage);
        }
        let (pool, account) = (pool::open(&self.copy.database_url()?).await?, self.copy.account());
        schema::check(&pool).await?;
        if let Some(unknown) = accounts::unknown(&pool, account).await? {
            return Err(unknown.into());
        }
        let want = match self.action {
            None => None,
            Some(Action::Register) => Some(Want::Register),
            Some(Action::Unregister) if self.stale => Some(Want::UnregisterStale),
            Some(Action::Unregister) => Some(Want::Unregister),
        };
        if let Some(want) = want
            && let Some(why) = carried_out(&pool, account, want).await?
        {
            terminal::complain(&why);
            return Ok(Outcome::Failed);
        }
        let known = Known {
            registration: registration::read(&pool, account).await?,
            types: hints::types(&pool, account).await?,
            losses: loss::all(&pool, account).await?,
            waiting: hints::waiting(&pool, account).await?,
        };
        terminal::print(&if self.json { known.json() } else { known.text() });
        Ok(Outcome::Done)
    }
}

/// Asks the worker, and waits until it is done. Why it is not, if so.
async fn carried_out(pool: &PgPool, account: &Account, want: Want) -> anyhow::Result<Option<String>> {
    let asked_at = registration::ask(pool, account, want).await?;
    let ends_at = Instant::now() + PATIENCE;
    loop {
        let known = registration::read(pool, account).await?;
        if known.wanted_at != Some(asked_at) {
            return Ok(known.error);
        }
        if Instant::now() > ends_at {
            return Ok(Some(format!(
                "no worker has done it within {} s: it takes one that runs with WEBHOOK_URL and is authorized \
                 (`teamleader2db status` shows what it waits for); it is done once there is one",
                PATIENCE.as_secs()
            )));
        }
        sleep(LOOKS_EVERY).await;
    }
}

impl Known {
    fn json(&self) -> String {
        let Self { registration: of, types, losses, waiting } = self;
        json!({
            "registered": of.address.is_some(),
            "types": of.types,
            "confirmed_at": of.confirmed_at,
            "tried_at": of.tried_at,
            "error": of.error,
            "addresses": of.found,
            "calls": types,
            "changes": losses,
            "missed_share": share(losses.iter()),
            "waiting": { "hints": waiting.0, "oldest_seconds": waiting.1 },
        })
        .to_string()
    }

    fn text(&self) -> String {
        let Self { registration: of, types, losses, waiting } = self;
        let mut lines = vec![match (&of.error, of.address.is_some(), of.confirmed_at) {
            (Some(error), _, _) => format!("not registered as they should be: {}", one_line(error)),
            (None, true, Some(since)) => {
                let since = since.format("%Y-%m-%d %H:%M:%SZ");
                format!("registered for {} types since {since}", of.types.len())
            }
            (None, ..) if of.tried_at.is_none() => {
                "never registered: a worker does it that runs with WEBHOOK_URL".to_owned()
            }
            (None, ..) => "not registered".to_owned(),
        }];
        let addresses = of
            .found
            .iter()
            .map(|found| [one_line(&found.address), found.owner.clone(), found.types.to_string()].to_vec());
        lines.extend(table(&["address", "whose", "types"], 2, addresses));
        let calls = types.iter().map(|row| {
            [row.name.clone(), row.calls.to_string(), row.last_at.format("%Y-%m-%d %H:%M:%SZ").to_string()].to_vec()
        });
        lines.extend(table(&["type", "calls", "last"], 1, calls));
        let changes = losses.iter().map(|loss| {
            let Loss { resource, shown, late, missed } = loss;
            let share = share(std::iter::once(loss)).map_or("-".to_owned(), percent);
            [resource.clone(), shown.to_string(), late.to_string(), missed.to_string(), share].to_vec()
        });
        lines.extend(table(&["changes of", "by webhooks", "late", "missed", "share missed"], 1, changes));
        if waiting.0 > 0 {
            lines.push(format!("{} records wait for a look, the first for {:.0} s", waiting.0, waiting.1));
        }
        lines.join("\n")
    }
}

/// A table with an empty line before it; nothing without rows. Columns from `right` on are aligned to the right.
fn table(header: &[&str], right: usize, rows: impl Iterator<Item = Vec<String>>) -> Option<String> {
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return None;
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(header.to_vec());
    for column in right..header.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.add_rows(rows);
    Some(format!("\n{table}"))
}

/// The share of changes that no call announced, from 0 to 1; `None`: there were none.
#[allow(clippy::cast_precision_loss)]
fn share<'a>(losses: impl Iterator<Item = &'a Loss>) -> Option<f64> {
    let (missed, all) =
        losses.fold((0, 0), |(missed, all), loss| (missed + loss.missed, all + loss.missed + loss.late + loss.shown));
    (all > 0).then(|| missed as f64 / all as f64)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
