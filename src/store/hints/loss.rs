//! The loss meter: changes that a pass found and no webhook announced.
//!
//! It counts rows that a pass wrote over or found gone, of resources that webhooks name, since the registration was
//! confirmed. Announced is a row for which a call came after it was last confirmed and no later than the waiting time
//! after the pass found it. Until then it is a candidate.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::ids::Account;
use crate::store::pool::StoreError;

/// A row that a pass has written over.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The row.
    pub id: Uuid,
    /// The request that it was last written from, before.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// When the record changed, where it says so.
    pub changed_at: Option<DateTime<Utc>>,
}

/// How the changes of a resource were announced.
#[derive(Clone, Debug, Serialize)]
pub struct Loss {
    /// The resource.
    pub resource: String,
    /// Changes that a hint has led to.
    pub shown: i64,
    /// Changes that a pass found before their hint came.
    pub late: i64,
    /// Changes that a pass found and no hint announced.
    pub missed: i64,
}

/// Notes rows that a pass has written over, in its transaction, as far as their content is another now. What no call
/// has announced becomes a candidate, if the record changed since the registration was confirmed: by its own time, or
/// where it has none, since a run last completed its resource.
pub async fn note_changed(
    tx: &mut PgConnection,
    account: &Account,
    resource: &str,
    found: &[Found],
) -> Result<(), StoreError> {
    if found.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = found.iter().map(|found| found.id).collect();
    let confirmed: Vec<Option<DateTime<Utc>>> = found.iter().map(|found| found.confirmed_at).collect();
    let changed: Vec<Option<DateTime<Utc>>> = found.iter().map(|found| found.changed_at).collect();
    sqlx::query!(
        // Row by row, by key: planned as a join before PostgreSQL has counted what a first sync wrote, it reads all
        // rows each time.
        "insert into teamleader2db.webhook_candidate (account, resource, id, confirmed_at)
         select $1, $2, f.id, coalesce(greatest(f.confirmed_at, h.looked_at), '-infinity')
         from teamleader2db.webhook_registration g
         cross join unnest($3::uuid[], $4::timestamptz[], $5::timestamptz[]) as f (id, confirmed_at, changed_at)
         cross join lateral (
             select from teamleader.record
             where resource = $2 and account = $1 and id = f.id and changed_at >= now() limit 1) as r
         left join teamleader2db.cursor c on c.account = $1 and c.resource = $2
         left join lateral (
             select id, last_at, looked_at from teamleader2db.hint
             where account = $1 and resource = $2 and id = f.id limit 1) as h on true
         where g.account = $1 and g.confirmed_at is not null
           and coalesce(f.changed_at, c.last_success_at) > g.confirmed_at
           and (h.id is null or h.last_at <= greatest(f.confirmed_at, h.looked_at))
         order by f.id
         on conflict (account, resource, id) do nothing",
        account.as_str(),
        resource,
        &ids,
        &confirmed as &[Option<DateTime<Utc>>],
        &changed as &[Option<DateTime<Utc>>],
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes rows whose records a complete pass is about to mark deleted, in its transaction. What no call has announced
/// becomes a candidate, if a complete pass saw it since the registration was confirmed.
pub async fn note_gone(
    tx: &mut PgConnection,
    account: &Account,
    resource: &str,
    ids: &[Uuid],
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into teamleader2db.webhook_candidate (account, resource, id, confirmed_at)
         select $1, $2, f.id, coalesce(greatest(r.asked_at, h.looked_at), '-infinity')
         from teamleader2db.webhook_registration g
         join teamleader2db.cursor c on c.account = $1 and c.resource = $2 and c.last_full_at > g.confirmed_at
         cross join unnest($3::uuid[]) as f (id)
         cross join lateral (
             select asked_at from teamleader.record
             where resource = $2 and account = $1 and id = f.id and deleted_at is null limit 1) as r
         left join lateral (
             select id, last_at, looked_at from teamleader2db.hint
             where account = $1 and resource = $2 and id = f.id limit 1) as h on true
         where g.account = $1 and g.confirmed_at is not null
           and (h.id is null or h.last_at <= greatest(r.asked_at, h.looked_at))
         order by f.id
         on conflict (account, resource, id) do nothing",
        account.as_str(),
        resource,
        ids,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Calls have come for these records: those that a pass found before are late.
pub(super) async fn announce(
    tx: &mut PgConnection,
    account: &Account,
    resources: &[String],
    ids: &[Uuid],
) -> Result<(), StoreError> {
    sqlx::query!(
        "with late as (
             delete from teamleader2db.webhook_candidate c
             using unnest($2::text[], $3::uuid[]) as named (resource, id)
             where c.account = $1 and c.resource = named.resource and c.id = named.id returning c.resource)
         insert into teamleader2db.webhook_loss as l (account, resource, late)
         select $1, resource, count(*) from late group by resource order by resource
         on conflict (account, resource) do update set late = l.late + excluded.late",
        account.as_str(),
        resources,
        ids,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Hints have led to this many changes.
pub async fn note_shown(
    tx: &mut PgConnection,
    account: &Account,
    resource: &str,
    changes: i64,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into teamleader2db.webhook_loss as l (account, resource, shown) values ($1, $2, $3)
         on conflict (account, resource) do update set shown = l.shown + excluded.shown",
        account.as_str(),
        resource,
        changes,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Counts candidates whose waiting time is over: as missed, where no call has come since the row was last confirmed.
/// One that came in the same moment as the find has not seen the candidate: it is late, or was there before.
pub async fn settle(pool: &PgPool, account: &Account, wait: Duration) -> Result<(), StoreError> {
    sqlx::query!(
        "with settled as (
             delete from teamleader2db.webhook_candidate
             where account = $1 and found_at < clock_timestamp() - make_interval(secs => $2)
             returning resource, id, found_at, confirmed_at),
         counted as (
             select s.resource, count(*) filter (where h.id is null) as missed,
                 count(*) filter (where h.last_at > s.found_at) as late
             from settled s
             left join lateral (
                 select id, last_at from teamleader2db.hint
                 where account = $1 and resource = s.resource and id = s.id and last_at > s.confirmed_at limit 1)
                     as h on true
             group by s.resource)
         insert into teamleader2db.webhook_loss as l (account, resource, missed, late)
         select $1, resource, missed, late from counted order by resource
         on conflict (account, resource) do update set missed = l.missed + excluded.missed,
             late = l.late + excluded.late",
        account.as_str(),
        wait.as_secs_f64(),
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// What was counted, by resource.
pub async fn all(pool: &PgPool, account: &Account) -> Result<Vec<Loss>, StoreError> {
    let losses = sqlx::query_as!(
        Loss,
        "select resource, shown, late, missed from teamleader2db.webhook_loss where account = $1 order by resource",
        account.as_str(),
    );
    Ok(losses.fetch_all(pool).await?)
}
