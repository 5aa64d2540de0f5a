//! Lists merged fast: which records are equal to their rows is known without a query a row, and new ones go in by
//! `COPY`, PostgreSQL's fastest way, which takes no row that is there already.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tokio::sync::mpsc;
use tracing::Instrument as _;
use uuid::Uuid;

use super::newest;
use super::{Merged, count};
use crate::api_client::answer::Record;
use crate::catalog::{PAGE_SIZE, Resource};
use crate::ids::Account;
use crate::process::failpoints::{self, Point};
use crate::store::pool::StoreError;
use crate::store::records::{self, Source};

/// The columns in the order in which [`write_row`] writes them; the others have their defaults.
const COPY: &str = "copy teamleader.record
    (resource, account, id, content, source_updated_at, list_hash, parent_resource, parent_id, asked_at) \
     from stdin (format binary)";

/// Before a `COPY`: the trigger that counts rows leaves them to [`note_count`].
const BEFORE: &str = "savepoint load; set local teamleader2db.counts = 'own'";

/// After one that has loaded its rows. Going back to the savepoint resets the parameter as well.
const LOADED: &str = "release load; set local teamleader2db.counts = ''";

/// How COPY's binary format begins: its signature, no flags, no extension. See "COPY" in PostgreSQL's manual, "Binary
/// Format".
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// How it ends.
const TRAILER: &[u8] = &(-1_i16).to_be_bytes();

/// The version of jsonb's binary form, which precedes the JSON text.
const JSONB: u8 = 1;

/// PostgreSQL counts time from 2000-01-01, in microseconds; this is that moment in Unix time.
const EPOCH: i64 = 946_684_800_000_000;

/// The SQLSTATE of a statement that took longer than `statement_timeout`.
const TIMED_OUT: &str = "57014";

/// Bytes that are sent at a time: the server reads them while the next are written.
const CHUNK: usize = 64 * 1024;

/// Chunks that are written and not yet sent.
const CHUNKS_AHEAD: usize = 4;

/// Of how many rows ids and hashes are read at once: 32 bytes each. Of larger tables they are looked up as records
/// come.
const KNOWN_ROWS: i64 = 100_000;

/// Merges batches of a list that follow each other.
///
/// As long as all records of a batch are new, those of the next are presumed to be, and loaded without a look at the
/// rows.
#[derive(Debug, Default)]
pub struct Loader {
    /// Rows that were there when the pass or the slice began, by id.
    known: Vec<Known>,
    /// How many of them the list has not given yet; none if they are not known.
    not_listed: Option<usize>,
    /// Ids and hashes of the last records, if all of the last batch was new, or there was no row before it. Lists
    /// repeat the last records of a page on the next.
    last: Option<HashMap<Uuid, [u8; 16]>>,
}

/// A row that was there before.
#[derive(Debug)]
struct Known {
    id: Uuid,
    /// None where the row is to be written again, whatever the list gives.
    hash: Option<[u8; 16]>,
    listed: bool,
}

impl Loader {
    /// For a list that gives all records of the account: reads the ids and hashes of its rows, unless they are too
    /// many.
    pub async fn for_complete_list(pool: &PgPool, account: &Account, resource: &Resource) -> Result<Self, StoreError> {
        let too_many = sqlx::query_scalar!(
            r#"select exists (select from teamleader.record where resource = $1 and account = $2 offset $3)
                     as "exists!""#,
            resource.name,
            account.as_str(),
            KNOWN_ROWS,
        );
        if too_many.fetch_one(pool).await? {
            return Ok(Self::default());
        }
        let rows = sqlx::query!(
            "select id, list_hash from teamleader.record where resource = $1 and account = $2 and deleted_at is null",
            resource.name,
            account.as_str(),
        );
        let (mut rows, mut known) = (rows.fetch(pool), Vec::new());
        while let Some(row) = rows.try_next().await? {
            known.push(Known { id: row.id, hash: row.list_hash.try_into().ok(), listed: false });
        }
        known.sort_unstable_by_key(|row| row.id);
        let last = known.is_empty().then(HashMap::new);
        Ok(Self { not_listed: Some(known.len()), known, last })
    }

    /// For records that are presumed to be new.
    #[cfg(test)]
    pub fn presuming_new() -> Self {
        Self { last: Some(HashMap::new()), ..Self::default() }
    }

