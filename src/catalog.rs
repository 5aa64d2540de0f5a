//! The resources: endpoints, sorts and filters, as `endpoints.json` of the API facts has them.
//!
//! A resource is added here, by one line in a migration (`select teamleader.add_resource(…)`), and nowhere else.

use serde_json::{Value, json};

/// A resource of the API: what one `.list` endpoint tells, and its table.
#[derive(Debug, PartialEq)]
pub struct Resource {
    /// The list endpoint without `.list`.
    pub name: &'static str,
    /// Values for `includes` of the list endpoint.
    pub list_includes: &'static [&'static str],
    /// How the list is read.
    pub paging: Paging,
    /// Whether the list takes `filter.updated_since` (one second, inclusive).
    pub updated_since: bool,
    /// Whether the list takes `filter.ids`.
    pub ids_filter: bool,
    /// Statuses to ask for, where the filter takes a list of them: without it a list may leave archived records out.
    pub statuses: &'static [&'static str],
    /// Whether and when `.info` is asked.
    pub detail: Detail,
}

/// How a list is read to its end without losing a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// Sorted by `updated_at`, each request beginning at the last one seen: nothing shifts below the reader.
    Seek,
    /// By page number, sorted by this field (the API's default order where `None`); proven by counting.
    Offset(Option<&'static str>),
}

/// Whether `.info` adds fields, and how a change of them is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// `.info` adds nothing, or does not exist.
    None,
    /// `.info` adds fields.
    Info {
        /// Values for `includes` of the info endpoint.
        includes: &'static [&'static str],
        /// Whether the list item differs whenever a field of the detail has changed, since it holds `updated_at`.
        shown_by_list: bool,
    },
}

const ACTIVE_OR_DEACTIVATED: &[&str] = &["active", "deactivated"];

/// All resources, in the order in which a run works on them: small ones that others refer to come first.
pub static RESOURCES: [Resource; 8] = [
    Resource {
        name: "departments",
        list_includes: &[],
        paging: Paging::Offset(Some("created_at")),
        updated_since: false,
        ids_filter: true,
        statuses: &["active", "archived"],
        detail: Detail::Info { includes: &[], shown_by_list: false },
    },
    Resource {
        name: "users",
        list_includes: &[],
        paging: Paging::Offset(Some("email")),
        updated_since: false,
        ids_filter: true,
        statuses: ACTIVE_OR_DEACTIVATED,
        detail: Detail::Info { includes: &["external_rate"], shown_by_list: false },
    },
    Resource {
        name: "customFieldDefinitions",
        list_includes: &[],
        paging: Paging::Offset(Some("label")),
        updated_since: false,
        ids_filter: true,
        statuses: &[],
        detail: Detail::None,
    },
    Resource {
        name: "companies",
        list_includes: &["custom_fields"],
        paging: Paging::Seek,
        updated_since: true,
        ids_filter: true,
        statuses: &[],
        detail: Detail::Info { includes: &["related_companies", "related_contacts"], shown_by_list: true },
    },
    Resource {
        name: "contacts",
        list_includes: &["custom_fields"],
        paging: Paging::Seek,
        updated_since: true,
        ids_filter: true,
        statuses: &[],
        detail: Detail::Info { includes: &[], shown_by_list: true },
    },
    Resource {
        name: "projects",
        list_includes: &[],
        paging: Paging::Offset(Some("created_at")),
        updated_since: true,
        ids_filter: false,
        statuses: &[],
        detail: Detail::Info { includes: &[], shown_by_list: false },
    },
    Resource {
        name: "invoices",
        list_includes: &["late_fees"],
        paging: Paging::Offset(Some("invoice_date")),
        updated_since: true,
        ids_filter: true,
        statuses: &[],
        detail: Detail::Info { includes: &["late_fees"], shown_by_list: true },
    },
    Resource {
        name: "events",
        list_includes: &[],
        paging: Paging::Offset(Some("starts_at")),
        updated_since: false,
        ids_filter: true,
        statuses: &[],
        detail: Detail::None,
    },
];

/// The largest page that the API gives.
pub const PAGE_SIZE: usize = 100;

/// The resource of that name.
pub fn find(name: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.name == name)
}

/// All names, comma-separated, for messages to people.
pub fn names() -> String {
    RESOURCES.iter().map(|r| r.name).collect::<Vec<_>>().join(", ")
}

impl Resource {
    /// The path of the list endpoint, without a leading slash.
    pub fn list_endpoint(&self) -> String {
        format!("{}.list", self.name)
    }

    /// The path of the info endpoint, without a leading slash.
    pub fn info_endpoint(&self) -> String {
        format!("{}.info", self.name)
    }

