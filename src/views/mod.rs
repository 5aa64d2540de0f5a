//! Schema `teamleader_views`: the records as typed columns, for people and the programs that they query with.
//!
//! Teamleader's fields stand in the API's blueprint, so the views are made from that and the catalog. They are made by whoever migrates the
//! schema; those with a column a custom field by the worker, after each sync (see [`wide`]). What others have built on a view is never
//! dropped: a view that is there gains columns and changes in nothing else.

mod column;
mod custom_field;
mod definition;
#[cfg(test)]
mod document;
mod fixed;
#[cfg(test)]
mod kept;
mod model;
pub mod names;
pub mod wide;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection, PgExecutor, PgPool, Postgres, Transaction};
use tracing::warn;
use xxhash_rust::xxh3::xxh3_128;

use crate::store::pool::{self, StoreError};
use crate::store::{requirements, sqlstate};
use column::{Column, Type};
pub use custom_field::contexts_of_no_resource;
use definition::{Existing, Known, KnownView};
use fixed::Fixed;

/// How long to wait for those who read a view that is to be changed. Others who want to read it wait behind.
const PATIENCE: &str = "set local lock_timeout = '2s'";

/// The same once one was waited for in vain: whoever reads one view for long, a backup for one, may read them all.
const NO_PATIENCE: &str = "set local lock_timeout = '20ms'";

/// Whoever changes a view holds this lock of the database until it is changed, so that no two do at a time.
const LOCK: &str = "select pg_advisory_xact_lock(hashtext('teamleader_views'))";

/// Brings the schema up to date, and the views with it. Two processes at once are no harm: one waits for the other. Gives the views that it
/// could not make; those of custom fields are the worker's.
pub async fn migrate(pool: &PgPool) -> Result<Vec<ViewProblem>, StoreError> {
    requirements::check(pool).await?;
    pool::migrate(pool).await?;
    make(pool).await?;
    unmade(pool).await
}

/// The views that could not be made.
async fn unmade(pool: &PgPool) -> Result<Vec<ViewProblem>, StoreError> {
    let mut problems = problems(pool).await?;
    problems.retain(|found| !found.view.ends_with("_wide"));
    Ok(problems)
}

/// Whether the views are those of this program, or of a newer one.
pub async fn are_current(pool: &PgPool) -> Result<bool, StoreError> {
    let schema = Schema::of(pool).await?;
    Ok(schema.is_some_and(|schema| schema.is_newer() || schema.is_current(&definitions())))
}

/// What there is of the schema.
struct Schema {
    is_ours: bool,
    comment: String,
    /// The names of the views that are there.
    views: Vec<String>,
}

impl Schema {
    /// `None` if there is none.
    async fn of(pool: &PgPool) -> Result<Option<Self>, StoreError> {
        let schema = sqlx::query_as!(
            Self,
            r#"select pg_has_role(nspowner, 'usage') as "is_ours!", coalesce(obj_description(oid, 'pg_namespace'), '') as "comment!",
                 array(select relname::text from pg_class where relnamespace = n.oid and relkind = 'v') as "views!"
             from pg_namespace n where nspname = 'teamleader_views'"#
        );
        Ok(schema.fetch_optional(pool).await?)
    }

    /// Whether the views are there as this program makes them.
    fn is_current(&self, definitions: &[Fixed]) -> bool {
        self.comment.ends_with(&made_by(definitions)) && definitions.iter().all(|view| self.views.contains(&view.name))
    }

    /// Whether a newer program made the views.
    fn is_newer(&self) -> bool {
        self.made_by() > version(env!("CARGO_PKG_VERSION"))
    }

    /// The version of the program that made the views; `None` before they are made.
    fn made_by(&self) -> Option<Vec<u32>> {
        let (_, rest) = self.comment.split_once(MADE_BY)?;
        version(rest.split_once(',')?.0)
    }
}

/// How what is said of the schema ends, once the views are made.
fn made_by(definitions: &[Fixed]) -> String {
    let made: String = definitions.iter().map(|view| create(view, None)).collect();
    format!("{MADE_BY}{}, definition {:032x}.", env!("CARGO_PKG_VERSION"), xxh3_128(made.as_bytes()))
}

