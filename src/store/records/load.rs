//! Lists merged fast: which records are equal to their rows is known without a query a row, and new ones go in by
//! `COPY`, PostgreSQL's fastest way, which takes no row that is there already.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tokio::sync::mpsc;
use tracing::Instrument as _;
use uuid::Uuid;

use super::elsewhere::{Elsewhere, Written};
use super::newest;
use super::{Merged, count};
use crate::api_client::answer::Record;
use crate::catalog::{self, PAGE_SIZE, Resource};
use crate::ids::Account;
use crate::process::failpoints::{self, Point};
use crate::store::pool::StoreError;
use crate::store::records::{self, Source};

/// Loads rows into the table of a resource, whose own trigger writes their typed columns: into the partitioned table,
/// which has one as well, PostgreSQL would load row by row. The columns are in the order in which [`write_row`] writes
/// them; the others have their defaults.
fn copy_into(resource: &str) -> String {
    format!(
        "copy teamleader.{} (resource, account, id, content, source_updated_at, list_hash, parent_resource, \
         parent_id, asked_at) from stdin (format binary)",
        catalog::table(resource)
    )
}

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
    /// Rows that others have written meanwhile.
    written: Written,
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
    pub async fn for_complete_list(
        pool: &PgPool,
        account: &Account,
        resource: &Resource,
        elsewhere: &Elsewhere,
    ) -> Result<Self, StoreError> {
        let written = elsewhere.watch(resource.name);
        let too_many = sqlx::query_scalar!(
            r#"select exists (select from teamleader.record where resource = $1 and account = $2 offset $3)
                     as "exists!""#,
            resource.name,
            account.as_str(),
            KNOWN_ROWS,
        );
        if too_many.fetch_one(pool).await? {
            return Ok(Self { written, ..Self::default() });
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
        Ok(Self { not_listed: Some(known.len()), known, last, written })
    }

    /// For any other list.
    pub fn of(resource: &Resource, elsewhere: &Elsewhere) -> Self {
        Self { written: elsewhere.watch(resource.name), ..Self::default() }
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
        self.forget_written();
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

    /// Nothing is known any more of rows that others have written.
    fn forget_written(&mut self) {
        for id in self.written.take() {
            if let Ok(place) = self.known.binary_search_by_key(&id, |row| row.id) {
                self.known[place].hash = None;
            }
            if self.last.as_ref().is_some_and(|last| last.contains_key(&id)) {
                self.last = None;
            }
        }
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
        let loaded = match copy(&mut tx, of_resource, receiver).await {
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
async fn copy(
    connection: &mut PgConnection,
    resource: &str,
    mut receiver: mpsc::Receiver<CopyChunk>,
) -> sqlx::Result<u64> {
    let mut copy = connection.copy_in_raw(&copy_into(resource)).await?;
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
#[path = "load_tests.rs"]
mod tests;
