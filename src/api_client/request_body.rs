//! The bodies of requests for a resource's records.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::catalog::{Order, PAGE_SIZE, Paging, Resource, Window};

impl Resource {
    /// The body of a list request for a page, by number and size, of the part that `part` names.
    ///
    /// `since` is an RFC 3339 time for `filter.updated_since`, or for the window. `pagination` is always asked for:
    /// some lists give `meta` only then.
    pub fn list_body(&self, (page, size): (u32, usize), since: Option<&str>, part: &Value) -> Value {
        let mut body = self.base_body(page, size);
        if let Some(since) = since {
            match self.window {
                _ if self.updated_since => body["filter"]["updated_since"] = json!(since),
                Some(Window { from, is_date }) => {
                    let since = if is_date { since.split('T').next().unwrap_or(since) } else { since };
                    body["filter"][from] = json!(since);
                }
                None => {}
            }
        }
        overlay(&mut body, part);
        body
    }

    /// The body of a list request for up to [`PAGE_SIZE`] ids, of those with this status if it names one.
    pub fn ids_body(&self, ids: &[Uuid], status: Option<&str>) -> Value {
        let mut body = self.base_body(1, PAGE_SIZE);
        body["filter"]["ids"] = json!(ids);
        if let Some(status) = status {
            body["filter"]["status"] = json!(status);
        }
        body
    }

    /// The body of an info request.
    pub fn info_body(&self, id: Uuid) -> Value {
        let mut body = json!({ "id": id });
        if !self.info_includes().is_empty() {
            body["includes"] = json!(self.info_includes().join(","));
        }
        body
    }

    fn base_body(&self, page: u32, size: usize) -> Value {
        let includes = [self.list_includes, &["pagination"]].concat().join(",");
        let mut body = json!({
            "page": { "size": size, "number": page },
            "includes": includes,
        });
        let sort = match self.paging {
            Paging::Seek => Some(("updated_at", Order::Ascending)),
            Paging::Offset(sort) => sort,
        };
        if let Some((field, order)) = sort {
            body["sort"] = json!([{ "field": field, "order": order.as_str() }]);
        }
        if !self.statuses.is_empty() {
            body["filter"] = json!({ "status": self.statuses });
        }
        body
    }
}

/// Lays the keys of an object over another one, objects within it too.
fn overlay(body: &mut Value, over: &Value) {
    match (body, over) {
        (Value::Object(body), Value::Object(over)) => {
            for (key, value) in over {
                overlay(body.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (body, over) => *body = over.clone(),
    }
}
