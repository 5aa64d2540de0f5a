//! Which answer counts: the newest, by when it was asked for. Pure, but for reading what the rows hold.
//!
//! An answer is compared with its row, which knows the time of the request it was last written from, and with the
//! answers that came while this one was on its way ([`asked`]). One that was asked for earlier writes nothing. Of two
//! whose requests overlap in time it is unknown which the API made first: if they differ, and the later one is not
//! newer by `updated_at`, the record is asked for once more. So it is where a list gives an older `updated_at` than the
//! row has: the list may lag behind `.info`, or the record was restored. What was asked for by id later than the row
//! was written counts, older or not.
//!
//! [`asked`]: crate::api_client::asked

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::api_client::answer::Record;
use crate::api_client::asked::Times;
use crate::catalog::{AskAgain, Resource};
use crate::ids::Account;
use crate::store::pool::StoreError;

/// How an answer came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A page of a list.
    List,
    /// A page of what the source says has changed: where the item is equal, its detail is stale.
    Changes,
    /// It was asked for by its id.
    ById,
}

/// What an answer is worth that was asked for later than its row was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A list, which may lag behind: an older `updated_at` is a reason to ask for the record by id.
    Lagging,
    /// It counts, older or not, unless the requests overlap.
    ById,
    /// It counts: its resource cannot be asked for list items by id.
    Last,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The row is equal already.
    Equal,
    /// It is written.
    Counts,
    /// A newer one is there.
    Outdated,
    /// The record is asked for by id, and that answer counts.
    Doubtful,
}

/// A row, or an answer, as it is compared with another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// When it was asked for; unknown of rows of earlier versions.
    pub asked_at: Option<DateTime<Utc>>,
    /// When the answer was there, where that is known.
    pub answered_at: Option<DateTime<Utc>>,
    /// The record's `updated_at`.
    pub updated_at: Option<DateTime<Utc>>,
}

/// A row as it is before an answer is merged.
#[derive(Clone, Debug)]
pub struct Row {
    /// When it was asked for, and how old it is.
    pub state: State,
    /// The hash of its list item.
    pub list_hash: Vec<u8>,
    /// The hash of its detail, if it has one.
    pub detail_hash: Option<Vec<u8>>,
    /// Whether it is marked deleted.
    pub deleted: bool,
    /// The record it belongs to.
    pub parent: Option<Uuid>,
}

impl Origin {
    /// What list items of the resource are worth.
    pub fn trust(self, resource: &Resource) -> Trust {
        match self {
            _ if resource.ask_again() != AskAgain::Ids => Trust::Last,
            Self::List | Self::Changes => Trust::Lagging,
            Self::ById => Trust::ById,
        }
    }
}

impl State {
    /// An answer.
    pub fn of(record: &Record) -> Self {
        Self { updated_at: record.updated_at, ..Self::default() }.seen(record.asked.times())
    }

    /// The same, once an answer that says the same was seen.
    fn seen(self, times: Option<Times>) -> Self {
        match times {
            Some(times) if self.asked_at.is_none_or(|at| at <= times.at) => {
                Self { asked_at: Some(times.at), answered_at: Some(times.answered_at), ..self }
            }
            _ => self,
        }
    }

    /// What becomes of an answer that differs from this row.
    pub fn judge(&self, answer: &Self, trust: Trust) -> Verdict {
        let newer = self.updated_at.is_some() && answer.updated_at > self.updated_at;
        let older = answer.updated_at.is_some() && answer.updated_at < self.updated_at;
        let lags = older && trust == Trust::Lagging;
        let (Some(row_at), Some(at)) = (self.asked_at, answer.asked_at) else {
            return if lags { Verdict::Doubtful } else { Verdict::Counts };
        };
        // The one that was asked for earlier was still on its way when the other was sent.
        let overlap = if at < row_at { answer.answered_at > Some(row_at) } else { self.answered_at > Some(at) };
        let overlap = overlap && trust != Trust::Last;
        match at >= row_at {
            true if lags || overlap && !newer => Verdict::Doubtful,
            true => Verdict::Counts,
            false if overlap && !older => Verdict::Doubtful,
            false => Verdict::Outdated,
        }
    }
}

/// What becomes of a list item whose row is this one, if there is one.
pub fn judge_item(record: &Record, row: Option<&Row>, trust: Trust) -> Verdict {
    let Some(row) = row else {
        // What was seen of it left no row: it is deleted, or that is not committed yet.
        return match record.asked.is_overtaken(record.id) {
            true if trust == Trust::Last => Verdict::Outdated,
            true => Verdict::Doubtful,
            false => Verdict::Counts,
        };
    };
    let moved = record.parent.is_some() && row.parent != record.parent;
    if !row.deleted && !moved && row.list_hash == record.hash {
        return Verdict::Equal;
    }
    row.state.seen(others(record)).judge(&State::of(record), trust)
}

/// What becomes of a detail whose row is this one. An equal one counts as well: the row says when it was fetched.
pub fn judge_detail(record: &Record, row: &Row) -> Verdict {
    row.state.seen(others(record)).judge(&State::of(record), Trust::ById)
}

/// The newest answer for the record that is remembered, unless it is this one.
fn others(record: &Record) -> Option<Times> {
    record.asked.newest(record.id).filter(|seen| Some(*seen) != record.asked.times())
}

/// Of answers that were gathered those that count, each record once, in their order; and the records of which that is
/// unknown.
pub fn of_each<'a>(records: impl IntoIterator<Item = &'a Record>, trust: Trust) -> (Vec<&'a Record>, Vec<Uuid>) {
    let (mut newest, mut places): (Vec<&Record>, HashMap<Uuid, usize>) = (Vec::new(), HashMap::new());
    let mut doubted = Vec::new();
    for record in records {
        let place = *places.entry(record.id).or_insert(newest.len());
        let Some(best) = newest.get_mut(place) else {
            newest.push(record);
            continue;
        };
        let known = State::of(best);
        if best.hash == record.hash && best.parent == record.parent {
            if known.asked_at < record.asked.at() {
                *best = record;
            }
            continue;
        }
        match known.judge(&State::of(record), trust) {
            Verdict::Doubtful => {
                // Until then the newer of the two is the better guess.
                doubted.push(record.id);
                if record.updated_at >= best.updated_at {
                    *best = record;
                }
            }
            Verdict::Counts => *best = record,
            Verdict::Equal | Verdict::Outdated => {}
        }
    }
    (newest, doubted)
}

/// The rows of these records, by id. A time that this server's clock has not reached is unknown.
pub async fn rows(
    connection: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Row>, StoreError> {
    let rows = sqlx::query!(
        // Row by row, by key: planned as a join before PostgreSQL has counted what a first sync wrote, it reads all
        // rows each time.
        r#"select r.id, r.list_hash, r.detail_hash, r.source_updated_at, r.parent_id,
             r.deleted_at is not null as "deleted!",
             case when r.asked_at <= clock_timestamp() then r.asked_at end as asked_at
         from unnest($3::uuid[]) as p (id)
         cross join lateral (
             select * from teamleader.record where resource = $1 and account = $2 and id = p.id limit 1) as r"#,
        resource.name,
        account.as_str(),
        ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let state = State { asked_at: row.asked_at, answered_at: None, updated_at: row.source_updated_at };
            let (list_hash, detail_hash) = (row.list_hash, row.detail_hash);
            (row.id, Row { state, list_hash, detail_hash, deleted: row.deleted, parent: row.parent_id })
        })
        .collect())
}

#[cfg(test)]
#[path = "newest_tests.rs"]
mod tests;
