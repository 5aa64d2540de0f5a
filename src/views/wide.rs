//! The views `…_wide`: a column a custom field.
//!
//! They are made by the worker, after each sync, as the definitions are what Teamleader says. A column is bound to its definition's id, not to
//! its label: with a new label it has a new name, and what others have built on the view goes on. None is ever dropped.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{PgConnection, PgPool};
use tracing::info;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use super::column::{Column, Type};
use super::custom_field::{CustomField, Part, custom_fields};
use super::definition::{self, Known, KnownView};
use super::model::{self, CUSTOM_FIELDS, DELETED_AT};
use super::names::{self, quoted};
use super::{NO_PATIENCE, PATIENCE, begin, execute, existing, in_words, is_locked, settle};
use crate::catalog::{RESOURCES, Resource};
use crate::process::failpoints::{self, Point};
use crate::store::pool::StoreError;

/// What tries again, in words.
const AGAIN: &str = "the next sync";

/// Brings the views in line with the definitions, each in a transaction of its own. What cannot be done to one is kept in
/// `teamleader2db.view_problem` and keeps nothing else from being done. Gives all that is kept there, in words.
pub async fn keep(pool: &PgPool) -> Result<Vec<String>, StoreError> {
    let mut patience = PATIENCE;
    for resource in RESOURCES.iter().filter(|resource| model::has_custom_fields(resource)) {
        let wide = Wide::of(resource);
        let problem = match wide.keep(pool, patience).await? {
            Ok(problem) => problem,
            Err(error) => {
                patience = if is_locked(&error) { NO_PATIENCE } else { patience };
                Some(in_words(&wide.name, error, AGAIN))
            }
        };
        settle(pool, &wide.name, problem).await?;
    }
    failpoints::reached(Point::ViewsKept);
    let problems = super::problems(pool).await?;
    Ok(problems.into_iter().map(|found| format!("{}: {}", found.view, found.problem)).collect())
}

/// What is kept of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    name: String,
    label: String,
    kind: String,
    former_names: Vec<String>,
}

type Columns = BTreeMap<(Uuid, Part), Kept>;

/// The columns as they are to be named: those with the label that they had keep their name, others get one that is none of theirs, nor a
/// column of the records.
fn named(fields: &[&CustomField], kept: &Columns, of_records: &BTreeSet<String>) -> Columns {
    let wanted = fields.iter().flat_map(|field| field.parts().iter().map(move |part| (*field, *part)));
    // A name that becomes free is there for others, so that two labels can be swapped.
    let renamed: BTreeSet<(Uuid, Part)> = wanted
        .clone()
        .map(|(field, part)| ((field.id, part), &field.label))
        .filter(|(key, label)| kept.get(key).is_none_or(|column| column.label != **label))
        .map(|(key, _)| key)
        .collect();
    let mut named: Columns = kept.clone();
    named.retain(|key, _| !renamed.contains(key));
    let mut taken: BTreeSet<String> =
        of_records.iter().chain(named.values().map(|column| &column.name)).cloned().collect();
    for (field, part) in wanted.filter(|(field, part)| renamed.contains(&(field.id, *part))) {
        let key = (field.id, part);
        let name = names::of_custom_field(&field.label, part.ending(), &taken);
        taken.insert(name.clone());
        let mut former_names = kept.get(&key).map(|column| column.former_names.clone()).unwrap_or_default();
        if let Some(before) = kept.get(&key).filter(|before| before.name != name) {
            former_names.retain(|former| *former != name && *former != before.name);
            former_names.push(before.name.clone());
        }
        named.insert(key, Kept { name, label: field.label.clone(), kind: String::new(), former_names });
    }
    for field in fields {
        for part in field.parts() {
            if let Some(column) = named.get_mut(&(field.id, *part)) {
                column.kind.clone_from(&field.kind);
            }
        }
    }
    named
}

