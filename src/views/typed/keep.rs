//! Keeps schema `teamleader_typed` as this program has it.
//!
//! Tables that are not there are made together with the triggers that write them, and filled afterwards in portions:
//! a table is read by no view before it is complete. One that another version has made with other columns is made
//! again, once the views read documents.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{PgExecutor, PgPool};

use super::fill;
use super::sql;
use super::table::{Complete, SCHEMA, Table, tables};
use crate::store::lease;
use crate::store::pool::StoreError;
use crate::views::change::{PATIENCE, begin, execute};
use crate::views::model;
use crate::views::names::{literal, quoted};

/// Makes the schema, which nobody needs a right to: views read it with their owner's.
const FOUNDATION: &str = "create schema if not exists teamleader_typed;\n";

/// Rows are loaded into the tables of the resources themselves: who may insert records may insert them there.
const RIGHTS: &str = r#"do $$
declare
    it record;
begin
    for it in
        select p.oid::regclass as name, g.grantee::regrole as grantee
        from pg_class c cross join lateral aclexplode(c.relacl) g
        join pg_inherits i on i.inhparent = c.oid join pg_class p on p.oid = i.inhrelid
        where c.oid = 'teamleader.record'::regclass and g.privilege_type = 'INSERT' and g.grantee <> 0
            and not has_table_privilege(g.grantee, p.oid, 'insert')
    loop
        execute format('grant insert on %s to %s', it.name, it.grantee);
    end loop;
end
$$;
"#;

/// The tables as they should be, and as they are.
pub struct Typed {
    tables: Vec<Table>,
    /// The comments of those that are there.
    there: BTreeMap<String, String>,
    /// The comment of the schema; `None` where it is not there.
    schema: Option<String>,
    /// How many triggers write them. Where one is missing or disabled, what a table holds is not known.
    triggers: usize,
}

impl Typed {
    /// Looks at the database.
    pub(in crate::views) async fn of(executor: impl PgExecutor<'_>) -> Result<Self, StoreError> {
        let rows = sqlx::query!(
            r#"select c.relname::text as "name?", coalesce(obj_description(n.oid, 'pg_namespace'), '') as "schema!",
                 coalesce(obj_description(c.oid, 'pg_class'), '') as "comment!",
                 (select count(*) from pg_trigger t join pg_proc p on p.oid = t.tgfoid
                  where p.pronamespace = n.oid and t.tgenabled <> 'D') as "triggers!"
             from pg_namespace n left join pg_class c on c.relnamespace = n.oid and c.relkind = 'r'
             where n.nspname = 'teamleader_typed'"#
        );
        let rows = rows.fetch_all(executor).await?;
        let schema = rows.first().map(|row| row.schema.clone());
        let triggers = rows.first().map_or(0, |row| usize::try_from(row.triggers).unwrap_or(0));
        let there = rows.into_iter().filter_map(|row| Some((row.name?, row.comment))).collect();
        Ok(Self { tables: tables(&model::views()), there, schema, triggers })
    }

    /// The tables that have a row for each that their view shows.
    pub(in crate::views) fn complete(&self) -> Complete {
        let complete = self.tables.iter().filter(|table| self.state(table).1);
        complete.map(|table| table.name.clone()).collect()
    }

    /// Whether nothing is to be made or filled.
    pub(in crate::views) fn is_good(&self) -> bool {
        self.is_made() && self.tables.iter().all(|table| self.state(table).1)
    }

    fn is_made(&self) -> bool {
        self.schema.as_ref().is_some_and(|comment| comment.ends_with(&sql::digest(&sql::follow(&self.tables))))
            && self.tables.iter().all(|table| self.state(table).0)
    }

    /// Whether a table is as this program makes it; and complete.
    fn state(&self, table: &Table) -> (bool, bool) {
        if self.triggers != sql::triggers_of(&self.tables) {
            return (false, false);
        }
        self.there.get(&table.name).map_or((false, false), |comment| sql::is_current(table, comment))
    }

    /// Whether a table is there that is not as this program makes it, so that its view has to read documents first.
    pub(in crate::views) fn has_outdated(&self) -> bool {
        let current: BTreeSet<&String> =
            self.tables.iter().filter(|table| self.state(table).0).map(|table| &table.name).collect();
        self.there.keys().any(|name| !current.contains(name))
    }

    /// Makes what is not as it should be, while no worker writes. Another process may be doing the same: all is looked
    /// at once more under the lock that both need. The inner error is the server's refusal.
    pub(in crate::views) async fn make(pool: &PgPool) -> Result<Result<(), sqlx::Error>, StoreError> {
        let mut tx = match begin(pool, PATIENCE).await? {
            Ok(tx) => tx,
            Err(error) => return Ok(Err(error)),
        };
        let statements = Self::of(&mut *tx).await?.statements();
        if let Err(error) = lease::hold_all_writers(&mut tx).await {
            return Ok(Err(error));
        }
        if let Err(error) = execute(&mut tx, &statements).await? {
            return Ok(Err(error));
        }
        tx.commit().await?;
        Ok(Ok(()))
    }

    fn statements(&self) -> Vec<String> {
        if self.is_made() {
            return Vec::new();
        }
        let current = |name: &String| self.tables.iter().any(|table| table.name == *name && self.state(table).0);
        let outdated = self.there.keys().filter(|name| !current(name));
        let mut statements = vec![FOUNDATION.to_owned()];
        statements.extend(outdated.map(|name| format!("drop table {SCHEMA}.{};\n", quoted(name))));
        let missing = self.tables.iter().filter(|table| !self.state(table).0);
        statements.extend(missing.map(|table| sql::create(table) + &sql::comment(table, false)));
        let follow = sql::follow(&self.tables);
        let comment = format!("Typed columns of the records, which the views read. {}", sql::digest(&follow));
        statements.extend([follow, RIGHTS.to_owned()]);
        statements.push(format!("comment on schema {SCHEMA} is {};\n", literal(&comment)));
        statements
    }

    /// Fills the tables that are not complete, those of a resource together.
    pub(in crate::views) async fn fill(&self, pool: &PgPool) -> Result<(), StoreError> {
        let mut of_resources: BTreeMap<&str, Vec<&Table>> = BTreeMap::new();
        for table in self.tables.iter().filter(|table| !self.state(table).1) {
            of_resources.entry(table.resource.name).or_default().push(table);
        }
        for tables in of_resources.values() {
            fill::fill(pool, tables).await?;
        }
        Ok(())
    }
}
