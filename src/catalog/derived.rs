//! The resources as the table and the API's documents together have them.

use std::sync::LazyLock;

use super::blueprint::{self, Documented, DocumentedField, Endpoint};
use super::entry::{Entry, Reach};
use super::resource::{Child, Detail, Key, Order, Paging, Parent, Resource, Scope, Window, list_endpoint};
use super::resources::ENTRIES;

/// Fields of a record that stay as they are: the order by them does not shift what was read.
const CONSTANT: [&str; 3] = ["added_at", "created_at", "id"];

/// Statuses whose records a list leaves out unless it is asked for them.
const HIDDEN: [&str; 2] = ["archived", "deactivated"];

/// All resources, in the order in which a run works on them.
pub static RESOURCES: LazyLock<Vec<Resource>> = LazyLock::new(|| ENTRIES.iter().map(resource).collect());

fn resource(entry: &Entry) -> Resource {
    let list = blueprint::endpoint(&list_endpoint(entry.name));
    let info = blueprint::endpoint(&format!("{}.info", entry.name));
    let status = list.filter.get("status");
    let takes_several = status.is_some_and(|status| status.is_list());
    let hides = status.and_then(|status| status.values().find(|value| HIDDEN.contains(value)));
    let statuses = status.filter(|_| takes_several && hides.is_some());
    let updated_since = list.filter.contains_key("updated_since");
    Resource {
        name: entry.name,
        list_includes: names(&list.includes),
        paging: paging(entry, list, updated_since),
        updated_since,
        ids_filter: list.filter.contains_key("ids"),
        has_info: !info.record.is_empty(),
        statuses: statuses.map(|status| status.values().collect::<Vec<_>>()).unwrap_or_default().leak(),
        hidden_status: hides.filter(|_| !takes_several),
        detail: detail(entry, list, info),
        key: match (entry.key, list.record.contains_key("id")) {
            ([], _) => Key::Id,
            (fields, false) => Key::Fields(fields),
            (fields, true) => Key::IdOr(fields),
        },
        scope: scope(entry, list),
        window: entry.window.map(|from| Window {
            from,
            is_date: list
                .filter
                .get(from)
                .and_then(DocumentedField::example)
                .is_none_or(|example| !example.contains('T')),
        }),
        project_api: entry.project_api,
        reports_matches: list.matches.as_deref() == Some("declared"),
    }
}

fn paging(entry: &Entry, list: &'static Endpoint, updated_since: bool) -> Paging {
    let Some(sort) = &list.sort else { return Paging::Offset(None) };
    let takes = |field: &str| sort.fields.iter().any(|known| known == field);
    let order = match sort.orders.as_deref() {
        Some([only]) if only == "desc" => Order::Descending,
        _ => Order::Ascending,
    };
    if updated_since && takes("updated_at") && order == Order::Ascending {
        return Paging::Seek;
    }
    let constant = CONSTANT.into_iter().find(|field| takes(field));
    let only = match &sort.fields[..] {
        [only] => Some(only.as_str()),
        _ => None,
    };
    Paging::Offset(constant.or(only).or(entry.sort).map(|field| (field, order)))
}

fn detail(entry: &Entry, list: &Endpoint, info: &'static Endpoint) -> Detail {
    let adds = |info: &Endpoint| paths(&info.record, "").iter().any(|path| !paths(&list.record, "").contains(path));
    let includes = names(&info.includes);
    match () {
        () if info.record.is_empty() || !adds(info) => Detail::None,
        () if entry.on_demand => Detail::OnDemand { includes },
        () => Detail::Info { includes, shown_by_list: list.record.contains_key("updated_at") },
    }
}

/// The fields of a record at any depth.
fn paths(fields: &Documented, at: &str) -> Vec<String> {
    let deeper = fields.iter().flat_map(|(name, field)| {
        let path = format!("{at}/{name}");
        let mut found = paths(&field.fields, &path);
        found.push(path);
        found
    });
    deeper.collect()
}

fn scope(entry: &Entry, list: &'static Endpoint) -> Scope {
    let values = |filter: &str| -> &'static [&'static str] {
        list.filter.get(filter).map(|filter| filter.values().collect::<Vec<_>>()).unwrap_or_default().leak()
    };
    match entry.reach {
        Reach::Account => Scope::Account,
        Reach::Countries => Scope::Country,
        Reach::Types => Scope::Type(values("type")),
        Reach::DepartmentsAndTypes => Scope::DepartmentAndType(values("document_type")),
        Reach::Weeks => Scope::Week,
        Reach::Of(resource) => {
            let parameter = list.parameters.keys().next().map(String::as_str).unwrap_or_default();
            Scope::Parent(Child::Parameter(parameter), vec![Parent { kind: parameter, resource }].leak())
        }
        Reach::Subjects => {
            let kinds = list.filter.get("subject").and_then(|subject| subject.fields.get("type"));
            let parent = |kind: &'static str| Some(Parent { kind, resource: named(kind)? });
            let parents: Vec<Parent> = kinds.into_iter().flat_map(DocumentedField::values).filter_map(parent).collect();
            Scope::Parent(Child::Subject, parents.leak())
        }
        Reach::Stored(resource, kind) => Scope::Stored(vec![Parent { kind, resource }].leak()),
    }
}

/// The resource whose records the API calls so in references: `company` is one of `companies`.
pub fn named(kind: &str) -> Option<&'static str> {
    let name = match kind {
        "area_level_two" => "levelTwoAreas".to_owned(),
        "withholding_tax" => "withholdingTaxRates".to_owned(),
        "priceunit" => "unitsOfMeasure".to_owned(),
        // What custom fields are called after.
        "sale" => "deals".to_owned(),
        "callback" => "calls".to_owned(),
        "todo" => "tasks".to_owned(),
        kind => match kind.strip_prefix("nextgen") {
            Some(of_v2) => {
                let (first, rest) = of_v2.split_at_checked(1).unwrap_or((of_v2, ""));
                format!("projects-v2/{}{rest}s", first.to_lowercase())
            }
            None => return ENTRIES.iter().map(|entry| entry.name).find(|name| is_one_of(kind, name)),
        },
    };
    ENTRIES.iter().map(|entry| entry.name).find(|known| *known == name)
}

/// Whether this word is for one record of a resource, in the API's spelling or in snake_case.
fn is_one_of(kind: &str, resource: &str) -> bool {
    let plain = |text: &str| text.replace('_', "").to_lowercase();
    let (kind, resource) = (plain(kind), plain(resource));
    kind == resource && kind.ends_with("status")
        || format!("{kind}s") == resource
        || kind.strip_suffix('y').is_some_and(|stem| format!("{stem}ies") == resource)
        || kind == "unitofmeasure" && resource == "unitsofmeasure"
        || kind == resource && kind == "timetracking"
}

fn names(of: &'static [String]) -> &'static [&'static str] {
    of.iter().map(String::as_str).collect::<Vec<_>>().leak()
}
