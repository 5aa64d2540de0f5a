//! The Python service's tables compared with the rows here, page by page, and what to do about it.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool};
use uuid::Uuid;

use super::error::CompatError;
use super::judgement::{OldRow, Row, Verdict, judge};
use super::old::{OLD_TABLES, OldTable, resolved};
use crate::catalog::{self, Resource};
use crate::ids::Account;
use crate::store::pool::StoreError;
use crate::store::report::{self, Shortfall};
use crate::store::schema;

/// Rows that are read at a time. They may be large.
const PAGE: i64 = 200;

/// Ids that are named for each kind of finding.
const EXAMPLES: usize = 5;

/// This many records that were never here are looked at, whatever the table's size; and if more, up to a tenth of the
/// table: as with the guard of deletions, more of them mean that something else is wrong.
const FEW: u64 = 20;

/// A table that is to be compared.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    table: OldTable,
    /// What it is called, where that is not the usual name.
    name: Option<String>,
}

impl std::str::FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (usual, name) = text.split_once('=').map_or((text, None), |(usual, name)| (usual, Some(name.to_owned())));
        let table = OLD_TABLES.into_iter().find(|table| table.name == usual).ok_or_else(|| {
            let names = OLD_TABLES.map(|table| table.name).join(", ");
            format!("the tables are {names}; tl_contacts=people where one has another name")
        })?;
        Ok(Self { table, name })
    }
}

impl Asked {
    /// Those that were asked for, or all; by the usual names in `schema`.
    pub(super) fn or_all(asked: Vec<Self>, schema: &str) -> Vec<Self> {
        let asked = if asked.is_empty() { OLD_TABLES.map(|table| Self { table, name: None }).into() } else { asked };
        let quoted = schema.replace('"', "\"\"");
        let named = |asked: Self| {
            let name = asked.name.unwrap_or_else(|| asked.table.name.to_owned());
            let name = if name.contains('.') { name } else { format!("\"{quoted}\".{name}") };
            Self { name: Some(name), ..asked }
        };
        asked.into_iter().map(named).collect()
    }
}

/// How a table compares.
#[derive(Debug, Default, Serialize)]
struct Comparison {
    /// Its usual name.
    table: &'static str,
    resource: &'static str,
    /// When the last complete pass over the resource began here.
    complete_at: Option<DateTime<Utc>>,
    /// Whether no list shows changed details.
    #[serde(skip)]
    details_age: bool,
    /// Why it was left out, if the account does not have it.
    skipped: Option<String>,
    rows_there: u64,
    rows_here: u64,
    equal: u64,
    older_there: u64,
    newer_there: u64,
    lacks_detail: u64,
    differs: u64,
    deleted: u64,
    unknown: u64,
    unreadable: u64,
    only_here: u64,
    /// How many of those that differ do so in which field.
    fields: BTreeMap<String, u64>,
    /// Some ids of each finding that is to be looked at.
    ids: BTreeMap<&'static str, Vec<Uuid>>,
}

/// How all tables compare.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    account: Account,
    /// Whether nothing keeps anybody from moving.
    ready: bool,
    tables: Vec<Comparison>,
    /// Tables that are not there.
    absent: Vec<&'static str>,
}

/// Compares tables of `old` with the rows of `ours`. Changes nothing.
pub(super) async fn compare(
    old: &mut PgConnection,
    asked: &[Asked],
    ours: &PgPool,
    account: &Account,
) -> Result<Compared, CompatError> {
    schema::check(ours).await?;
    let ahead = clock_ahead(old, ours).await?;
    let shortfalls = report::shortfalls(ours, account).await?;
    let (mut tables, mut absent) = (Vec::new(), Vec::new());
    for Asked { table, name } in asked {
        let Some(name) = resolved(old, name.as_deref().unwrap_or(table.name)).await? else {
            absent.push(table.name);
            continue;
        };
        // One state of it, from the first page to the last. The Python service cannot empty it meanwhile.
        old.execute(
            "begin isolation level repeatable read, read only; set local idle_in_transaction_session_timeout = '5min'",
        )
        .await
        .map_err(CompatError::Old)?;
        let mut compared = compare_one(old, &name, *table, ours, account, ahead).await?;
        old.execute("commit").await.map_err(CompatError::Old)?;
        let skipped = |shortfall: &&Shortfall| shortfall.resource == table.resource && shortfall.status == "skipped";
        compared.skipped = shortfalls.iter().find(skipped).map(|skipped| skipped.error.clone().unwrap_or_default());
        tables.push(compared);
    }
    if tables.is_empty() {
        return Err(CompatError::NoTables(absent.join(", ")));
    }
    let ready = absent.is_empty() && tables.iter().all(|table| table.obstacles().is_empty());
    Ok(Compared { account: account.clone(), ready, tables, absent })
}

