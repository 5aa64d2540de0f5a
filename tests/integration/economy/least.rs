//! The least that a sync needs, from what the account holds and from what the API documents
//! (`simulator/data/endpoints.json`), not from the worker's code. By resource:
//!
//! - `companies`, `contacts`: one reading in the order of `updated_at`, 100 records a page. See [`pages`].
//! - Lists that say `matches`: one pass; a full sync, which marks deletions, takes a second one of a list of several
//!   pages. See [`counted`].
//! - All other lists: one page if that is short, else two passes that agree. See [`compared`].
//! - `companies`, `contacts`, `creditNotes`, `deals`, `invoices` and `products` tell what changed: an incremental sync
//!   lists nothing else. All others are listed completely (with `INCREMENTAL_WINDOW=off`).
//! - `mailTemplates`: a list a type. `documentTemplates`: one a department and type. `businessTypes`, `levelTwoAreas`:
//!   one a country of the account's addresses. `userSchedules`: one a week of ten, and a hundred users. Each is one
//!   short page.
//! - `incomingInvoices`, `incomingCreditNotes`, `receipts` have no list: expenses name them.
//! - The ten with parents: a list for each parent; an incremental sync lists those of parents that changed.
//! - Details: one `.info` for each record that is new or changed, where `.info` has fields that the list lacks; none of
//!   `timeTracking`, whose `.info` adds only whether an entry is locked.
//! - Whose account it is (`users.me`), once; which projects it has (`accounts.projects-v2-status`), once a sync.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::iter::Sum;
use std::ops::Add;

use serde::Deserialize;
use serde_json::{Value, json};
use teamleader_simulator::Simulator;
use teamleader_simulator::contract::{self, Declared, Endpoint, Fields};
use uuid::Uuid;

use crate::stage::{CHILDREN, INCOMING, all_resources};

/// The resources of the projects that the account does not have.
pub const SKIPPED: [&str; 2] = ["projects", "milestones"];

/// Lists that are read in the order of `updated_at`, since they can be both filtered and sorted by it.
pub const SEEKING: [&str; 2] = ["companies", "contacts"];

/// Weeks of schedules: the one before the current one, that, and eight more.
const WEEKS: u64 = 10;

/// Requests of a resource.
#[derive(Clone, Copy, Debug, Default)]
pub struct Requests {
    /// Pages of first passes.
    pub first: u64,
    /// Pages of second and later passes.
    pub later: u64,
    /// Lists by `filter.ids` for the comparison of passes: while lists are read.
    pub comparing: u64,
    /// Lists by `filter.ids` that no list came after: of what seems deleted.
    pub by_id: u64,
    /// Details; of what is no resource, anything.
    pub details: u64,
}

impl Requests {
    pub fn lists(self) -> u64 {
        self.first + self.later + self.comparing + self.by_id
    }

    pub fn all(self) -> u64 {
        self.lists() + self.details
    }

    /// One page of each of so many lists.
    fn short_lists(lists: u64) -> Self {
        Self { first: lists, ..Self::default() }
    }
}

impl Add for Requests {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            first: self.first + other.first,
            later: self.later + other.later,
            comparing: self.comparing + other.comparing,
            by_id: self.by_id + other.by_id,
            details: self.details + other.details,
        }
    }
}

impl Sum for Requests {
    fn sum<I: Iterator<Item = Self>>(requests: I) -> Self {
        requests.fold(Self::default(), Add::add)
    }
}

/// Requests by resource, and by endpoint where it is of none.
pub type Ledger = BTreeMap<String, Requests>;

/// Pages of a list of so many records that is at its end where a page is not full. One of exactly 20 may be full, since
/// that is the size of an API that ignores what it is asked for.
fn pages(records: u64, size: u64) -> u64 {
    records / size + 1 + u64::from(records % size == 20)
}

/// A list that says on each page how many records it has. As many different ids prove a pass; where what is not there
/// is to be marked deleted, and the list has several pages, a second one has to give the same ids.
pub fn counted(records: u64, full: bool) -> Requests {
    let first = records.div_ceil(100).max(1);
    let later = if full && first > 1 { records.div_ceil(97) } else { 0 };
    Requests { first, later, ..Requests::default() }
}

