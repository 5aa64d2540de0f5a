//! When the always-on audit may ask, and whose turn it is: tables `teamleader2db.audit_turn` and `audit_resource`.
//!
//! Each turn is written before its first request, as large and as long as it may become, and corrected when it is over.
//! So the rate holds over restarts, and for a process that was killed in the midst of a turn.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};

use super::{Source, reads_a_window};
use crate::catalog::RESOURCES;
use crate::ids::Account;
use crate::store::pool::StoreError;

/// Requests that a turn may send. A rate allows at least one turn an hour.
pub const MOST_REQUESTS: i64 = 10;

/// A turn lasts at most this long: a request that comes meanwhile waits for it.
pub const LASTS: Duration = Duration::from_secs(20);

/// The time in which no more requests are sent than the rate says.
const HOUR: TimeDelta = TimeDelta::hours(1);

/// What was asked for lately.
#[derive(Clone, Copy, Debug)]
struct Spent {
    /// The database's clock.
    now: DateTime<Utc>,
    /// Requests of turns that were over within the last hour, or are not over.
    last_hour: i64,
    /// When the last turn was over, and its requests.
    last: Option<(DateTime<Utc>, i64)>,
}

impl Spent {
    /// Whether a turn may begin: whatever hour is looked at, its turns have no more requests than the rate says, and
    /// they are spread over it.
    fn allows(&self, rate: u32) -> bool {
        let Some((over_at, requests)) = self.last.filter(|_| rate > 0) else { return rate > 0 };
        let rests = HOUR.num_milliseconds() * requests.max(1) / i64::from(rate);
        let rested = self.now.signed_duration_since(over_at).num_milliseconds() >= rests;
        rested && self.last_hour + MOST_REQUESTS <= i64::from(rate)
    }
}

/// A resource that may have its turn.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name.
    pub resource: String,
    /// What was drawn from when it last had its turn.
    pub last: Option<Source>,
    /// As many records its list has at least.
    pub list_end: i64,
    /// Rows that it has.
    pub rows: i64,
    /// What changed before this, a pass has seen or should have: its watermark. Of a resource of which an incremental
    /// pass reads a window alone, as of the last complete pass.
    pub watermark: Option<DateTime<Utc>>,
}

/// Whether a turn may begin now, and something was ever synced that can be audited.
pub async fn is_due(pool: &PgPool, account: &Account, rate: u32) -> Result<bool, StoreError> {
    let mut connection = pool.acquire().await?;
    if !spent(&mut connection, account).await?.allows(rate) {
        return Ok(false);
    }
    let synced = sqlx::query_scalar!(
        r#"select exists (
             select from teamleader2db.cursor where account = $1 and last_success_at is not null) as "exists!""#,
        account.as_str(),
    );
    Ok(synced.fetch_one(&mut *connection).await?)
}

async fn spent(connection: &mut PgConnection, account: &Account) -> Result<Spent, StoreError> {
    let row = sqlx::query!(
        r#"select clock_timestamp() as "now!", last.at as "at?", last.requests as "requests?",
             (select coalesce(sum(requests), 0)::bigint from teamleader2db.audit_turn
              where account = $1 and at > clock_timestamp() - interval '1 hour') as "last_hour!"
         from (select) as always left join lateral (
             select at, requests from teamleader2db.audit_turn where account = $1 order by at desc, id desc limit 1)
                 as last on true"#,
        account.as_str(),
    )
    .fetch_one(connection)
    .await?;
    Ok(Spent { now: row.now, last_hour: row.last_hour, last: row.at.zip(row.requests) })
}

/// Whose turn it is: of these resources the one whose last turn is longest ago, if a run has ever completed it.
pub async fn next(pool: &PgPool, account: &Account, resources: &[String]) -> Result<Option<Candidate>, StoreError> {
    let windowed = RESOURCES.iter().filter(|resource| reads_a_window(resource));
    let windowed: Vec<String> = windowed.map(|resource| resource.name.to_owned()).collect();
    let row = sqlx::query!(
        r#"select n.resource as "resource!", a.source as "source?", coalesce(a.list_end, 0) as "list_end!",
             case when n.resource <> all($3) then c.watermark else least(c.watermark, (
                 select max(run.started_at) from teamleader2db.sync_step s join teamleader2db.sync_run run
                     on run.account = s.account and run.id = s.run_id
                 where s.account = $1 and s.resource = n.resource and s.status = 'completed' and s.since is null
                   and run.request ->> 'mode' = 'full' and run.finished_at is not null)) end as watermark,
             coalesce((select sum(rows) from teamleader2db.table_count k
                       where k.account = $1 and k.resource = n.resource), 0)::bigint as "rows!"
         from unnest($2::text[]) with ordinality as n (resource, ordinal)
         join teamleader2db.cursor c on c.account = $1 and c.resource = n.resource and c.last_success_at is not null
         left join teamleader2db.audit_resource a on a.account = $1 and a.resource = n.resource
         order by a.turned_at nulls first, n.ordinal limit 1"#,
        account.as_str(),
        resources,
        &windowed,
    );
    let next = row.fetch_optional(pool).await?.map(|row| Candidate {
        last: row.source.as_deref().and_then(Source::named),
        resource: row.resource,
        list_end: row.list_end,
        rows: row.rows,
        watermark: row.watermark,
    });
    Ok(next)
}

