//! Whether passes over a list agree: what only one of two gave is looked at, and asked for by id.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::lookup;
use super::offset::{Compared, Comparison};
use super::pager::PassEnd;
use super::slice::{Slice, WorkError};
use crate::api_client::answer::{self, Record};
use crate::catalog::{AskAgain, PAGE_SIZE, Resource};
use crate::store::seen_ids::{self, Difference};

/// At most this many ids are asked for by `filter.ids`: ten requests. Where more differ, another pass says more.
const MOST_BY_FILTER: usize = 1_000;

/// At most this many are asked for by `.info`, one at a time.
const MOST_BY_INFO: usize = 100;

/// What the API says of a record that only one pass gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is deleted, or has a status that the list leaves out.
    Left,
    /// It is there, last changed then, if that is known.
    Alive(Option<DateTime<Utc>>),
}

impl Fate {
    /// Whether it explains that a pass which started after `since` does not have the record.
    fn explains(self, since: Option<DateTime<Utc>>) -> bool {
        match self {
            Self::Left => true,
            Self::Alive(changed_at) => is_young(changed_at, since),
        }
    }
}

fn is_young(changed_at: Option<DateTime<Utc>>, since: Option<DateTime<Utc>>) -> bool {
    changed_at.zip(since).is_some_and(|(changed_at, since)| changed_at >= since)
}

/// Compares the pass that is over with those before it, until one agrees that proves it.
pub async fn compare(
    slice: &Slice<'_>,
    resource: &'static Resource,
    end: &PassEnd,
    first_page: i32,
) -> Result<Vec<Compared>, WorkError> {
    let mut fates: HashMap<Uuid, Fate> = HashMap::new();
    let mut found = Vec::new();
    for comparison in end.comparisons() {
        let unexplained = unexplained(slice, resource, (end.pass(), comparison), first_page, &mut fates).await?;
        found.push(Compared { pass: comparison.pass, unexplained });
    }
    Ok(found)
}

/// How many ids only one of the two passes gave, and nothing explains it.
async fn unexplained(
    slice: &Slice<'_>,
    resource: &'static Resource,
    (pass, earlier): (i32, Comparison),
    first_page: i32,
    fates: &mut HashMap<Uuid, Fate>,
) -> Result<usize, WorkError> {
    let most = match resource.ask_again() {
        AskAgain::Ids => MOST_BY_FILTER,
        AskAgain::Info => MOST_BY_INFO,
        AskAgain::List => 0,
    };
    let mut connection = slice.pool.acquire().await?;
    // Young ones are among them, and are not asked for.
    let limit = i64::try_from(4 * MOST_BY_FILTER).unwrap_or(i64::MAX);
    let passes = (earlier.pass, pass);
    let differing = seen_ids::differences(&mut connection, slice.key(resource), passes, first_page, limit).await?;
    drop(connection);
    let settled = |difference: &Difference| !is_young(difference.changed_at, earlier.started_at);
    let settled: Vec<Uuid> = differing.iter().filter(|id| settled(id)).map(|difference| difference.id).collect();
    let unknown: Vec<Uuid> = settled.iter().copied().filter(|id| !fates.contains_key(id)).collect();
    if unknown.len() <= most {
        for ids in unknown.chunks(PAGE_SIZE) {
            let found = lookup::by_id(&slice.client, resource, ids).await?;
            let fate = |record: &Record| match found.hidden.contains(&record.id) {
                true => Fate::Left,
                false => Fate::Alive(changed_at(record)),
            };
            fates.extend(found.alive().map(|record| (record.id, fate(record))));
            fates.extend(found.missing.iter().map(|id| (*id, Fate::Left)));
        }
    }
    let is_explained = |id: &&Uuid| fates.get(id).is_some_and(|fate| fate.explains(earlier.started_at));
    let more = usize::from(differing.len() >= 4 * MOST_BY_FILTER);
    Ok(settled.iter().filter(|id| !is_explained(id)).count() + more)
}

/// When a record was last changed, as far as it says so: by `updated_at`, else when it was made.
pub fn changed_at(record: &Record) -> Option<DateTime<Utc>> {
    let made = |name: &&str| record.text(name).as_deref().and_then(answer::parse_time);
    record.updated_at.or_else(|| ["created_at", "added_at"].iter().find_map(made))
}