    /// Whether the list has given all rows that were there, so that none can be missing. False as well where they are
    /// not known.
    pub fn has_listed_all(&self) -> bool {
        self.not_listed == Some(0)
    }

    /// Merges list items as [`records::merge_page`] does, which says what the arguments are. The transaction comes
    /// back.
    pub async fn merge(
        &mut self,
        mut tx: Transaction<'static, Postgres>,
        account: &Account,
        resource: &Resource,
        items: &[Record],
        source: Source<'_>,
    ) -> Result<(Transaction<'static, Postgres>, Merged), StoreError> {
        let (distinct, doubted) = newest::of_each(items, source.origin.trust(resource));
        let last = self.last.take();
        let (mut new, mut others, mut equal, mut repeated) = (Vec::new(), Vec::new(), 0, 0);
        for &record in &distinct {
            let in_last = last.as_ref().map(|last| last.get(&record.id));
            repeated += usize::from(in_last.flatten().is_some());
            let knows = self.knows(record);
            if record.asked.is_overtaken(record.id) {
                others.push(record);
                continue;
            }
            record.asked.note(record.id);
            if knows || in_last.flatten() == Some(&record.hash) {
                equal += 1;
            } else if in_last == Some(None) {
                new.push(record);
            } else {
                others.push(record);
            }
        }
        let mut merged = Merged { unchanged: count(equal), doubted, ..Merged::default() };
        if !new.is_empty() {
            let loaded;
            (tx, loaded) = load(tx, account, resource, &new, source.parent_resource).await?;
            if loaded {
                merged.created = count(new.len());
            } else {
                others.append(&mut new);
            }
        }
        if !others.is_empty() {
            merged += records::merge_page(&mut tx, account, resource, others, source).await?;
        }
        let all_new = merged.created > 0 && merged.created == count(distinct.len() - repeated);
        let tail = &distinct[distinct.len().saturating_sub(PAGE_SIZE)..];
        self.last = all_new.then(|| tail.iter().map(|record| (record.id, record.hash)).collect());
        Ok((tx, merged))
    }

    /// Notes that the list gave the record, and returns whether its row is known to be equal. A record with a parent
    /// may have moved.
    fn knows(&mut self, record: &Record) -> bool {
        let Ok(place) = self.known.binary_search_by_key(&record.id, |row| row.id) else { return false };
        let row = &mut self.known[place];
        if let (Some(not_listed), false) = (&mut self.not_listed, row.listed) {
            *not_listed -= 1;
            row.listed = true;
        }
        if row.hash != Some(record.hash) {
            // It is written over now: whatever the list gives of it later is compared with the row.
            row.hash = None;
        }
        record.parent.is_none() && row.hash.is_some()
    }
}

/// What goes to a `COPY`.
enum CopyChunk {
    /// Bytes to send.
    Bytes(Vec<u8>),
    /// There are no more.
    End,
}

/// Loads rows, or none of them if one is there already: `false`.
///
/// The connection is in a task of its own, which no caller can cancel: sqlx 0.9.0 does not count the answers that a
/// `COPY` still has to get, and the next user of the connection would take them for its own. A caller that is dropped
/// ends the `COPY` without an effect.
///
/// No timeout of PostgreSQL ends a `COPY` that waits for its client. If this process is paused meanwhile,
/// [`lease::acquire`] does.
///
/// [`lease::acquire`]: crate::store::lease::acquire
async fn load(
    mut tx: Transaction<'static, Postgres>,
    account: &Account,
    resource: &Resource,
    records: &[&Record],
    parent_resource: Option<&str>,
) -> Result<(Transaction<'static, Postgres>, bool), StoreError> {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let (of_account, of_resource) = (account.clone(), resource.name);
    let loading = async move {
        sqlx::raw_sql(BEFORE).execute(&mut *tx).await?;
        let loaded = match copy(&mut tx, receiver).await {
            Ok(rows) => Some(i64::try_from(rows).unwrap_or(i64::MAX)),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => None,
            // Time runs while PostgreSQL waits for the rows: it is the way to it that is slow, and not the rows that
            // are bad.
            Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code == TIMED_OUT) => {
                return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, error.to_string()).into());
            }
            Err(error) => return Err(error),
        };
        sqlx::raw_sql(if loaded.is_some() { LOADED } else { "rollback to load" }).execute(&mut *tx).await?;
        if let Some(rows) = loaded {
            note_count(&mut tx, &of_account, of_resource, rows).await?;
        }
        Ok((tx, loaded.is_some()))
    };
    let loading = tokio::spawn(loading.in_current_span());
    // Where nobody listens any more, the task has ended and says why.
    _ = send_rows(sender, account, resource, records, parent_resource).await;
    // Only the end of the runtime ends the task early.
    Ok(loading.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))?)
}

