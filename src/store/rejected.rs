//! Records that could not be read or stored. Each costs only itself: it is named here, and asked for again by each
//! later pass.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Executor as _, PgConnection, PgPool};
use uuid::Uuid;

use super::pool::{self, StoreError};
use super::records::details;
use super::records::{self, Merged, Source};
use crate::api_client::answer::{Record, Rejected};
use crate::catalog::Resource;
use crate::ids::Account;

/// What of a record was rejected: from this follows how it is asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Its item in a list. It is asked for by its id, if it has one.
    Item,
    /// Its detail, which its row lacks: the row itself is the reminder.
    Detail,
}

/// Stores that these records were rejected. Where the item of one was, it is asked for by its id whatever becomes of
/// its detail.
pub async fn store(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    rejected: &[Rejected],
    of: Of,
) -> Result<(), StoreError> {
    if rejected.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = rejected.iter().map(|record| record.id).collect();
    let reasons: Vec<String> = rejected.iter().map(|record| record.reason.clone()).collect();
    let again: Vec<String> = rejected.iter().map(|record| again(record, of).to_owned()).collect();
    sqlx::query!(
        "insert into teamleader2db.rejected_record as r (account, resource, id, reason, again)
         select distinct on (id) $1, $2, id, reason, again
         from unnest($3::uuid[], $4::text[], $5::text[]) as rejected (id, reason, again)
         on conflict (account, resource, id) do update set
             reason = excluded.reason, last_at = clock_timestamp(),
             again = case when r.again = 'id' and excluded.again = 'detail' then r.again else excluded.again end",
        account.as_str(),
        resource.name,
        &ids,
        &reasons,
        &again,
    )
    .execute(&mut *tx)
    .await?;
    if of == Of::Detail {
        make_stale(tx, account, resource, &ids).await?;
    }
    Ok(())
}