/// Begins a turn, in a fenced transaction: its number. `None`: it may not begin now. `what`: rows, list or repair.
pub async fn begin(
    tx: &mut PgConnection,
    account: &Account,
    rate: u32,
    (resource, what): (&str, &str),
) -> Result<Option<i64>, StoreError> {
    if !spent(tx, account).await?.allows(rate) {
        return Ok(None);
    }
    let turn = sqlx::query_scalar!(
        "insert into teamleader2db.audit_turn (account, resource, source, at, requests)
         values ($1, $2, $3, clock_timestamp() + make_interval(secs => $4), $5) returning id",
        account.as_str(),
        resource,
        what,
        LASTS.as_secs_f64(),
        MOST_REQUESTS,
    );
    Ok(Some(turn.fetch_one(tx).await?))
}

/// A turn is over, and has sent so many requests. `rests`: as if it had lasted so much longer, so that the next one
/// waits.
pub async fn end(pool: &PgPool, turn: i64, (requests, rests): (i64, Duration)) -> Result<(), StoreError> {
    sqlx::query!(
        "update teamleader2db.audit_turn set at = clock_timestamp() + make_interval(secs => $3), requests = $2
         where id = $1",
        turn,
        requests,
        rests.as_secs_f64(),
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// A resource has had its turn. `list_end`: as many records its list has at least; `None`: that was not looked at.
pub async fn note_turn(
    tx: &mut PgConnection,
    account: &Account,
    resource: &str,
    (source, list_end): (Source, Option<i64>),
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into teamleader2db.audit_resource as a (account, resource, turned_at, source, list_end)
         values ($1, $2, clock_timestamp(), $3, coalesce($4::bigint, 0))
         on conflict (account, resource) do update set turned_at = excluded.turned_at, source = excluded.source,
             list_end = coalesce($4::bigint, a.list_end)",
        account.as_str(),
        resource,
        source.as_str(),
        list_end,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes some turns that are older than 7 days; false if none was left.
pub async fn delete_old(pool: &PgPool, account: &Account, limit: i64) -> Result<bool, StoreError> {
    let deleted = sqlx::query!(
        "delete from teamleader2db.audit_turn where ctid = any(array(
             select ctid from teamleader2db.audit_turn
             where account = $1 and at < now() - interval '7 days' limit $2))",
        account.as_str(),
        limit,
    );
    Ok(deleted.execute(pool).await?.rows_affected() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::draws::chance::Chance;

    /// Hours of turns of any size, some of which are cut off; when each request was sent.
    fn requests_of(rate: u32, hours: i64, chance: &mut Chance) -> Vec<i64> {
        let start = DateTime::UNIX_EPOCH;
        let (mut turns, mut sent): (Vec<(DateTime<Utc>, i64)>, Vec<i64>) = (Vec::new(), Vec::new());
        let mut second = 0;
        while second < hours * 3_600 {
            let now = start + TimeDelta::seconds(second);
            let recent = turns.iter().rev().take_while(|turn| turn.0 > now - TimeDelta::hours(3));
            let last_hour = recent.filter(|turn| turn.0 > now - HOUR).map(|turn| turn.1).sum();
            let last = turns.iter().rev().take(20).copied().max_by_key(|turn| turn.0);
            if !(Spent { now, last_hour, last }).allows(rate) {
                second += 1;
                continue;
            }
            let (used, took) = (chance.below(MOST_REQUESTS + 1), chance.below(20));
            sent.extend((0..used).map(|_| second + chance.below(took + 1)));
            let is_cut_off = chance.below(10) == 0;
            turns.push(match is_cut_off {
                true => (now + TimeDelta::seconds(20), MOST_REQUESTS),
                false => (now + TimeDelta::seconds(took), used),
            });
            second += if is_cut_off { 1 } else { took };
        }
        sent.sort_unstable();
        sent
    }

    #[test]
    fn no_hour_has_more_requests_than_the_rate_says_and_most_of_it_is_used() {
        for (rate, hours) in [(10, 48), (60, 24), (600, 6), (3_600, 4)] {
            let mut chance = Chance::of(uuid::Uuid::from_u128(u128::from(rate)));
            let sent = requests_of(rate, hours, &mut chance);
            for (first, at) in sent.iter().enumerate() {
                let of_the_hour = sent[first..].partition_point(|other| *other < at + 3_600);
                assert!(of_the_hour <= rate as usize, "{of_the_hour} requests in an hour of {rate}");
            }
            // Turns that last up to 20 s leave less of a high rate.
            let share = if rate <= 60 { 4 } else { 20 };
            assert!(sent.len() * share > hours as usize * rate as usize, "{} requests of {rate} an hour", sent.len());
        }
    }

    #[test]
    fn without_a_rate_nothing_is_asked() {
        let now = DateTime::UNIX_EPOCH;
        assert!(!Spent { now, last_hour: 0, last: None }.allows(0));
        assert!(!Spent { now, last_hour: 0, last: Some((now - TimeDelta::days(9), 1)) }.allows(0));
        assert!(Spent { now, last_hour: 0, last: None }.allows(10));
    }
}
