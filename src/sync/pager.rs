//! How a list is read to its end although it changes meanwhile. Pure: from a position and a page to the next position.
//!
//! **Seek** (lists that are both sorted and filtered by `updated_at`): page 1 of what was updated since the last one
//! seen, again and again. A record that changes moves to the end, where it is met; nothing shifts below the reader.
//! Deeper pages are read only inside a tie, more than a page of records with one `updated_at`, and that tie is read
//! until two readings agree.
//!
//! **Offset** (all others): page by page, in passes that prove what they read by what the list says to hold, or by
//! each other; see [`super::offset`].
//!
//! A page of exactly 20 records where more were asked for may be full: that is the API's default, and nothing warns of
//! a list that ignores the size.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::offset::{self, Asked, Compared, Comparison, Digest, Judgement, Offset};
use crate::api_client::answer::{Page, Record};
use crate::api_client::clock::{Dated, MAX_SKEW};
use crate::catalog::{self, DEFAULT_PAGE_SIZE, Paging, Resource};

/// A tie is read at most this often before the pass goes on without proof.
const MAX_TIE_READINGS: u32 = 6;

/// Passes over a list that is read by seeking: a second one, when fewer records came than the list said to hold.
const MAX_SEEK_PASSES: i32 = 2;

/// Pages of one pass, after which it is given up: a list that never ends would fill the disk. Five million records,
/// several times what the largest accounts hold, and four hours of the API's budget.
const MAX_PAGES: u32 = 50_000;

/// By how much pages are smaller where those of the usual size are too long.
const SMALLER: u32 = 10;

/// A list that says how much it holds may grow while it is read. One that gives twice as much, and this many pages
/// more, does not end.
const PAGES_BEYOND: u32 = 200;

/// Where in a list to go on. Stored as JSON in `sync_step.position`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListCursor {
    /// The pass, from 1.
    pub pass: i32,
    /// How many pages were read in all passes: the number of the next row of `sync_page`.
    pub pages_read: i32,
    /// How many of them in this pass.
    #[serde(default)]
    pages_in_pass: u32,
    /// What the list said to hold when the pass began.
    matches: Option<i64>,
    /// Whether pages have a tenth of the usual size, since those are too long.
    #[serde(default)]
    small: bool,
    /// Whether the pass is over, and to be compared with those before it.
    #[serde(default)]
    over: bool,
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
    /// What the list said to hold in the first pass and what the pass gave, if that was less.
    short: Option<(i64, i64)>,
}

/// What to do after a page.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Read on from here.
    Page(ListCursor),
    /// The pass is over: count the ids, and ask [`PassEnd::judge`].
    PassEnd(PassEnd),
}

/// A pass that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct PassEnd {
    position: ListCursor,
}

/// The evidence by which a pass is judged, and the proof that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    /// How many distinct ids the pass gave.
    pub distinct: i64,
    /// What the pass asked for.
    pub since: Option<DateTime<Utc>>,
    /// Whether the proof is wanted that deletions need.
    pub full: bool,
    /// Whether one request proves enough, since a list that is read by one cannot shift; not so where reading it once
    /// more is the only way to ask for what it did not give.
    pub once: bool,
}

/// What the passes over a list amount to.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Another pass is needed.
    Again(ListCursor),
    /// The pass is to be compared with earlier ones: look at [`ListCursor::over`], and ask [`PassEnd::compared`].
    Compare(ListCursor),
    /// The list was read.
    Read {
        /// Every record that was there throughout was seen: the watermark may move.
        complete: bool,
        /// And the counts prove it: a row that was not seen may be marked deleted.
        verified: bool,
    },
    /// The list says other than it gives, though it did not change.
    Contradiction(String),
}

impl ListCursor {
    /// The beginning of a list. `since` is what the pass asks for; `pages_read`, how many pages were read of other
    /// lists before.
    pub fn start(resource: &Resource, since: Option<DateTime<Utc>>, pages_read: i32) -> Self {
        Self::pass(1, pages_read, Way::begin(resource.paging, since, false))
    }

    /// The beginning of a pass.
    fn pass(pass: i32, pages_read: i32, way: Way) -> Self {
        Self { pass, pages_read, pages_in_pass: 0, matches: None, small: false, over: false, way }
    }

    /// The beginning of the next pass.
    fn next_pass(&self, way: Way) -> Self {
        Self { small: self.small, ..Self::pass(self.pass.saturating_add(1), self.pages_read, way) }
    }