/// Puts rows on the work list of details, where a detail was asked for again although it was not stale.
async fn make_stale(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    ids: &[Uuid],
) -> Result<(), StoreError> {
    sqlx::query!(
        "update teamleader.record set detail_at = listed_at - interval '1 microsecond'
         where resource = $1 and account = $2 and id = any($3) and detail_at >= listed_at",
        resource.name,
        account.as_str(),
        ids,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The word in the database.
fn again(record: &Rejected, of: Of) -> &'static str {
    match of {
        Of::Detail => "detail",
        Of::Item if record.has_id => "id",
        Of::Item => "list",
    }
}

/// Forgets records that were read and stored, or are deleted. Where only items were read, details that were rejected
/// stay so.
pub async fn forget(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    ids: &[Uuid],
    of: Of,
) -> Result<(), StoreError> {
    sqlx::query!(
        "delete from teamleader2db.rejected_record
         where account = $1 and resource = $2 and id = any($3) and (again = 'detail') = $4",
        account.as_str(),
        resource.name,
        ids,
        of == Of::Detail,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets details of rows that are marked deleted by now: they are not asked for any more.
pub async fn forget_deleted(tx: &mut PgConnection, account: &Account, resource: &Resource) -> Result<(), StoreError> {
    sqlx::query!(
        "delete from teamleader2db.rejected_record j
         where j.account = $1 and j.resource = $2 and j.again = 'detail' and not exists (
             select from teamleader.record r
             where r.resource = $2 and r.account = $1 and r.id = j.id and r.deleted_at is null)",
        account.as_str(),
        resource.name,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes that these were asked for, whatever came of it: they are not [`due`] again before the next sync.
pub async fn note_asked(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    ids: &[Uuid],
) -> Result<(), StoreError> {
    sqlx::query!(
        "update teamleader2db.rejected_record set last_at = clock_timestamp()
         where account = $1 and resource = $2 and id = any($3)",
        account.as_str(),
        resource.name,
        ids,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets those that only their list can give again (with `all`, each that a list gave), and that were not rejected
/// since `started`: a complete pass has read the list since, and they are sound now, or deleted.
pub async fn forget_not_listed(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    started: DateTime<Utc>,
    all: bool,
) -> Result<(), StoreError> {
    sqlx::query!(
        "delete from teamleader2db.rejected_record
         where account = $1 and resource = $2 and last_at < $3 and (again = 'list' or $4 and again = 'id')",
        account.as_str(),
        resource.name,
        started,
        all,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Up to `limit` ids to ask for again, in their order after `after`: those that were not rejected since `started`.
pub async fn due(
    pool: &PgPool,
    account: &Account,
    resource: &Resource,
    started: DateTime<Utc>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Uuid>, StoreError> {
    let ids = sqlx::query_scalar!(
        "select id from teamleader2db.rejected_record
         where account = $1 and resource = $2 and again = 'id' and last_at < $3 and ($4::uuid is null or id > $4)
         order by id limit $5",
        account.as_str(),
        resource.name,
        started,
        after,
        limit,
    );
    Ok(ids.fetch_all(pool).await?)
}

/// A record that is rejected as things are.
#[derive(Clone, Debug, Serialize)]
pub struct RejectedRecord {
    /// The resource.
    pub resource: String,
    /// Its id, or one that is made of its text.
    pub id: Uuid,
    /// Why.
    pub reason: String,
    /// When it was first rejected.
    pub first_at: DateTime<Utc>,
    /// When it was last rejected.
    pub last_at: DateTime<Utc>,
}

/// The rejected records of an account, at most `limit` of each resource: those that were rejected first.
pub async fn first(pool: &PgPool, account: &Account, limit: i64) -> Result<Vec<RejectedRecord>, StoreError> {
    let records = sqlx::query_as!(
        RejectedRecord,
        "select resource, id, reason, first_at, last_at
         from (select *, row_number() over (partition by resource order by first_at, id) as place
               from teamleader2db.rejected_record where account = $1) as placed
         where place <= $2 order by resource, place",
        account.as_str(),
        limit,
    );
    Ok(records.fetch_all(pool).await?)
}

/// How many records of each of these resources are rejected; nothing is left out.
pub async fn counts(pool: &PgPool, account: &Account, names: &[String]) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = sqlx::query!(
        r#"select n.resource as "resource!",
             (select count(*) from teamleader2db.rejected_record r
              where r.account = $1 and r.resource = n.resource) as "rejected!"
         from unnest($2::text[]) as n (resource)"#,
        account.as_str(),
        names,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.resource, row.rejected)).collect())
}

/// What records are merged as.
#[derive(Clone, Copy, Debug)]
pub enum As<'a> {
    /// List items; [`records::merge_page`] says what the arguments are.
    Items(Source<'a>),
    /// Details.
    Details,
}

/// What of a batch was stored.
#[derive(Debug, Default)]
pub struct Stored {
    /// What became of items.
    pub merged: Merged,
    /// Rows whose detail was merged.
    pub detailed: i64,
    /// Records that PostgreSQL refuses.
    pub rejected: Vec<Rejected>,
}

/// Merges a batch of which PostgreSQL refuses a value, all but the records that hold such: halves of halves, each
/// behind a savepoint. Any other error is one of the batch.
pub async fn merge_the_others(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    batch: &[Record],
    merged_as: As<'_>,
) -> Result<Stored, StoreError> {
    let (mut stored, mut waiting) = (Stored::default(), vec![batch]);
    while let Some(half) = waiting.pop() {
        if half.is_empty() {
            continue;
        }
        tx.execute("savepoint part").await?;
        let merged = match merged_as {
            As::Items(source) => {
                let merged = records::merge_page(tx, account, resource, half, source).await;
                merged.map(|merged| stored.merged += merged)
            }
            As::Details => {
                let merged = details::merge_details(tx, account, resource, half).await;
                merged.map(|merged| stored.detailed += merged)
            }
        };
        let Err(error) = merged else {
            tx.execute("release part").await?;
            continue;
        };
        let Some(reason) = error.refused_value() else { return Err(error) };
        tx.execute("rollback to part; release part").await?;
        match half {
            [record] => stored.rejected.push(Rejected { id: record.id, reason, has_id: true }),
            _ => {
                let (first, second) = half.split_at(half.len() / 2);
                waiting.extend([second, first]);
            }
        }
    }
    Ok(stored)
}

/// Which records of a batch PostgreSQL refuses; nothing of it stays written.
pub async fn by_postgres(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    batch: &[Record],
    merged_as: As<'_>,
) -> Result<Vec<Rejected>, StoreError> {
    tx.execute("savepoint trial").await?;
    let stored = merge_the_others(tx, account, resource, batch, merged_as).await?;
    tx.execute("rollback to trial; release trial").await?;
    Ok(stored.rejected)
}

/// Writes into the steps of a run that ends how many records are rejected; such a step is not verified. Returns them by
/// resource.
pub(super) async fn count_in_steps(
    tx: &mut PgConnection,
    account: &Account,
    run: Uuid,
) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = sqlx::query!(
        "with counted as (
             select resource, count(*) as rejected from teamleader2db.rejected_record where account = $1
             group by resource)
         update teamleader2db.sync_step s
         set rejected = coalesce((select c.rejected from counted c where c.resource = s.resource), 0),
             verified = s.verified and not exists (select from counted c where c.resource = s.resource)
         where s.account = $1 and s.run_id = $2
           and (s.rejected > 0 or exists (select from counted c where c.resource = s.resource))
         returning s.resource, s.rejected",
        account.as_str(),
        run,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.resource, row.rejected)).collect())
}

impl StoreError {
    /// Why a value is refused that was to be written, if that is so: by PostgreSQL itself, and not by what users have
    /// built on the tables. Names the code that its manual explains; its message may show the value.
    pub fn refused_value(&self) -> Option<String> {
        let Self::Database(error) = self else { return None };
        let code = pool::refused_value(error)?;
        Some(format!("PostgreSQL refuses it (SQLSTATE {code})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch::{Scratch, account, contacts};

    #[tokio::test]
    async fn an_item_that_was_rejected_is_asked_for_although_its_detail_was_rejected_since() {
        let scratch = Scratch::create(2).await;
        let rejected = [Rejected { id: Uuid::from_u128(7), reason: "odd".to_owned(), has_id: true }];
        let mut connection = scratch.pool.acquire().await.expect("connected");
        for of in [Of::Item, Of::Detail] {
            store(&mut connection, &account(), contacts(), &rejected, of).await.expect("stored");
        }
        // That its detail was read says nothing of the item.
        forget(&mut connection, &account(), contacts(), &[rejected[0].id], Of::Detail).await.expect("forgotten");
        let later = Utc::now() + chrono::TimeDelta::days(1);
        let ids = due(&scratch.pool, &account(), contacts(), later, None, 10).await.expect("read");
        assert_eq!(ids, [rejected[0].id]);
        forget(&mut connection, &account(), contacts(), &ids, Of::Item).await.expect("forgotten");
        assert!(due(&scratch.pool, &account(), contacts(), later, None, 10).await.expect("read").is_empty());
        drop(connection);
        scratch.drop().await;
    }
}
