//! How a list is read to its end although it changes meanwhile. Pure: from a position and a page to the next position.
//!
//! **Seek** (lists that are both sorted and filtered by `updated_at`): page 1 of what was updated since the last one seen, again
//! and again. A record that changes moves to the end, where it is met; nothing shifts below the reader. Deeper pages are read
//! only inside a tie, more than a page of records with one `updated_at`, and that tie is read until two readings agree.
//!
//! **Offset** (all others): page by page. A record that comes or goes shifts what follows, so a pass counts only if no id came
//! twice and there are as many ids as `matches` said, on each of its pages: of one that goes and one that comes, a page between the
//! two tells. That holds in whatever order the pages are made, so they are asked for several at a time. A complete reading takes two such passes that agree, of at most three. A pass of a single request cannot shift: one is
//! enough.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use crate::catalog::{self, PAGE_SIZE, Paging, Resource};
use crate::teamleader::answer::{Page, Record};

/// A tie is read at most this often before the pass goes on without proof.
const MAX_TIE_READINGS: u32 = 6;

/// Passes over a list that is read by offset.
const MAX_OFFSET_PASSES: i32 = 3;

/// Passes over a list that is read by seeking: a second one, when fewer records came than the list said to hold.
const MAX_SEEK_PASSES: i32 = 2;

/// Pages of one pass, after which it is given up: a list that never ends would fill the disk. Five million records,
/// several times what the largest accounts hold, and four hours of the API's budget.
const MAX_PAGES: u32 = 50_000;

/// A list that says how much it holds may grow while it is read. What gives twice as much, and so many pages more, does
/// not end.
const PAGES_BEYOND: u32 = 200;

/// Where in a list to go on. Kept as JSON in `sync_step.position`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The pass, from 1.
    pub pass: i32,
    /// How many pages were read in all passes: the number of the next row of `sync_page`.
    pub pages_read: i32,
    /// How many of them in this pass.
    #[serde(default)]
    pages_in_pass: u32,
    /// What the list said to hold when the pass began.
    matches: Option<i64>,
    way: Way,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Way {
    Seek(Seek),
    Offset(Offset),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Seek {
    /// The `updated_at` of the last record seen, as the API wrote it; at first that of the request.
    since: Option<String>,
    /// 1, but inside a tie.
    page: u32,
    reading: Digest,
    earlier: Option<Digest>,
    readings: u32,
    /// The first `updated_at` after the tie, as the earlier reading met it.
    beyond: Option<String>,
    unproven: bool,
    /// What the first pass was told and met, if it met fewer.
    short: Option<(i64, i64)>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Offset {
    page: u32,
    pass_ids: Digest,
    last_page: Digest,
    /// Whether a page of the pass told another number of matches than the first.
    #[serde(default)]
    unsteady: bool,
    /// The ids of each earlier pass that counted.
    counted: Vec<Digest>,
}

/// A set of ids in a few bytes: the same ids in any order give the same digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Digest {
    ids: u64,
    xor: u64,
}

impl Digest {
    fn add(&mut self, id: Uuid) {
        self.ids += 1;
        self.xor ^= xxh3_64(id.as_bytes());
    }

    fn of(records: &[Record]) -> Self {
        let mut digest = Self::default();
        records.iter().for_each(|record| digest.add(record.id));
        digest
    }

    fn join(&mut self, other: Self) {
        self.ids += other.ids;
        self.xor ^= other.xor;
    }
}

/// What to do after a page.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Read on from here.
    Page(Position),
    /// The pass is over: count the ids, and ask [`PassEnd::judge`].
    PassEnd(PassEnd),
}

/// A pass that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct PassEnd {
    position: Position,
    requests: u32,
}

/// What the passes over a list amount to.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Another pass is needed.
    Again(Position),
    /// The list was read.
    Read {
        /// Every record that was there throughout was seen: the watermark may move.
        complete: bool,
        /// And the counts prove it: what was not seen may be gone.
        verified: bool,
    },
    /// The list says other than it gives, though it did not change.
    Contradiction(String),
}

