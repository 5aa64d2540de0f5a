//! The ids that a run has seen, in `teamleader2db.sync_page`: column `pass` is the pass over the list that gave them; 0
//! for ids that were asked for and are deleted; [`DIFFERING`] for rows of which an audit found that they differ. Those
//! to be asked for once more have a number of their own, see [`super::doubts`].

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::hints::loss;
use super::pool::StoreError;
use super::records::gone;
use super::runs::StepKey;
use crate::api_client::answer;
use crate::catalog::webhooks;

/// The pass under which `sync_page` stores the ids that were found to differ: each is counted once.
const DIFFERING: i32 = -1;

/// An id that only one of two passes gave, and when its record was last changed, as far as its row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The id.
    pub id: Uuid,
    /// `updated_at`, else `created_at` or `added_at`, else when its row was first written; `None`: unknown, since there
    /// is no row, or the rows of the resource are all of this run.
    pub changed_at: Option<DateTime<Utc>>,
}

/// The ids that only one of two passes gave, on the pages from `first_page` on: up to `limit` of them.
pub async fn differences(
    connection: &mut PgConnection,
    step: StepKey<'_>,
    (one, other): (i32, i32),
    first_page: i32,
    limit: i64,
) -> Result<Vec<Difference>, StoreError> {
    let StepKey { account, run, resource } = step;
    let rows = sqlx::query!(
        r#"with page as (
             select pass, id from teamleader2db.sync_page, unnest(ids) as id
             where account = $2 and run_id = $3 and resource = $1 and pass in ($4, $5) and page >= $6),
           differing as (
             select id from page group by id having count(distinct pass) = 1 order by id limit $7)
         select d.id as "id!", r.source_updated_at as "updated_at?", r.content ->> 'created_at' as created_at,
             r.content ->> 'added_at' as added_at,
             case when exists (
                 select from teamleader.record, teamleader2db.sync_run as run
                 where resource = $1 and record.account = $2 and run.account = $2 and run.id = $3
                   and first_seen_at < run.started_at)
             then r.first_seen_at end as "first_seen_at?"
         from differing as d
         left join lateral (
             select * from teamleader.record where resource = $1 and account = $2 and id = d.id limit 1) as r on true"#,
        resource.name,
        account.as_str(),
        run.0,
        one,
        other,
        first_page,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let time = |text: Option<String>| text.as_deref().and_then(answer::parse_time);
    let differences = rows.into_iter().map(|row| {
        let source = row.updated_at.or_else(|| time(row.created_at)).or_else(|| time(row.added_at));
        Difference { id: row.id, changed_at: source.or(row.first_seen_at) }
    });
    Ok(differences.collect())
}

/// How many ids came twice within a pass, and how many records of all passes came or changed after `since`, as their
/// rows say.
pub async fn doubles_and_newcomers(
    connection: &mut PgConnection,
    step: StepKey<'_>,
    (pass, first_page): (i32, i32),
    since: DateTime<Utc>,
) -> Result<(i64, i64), StoreError> {
    let StepKey { account, run, resource } = step;
    let row = sqlx::query!(
        r#"with page as (
             select pass, id from teamleader2db.sync_page, unnest(ids) as id
             where account = $2 and run_id = $3 and resource = $1 and pass > 0 and page >= $5)
         select (select count(*) from (select from page where pass = $4 group by id having count(*) > 1) as doubled)
             as "doubles!",
             (select count(*) from (select distinct id from page) as p cross join lateral (
                 select * from teamleader.record where resource = $1 and account = $2 and id = p.id limit 1) as r
              where greatest(r.source_updated_at, r.first_seen_at) >= $6) as "newcomers!""#,
        resource.name,
        account.as_str(),
        run.0,
        pass,
        first_page,
        since,
    )
    .fetch_one(connection)
    .await?;
    Ok((row.doubles, row.newcomers))
}

/// Whether the passes of a run gave no record at all.
pub async fn gave_nothing(connection: &mut PgConnection, step: StepKey<'_>) -> Result<bool, StoreError> {
    let StepKey { account, run, resource } = step;
    let nothing = sqlx::query_scalar!(
        r#"select not exists (
             select from teamleader2db.sync_page
             where account = $2 and run_id = $3 and resource = $1 and pass > 0 and cardinality(ids) > 0)
             as "nothing!""#,
        resource.name,
        account.as_str(),
        run.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(nothing)
}

