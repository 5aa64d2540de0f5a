//! The Python service's tables compared with the rows here, page by page.
//!
//! Where the two differ, one of them is older: the service read a record at another moment. Which one says `updated_at`, Teamleader's own,
//! or else when each was read.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, FromRow, PgPool};
use uuid::Uuid;

use super::{CompatError, OLD_TABLES, OldTable, resolved};
use crate::catalog;
use crate::ids::Account;
use crate::store::pool::{self, StoreError};

/// Rows that are read at a time.
const PAGE: i64 = 1000;

/// Ids that are told of each kind of finding.
const EXAMPLES: usize = 5;

/// A row of the Python service.
#[derive(FromRow)]
struct OldRow {
    id: Uuid,
    content: Value,
    /// When the service last wrote it, which it did whenever it read it.
    read_at: DateTime<Utc>,
}

/// The row here.
struct Row {
    id: Uuid,
    content: Value,
    is_deleted: bool,
    lacks_detail: bool,
}

/// When this copy read the resource.
#[derive(Clone, Copy, Default)]
struct Read {
    /// The last time that a sync of it completed.
    last: Option<DateTime<Utc>>,
    /// The last time that a full one did, after which every record that Teamleader has is here.
    full: Option<DateTime<Utc>>,
}

/// What a row of the Python service is, beside what is here.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// All its fields are here, with the same values.
    Equal,
    /// What is here is newer.
    OlderThere,
    /// It is newer than what is here, or not here at all and read later than anything here.
    NewerThere,
    /// Equal so far; fields that only `.info` tells are still to be fetched.
    LacksDetail,
    /// These fields differ, though neither is newer.
    Differs(Vec<String>),
    /// Teamleader has it no more.
    Gone,
}

/// How a table compares.
#[derive(Debug, Default, Serialize)]
struct Comparison {
    table: String,
    resource: &'static str,
    /// When a full sync of the resource last completed here.
    last_full_at: Option<DateTime<Utc>>,
    rows_there: u64,
    rows_here: u64,
    equal: u64,
    older_there: u64,
    newer_there: u64,
    lacks_detail: u64,
    differs: u64,
    gone: u64,
    only_here: u64,
    /// How many of those that differ do so in which field.
    fields: BTreeMap<String, u64>,
    /// Some ids of each finding that is to be looked at.
    ids: BTreeMap<&'static str, Vec<Uuid>>,
}

/// How all tables compare.
#[derive(Debug, Serialize)]
pub struct Compared {
    account: Account,
    /// Whether nothing keeps anybody from moving.
    ready: bool,
    tables: Vec<Comparison>,
    /// Tables of the Python service that are not there.
    absent: Vec<String>,
}

/// Compares those of the Python service's tables that `schema` of `old` has. Changes nothing.
pub async fn compare(old: &PgPool, schema: &str, ours: &PgPool, account: &Account) -> Result<Compared, CompatError> {
    pool::check_schema(ours).await?;
    let (mut tables, mut absent) = (Vec::new(), Vec::new());
    for table in &OLD_TABLES {
        let quoted: String = sqlx::query_scalar("select format('%I.%I', $1, $2)")
            .bind(schema)
            .bind(table.name())
            .fetch_one(old)
            .await
            .map_err(CompatError::Old)?;
        match resolved(old, &quoted).await? {
            Some(name) => tables.push(compare_one(old, &name, table, ours, account).await?),
            None => absent.push(table.name()),
        }
    }
    if tables.is_empty() {
        return Err(CompatError::NoTables(
            schema.to_owned(),
            absent.into_iter().take(2).collect::<Vec<_>>().join(", "),
        ));
    }
    let ready = tables.iter().all(Comparison::is_settled);
    Ok(Compared { account: account.clone(), ready, tables, absent })
}