impl Position {
    /// The beginning of a list. `since` is what the pass asks for; `pages_read`, how many pages were read of other lists before.
    pub fn start(resource: &Resource, since: Option<DateTime<Utc>>, pages_read: i32) -> Self {
        let way = match resource.paging {
            Paging::Seek => Way::Seek(Seek::begin(since)),
            Paging::Offset(_) => Way::Offset(Offset { page: 1, ..Offset::default() }),
        };
        Self { pass: 1, pages_read, pages_in_pass: 0, matches: None, way }
    }

    /// The beginning of the next pass.
    fn next_pass(pass: i32, pages_read: i32, way: Way) -> Self {
        Self { pass: pass + 1, pages_read, pages_in_pass: 0, matches: None, way }
    }

    /// How many pages this pass may have.
    fn most_pages(&self) -> u32 {
        let said = self.matches.map(|matches| u32::try_from(catalog::pages(matches)).unwrap_or(u32::MAX));
        said.map_or(MAX_PAGES, |pages| pages.saturating_mul(2).saturating_add(PAGES_BEYOND).min(MAX_PAGES))
    }

    /// The requests that may be made at once, as page number and `updated_since`, in the order in which [`Position::after`] wants
    /// their pages; at least one. `asked` is the `since` of the pass.
    pub fn requests(&self, asked: Option<DateTime<Utc>>) -> impl Iterator<Item = (u32, Option<String>)> + use<> {
        let (pages, since) = match &self.way {
            Way::Seek(seek) => (seek.page..=seek.page, seek.since.clone()),
            Way::Offset(offset) => {
                // As many as the list said to have, once it has.
                let told = self.matches.map(catalog::pages);
                let last = told.map_or(offset.page, |told| u32::try_from(told).unwrap_or(u32::MAX));
                (offset.page..=last.max(offset.page), asked.map(as_text))
            }
        };
        pages.map(move |page| (page, since.clone()))
    }

    /// What the list said to hold, on the first page of the pass.
    pub fn matches(&self) -> Option<i64> {
        self.matches
    }

    /// What to do after this page. The error says how the page breaks the order that was asked for, or that the list
    /// does not end.
    pub fn after(mut self, page: &Page) -> Result<Next, String> {
        self.pages_read = self.pages_read.saturating_add(1);
        self.pages_in_pass = self.pages_in_pass.saturating_add(1);
        let pass_begins = self.matches.is_none();
        if pass_begins {
            self.matches = page.matches;
        }
        let ended = match &mut self.way {
            Way::Seek(seek) => seek.after(&page.records)?,
            Way::Offset(offset) => {
                offset.unsteady |= page.matches.is_some_and(|matches| Some(matches) != self.matches);
                offset.after(&page.records)
            }
        };
        if !ended {
            let most = self.most_pages();
            return if self.pages_in_pass < most {
                Ok(Next::Page(self))
            } else {
                Err(format!("the list did not end within {most} pages, so nothing is known of what it holds"))
            };
        }
        let requests = match &self.way {
            Way::Seek(_) => 1,
            Way::Offset(offset) => offset.page,
        };
        Ok(Next::PassEnd(PassEnd { position: self, requests }))
    }
}

impl Seek {
    fn begin(since: Option<DateTime<Utc>>) -> Self {
        Self { since: since.map(as_text), page: 1, ..Self::default() }
    }

    /// Moves on; true at the end of the list.
    fn after(&mut self, records: &[Record]) -> Result<bool, String> {
        let since = self.since.as_deref().and_then(crate::teamleader::answer::parse_time);
        let mut last = since;
        for record in records {
            let at = record.updated_at.ok_or("a record without updated_at, by which the list was to be sorted")?;
            if last.is_some_and(|last| at < last) {
                return Err("the records do not come in the order of updated_at that was asked for".to_owned());
            }
            last = Some(at);
        }
        let full = records.len() >= PAGE_SIZE;
        let in_tie = self.page > 1 || full && since.is_some() && last == since;
        let next = if in_tie {
            records.iter().filter(|record| record.updated_at == since).for_each(|record| self.reading.add(record.id));
            if full && last == since {
                self.page += 1;
                return Ok(false);
            }
            self.page = 1;
            let beyond = records.iter().find(|record| record.updated_at > since);
            let beyond = beyond.and_then(|record| record.updated_at_text.clone());
            let met_earlier = std::mem::replace(&mut self.beyond, beyond);
            if !self.tie_is_read() {
                return Ok(false);
            }
            // What this reading met may have shifted, by records that left the tie before its last page. That the two
            // agree proves that none had left when the earlier one met what follows.
            met_earlier.or_else(|| self.beyond.take())
        } else {
            records.last().filter(|_| full).and_then(|record| record.updated_at_text.clone())
        };
        (self.readings, self.earlier, self.beyond) = (0, None, None);
        let Some(next) = next else { return Ok(true) };
        self.since = Some(next);
        Ok(false)
    }