/// The definitions of columns that have none any more: it was erased.
fn erased<'a>(fields: &[&CustomField], kept: &'a Columns) -> impl Iterator<Item = CustomField> + 'a {
    let known: BTreeSet<Uuid> = fields.iter().map(|field| field.id).collect();
    let lost = kept.iter().filter(move |((id, part), _)| *part == Part::Value && !known.contains(id));
    lost.map(|((id, _), column)| CustomField {
        id: *id,
        account: None,
        context: String::new(),
        label: column.label.clone(),
        kind: column.kind.clone(),
        is_deleted: true,
    })
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

    /// The inner error is the server's refusal; the problem is of a view that is as good as it can be.
    async fn keep(&self, pool: &PgPool, patience: &str) -> Result<Result<Option<String>, sqlx::Error>, StoreError> {
        let mut tx = match begin(pool, patience).await? {
            Ok(tx) => tx,
            Err(error) => return Ok(Err(error)),
        };
        let all = format!("{}_with_deleted", self.records);
        let mut existing = existing(&mut tx, Some(&[all.clone(), self.name.clone()])).await?;
        let Some(mut of_records) = existing.remove(&all) else {
            return Ok(Ok(Some(format!("{all} is not there: `teamleader2db migrate` makes it"))));
        };
        of_records.columns.retain(|known| known.name != DELETED_AT && known.name != CUSTOM_FIELDS);
        let of_records = of_records.columns;
        let there = existing.remove(&self.name);
        let kept = self.kept(&mut tx).await?;
        // Read while nobody else changes a view: whoever comes later knows no less.
        let fields = custom_fields(&mut tx).await?;
        // One that was gone before it could have a column needs none.
        let has_column = |field: &CustomField| kept.contains_key(&(field.id, Part::Value));
        let mut fields: Vec<&CustomField> = fields
            .iter()
            .filter(|field| field.is_of(self.resource) && (!field.is_deleted || has_column(field)))
            .collect();
        let erased: Vec<CustomField> = erased(&fields, &kept).collect();
        fields.extend(&erased);
        let named = named(&fields, &kept, &of_records.iter().map(|known| known.name.clone()).collect());
        let known = there.as_ref().map(|there| there.columns.as_slice()).unwrap_or_default();
        let (columns, unlike) = columns(&fields, &named, &kept, &of_records, known);
        let source = format!("teamleader_views.{} r where r.{DELETED_AT} is null", quoted(&all));
        let about = format!("The records of {}, with a column a custom field.", self.records);
        let made = definition::create(&self.name, &columns, &source, &about, None);
        let about = format!("{about} Made by teamleader2db, definition {:032x}.", xxh3_128(made.as_bytes()));
        let mut statements = Vec::new();
        let is_current = self.comment(&mut tx).await?.as_deref() == Some(&about);
        if !is_current {
            let renames: Vec<(&str, &str)> = named
                .iter()
                .filter_map(|(key, column)| Some((kept.get(key)?.name.as_str(), column.name.as_str())))
                .filter(|(before, after)| before != after && known.iter().any(|known| known.name == **before))
                .collect();
            statements.extend(self.renaming(&renames));
            let renamed = there.clone().map(|there| renamed(there, &renames));
            statements.push(definition::create(&self.name, &columns, &source, &about, renamed.as_ref()));
            self.store(&mut tx, &named).await?;
            info!(
                view = self.name,
                columns = columns.len(),
                renamed = renames.len(),
                "Bringing {} up to date",
                self.name
            );
        }
        if let Err(error) = execute(&mut tx, &statements).await? {
            return Ok(Err(error));
        }
        // Once: what is granted and taken away later is for whoever runs the database.
        if there.is_none() {
            let grants = self.grants(&mut tx).await?;
            if let Err(error) = execute(&mut tx, &grants).await? {
                return Ok(Err(error));
            }
        }
        failpoints::reached(Point::ViewWritten);
        tx.commit().await?;
        Ok(Ok((!unlike.is_empty()).then(|| {
            format!(
                "the type of a custom field has changed: {}. Drop view teamleader_views.{}, and what stands on it: {AGAIN} makes it anew",
                unlike.join(", "),
                quoted(&self.name)
            )
        })))
    }

    async fn kept(&self, connection: &mut PgConnection) -> Result<Columns, StoreError> {
        let rows = sqlx::query!(
            "select definition_id, part, name, label, type as kind, former_names from teamleader2db.custom_field_column where view = $1",
            self.name
        )
        .fetch_all(connection)
        .await?;
        let columns = rows.into_iter().map(|row| {
            let part = if row.part == Part::Currency.as_str() { Part::Currency } else { Part::Value };
            (
                (row.definition_id, part),
                Kept { name: row.name, label: row.label, kind: row.kind, former_names: row.former_names },
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
                "insert into teamleader2db.custom_field_column (view, definition_id, part, name, label, type, former_names)
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

/// All columns of a view; and which of them are of another type than their definition has now, as a column's type cannot change.
fn columns(
    fields: &[&CustomField],
    named: &Columns,
    kept: &Columns,
    of_records: &[Known],
    there: &[Known],
) -> (Vec<Column>, Vec<String>) {
    let mut columns: Vec<Column> = of_records.iter().map(of_record).collect();
    let mut unlike = Vec::new();
    for field in fields {
        // A currency that it does not have any more, too.
        for part in [Part::Value, Part::Currency] {
            let key = (field.id, part);
            let Some(Kept { name, former_names, .. }) = named.get(&key) else { continue };
            let wanted = if part == Part::Currency { Type::Text } else { field.value_type() };
            let before = kept.get(&key).and_then(|kept| there.iter().find(|known| known.name == kept.name));
            let had = before.and_then(|known| type_of(&known.kind));
            let kind = match had.filter(|had| had.as_sql() != wanted.as_sql()) {
                // Whatever it is now can be read as text.
                Some(Type::Text) => Type::Anything,
                Some(had) => had,
                None => wanted,
            };
            if kind.as_sql() != wanted.as_sql() {
                unlike.push(format!("{name} is {} still and not {}", kind.as_sql(), wanted.as_sql()));
            }
            let comment = field.comment(part, former_names);
            columns.push(Column::of_row(name, kind, &field.expression(part, kind), &comment));
        }
    }
    (columns, unlike)
}

/// A column of the records, as the view without custom fields has it.
fn of_record(known: &Known) -> Column {
    let kind = type_of(&known.kind).unwrap_or(Type::Anything);
    Column::of_row(&known.name, kind, &format!("r.{}", quoted(&known.name)), &known.comment)
}

/// The type that PostgreSQL writes so.
fn type_of(sql: &str) -> Option<Type> {
    use Type::{Boolean, Count, Date, Instant, Json, Number, Text, Texts, Time, Uuid};
    [Text, Texts, Number, Boolean, Uuid, Date, Instant, Time, Count, Json].into_iter().find(|kind| kind.as_sql() == sql)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(id: u128, label: &str, kind: &str) -> CustomField {
        CustomField {
            id: Uuid::from_u128(id),
            account: Some("acme".to_owned()),
            context: "contact".to_owned(),
            label: label.to_owned(),
            kind: kind.to_owned(),
            is_deleted: false,
        }
    }

    /// Names by id, after these definitions took the place of those that gave `kept`.
    fn names(fields: &[CustomField], kept: &Columns) -> (Vec<String>, Columns) {
        let of_records = BTreeSet::from(["id".to_owned(), "cf_mine".to_owned()]);
        let now = named(&fields.iter().collect::<Vec<_>>(), kept, &of_records);
        (now.values().map(|column| column.name.clone()).collect(), now)
    }

    #[test]
    fn a_column_follows_its_definition_and_not_its_label() {
        let (first, kept) = names(
            &[field(1, "Sector", "single_line"), field(2, "sector!", "date"), field(3, "Mine", "url")],
            &Columns::new(),
        );
        assert_eq!(first, ["cf_sector", "cf_sector_2", "cf_mine_2"]);
        let swapped = [field(1, "Branche", "single_line"), field(2, "Sector", "date"), field(3, "Mine", "url")];
        let (then, kept) = names(&swapped, &kept);
        assert_eq!(then, ["cf_branche", "cf_sector", "cf_mine_2"]);
        assert_eq!(kept[&(Uuid::from_u128(1), Part::Value)].former_names, ["cf_sector"]);
        let back = [field(1, "Sector", "single_line"), field(2, "Branche", "date"), field(3, "Mine", "url")];
        let (back, kept) = names(&back, &kept);
        assert_eq!(back, ["cf_sector", "cf_branche", "cf_mine_2"]);
        assert_eq!(kept[&(Uuid::from_u128(1), Part::Value)].former_names, ["cf_branche"]);
    }

    #[test]
    fn one_that_is_gone_keeps_its_column() {
        let (_, kept) = names(&[field(1, "Sector", "single_line")], &Columns::new());
        let (left, _) = names(&[field(2, "Sector", "single_line")], &kept);
        assert_eq!(left, ["cf_sector", "cf_sector_2"]);
    }

    fn known(columns: &[(&str, &str)]) -> Vec<Known> {
        let one = |(name, kind): &(&str, &str)| Known {
            name: (*name).to_owned(),
            kind: (*kind).to_owned(),
            comment: String::new(),
        };
        columns.iter().map(one).collect()
    }

    #[test]
    fn a_name_that_becomes_free_does_not_bring_its_type() {
        let old = [field(1, "Sector", "single_line")];
        let (_, kept) = names(&old, &Columns::new());
        let now = [field(1, "Sector (old)", "single_line"), field(2, "Sector", "date")];
        let (_, named) = names(&now, &kept);
        let (columns, unlike) =
            columns(&now.iter().collect::<Vec<_>>(), &named, &kept, &[], &known(&[("cf_sector", "text")]));
        let made: Vec<(&str, Type)> = columns.iter().map(|column| (column.name.as_str(), column.kind)).collect();
        assert_eq!(made, [("cf_sector_old", Type::Text), ("cf_sector", Type::Date)]);
        assert!(unlike.is_empty(), "{unlike:?}");
    }

    #[test]
    fn what_is_money_no_more_keeps_the_column_of_its_currency() {
        let (_, kept) = names(&[field(1, "Budget", "money")], &Columns::new());
        let now = [field(1, "Budget", "single_line")];
        let (_, named) = names(&now, &kept);
        let there = known(&[("cf_budget", "numeric"), ("cf_budget_currency", "text")]);
        let (columns, unlike) = columns(&now.iter().collect::<Vec<_>>(), &named, &kept, &[], &there);
        let made: Vec<(&str, Type)> = columns.iter().map(|column| (column.name.as_str(), column.kind)).collect();
        assert_eq!(made, [("cf_budget", Type::Number), ("cf_budget_currency", Type::Text)]);
        assert_eq!(unlike, ["cf_budget is numeric still and not text"]);
    }

    #[test]
    fn money_has_a_column_for_its_currency() {
        let (made, _) = names(&[field(1, "Budget", "money"), field(2, "Budget", "money")], &Columns::new());
        assert_eq!(made, ["cf_budget", "cf_budget_currency", "cf_budget_2", "cf_budget_2_currency"]);
    }
}
