//! The endpoints of the API itself.

use std::cell::RefCell;

use bytes::Bytes;
use chrono::NaiveDate;
use hyper::Response;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::answer;
use crate::collection::{Collection, Past};
use crate::contract::{self, Declared, Endpoint};
use crate::faults::{FaultKind, Trouble};
use crate::filter::{Filter, ParentAsked};
use crate::generate::{Asked, Facts, document_of, family, read_json, schedule, write_json};
use crate::guise::Guise;
use crate::query::{ListQuery, Manner, includes};
use crate::quirks::{ErrorItems, Matches, Quirks, WrongOrder};
use crate::refusal::Refusal;
use crate::state::State;
use crate::version::Version;
use crate::webhooks::{self, Look, Sighting};

/// A request that is authenticated and within the rate limit, and the fault that its answer is to have.
pub(crate) struct Request<'a> {
    pub(crate) state: &'a State,
    pub(crate) quirks: &'a Quirks,
    pub(crate) endpoint: &'a str,
    pub(crate) version: Version,
    pub(crate) body: Value,
    pub(crate) trouble: &'a Trouble,
    /// What the answer shows, if somebody watches.
    pub(crate) sighting: RefCell<Option<Sighting>>,
}

/// The body of a request, from query parameters where there is none; an error if it is not JSON.
pub(crate) fn read_body(query: Option<&str>, body: &[u8]) -> Result<Value, serde_json::Error> {
    match query {
        Some(query) if body.is_empty() => Ok(from_query(query)),
        _ if body.iter().all(u8::is_ascii_whitespace) => Ok(Value::Object(Map::new())),
        _ => serde_json::from_slice(body),
    }
}

enum Failure {
    Refused(Refusal),
    Missing,
    Broken(u16),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Request<'_> {
    /// The answer, and as an extension what it shows, if somebody watches.
    pub(crate) fn respond(&self) -> Response<Bytes> {
        let mut answer = self.answer();
        if let Some(sighting) = self.sighting.take() {
            answer.extensions_mut().insert(sighting);
        }
        answer
    }

    fn answer(&self) -> Response<Bytes> {
        let Self { state, quirks, endpoint, .. } = self;
        let refuse = |status, title: &str| refuse(quirks, endpoint, status, title);
        if quirks.is_off(endpoint) {
            return refuse(403, "This module is not in your plan.");
        }
        let result = match *endpoint {
            "users.me" => Some(Ok(format!("{{\"data\":{}}}", state.store.me()))),
            "accounts.projects-v2-status" => {
                let status = if state.has_projects_v2() { "projects-v2" } else { "legacy" };
                Some(Ok(format!("{{\"data\":{{\"status\":\"{status}\"}}}}")))
            }
            "tickets.getMessage" => Some(self.message()),
            "userSchedules.list" => Some(self.schedules()),
            "webhooks.list" | "webhooks.register" | "webhooks.unregister" => Some(self.webhooks()),
            _ => match endpoint.strip_suffix(".info") {
                Some(resource) => self.info(resource),
                None => contract::resource_of(endpoint)
                    .filter(|resource| contract::list_endpoint(resource) == Some(*endpoint))
                    .and_then(|resource| self.list(resource)),
            },
        };
        match result {
            Some(Ok(text)) if text.is_empty() => answer::empty(204),
            Some(Ok(text)) => answer::json(200, text),
            Some(Err(Failure::Refused(Refusal::Invalid(title)))) => refuse(400, &title),
            // A gap of the simulator, which no client should take for an answer of the API.
            Some(Err(Failure::Refused(Refusal::Missing(title)))) => answer::error(501, &title),
            Some(Err(Failure::Missing)) => refuse(404, "The requested resource could not be found."),
            Some(Err(Failure::Broken(status))) => refuse(status, "Internal server error"),
            None => answer::error(501, &format!("The simulator does not have {endpoint}.")),
        }
    }

    /// An empty text for an answer without a body.
    fn webhooks(&self) -> Result<String, Failure> {
        let most = match self.trouble.kind {
            Some(FaultKind::EmptyList) => 0,
            Some(FaultKind::Capped { records }) => records,
            _ => usize::MAX,
        };
        Ok(webhooks::respond(&self.state.webhooks.addresses, self.endpoint, &self.body, most)?.unwrap_or_default())
    }

