//! The views that are not as they should be, in `teamleader2db.view_problem`.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgExecutor, PgPool};
use tracing::warn;

use crate::store::pool::StoreError;

/// A view that is not as it should be.
#[derive(Clone, Debug, Serialize)]
pub struct ViewProblem {
    /// The view in schema `teamleader_views`.
    pub view: String,
    /// What could not be done, and how to fix it.
    pub problem: String,
    /// When that was first tried in vain.
    pub since: DateTime<Utc>,
}

/// The views that are not as they should be.
pub async fn problems<'e>(of: impl PgExecutor<'e>) -> Result<Vec<ViewProblem>, StoreError> {
    let problems =
        sqlx::query_as!(ViewProblem, "select view, problem, since from teamleader2db.view_problem order by view");
    Ok(problems.fetch_all(of).await?)
}

/// The views that could not be made.
pub(super) async fn unmade(pool: &PgPool) -> Result<Vec<ViewProblem>, StoreError> {
    let mut problems = problems(pool).await?;
    problems.retain(|found| !found.view.ends_with("_wide"));
    Ok(problems)
}

/// Stores the problem of a view, or that it has none.
pub(super) async fn record_problem(pool: &PgPool, view: &str, problem: Option<String>) -> Result<(), StoreError> {
    let Some(problem) = problem else {
        sqlx::query!("delete from teamleader2db.view_problem where view = $1", view).execute(pool).await?;
        return Ok(());
    };
    warn!(view, problem, "The view {view} is not as it should be");
    sqlx::query!(
        "insert into teamleader2db.view_problem as p (view, problem) values ($1, $2)
         on conflict (view) do update set problem = excluded.problem",
        view,
        problem
    )
    .execute(pool)
    .await?;
    Ok(())
}
