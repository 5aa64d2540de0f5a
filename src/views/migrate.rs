//! Brings the schema of the copy up to date, and the views with it.

use sqlx::{AssertSqlSafe, PgPool};
use tracing::info;

use super::change::{NO_PATIENCE, PATIENCE, advice, change, is_locked};
use super::ddl::KnownView;
use super::definitions::{create, over};
use super::names;
use super::problems::{ViewProblem, record_problem, unmade};
use super::schema::{MADE_BY, Schema, existing, foundation, made_by};
use super::typed::keep::Typed;
use super::typed::table::Complete;
use crate::store::pool::{self, StoreError};
use crate::store::{self, requirements};

/// What `migrations/0007_views.sql` made for views that read documents.
const SUPERSEDED: [&str; 12] = [
    "invoices_date",
    "invoices_customer",
    "time_tracking_started_on",
    "time_tracking_subject",
    "deals_customer",
    "companies_status",
    "contacts_status",
    "deals_status",
    "invoices_status",
    "invoices_customer_type",
    "invoices_currency",
    "time_tracking_subject_type",
];

/// What a problem of the typed columns is stored as.
const TYPED: &str = "teamleader_typed";

/// Brings the schema up to date, and the views with it. Two processes at once are no harm: one waits for the other.
/// Gives the views that it could not make; those of custom fields are the worker's.
pub async fn migrate(pool: &PgPool) -> Result<Vec<ViewProblem>, StoreError> {
    requirements::check(pool).await?;
    store::schema::migrate(pool).await?;
    let mut schema = Schema::of(pool).await?;
    if schema.is_none() {
        let made = change(pool, &[foundation()], PATIENCE).await?;
        schema = Schema::of(pool).await?;
        // Unless somebody else has made it meanwhile.
        made.or_else(|error| if schema.is_some() { Ok(()) } else { Err(error) })?;
    }
    // A role that does not own the schema has nothing to migrate, either: the owner does both.
    if schema.is_some_and(|schema| schema.is_ours && !schema.is_newer()) {
        let complete = keep_typed(pool).await?;
        apply(pool, &complete).await?;
        drop_superseded(pool, &complete).await?;
    }
    unmade(pool).await
}

/// Whether the views are those of this program, or of a newer one.
pub async fn are_current(pool: &PgPool) -> Result<bool, StoreError> {
    let Some(schema) = Schema::of(pool).await? else { return Ok(false) };
    if schema.is_newer() {
        return Ok(true);
    }
    let typed = Typed::of(pool).await?;
    Ok(typed.is_good() && schema.is_current(&over(&typed.complete())))
}

/// Makes the tables of typed columns, and fills them. Gives those that are complete.
async fn keep_typed(pool: &PgPool) -> Result<Complete, StoreError> {
    let typed = Typed::of(pool).await?;
    if typed.is_good() {
        return Ok(typed.complete());
    }
    if typed.has_outdated() {
        apply(pool, &typed.complete()).await?;
    }
    let problem = Typed::make(pool).await?.err().map(|error| {
        format!(
            "the tables of typed columns could not be made, and the views read documents: {}; `teamleader2db migrate` \
             tries again",
            pool::in_words(&error)
        )
    });
    let is_made = problem.is_none();
    record_problem(pool, TYPED, problem).await?;
    if is_made {
        Typed::of(pool).await?.fill(pool).await?;
    }
    Ok(Typed::of(pool).await?.complete())
}

/// Drops the indexes and statistics over documents that views had before they read typed columns: a sync pays for them.
/// What cannot be dropped now, since somebody reads the table, is with the next migration.
async fn drop_superseded(pool: &PgPool, complete: &Complete) -> Result<(), StoreError> {
    let superseded = sqlx::query!(
        r#"select x.kind as "kind!", x.name as "name!" from (
             select 'index' as kind, c.relname::text as name, t.relname::text as "table" from pg_class c
             join pg_index i on i.indexrelid = c.oid join pg_class t on t.oid = i.indrelid
             where c.relnamespace = 'teamleader'::regnamespace and i.indexprs is not null
             union all
             select 'statistics', s.stxname::text, t.relname::text from pg_statistic_ext s
             join pg_class t on t.oid = s.stxrelid where s.stxnamespace = 'teamleader'::regnamespace) x
           where x."table" = any($1) and x.name = any($2)"#,
        &complete.iter().cloned().collect::<Vec<_>>(),
        &SUPERSEDED.map(str::to_owned)
    );
    for it in superseded.fetch_all(pool).await? {
        let sql = format!("drop {} teamleader.{}", it.kind, names::quoted(&it.name));
        if let Err(error) = change(pool, &[sql], PATIENCE).await? {
            info!("The {} teamleader.{} is left for the next migration: {error}", it.kind, it.name);
        }
    }
    Ok(())
}

/// Makes the views that are not as the catalog has them, over the tables of typed columns that are complete. Each in a
/// transaction of its own, so that nobody waits for more than one; one that cannot be changed is reported in
/// `teamleader2db.view_problem`, and holds nothing else up.
async fn apply(pool: &PgPool, complete: &Complete) -> Result<(), StoreError> {
    let definitions = over(complete);
    let Some(schema) = Schema::of(pool).await? else { return Ok(()) };
    if schema.is_current(&definitions) && unmade(pool).await?.is_empty() {
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
    let documents = over(&Complete::new());
    for (typed, document) in definitions.iter().zip(&documents).filter(|_| !are_made) {
        let there = existing.get(&typed.name);
        let view = if there.is_some_and(KnownView::is_of_its_reader) { document } else { typed };
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
    let settled = definitions.iter().filter(|_| !are_made).map(|view| view.name.clone());
    let settled: Vec<String> = settled.chain([TYPED.to_owned()]).collect();
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
