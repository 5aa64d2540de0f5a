//! Brings the schema of the copy up to date, and the views with it.

use sqlx::{AssertSqlSafe, PgPool};

use super::change::{NO_PATIENCE, PATIENCE, advice, change, is_locked};
use super::definitions::{create, definitions};
use super::names;
use super::problems::{ViewProblem, record_problem, unmade};
use super::schema::{MADE_BY, Schema, existing, foundation, made_by};
use crate::store::pool::StoreError;
use crate::store::{self, requirements};

/// Brings the schema up to date, and the views with it. Two processes at once are no harm: one waits for the other.
/// Gives the views that it could not make; those of custom fields are the worker's.
pub async fn migrate(pool: &PgPool) -> Result<Vec<ViewProblem>, StoreError> {
    requirements::check(pool).await?;
    store::schema::migrate(pool).await?;
    apply(pool).await?;
    unmade(pool).await
}

/// Whether the views are those of this program, or of a newer one.
pub async fn are_current(pool: &PgPool) -> Result<bool, StoreError> {
    let schema = Schema::of(pool).await?;
    Ok(schema.is_some_and(|schema| schema.is_newer() || schema.is_current(&definitions())))
}

/// Makes the views that are not as the catalog has them. Each in a transaction of its own, so that nobody waits for
/// more than one; one that cannot be changed is reported in `teamleader2db.view_problem`, and holds nothing else up.
async fn apply(pool: &PgPool) -> Result<(), StoreError> {
    let definitions = definitions();
    let mut schema = Schema::of(pool).await?;
    if schema.is_none() {
        let made = change(pool, &[foundation()], PATIENCE).await?;
        schema = Schema::of(pool).await?;
        // Unless somebody else has made it meanwhile.
        made.or_else(|error| if schema.is_some() { Ok(()) } else { Err(error) })?;
    }
    let Some(schema) = schema else { return Ok(()) };
    let is_good = schema.is_current(&definitions) && unmade(pool).await?.is_empty();
    // A role that does not own the schema has nothing to migrate, either: the owner does both.
    if is_good || schema.is_newer() || !schema.is_ours {
        return Ok(());
    }
    let is_first = !schema.comment.contains(MADE_BY);
    let existing = existing(&mut *pool.acquire().await?, None).await?;
    // Where there is none yet, nobody reads one.
    let are_made = existing.is_empty() && {
        let all: Vec<String> = definitions.iter().map(|view| create(view, None)).collect();
        change(pool, &all, PATIENCE).await?.is_ok()
    };
    let mut patience = PATIENCE;
    for view in definitions.iter().filter(|_| !are_made) {
        let there = existing.get(&view.name);
        let strange = there.into_iter().flat_map(|there| &there.columns);
        let strange = strange.into_iter().find(|known| !view.columns.iter().any(|column| column.name == known.name));
        let problem = match strange {
            Some(strange) => Some(format!(
                "it has a column that this version does not know, {}: if a newer version made it, leave it; else drop \
                 view teamleader_views.{}, and what stands on it: `teamleader2db migrate` makes it again",
                strange.name,
                names::quoted(&view.name)
            )),
            None => change(pool, &[create(view, there)], patience).await?.err().map(|error| {
                patience = if is_locked(&error) { NO_PATIENCE } else { patience };
                advice(&view.name, error, "`teamleader2db migrate`")
            }),
        };
        record_problem(pool, &view.name, problem).await?;
    }
    // What was wrong with a view that is not made any more, or that was made with all others.
    let settled: Vec<String> = definitions.iter().filter(|_| !are_made).map(|view| view.name.clone()).collect();
    sqlx::query!(r"delete from teamleader2db.view_problem where view not like '%\_wide' and view <> all($1)", &settled)
        .execute(pool)
        .await?;
    // Once: later grants and revocations are the database operator's.
    if is_first {
        sqlx::raw_sql(include_str!("rights.sql")).execute(pool).await?;
    }
    let comment = format!("The records of schema teamleader as views with typed columns. {}", made_by(&definitions));
    let comment = format!("comment on schema teamleader_views is {}", names::literal(&comment));
    sqlx::raw_sql(AssertSqlSafe(comment)).execute(pool).await?;
    Ok(())
}