/// A list that does not say it. One short page is all of it; else two passes with pages of other sizes have to agree.
/// One that ends with an empty page after a multiple of 1,000 records is none of the two, since a bound of the API would
/// end it there, too: the first is such a pass where there are so many.
pub fn compared(records: u64) -> Requests {
    let first = pages(records, 100);
    let later = match first {
        1 => 0,
        _ if records.is_multiple_of(1_000) => pages(records, 97) + pages(records, 89),
        _ => pages(records, 97),
    };
    Requests { first, later, ..Requests::default() }
}

fn list_of(resource: &str) -> Option<&'static Endpoint> {
    contract::endpoint(contract::list_endpoint(resource)?)
}

/// Whether the list says how many records it has: as documented, and of companies and deals as seen live.
pub fn says_matches(resource: &str) -> bool {
    let declared = list_of(resource).is_some_and(|list| list.matches == Declared::Declared);
    declared || ["companies", "deals"].contains(&resource)
}

/// How many values a filter takes.
fn choices(resource: &str, filter: &str) -> u64 {
    let filter = list_of(resource).and_then(|list| list.filter.get(filter));
    filter.and_then(|filter| filter.choices.as_ref()).map_or(0, Vec::len) as u64
}

/// Whether `.info` has a field, at any depth, that the list lacks.
fn has_details(resource: &str) -> bool {
    fn paths(fields: &Fields, at: &str, found: &mut BTreeSet<String>) {
        for (name, field) in fields {
            let path = format!("{at}/{name}");
            paths(&field.fields, &path, found);
            found.insert(path);
        }
    }
    let (mut in_list, mut in_info) = (BTreeSet::new(), BTreeSet::new());
    list_of(resource).into_iter().for_each(|list| paths(&list.record, "", &mut in_list));
    contract::info_endpoint(resource).into_iter().for_each(|info| paths(&info.record, "", &mut in_info));
    resource != "timeTracking" && !in_info.is_subset(&in_list)
}

/// The resources whose records have children of this one.
fn parents_of(child: &str) -> Vec<String> {
    if child == "projects-v2/projectLines" {
        return vec!["projects-v2/projects".to_owned()];
    }
    if let Some((parent, _)) = child.split_once('.') {
        return vec![parent.to_owned()];
    }
    let subject = list_of(child).and_then(|list| list.filter.get("subject")).and_then(|of| of.fields.get("type"));
    let kinds = subject.and_then(|kind| kind.choices.as_ref()).into_iter().flatten();
    let resources = kinds.map(|kind| match kind.as_str() {
        "company" => "companies".to_owned(),
        "nextgenProject" => "projects-v2/projects".to_owned(),
        kind => format!("{kind}s"),
    });
    resources.filter(|resource| !SKIPPED.contains(&resource.as_str())).collect()
}

/// The countries of the account's addresses.
fn countries(simulator: &Simulator) -> u64 {
    #[derive(Deserialize)]
    struct Address {
        country: Option<String>,
    }
    #[derive(Deserialize)]
    struct Nested {
        address: Option<Address>,
    }
    #[derive(Deserialize)]
    struct Addressee {
        address: Option<Address>,
        primary_address: Option<Address>,
        addresses: Option<Vec<Nested>>,
    }
    let mut found = BTreeSet::new();
    for record in ["companies", "contacts", "departments"].into_iter().flat_map(|of| simulator.truth(of)) {
        let record: Addressee = serde_json::from_str(&record.content()).unwrap();
        let nested = record.addresses.into_iter().flatten().filter_map(|nested| nested.address);
        let addresses = nested.chain(record.address).chain(record.primary_address);
        found.extend(addresses.filter_map(|address| address.country));
    }
    found.len() as u64
}

/// The ids of what changed since the last sync, by resource.
pub type Changed = BTreeMap<&'static str, Vec<Uuid>>;

/// What a sync is to find out.
pub enum Run {
    /// The first one: everything.
    First,
    /// A full one of an account that is as it was.
    Unchanged,
    /// An incremental one.
    Changes(Changed),
}