    /// Whether the last two readings of the tie agree, or there have been too many.
    fn tie_is_read(&mut self) -> bool {
        let reading = std::mem::take(&mut self.reading);
        self.readings += 1;
        let agree = self.earlier.replace(reading) == Some(reading);
        let given_up = self.readings >= MAX_TIE_READINGS;
        self.unproven |= given_up && !agree;
        agree || given_up
    }
}

impl Offset {
    /// Moves on; true at the end of the pass.
    fn after(&mut self, records: &[Record]) -> bool {
        let ids = Digest::of(records);
        // A list without paging gives everything on each page: a second page of the same ids is none.
        let same_again = self.page > 1 && ids == self.last_page;
        if !same_again {
            self.pass_ids.join(ids);
        }
        self.last_page = ids;
        if records.len() != PAGE_SIZE || same_again {
            return true;
        }
        self.page += 1;
        false
    }
}

impl PassEnd {
    /// The pass.
    pub fn pass(&self) -> i32 {
        self.position.pass
    }

    /// How many pages were read in all passes.
    pub fn pages_read(&self) -> i32 {
        self.position.pages_read
    }

    /// What the list said to hold.
    pub fn matches(&self) -> Option<i64> {
        self.position.matches
    }

    /// Judges the pass by the ids that it told: `distinct` of them. `since` is what the pass asked for; `full` asks for the
    /// proof that deletions need. `once`: one request proves enough, since a list that is read by one cannot shift; not so where
    /// reading it once more is the only way to ask for what it did not tell.
    pub fn judge(self, distinct: i64, since: Option<DateTime<Utc>>, full: bool, once: bool) -> Verdict {
        let Position { pass, pages_read, matches, way, .. } = self.position;
        match way {
            Way::Seek(seek) => {
                let Some(told) = matches.filter(|told| distinct < *told) else {
                    return Verdict::Read { complete: !seek.unproven, verified: !seek.unproven };
                };
                if pass < MAX_SEEK_PASSES {
                    let short = Some((told, distinct));
                    let way = Way::Seek(Seek { short, ..Seek::begin(since) });
                    return Verdict::Again(Position::next_pass(pass, pages_read, way));
                }
                if seek.short == Some((told, distinct)) {
                    return contradiction(told, distinct);
                }
                // Records went while it was read: fewer came than there had been, and each pass met other numbers.
                Verdict::Read { complete: !seek.unproven, verified: false }
            }
            Way::Offset(mut offset) => {
                let unique = i64::try_from(offset.pass_ids.ids) == Ok(distinct);
                let as_told = matches.is_none_or(|matches| matches == distinct);
                let counts = unique && as_told && !offset.unsteady;
                let agree = offset.counted.contains(&offset.pass_ids) || once && self.requests == 1;
                if counts && (!full || agree) {
                    return Verdict::Read { complete: true, verified: true };
                }
                if pass < MAX_OFFSET_PASSES {
                    offset.counted.extend(counts.then_some(offset.pass_ids));
                    let way = Way::Offset(Offset { page: 1, counted: offset.counted, ..Offset::default() });
                    return Verdict::Again(Position::next_pass(pass, pages_read, way));
                }
                match matches {
                    Some(told) if unique && !offset.unsteady && told != distinct => contradiction(told, distinct),
                    _ => Verdict::Read { complete: counts, verified: false },
                }
            }
        }
    }
}

fn contradiction(told: i64, distinct: i64) -> Verdict {
    Verdict::Contradiction(format!("the list says that it holds {told} records and gives {distinct}"))
}

/// As the API writes times: whole seconds, with an offset.
fn as_text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, false)
}

#[cfg(test)]
#[path = "pager_tests.rs"]
mod tests;