async fn compare_one(
    old: &PgPool,
    name: &str,
    table: &OldTable,
    ours: &PgPool,
    account: &Account,
) -> Result<Comparison, CompatError> {
    let read = read_at(ours, account, table.resource).await?;
    let mut comparison =
        Comparison { table: table.name(), resource: table.resource, last_full_at: read.full, ..Comparison::default() };
    // No record's id is nil: ids follow it.
    let mut after = Uuid::nil();
    loop {
        let page = old_rows(old, name, after).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        let here = rows(ours, account, table.resource, &page.iter().map(|row| row.id).collect::<Vec<_>>()).await?;
        for row in &page {
            comparison.count(row.id, judge(row, here.get(&row.id), read));
        }
    }
    let mut after = Uuid::nil();
    loop {
        let page = living_ids(ours, account, table.resource, after).await?;
        let Some(last) = page.last() else { break };
        after = *last;
        comparison.rows_here += page.len() as u64;
        comparison.only_here += lacking(old, name, &page).await?;
    }
    Ok(comparison)
}

async fn read_at(ours: &PgPool, account: &Account, resource: &str) -> Result<Read, CompatError> {
    let read = sqlx::query!(
        "select last_success_at, last_full_at from teamleader2db.cursor where account = $1 and resource = $2",
        account.as_str(),
        resource,
    )
    .fetch_optional(ours)
    .await
    .map_err(StoreError::from)?;
    Ok(read.map_or_else(Read::default, |read| Read { last: read.last_success_at, full: read.last_full_at }))
}

async fn old_rows(old: &PgPool, name: &str, after: Uuid) -> Result<Vec<OldRow>, CompatError> {
    let sql = format!(
        "select tl_uuid as id, tl_content::jsonb as content, updated_at as read_at from {name} where tl_uuid > $1 order by tl_uuid limit $2"
    );
    let rows = sqlx::query_as(AssertSqlSafe(sql)).bind(after).bind(PAGE).fetch_all(old).await;
    rows.map_err(CompatError::Old)
}

/// The rows here that have these ids.
async fn rows(
    ours: &PgPool,
    account: &Account,
    resource: &str,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Row>, CompatError> {
    let has_details = catalog::find(resource).is_some_and(catalog::Resource::has_details);
    let rows = sqlx::query_as!(
        Row,
        r#"select id, content, deleted_at is not null as "is_deleted!", detail_at is null and $4 as "lacks_detail!"
         from teamleader.record where resource = $1 and account = $2 and id = any($3)"#,
        resource,
        account.as_str(),
        ids,
        has_details,
    )
    .fetch_all(ours)
    .await
    .map_err(StoreError::from)?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

async fn living_ids(ours: &PgPool, account: &Account, resource: &str, after: Uuid) -> Result<Vec<Uuid>, CompatError> {
    let ids = sqlx::query_scalar!(
        "select id from teamleader.record
         where resource = $1 and account = $2 and id > $3 and deleted_at is null order by id limit $4",
        resource,
        account.as_str(),
        after,
        PAGE,
    );
    Ok(ids.fetch_all(ours).await.map_err(StoreError::from)?)
}

/// How many of these ids the Python service's table has not.
async fn lacking(old: &PgPool, name: &str, ids: &[Uuid]) -> Result<u64, CompatError> {
    let sql = format!(
        "select count(*) from unnest($1::uuid[]) as here (key) where not exists (select from {name} where tl_uuid = key)"
    );
    let count: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).bind(ids).fetch_one(old).await.map_err(CompatError::Old)?;
    Ok(count.unsigned_abs())
}

fn judge(old: &OldRow, row: Option<&Row>, read: Read) -> Verdict {
    let Some(row) = row else {
        // A full sync that came later has not met it.
        return if read.full.is_some_and(|full| full > old.read_at) { Verdict::Gone } else { Verdict::NewerThere };
    };
    if row.is_deleted {
        return Verdict::Gone;
    }
    let nothing = Map::new();
    let fields = old.content.as_object().unwrap_or(&nothing);
    let differing: Vec<&String> = fields
        .iter()
        .filter(|(name, value)| match row.content.get(*name) {
            Some(here) => !is_same(here, value),
            None => !row.lacks_detail,
        })
        .map(|(name, _)| name)
        .collect();
    if differing.is_empty() {
        return if row.lacks_detail { Verdict::LacksDetail } else { Verdict::Equal };
    }
    match (updated_at(&row.content), updated_at(&old.content)) {
        (Some(here), Some(there)) if here > there => Verdict::OlderThere,
        (Some(here), Some(there)) if here < there => Verdict::NewerThere,
        (Some(_), Some(_)) => Verdict::Differs(differing.into_iter().cloned().collect()),
        _ if read.last.is_some_and(|last| last > old.read_at) => Verdict::OlderThere,
        _ => Verdict::NewerThere,
    }
}

/// Equal as JSON; numbers as numbers, since Python writes 1e2 as 100.0.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, one)| other.get(name).is_some_and(|other| is_same(one, other)))
        }
        (one, other) => one == other,
    }
}

