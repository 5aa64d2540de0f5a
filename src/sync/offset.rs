//! A list that is read page by page: when a pass is over, and which passes prove that no record was missed. Pure.
//!
//! A record that comes or goes shifts what follows, so one pass by page number proves nothing by itself. What does:
//!
//! - **The list says how many records it holds** (`matches`), the same number on each page, and the pass gave as many,
//!   each once: of one that goes and one that comes, a page between the two shows it. A complete reading takes two such
//!   passes of the same ids.
//! - **The whole list is one short page**: one answer cannot shift.
//! - **Two passes agree.** The passes have pages of other sizes, so that what one of them misses at the edge of a page
//!   is within a page of the other. They agree if each id that only one of them gave is explained: its record changed
//!   after the first of the two had started (the next reading asks from there), or is deleted. This is how lists
//!   without `matches` are proven, and those whose number never holds still.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use crate::api_client::answer::Page;
use crate::catalog::{DEFAULT_PAGE_SIZE, PAGE_SIZE};

/// Passes over a list, each with a page size of its own.
pub const MAX_PASSES: usize = 4;

/// How many records a page of each pass is asked to have: no two have an edge in common before record 8,633.
const SIZES: [usize; MAX_PASSES] = [PAGE_SIZE, 97, 89, 83];

/// The same, where answers of the usual size are too long.
const SMALL_SIZES: [usize; MAX_PASSES] = [10, 9, 8, 7];

/// A list that says other than it gives, and holds still, is believed to hide something after this many passes.
const CONTRADICTED_AFTER: usize = 3;

/// Bounds that APIs have are multiples of this many records.
const ROUND: u64 = 1_000;

/// The page size of the pass, counted from 0.
pub fn size_of(pass: usize, small: bool) -> usize {
    let sizes = if small { SMALL_SIZES } else { SIZES };
    sizes[pass % MAX_PASSES]
}

/// A pass that is under way or over, and those before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offset {
    /// The number of the next page.
    pub page: u32,
    /// How many records a page is asked to have.
    #[serde(default = "usual_size")]
    pub size: usize,
    pass_ids: Digest,
    last_page: Digest,
    #[serde(default)]
    first_page: Digest,
    /// Whether a page of the pass gave another number of matches than the first.
    #[serde(default)]
    unsteady: bool,
    /// Whether a page of the pass gave no number of matches.
    #[serde(default)]
    silent: bool,
    /// The least number of matches that a page gave.
    #[serde(default)]
    least: Option<i64>,
    /// How many records a page has, where the list ignores what it is asked for.
    #[serde(default)]
    given: Option<usize>,
    /// Whether the whole list came in one answer.
    #[serde(default)]
    single: bool,
    /// Whether an empty page ended the pass after a round number of records, as a bound of the API would.
    #[serde(default)]
    bounded: bool,
    /// When the pass started.
    #[serde(default)]
    started_at: Option<DateTime<Utc>>,
    /// The ids of each earlier pass that counted, as earlier versions stored them.
    counted: Vec<Digest>,
    /// The passes before it.
    #[serde(default)]
    passes: Vec<Earlier>,
}

/// Positions of earlier versions do not say it.
fn usual_size() -> usize {
    PAGE_SIZE
}

/// An earlier pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Earlier {
    pass: i32,
    size: usize,
    ids: Digest,
    /// Whether it gave what the list said to hold.
    counts: bool,
    /// Whether it may be one of two that agree.
    comparable: bool,
    started_at: Option<DateTime<Utc>>,
    least: Option<i64>,
    /// Whether ids came twice.
    doubled: bool,
}

/// A set of ids in a few bytes: the same ids in any order give the same digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    ids: u64,
    xor: u64,
}

impl Digest {
    /// Adds an id.
    pub fn add(&mut self, id: Uuid) {
        self.ids += 1;
        self.xor ^= xxh3_64(id.as_bytes());
    }

    fn of(page: &Page) -> Self {
        let mut digest = Self::default();
        page.ids().for_each(|id| digest.add(id));
        digest
    }

    fn join(&mut self, other: Self) {
        self.ids += other.ids;
        self.xor ^= other.xor;
    }
}

/// An earlier pass with which the one that is over is to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The earlier pass.
    pub pass: i32,
    /// When it started, by the API's clock: what changed later belongs to the next reading. `None`: unknown.
    pub started_at: Option<DateTime<Utc>>,
}