/// Adds the rows of a `COPY` to those that are counted. A trigger for each row would cost as much as the row.
async fn note_count(tx: &mut PgConnection, account: &Account, resource: &str, rows: i64) -> sqlx::Result<()> {
    let counted = sqlx::query!(
        "insert into teamleader2db.table_count (account, resource, rows, deleted) values ($1, $2, $3, 0)",
        account.as_str(),
        resource,
        rows,
    );
    counted.execute(tx).await.map(drop)
}

/// Returns how many rows there are by that.
async fn copy(connection: &mut PgConnection, mut receiver: mpsc::Receiver<CopyChunk>) -> sqlx::Result<u64> {
    let mut copy = connection.copy_in_raw(COPY).await?;
    let mut ended = false;
    while let Some(CopyChunk::Bytes(chunk)) =
        receiver.recv().await.inspect(|chunk| ended = matches!(chunk, CopyChunk::End))
    {
        copy.send(chunk).await?;
    }
    failpoints::reached(Point::RowsSent);
    // Also where the caller was dropped: of all ways to end a `COPY`, sqlx reads the answer of this one whatever it is.
    let rows = copy.finish().await?;
    if ended { Ok(rows) } else { Err(sqlx::Error::WorkerCrashed) }
}

/// Sends the rows in COPY's binary format.
async fn send_rows(
    sender: mpsc::Sender<CopyChunk>,
    account: &Account,
    resource: &Resource,
    records: &[&Record],
    parent_resource: Option<&str>,
) -> Result<(), mpsc::error::SendError<CopyChunk>> {
    let mut chunk = HEADER.to_vec();
    for record in records {
        write_row(&mut chunk, account, resource, record, parent_resource);
        if chunk.len() >= CHUNK {
            let next = Vec::with_capacity(chunk.capacity());
            sender.send(CopyChunk::Bytes(std::mem::replace(&mut chunk, next))).await?;
        }
    }
    chunk.extend_from_slice(TRAILER);
    sender.send(CopyChunk::Bytes(chunk)).await?;
    sender.send(CopyChunk::End).await
}

fn write_row(
    out: &mut Vec<u8>,
    account: &Account,
    resource: &Resource,
    record: &Record,
    parent_resource: Option<&str>,
) {
    const COLUMNS: i16 = 9;
    let [updated_at, asked_at] = [record.updated_at, record.asked.at()].map(|at| at.map(microseconds));
    out.extend_from_slice(&COLUMNS.to_be_bytes());
    put(out, Some(resource.name.as_bytes()));
    put(out, Some(account.as_str().as_bytes()));
    put(out, Some(record.id.as_bytes()));
    put_length(out, 1 + record.json.len());
    out.push(JSONB);
    out.extend_from_slice(record.json.as_bytes());
    put(out, updated_at.as_ref().map(|at| &at[..]));
    put(out, Some(&record.hash));
    put(out, record.parent.and(parent_resource).map(str::as_bytes));
    put(out, record.parent.as_ref().map(|id| &id.as_bytes()[..]));
    put(out, asked_at.as_ref().map(|at| &at[..]));
}

/// A value with its length before it; null has the length -1.
fn put(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => {
            put_length(out, value.len());
            out.extend_from_slice(value);
        }
        None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    // No answer of the API is so long that this could matter.
    out.extend_from_slice(&i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes());
}

