//! What a request to a list asks for, and the page that answers it.

use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::Value;

use crate::collection::{Collection, Record, Slot};
use crate::contract::{Endpoint, Order, Sort, Sorts};
use crate::filter::Filter;
use crate::generate::{Dice, Facts};
use crate::guise::Guise;
use crate::refusal::Refusal;

/// The page size when none is asked for.
const DEFAULT_PAGE_SIZE: u64 = 20;
/// The largest page that the API gives.
const MAX_PAGE_SIZE: u64 = 100;
/// How many filtered selections are cached at once; beyond it all are dropped.
const MAX_SELECTIONS: usize = 16;

/// A request to a list.
#[derive(Debug)]
pub(crate) struct ListQuery {
    filter: Filter,
    /// Contract sort fields by number.
    sort: Vec<(usize, Order)>,
    /// Size and number; a list without pages has none.
    page: Option<(u64, u64)>,
    includes: Vec<String>,
    shows_page: bool,
    /// The list ends after this many records.
    ceiling: usize,
    /// The number of matches that is said, instead of the right one.
    matches: Option<u64>,
    /// Records that are equal for the sort come in an order of this number.
    shuffle: Option<u64>,
}

/// How a list answers, beside what its contract says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// It has pages.
    pub(crate) paged: bool,
    /// It has page and matches where `includes` asks for `pagination`.
    pub(crate) shows_matches: bool,
    /// A wrong order is a 400.
    pub(crate) refuses_order: bool,
    /// Pages have the default size.
    pub(crate) ignores_size: bool,
    /// No include brings its fields.
    pub(crate) ignores_includes: bool,
    /// It ends after this many records.
    pub(crate) ceiling: usize,
    /// The number of matches that it says instead of the right one.
    pub(crate) matches: Option<u64>,
    /// Equal records come in an order of this number.
    pub(crate) shuffle: Option<u64>,
}

impl ListQuery {
    /// Reads a request body. Keys, sorts and includes that the contract does not have are ignored, as the API does.
    pub(crate) fn parse(endpoint: &Endpoint, filter: Filter, manner: Manner, body: &Value) -> Result<Self, Refusal> {
        let includes = includes(body);
        let asks = endpoint.tells_page_unasked() || includes.contains(&"pagination");
        let page = if manner.paged { Some(page(body)?) } else { None };
        let (sort, is_asked) = sorts(endpoint, manner.refuses_order, body)?;
        Ok(Self {
            filter,
            // Where nobody asked for a sort, no record is before another.
            sort: if is_asked || manner.shuffle.is_none() { sort } else { Vec::new() },
            page: page.map(|(size, number)| (if manner.ignores_size { DEFAULT_PAGE_SIZE } else { size }, number)),
            shows_page: manner.paged && manner.shows_matches && asks,
            includes: match manner.ignores_includes {
                true => Vec::new(),
                false => includes.into_iter().map(str::to_owned).collect(),
            },
            ceiling: manner.ceiling,
            matches: manner.matches,
            shuffle: manner.shuffle,
        })
    }

    /// The body of an answer whose records are these texts.
    pub(crate) fn answer_texts(&self, texts: &[String]) -> String {
        let all = texts.len().min(self.ceiling);
        let (from, to) = self.window(all);
        let mut out = format!("{{\"data\":[{}]", texts[from..to].join(","));
        if let Some(page) = self.page_meta(self.matches.unwrap_or(all as u64)) {
            out.extend([",\"meta\":{", &page, "}"]);
        }
        out.push('}');
        out
    }

    /// The places of the first record of the page, and of the one behind its last.
    fn window(&self, matches: usize) -> (usize, usize) {
        let Some((size, number)) = self.page else { return (0, matches) };
        let from = size.saturating_mul(number - 1).min(matches as u64) as usize;
        (from, matches.min(from + size as usize))
    }