/// How far the clock of this program's database is ahead of the other one's, at most: rather is a row taken to have
/// been read too late.
async fn clock_ahead(old: &mut PgConnection, ours: &PgPool) -> Result<TimeDelta, CompatError> {
    let clock = "select clock_timestamp()";
    // A connection that is open takes no time.
    let mut ours = ours.acquire().await.map_err(StoreError::from)?;
    let there: DateTime<Utc> = sqlx::query_scalar(clock).fetch_one(old).await.map_err(CompatError::Old)?;
    let here: DateTime<Utc> = sqlx::query_scalar(clock).fetch_one(&mut *ours).await.map_err(StoreError::from)?;
    Ok(here - there)
}

async fn compare_one(
    old: &mut PgConnection,
    name: &str,
    table: OldTable,
    ours: &PgPool,
    account: &Account,
    ahead: TimeDelta,
) -> Result<Comparison, CompatError> {
    let complete_at = complete_at(ours, account, table.resource).await?;
    let mut comparison =
        Comparison { table: table.name, resource: table.resource, complete_at, ..Comparison::default() };
    comparison.details_age = catalog::find(table.resource).is_some_and(Resource::has_unshown_details);
    // No record's id is nil: ids follow it.
    let mut after = Uuid::nil();
    loop {
        let page = old_rows(old, name, after, ahead).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        let here = rows(ours, account, table.resource, &page.iter().map(|(id, _)| *id).collect::<Vec<_>>()).await?;
        for (id, row) in &page {
            comparison.count(*id, judge(row, here.get(id), complete_at));
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

/// When the last run began that read all of a resource.
async fn complete_at(ours: &PgPool, account: &Account, resource: &str) -> Result<Option<DateTime<Utc>>, CompatError> {
    let began = sqlx::query_scalar!(
        "select max(r.started_at) from teamleader2db.sync_run r
         join teamleader2db.sync_step s on s.account = r.account and s.run_id = r.id
         where r.account = $1 and s.resource = $2 and s.status = 'completed' and s.since is null and s.verified
           and r.request->>'mode' <> 'audit'",
        account.as_str(),
        resource,
    );
    Ok(began.fetch_one(ours).await.map_err(StoreError::from)?)
}

async fn old_rows(
    old: &mut PgConnection,
    name: &str,
    after: Uuid,
    ahead: TimeDelta,
) -> Result<Vec<(Uuid, OldRow)>, CompatError> {
    let sql = format!(
        "select tl_uuid, tl_content::text, coalesce(updated_at, created_at, 'epoch')::timestamptz
         from {name} where tl_uuid > $1 order by tl_uuid limit $2"
    );
    let rows: Vec<(Uuid, String, DateTime<Utc>)> =
        sqlx::query_as(AssertSqlSafe(sql)).bind(after).bind(PAGE).fetch_all(old).await.map_err(CompatError::Old)?;
    let row = |(id, content, read_at): (Uuid, String, DateTime<Utc>)| {
        (id, OldRow { content: serde_json::from_str(&content).ok(), read_at: read_at + ahead })
    };
    Ok(rows.into_iter().map(row).collect())
}

/// The rows here that have these ids.
async fn rows(
    ours: &PgPool,
    account: &Account,
    resource: &str,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Row>, CompatError> {
    let found = catalog::find(resource);
    let has_details = found.is_some_and(Resource::has_details);
    let unshown = found.is_some_and(Resource::has_unshown_details);
    let rows = sqlx::query!(
        r#"select id, content::text as "content!", deleted_at is not null as "is_deleted!",
             ($4 and (detail_at is null or detail_at < listed_at)) as "lacks_detail!", "#
            + r#"case when $5 then detail_at end as detail_at
         from teamleader.record where resource = $1 and account = $2 and id = any($3)"#,
        resource,
        account.as_str(),
        ids,
        has_details,
        unshown,
    )
    .fetch_all(ours)
    .await
    .map_err(StoreError::from)?;
    let mut here = HashMap::new();
    for found in rows {
        let content = serde_json::from_str(&found.content).ok();
        let (is_deleted, lacks_detail, detail_at) = (found.is_deleted, found.lacks_detail, found.detail_at);
        here.insert(found.id, Row { content, is_deleted, lacks_detail, detail_at });
    }
    Ok(here)
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
async fn lacking(old: &mut PgConnection, name: &str, ids: &[Uuid]) -> Result<u64, CompatError> {
    let sql = format!(
        "select count(*) from unnest($1::uuid[]) as here (key) \
         where not exists (select from {name} where tl_uuid = key)"
    );
    let count: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).bind(ids).fetch_one(old).await.map_err(CompatError::Old)?;
    Ok(count.unsigned_abs())
}

impl Comparison {
    fn count(&mut self, id: Uuid, verdict: Verdict) {
        self.rows_there += 1;
        let (count, example) = match verdict {
            Verdict::Equal => (&mut self.equal, None),
            Verdict::OlderThere => (&mut self.older_there, None),
            Verdict::LacksDetail => (&mut self.lacks_detail, None),
            Verdict::NewerThere => (&mut self.newer_there, Some("newer_there")),
            Verdict::Deleted => (&mut self.deleted, Some("deleted")),
            Verdict::Unknown => (&mut self.unknown, Some("unknown")),
            Verdict::Unreadable => (&mut self.unreadable, Some("unreadable")),
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

    fn examples(&self, finding: &str) -> String {
        let ids = self.ids.get(finding).map(Vec::as_slice).unwrap_or_default();
        format!("such as {}", ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(", "))
    }

    /// What keeps anybody from moving, and what to do about it.
    fn obstacles(&self) -> Vec<String> {
        let resource = self.resource;
        let mut obstacles = Vec::new();
        if let Some(why) = &self.skipped {
            obstacles.push(format!(
                "{resource} is not synced ({why}): if the account has none, keep this table, and leave it out by \
                 naming the others"
            ));
        } else if self.complete_at.is_none() {
            obstacles.push(format!(
                "all of {resource} was not read here yet, or too long ago: teamleader2db request {resource} --full \
                 --wait"
            ));
        } else if self.newer_there > 0 {
            obstacles.push(format!(
                "{} newer there, or read later ({}): teamleader2db request {resource} --full{} --wait, and compare \
                 again",
                self.newer_there,
                self.examples("newer_there"),
                if self.details_age { " --refetch" } else { "" }
            ));
        }
        if self.rows_there > 0 && self.unknown + self.deleted == self.rows_there {
            obstacles.push("not one of its records is here: is it the same Teamleader account?".to_owned());
        }
        if self.rows_there == 0 && self.rows_here > 0 {
            obstacles
                .push("empty there: is the service in the midst of a full sync, or is it another table?".to_owned());
        }
        if self.lacks_detail > 0 {
            obstacles.push(format!(
                "{} whose detail is still to be fetched here: wait for a sync to end",
                self.lacks_detail
            ));
        }
        if self.unreadable > 0 {
            obstacles.push(format!(
                "{} whose content is no object with fields ({}): look at them",
                self.unreadable,
                self.examples("unreadable")
            ));
        }
        if self.unknown > FEW.max(self.rows_there / 10) {
            obstacles.push(format!(
                "{} were never here ({}): are they deleted in Teamleader, or does the user who authorized see less?",
                self.unknown,
                self.examples("unknown")
            ));
        }
        obstacles
    }

    /// What there is to know.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.differs > 0 {
            let fields: Vec<String> = self.fields.iter().map(|(name, count)| format!("{name} ({count})")).collect();
            remarks.push(format!(
                "{} differ, and were read later here, in {} ({}): teamleader2db audit {} says whether the rows here \
                 are right",
                self.differs,
                fields.join(", "),
                self.examples("differs"),
                self.resource
            ));
        }
        if self.deleted > 0 {
            remarks.push(format!("{} are marked deleted here ({})", self.deleted, self.examples("deleted")));
        }
        if self.unknown > 0 && self.unknown <= FEW.max(self.rows_there / 10) {
            remarks.push(format!(
                "{} were never here ({}): Teamleader did not list them any more",
                self.unknown,
                self.examples("unknown")
            ));
        }
        remarks
    }
}

impl Compared {
    /// Whether something has to be done or looked at before the move.
    pub(super) fn is_open(&self) -> bool {
        !self.ready
    }

    /// For programs.
    pub(super) fn as_json(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// A table, and what to do below it.
    pub(super) fn as_text(&self) -> String {
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
                table.deleted + table.unknown,
                table.only_here,
            ];
            shown.add_row([table.table.to_owned()].into_iter().chain(counts.map(|count| count.to_string())));
        }
        let mut lines = vec![shown.to_string()];
        for table in &self.tables {
            lines.extend(table.remarks().into_iter().map(|remark| format!("       {}: {remark}", table.table)));
        }
        for table in &self.tables {
            lines.extend(table.obstacles().into_iter().map(|obstacle| format!("FIRST  {}: {obstacle}", table.table)));
        }
        if !self.absent.is_empty() {
            lines.push(format!(
                "FIRST  not there: {}. If that is right, name the others: teamleader2db compat compare {}",
                self.absent.join(", "),
                self.tables.iter().map(|table| table.table).collect::<Vec<_>>().join(" ")
            ));
        }
        if self.ready {
            lines.push("nothing keeps you from moving".to_owned());
        }
        lines.join("\n")
    }
}
