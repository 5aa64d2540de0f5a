//! Schema `teamleader_views` as it is in the database.

use sqlx::{PgConnection, PgPool};
use xxhash_rust::xxh3::xxh3_128;

use super::ddl::{Existing, Known};
use super::definitions::create;
use super::fixed::Fixed;
use crate::store::pool::StoreError;

/// The schema, as far as it is there.
pub(super) struct Schema {
    pub(super) is_ours: bool,
    pub(super) comment: String,
    /// The names of the views that are there.
    views: Vec<String>,
}

impl Schema {
    /// `None` if there is none.
    pub(super) async fn of(pool: &PgPool) -> Result<Option<Self>, StoreError> {
        let schema = sqlx::query_as!(
            Self,
            r#"select pg_has_role(nspowner, 'usage') as "is_ours!", "#
                + r#"coalesce(obj_description(oid, 'pg_namespace'), '') as "comment!",
                 array(select relname::text from pg_class where relnamespace = n.oid and relkind = 'v') as "views!"
             from pg_namespace n where nspname = 'teamleader_views'"#
        );
        Ok(schema.fetch_optional(pool).await?)
    }

    /// Whether the views are there as this program makes them.
    pub(super) fn is_current(&self, definitions: &[Fixed]) -> bool {
        self.comment.ends_with(&made_by(definitions)) && definitions.iter().all(|view| self.views.contains(&view.name))
    }

    /// Whether a newer program made the views.
    pub(super) fn is_newer(&self) -> bool {
        self.made_by() > version(env!("CARGO_PKG_VERSION"))
    }

    /// The version of the program that made the views; `None` before they are made.
    fn made_by(&self) -> Option<Vec<u32>> {
        let (_, rest) = self.comment.split_once(MADE_BY)?;
        version(rest.split_once(',')?.0)
    }
}

/// The end of the schema's comment, once the views are made.
pub(super) fn made_by(definitions: &[Fixed]) -> String {
    let made: String = definitions.iter().map(|view| create(view, None)).collect();
    format!("{MADE_BY}{}, definition {:032x}.", env!("CARGO_PKG_VERSION"), xxh3_128(made.as_bytes()))
}

pub(super) const MADE_BY: &str = "Made by teamleader2db ";

/// The numbers of a version, which can be compared.
fn version(text: &str) -> Option<Vec<u32>> {
    text.split(['-', '+']).next()?.split('.').map(|number| number.parse().ok()).collect()
}

/// What the schema stands on, as the migration has it that made it: for one that was dropped, or not restored.
pub(super) fn foundation() -> &'static str {
    let migration = include_str!("../../migrations/0007_views.sql");
    migration.split_once("create table").map_or(migration, |(schema_and_functions, _)| schema_and_functions)
}

/// The views of the schema, or those of these that are there.
pub(super) async fn existing(connection: &mut PgConnection, names: Option<&[String]>) -> Result<Existing, StoreError> {
    let rows = sqlx::query!(
        r#"select c.relname::text as "view!", a.attname::text as "name!", "#
            + r#"format_type(a.atttypid, a.atttypmod) as "kind!",
             coalesce(col_description(c.oid, a.attnum), '') as "comment!", coalesce(c.reloptions, '{}') as "options!"
         from pg_namespace n join pg_class c on c.relnamespace = n.oid "#
            + r#"join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
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
