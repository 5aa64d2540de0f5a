//! What the runs of each day came to.

use chrono::NaiveDate;
use serde::Serialize;
use sqlx::PgPool;

use crate::ids::Account;
use crate::store::pool::StoreError;

/// A day by UTC, and the runs that were finished on it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Day {
    /// The day.
    pub day: NaiveDate,
    /// Runs.
    pub runs: i64,
    /// Of these, those that ended as `partial` or `failed`; of one resource: in which it failed. None was cancelled.
    pub failed: i64,
    /// Requests made to the API. Not known by resource: 0 for one.
    pub api_requests: i64,
    /// Rows that were not there before.
    pub created: i64,
    /// Rows whose list item differed.
    pub updated: i64,
    /// Rows marked deleted.
    pub deleted: i64,
    /// Rows whose detail was merged.
    pub detailed: i64,
    /// How long the runs lasted, together; of one resource: those that had it.
    pub seconds: f64,
    /// How long the longest lasted.
    pub longest: f64,
}

/// The days on which a run was finished, of the last `days`, today included, the oldest first; with `resource` what the
/// runs came to for this one.
pub async fn days(pool: &PgPool, account: &Account, resource: Option<&str>, days: i64) -> Result<Vec<Day>, StoreError> {
    match resource {
        None => of_all(pool, account, days).await,
        Some(resource) => of_resource(pool, account, resource, days).await,
    }
}

async fn of_all(pool: &PgPool, account: &Account, days: i64) -> Result<Vec<Day>, StoreError> {
    let rows = sqlx::query_as!(
        Day,
        r#"select (finished_at at time zone 'utc')::date as "day!", count(*) as "runs!",
             count(*) filter (where status in ('partial', 'failed')) as "failed!",
             sum(api_requests)::bigint as "api_requests!", coalesce(sum(created), 0)::bigint as "created!",
             coalesce(sum(updated), 0)::bigint as "updated!", coalesce(sum(deleted), 0)::bigint as "deleted!",
             coalesce(sum(detailed), 0)::bigint as "detailed!",
             sum(extract(epoch from finished_at - started_at))::double precision as "seconds!",
             max(extract(epoch from finished_at - started_at))::double precision as "longest!"
         from teamleader2db.sync_run
         where account = $1 and finished_at >= (
             date_trunc('day', now() at time zone 'utc') - make_interval(days => $2 - 1)) at time zone 'utc'
         group by 1 order by 1"#,
        account.as_str(),
        whole(days),
    );
    Ok(rows.fetch_all(pool).await?)
}

async fn of_resource(pool: &PgPool, account: &Account, resource: &str, days: i64) -> Result<Vec<Day>, StoreError> {
    let rows = sqlx::query_as!(
        Day,
        r#"select (r.finished_at at time zone 'utc')::date as "day!", count(*) as "runs!",
             count(*) filter (where s.status = 'failed' and s.cause is distinct from 'cancelled') as "failed!",
             0::bigint as "api_requests!",
             sum(s.created)::bigint as "created!", sum(s.updated)::bigint as "updated!",
             sum(s.deleted)::bigint as "deleted!", sum(s.detailed)::bigint as "detailed!",
             sum(extract(epoch from r.finished_at - r.started_at))::double precision as "seconds!",
             max(extract(epoch from r.finished_at - r.started_at))::double precision as "longest!"
         from teamleader2db.sync_run r
         join teamleader2db.sync_step s on s.account = r.account and s.run_id = r.id
         where r.account = $1 and s.account = $1 and s.resource = $3 and r.finished_at >= (
             date_trunc('day', now() at time zone 'utc') - make_interval(days => $2 - 1)) at time zone 'utc'
         group by 1 order by 1"#,
        account.as_str(),
        whole(days),
        resource,
    );
    Ok(rows.fetch_all(pool).await?)
}

/// Days as an interval takes them; more than a hundred years are all.
fn whole(days: i64) -> i32 {
    i32::try_from(days.clamp(1, 36_500)).unwrap_or(36_500)
}