    /// The body of a list request for a page.
    ///
    /// `since` is an RFC 3339 time for `filter.updated_since`. `pagination` is always asked for: some lists tell `meta` only then.
    pub fn list_body(&self, page: u32, since: Option<&str>) -> Value {
        let mut body = self.base_body(page);
        if let Some(since) = since {
            body["filter"]["updated_since"] = json!(since);
        }
        body
    }

    /// The body of a list request for up to [`PAGE_SIZE`] ids.
    pub fn ids_body(&self, ids: &[uuid::Uuid]) -> Value {
        let mut body = self.base_body(1);
        body["filter"]["ids"] = json!(ids);
        body
    }

    /// The body of an info request.
    pub fn info_body(&self, id: uuid::Uuid) -> Value {
        let mut body = json!({ "id": id });
        if let Detail::Info { includes, .. } = self.detail
            && !includes.is_empty()
        {
            body["includes"] = json!(includes.join(","));
        }
        body
    }

    fn base_body(&self, page: u32) -> Value {
        let includes = [self.list_includes, &["pagination"]].concat().join(",");
        let mut body = json!({
            "page": { "size": PAGE_SIZE, "number": page },
            "includes": includes,
        });
        let sort = match self.paging {
            Paging::Seek => Some("updated_at"),
            Paging::Offset(field) => field,
        };
        if let Some(field) = sort {
            body["sort"] = json!([{ "field": field, "order": "asc" }]);
        }
        if !self.statuses.is_empty() {
            body["filter"] = json!({ "status": self.statuses });
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The facts about the API: what the catalog may ask for.
    fn contract() -> Value {
        let facts: Value = serde_json::from_str(include_str!("../simulator/data/endpoints.json")).expect("JSON");
        facts["endpoints"].clone()
    }

    fn texts(list: &Value) -> Vec<&str> {
        list.as_array().map(|items| items.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
    }

    #[test]
    fn nothing_is_asked_for_that_the_api_does_not_have() {
        let contract = contract();
        for resource in &RESOURCES {
            let list = &contract[resource.list_endpoint()];
            assert!(list.is_object(), "{}", resource.list_endpoint());
            let sorts = texts(&list["sort"]["fields"]);
            let body = resource.list_body(1, Some("2020-01-01T00:00:00+00:00"));
            let sort = body["sort"][0]["field"].as_str();
            assert!(sort.is_none_or(|field| sorts.contains(&field)), "{} cannot be sorted by {sort:?}", resource.name);
            let includes = texts(&list["includes"]);
            for include in resource.list_includes {
                assert!(includes.contains(include), "{}.list does not include {include}", resource.name);
            }
            assert_eq!(list["filter"]["updated_since"].is_object(), resource.updated_since, "{}", resource.name);
            assert_eq!(list["filter"]["ids"].is_object(), resource.ids_filter, "{}", resource.name);
            let statuses = &list["filter"]["status"];
            if !resource.statuses.is_empty() {
                assert_eq!(statuses["type"], "array[enum]", "{} takes no list of statuses", resource.name);
                assert_eq!(texts(&statuses["enum"]), resource.statuses, "{}", resource.name);
            }
            let seekable = sorts.contains(&"updated_at") && resource.updated_since;
            assert_eq!(resource.paging == Paging::Seek, seekable, "{}", resource.name);
        }
    }

    #[test]
    fn info_is_asked_where_it_adds_fields() {
        let contract = contract();
        let keys = |endpoint: String| -> Vec<String> {
            let record = contract[endpoint]["record"].as_object().cloned().unwrap_or_default();
            record.keys().cloned().collect()
        };
        for resource in &RESOURCES {
            let listed = keys(resource.list_endpoint());
            let adds = keys(resource.info_endpoint()).iter().any(|key| !listed.contains(key));
            assert_eq!(resource.detail != Detail::None, adds, "{}", resource.name);
            if let Detail::Info { includes, shown_by_list } = resource.detail {
                let documented = &contract[resource.info_endpoint()]["includes"];
                assert_eq!(texts(documented), includes, "{}.info", resource.name);
                assert_eq!(listed.iter().any(|key| key == "updated_at"), shown_by_list, "{}", resource.name);
            }
        }
    }

    #[test]
    fn a_request_names_page_includes_sort_and_filters() {
        let contacts = find("contacts").expect("known");
        let body = contacts.list_body(2, Some("2020-01-01T00:00:00+00:00"));
        assert_eq!(
            body,
            json!({
                "page": { "size": 100, "number": 2 },
                "includes": "custom_fields,pagination",
                "sort": [{ "field": "updated_at", "order": "asc" }],
                "filter": { "updated_since": "2020-01-01T00:00:00+00:00" },
            })
        );
        let users = find("users").expect("known").list_body(1, None);
        assert_eq!(users["filter"], json!({ "status": ["active", "deactivated"] }));
    }
}