const MADE_BY: &str = "Made by teamleader2db ";

/// The numbers of a version, which can be compared.
fn version(text: &str) -> Option<Vec<u32>> {
    text.split(['-', '+']).next()?.split('.').map(|number| number.parse().ok()).collect()
}

/// What the schema stands on, as the migration has it that made it: for one that was dropped, or not restored.
fn foundation() -> &'static str {
    let migration = include_str!("../../migrations/0007_views.sql");
    migration.split_once("create table").map_or(migration, |(schema_and_functions, _)| schema_and_functions)
}

/// Makes the views that are not as the catalog has them. Each in a transaction of its own, so that nobody waits for more than one; one that
/// cannot be changed is told in `teamleader2db.view_problem`, and keeps nothing else from being done.
async fn make(pool: &PgPool) -> Result<(), StoreError> {
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
    // Who does not own the schema has nothing to migrate, either: the owner does both.
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
                "it has a column that this version does not know, {}: if a newer version made it, leave it; else drop view \
                 teamleader_views.{}, and what stands on it: `teamleader2db migrate` makes it anew",
                strange.name,
                names::quoted(&view.name)
            )),
            None => change(pool, &[create(view, there)], patience).await?.err().map(|error| {
                patience = if is_locked(&error) { NO_PATIENCE } else { patience };
                in_words(&view.name, error, "`teamleader2db migrate`")
            }),
        };
        settle(pool, &view.name, problem).await?;
    }
    // What was wrong with a view that is not made any more, or that was made with all others.
    let settled: Vec<String> = definitions.iter().filter(|_| !are_made).map(|view| view.name.clone()).collect();
    sqlx::query!(r"delete from teamleader2db.view_problem where view not like '%\_wide' and view <> all($1)", &settled)
        .execute(pool)
        .await?;
    // Once: what is granted and taken away later is for whoever runs the database.
    if is_first {
        sqlx::raw_sql(include_str!("rights.sql")).execute(pool).await?;
    }
    let comment = format!("The records of schema teamleader as views with typed columns. {}", made_by(&definitions));
    let comment = format!("comment on schema teamleader_views is {}", names::literal(&comment));
    sqlx::raw_sql(AssertSqlSafe(comment)).execute(pool).await?;
    Ok(())
}

/// A transaction to change a view in. The inner error is the server's refusal, as of all that is done to views.
async fn begin(
    pool: &PgPool,
    patience: &str,
) -> Result<Result<Transaction<'static, Postgres>, sqlx::Error>, StoreError> {
    let mut tx = pool::begin(pool).await?;
    Ok(execute(&mut tx, &[LOCK, patience]).await?.map(|()| tx))
}

/// Runs statements in a transaction. The inner error is the server's refusal: nothing was done then.
async fn change<S: AsRef<str>>(
    pool: &PgPool,
    statements: &[S],
    patience: &str,
) -> Result<Result<(), sqlx::Error>, StoreError> {
    let mut tx = match begin(pool, patience).await? {
        Ok(tx) => tx,
        Err(error) => return Ok(Err(error)),
    };
    if let Err(error) = execute(&mut tx, statements).await? {
        return Ok(Err(error));
    }
    tx.commit().await?;
    Ok(Ok(()))
}

