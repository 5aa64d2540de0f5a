//! The log lines of runs.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::ids::{Account, RunId};
use crate::messages::shortened;
use crate::process::run_lines::RunLine;
use crate::store::pool::{self, StoreError};

/// The most lines of a run: of more the oldest are deleted.
pub const MOST: i64 = 1_000;

/// The most characters of a message.
const MAX_MESSAGE: usize = 2_000;

/// The most bytes of a line's fields: more of them are left out.
const MAX_FIELDS: usize = 8_000;

/// A line as it was stored.
#[derive(Clone, Debug)]
pub struct StoredLine {
    /// When it was logged.
    pub at: DateTime<Utc>,
    /// `ERROR`, `WARN` or `INFO`.
    pub level: String,
    /// What it says.
    pub message: String,
    /// Its fields.
    pub fields: Value,
}

/// Stores lines; those of runs that are not stored are dropped.
pub async fn store(pool: &PgPool, account: &Account, lines: &[RunLine]) -> Result<(), StoreError> {
    let runs: Vec<Uuid> = lines.iter().map(|line| line.run).collect();
    let times: Vec<DateTime<Utc>> = lines.iter().map(|line| line.at).collect();
    let levels: Vec<&str> = lines.iter().map(|line| line.level).collect();
    let messages: Vec<String> = lines.iter().map(|line| storable(&line.message)).collect();
    let fields: Vec<String> = lines.iter().map(fields_of).collect();
    let mut tx = pool::begin(pool).await?;
    sqlx::query!(
        "insert into teamleader2db.run_log (account, run_id, at, level, message, fields)
         select $1, l.run, l.at, l.level, l.message, l.fields::jsonb
         from unnest($2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[])
             with ordinality as l (run, at, level, message, fields, place)
         where exists (select from teamleader2db.sync_run r where r.account = $1 and r.id = l.run)
         order by l.place",
        account.as_str(),
        &runs,
        &times,
        &levels as &[&str],
        &messages,
        &fields,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "delete from teamleader2db.run_log l using (select distinct unnest($2::uuid[]) as id) as r
         where l.account = $1 and l.run_id = r.id and l.number <= (
             select number from teamleader2db.run_log
             where account = $1 and run_id = r.id order by number desc offset $3 limit 1)",
        account.as_str(),
        &runs,
        MOST,
    )
    .execute(&mut *tx)
    .await?;
    Ok(tx.commit().await?)
}

/// The lines of a run, the oldest first.
pub async fn of(pool: &PgPool, account: &Account, run: RunId) -> Result<Vec<StoredLine>, StoreError> {
    let lines = sqlx::query_as!(
        StoredLine,
        "select at, level, message, fields from teamleader2db.run_log
         where account = $1 and run_id = $2 order by number",
        account.as_str(),
        run.0,
    );
    Ok(lines.fetch_all(pool).await?)
}

/// Deletes some lines of runs that completed over a week ago: of most runs nobody will ask any more, and the lines of
/// those that did not complete stay with their run. False if none was left.
pub async fn delete_old(pool: &PgPool, account: &Account, at_once: i64) -> Result<bool, StoreError> {
    let deleted = sqlx::query!(
        "delete from teamleader2db.run_log where ctid = any(array(
             select l.ctid from teamleader2db.sync_run r
             join teamleader2db.run_log l on l.account = r.account and l.run_id = r.id
             where r.account = $1 and r.status = 'completed' and r.finished_at < now() - interval '7 days' limit $2))",
        account.as_str(),
        at_once,
    );
    Ok(deleted.execute(pool).await?.rows_affected() > 0)
}

/// PostgreSQL stores no U+0000.
fn storable(text: &str) -> String {
    shortened(text.replace('\0', "\u{fffd}"), MAX_MESSAGE)
}

fn fields_of(line: &RunLine) -> String {
    let mut fields = line.fields.clone();
    for value in fields.values_mut() {
        if let Value::String(text) = value {
            *text = storable(text);
        }
    }
    let written = Value::from(fields).to_string();
    if written.len() > MAX_FIELDS { "{}".to_owned() } else { written }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch::{Scratch, account};

    fn line(run: u128, message: &str) -> RunLine {
        let fields = serde_json::json!({ "text": "a\0b" }).as_object().cloned().unwrap_or_default();
        RunLine { run: Uuid::from_u128(run), at: Utc::now(), level: "INFO", message: message.to_owned(), fields }
    }

    #[tokio::test]
    async fn the_last_lines_of_a_run_are_there_in_their_order() {
        let scratch = Scratch::create(2).await;
        let run = "insert into teamleader2db.sync_run (account, id, request, status) \
                   values ('acme', '00000000-0000-0000-0000-000000000007', '{}', 'running')";
        sqlx::query(run).execute(&scratch.pool).await.expect("stored");
        let lines: Vec<RunLine> = (0..700).map(|number| line(7, &format!("line {number}"))).collect();
        store(&scratch.pool, &account(), &lines).await.expect("stored");
        store(&scratch.pool, &account(), &[line(8, "of a run that is unknown")]).await.expect("dropped");
        store(&scratch.pool, &account(), &lines).await.expect("stored");
        let stored = of(&scratch.pool, &account(), RunId(Uuid::from_u128(7))).await.expect("read");
        let ends = [&stored[0], &stored[299], &stored[300], &stored[999]].map(|line| line.message.as_str());
        assert_eq!((stored.len(), ends), (1_000, ["line 400", "line 699", "line 0", "line 699"]));
        assert_eq!(stored[0].fields["text"], "a\u{fffd}b");
        assert!(of(&scratch.pool, &account(), RunId(Uuid::from_u128(8))).await.expect("read").is_empty());
        scratch.drop().await;
    }

    #[tokio::test]
    async fn lines_of_runs_that_completed_a_week_ago_are_deleted() {
        let scratch = Scratch::create(2).await;
        let runs = "insert into teamleader2db.sync_run (account, id, request, status, finished_at)
                    select 'acme', lpad(n::text, 32, '0')::uuid, '{}', status, now() - make_interval(days => days)
                    from (values (1, 'completed', 6), (2, 'completed', 8), (3, 'partial', 8)) as r (n, status, days)";
        sqlx::query(runs).execute(&scratch.pool).await.expect("stored");
        for run in 1..=3 {
            store(&scratch.pool, &account(), &[line(run, "a"), line(run, "b")]).await.expect("stored");
        }
        while delete_old(&scratch.pool, &account(), 1).await.expect("deleted") {}
        let mut left = Vec::new();
        for run in 1..=3 {
            left.push(of(&scratch.pool, &account(), RunId(Uuid::from_u128(run))).await.expect("read").len());
        }
        assert_eq!(left, [2, 0, 2]);
        scratch.drop().await;
    }
}