fn updated_at(content: &Value) -> Option<DateTime<Utc>> {
    content.get("updated_at")?.as_str()?.parse().ok()
}

impl Comparison {
    fn count(&mut self, id: Uuid, verdict: Verdict) {
        self.rows_there += 1;
        let (count, example) = match verdict {
            Verdict::Equal => (&mut self.equal, None),
            Verdict::OlderThere => (&mut self.older_there, None),
            Verdict::LacksDetail => (&mut self.lacks_detail, None),
            Verdict::NewerThere => (&mut self.newer_there, Some("newer_there")),
            Verdict::Gone => (&mut self.gone, Some("gone")),
            Verdict::Differs(fields) => {
                for field in fields {
                    *self.fields.entry(field).or_default() += 1;
                }
                (&mut self.differs, Some("differs"))
            }
        };
        *count += 1;
        if let Some(ids) = example.map(|example| self.ids.entry(example).or_default())
            && ids.len() < EXAMPLES
        {
            ids.push(id);
        }
    }

    /// Whether nothing has to be done or looked at.
    fn is_settled(&self) -> bool {
        !self.lacks_full_sync() && self.newer_there + self.lacks_detail + self.differs == 0
    }

    /// Whether nobody can tell yet what is gone. An account may be without a resource, such as the older projects; then nothing is there either.
    fn lacks_full_sync(&self) -> bool {
        self.last_full_at.is_none() && self.rows_there > 0
    }

    /// What there is to do, and what there is to know.
    fn notes(&self) -> Vec<String> {
        let Self { table, resource, .. } = self;
        let mut notes = Vec::new();
        if self.lacks_full_sync() {
            notes.push(format!(
                "{table}: no full sync of {resource} has completed here: teamleader2db request {resource} --full --wait"
            ));
        } else if self.newer_there > 0 {
            notes.push(format!(
                "{table}: {} are newer than here (such as {}): teamleader2db request {resource} --wait, then compare again",
                self.newer_there,
                self.examples("newer_there")
            ));
        }
        if self.lacks_detail > 0 {
            notes.push(format!(
                "{table}: {} have fields that are still to be fetched here: wait for a sync to end, then compare again",
                self.lacks_detail
            ));
        }
        if self.differs > 0 {
            let fields: Vec<String> = self.fields.iter().map(|(name, count)| format!("{name} ({count})")).collect();
            notes.push(format!(
                "{table}: {} differ, though neither is newer, in {} (such as {}): teamleader2db audit {resource} says whether the rows here \
                 are as Teamleader tells them",
                self.differs,
                fields.join(", "),
                self.examples("differs")
            ));
        }
        if self.gone > 0 {
            notes.push(format!(
                "{table}: {} are only there (such as {}): Teamleader has them no more",
                self.gone,
                self.examples("gone")
            ));
        }
        notes
    }

    fn examples(&self, finding: &str) -> String {
        let ids = self.ids.get(finding).map(Vec::as_slice).unwrap_or_default();
        ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(", ")
    }
}

impl Compared {
    /// Whether something has to be done or looked at before the move.
    pub fn is_open(&self) -> bool {
        !self.ready
    }

