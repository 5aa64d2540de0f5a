//! `migrate`: brings the database's schema up to date.

use super::outcome::Outcome;
use super::terminal;
use crate::config::DatabaseArgs;
use crate::store::pool;
use crate::views;

/// Migrates the schema and the views.
pub async fn run(database: &DatabaseArgs) -> anyhow::Result<Outcome> {
    let problems = views::migrate(&pool::open(&database.url()?).await?).await?;
    terminal::print("the schema is up to date");
    for found in &problems {
        terminal::print(&format!("the view {} is not as it should be: {}", found.view, found.problem));
    }
    Ok(if problems.is_empty() { Outcome::Done } else { Outcome::Partial })
}