    fn list(&self, resource: &str) -> Option<Result<String, Failure>> {
        let endpoint = contract::endpoint(contract::list_endpoint(resource)?)?;
        let answer = self.page(resource, endpoint);
        // After the page is made: the change shows in the pages that follow.
        if answer.is_ok()
            && let Some(kind) = self.state.paging.page_was_read(resource)
        {
            self.state.change(resource, kind, 1);
        }
        Some(answer)
    }

    fn page(&self, resource: &str, endpoint: &Endpoint) -> Result<String, Failure> {
        let Self { state, body, .. } = self;
        let family = family(resource);
        // The lock of the parents is let go before that of the children is taken.
        let parent = match ParentAsked::parse(family, endpoint, body)? {
            ParentAsked::Any => None,
            ParentAsked::Barren => Some(None),
            ParentAsked::Of(parents, id) => Some(state.store.parent(parents, id)),
        };
        if parent == Some(None) && family.is_some_and(|family| family.asked != Asked::Subject) {
            return Err(Failure::Missing);
        }
        let collection = state.store.read(resource).ok_or(Failure::Missing)?;
        let mut filter = Filter::parse(collection.recipe, endpoint, family, body)?;
        if let Some(parent) = parent {
            filter = filter.belonging_to(parent);
        }
        let query = ListQuery::parse(endpoint, filter, self.manner(resource, endpoint), body)?;
        let guise = self.guise(resource);
        let past = self.past().map(|past| collection.as_of(&state.store.world, past));
        let shown = past.as_ref().unwrap_or(&collection);
        self.note_page(&collection, &query, || query.facts(shown));
        Ok(query.answer(shown, &guise))
    }

    /// Notes what a page shows, and which of the ids that it was asked for are deleted.
    fn note_page(&self, collection: &Collection, query: &ListQuery, shown: impl FnOnce() -> Vec<Facts>) {
        let Some(resource) = self.watched(collection.recipe.resource) else { return };
        let shown: Vec<Facts> = shown();
        let asked = self.body.get("filter").and_then(|filter| filter.get("ids")).and_then(Value::as_array);
        let ids = || asked.into_iter().flatten().filter_map(|id| id.as_str()?.parse().ok());
        // A list that lags behind may show what is deleted.
        let is_gone = |id: &Uuid| collection.find(*id).is_none() && shown.iter().all(|facts| facts.id != *id);
        let gone = ids().filter(is_gone).map(|id| (resource, id)).collect();
        let look = if asked.is_some() { Look::Ids } else { Look::List };
        self.note(look, resource, shown, gone, query.includes().to_vec());
    }

    /// Notes what was seen, but for a record that is broken: who knows what a client makes of it.
    fn note(
        &self,
        look: Look,
        resource: &'static str,
        shown: Vec<Facts>,
        gone: Vec<(&'static str, Uuid)>,
        includes: Vec<String>,
    ) {
        let is_odd = |id: Uuid| {
            let odd = |kind: &FaultKind| matches!(kind, FaultKind::OddRecord { id: Some(odd), .. } if *odd == id);
            self.trouble.records.iter().any(odd)
        };
        let kind = |facts: Facts| match resource {
            "expenses" => (document_of(facts.ordinal).1, facts),
            resource => (resource, facts),
        };
        let shown = shown.into_iter().filter(|facts| !is_odd(facts.id)).map(kind).collect();
        self.sighting.replace(Some(Sighting { look, shown, gone, includes }));
    }

    /// The resource, if somebody watches what clients get of it.
    fn watched(&self, resource: &str) -> Option<&'static str> {
        if self.state.webhooks.watch.is_on() { webhooks::watched(resource) } else { None }
    }

