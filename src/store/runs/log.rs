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
}
