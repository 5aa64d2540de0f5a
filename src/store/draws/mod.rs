//! Records that the always-on audit has drawn: table `teamleader2db.audit_draw`, the newest draw of each.

pub mod bound;
pub mod chance;
pub mod pace;
pub mod rows;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::pool::StoreError;
use crate::catalog::{AskAgain, Resource, Scope};
use crate::ids::Account;

/// What a record was drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The rows of the copy that are not marked deleted.
    Rows,
    /// The records that the API lists.
    List,
}

impl Source {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::List => "list",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Rows, Self::List].into_iter().find(|source| source.as_str() == name)
    }

    /// What records of a resource can be drawn from. Rows: those that can be asked for by id, and all of whose content
    /// one answer or two show. The list: where one list has all records of the account.
    pub fn of(resource: &Resource) -> Vec<Self> {
        let by_id = match resource.ask_again() {
            AskAgain::Ids => true,
            AskAgain::Info => resource.has_details(),
            AskAgain::List => false,
        };
        let rows = (by_id && resource.stands_alone()).then_some(Self::Rows);
        let list = (resource.scope == Scope::Account).then_some(Self::List);
        rows.into_iter().chain(list).collect()
    }

    /// Of which draws the shares of wrong and stale rows are: of rows where these can be drawn, else of the list.
    pub fn of_rows(resource: &Resource) -> Option<Self> {
        Self::of(resource).into_iter().next()
    }
}

/// How a record that was drawn differs from the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The row differs, and a pass should have seen that.
    Wrong,
    /// There is no row, and a pass should have seen the record.
    Missing,
    /// It has changed since the last pass that could have seen it.
    Stale,
}

impl Finding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Wrong, Self::Missing, Self::Stale];

    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Missing => "missing",
            Self::Stale => "stale",
        }
    }
}

/// What may turn a stale one into a wrong or a missing one, where nothing says when the record changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// The content differs: a pass that begins later has to write the row.
    Change,
    /// The record is deleted: a complete pass that begins later has to mark the row.
    Deletion,
    /// There is no row: a pass that begins later has to write one.
    Absence,
}

impl Open {
    fn as_str(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Deletion => "deletion",
            Self::Absence => "absence",
        }
    }
}

/// A record that was drawn, and how it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The record.
    pub id: Uuid,
    /// How it differs; `None`: the copy is right.
    pub finding: Option<Finding>,
    /// What is still to be decided about it.
    pub open: Option<Open>,
}