    /// The facts of the records that the answer shows.
    pub(crate) fn facts(&self, collection: &Collection) -> Vec<Facts> {
        let (slots, reversed) = self.selected(collection);
        let shown = |place: usize| collection.get(if reversed { slots[slots.len() - 1 - place] } else { slots[place] });
        let (from, to) = self.window(slots.len().min(self.ceiling));
        (from..to).filter_map(shown).map(|record| record.facts).collect()
    }

    /// The optional fields that are asked for.
    pub(crate) fn includes(&self) -> &[String] {
        &self.includes
    }

    /// Page and number of matches as members of `meta`, if they are shown.
    fn page_meta(&self, matches: u64) -> Option<String> {
        let (size, number) = self.page.filter(|_| self.shows_page)?;
        Some(format!("\"page\":{{\"size\":{size},\"number\":{number}}},\"matches\":{matches}"))
    }

    /// The body of the answer.
    pub(crate) fn answer(&self, collection: &Collection, guise: &Guise<'_>) -> String {
        let (slots, reversed) = self.selected(collection);
        let all = slots.len();
        let matches = all.min(self.ceiling);
        let (from, to) = self.window(matches);
        let mut out = String::with_capacity(64 + (to - from) * 2048);
        out.push_str("{\"data\":[");
        for place in from..to {
            if place > from {
                out.push(',');
            }
            let slot = if reversed { slots[all - 1 - place] } else { slots[place] };
            collection.write(slot, &self.includes, guise, &mut out);
        }
        out.push(']');
        let shown = self.matches.unwrap_or(matches as u64);
        let payments = || slots.iter().filter_map(|slot| collection.get(*slot)).map(Record::amount).sum();
        self.write_meta(collection, shown, payments, &mut out);
        out.push('}');
        out
    }

    fn write_meta(&self, collection: &Collection, matches: u64, payments: impl Fn() -> f64, out: &mut String) {
        let mut meta = Vec::new();
        // The first that there ever was, as long as it lives.
        let default = collection.natural().first().and_then(|slot| collection.get(*slot));
        if let Some(default) = default.filter(|_| collection.endpoint.meta.contains_key("default")) {
            meta.push(format!("\"default\":\"{}\"", default.facts.id));
        }
        if collection.endpoint.meta.contains_key("total") {
            meta.push(format!("\"total\":{{\"amount\":{:.2},\"currency\":\"EUR\"}}", payments()));
        }
        meta.extend(self.page_meta(matches));
        if !meta.is_empty() {
            out.extend([",\"meta\":{", &meta.join(","), "}"]);
        }
    }

    /// The slots in their order, but those that are equal for the sort in an order of this number.
    fn shuffled(&self, collection: &Collection, slots: &[Slot], reversed: bool, number: u64) -> Vec<Slot> {
        let mut slots = slots.to_vec();
        if reversed {
            slots.reverse();
        }
        slots.sort_by_cached_key(|slot| Dice::new(&[number, u64::from(*slot)]).next());
        slots.sort_by(|a, b| {
            let by_fields = self.sort.iter().map(|(field, order)| match order {
                Order::Asc => collection.rank(*field, *a, *b),
                Order::Desc => collection.rank(*field, *b, *a),
            });
            by_fields.fold(Ordering::Equal, Ordering::then)
        });
        slots
    }