impl Run {
    pub fn is_full(&self) -> bool {
        !matches!(self, Self::Changes(_))
    }

    pub fn request(&self) -> Value {
        json!({ "mode": if self.is_full() { "full" } else { "incremental" } })
    }
}

/// The account, from which the least follows. No record comes or goes.
pub struct Account<'a> {
    simulator: &'a Simulator,
    countries: u64,
    /// The ids of the records that may have children.
    parents: BTreeMap<String, Vec<Uuid>>,
}

impl<'a> Account<'a> {
    pub fn of(simulator: &'a Simulator) -> Self {
        let parents: BTreeSet<String> = CHILDREN.into_iter().flat_map(parents_of).collect();
        let ids = |of: &String| simulator.truth(of).into_iter().map(|record| record.id).collect();
        let parents = parents.into_iter().map(|resource| (resource.clone(), ids(&resource))).collect();
        Self { simulator, countries: countries(simulator), parents }
    }

    /// The least that a sync needs.
    pub fn least(&self, sync: &Run) -> Ledger {
        let mut least: Ledger =
            all_resources().into_iter().map(|resource| (resource.clone(), self.least_of(&resource, sync))).collect();
        let asked = |endpoint: &str, details| (endpoint.to_owned(), Requests { details, ..Requests::default() });
        let is_first = matches!(sync, Run::First);
        least.extend([asked("users.me", u64::from(is_first)), asked("accounts.projects-v2-status", 1)]);
        least
    }

    fn least_of(&self, resource: &str, sync: &Run) -> Requests {
        if SKIPPED.contains(&resource) {
            return Requests::default();
        }
        let lists = match resource {
            _ if INCOMING.contains(&resource) => Requests::default(),
            _ if CHILDREN.contains(&resource) => self.least_of_children(resource, sync),
            "mailTemplates" => Requests::short_lists(choices(resource, "type")),
            "documentTemplates" => {
                Requests::short_lists(self.count("departments") * choices(resource, "document_type"))
            }
            "businessTypes" | "levelTwoAreas" => Requests::short_lists(self.countries),
            "userSchedules" => Requests::short_lists(WEEKS * self.count("users").div_ceil(100)),
            _ if SEEKING.contains(&resource) => Requests::short_lists(pages(self.listed(resource, sync), 100)),
            _ if says_matches(resource) => counted(self.listed(resource, sync), sync.is_full()),
            _ => compared(self.listed(resource, sync)),
        };
        let details = match sync {
            _ if !has_details(resource) => 0,
            Run::First => self.count(resource),
            Run::Unchanged => 0,
            Run::Changes(changed) => changed.get(resource).map_or(0, Vec::len) as u64,
        };
        Requests { details, ..lists }
    }

    pub fn count(&self, resource: &str) -> u64 {
        self.simulator.count(resource) as u64
    }

    /// How many records a list gives.
    fn listed(&self, resource: &str, sync: &Run) -> u64 {
        let tells_changes = list_of(resource).is_some_and(|list| list.filter.contains_key("updated_since"));
        match sync {
            Run::Changes(changed) if tells_changes => changed.get(resource).map_or(0, Vec::len) as u64,
            _ => self.count(resource),
        }
    }

    /// A list for each parent, and what is more than one page of it.
    fn least_of_children(&self, resource: &str, sync: &Run) -> Requests {
        let mut children: HashMap<Uuid, u64> = HashMap::new();
        let truth = self.simulator.truth(resource);
        for (_, id) in truth.iter().filter_map(|child| child.parent.as_ref()) {
            *children.entry(*id).or_default() += 1;
        }
        let of_parent = |id: &Uuid| match children.get(id) {
            Some(children) if says_matches(resource) => counted(*children, sync.is_full()),
            children => compared(children.copied().unwrap_or_default()),
        };
        let asked = |parent: String| match sync {
            Run::Changes(changed) => changed.get(parent.as_str()),
            Run::First | Run::Unchanged => self.parents.get(&parent),
        };
        parents_of(resource).into_iter().filter_map(asked).flatten().map(of_parent).sum()
    }
}