    /// The list from its beginning with pages of a tenth of the size, where an answer is too long; `None` where they
    /// have it already.
    pub fn smaller(&self, resource: &Resource, since: Option<DateTime<Utc>>) -> Option<Self> {
        let smaller = Self { small: true, ..self.next_pass(Way::begin(resource.paging, since, true)) };
        (!self.small).then_some(smaller)
    }

    /// How many records a page is asked to have.
    pub fn size(&self) -> usize {
        match &self.way {
            Way::Seek(_) => offset::size_of(0, self.small),
            Way::Offset(offset) => offset.size,
        }
    }

    /// The pass that ends here, if it is over and was not yet compared.
    pub fn over(&self) -> Option<PassEnd> {
        self.over.then(|| PassEnd { position: self.clone() })
    }

    /// How many pages this pass may have.
    fn most_pages(&self) -> u32 {
        let smaller = if self.small { SMALLER } else { 1 };
        let most = MAX_PAGES.saturating_mul(smaller);
        let said =
            self.matches.map(|matches| u32::try_from(catalog::pages(matches, self.page_size())).unwrap_or(u32::MAX));
        said.map_or(most, |pages| pages.saturating_mul(2).saturating_add(PAGES_BEYOND).min(most))
    }

    /// How many records a page has.
    fn page_size(&self) -> usize {
        match &self.way {
            Way::Seek(_) => self.size(),
            Way::Offset(offset) => offset.page_size(),
        }
    }

