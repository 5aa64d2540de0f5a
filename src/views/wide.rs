//! The views `…_wide`: a column a custom field.
//!
//! They are made by the worker, after a sync that has changed a definition: the definitions are Teamleader's. A column
//! is bound to its definition's id, not to its label: with a new label it has a new name, and what others have built on
//! the view goes on. None is ever dropped.

use sqlx::{PgConnection, PgPool};
use tracing::info;
use xxhash_rust::xxh3::xxh3_128;

use super::change::{NO_PATIENCE, PATIENCE, advice, begin, execute, is_locked};
use super::custom_field::{CustomField, Part, custom_fields};
use super::ddl::{self, KnownView};
use super::model::{self, CUSTOM_FIELDS, DELETED_AT};
use super::names::{self, quoted};
use super::problems::record_problem;
use super::schema::existing;
use super::wide_columns::{Columns, StoredColumn, columns, erased, named};
use crate::catalog::{RESOURCES, Resource};
use crate::process::failpoints::{self, Point};
use crate::store::pool::StoreError;

/// What tries again, as text.
const AGAIN: &str = "the next sync";

/// All of them, where none can be refreshed. A problem of it is tried again like that of one.
const ALL: &str = "*_wide";

/// How often the views are looked through at most, until nothing changes meanwhile: made views are a change, too.
const MAX_ROUNDS: usize = 3;

/// Brings the views in line with the definitions, unless nothing has changed since that was last done and no view has a
/// problem.
pub async fn refresh(pool: &PgPool) -> Result<(), StoreError> {
    let state = sqlx::query!(
        r#"select (select definitions from teamleader2db.view_refresh) as refreshed,
             exists (select from teamleader2db.view_problem where view like '%\_wide') as "has_problem!""#
    )
    .fetch_one(pool)
    .await?;
    if state.refreshed.as_deref() == Some(&*definitions(pool).await?) && !state.has_problem {
        return Ok(());
    }
    let mut refreshed = String::new();
    for _ in 0..MAX_ROUNDS {
        refreshed = definitions(pool).await?;
        refresh_all(pool).await?;
        if definitions(pool).await? == refreshed {
            break;
        }
    }
    // What has changed meanwhile is seen by the next one.
    sqlx::query!(
        "insert into teamleader2db.view_refresh as v (definitions) values ($1)
         on conflict (is_only) do update set definitions = excluded.definitions, refreshed_at = excluded.refreshed_at",
        refreshed
    )
    .execute(pool)
    .await?;
    record_problem(pool, ALL, None).await
}

/// Notes that nothing could be refreshed, for this reason.
pub async fn note_failure(pool: &PgPool, reason: &StoreError) -> Result<(), StoreError> {
    record_problem(pool, ALL, Some(format!("none of these could be refreshed: {reason}. {AGAIN} tries again"))).await
}

/// Whether there are definitions of custom fields.
pub async fn has_definitions(pool: &PgPool) -> Result<bool, StoreError> {
    let there = sqlx::query_scalar!(
        r#"select exists (select from teamleader.record where resource = 'customFieldDefinitions') as "there!""#
    );
    Ok(there.fetch_one(pool).await?)
}