    /// The matching slots in the order of this request, and whether they are to be read from the end.
    fn selected<'a>(&self, collection: &'a Collection) -> (Slots<'a>, bool) {
        let (slots, reversed) = self.select(collection);
        match self.shuffle {
            None => (slots, reversed),
            Some(number) => (Slots::Selection(Arc::new(self.shuffled(collection, &slots, reversed, number))), false),
        }
    }

    /// The matching slots, and whether they are to be read from the end.
    fn select<'a>(&self, collection: &'a Collection) -> (Slots<'a>, bool) {
        match self.sort[..] {
            [] if self.filter.is_open() => (Slots::Index(collection.natural()), false),
            [(field, order)] if self.filter.is_open() => (Slots::Index(collection.sorted(field)), order == Order::Desc),
            [(field, order)]
                if self.filter.is_by_update_alone() && collection.endpoint.sort.fields[field] == "updated_at" =>
            {
                (Slots::Index(collection.updated_since(self.filter.since())), order == Order::Desc)
            }
            _ => {
                let key = format!("{:?} {:?}", self.filter, self.sort);
                let mut selections = collection.selections.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if selections.len() >= MAX_SELECTIONS && !selections.contains_key(&key) {
                    selections.clear();
                }
                let slots = selections.entry(key).or_insert_with(|| self.search(collection).into());
                (Slots::Selection(Arc::clone(slots)), false)
            }
        }
    }

    fn search(&self, collection: &Collection) -> Vec<Slot> {
        if let ([(field, order)], true) = (&self.sort[..], self.filter.is_wide(collection)) {
            // The index is in order already.
            let mut slots = self.filter.matching(collection, collection.sorted(*field));
            if *order == Order::Desc {
                slots.reverse();
            }
            return slots;
        }
        let mut slots = self.filter.search(collection);
        slots.sort_unstable_by(|a, b| {
            let by_fields = self.sort.iter().map(|(field, order)| match order {
                Order::Asc => collection.compare(*field, *a, *b),
                Order::Desc => collection.compare(*field, *b, *a),
            });
            by_fields.fold(Ordering::Equal, Ordering::then).then(a.cmp(b))
        });
        slots
    }
}

/// Matching slots: a part of an index, or a selection that was searched for and cached.
enum Slots<'a> {
    Index(&'a [Slot]),
    Selection(Arc<Vec<Slot>>),
}

impl Deref for Slots<'_> {
    type Target = [Slot];

    fn deref(&self) -> &[Slot] {
        match self {
            Self::Index(slots) => slots,
            Self::Selection(slots) => slots,
        }
    }
}

/// The values of `includes`. A missing key is no include, and so are the singular `include` and a value that is no
/// text.
pub(crate) fn includes(body: &Value) -> Vec<&str> {
    let names = body.get("includes").and_then(Value::as_str);
    names.map(|names| names.split(',').map(str::trim).collect()).unwrap_or_default()
}

/// Size and number of the page. A size above the largest gives the largest: who takes a short page for the last one
/// then reads a part of the list.
fn page(body: &Value) -> Result<(u64, u64), Refusal> {
    let number = |key: &str, default: u64, max: u64| match body.get("page").and_then(|page| page.get(key)) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => {
            let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
            number
                .filter(|number| *number >= 1)
                .map(|number: u64| number.min(max))
                .ok_or_else(|| Refusal::Invalid(format!("page.{key} must be between 1 and {max}.")))
        }
    };
    Ok((number("size", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)?, number("number", 1, u64::from(u32::MAX))?))
}

/// The sort, and whether the request asks for it. What the list does not have is as if nobody had asked.
fn sorts(endpoint: &Endpoint, refuses_order: bool, body: &Value) -> Result<(Vec<(usize, Order)>, bool), Refusal> {
    let Sorts { fields, default, orders } = &endpoint.sort;
    let place = |sort: &Sort| Some((fields.iter().position(|field| *field == sort.field)?, sort.order));
    let items = body.get("sort").and_then(Value::as_array).into_iter().flatten();
    let asked: Vec<Sort> = items.filter_map(|item| serde_json::from_value(item.clone()).ok()).collect();
    let mut known: Vec<_> = asked.iter().filter_map(place).collect();
    for (number, (_, order)) in known.iter_mut().enumerate() {
        let Some(only) = orders.first().filter(|_| !orders.contains(order)) else { continue };
        if refuses_order {
            let only = if *only == Order::Asc { "asc" } else { "desc" };
            return Err(Refusal::Invalid(format!("sort.{number}.order must be `{only}`")));
        }
        *order = *only;
    }
    if known.is_empty() { Ok((default.iter().filter_map(place).collect(), false)) } else { Ok((known, true)) }
}
