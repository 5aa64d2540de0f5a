//! What a request to a list asks for, and the page that answers it.

use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::Value;

use crate::collection::{Collection, Slot};
use crate::contract::{Endpoint, Order, Sort};
use crate::filter::Filter;
use crate::refusal::Refusal;

/// The page size when none is asked for.
const DEFAULT_PAGE_SIZE: u64 = 20;
/// The largest page that the API gives.
const MAX_PAGE_SIZE: u64 = 100;
/// How many filtered selections are kept at once; beyond it all are dropped.
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
    tell_page: bool,
}

impl ListQuery {
    /// Reads a request body. Keys that the contract does not have are ignored, as the API does. `paged`: the list has
    /// pages, whether the contract shows them or not.
    pub(crate) fn parse(endpoint: &Endpoint, filter: Filter, paged: bool, body: &Value) -> Result<Self, Refusal> {
        let includes = includes(body)?;
        Ok(Self {
            filter,
            sort: sorts(endpoint, body)?,
            page: if paged { Some(page(body)?) } else { None },
            tell_page: paged && (endpoint.tells_page_unasked() || includes.contains(&"pagination")),
            includes: includes.into_iter().map(str::to_owned).collect(),
        })
    }

    /// The body of the answer.
    pub(crate) fn answer(&self, collection: &Collection) -> String {
        let (slots, reversed) = self.select(collection);
        let matches = slots.len();
        let (from, to) = match self.page {
            None => (0, matches),
            Some((size, number)) => {
                let from = size.saturating_mul(number - 1).min(matches as u64) as usize;
                (from, matches.min(from + size as usize))
            }
        };
        let mut out = String::with_capacity(64 + (to - from) * 2048);
        out.push_str("{\"data\":[");
        for place in from..to {
            if place > from {
                out.push(',');
            }
            let slot = if reversed { slots[matches - 1 - place] } else { slots[place] };
            collection.write(slot, &self.includes, &mut out);
        }
        out.push(']');
        self.write_meta(collection, matches, &mut out);
        out.push('}');
        out
    }

    fn write_meta(&self, collection: &Collection, matches: usize, out: &mut String) {
        let mut meta = Vec::new();
        // The first that there ever was, as long as it lives.
        let default = collection.natural().first().and_then(|slot| collection.get(*slot));
        if let Some(default) = default.filter(|_| collection.endpoint.meta.contains_key("default")) {
            meta.push(format!("\"default\":\"{}\"", default.facts.id));
        }
        if let Some((size, number)) = self.page.filter(|_| self.tell_page) {
            meta.push(format!("\"page\":{{\"size\":{size},\"number\":{number}}},\"matches\":{matches}"));
        }
        if !meta.is_empty() {
            out.extend([",\"meta\":{", &meta.join(","), "}"]);
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
                let mut kept = collection.selections.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if kept.len() >= MAX_SELECTIONS && !kept.contains_key(&key) {
                    kept.clear();
                }
                let slots = kept.entry(key).or_insert_with(|| self.search(collection).into());
                (Slots::Kept(Arc::clone(slots)), false)
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

/// Matching slots: a part of an index, or a selection that was searched for and kept.
enum Slots<'a> {
    Index(&'a [Slot]),
    Kept(Arc<Vec<Slot>>),
}

impl Deref for Slots<'_> {
    type Target = [Slot];

    fn deref(&self) -> &[Slot] {
        match self {
            Self::Index(slots) => slots,
            Self::Kept(slots) => slots,
        }
    }
}

/// The values of `includes`. A missing key is no include, and so is the singular `include`.
pub(crate) fn includes(body: &Value) -> Result<Vec<&str>, Refusal> {
    match body.get("includes") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(names)) => Ok(names.split(',').map(str::trim).collect()),
        Some(_) => Err(Refusal::Invalid("includes is not a comma-separated string.".to_owned())),
    }
}

fn page(body: &Value) -> Result<(u64, u64), Refusal> {
    let number = |key: &str, default: u64, max: u64| match body.get("page").and_then(|page| page.get(key)) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => {
            let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
            number
                .filter(|number| (1..=max).contains(number))
                .ok_or_else(|| Refusal::Invalid(format!("page.{key} must be between 1 and {max}.")))
        }
    };
    Ok((number("size", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)?, number("number", 1, u64::from(u32::MAX))?))
}

fn sorts(endpoint: &Endpoint, body: &Value) -> Result<Vec<(usize, Order)>, Refusal> {
    let asked: Vec<Sort> = match body.get("sort") {
        None | Some(Value::Null) => endpoint.sort.default.iter().cloned().collect(),
        Some(value) => serde_json::from_value(value.clone())
            .map_err(|_| Refusal::Invalid("sort is not a list of field and order.".to_owned()))?,
    };
    let fields = &endpoint.sort.fields;
    let known = asked.iter().map(|sort| {
        let field = fields.iter().position(|field| *field == sort.field);
        field
            .map(|field| (field, sort.order))
            .ok_or_else(|| Refusal::Invalid(format!("sort.field {} is not one of {fields:?}.", sort.field)))
    });
    known.collect()
}