/// What the views are made from, and by which version of this program.
async fn definitions(pool: &PgPool) -> Result<String, StoreError> {
    let digest = sqlx::query_scalar!(r#"select teamleader2db.view_definitions() as "digest!""#).fetch_one(pool).await?;
    Ok(format!("{} {digest}", env!("CARGO_PKG_VERSION")))
}

/// Brings each view in line with the definitions, in a transaction of its own. A change that fails is stored in
/// `teamleader2db.view_problem` and holds nothing else up.
async fn refresh_all(pool: &PgPool) -> Result<(), StoreError> {
    let mut patience = PATIENCE;
    for resource in RESOURCES.iter().filter(|resource| model::has_custom_fields(resource)) {
        let wide = Wide::of(resource);
        let problem = match wide.refresh(pool, patience).await? {
            Ok(problem) => problem,
            Err(error) => {
                patience = if is_locked(&error) { NO_PATIENCE } else { patience };
                Some(advice(&wide.name, error, AGAIN))
            }
        };
        record_problem(pool, &wide.name, problem).await?;
    }
    failpoints::reached(Point::ViewsKept);
    Ok(())
}

/// What brings a view in line with the definitions.
struct Plan {
    statements: Vec<String>,
    /// The columns that are of another type than their definition has now.
    unlike: Vec<String>,
}

/// One of the views.
struct Wide {
    resource: &'static Resource,
    name: String,
    /// The view that it adds columns to.
    records: String,
}

impl Wide {
    fn of(resource: &'static Resource) -> Self {
        let records = names::table(resource.name);
        Self { resource, name: format!("{records}_wide"), records }
    }

    /// The view that it adds columns to, with deleted records.
    fn with_deleted(&self) -> String {
        format!("{}_with_deleted", self.records)
    }

    /// The inner error is the server's refusal; the problem is of a view that is as good as it can be.
    async fn refresh(&self, pool: &PgPool, patience: &str) -> Result<Result<Option<String>, sqlx::Error>, StoreError> {
        let mut tx = match begin(pool, patience).await? {
            Ok(tx) => tx,
            Err(error) => return Ok(Err(error)),
        };
        let all = self.with_deleted();
        let mut existing = existing(&mut tx, Some(&[all.clone(), self.name.clone()])).await?;
        let Some(of_records) = existing.remove(&all) else {
            return Ok(Ok(Some(format!("{all} is not there: `teamleader2db migrate` makes it"))));
        };
        let there = existing.remove(&self.name);
        let is_new = there.is_none();
        let Plan { statements, unlike } = self.plan(&mut tx, of_records, there).await?;
        if let Err(error) = execute(&mut tx, &statements).await? {
            return Ok(Err(error));
        }
        // Once: later grants and revocations are the database operator's.
        if is_new {
            let grants = self.grants(&mut tx).await?;
            if let Err(error) = execute(&mut tx, &grants).await? {
                return Ok(Err(error));
            }
        }
        failpoints::reached(Point::ViewWritten);
        tx.commit().await?;
        Ok(Ok((!unlike.is_empty()).then(|| {
            format!(
                "the type of a custom field has changed: {}. Drop view teamleader_views.{}, and what stands on it: \
                 {AGAIN} makes it again",
                unlike.join(", "),
                quoted(&self.name)
            )
        })))
    }

    /// What brings the view that is `there` in line with the definitions; its columns are stored already.
    async fn plan(
        &self,
        tx: &mut PgConnection,
        mut of_records: KnownView,
        there: Option<KnownView>,
    ) -> Result<Plan, StoreError> {
        of_records.columns.retain(|known| known.name != DELETED_AT && known.name != CUSTOM_FIELDS);
        let of_records = of_records.columns;
        let stored = self.stored(tx).await?;
        // Read while nobody else changes a view: a later reader knows no less.
        let fields = custom_fields(tx).await?;
        // A definition that was deleted before it could have a column needs none.
        let has_column = |field: &CustomField| stored.contains_key(&(field.id, Part::Value));
        let mut fields: Vec<&CustomField> = fields
            .iter()
            .filter(|field| field.is_of(self.resource) && (!field.is_deleted || has_column(field)))
            .collect();
        let erased: Vec<CustomField> = erased(&fields, &stored).collect();
        fields.extend(&erased);
        let named = named(&fields, &stored, &of_records.iter().map(|known| known.name.clone()).collect());
        let known = there.as_ref().map(|there| there.columns.as_slice()).unwrap_or_default();
        let (columns, unlike) = columns(&fields, &named, &stored, &of_records, known);
        let source = format!("teamleader_views.{} r where r.{DELETED_AT} is null", quoted(&self.with_deleted()));
        let about = format!("The records of {}, with a column a custom field.", self.records);
        let made = ddl::create(&self.name, &columns, &source, &about, None);
        let about = format!("{about} Made by teamleader2db, definition {:032x}.", xxh3_128(made.as_bytes()));
        if self.comment(tx).await?.as_deref() == Some(&about) {
            return Ok(Plan { statements: Vec::new(), unlike });
        }
        let renames: Vec<(&str, &str)> = named
            .iter()
            .filter_map(|(key, column)| Some((stored.get(key)?.name.as_str(), column.name.as_str())))
            .filter(|(before, after)| before != after && known.iter().any(|known| known.name == **before))
            .collect();
        let mut statements = self.renaming(&renames);
        let renamed = there.clone().map(|there| renamed(there, &renames));
        statements.push(ddl::create(&self.name, &columns, &source, &about, renamed.as_ref()));
        self.store(tx, &named).await?;
        info!(view = self.name, columns = columns.len(), renamed = renames.len(), "Bringing {} up to date", self.name);
        Ok(Plan { statements, unlike })
    }

    /// The columns as they are stored.
    async fn stored(&self, connection: &mut PgConnection) -> Result<Columns, StoreError> {
        let rows = sqlx::query!(
            "select definition_id, part, name, label, type as kind, former_names \
             from teamleader2db.custom_field_column where view = $1",
            self.name
        )
        .fetch_all(connection)
        .await?;
        let columns = rows.into_iter().map(|row| {
            let part = if row.part == Part::Currency.as_str() { Part::Currency } else { Part::Value };
            (
                (row.definition_id, part),
                StoredColumn { name: row.name, label: row.label, kind: row.kind, former_names: row.former_names },
            )
        });
        Ok(columns.collect())
    }

    async fn store(&self, connection: &mut PgConnection, named: &Columns) -> Result<(), StoreError> {
        sqlx::query!("delete from teamleader2db.custom_field_column where view = $1", self.name)
            .execute(&mut *connection)
            .await?;
        for ((id, part), column) in named {
            sqlx::query!(
                "insert into teamleader2db.custom_field_column \
                     (view, definition_id, part, name, label, type, former_names)
                 values ($1, $2, $3, $4, $5, $6, $7)",
                self.name,
                id,
                part.as_str(),
                column.name,
                column.label,
                column.kind,
                &column.former_names
            )
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }

    /// Who may read the records may read them with their custom fields, of which the view may be another role's.
    async fn grants(&self, connection: &mut PgConnection) -> Result<Vec<String>, StoreError> {
        let grants = sqlx::query_scalar!(
            r#"select format('grant select on teamleader_views.%I to %s', wide.relname,
                 case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end) as "sql!"
             from pg_class records cross join aclexplode(records.relacl) a
             join pg_class wide on wide.relnamespace = records.relnamespace and wide.relname = $2
             where records.relnamespace = 'teamleader_views'::regnamespace and records.relname = $1
               and a.privilege_type = 'SELECT' and a.grantee <> wide.relowner"#,
            self.records,
            self.name
        )
        .fetch_all(connection)
        .await?;
        Ok(grants)
    }

    async fn comment(&self, connection: &mut PgConnection) -> Result<Option<String>, StoreError> {
        let comment = sqlx::query_scalar!(
            "select obj_description(oid, 'pg_class') from pg_class
             where relnamespace = 'teamleader_views'::regnamespace and relname = $1",
            self.name
        )
        .fetch_optional(connection)
        .await?;
        Ok(comment.flatten())
    }

    /// All at once would meet a name that another column is about to give up.
    fn renaming(&self, renames: &[(&str, &str)]) -> Vec<String> {
        let rename = |from: &str, to: &str| {
            format!(
                "alter view teamleader_views.{} rename column {} to {}",
                quoted(&self.name),
                quoted(from),
                quoted(to)
            )
        };
        let aside = |number: usize| format!("cf ~{number}");
        let first = renames.iter().enumerate().map(|(number, (before, _))| rename(before, &aside(number)));
        let then = renames.iter().enumerate().map(|(number, (_, after))| rename(&aside(number), after));
        first.chain(then).collect()
    }
}

fn renamed(mut there: KnownView, renames: &[(&str, &str)]) -> KnownView {
    for known in &mut there.columns {
        if let Some((_, after)) = renames.iter().find(|(before, _)| *before == known.name) {
            known.name = (*after).to_owned();
        }
    }
    there
}