fn microseconds(at: DateTime<Utc>) -> [u8; 8] {
    (at.timestamp_micros() - EPOCH).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use sqlx::Executor;

    use super::super::newest::Origin;
    use super::*;
    use crate::api_client::asked::Asked;
    use crate::store::records::details;
    use crate::store::scratch::{Scratch, account, contact, contacts};
    use crate::store::{polled, pool};

    fn created(created: i64) -> Merged {
        Merged { created, ..Merged::default() }
    }

    #[tokio::test]
    async fn rows_that_are_loaded_are_as_rows_that_are_merged() {
        let (loaded, merged) = (Scratch::create(2).await, Scratch::create(2).await);
        let asked = Asked::between(Utc::now() - chrono::TimeDelta::hours(1), Utc::now());
        let timed = |id, second| Record { asked: asked.clone(), ..contact(id, second) };
        let batches = [[contact(1, 1), timed(2, 2)], [timed(3, 3), timed(4, 4)]];
        let mut loader = Loader::default();
        for batch in &batches {
            assert_eq!(loaded.merge(&mut loader, batch).await, created(2));
            assert!(loader.last.is_some(), "the next are presumed to be new");
            // One that knows of no batch before presumes nothing.
            assert_eq!(merged.merge(&mut Loader::default(), batch).await, created(2));
        }
        assert_eq!(loaded.rows().await, merged.rows().await);
        assert_eq!(loaded.rows().await.len(), 4);
        let clocks = "select bool_and(first_seen_at = changed_at and changed_at = listed_at and listed_at <= now()) \
                       from teamleader.record";
        assert_eq!(sqlx::query_scalar(clocks).fetch_one(&loaded.pool).await.ok(), Some(true));
        loaded.drop().await;
        merged.drop().await;
    }

    #[tokio::test]
    async fn a_row_that_is_there_after_all_costs_no_other_its_place() {
        let scratch = Scratch::create(2).await;
        scratch.merge(&mut Loader::default(), &[contact(4, 1)]).await;
        let mut loader = Loader::default();
        assert_eq!(scratch.merge(&mut loader, &[contact(1, 1), contact(2, 2)]).await, created(2));
        // The last page's last record comes once more; 4 is there, and older.
        let batch = [contact(2, 2), contact(3, 3), contact(4, 4)];
        assert_eq!(
            scratch.merge(&mut loader, &batch).await,
            Merged { created: 1, updated: 1, unchanged: 1, ..Merged::default() }
        );
        // Not all of that batch were new.
        assert_eq!(
            scratch.merge(&mut loader, &[contact(4, 4), contact(5, 5)]).await,
            Merged { created: 1, updated: 0, unchanged: 1, ..Merged::default() }
        );
        // One that came with the last batch has changed since.
        assert_eq!(scratch.merge(&mut loader, &[contact(6, 6)]).await, created(1));
        assert_eq!(
            scratch.merge(&mut loader, &[contact(6, 7), contact(7, 7)]).await,
            Merged { created: 1, updated: 1, unchanged: 0, ..Merged::default() }
        );
        let merged = Scratch::create(2).await;
        let all = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 7), (7, 7)].map(|(id, second)| contact(id, second));
        merged.merge(&mut Loader::default(), &all).await;
        assert_eq!(scratch.rows().await, merged.rows().await);
        scratch.drop().await;
        merged.drop().await;
    }

    #[tokio::test]
    async fn rows_that_are_known_are_not_looked_at() {
        let scratch = Scratch::create(2).await;
        let all = [contact(1, 1), contact(3, 3), contact(5, 5)];
        scratch.merge(&mut Loader::default(), &all).await;
        sqlx::query("update teamleader.record set deleted_at = now() where id = $1")
            .bind(all[2].id)
            .execute(&scratch.pool)
            .await
            .expect("marked");
        let mut loader = Loader::for_complete_list(&scratch.pool, &account(), contacts()).await.expect("read");
        assert_eq!(loader.known.len(), 2, "one is marked deleted");
        // A look at the row would now show that it differs.
        let behind = "update teamleader.record set list_hash = '' where id = $1";
        sqlx::query(behind).bind(all[0].id).execute(&scratch.pool).await.expect("written");
        let items = [contact(1, 1), contact(3, 4), contact(5, 5), contact(7, 7)];
        assert_eq!(
            scratch.merge(&mut loader, &items[1..]).await,
            Merged { created: 1, updated: 2, unchanged: 0, ..Merged::default() }
        );
        assert!(!loader.has_listed_all(), "one was there that is not listed yet");
        assert_eq!(scratch.merge(&mut loader, &items[..2]).await, Merged { unchanged: 2, ..Merged::default() });
        assert!(loader.has_listed_all());
        assert!(!Loader::default().has_listed_all(), "one that knows no rows cannot say");
        let living = "select count(*) from teamleader.record where deleted_at is null";
        assert_eq!(sqlx::query_scalar(living).fetch_one(&scratch.pool).await.ok(), Some(4_i64));
        scratch.drop().await;
    }

    /// Rows of contacts that the transaction has read so far.
    async fn read(tx: &mut PgConnection) -> i64 {
        let sql = "select coalesce(idx_tup_fetch, 0) + seq_tup_read from pg_stat_xact_user_tables \
                    where relid = 'teamleader.contacts'::regclass";
        sqlx::query_scalar(sql).fetch_one(tx).await.expect("PostgreSQL answers")
    }

    #[tokio::test]
    async fn a_table_that_was_just_filled_is_not_read_through_for_each_batch() {
        let scratch = Scratch::create(2).await;
        // As it is until PostgreSQL has counted the rows.
        scratch.pool.execute("alter table teamleader.contacts set (autovacuum_enabled = off)").await.expect("altered");
        let all: Vec<Record> = (0..2_000).map(|n| contact(2 * n + 1, 1)).collect();
        scratch.merge(&mut Loader::default(), &all).await;
        let changed: Vec<Record> = (0..10).map(|n| contact(2 * n + 1, 2)).collect();
        let tx = pool::begin(&scratch.pool).await.expect("a transaction");
        let (mut tx, merged) = Loader::default()
            .merge(tx, &account(), contacts(), &changed, Source::of(Origin::List))
            .await
            .expect("merged");
        assert_eq!(merged, Merged { updated: 10, ..Merged::default() });
        let by_items = read(&mut tx).await;
        assert!(by_items < 100, "{by_items} rows read for 10 list items");
        assert_eq!(details::merge_details(&mut tx, &account(), contacts(), &changed).await.ok(), Some(10));
        let by_details = read(&mut tx).await - by_items;
        assert!(by_details < 100, "{by_details} rows read for 10 details");
        tx.rollback().await.expect("rolled back");
        scratch.drop().await;
    }

    #[tokio::test]
    async fn a_load_that_is_dropped_at_any_of_its_awaits_leaves_a_connection_that_works() {
        // One connection: the next statement goes over the one that was loaded through.
        let scratch = Scratch::create(1).await;
        for times in 1.. {
            let mut loader = Loader::presuming_new();
            let tx = pool::begin(&scratch.pool).await.expect("a transaction");
            let items = [contact(1, 1)];
            let done = polled(times, loader.merge(tx, &account(), contacts(), &items, Source::of(Origin::List))).await;
            let answer: i64 = sqlx::query_scalar("select 41 + $1::bigint")
                .bind(1_i64)
                .fetch_one(&scratch.pool)
                .await
                .expect("it works");
            assert_eq!(answer, 42, "dropped after {times} polls");
            assert_eq!(scratch.rows().await.len(), 0, "what was not committed is not there");
            if done {
                break;
            }
        }
        scratch.drop().await;
    }

    #[tokio::test]
    async fn a_load_that_takes_too_long_says_nothing_against_its_rows() {
        let scratch = Scratch::create(1).await;
        let slow = "create function public.dawdle() returns trigger language plpgsql as $$ \
             begin perform pg_sleep(60); return new; end $$;
             create trigger dawdle before insert on teamleader.contacts for each row execute function public.dawdle()";
        sqlx::raw_sql(slow).execute(&scratch.pool).await.expect("made");
        let mut tx = pool::begin(&scratch.pool).await.expect("a transaction");
        tx.execute("set local statement_timeout = '100ms'").await.expect("set");
        let mut loader = Loader::presuming_new();
        let merged = loader.merge(tx, &account(), contacts(), &[contact(1, 1)], Source::of(Origin::List)).await;
        let error = merged.expect_err("it times out");
        assert!(error.is_transient() && !error.is_refused(), "{error}");
        assert_eq!(scratch.rows().await.len(), 0, "the connection works");
        scratch.drop().await;
    }
}