/// What the comparison with an earlier pass found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The earlier pass.
    pub pass: i32,
    /// How many ids only one of the two gave, and nothing explains it.
    pub unexplained: usize,
}

/// What a pass amounts to, with those before it.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// Every record that was there throughout was seen, and a row that was not seen may be marked deleted.
    Proven,
    /// It has to be compared with earlier passes.
    Compare,
    /// One more pass.
    Again(Offset),
    /// The list says that it holds this many records, holds still, and gives others.
    Contradicts(i64),
    /// There have been enough passes. `counts`: the last one gave what the list said to hold.
    Unproven {
        /// Whether it did.
        counts: bool,
    },
}

/// What a reading is asked for, and what it gave.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The number of the pass that is over.
    pub pass: i32,
    /// Whether the proof is wanted that deletions need.
    pub full: bool,
    /// Whether one answer proves enough: not so where reading the list once more is the only way to ask for what it
    /// did not give.
    pub once: bool,
    /// How many distinct ids the pass gave.
    pub distinct: i64,
    /// What the first page said that the list holds.
    pub matches: Option<i64>,
}

impl Offset {
    /// Before the first page of the first pass.
    pub fn begin(small: bool) -> Self {
        Self::pass(size_of(0, small), Vec::new(), Vec::new())
    }

    fn pass(size: usize, counted: Vec<Digest>, passes: Vec<Earlier>) -> Self {
        let (pass_ids, last_page, first_page) = (Digest::default(), Digest::default(), Digest::default());
        let (unsteady, silent, single, bounded) = (false, false, false, false);
        let (least, given, started_at) = (None, None, None);
        Self {
            page: 1,
            size,
            pass_ids,
            last_page,
            first_page,
            unsteady,
            silent,
            least,
            given,
            single,
            bounded,
            started_at,
            counted,
            passes,
        }
    }

    /// How many records a page has.
    pub fn page_size(&self) -> usize {
        self.given.unwrap_or(self.size)
    }

    /// Notes when the pass started: when its first page was answered.
    pub fn start(&mut self, at: Option<DateTime<Utc>>) {
        self.started_at = at;
    }

    /// Moves on; true at the end of the pass. `matches`: what its first page gave.
    pub fn after(&mut self, page: &Page, matches: Option<i64>) -> bool {
        let (ids, records) = (Digest::of(page), page.len());
        // A list without paging gives everything on each page, and one may begin again past its end: such a page is
        // none.
        let same_again = self.page > 1 && records > 0 && (ids == self.last_page || ids == self.first_page);
        if !same_again {
            self.pass_ids.join(ids);
        }
        match page.matches {
            None => self.silent = true,
            Some(reported) => {
                self.unsteady |= Some(reported) != matches;
                self.least = Some(self.least.map_or(reported, |least| least.min(reported)));
            }
        }
        if self.page == 1 {
            self.first_page = ids;
        } else if records > 0 && !same_again && self.given.is_none() && self.is_default(self.last_page.ids) {
            // Records follow a page of the default size, which is therefore the list's own.
            self.given = Some(DEFAULT_PAGE_SIZE);
        }
        let has_all = page.matches.is_some_and(|reported| i128::from(self.pass_ids.ids) >= i128::from(reported));
        let size = self.page_size();
        let may_go_on = records == size || !has_all && (records > size || self.is_default(ids.ids));
        self.last_page = ids;
        if may_go_on && !same_again {
            self.page += 1;
            return false;
        }
        // A page of the size that was asked for may also come twice where as many records came meanwhile, or by
        // mistake.
        self.single = self.page == 1 || same_again && self.page == 2 && records > self.size;
        self.bounded = records == 0 && self.is_round();
        true
    }

    /// Whether a page of this many records may be full although more were asked for: nothing warns of a size that is
    /// ignored.
    fn is_default(&self, records: u64) -> bool {
        records == DEFAULT_PAGE_SIZE as u64 && self.size > DEFAULT_PAGE_SIZE
    }

    fn is_round(&self) -> bool {
        self.pass_ids.ids > 0 && self.pass_ids.ids.is_multiple_of(ROUND)
    }

    /// The number of records, if it is one at which a bound of the API would end the list, too, and the list does not
    /// say how many it holds.
    pub fn round_total(&self, distinct: i64) -> Option<i64> {
        let round = i64::try_from(ROUND).ok()?;
        (self.silent && !self.single && distinct > 0 && distinct % round == 0).then_some(distinct)
    }