/// The same in a transaction that was begun.
async fn execute<S: AsRef<str>>(
    connection: &mut PgConnection,
    statements: &[S],
) -> Result<Result<(), sqlx::Error>, StoreError> {
    for sql in statements {
        match sqlx::raw_sql(AssertSqlSafe(sql.as_ref().to_owned())).execute(&mut *connection).await {
            Ok(_) => {}
            Err(error) if error.as_database_error().is_some() => return Ok(Err(error)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Ok(()))
}

/// SQLSTATE of a lock that was waited for in vain.
const LOCKED: &str = "55P03";

fn is_locked(error: &sqlx::Error) -> bool {
    pool::sqlstate(error).as_deref() == Some(LOCKED)
}

/// What could not be done to a view, and how to mend it.
fn in_words(view: &str, error: sqlx::Error, again: &str) -> String {
    let view = format!("teamleader_views.{}", names::quoted(view));
    let code = pool::sqlstate(&error).unwrap_or_default().into_owned();
    let what = pool::in_words(&error);
    let mend = match code.as_str() {
        LOCKED => format!("somebody reads it just now: {again} tries again"),
        sqlstate::FORBIDDEN => format!(
            "give the program's role the rights of docs/operations.md; if the view is another role's: alter view {view} owner to the program's"
        ),
        "42809" => format!("something else has its name: rename that, and {again} makes the view"),
        // The columns that are there cannot become these.
        "42P16" => format!("drop view {view}, and what stands on it: {again} makes it anew"),
        "54011" => "it would have more columns than PostgreSQL can show".to_owned(),
        _ if StoreError::from(error).may_pass() => format!("{again} tries again"),
        _ => format!("{again} tries again; if that does not help, report it"),
    };
    format!("{what}; {mend}")
}

/// Keeps what is wrong with a view, or that nothing is.
async fn settle(pool: &PgPool, view: &str, problem: Option<String>) -> Result<(), StoreError> {
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

fn create(view: &Fixed, there: Option<&KnownView>) -> String {
    definition::create(&view.name, &view.columns, &view.source, &view.comment, there)
}

/// A view that is not as it should be.
#[derive(Clone, Debug, Serialize)]
pub struct ViewProblem {
    /// The view in schema `teamleader_views`.
    pub view: String,
    /// What could not be done, and how to mend it.
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

/// All views but those of custom fields' columns.
fn definitions() -> Vec<Fixed> {
    let views = model::views();
    let mut definitions = vec![fixed::accounts(), fixed::freshness()];
    for view in &views {
        if view.is_child {
            definitions.push(Fixed {
                name: view.name.clone(),
                columns: view.columns.clone(),
                source: view.source.clone(),
                comment: view.comment.clone(),
            });
            continue;
        }
        let all = with_deleted(view);
        let living = view
            .columns
            .iter()
            .map(|column| Column { expression: format!("r.{}", names::quoted(&column.name)), ..column.clone() });
        definitions.push(Fixed {
            name: view.name.clone(),
            columns: living.collect(),
            source: format!("teamleader_views.{} r where r.{} is null", names::quoted(&all.name), model::DELETED_AT),
            comment: view.comment.clone(),
        });
        definitions.insert(definitions.len() - 1, all);
        if model::has_custom_fields(view.resource) {
            definitions.push(fixed::custom_fields(view));
        }
    }
    definitions.push(fixed::problems(&views));
    definitions
}

fn with_deleted(view: &model::View) -> Fixed {
    let mut columns = view.columns.clone();
    columns.push(Column::of_row(
        model::DELETED_AT,
        Type::Instant,
        "r.deleted_at",
        "When the record was found gone from Teamleader.",
    ));
    if model::has_custom_fields(view.resource) {
        let comment = "The custom fields as Teamleader tells them; contact_custom_fields, contacts_wide and their like show them.";
        columns.push(Column::of_row(model::CUSTOM_FIELDS, Type::Json, "(r.content #> '{custom_fields}')", comment));
    }
    Fixed {
        name: format!("{}_with_deleted", view.name),
        columns,
        source: view.source.clone(),
        comment: format!("The records of {}, and those that are gone from Teamleader.", view.resource.name),
    }
}

/// The views of the schema, or those of these that are there.
async fn existing(connection: &mut PgConnection, names: Option<&[String]>) -> Result<Existing, StoreError> {
    let rows = sqlx::query!(
        r#"select c.relname::text as "view!", a.attname::text as "name!", format_type(a.atttypid, a.atttypmod) as "kind!",
             coalesce(col_description(c.oid, a.attnum), '') as "comment!", coalesce(c.reloptions, '{}') as "options!"
         from pg_namespace n join pg_class c on c.relnamespace = n.oid join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
         where n.nspname = 'teamleader_views' and c.relkind = 'v' and ($1::text[] is null or c.relname = any($1))
         order by c.oid, a.attnum"#,
        names
    )
    .fetch_all(connection)
    .await?;
    let mut existing = Existing::new();
    for row in rows {
        let view = existing.entry(row.view).or_default();
        view.options = row.options;
        view.columns.push(Known { name: row.name, kind: row.kind, comment: row.comment });
    }
    Ok(existing)
}