/// Stores draws, over earlier ones of the same records.
pub async fn store(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    source: Source,
    draws: &[Draw],
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = draws.iter().map(|draw| draw.id).collect();
    let findings: Vec<Option<String>> =
        draws.iter().map(|draw| draw.finding.map(|finding| finding.as_str().to_owned())).collect();
    let open: Vec<Option<String>> = draws.iter().map(|draw| draw.open.map(|open| open.as_str().to_owned())).collect();
    sqlx::query!(
        "insert into teamleader2db.audit_draw as d (account, resource, source, id, finding, open)
         select $1, $2, $3, id, finding, open
         from unnest($4::uuid[], $5::text[], $6::text[]) as drawn (id, finding, open)
         on conflict (account, resource, source, id) do update set
             drawn_at = excluded.drawn_at, finding = excluded.finding, open = excluded.open, repaired_at = null",
        account.as_str(),
        resource.name,
        source.as_str(),
        &ids,
        &findings as &[Option<String>],
        &open as &[Option<String>],
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Decides about stale ones that were left open, now that a pass was over them: a row that it has not written is
/// wrong, a record that it has given no row is missing. Where it has, the record was stale.
///
/// A pass that begins after the draw has a watermark behind the draw; of deletions only a complete one says something.
pub async fn decide_open(tx: &mut PgConnection, account: &Account, resource: &Resource) -> Result<(), StoreError> {
    sqlx::query!(
        "update teamleader2db.audit_draw d set open = null,
             finding = case when d.open = 'absence' and r.alive is not true then 'missing'
                 when d.open <> 'absence' and r.alive and r.written_before then 'wrong' else d.finding end
         from teamleader2db.audit_draw open
         join teamleader2db.cursor c on c.account = $1 and c.resource = $2
         left join lateral (
             select deleted_at is null as alive, changed_at <= open.drawn_at as written_before
             from teamleader.record where resource = $2 and account = $1 and id = open.id limit 1) as r on true
         where open.account = $1 and open.resource = $2 and open.open is not null
           and d.account = $1 and d.resource = $2 and d.source = open.source and d.id = open.id
           and case when open.open = 'deletion' or $3 then exists (
                   select from teamleader2db.sync_step s join teamleader2db.sync_run run
                       on run.account = s.account and run.id = s.run_id
                   where s.account = $1 and s.resource = $2 and s.status = 'completed' and s.since is null
                     and run.request ->> 'mode' = 'full' and run.started_at > open.drawn_at
                     and run.finished_at is not null)
               else c.watermark > open.drawn_at end",
        account.as_str(),
        resource.name,
        reads_a_window(resource),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether an incremental pass may read a part of the list alone, so that only a complete one should see each change.
pub fn reads_a_window(resource: &Resource) -> bool {
    resource.window.is_some() && !resource.updated_since
}

/// The state of a row that was drawn, beside what the API gave.
#[derive(Clone, Copy, Debug)]
pub struct RowState {
    /// The record.
    pub id: Uuid,
    /// It has a row that is not marked deleted.
    pub is_alive: bool,
    /// The row was written from a later request than this answer's.
    pub is_newer: bool,
    /// The row has no detail, or one that is known to be out of date.
    pub is_undetailed: bool,
    /// The record's `updated_at` as the row has it.
    pub updated_at: Option<DateTime<Utc>>,
}

/// The state of the rows of these records, each asked for at its time.
pub async fn states(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    (ids, asked_at): (&[Uuid], &[Option<DateTime<Utc>>]),
) -> Result<Vec<RowState>, StoreError> {
    let rows = sqlx::query!(
        r#"select p.id as "id!", r.id is not null and r.deleted_at is null as "is_alive!",
             coalesce(r.asked_at >= p.asked_at and r.asked_at <= clock_timestamp(), false) as "is_newer!",
             $5 and (r.detail_at is null or r.detail_at < r.listed_at) as "is_undetailed!",
             r.source_updated_at as "updated_at?"
         from unnest($3::uuid[], $4::timestamptz[]) as p (id, asked_at)
         left join lateral (
             select * from teamleader.record where resource = $1 and account = $2 and id = p.id limit 1) as r on true"#,
        resource.name,
        account.as_str(),
        ids,
        asked_at as &[Option<DateTime<Utc>>],
        resource.has_details(),
    );
    let rows = rows.fetch_all(tx).await?.into_iter().map(|row| RowState {
        id: row.id,
        is_alive: row.is_alive,
        is_newer: row.is_newer,
        is_undetailed: row.is_undetailed,
        updated_at: row.updated_at,
    });
    Ok(rows.collect())
}

/// Up to `limit` records of one of these resources that were found to differ and are not repaired.
pub async fn unrepaired(
    pool: &PgPool,
    account: &Account,
    resources: &[String],
    limit: i64,
) -> Result<Option<(String, Vec<Uuid>)>, StoreError> {
    let rows = sqlx::query!(
        "with first as (
             select resource from teamleader2db.audit_draw
             where account = $1 and resource = any($2) and finding is not null and repaired_at is null
             order by drawn_at limit 1)
         select distinct d.resource, d.id from teamleader2db.audit_draw d join first using (resource)
         where d.account = $1 and d.finding is not null and d.repaired_at is null order by d.id limit $3",
        account.as_str(),
        resources,
        limit,
    )
    .fetch_all(pool)
    .await?;
    let Some(resource) = rows.first().map(|row| row.resource.clone()) else { return Ok(None) };
    Ok(Some((resource, rows.into_iter().map(|row| row.id).collect())))
}

/// These were repaired, or cannot be.
pub async fn note_repaired(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    ids: &[Uuid],
) -> Result<(), StoreError> {
    sqlx::query!(
        "update teamleader2db.audit_draw set repaired_at = clock_timestamp(), open = null
         where account = $1 and resource = $2 and id = any($3) and repaired_at is null",
        account.as_str(),
        resource.name,
        ids,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes some draws that are older than 7 days; false if none was left.
pub async fn delete_old(pool: &PgPool, account: &Account, limit: i64) -> Result<bool, StoreError> {
    let deleted = sqlx::query!(
        "delete from teamleader2db.audit_draw where ctid = any(array(
             select ctid from teamleader2db.audit_draw
             where account = $1 and drawn_at < now() - interval '7 days' limit $2))",
        account.as_str(),
        limit,
    );
    Ok(deleted.execute(pool).await?.rows_affected() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::RESOURCES;

    #[test]
    fn what_records_are_drawn_from_is_as_docs_audit_has_it() {
        let of = |sources: &[Source]| -> Vec<&str> {
            RESOURCES.iter().filter(|of| Source::of(of) == sources).map(|of| of.name).collect()
        };
        let none = of(&[]);
        assert!(none.len() == 15 && none.contains(&"notes") && none.contains(&"files"), "{none:?}");
        assert_eq!(of(&[Source::Rows]), ["incomingInvoices", "incomingCreditNotes", "receipts"]);
        let listed = of(&[Source::List]);
        assert_eq!(listed.len(), 12, "{listed:?}");
        assert!(["tags", "taxRates", "expenses", "reservations"].iter().all(|name| listed.contains(name)));
        let both = of(&[Source::Rows, Source::List]);
        for name in ["contacts", "invoices", "events", "calls", "projects", "timeTracking"] {
            assert!(both.contains(&name), "{name}");
        }
    }
}