    /// How the records of the answer look.
    fn guise<'r>(&self, resource: &'r str) -> Guise<'r> {
        let odd = self.trouble.records.iter().find_map(|kind| match kind {
            FaultKind::OddRecord { odd, id } => Some(((*id)?, *odd)),
            _ => None,
        });
        Guise::new(resource, self.state.sparse(resource)).of(self.version).with_odd(odd)
    }

    fn manner(&self, resource: &str, endpoint: &Endpoint) -> Manner {
        let Self { state, quirks, trouble, .. } = self;
        let mut manner = Manner {
            paged: endpoint.paged || state.is_paged(resource),
            shows_matches: match quirks.matches {
                Matches::Declared => {
                    // Companies and deals were seen to do what they do not declare.
                    endpoint.matches == Declared::Declared || matches!(resource, "companies" | "deals")
                }
                Matches::Everywhere => true,
                Matches::Nowhere => false,
            },
            refuses_order: quirks.wrong_order == WrongOrder::Refuse,
            ignores_size: quirks.page_size_ignored,
            ignores_includes: false,
            ceiling: quirks.page_ceiling.unwrap_or(usize::MAX),
            matches: None,
            shuffle: quirks.unstable_order.then(|| state.next_list()),
        };
        match trouble.kind {
            Some(FaultKind::EmptyList) => manner.ceiling = 0,
            Some(FaultKind::Capped { records }) => manner.ceiling = records,
            Some(FaultKind::PageSizeIgnored) => manner.ignores_size = true,
            Some(FaultKind::WrongMatches { matches }) => manner.matches = Some(matches),
            Some(FaultKind::IncludesIgnored) => manner.ignores_includes = true,
            _ => {}
        }
        manner
    }

    /// The earlier state that lists show.
    fn past(&self) -> Option<Past> {
        if let Some(FaultKind::Lagging { changes }) = self.trouble.kind {
            return Some(Past::Changes(changes));
        }
        let lag = i64::try_from(self.quirks.list_lag_seconds).unwrap_or(i64::MAX);
        (lag > 0).then(|| Past::At(self.state.clock.now().timestamp().saturating_sub(lag)))
    }

    fn info(&self, resource: &str) -> Option<Result<String, Failure>> {
        let endpoint = contract::info_endpoint(resource)?;
        Some(self.record(resource, endpoint))
    }

    fn record(&self, resource: &str, endpoint: &Endpoint) -> Result<String, Failure> {
        let includes = match self.trouble.kind {
            Some(FaultKind::IncludesIgnored) => Vec::new(),
            _ => includes(&self.body),
        };
        let source = self.body.get("source").filter(|_| resource == "plannableItems");
        let id = match (source, self.body.get("id")) {
            (Some(source), None) => self.item_of(source)?,
            (_, id) => uuid("id", id)?,
        };
        let broken = self.trouble.records.iter().find_map(|kind| match kind {
            FaultKind::BrokenInfo { status, id: Some(broken) } if *broken == id => Some(*status),
            _ => None,
        });
        if let Some(status) = broken {
            return Err(Failure::Broken(status));
        }
        let found = self.state.store.info(resource, id, &includes);
        if let Some(resource) = self.watched(resource) {
            let gone = found.is_none().then_some((resource, id));
            let shown = found.as_ref().map(|(facts, _)| *facts);
            self.note(Look::Ids, resource, Vec::from_iter(shown), Vec::from_iter(gone), Vec::new());
        }
        let (facts, text) = found.ok_or(Failure::Missing)?;
        let guise = self.guise(resource);
        let record = guise.dress(&facts, &text);
        let updatable = endpoint.meta.contains_key("updatable");
        Ok(match (endpoint.is_bare(), updatable) {
            (true, _) => record.into_owned(),
            (false, true) => format!("{{\"data\":{record},\"meta\":{{\"updatable\":true}}}}"),
            (false, false) => format!("{{\"data\":{record}}}"),
        })
    }

    /// The plannable item that was made for a task, a meeting or a call.
    fn item_of(&self, source: &Value) -> Result<Uuid, Failure> {
        let kind = source.get("type").and_then(Value::as_str).unwrap_or_default();
        let asked = uuid("source.id", source.get("id"))?;
        let store = &self.state.store;
        let mut items = store.living("plannableItems").into_iter();
        let is_for = |ordinal: &u64| store.world.item_is_for(*ordinal, kind, asked);
        let item = items.find(is_for).ok_or(Failure::Missing)?;
        Ok(store.world.id("plannableItems", item))
    }

    /// One message of a ticket: what the list shows, with its source and its ticket.
    fn message(&self) -> Result<String, Failure> {
        let id = uuid("message_id", self.body.get("message_id"))?;
        let store = &self.state.store;
        let (recipe, facts) = store.find("tickets.messages", id).ok_or(Failure::Missing)?;
        if let Some(resource) = self.watched("tickets.messages") {
            self.note(Look::Ids, resource, vec![facts], Vec::new(), Vec::new());
        }
        let ticket = facts.parent.map(|parent| store.world.id(parent.resource, parent.ordinal));
        let list = recipe.list(&store.world, &facts).list;
        let mut message = read_json(&list).unwrap_or_default();
        message["raw_body"] = message["body"].clone();
        message["ticket"] = json!({ "type": "ticket", "id": ticket });
        Ok(self.guise("tickets.messages").dress(&facts, &write_json(&message)).into_owned())
    }

    /// The schedules of some users in a window of a few days.
    fn schedules(&self) -> Result<String, Failure> {
        const LIST: &str = "userSchedules.list";
        let endpoint = contract::endpoint(LIST).ok_or(Failure::Missing)?;
        let invalid = |title: String| Refusal::Invalid(title);
        let filter = self.body.get("filter").unwrap_or(&Value::Null);
        let day = |name: &str| {
            let text = filter.get(name).and_then(Value::as_str);
            let day = text.and_then(|text| text.parse::<NaiveDate>().ok());
            day.ok_or_else(|| invalid(format!("filter.{name} must be a day.")))
        };
        let (from, until) = (day("from")?, day("until")?);
        let days = (until - from).num_days() + 1;
        if days < 1 || endpoint.max_days.is_some_and(|most| days > most) {
            return Err(invalid(format!("filter.until makes a window of {days} days.")).into());
        }
        let ids = filter.get("user_ids").and_then(Value::as_array).filter(|ids| !ids.is_empty());
        let ids = ids.ok_or_else(|| invalid("filter.user_ids must be present.".to_owned()))?;
        let ids = ids.iter().map(|id| uuid("filter.user_ids", Some(id))).collect::<Result<Vec<_>, _>>()?;
        let store = &self.state.store;
        let users = store.scheduled().into_iter().filter(|user| ids.contains(&user.id));
        let guise = self.guise("userSchedules");
        let text = |user: Facts| guise.dress(&user, &schedule(&store.world, &user, from, until)).into_owned();
        let manner = self.manner("userSchedules", endpoint);
        let query = ListQuery::parse(endpoint, Filter::default(), manner, &self.body)?;
        Ok(query.answer_texts(&users.map(text).collect::<Vec<_>>()))
    }
}

