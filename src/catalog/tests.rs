//! The catalog compared with the API's blueprint, both ways, and with the migrations.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

/// Lists that are no resource on purpose.
const LEFT_OUT: [&str; 1] = ["webhooks.list"];

/// What the migrations make.
const MIGRATIONS: [&str; 2] =
    [include_str!("../../migrations/0001_records.sql"), include_str!("../../migrations/0003_whole_api.sql")];

fn blueprint() -> Value {
    serde_json::from_str(include_str!("../../simulator/data/endpoints.json")).expect("JSON")
}

fn names(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

/// The fields of a record at any depth, as paths.
fn paths(fields: &Value, at: &str, found: &mut BTreeSet<String>) {
    for (name, field) in fields.as_object().into_iter().flatten() {
        let path = format!("{at}/{name}");
        paths(&field["fields"], &path, found);
        found.insert(path);
    }
}

fn each(mut check: impl FnMut(&'static Resource, &Value, &Value)) {
    let blueprint = blueprint();
    for resource in RESOURCES.iter().filter(|resource| !matches!(resource.scope, Scope::Stored(_))) {
        let list = &blueprint["endpoints"][&resource.list_endpoint()];
        assert!(list.is_object(), "{}", resource.name);
        check(resource, list, &blueprint["endpoints"][&resource.info_endpoint()]);
    }
}

#[test]
fn every_list_is_a_resource_and_every_resource_is_a_list() {
    let blueprint = blueprint();
    let endpoints = keys(&blueprint["endpoints"]);
    let lists: BTreeSet<&str> = endpoints
        .into_iter()
        .filter(|name| name.rsplit_once('.').is_some_and(|(_, verb)| verb.starts_with("list")))
        .filter(|name| !LEFT_OUT.contains(name))
        .collect();
    let has_list = |resource: &&Resource| !matches!(resource.scope, Scope::Stored(_));
    let known: Vec<String> = RESOURCES.iter().filter(has_list).map(Resource::list_endpoint).collect();
    assert_eq!(known.iter().map(String::as_str).collect::<BTreeSet<_>>(), lists);
    assert_eq!(known.len(), lists.len(), "none stands twice");
}

#[test]
fn lists_are_asked_for_all_that_they_have_and_nothing_else() {
    each(|resource, list, info| {
        let (name, filter) = (resource.name, &list["filter"]);
        assert_eq!(resource.list_includes, names(&list["includes"]), "{name}: includes");
        assert_eq!(resource.updated_since, filter["updated_since"].is_object(), "{name}: updated_since");
        assert_eq!(resource.ids_filter, filter["ids"].is_object(), "{name}: ids");
        assert_eq!(resource.has_info, info.is_object(), "{name}: info");
        let sorts = names(&list["sort"]["fields"]);
        match resource.paging {
            Paging::Seek => assert!(sorts.contains(&"updated_at") && resource.updated_since, "{name}"),
            Paging::Offset(Some((field, order))) => {
                assert!(sorts.contains(&field), "{name}: sort by {field}");
                let orders = names(&list["sort"]["orders"]);
                assert!(orders.is_empty() || orders.contains(&order.as_str()), "{name}: {orders:?}");
            }
            Paging::Offset(None) => assert!(sorts.is_empty(), "{name}: it can be sorted by {sorts:?}"),
        }
        assert_eq!(resource.reports_matches, list["matches"] == "declared", "{name}: matches");
        let can_be_sought = sorts.contains(&"updated_at") && resource.updated_since;
        assert_eq!(resource.paging == Paging::Seek, can_be_sought, "{name}");
        for constant in ["added_at", "created_at", "id"] {
            let by = |field| matches!(resource.paging, Paging::Offset(Some((known, _))) if known == field);
            assert!(by(constant) || can_be_sought || !sorts.contains(&constant), "{name}: {constant} does not change");
        }
        if !resource.statuses.is_empty() {
            assert!(filter["status"]["type"].as_str().is_some_and(|kind| kind.starts_with("array")), "{name}");
            assert_eq!(resource.statuses, names(&filter["status"]["enum"]), "{name}: statuses");
        }
        let hides = |status: &str| ["archived", "deactivated"].contains(&status);
        let is_array = filter["status"]["type"].as_str().is_some_and(|kind| kind.starts_with("array"));
        let may_hide = is_array && names(&filter["status"]["enum"]).into_iter().any(hides);
        assert_eq!(!resource.statuses.is_empty(), may_hide, "{name}: archived ones");
        let alone = names(&filter["status"]["enum"]).into_iter().find(|status| !is_array && hides(status));
        assert_eq!(resource.hidden_status, alone, "{name}: hidden ones");
        if let Some(window) = resource.window {
            let example = filter[window.from]["example"].as_str().expect("an example");
            assert_eq!(window.is_date, !example.contains('T'), "{name}: {example}");
        }
    });
}

#[test]
fn details_are_asked_for_where_they_add_fields() {
    each(|resource, list, info| {
        let name = resource.name;
        let (mut listed, mut detailed) = (BTreeSet::new(), BTreeSet::new());
        paths(&list["record"], "", &mut listed);
        paths(&info["record"], "", &mut detailed);
        let added: Vec<&String> = detailed.difference(&listed).collect();
        assert_eq!(resource.detail == Detail::None, added.is_empty(), "{name}: {added:?}");
        if resource.detail != Detail::None {
            assert_eq!(resource.info_includes(), names(&info["includes"]), "{name}: includes of info");
        }
        if let Detail::Info { shown_by_list, .. } = resource.detail {
            assert_eq!(shown_by_list, list["record"]["updated_at"].is_object(), "{name}: updated_at");
        }
        if matches!(resource.detail, Detail::OnDemand { .. }) {
            assert_eq!(added, ["/locked"], "{name}: next to nothing");
        }
    });
}

#[test]
fn records_are_told_apart_and_lists_are_told_of_what() {
    each(|resource, list, _| {
        let name = resource.name;
        match resource.key {
            Key::Id | Key::IdOr(_) => assert!(list["record"]["id"].is_object(), "{name}"),
            // Its week is added.
            Key::Fields(pointers) if resource.scope == Scope::Week => assert!(pointers.contains(&"/from"), "{name}"),
            Key::Fields(pointers) => {
                assert!(!list["record"]["id"].is_object(), "{name}");
                let mut documented = BTreeSet::new();
                paths(&list["record"], "", &mut documented);
                assert!(pointers.iter().all(|pointer| documented.contains(*pointer)), "{name}: {pointers:?}");
            }
        }
        let needed = |fields: &Value| -> BTreeSet<String> {
            let required = |(_, field): &(&String, &Value)| field["required"] == true;
            fields.as_object().into_iter().flatten().filter(required).map(|(key, _)| key.clone()).collect()
        };
        let (parameters, filters) = (needed(&list["parameters"]), needed(&list["filter"]));
        let none: &[&str] = &[];
        let (of_parameters, of_filters): (Vec<&str>, &[&str]) = match resource.scope {
            Scope::Account => (vec![], none),
            Scope::Country => (vec!["country"], none),
            Scope::Type(types) => {
                assert_eq!(types, names(&list["filter"]["type"]["enum"]), "{name}");
                (vec![], &["type"])
            }
            Scope::DepartmentAndType(types) => {
                assert_eq!(types, names(&list["filter"]["document_type"]["enum"]), "{name}");
                (vec![], &["department_id", "document_type"])
            }
            Scope::Parent(Child::Subject, parents) => {
                let kinds = names(&list["filter"]["subject"]["fields"]["type"]["enum"]);
                let ours: Vec<&str> = parents.iter().map(|parent| parent.kind).collect();
                assert_eq!(kinds, ours, "{name}: each is of a resource");
                (vec![], &["subject"])
            }
            Scope::Week => (vec![], &["user_ids", "from", "until"]),
            Scope::Stored(_) => (vec![], none),
            Scope::Parent(Child::Parameter(parameter), _) => (vec![parameter], none),
        };
        assert!(of_parameters.iter().all(|known| list["parameters"][known].is_object()), "{name}");
        assert!(parameters.iter().all(|needed| of_parameters.contains(&needed.as_str())), "{name}: {parameters:?}");
        assert!(filters.iter().all(|needed| of_filters.contains(&needed.as_str())), "{name}: {filters:?}");
        for parent in resource.parents() {
            let place = |name: &str| RESOURCES.iter().position(|resource| resource.name == name);
            assert!(place(parent.resource) < place(name), "{name}: after {}", parent.resource);
        }
    });
}

#[test]
fn tables_that_migrations_made_are_as_those_that_the_catalog_makes() {
    let lines = MIGRATIONS.iter().flat_map(|text| text.lines());
    let made = lines.filter_map(|line| line.strip_prefix("select teamleader.add_resource('"));
    for line in made {
        let (name, flags) = line.split_once('\'').expect("a name");
        let resource = find(name).unwrap_or_else(|| panic!("{name} is no resource"));
        assert_eq!(flags.contains("true") && !flags.contains("child"), resource.has_details(), "{line}");
        assert_eq!(flags.contains("child => true"), !resource.parents().is_empty(), "{line}");
    }
}

#[test]
fn the_words_for_records_are_those_of_references_and_of_custom_fields() {
    for (kind, resource) in [
        ("company", Some("companies")),
        ("creditNote", Some("creditNotes")),
        ("nextgenProjectGroup", Some("projects-v2/projectGroups")),
        ("sale", Some("deals")),
        ("callback", Some("calls")),
        ("todo", Some("tasks")),
        ("unit_of_measure", Some("unitsOfMeasure")),
        ("timeTracking", Some("timeTracking")),
        ("meeting_report", None),
        ("nextgen", None),
        ("nextgené", None),
        ("", None),
    ] {
        assert_eq!(named(kind), resource, "{kind}");
    }
}

#[test]
fn what_has_no_id_gets_one_that_stays() {
    let id = |name: &str, record: &str| {
        let members: Value = serde_json::from_str(record).expect("JSON");
        let id = members.get("id").map(Value::to_string);
        find(name).expect("known").row_id(record, id.as_deref())
    };
    let message = "f29abf48-337d-44b4-aad4-585f5277a456";
    assert_eq!(id("tickets.messages", &format!(r#"{{"message_id":"{message}"}}"#)), Ok(message.parse().expect("UUID")));
    assert_eq!(id("tags", r#"{"tag":"vip"}"#), id("tags", r#"{"tag":"vip"}"#));
    assert_ne!(id("tags", r#"{"tag":"vip"}"#), id("tags", r#"{"tag":"VIP"}"#));
    let discount = |name: &str, department: &str| {
        id(
            "commercialDiscounts",
            &format!(r#"{{"name":"{name}","department":{{"type":"department","id":"{department}"}}}}"#),
        )
    };
    assert_ne!(discount("a", "b"), discount("b", "a"));
    assert!(id("commercialDiscounts", r#"{"name":"a","department":null}"#).is_ok());
    let with_id = format!(r#"{{"id":"{message}","name":"a","department":null}}"#);
    assert_eq!(id("commercialDiscounts", &with_id), Ok(message.parse().expect("UUID")));
    let discounts = find("commercialDiscounts").expect("known");
    let before = id("commercialDiscounts", r#"{"name":"a","department":null}"#).expect("an id");
    assert_eq!(discounts.former_id(&with_id), Some(before), "the row that it had before");
    let tags = find("tags").expect("known");
    let tag = |text: &str| tags.row_id(&format!(r#"{{"tag":"{text}"}}"#), None).expect("an id");
    assert_eq!(
        tags.former_id(r#"{"tag":"\u00c9t\u00e9 VIP"}"#),
        Some(tag("été vip")),
        "older versions have lower case"
    );
    assert_ne!(tag("été vip"), tag("Été VIP"));
    assert!(id("tags", r#"{"tag":null}"#).is_err());
    assert!(id("contacts", r#"{"id":"seven"}"#).is_err(), "it is asked for by its id later");
    assert!(id("callOutcomes", r#"{"id":"seven"}"#).is_ok(), "it is not");
}
