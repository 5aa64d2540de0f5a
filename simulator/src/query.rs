//! What a request to a list asks for, and the page that answers it.

use std::cmp::Ordering;
use std::fmt::Write;
use std::ops::Deref;
use std::sync::Arc;

use chrono::DateTime;
use serde_json::Value;
use uuid::Uuid;

use crate::collection::{Collection, Slot};
use crate::contract::{Endpoint, Field, Order, Sort};
use crate::generate::{Recipe, fingerprint};

/// The page size when none is asked for.
const DEFAULT_PAGE_SIZE: u64 = 20;
/// The largest page that the API gives.
const MAX_PAGE_SIZE: u64 = 100;
/// How many filtered selections are kept at once; beyond it all are dropped.
const MAX_SELECTIONS: usize = 16;

/// Why a request cannot be answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request breaks the contract.
    Invalid(String),
    /// The contract has this, the simulator does not. Ignoring it would give an answer that looks right and is wrong.
    Missing(String),
}

/// A request to a list.
#[derive(Debug)]
pub(crate) struct ListQuery {
    ids: Option<Vec<Uuid>>,
    updated_since: Option<i64>,
    /// Every group must match, each by one of its facets.
    facets: Vec<Vec<u64>>,
    /// Contract sort fields by number.
    sort: Vec<(usize, Order)>,
    /// Size and number; a list without pages has none.
    page: Option<(u64, u64)>,
    with_extra: bool,
    tell_page: bool,
}

impl ListQuery {
    /// Reads a request body. Keys that the contract does not have are ignored, as the API does.
    pub(crate) fn parse(recipe: &Recipe, endpoint: &Endpoint, body: &Value) -> Result<Self, Refusal> {
        let includes = includes(body)?;
        let mut query = Self {
            ids: None,
            updated_since: None,
            facets: Vec::new(),
            sort: sorts(endpoint, body)?,
            page: if endpoint.paged { Some(page(body)?) } else { None },
            with_extra: recipe.list_include.is_some_and(|include| includes.contains(&include.name)),
            tell_page: endpoint.paged && (endpoint.tells_page_unasked() || includes.contains(&"pagination")),
        };
        for (name, field) in &endpoint.filter {
            match body.get("filter").and_then(|filter| filter.get(name)) {
                None | Some(Value::Null) => {}
                Some(value) => query.filter(recipe, name, field, value)?,
            }
        }
        Ok(query)
    }

    fn filter(&mut self, recipe: &Recipe, name: &str, field: &Field, value: &Value) -> Result<(), Refusal> {
        let wrong = || Refusal::Invalid(format!("filter.{name} is not valid."));
        match name {
            "ids" => {
                let ids = value.as_array().ok_or_else(wrong)?.iter();
                let ids = ids.map(|id| id.as_str().and_then(|id| id.parse().ok()).ok_or_else(wrong));
                self.ids = Some(ids.collect::<Result<_, _>>()?);
            }
            "updated_since" => {
                let moment = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
                self.updated_since = Some(moment.ok_or_else(wrong)?.timestamp());
            }
            _ if !recipe.facets.contains(&name) => {
                let title = format!("The simulator has no filter {name} on {}.", recipe.resource);
                return Err(Refusal::Missing(title));
            }
            _ => {
                let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                let group = values.iter().map(|value| facet(name, field, value).ok_or_else(wrong));
                self.facets.push(group.collect::<Result<_, _>>()?);
            }
        }
        Ok(())
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
            collection.write(slot, self.with_extra, &mut out);
        }
        out.push(']');
        if let Some((size, number)) = self.page.filter(|_| self.tell_page) {
            // Writing to a string cannot fail.
            let _ = write!(out, ",\"meta\":{{\"page\":{{\"size\":{size},\"number\":{number}}},\"matches\":{matches}}}");
        }
        out.push('}');
        out
    }

    /// The matching slots, and whether they are to be read from the end.
    fn select<'a>(&self, collection: &'a Collection) -> (Slots<'a>, bool) {
        let filtered = self.ids.is_some() || self.updated_since.is_some() || !self.facets.is_empty();
        match self.sort[..] {
            [] if !filtered => (Slots::Index(collection.natural()), false),
            [(field, order)] if !filtered => (Slots::Index(collection.sorted(field)), order == Order::Desc),
            [(field, order)]
                if self.ids.is_none()
                    && self.facets.is_empty()
                    && collection.endpoint.sort.fields[field] == "updated_at" =>
            {
                let since = self.updated_since.unwrap_or(i64::MIN);
                (Slots::Index(collection.updated_since(since)), order == Order::Desc)
            }
            _ => {
                let key = format!("{:?} {:?} {:?} {:?}", self.ids, self.updated_since, self.facets, self.sort);
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
        let matches = |slot: &Slot| {
            collection.get(*slot).is_some_and(|record| {
                self.updated_since.is_none_or(|since| record.facts.updated_at >= since)
                    && record.has_facets(&self.facets)
            })
        };
        let mut slots: Vec<Slot> = match (&self.ids, self.updated_since) {
            (Some(ids), _) => {
                let mut slots: Vec<_> = ids.iter().filter_map(|id| collection.slot(*id)).filter(matches).collect();
                slots.sort_unstable();
                slots.dedup();
                slots
            }
            (None, Some(since)) => collection.updated_since(since).iter().copied().filter(matches).collect(),
            (None, None) => collection.natural().iter().copied().filter(matches).collect(),
        };
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

/// The fingerprint of one filter value; none if the contract forbids the value.
fn facet(name: &str, field: &Field, value: &Value) -> Option<u64> {
    let allowed = |field: &Field, text: &str| {
        field.choices.as_ref().is_none_or(|choices| choices.iter().any(|choice| choice == text))
    };
    if field.fields.is_empty() {
        let text = value.as_str().filter(|text| allowed(field, text))?;
        return Some(fingerprint(&[name, text]));
    }
    let kind = value.get("type")?.as_str().filter(|kind| allowed(&field.fields["type"], kind))?;
    let (other, _) = field.fields.iter().find(|(key, _)| *key != "type")?;
    Some(fingerprint(&[name, kind, value.get(other)?.as_str()?]))
}