/// An error as the endpoint writes it.
pub(crate) fn refuse(quirks: &Quirks, endpoint: &str, status: u16, title: &str) -> Response<Bytes> {
    let is_planning = ["plannableItems", "reservations", "userAvailability"]
        .iter()
        .any(|resource| contract::belongs_to(endpoint, resource));
    let items = match quirks.error_items {
        ErrorItems::Usual if is_planning => ErrorItems::Key,
        items => items,
    };
    answer::error_with(items, status, title)
}

fn uuid(name: &str, value: Option<&Value>) -> Result<Uuid, Refusal> {
    let text = value.and_then(Value::as_str);
    let text = text.ok_or_else(|| Refusal::Invalid(format!("{name} must be present.")))?;
    text.parse().map_err(|_| Refusal::Invalid(format!("{name} must be a UUID.")))
}

/// The body that query parameters stand for: `page[size]=100`, `filter[ids][]=…`, `sort[0][field]=name`.
fn from_query(query: &str) -> Value {
    let mut body = Value::Object(Map::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let mut place = &mut body;
        for key in name.split('[').map(|key| key.trim_end_matches(']')) {
            place = member(place, key);
        }
        *place = Value::String(value.into_owned());
    }
    with_arrays(body)
}

/// A member of an object, made if it is not there; an empty key is the next number.
fn member<'a>(place: &'a mut Value, key: &str) -> &'a mut Value {
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    let next = place.as_object().map_or(0, Map::len).to_string();
    &mut place[if key.is_empty() { next.as_str() } else { key }]
}

/// Turns objects whose keys are all numbers into arrays.
fn with_arrays(value: Value) -> Value {
    let Value::Object(members) = value else {
        return value;
    };
    let members: Vec<(String, Value)> = members.into_iter().map(|(key, value)| (key, with_arrays(value))).collect();
    let mut numbered: Vec<(usize, &Value)> =
        members.iter().filter_map(|(key, value)| Some((key.parse().ok()?, value))).collect();
    if numbered.is_empty() || numbered.len() < members.len() {
        return Value::Object(members.into_iter().collect());
    }
    numbered.sort_by_key(|(number, _)| *number);
    Value::Array(numbered.into_iter().map(|(_, value)| value.clone()).collect())
}