    /// The requests that may be made at once, as page number and `updated_since`, in the order in which
    /// [`ListCursor::after`] wants their pages; at least one. `asked` is the `since` of the pass.
    pub fn requests(&self, asked: Option<DateTime<Utc>>) -> impl Iterator<Item = (u32, Option<String>)> + use<> {
        let (pages, since) = match &self.way {
            Way::Seek(seek) => (seek.page..=seek.page, seek.since.clone()),
            Way::Offset(offset) => {
                // As many as the list said to have, once it has.
                let reported = self.matches.map(|matches| catalog::pages(matches, self.page_size()));
                let last = reported.map_or(offset.page, |reported| u32::try_from(reported).unwrap_or(u32::MAX));
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
        // It is not the records then, and nothing says where to go on.
        if let (true, Some(rejected)) = (page.records.is_empty() && page.len() >= self.size(), page.rejected.first()) {
            return Err(format!("no record of a full page can be read: of the first, {}", rejected.reason));
        }
        self.pages_read = self.pages_read.saturating_add(1);
        self.pages_in_pass = self.pages_in_pass.saturating_add(1);
        if self.matches.is_none() {
            self.matches = page.matches;
        }
        let size = self.size();
        let ended = match &mut self.way {
            Way::Seek(seek) => seek.after(page, size)?,
            Way::Offset(offset) => {
                if self.pages_in_pass == 1 {
                    offset.start(match page.dated {
                        Some(Dated::At(date)) => Some(date),
                        Some(Dated::Apart(_)) | None => None,
                    });
                }
                offset.after(page, self.matches)
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
        Ok(Next::PassEnd(PassEnd { position: self }))
    }
}

impl Way {
    fn begin(paging: Paging, since: Option<DateTime<Utc>>, small: bool) -> Self {
        match paging {
            Paging::Seek => Self::Seek(Seek::begin(since)),
            Paging::Offset(_) => Self::Offset(Offset::begin(small)),
        }
    }
}

impl Seek {
    fn begin(since: Option<DateTime<Utc>>) -> Self {
        Self { since: since.map(as_text), page: 1, ..Self::default() }
    }

    /// Moves on; true at the end of the list.
    fn after(&mut self, page: &Page, size: usize) -> Result<bool, String> {
        // Where those that cannot be read belong in the order is unknown.
        let records = &page.records;
        let since = self.since.as_deref().and_then(crate::api_client::answer::parse_time);
        let mut last = since;
        for record in records {
            let at = record.updated_at.ok_or("a record without updated_at, by which the list was to be sorted")?;
            if last.is_some_and(|last| at < last) {
                return Err("the records do not come in the order of updated_at that was asked for".to_owned());
            }
            last = Some(at);
        }
        let full = page.len() >= size || self.may_be_full(page, size);
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
        } else if full {
            self.last_of(page, since).and_then(|record| record.updated_at_text.clone())
        } else {
            None
        };
        (self.readings, self.earlier, self.beyond) = (0, None, None);
        let Some(next) = next else { return Ok(true) };
        self.since = Some(next);
        Ok(false)
    }

    /// Whether a page of the default size may be all that the list gives at a time, whatever it is asked for.
    fn may_be_full(&self, page: &Page, size: usize) -> bool {
        let before = i64::from(self.page - 1).saturating_mul(i64::try_from(size).unwrap_or(i64::MAX));
        let records = page.records.len();
        let has_all = page.matches.is_some_and(|reported| before.saturating_add(records as i64) >= reported);
        records == DEFAULT_PAGE_SIZE && size > DEFAULT_PAGE_SIZE && !has_all
    }

    /// The record of a full page from which to go on: the last one, but for those that are dated later than the answer.
    /// Beyond a time to come nothing that changes now would be met, so it is the last resort, and proves nothing.
    fn last_of<'a>(&mut self, page: &'a Page, since: Option<DateTime<Utc>>) -> Option<&'a Record> {
        let now = page.asked.times().and_then(|times| times.answered_at.checked_add_signed(MAX_SKEW));
        let has_been = |record: &&Record| now.is_none() || record.updated_at <= now;
        let last = page.records.iter().rev().find(has_been).filter(|record| record.updated_at > since);
        self.unproven |= last.is_none();
        last.or(page.records.last())
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

    /// Judges the pass by the ids that it gave.
    pub fn judge(self, evidence: Evidence) -> Verdict {
        let asked = self.asked(evidence);
        let ListCursor { pass, matches, way, .. } = &self.position;
        match way {
            Way::Seek(seek) => {
                let Some(reported) = matches.filter(|reported| evidence.distinct < *reported) else {
                    return Verdict::Read { complete: !seek.unproven, verified: !seek.unproven };
                };
                if *pass < MAX_SEEK_PASSES {
                    let short = Some((reported, evidence.distinct));
                    let way = Way::Seek(Seek { short, ..Seek::begin(evidence.since) });
                    return Verdict::Again(self.position.next_pass(way));
                }
                if seek.short == Some((reported, evidence.distinct)) {
                    return contradiction(reported, evidence.distinct);
                }
                // Records went while it was read: fewer came than there had been, and each pass met other numbers.
                Verdict::Read { complete: !seek.unproven, verified: false }
            }
            Way::Offset(offset) => self.verdict(offset.clone().judge(asked), evidence),
        }
    }

    /// The earlier passes with which this one is to be compared, the last first.
    pub fn comparisons(&self) -> Vec<Comparison> {
        match &self.position.way {
            Way::Seek(_) => Vec::new(),
            Way::Offset(offset) => offset.comparisons().collect(),
        }
    }

    /// Judges the pass once it was compared with earlier ones. `union`: how many distinct ids all passes gave.
    pub fn compared(self, evidence: Evidence, union: i64, compared: &[Compared]) -> Verdict {
        let asked = self.asked(evidence);
        match &self.position.way {
            Way::Seek(_) => self.judge(evidence),
            Way::Offset(offset) => self.verdict(offset.clone().compared(asked, union, compared), evidence),
        }
    }

    /// How many records came, where a bound of the API would end the list at that number, too.
    pub fn round_total(&self, distinct: i64) -> Option<i64> {
        match &self.position.way {
            Way::Seek(_) => None,
            Way::Offset(offset) => offset.round_total(distinct),
        }
    }

    /// Whether ids came twice in this pass and in one before it.
    pub fn doubles_again(&self, distinct: i64) -> bool {
        match &self.position.way {
            Way::Seek(_) => false,
            Way::Offset(offset) => offset.doubles_again(distinct),
        }
    }

    fn asked(&self, evidence: Evidence) -> Asked {
        let Evidence { distinct, full, once, .. } = evidence;
        Asked { pass: self.position.pass, full, once, distinct, matches: self.position.matches }
    }

    fn verdict(&self, judgement: Judgement, evidence: Evidence) -> Verdict {
        match judgement {
            Judgement::Proven => Verdict::Read { complete: true, verified: true },
            Judgement::Compare => Verdict::Compare(ListCursor { over: true, ..self.position.clone() }),
            Judgement::Again(offset) => Verdict::Again(self.position.next_pass(Way::Offset(offset))),
            Judgement::Contradicts(reported) => contradiction(reported, evidence.distinct),
            Judgement::Unproven { counts } => Verdict::Read { complete: counts, verified: false },
        }
    }
}

fn contradiction(reported: i64, distinct: i64) -> Verdict {
    Verdict::Contradiction(format!("the list says that it holds {reported} records and gives {distinct}"))
}

/// As the API writes times: whole seconds, with an offset.
fn as_text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, false)
}

#[cfg(test)]
#[path = "pager_tests.rs"]
mod tests;