    /// For programs.
    pub fn in_json(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// A table, and what to do below it.
    pub fn in_words(&self) -> String {
        let mut shown = Table::new();
        shown.load_preset(presets::NOTHING);
        shown.set_header([
            "table",
            "there",
            "here",
            "equal",
            "older there",
            "newer there",
            "lacks detail",
            "differs",
            "gone",
            "only here",
        ]);
        for column in shown.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for table in &self.tables {
            let counts = [
                table.rows_there,
                table.rows_here,
                table.equal,
                table.older_there,
                table.newer_there,
                table.lacks_detail,
                table.differs,
                table.gone,
                table.only_here,
            ];
            shown.add_row([table.table.clone()].into_iter().chain(counts.map(|count| count.to_string())));
        }
        let mut lines = vec![shown.to_string()];
        lines.extend(self.tables.iter().flat_map(Comparison::notes));
        if !self.absent.is_empty() {
            lines.push(format!("not there: {}", self.absent.join(", ")));
        }
        lines.push(if self.ready { "nothing keeps you from moving" } else { "not yet: see above" }.to_owned());
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(hour: u32) -> DateTime<Utc> {
        format!("2026-11-26T{hour:02}:00:00Z").parse().expect("a time")
    }

    /// What is said of a row that was read there at 12 o'clock, and of the one that was read here at `read`.
    fn verdict(there: Value, here: Option<Value>, read: u32) -> Verdict {
        let old = OldRow { id: Uuid::nil(), content: there, read_at: at(12) };
        let row = here.map(|content| Row { id: Uuid::nil(), content, is_deleted: false, lacks_detail: false });
        judge(&old, row.as_ref(), Read { last: Some(at(read)), full: Some(at(read)) })
    }

    #[test]
    fn a_row_is_equal_if_all_its_fields_are_here() {
        let there = json!({ "name": "a", "total": 100.0, "tags": [{ "n": 1 }] });
        assert_eq!(
            verdict(there, Some(json!({ "name": "a", "total": 100, "tags": [{ "n": 1.0 }], "more": 1 })), 13),
            Verdict::Equal
        );
    }

    #[test]
    fn of_two_that_differ_the_one_that_teamleader_changed_later_is_newer() {
        let of = |name: &str, hour: u32| json!({ "name": name, "updated_at": at(hour).to_rfc3339() });
        assert_eq!(verdict(of("a", 9), Some(of("b", 10)), 11), Verdict::OlderThere);
        assert_eq!(verdict(of("a", 10), Some(of("b", 9)), 13), Verdict::NewerThere);
        assert_eq!(verdict(of("a", 9), Some(of("b", 9)), 13), Verdict::Differs(vec!["name".to_owned()]));
    }

    #[test]
    fn without_updated_at_the_one_that_was_read_later_is_newer() {
        let (there, here) = (json!({ "name": "a" }), json!({ "name": "b" }));
        assert_eq!(verdict(there.clone(), Some(here.clone()), 13), Verdict::OlderThere);
        assert_eq!(verdict(there, Some(here), 11), Verdict::NewerThere);
    }

    #[test]
    fn a_record_that_is_not_here_is_gone_only_if_a_full_sync_came_later() {
        assert_eq!(verdict(json!({}), None, 13), Verdict::Gone);
        assert_eq!(verdict(json!({}), None, 11), Verdict::NewerThere);
    }

    #[test]
    fn a_field_that_is_not_here_may_be_one_that_is_still_to_be_fetched() {
        let old = OldRow { id: Uuid::nil(), content: json!({ "name": "a", "remarks": "r" }), read_at: at(12) };
        let row = |lacks_detail: bool, name: &str| Row {
            id: Uuid::nil(),
            content: json!({ "name": name }),
            is_deleted: false,
            lacks_detail,
        };
        let read = Read { last: Some(at(13)), full: None };
        assert_eq!(judge(&old, Some(&row(true, "a")), read), Verdict::LacksDetail);
        assert_eq!(judge(&old, Some(&row(false, "a")), read), Verdict::OlderThere);
        assert_eq!(judge(&old, Some(&row(true, "b")), read), Verdict::OlderThere);
    }
}