/// Stores the ids that a page gave, for the end of the pass.
pub async fn store_page(
    tx: &mut PgConnection,
    step: StepKey<'_>,
    (pass, page): (i32, i32),
    ids: &[Uuid],
) -> Result<(), StoreError> {
    let StepKey { account, run, resource } = step;
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into teamleader2db.sync_page (account, run_id, resource, pass, page, ids) values ($1, $2, $3, $4, $5,
             $6)",
        account.as_str(),
        run.0,
        resource.name,
        pass,
        page,
        ids,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Stores ids that were asked for at `asked_at` or later and that the API does not have: under pass 0.
pub async fn store_missing(
    tx: &mut PgConnection,
    step: StepKey<'_>,
    page: i32,
    (ids, asked_at): (&[Uuid], Option<DateTime<Utc>>),
) -> Result<(), StoreError> {
    let StepKey { account, run, resource } = step;
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into teamleader2db.sync_page (account, run_id, resource, pass, page, ids, asked_at) values ($1, $2,
             $3, 0, $4, $5, $6)",
        account.as_str(),
        run.0,
        resource.name,
        page,
        ids,
        asked_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// How many distinct ids passes `from` to `to` gave, on the pages from `first_page` on.
pub async fn count_ids(
    tx: &mut PgConnection,
    step: StepKey<'_>,
    (from, to): (i32, i32),
    first_page: i32,
) -> Result<i64, StoreError> {
    let StepKey { account, run, resource } = step;
    let distinct = sqlx::query_scalar!(
        r#"select count(distinct id) as "distinct!"
         from teamleader2db.sync_page, unnest(ids) as id
         where account = $1 and run_id = $2 and resource = $3 and pass between $4 and $5 and page >= $6"#,
        account.as_str(),
        run.0,
        resource.name,
        from,
        to,
        first_page,
    )
    .fetch_one(tx)
    .await?;
    Ok(distinct)
}

/// Rows that no pass of the run gave, in the order of their ids, after `after`. Not those that were first written
/// after `started`, when the run started: they cannot have been missed.
pub async fn unseen(
    pool: &PgPool,
    step: StepKey<'_>,
    started: Option<DateTime<Utc>>,
    (after, limit): (Option<Uuid>, i64),
) -> Result<Vec<Uuid>, StoreError> {
    let StepKey { account, run, resource } = step;
    let ids = sqlx::query_scalar!(
        // `except` and not an anti join: without statistics that one may become a nested loop over all pages.
        r#"select id as "id!" from (
             select id from teamleader.record
             where resource = $1 and account = $2 and deleted_at is null and ($4::uuid is null or id > $4)
               and ($6::timestamptz is null or first_seen_at < $6)
             except
             select unnest(ids) from teamleader2db.sync_page
             where account = $2 and run_id = $3 and resource = $1 and pass > 0) as unseen
         order by id limit $5"#,
        resource.name,
        account.as_str(),
        run.0,
        after,
        limit,
        started,
    )
    .fetch_all(pool)
    .await?;
    Ok(ids)
}

/// How many rows the sweep confirmed to be missing from the API.
pub async fn count_missing(tx: &mut PgConnection, step: StepKey<'_>) -> Result<i64, StoreError> {
    let StepKey { account, run, resource } = step;
    let missing = sqlx::query_scalar!(
        r#"select count(*) as "count!" from (
             select unnest(ids) from teamleader2db.sync_page
             where account = $1 and run_id = $2 and resource = $3 and pass = 0
             except
             select unnest(ids) from teamleader2db.sync_page
             where account = $1 and run_id = $2 and resource = $3 and pass > 0) as gone"#,
        account.as_str(),
        run.0,
        resource.name,
    )
    .fetch_one(tx)
    .await?;
    Ok(missing)
}

/// Marks deleted what the sweep confirmed to be missing, and with it its children and theirs, but for rows that were
/// written from a later request than the one that found it missing. A record that is missing from one partition and was
/// given by another has moved. A soft delete: the rows stay. Returns how many were marked, without the children.
pub async fn mark_deleted(tx: &mut PgConnection, step: StepKey<'_>) -> Result<i64, StoreError> {
    let StepKey { account, run, resource } = step;
    let missing = sqlx::query!(
        r#"select id as "id!", min(asked_at) as asked_at
         from (select unnest(ids) as id, asked_at from teamleader2db.sync_page
               where account = $1 and run_id = $2 and resource = $3 and pass = 0) as missing
         join (select unnest(ids) as id from teamleader2db.sync_page
               where account = $1 and run_id = $2 and resource = $3 and pass = 0
               except
               select unnest(ids) from teamleader2db.sync_page
               where account = $1 and run_id = $2 and resource = $3 and pass > 0) as gone using (id)
         group by id"#,
        account.as_str(),
        run.0,
        resource.name,
    )
    .fetch_all(&mut *tx)
    .await?;
    let (ids, asked): (Vec<Uuid>, Vec<Option<DateTime<Utc>>>) =
        missing.into_iter().map(|row| (row.id, row.asked_at)).unzip();
    if webhooks::announce_deletions(resource) {
        loss::note_gone(tx, account, resource.name, &ids).await?;
    }
    gone::mark(tx, account, resource, (&ids, &asked)).await
}

/// Which of these ids were found to differ earlier in the run.
pub async fn found_earlier(
    connection: &mut PgConnection,
    step: StepKey<'_>,
    ids: &[Uuid],
) -> Result<Vec<Uuid>, StoreError> {
    let StepKey { account, run, resource } = step;
    let found = sqlx::query_scalar!(
        r#"select distinct id as "id!" from teamleader2db.sync_page, unnest(ids) as id
         where account = $1 and run_id = $2 and resource = $3 and pass = $4 and id = any($5)"#,
        account.as_str(),
        run.0,
        resource.name,
        DIFFERING,
        ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(found)
}

/// Stores ids that were found to differ.
pub async fn store_differing(connection: &mut PgConnection, step: StepKey<'_>, ids: &[Uuid]) -> Result<(), StoreError> {
    append(connection, step, DIFFERING, ids).await
}

/// Stores ids as the next page of a `pass` that is none over a list.
pub(super) async fn append(
    connection: &mut PgConnection,
    step: StepKey<'_>,
    pass: i32,
    ids: &[Uuid],
) -> Result<(), StoreError> {
    let StepKey { account, run, resource } = step;
    sqlx::query!(
        "insert into teamleader2db.sync_page (account, run_id, resource, pass, page, ids)
         select $1, $2, $3, $4, coalesce(max(page) + 1, 0), $5 from teamleader2db.sync_page
         where account = $1 and run_id = $2 and resource = $3 and pass = $4",
        account.as_str(),
        run.0,
        resource.name,
        pass,
        ids,
    )
    .execute(connection)
    .await?;
    Ok(())
}