    /// Judges the pass that is over.
    pub fn judge(self, asked: Asked) -> Judgement {
        if self.single && asked.once && self.silent || self.counts(asked) && (!asked.full || self.repeats(asked)) {
            return Judgement::Proven;
        }
        match self.contradicted(asked) {
            Some(reported) if self.passes.len() + self.counted.len() + 1 >= CONTRADICTED_AFTER => {
                Judgement::Contradicts(reported)
            }
            None if self.is_comparable(asked) && self.comparisons().next().is_some() => Judgement::Compare,
            _ => self.go_on(asked),
        }
    }

    /// The earlier passes with which this one may agree, the last first.
    pub fn comparisons(&self) -> impl Iterator<Item = Comparison> {
        let comparable = self.passes.iter().rev().filter(|earlier| earlier.comparable);
        comparable.map(|earlier| Comparison { pass: earlier.pass, started_at: earlier.started_at })
    }

    /// Judges the pass that is over once it was compared. `union`: how many distinct ids all passes gave.
    pub fn compared(self, asked: Asked, union: i64, compared: &[Compared]) -> Judgement {
        let agrees = |earlier: &&Earlier| {
            let found = compared.iter().find(|found| found.pass == earlier.pass);
            // Two passes of a list that ends too early agree as well; but it says that there is more.
            let enough = [self.least, earlier.least].into_iter().flatten().all(|least| union >= least);
            earlier.comparable && enough && found.is_some_and(|found| found.unexplained == 0)
        };
        let agreeing: Vec<&Earlier> = self.passes.iter().filter(agrees).collect();
        // Passes with pages of one size can miss the same record: of a list that ignores the size three have to agree.
        let proven = agreeing.iter().any(|earlier| earlier.size != self.page_size()) || agreeing.len() >= 2;
        if proven { Judgement::Proven } else { self.go_on(asked) }
    }

    /// Whether ids came twice, in this pass and in one before it.
    pub fn doubles_again(&self, distinct: i64) -> bool {
        self.is_doubled(distinct) && self.passes.iter().any(|earlier| earlier.doubled)
    }

    fn is_doubled(&self, distinct: i64) -> bool {
        i64::try_from(self.pass_ids.ids) != Ok(distinct)
    }

    /// Whether the pass gave what the list said to hold, on each page.
    fn counts(&self, asked: Asked) -> bool {
        let as_reported = asked.matches == Some(asked.distinct) && !self.silent && !self.unsteady;
        as_reported && !self.is_doubled(asked.distinct)
    }

    /// What the list says to hold, where it held still and gave other than that.
    fn contradicted(&self, asked: Asked) -> Option<i64> {
        let still = !self.silent && !self.unsteady && !self.is_doubled(asked.distinct);
        asked.matches.filter(|reported| still && *reported != asked.distinct)
    }

    /// Whether an earlier pass that counted gave the same ids, or one answer gave everything.
    fn repeats(&self, asked: Asked) -> bool {
        let earlier = self.passes.iter().filter(|earlier| earlier.counts).map(|earlier| &earlier.ids);
        asked.once && self.single || earlier.chain(&self.counted).any(|ids| *ids == self.pass_ids)
    }

    /// Whether it may be one of two passes that agree. A single answer that repeats a record is no pass.
    fn is_comparable(&self, asked: Asked) -> bool {
        let is_sound = self.contradicted(asked).is_none() && (self.silent || !self.single) && !self.bounded;
        self.counts(asked) || is_sound
    }

    /// The next pass, unless there have been enough.
    fn go_on(mut self, asked: Asked) -> Judgement {
        let counts = self.counts(asked);
        let earlier = self.passes.len() + self.counted.len();
        if earlier + 1 >= MAX_PASSES {
            return Judgement::Unproven { counts };
        }
        self.passes.push(Earlier {
            pass: asked.pass,
            size: self.page_size(),
            ids: self.pass_ids,
            counts,
            comparable: self.is_comparable(asked),
            started_at: self.started_at,
            least: self.least,
            doubled: self.is_doubled(asked.distinct),
        });
        let small = self.size <= SMALL_SIZES[0];
        Judgement::Again(Self::pass(size_of(earlier + 1, small), self.counted, self.passes))
    }
}
